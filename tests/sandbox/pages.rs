//! Lists of pages that the host fetches ahead: in order, no further than asked, and thrown away without a trace.

mod api;

use serde_json::{Value, json};
use terapi::run::StopReason;
use terapi::runtime::Execution;

use self::api::Api;
use crate::support::{Bench, Ran, on_shared_bench, probe};

/// An API for one test alone, whose requests are counted.
fn with_api(test: impl AsyncFnOnce(&'static Bench, Api)) {
    on_shared_bench(async |bench| test(bench, Api::start().await).await);
}

async fn execution(bench: &Bench, api: &Api, steps: Value) -> Execution {
    let mut execution = bench.execution("probe", probe(steps)).await;
    execution.policy.allowed_hosts.push(api.url("").parse().unwrap());
    execution
}

async fn run(bench: &Bench, api: &Api, steps: Value) -> Ran {
    bench.sync(execution(bench, api, steps).await).await
}

/// With one permit, the script's own requests stand in line behind those of its lists.
async fn one_at_a_time(bench: &Bench, api: &Api, steps: Vec<Value>) -> Ran {
    let mut execution = execution(bench, api, json!(steps)).await;
    execution.policy.concurrency = 1;
    bench.sync(execution).await
}

fn counted(url: impl AsRef<str>, ahead: u64) -> Value {
    json!({ "do": "start-pages", "url": url.as_ref(), "text": "count", "n": ahead })
}

fn linked(url: impl AsRef<str>, ahead: u64) -> Value {
    json!({ "do": "start-pages", "url": url.as_ref(), "text": "link", "n": ahead })
}

fn take(list: u64, n: u64) -> Value {
    json!({ "do": "take-pages", "size": list, "n": n })
}

/// Takes all that are left.
fn drain(list: u64) -> Value {
    json!({ "do": "drain-pages", "size": list })
}

fn stop(list: u64) -> Value {
    json!({ "do": "stop-pages", "size": list })
}

fn gate(api: &Api, number: u64) -> Value {
    json!({ "do": "fetch", "url": api.url(&format!("/gate/{number}")) })
}

#[test]
fn pages_come_in_order_though_those_further_on_are_answered_first() {
    with_api(async |bench, api| {
        let steps = json!([counted(api.url("/list/6?gates=5"), 3), take(1, 8)]);
        // The last one to be let go is page 1, and with it the others come.
        let ((), ran) = tokio::join!(
            async {
                api.until_seen(4).await;
                for number in 1..=3 {
                    api.open_gates(number);
                    api.until_waiting(4 - number).await;
                }
                assert_eq!(api.seen(), [1, 2, 3, 4], "no more than one and three ahead");
                api.open_gates(4);
            },
            run(bench, &api, steps)
        );
        let ran = ran.succeeded();
        assert_eq!(
            ran.said("take-pages"),
            ["200 [1] | 200 [2] | 200 [3] | 200 [4] | 200 [5] | 200 [6] | 200  [ ] | none"]
        );
    });
}

#[test]
fn one_page_and_as_many_as_are_wished_ahead_are_under_way_at_most() {
    with_api(async |bench, api| {
        let steps = json!([counted(api.url("/list/40?gates=4"), 2), take(1, 41)]);
        let opened = async {
            api.until_waiting(3).await;
            api.open_gates(3);
        };
        let (ran, ()) = tokio::join!(run(bench, &api, steps), opened);
        assert!(ran.succeeded().said("take-pages")[0].ends_with("200 [40] | 200  [ ]"));
        assert_eq!(api.most_at_once(), 3);
    });
}

#[test]
fn nothing_is_requested_further_ahead_than_wished_and_eight_pages_at_most() {
    for (ahead, requested) in [(0, 0), (1, 1), (8, 8), (9, 8), (u64::from(u32::MAX), 8)] {
        with_api(async |bench, api| {
            let mut steps = vec![counted(api.url("/list/40"), ahead)];
            steps.extend((0..20).map(|_| gate(&api, 0)));
            one_at_a_time(bench, &api, steps).await.succeeded();
            assert_eq!(api.seen(), (1..=requested).collect::<Vec<_>>(), "{ahead}");
        });
    }
}

#[test]
fn a_chain_of_links_goes_ahead_while_the_script_is_busy() {
    with_api(async |bench, api| {
        let mut steps = vec![linked(api.url("/list/5?link=path"), 3), gate(&api, 1)];
        steps.extend((0..20).map(|_| gate(&api, 0)));
        let steps = json!([steps, vec![json!({ "do": "log", "text": "taking" }), gate(&api, 2), take(1, 6)]].concat());
        let watched = async {
            api.until_seen(3).await;
            api.open_gates(1);
            // The script's twenty requests are through; there was time for a fourth page.
            api.until_waiting(1).await;
            api.open_gates(2);
        };
        let (ran, ()) = tokio::join!(run(bench, &api, steps), watched);
        let ran = ran.succeeded();
        assert_eq!(ran.said("take-pages"), ["200 [1] | 200 [2] | 200 [3] | 200 [4] | 200 [5] | none"]);
        assert_eq!(api.seen(), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_link_is_followed_no_further_ahead_than_wished() {
    with_api(async |bench, api| {
        let mut steps = vec![linked(api.url("/list/9?link=path"), 3)];
        steps.extend((0..20).map(|_| gate(&api, 0)));
        one_at_a_time(bench, &api, steps).await.succeeded();
        assert_eq!(api.seen(), [1, 2, 3]);
    });
}

#[test]
fn a_relative_link_leads_from_the_request_and_a_foreign_one_past_the_same_checks() {
    with_api(async |bench, api| {
        // The link has the page, so the first request's must not be sent with it again.
        let mut with_query = linked(api.url("/list/2?link=query"), 2);
        with_query["list"] = json!(["page", "1"]);
        let mut execution = execution(
            bench,
            &api,
            json!([
                // A path on a base URL that has a path itself: the link has all of it.
                linked("/list/3?link=path", 2),
                take(1, 4),
                with_query,
                take(2, 3),
                linked(api.url("/list/2?link=abroad"), 2),
                take(3, 3),
                linked(api.url("/list/2?link=broken"), 2),
                take(4, 3),
                linked(api.url("/list/2?link=circle"), 2),
                take(5, 4),
                linked(api.url("/list/3?link=path&fail=2"), 2),
                take(6, 3),
            ]),
        )
        .await;
        execution.policy.base_url = Some(api.url("/v1").parse().unwrap());
        let ran = bench.sync(execution).await.succeeded();
        let said = ran.said("take-pages");
        assert_eq!(said[..2], ["200 [1] | 200 [2] | 200 [3] | none", "200 [1] | 200 [2] | none"]);
        assert!(said[2].starts_with("200 [1] | Error::Denied(") && said[2].contains("abroad.example"), "{}", said[2]);
        assert!(
            said[3].starts_with("200 [1] | Error::InvalidRequest(") && said[3].contains("cannot be read"),
            "{}",
            said[3]
        );
        assert!(said[4].starts_with("200 [1] | 200 [1] | Error::InvalidRequest("), "{}", said[4]);
        assert!(said[4].contains("the same link") && said[4].ends_with("| none"), "{}", said[4]);
        assert_eq!(said[5], "200 [1] | 500 [2] | none");
        for end in &said[2..4] {
            assert!(end.ends_with("| none"), "{end}");
        }
    });
}

#[test]
fn a_page_without_an_answer_comes_in_its_place_and_is_the_last() {
    with_api(async |bench, api| {
        let mut slow = counted(api.url("/list/9?silent=3"), 4);
        slow["timeout_ms"] = json!(1000);
        let ran = run(
            bench,
            &api,
            json!([
                counted(api.url("/list/9?fail=3"), 4),
                take(1, 5),
                slow,
                take(2, 5),
                counted("https://not-allowed.example/", 4),
                take(3, 2),
            ]),
        )
        .await
        .succeeded();
        let said = ran.said("take-pages");
        assert_eq!(said[0], "200 [1] | 200 [2] | 500 [3] | none | none");
        assert_eq!(said[1], "200 [1] | 200 [2] | Error::TimedOut | none | none");
        assert!(said[2].starts_with("Error::Denied(") && said[2].ends_with("| none"), "{}", said[2]);
    });
}

#[test]
fn no_page_is_requested_once_one_further_on_was_the_last() {
    with_api(async |bench, api| {
        // Page 2 does not come, and page 3, which is empty, is there before page 2 is asked for.
        let mut list = counted(api.url("/list/2?silent=2"), 3);
        list["timeout_ms"] = json!(1000);
        let mut steps = vec![list, take(1, 1)];
        steps.extend((0..10).map(|_| gate(&api, 0)));
        steps.push(take(1, 2));
        let mut execution = execution(bench, &api, json!(steps)).await;
        // One for page 2, and one for all others in a line.
        execution.policy.concurrency = 2;
        let ran = bench.sync(execution).await.succeeded();
        assert_eq!(ran.said("take-pages"), ["200 [1]", "Error::TimedOut | none"]);
        // Page 4 may have been requested before page 3 was there.
        assert!(!api.seen().contains(&5), "{:?}", api.seen());
    });
}

#[test]
fn a_parameter_of_the_first_request_is_replaced_and_an_offset_grows_by_its_step() {
    with_api(async |bench, api| {
        let mut offsets = counted(api.url("/list/40"), 2);
        offsets["list"] = json!(["10", "15"]);
        let ran = run(bench, &api, json!([offsets, take(1, 4)])).await.succeeded();
        assert_eq!(ran.said("take-pages"), ["200 [10] | 200 [25] | 200 [40] | 200  [ ]"]);
        let mut end = counted(api.url("/list/18446744073709551615"), 2);
        end["list"] = json!(["18446744073709551614", "1"]);
        let ran = run(bench, &api, json!([end, take(1, 3)])).await.succeeded();
        assert_eq!(ran.said("take-pages"), ["200 [18446744073709551614] | 200 [18446744073709551615] | none"]);
    });
}

#[test]
fn a_list_that_is_stopped_gives_nothing_more_and_its_requests_end() {
    with_api(async |bench, api| {
        let steps = json!([
            counted(api.url("/list/9?gates=100"), 3),
            gate(&api, 1),
            stop(1),
            gate(&api, 2),
            take(1, 1),
            take(77, 1),
            stop(1),
        ]);
        let watched = async {
            api.until_waiting(4).await;
            api.open_gates(1);
            // Only the script's own request is left.
            api.until_waiting(1).await;
            api.open_gates(2);
        };
        let (ran, ()) = tokio::join!(run(bench, &api, steps), watched);
        assert_eq!(ran.succeeded().said("take-pages"), ["none", "none"]);
    });
}

#[test]
fn a_run_that_ends_ends_its_lists() {
    with_api(async |bench, api| {
        for (step, ended) in [("log", None), ("panic", Some(StopReason::Trapped))] {
            let steps = json!([
                counted(api.url("/list/9?gates=100"), 2),
                linked(api.url("/list/9?gates=100"), 2),
                gate(&api, 1),
                { "do": step },
            ]);
            let watched = async {
                api.until_waiting(4).await;
                api.open_gates(1);
            };
            let (ran, ()) = tokio::join!(run(bench, &api, steps), watched);
            match ended {
                None => drop(ran.succeeded()),
                Some(reason) => drop(ran.stopped(reason, &[])),
            }
            api.until_waiting(0).await;
            api.open_gates(0);
        }
    });
}

#[test]
fn the_limit_of_requests_under_way_holds_over_lists_started_ones_and_fetch_all() {
    with_api(async |bench, api| {
        let url = api.url("/list/50?gates=100");
        let mut execution = execution(
            bench,
            &api,
            json!([
                counted(&url, 1),
                { "do": "start", "n": 1, "url": api.url("/gate/99") },
                { "do": "fetch-all", "n": 10, "url": api.url("/gate/99") },
                { "do": "wait", "n": 1 },
                take(1, 1),
            ]),
        )
        .await;
        execution.policy.concurrency = 3;
        let opened = async {
            api.until_waiting(3).await;
            api.open_gates(99);
        };
        let (ran, ()) = tokio::join!(bench.sync(execution), opened);
        ran.succeeded();
        assert_eq!(api.most_at_once(), 3);
    });
}

#[test]
fn at_most_eight_lists_are_started_at_a_time_and_a_counter_grows() {
    with_api(async |bench, api| {
        let mut steps: Vec<Value> = (0..9).map(|_| counted(api.url("/list/1"), 0)).collect();
        // One comes to its end, one is stopped.
        steps.extend([take(1, 3), counted(api.url("/list/1"), 0), counted(api.url("/list/1"), 0)]);
        steps.extend([stop(2), counted(api.url("/list/1"), 0)]);
        let mut never = counted(api.url("/list/1"), 0);
        never["list"] = json!(["1", "0"]);
        steps.extend([stop(3), never]);
        let ran = run(bench, &api, json!(steps)).await.succeeded();
        let said = ran.said("start-pages");
        let refused = |text: &str| text.contains("InvalidRequest") && text.contains("8 lists");
        assert_eq!(said[..8].join(" "), "1 2 3 4 5 6 7 8");
        assert!(refused(said[8]) && said[9] == "9" && refused(said[10]) && said[11] == "10", "{said:?}");
        assert!(said[12].contains("step 0"), "{}", said[12]);
    });
}

#[test]
fn pages_ahead_count_as_requests_and_as_memory_of_the_run() {
    with_api(async |bench, api| {
        let mut few = execution(bench, &api, json!([counted(api.url("/list/9"), 4), take(1, 5)])).await;
        few.limits.http_requests = 3;
        let ran = bench.sync(few).await.succeeded();
        assert_eq!(ran.said("take-pages")[0].matches("200").count(), 3);
        assert!(
            ran.said("take-pages")[0].ends_with("| Error::Exhausted(Budget::HttpRequests) | none"),
            "{:?}",
            ran.log
        );

        // Eight times a million bytes that the script never takes.
        let mut steps = vec![counted(api.url("/list/9?size=1000000"), 8)];
        steps.extend((0..20).map(|_| gate(&api, 0)));
        let mut large = execution(bench, &api, json!(steps)).await;
        (large.limits.memory, large.policy.concurrency) = (6 << 20, 1);
        bench.sync(large).await.stopped(StopReason::OutOfMemory, &["memory limit of 6 MiB exceeded"]);
        one_at_a_time(bench, &api, steps).await.succeeded();
    });
}

#[test]
fn memory_of_pages_is_given_back_when_they_are_taken_and_when_they_are_thrown_away() {
    with_api(async |bench, api| {
        let url = |last: u64, wishes: &str| api.url(&format!("/list/{last}?size=300000{wishes}"));
        // Page 2 of each list waits for the gate of the list before. Were that closed, it and page 1 would have both permits.
        let mut thrown_away = vec![json!({ "do": "fetch", "url": api.url("/open/2") })];
        for list in 3..33 {
            // Page 1 waits for a gate while those past it come. Then it is the last one, or the list is stopped.
            let wishes = format!("&gates={}{}", list + 1, if list % 2 == 0 { "" } else { "&fail=1" });
            thrown_away.push(counted(url(100, &wishes), 4));
            thrown_away.extend((0..8).map(|_| gate(&api, 0)));
            thrown_away.push(json!({ "do": "fetch", "url": api.url(&format!("/open/{list}")) }));
            thrown_away.extend([take(list, 1), stop(list)]);
        }
        let steps =
            [vec![counted(url(100, ""), 4), drain(1), linked(url(100, "&link=path"), 4), drain(2)], thrown_away];
        let mut execution = execution(bench, &api, json!(steps.concat())).await;
        // One for the page that waits, and one for all others in a line.
        (execution.limits.memory, execution.policy.concurrency) = (8 << 20, 2);
        // A page that fails is not asked for again, after seconds: the list is thrown away as it stands.
        execution.policy.retry.max = 0;
        let ran = bench.sync(execution).await.succeeded();
        assert_eq!(ran.said("drain-pages"), ["101 pages of status Some(200)", "100 pages of status Some(200)"]);
        let received = ran.usage().http_bytes;
        assert!(received > 2 * 100 * 300_000 + 2 * (8 << 20), "{received}: too few pages were thrown away to tell");
    });
}

#[test]
fn the_sdk_fetches_ahead_and_gives_the_same_pages() {
    with_api(async |bench, api| {
        let steps = |ahead: u64| {
            json!([
                { "do": "sdk-pages", "url": api.url("/list/12"), "n": ahead, "text": "number" },
                { "do": "sdk-pages", "url": api.url("/list/12?link=path"), "n": ahead, "text": "link" },
                { "do": "sdk-pages", "url": api.url("/list/12"), "n": ahead, "text": "offset" },
                { "do": "sdk-pages", "url": api.url("/list/12?fail=5"), "n": ahead, "text": "number" },
            ])
        };
        let plain = run(bench, &api, steps(0)).await.succeeded();
        let ahead = run(bench, &api, steps(3)).await.succeeded();
        assert_eq!(plain.said("sdk-pages"), ahead.said("sdk-pages"));
        assert_eq!(plain.said("sdk-pages")[0].matches(" | ").count(), 12);
        assert!(plain.said("sdk-pages")[3].contains("status 500"));
    });
}
