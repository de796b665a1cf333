//! The scheduler, through the API.

use serde_json::{Value, json};
use terapi::runtime::Options;

use super::api::{Account, Do};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_syncs_that_are_due_at_once_take_turns_and_none_runs_twice_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { runs_at_once: 4, ..options(dir.path()) };
    let server = Server::start(dir.path(), options, PATIENCE).await;
    let api = ItemsApi::start().await;
    let accounts: Vec<String> = (0..50).map(|nth| format!("{nth:02}")).collect();
    let mut clients = Vec::new();
    // All of one environment are due before any of the other.
    for environment in ["a", "b"] {
        let (_, client) = server.environment(environment).await;
        client.put("/v1/integrations/items", &integration(&api)).await.ok();
        for account in &accounts {
            let account = format!("{environment}-{account}");
            api.put(&account, Account::of(&account, 3, 1));
            connect(&client, &api, &account, json!({ "type": "none" })).await;
        }
        client.upload("paged", "").await.ok();
        clients.push((environment, client));
    }
    api.rule(|_| Do::Hold);
    for (environment, client) in &clients {
        for account in &accounts {
            let spec = json!({
                "script": "paged",
                "connection": format!("{environment}-{account}"),
                "start_at": "2026-01-01T00:00:00Z",
            });
            client.post("/v1/syncs", &spec).await.ok();
        }
    }
    api.until_count(4).await;
    for (environment, client) in &clients {
        // Once more, for those that wait as well as for those that run: neither runs twice at a time.
        for account in &accounts {
            client.post(&format!("/v1/syncs/{environment}-{account}/paged/base/trigger"), &json!({})).await.ok();
        }
    }
    let waiting = clients[1].1.get("/v1/syncs?limit=1000").await.ok();
    assert!(waiting["items"].as_array().unwrap().iter().all(|sync| sync["state"] == "waiting"), "{waiting:#}");
    api.open();
    for (environment, client) in &clients {
        for account in &accounts {
            let account = format!("{environment}-{account}");
            until_succeeded(client, &account).await;
            assert_eq!(records(client, &account).await, api.items(&account));
        }
    }
    let seen = api.seen();
    assert_eq!(seen.iter().map(|seen| seen.inside).max(), Some(1), "a sync ran twice at a time");
    assert_eq!(seen.iter().map(|seen| seen.all_inside).max(), Some(4));
    // In the order in which they began.
    let mut begun: Vec<&str> = Vec::new();
    for seen in &seen {
        if !begun.contains(&seen.account.as_str()) {
            begun.push(&seen.account);
        }
    }
    assert_eq!(begun.len(), 100);
    let of_b = begun[..50].iter().filter(|account| account.starts_with("b-")).count();
    assert!((20..=30).contains(&of_b), "of the first 50 that ran {of_b} are of the second environment: {begun:?}");
    server.stop().await;
}

#[test]
fn a_permanent_failure_pauses_a_sync_and_says_so() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account { then: "fail", ..Account::of("a", 3, 10) });
        set_up(client, api, &["alpha"]).await;
        start_now(client, "alpha").await;
        let sync = until_sync(client, "alpha", "has failed", |sync| sync["state"] == "failed").await;
        assert_eq!((&sync["last_outcome"], &sync["next_run_at"]), (&json!("script-permanent"), &Value::Null));
        assert!(sync["reason"].as_str().unwrap().contains("the account is closed"), "{sync}");
        assert_eq!(records(client, "alpha").await.len(), 3, "what was saved before stays");
        // Started again, it goes on by itself.
        api.change("alpha", |account| account.then = "");
        client.post(&format!("{}/start", sync_path("alpha")), &json!({})).await.ok();
        until_succeeded(client, "alpha").await;
    });
}

#[test]
fn a_sync_whose_script_traps_again_and_again_is_paused_with_the_reason() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account { then: "trap", ..Account::of("a", 3, 10) });
        set_up(client, api, &["alpha"]).await;
        for time in 1..=5 {
            let ran = run(client, "alpha").await;
            assert_eq!(ran["outcome"]["code"], "trapped", "{ran}");
            assert!(ran["outcome"]["backtrace"].as_array().is_some_and(|trace| !trace.is_empty()), "{ran}");
            let sync = client.get(&sync_path("alpha")).await.ok();
            assert_eq!((&sync["failures"], sync["state"] == "failed"), (&json!(time), time == 5), "{sync}");
        }
        let sync = client.get(&sync_path("alpha")).await.ok();
        assert!(sync["reason"].as_str().unwrap().contains("trapped"), "{sync}");
        assert_eq!(sync["next_run_at"], Value::Null);
    });
}

#[test]
fn a_transient_failure_is_tried_again_later_and_counted() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account::of("a", 3, 10));
        set_up(client, api, &["alpha"]).await;
        api.rule(|_| Do::status(500));
        let ran = run(client, "alpha").await;
        assert_eq!(ran["outcome"]["code"], "script-transient", "{ran}");
        let sync = client.get(&sync_path("alpha")).await.ok();
        assert_eq!((&sync["failures"], &sync["state"]), (&json!(1), &json!("scheduled")), "{sync}");
        assert!(sync["next_run_at"].as_str() > sync["last_ended_at"].as_str(), "{sync}");
        assert!(sync["reason"].as_str().unwrap().contains("500"), "{sync}");
        api.no_rule();
        assert_eq!(run(client, "alpha").await["outcome"]["code"], "succeeded");
        assert_eq!(client.get(&sync_path("alpha")).await.ok()["failures"], 0);
    });
}
