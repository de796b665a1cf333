//! `terapi serve`, as the app and the operator see it: over HTTP, with an external API beside it that the tests move.

pub(crate) mod api;
pub(crate) mod client;
mod credentials;
mod isolation;
mod kills;
mod manners;
mod scheduler;
pub(crate) mod server;
mod serving;
mod stopping;
mod walk;

use std::time::Duration;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use terapi::runtime::Runtime;
use tokio::sync::OnceCell;

use self::api::ItemsApi;
use self::client::Client;
use self::server::{Server, options};

/// Nothing here takes so long; a test that waits for longer waits in vain.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// An environment of its own on the service that all such tests share, so that a script is compiled once.
struct Env {
    client: Client,
    api: ItemsApi,
    runtime: Runtime,
    server: &'static Server,
}

/// Two threads, as a small server has: what blocks one of them shows.
pub(crate) static THREADS: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// Runs a test in an environment of its own.
fn on_service(test: impl AsyncFnOnce(Env)) {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    THREADS.block_on(async {
        let start = async || {
            // For as long as the process lives.
            let dir = Box::leak(Box::new(tempfile::tempdir().unwrap()));
            Server::start(dir.path(), options(dir.path()), PATIENCE).await
        };
        let server = SERVER.get_or_init(start).await;
        let name = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (runtime, client) = server.environment(&name).await;
        test(Env { client, api: ItemsApi::start().await, runtime, server }).await;
    });
}

/// Asks again until the answer is what is waited for.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// An integration of the API, whose retries do not wait for long.
pub(crate) fn integration(api: &ItemsApi) -> Value {
    json!({
        "base_url": api.url(""),
        "networks": ["127.0.0.0/8"],
        "retry": { "first_wait_ms": 5, "max_wait_ms": 50 },
    })
}

/// Integration `items`, script `paged` for it, and a connection for each of these accounts. The syncs start by themselves.
async fn set_up(client: &Client, api: &ItemsApi, accounts: &[&str]) {
    client.put("/v1/integrations/items", &integration(api)).await.ok();
    client.upload("paged", "integration=items").await.ok();
    for account in accounts {
        connect(client, api, account, json!({ "type": "none" })).await;
    }
}

/// A connection named as its account.
pub(crate) async fn connect(client: &Client, api: &ItemsApi, account: &str, credential: Value) {
    let spec = json!({
        "name": account,
        "integration": "items",
        "base_url": api.url(&format!("/{account}")),
        "credential": credential,
    });
    client.post("/v1/connections", &spec).await.ok();
}

fn sync_path(account: &str) -> String {
    format!("/v1/syncs/{account}/paged/base")
}

/// Lets the schedule begin now, without the jitter that spreads first runs.
async fn start_now(client: &Client, account: &str) -> Value {
    client.patch(&sync_path(account), &json!({ "start_at": "2026-01-01T00:00:00Z" })).await.ok()
}

/// The sync, once this holds.
async fn until_sync(client: &Client, account: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    until(&format!("the sync of {account} {what}"), async || {
        let sync = client.get(&sync_path(account)).await.ok();
        holds(&sync).then_some(sync)
    })
    .await
}

/// The sync, once its last run has succeeded and none is under way.
async fn until_succeeded(client: &Client, account: &str) -> Value {
    until_sync(client, account, "has succeeded", |sync| {
        sync["last_outcome"] == "succeeded" && !["running", "waiting"].contains(&sync["state"].as_str().unwrap())
    })
    .await
}

/// Runs a sync, waits for its end, and returns the run.
async fn run(client: &Client, account: &str) -> Value {
    let body = json!({ "wait_seconds": 60 });
    let answer = client.post(&format!("{}/trigger", sync_path(account)), &body).await.ok();
    assert!(answer["run"].is_object(), "the run did not end: {answer}");
    answer["run"].clone()
}

/// Ids and texts of the records that exist, read from the beginning.
async fn records(client: &Client, account: &str) -> Vec<(String, String)> {
    let (mut found, mut cursor) = (std::collections::BTreeMap::new(), String::new());
    loop {
        let path = format!("/v1/connections/{account}/records/Item?limit=1000{cursor}");
        let page = client.get(&path).await.ok();
        for record in page["records"].as_array().unwrap() {
            let id = record["id"].as_str().unwrap().to_owned();
            if record["last_action"] == "deleted" {
                found.remove(&id);
            } else {
                found.insert(id, record["data"]["text"].as_str().unwrap().to_owned());
            }
        }
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
        if page["more"] == false {
            return found.into_iter().collect();
        }
    }
}
