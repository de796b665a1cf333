//! Requests through the real SDK: one, several at a time, and those that are refused.

use serde_json::json;

use crate::support::{Bench, on_shared_bench, probe};

#[test]
fn a_request_is_sent_and_its_answer_of_any_status_comes_back() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "fetch", "url": "/users.list?limit=1" },
                { "do": "fetch", "url": bench.odd.url("/nth?nth=7") },
                { "do": "fetch", "url": bench.odd.url("/status/418") },
                { "do": "post", "url": bench.odd.url("/echo"), "size": 100_000 },
            ]))
            .await
            .succeeded();
        let fetched = ran.said("fetch");
        assert!(fetched[0].starts_with("200 ") && fetched[0].contains("cache_ts"), "{}", fetched[0]);
        assert_eq!(fetched[1..], ["200 5 bytes: nth=7", "418 8 bytes: as asked"]);
        assert_eq!(ran.said("post"), ["200 6 bytes: 100000"]);
        assert_eq!(ran.usage().http_requests, 4);
        assert!(ran.usage().http_bytes > 13 + 6);
    });
}

#[test]
fn answers_of_fetch_all_come_in_the_order_of_the_requests_and_six_are_under_way_at_most() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::open().await;
        let execution = bench
            .execution(
                "probe",
                probe(json!([
                    { "do": "fetch-all", "n": 10, "url": bench.odd.url("/gate/1") },
                    { "do": "fetch-all", "n": 3, "url": bench.odd.url("/nth") },
                    { "do": "fetch-all-raw", "n": 32, "url": bench.odd.url("/nth") },
                    { "do": "fetch-all-raw", "n": 33, "url": bench.odd.url("/nth") },
                    { "do": "fetch-all-raw", "n": 0, "url": bench.odd.url("/nth") },
                ])),
            )
            .await;
        let opened = async {
            bench.odd.until_waiting(6).await;
            bench.odd.open_gates(1);
        };
        let (ran, ()) = tokio::join!(bench.sync(execution), opened);
        let ran = ran.succeeded();
        assert_eq!(bench.odd.most_at_once(), 6);
        let said = ran.said("fetch-all");
        assert_eq!(said[0].matches("gate 1").count(), 10);
        assert_eq!(said[1], "nth=0 | nth=1 | nth=2");
        let raw = ran.said("fetch-all-raw");
        assert_eq!(raw[0], "32 answers, 0 errors, last Some(Ok(200))");
        assert!(raw[1].starts_with("33 answers, 33 errors") && raw[1].contains("up to 32 requests"), "{}", raw[1]);
        assert_eq!(raw[2], "0 answers, 0 errors, last None");
        assert_eq!(ran.usage().http_requests, 10 + 3 + 32);
    });
}

#[test]
fn started_requests_come_in_the_order_in_which_they_finish() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::open().await;
        let url = |path| bench.odd.url(path);
        let execution = bench
            .execution(
                "probe",
                probe(json!([
                    { "do": "wait", "n": 1 },
                    { "do": "start", "n": 1, "url": url("/gate/2") },
                    { "do": "start", "n": 1, "url": url("/gate/1") },
                    { "do": "start", "n": 1, "url": "ftp://x/" },
                    { "do": "start", "n": 1, "url": "https://not-allowed.example/" },
                    { "do": "wait", "n": 2 },
                    // Tells the test that both are here.
                    { "do": "fetch", "url": url("/nth") },
                    { "do": "wait", "n": 3 },
                    { "do": "start", "n": 33, "url": url("/nth") },
                    { "do": "wait", "n": 33 },
                    // Not waited for: it ends with the run.
                    { "do": "start", "n": 1, "url": url("/silent") },
                ])),
            )
            .await;
        let mut progress = execution.progress.subscribe();
        let opened = async {
            progress.wait_for(|progress| progress.pages == 1).await.unwrap();
            bench.odd.open_gates(1);
            progress.wait_for(|progress| progress.pages == 2).await.unwrap();
            bench.odd.open_gates(2);
        };
        let (ran, ()) = tokio::join!(bench.sync(execution), opened);
        let ran = ran.succeeded();
        bench.odd.until_waiting(0).await;
        assert_eq!(
            ran.said("start")[..4],
            ["Ticket(1)", "Ticket(2)", "Ticket(3)", "Ticket(4)"].map(String::from),
            "each has a ticket"
        );
        let waited = ran.said("wait");
        assert_eq!(waited[0], "none");
        assert!(waited[1].contains("Ticket(3)") && waited[1].contains("not a valid request"), "{}", waited[1]);
        assert!(waited[1].contains("Ticket(4)") && waited[1].contains("denied"), "{}", waited[1]);
        assert_eq!(waited[2], "Ticket(2) gate 1 | Ticket(1) gate 2 | none");
        let started = ran.said("start")[4];
        assert!(started.contains("Ticket(36)") && started.contains("call wait first"), "{started}");
        assert_eq!(waited[3].matches("nth=").count(), 32);
        assert!(waited[3].ends_with("none"), "{}", waited[3]);
    });
}

#[test]
fn a_wait_ends_with_an_answer_or_with_its_time() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::open().await;
        let url = |path| bench.odd.url(path);
        let steps = json!([
            { "do": "wait-for", "timeout_ms": 5 },
            { "do": "start", "n": 1, "url": url("/gate/1") },
            { "do": "wait-for", "timeout_ms": 5, "n": 3 },
            { "do": "wait-for", "timeout_ms": 0 },
            // Tells the test that nothing was lost so far.
            { "do": "fetch", "url": url("/nth") },
            { "do": "wait-for", "timeout_ms": 3_600_000 },
            { "do": "wait", "n": 1 },
        ]);
        let execution = bench.execution("probe", probe(steps)).await;
        let mut progress = execution.progress.subscribe();
        let opened = async {
            progress.wait_for(|progress| progress.pages == 1).await.unwrap();
            bench.odd.open_gates(1);
        };
        let (ran, ()) = tokio::join!(bench.sync(execution), opened);
        let ran = ran.succeeded();
        assert_eq!(
            ran.said("wait-for"),
            ["timed out", "timed out | timed out | timed out", "timed out", "Ticket(1) gate 1"]
        );
        assert_eq!(ran.said("wait"), ["none"]);

        let steps = json!([{ "do": "wait-for", "timeout_ms": u32::MAX }]);
        let mut execution = bench.execution("probe", probe(steps)).await;
        execution.limits.timeout = std::time::Duration::from_millis(50);
        bench.sync(execution).await.stopped(terapi::run::StopReason::TimedOut, &["time limit"]);
    });
}

#[test]
fn a_request_that_is_denied_too_large_or_too_slow_is_an_error_that_says_so() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "fetch", "url": "https://api.github.com/" },
                { "do": "fetch", "url": "http://169.254.169.254/latest/meta-data/" },
                { "do": "fetch", "url": "file:///etc/passwd" },
                { "do": "fetch", "url": bench.odd.url("/bytes/16777217") },
                { "do": "fetch", "url": bench.odd.url("/bytes/16777216") },
                { "do": "fetch", "url": bench.odd.url("/silent"), "timeout_ms": 50 },
            ]))
            .await
            .succeeded();
        let said = ran.said("fetch");
        assert!(said[0].contains("denied") && said[0].contains("--allow-host api.github.com"), "{}", said[0]);
        assert!(said[1].contains("denied"), "{}", said[1]);
        assert!(said[2].contains("not a valid request"), "{}", said[2]);
        assert!(said[3].contains("over 16777216 bytes"), "{}", said[3]);
        assert!(said[4].starts_with("200 16777216 bytes"), "{}", said[4]);
        assert!(said[5].contains("no complete answer within the time"), "{}", said[5]);
    });
}
