//! SIGTERM: runs come to rest, and go on after the next start.

use serde_json::json;

use super::api::{Account, Do};
use super::server::{Process, init};
use super::*;

const ACCOUNTS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Outcomes of an account's runs, the oldest first.
async fn outcomes(client: &Client, account: &str) -> Vec<String> {
    let runs = client.get(&format!("/v1/runs?connection={account}")).await.ok();
    let runs = runs["items"].as_array().unwrap();
    runs.iter().rev().map(|run| run["outcome"]["code"].as_str().unwrap_or("none").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sigterm_runs_come_to_rest_at_their_checkpoint_and_go_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let key = init(&data);
    let process = Process::start(&data, &[]);
    let client = Client::new(&process.url, &key);
    let api = ItemsApi::start().await;
    for account in ACCOUNTS {
        api.put(account, Account::of(account, 20, 2));
    }
    api.rule(|seen| if seen.page() == Some(3) { Do::Hold } else { Do::Serve });
    set_up(&client, &api, &ACCOUNTS).await;
    for account in ACCOUNTS {
        start_now(&client, account).await;
    }
    until("each is at page 3", async || ACCOUNTS.iter().all(|it| api.pages(it).contains(&3)).then_some(())).await;
    process.terminate();
    until("it takes no more", async || {
        let asked = client.try_send(client.with_key("").request(reqwest::Method::GET, "/v1/ready")).await;
        asked.map_or(true, |answer| answer.status == 503).then_some(())
    })
    .await;
    api.open();
    assert_eq!(process.ended().await.code(), Some(0));
    let before: Vec<usize> = ACCOUNTS.iter().map(|account| api.pages(account).len()).collect();
    assert!(before.iter().all(|pages| *pages < 10), "{before:?}: nothing was left to be done");

    let process = Process::start(&data, &[]);
    let client = Client::new(&process.url, &key);
    for account in ACCOUNTS {
        until_succeeded(&client, account).await;
        assert_eq!(outcomes(&client, account).await, ["parked", "succeeded"], "{account}");
        assert_eq!(records(&client, account).await, api.items(account));
        let mut pages = api.pages(account);
        pages.dedup();
        assert_eq!(pages, (1..=10).collect::<Vec<_>>(), "{account}");
        assert!(api.pages(account).len() <= 11);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_without_a_checkpoint_is_cancelled_when_patience_is_over_and_goes_on_after_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let key = init(&data);
    let process = Process::start(&data, &[("TERAPI_SERVER_SHUTDOWN_GRACE", "1s")]);
    let client = Client::new(&process.url, &key);
    let api = ItemsApi::start().await;
    api.put("alpha", Account::of("a", 20, 2));
    api.rule(|seen| if seen.page() == Some(3) { Do::Hold } else { Do::Serve });
    client.put("/v1/integrations/items", &integration(&api)).await.ok();
    client.upload("paged", "").await.ok();
    connect(&client, &api, "alpha", json!({ "type": "none" })).await;
    let spec = json!({
        "script": "paged",
        "connection": "alpha",
        "config": { "without_checkpoint": true },
        "start_at": "2026-01-01T00:00:00Z",
    });
    client.post("/v1/syncs", &spec).await.ok();
    until("it is at page 3", async || api.pages("alpha").contains(&3).then_some(())).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    api.open();

    let process = Process::start(&data, &[]);
    let client = Client::new(&process.url, &key);
    let sync = until_succeeded(&client, "alpha").await;
    assert_eq!(outcomes(&client, "alpha").await, ["cancelled", "succeeded"], "{sync}");
    assert_eq!(records(&client, "alpha").await, api.items("alpha"));
}
