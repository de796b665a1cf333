//! Calls of the host that cost it much more than the guest, if they were not charged and held.

use serde_json::json;

use super::*;
use crate::service::api::Do;

const LOG: &str = r#"(import "terapi:sync/log@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32 i32)))"#;

#[test]
fn ten_million_calls_that_do_nothing_run_out_of_fuel_and_so_do_a_few_that_carry_much() {
    case("G09", async |ground| {
        let calls = json!([{ "do": "calls", "n": 10_000_000 }]);
        let run = steps(ground, "g09-calls", "fuel=200000000", calls).await;
        ran(&run, "out-of-fuel");
        assert_eq!(run["usage"]["fuel"], 200_000_000);
        // Sixteen mebibytes a call, for ever: paid by the call alone that would be hours, and each held its thread.
        let heavy = HandWritten {
            imports: LOG.to_owned(),
            pages: 300,
            ..HandWritten::run(
                "(loop $again
                    (call $log (i32.const 0) (i32.const 65536) (i32.const 16777216) (i32.const 0) (i32.const 0) (i32.const 0))
                    (br $again))",
            )
        };
        // And of what is logged no more is held than is kept.
        let (before, mut most) = (ground.memory().await, 0);
        let watch = async {
            loop {
                most = most.max(ground.memory().await);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let run = tokio::select! {
            run = once(ground, "g09-heavy", &heavy, "fuel=300000000&timeout_ms=60000") => run,
            () = watch => unreachable!(),
        };
        ran(&run, "out-of-fuel");
        assert!(most < before + (96 << 20), "{most} bytes, {before} before");
        vec!["out-of-fuel"; 2]
    });
}

#[test]
fn a_list_of_a_million_entries_of_nothing_is_stopped_while_it_is_lifted() {
    case("G10", async |ground| {
        let save = HandWritten {
            imports: r#"(import "terapi:sync/records@0.1.0" "batch-save" (func $save (param i32 i32 i32 i32 i32)))"#
                .to_owned(),
            pages: 300,
            fields: r#"(data (i32.const 1024) "Thing")"#.to_owned(),
            ..HandWritten::run(
                "(call $save (i32.const 1024) (i32.const 5) (i32.const 65536) (i32.const 1000000) (i32.const 512))",
            )
        };
        let run = once(ground, "g10", &save, "").await;
        ran(&run, "exhausted");
        assert!(run["outcome"]["message"].as_str().unwrap().contains("smaller batches"), "{run:#}");
        vec!["exhausted"]
    });
}

#[test]
fn a_hundred_thousand_requests_at_once_are_none() {
    case("G12", async |ground| {
        let all = |n: u32| json!([{ "do": "fetch-all-raw", "n": n, "url": ground.api.url("/g12/items") }]);
        let run = steps(ground, "g12-many", "", all(33)).await;
        ran(&run, "succeeded");
        probe(ground, "g12-log", "", all(10_000)).await;
        let run = ground.run("g12-log", "g12-log").await;
        ran(&run, "succeeded");
        let said = log(ground, &run).await.concat();
        assert!(said.contains("10000 answers, 10000 errors"), "{said}");
        assert_eq!(run["usage"]["http_requests"], 0);
        forget(ground, "g12-log").await;
        let run = steps(ground, "g12-most", "memory=268435456", all(200_000)).await;
        ran(&run, "exhausted");
        assert!(ground.api.seen().iter().all(|seen| seen.account != "g12"));
        vec!["exhausted"]
    });
}

#[test]
fn what_a_guest_reads_of_errors_names_neither_credential_nor_address() {
    const OWN: &str = "g29-secret-4711-credential";
    case("G29", async |ground| {
        let log_before = ground.process.log_size();
        ground.api.rule(|seen| match seen.path.as_str() {
            "cut" => Do::Cut,
            "moved" => Do::Answer(302, vec![("location", "http://127.0.0.1:9/".to_owned())], String::new()),
            _ => Do::Serve,
        });
        ground.client.upload_bytes(guest("probe"), "name=g29").await.ok();
        connect(&ground.client, &ground.api, "g29", json!({ "type": "api-key", "key": OWN })).await;
        let urls = [
            "/cut".to_owned(),
            "/moved".to_owned(),
            "/nothing?key=wrong".to_owned(),
            "http://no-such-host.invalid/".to_owned(),
            "http://localhost:1/".to_owned(),
            "http://127.0.0.1:1/".to_owned(),
            "http://user:pass@127.0.0.1/".to_owned(),
            "file:///etc/passwd".to_owned(),
            "http://[::1]/".to_owned(),
            "not a url".to_owned(),
        ];
        let fetches: Vec<_> =
            urls.iter().map(|url| json!({ "do": "fetch", "url": url, "timeout_ms": 2_000 })).collect();
        manual(ground, "g29", "g29", json!({ "steps": fetches })).await;
        let run = ground.run("g29", "g29").await;
        ran(&run, "succeeded");
        let said = log(ground, &run).await;
        let run = ground.client.get(&format!("/v1/runs/{}", run["id"].as_str().unwrap())).await.ok().to_string();
        for text in said.iter().chain([&run]) {
            assert!(!text.contains(OWN), "the credential is in: {text}");
        }
        // What was not asked for by its number is not told by it.
        let of_name = said.iter().find(|text| text.contains("localhost:1") || text.contains("no-such-host"));
        assert!(of_name.is_none_or(|text| !text.contains("127.0.0.1") && !text.contains("::1")), "{of_name:?}");
        ground.api.no_rule();
        ground.client.delete("/v1/connections/g29").await.ok();
        ground.client.delete("/v1/scripts/g29").await.ok();
        // Whether egress tells the operator of denials is not this case's business.
        ground.limits_since(log_before).into_iter().map(|limit| &*limit.leak()).collect()
    });
}
