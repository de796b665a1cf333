//! The host itself breaks: at a failpoint within a host function, and in what is let go at a run's end. It is our bug then, and
//! that run's alone.

use serde_json::json;

use super::*;
use crate::service::api::Do;
use crate::service::{THREADS, until};

/// A server in which this breaks for the connection `breaks`.
async fn breaking(point: &str) -> Ground {
    let points = format!("{point}/breaks=panic(the host broke on purpose)");
    // Backtraces of a debug build take a hundred megabytes to read its symbols.
    let settings = [("FAILPOINTS", points.as_str()), ("RUST_BACKTRACE", "0")];
    let ground = Ground::start(&settings).await;
    ground.client.upload_bytes(guest("probe"), "name=probe").await.ok();
    for name in ["breaks", "neighbor"] {
        connect(&ground.client, &ground.api, name, json!({ "type": "none" })).await;
        let steps = json!([{ "do": "save", "list": ["a", "{}"] }, { "do": "date" }]);
        manual(&ground, "probe", name, json!({ "steps": steps })).await;
    }
    ground
}

#[test]
fn a_panic_in_a_host_function_ends_its_run_and_no_other() {
    library_case("G24", || {
        THREADS.block_on(async {
            let ground = breaking("run::host-call").await;
            let check = async |ground: &Ground| {
                for _ in 0..3 {
                    let run = ground.run("probe", "breaks").await;
                    ran(&run, "internal");
                    let message = run["outcome"]["message"].as_str().unwrap();
                    assert!(message.contains("broke on purpose") && message.contains("report"), "{message}");
                    ran(&ground.run("probe", "neighbor").await, "succeeded");
                }
                vec!["internal"; 3]
            };
            ground.check_panicking("G24", check).await;
        });
    });
}

#[test]
fn a_panic_while_a_run_is_let_go_ends_it_and_frees_its_slot_also_while_it_is_cancelled() {
    library_case("G25", || {
        THREADS.block_on(async {
            let ground = breaking("run::drop").await;
            let check = async |ground: &Ground| {
                ran(&ground.run("probe", "breaks").await, "internal");
                // Cancelled in the middle of a request.
                ground.api.rule(|seen| if seen.account == "held" { Do::Hold } else { Do::Serve });
                let steps = json!([{ "do": "fetch", "url": ground.api.url("/held/items") }]);
                let path = "/v1/syncs/breaks/probe/base";
                ground.client.patch(path, &json!({ "config": { "steps": steps } })).await.ok();
                ground.client.post(&format!("{path}/trigger"), &json!({})).await.ok();
                until("it waits", async || ground.api.seen().iter().any(|seen| seen.account == "held").then_some(()))
                    .await;
                ground.client.post(&format!("{path}/cancel"), &json!({})).await.ok();
                until("it has ended", async || {
                    let sync = ground.client.get(path).await.ok();
                    (sync["state"] != "running" && sync["last_outcome"] == "internal").then_some(())
                })
                .await;
                ground.api.no_rule();
                // Its slot and its lease are free.
                ran(&ground.run("probe", "breaks").await, "internal");
                ran(&ground.run("probe", "neighbor").await, "succeeded");
                vec!["internal"; 3]
            };
            ground.check_panicking("G25", check).await;
        });
    });
}

#[test]
fn a_panic_of_the_runtime_before_a_run_begins_leaves_no_sync_running_and_no_caller_waiting() {
    library_case("G24", || {
        THREADS.block_on(async {
            let ground = breaking("run::begin").await;
            ground.client.upload("poster", "").await.ok();
            let check = async |ground: &Ground| {
                let path = "/v1/syncs/breaks/probe/base";
                for _ in 0..2 {
                    ground.client.post(&format!("{path}/trigger"), &json!({})).await.ok();
                    until("it has ended", async || {
                        let sync = ground.client.get(path).await.ok();
                        (sync["state"] != "running" && sync["last_outcome"] == "internal").then_some(())
                    })
                    .await;
                }
                let call = ground.client.post("/v1/connections/breaks/actions/poster", &json!({ "text": "x" })).await;
                assert_eq!((call.status, &call.json()["error"]["code"]), (424, &json!("internal")));
                ran(&ground.run("probe", "neighbor").await, "succeeded");
                Vec::new()
            };
            ground.check_panicking("G24", check).await;
        });
    });
}
