//! Very many runs at once.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::service::api::{Account, Do};
use crate::service::{THREADS, until};

const MIB: u64 = 1 << 20;
/// What the process needs besides the memory that its guests are admitted for: a debug build's own, stacks, buffers.
const OWN: u64 = 96 * MIB;

#[test]
fn runs_and_actions_together_get_no_more_memory_than_there_is_for_them() {
    const BUDGET: u64 = 320 * MIB;
    library_case("G07", || {
        THREADS.block_on(async {
            let ground = Ground::start(&[("TERAPI_RUNS_MEMORY", "320MiB")]).await;
            ground.client.upload_bytes(guest("probe"), "name=g07").await.ok();
            ground.client.upload("poster", "").await.ok();
            ground.api.rule(|seen| match seen.account.as_str() {
                "canary" => Do::Serve,
                _ => Do::Wait(Duration::from_millis(200)),
            });
            let names: Vec<String> = (0..50).map(|nth| format!("g07-{nth:02}")).collect();
            for name in &names {
                ground.api.put(name, Account::of(name, 1, 1));
                connect(&ground.client, &ground.api, name, json!({ "type": "none" })).await;
                let hold = json!({ "do": "hold", "size": 48 * MIB });
                let fetch = json!({ "do": "fetch", "url": ground.api.url(&format!("/{name}/items")) });
                manual(&ground, "g07", name, json!({ "steps": [hold, fetch] })).await;
            }
            ground
                .check("G07", async |ground| {
                    let before = ground.memory().await;
                    let runs = names.iter().map(|name| ground.run("g07", name));
                    let act = async |nth: usize| {
                        let path = format!("/v1/connections/g07-{nth:02}/actions/poster");
                        ground.client.post(&path, &json!({ "text": "x" })).await.ok();
                    };
                    let work = async {
                        let actions = futures_util::future::join_all((0..20).map(act));
                        tokio::join!(futures_util::future::join_all(runs), actions).0
                    };
                    let (mut most, mut admitted) = (0, 0);
                    let watch = async {
                        loop {
                            most = most.max(ground.memory().await);
                            admitted = admitted.max(ground.admitted().await);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    };
                    let runs = tokio::select! {
                        runs = work => runs,
                        () = watch => unreachable!(),
                    };
                    for run in &runs {
                        ran(run, "succeeded");
                    }
                    assert!((192 * MIB..=BUDGET).contains(&admitted), "{} MiB were admitted", admitted / MIB);
                    assert!(most <= before + BUDGET + OWN, "{} MiB, {} before", most / MIB, before / MIB);
                    Vec::new()
                })
                .await;
        });
    });
}

#[test]
fn a_thousand_connections_of_one_script_at_once_run_through() {
    library_case("G32", || {
        THREADS.block_on(async {
            let ground = Ground::start(&[]).await;
            let script = HandWritten::default();
            ground.client.upload_bytes(script.bytes(), "name=g32").await.ok();
            let names: Vec<String> = (0..1_000).map(|nth| format!("g32-{nth:04}")).collect();
            for some in names.chunks(20) {
                let made = some.iter().map(async |name| {
                    connect(&ground.client, &ground.api, name, json!({ "type": "none" })).await;
                    manual(&ground, "g32", name, json!({})).await;
                });
                futures_util::future::join_all(made).await;
            }
            // Once before, as slots of the pool and the allocator keep some of what they have had once, and what is looked for is what
            // they take more each time.
            crowd(&ground, &names).await;
            ground
                .check("G32", async |ground| {
                    let before = ground.memory().await;
                    crowd(ground, &names).await;
                    let after = ground.memory().await;
                    assert!(after <= before + OWN, "{} MiB, {} before", after / MIB, before / MIB);
                    Vec::new()
                })
                .await;
        });
    });
}

/// All of them are asked to run at once, and do.
async fn crowd(ground: &Ground, names: &[String]) {
    let asked = names.iter().map(async |name| {
        ground.client.post(&format!("/v1/syncs/{name}/g32/base/trigger"), &json!({})).await.ok();
    });
    futures_util::future::join_all(asked).await;
    // Among them a neighbor comes through.
    ground.canary().await;
    until("all have run", async || {
        let syncs = ground.client.get("/v1/syncs?limit=1000").await.ok();
        let mut more = syncs["items"].as_array().unwrap().clone();
        if let Some(next) = syncs["next"].as_str() {
            let page = ground.client.get(&format!("/v1/syncs?limit=1000&after={next}")).await.ok();
            more.extend(page["items"].as_array().unwrap().iter().cloned());
        }
        let idle = |it: &serde_json::Value| !["running", "waiting"].contains(&it["state"].as_str().unwrap());
        let done = more.iter().filter(|it| it["script"] == "g32" && it["last_outcome"] == "succeeded" && idle(it));
        (done.count() == names.len()).then_some(())
    })
    .await;
}
