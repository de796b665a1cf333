//! kill -9 of the service in the middle of its runs: it goes on at once, loses nothing, doubles nothing, and who reads by
//! cursor notices nothing but the pause.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::api::{Account, Do};
use super::server::{Process, init};
use super::*;

const ACCOUNTS: usize = 20;
/// Pages of an account; each takes the API a while, so that a kill finds all of them in the middle.
const PAGES: usize = 40;
const PAGE_SIZE: usize = 5;
/// What the service may take from when it listens to the first request of a run that goes on.
const GOES_ON_WITHIN: Duration = Duration::from_secs(5);

fn name(nth: usize) -> String {
    format!("account-{nth:02}")
}

/// What an app knows of one account: the records, and how far it has read.
#[derive(Default)]
struct App {
    records: BTreeMap<String, String>,
    cursor: Option<String>,
    changes: usize,
}

impl App {
    /// Reads on from where it was.
    async fn read(&mut self, client: &Client, account: &str) {
        loop {
            let cursor = self.cursor.as_ref().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
            let path = format!("/v1/connections/{account}/records/Item?limit=37{cursor}");
            // A cursor is good for ever: anything but a page is a failure.
            let page = client.get(&path).await.ok();
            for record in page["records"].as_array().unwrap() {
                let (id, text) = (record["id"].as_str().unwrap(), record["data"]["text"].as_str().unwrap());
                let before = self.records.insert(id.to_owned(), text.to_owned());
                let action = record["last_action"].as_str().unwrap();
                assert_eq!(before.is_none(), action == "added", "{account}: {record}, known as {before:?}");
                self.changes += 1;
            }
            self.cursor = Some(page["cursor"].as_str().unwrap().to_owned());
            if page["more"] == false {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_twenty_syncs_it_goes_on_at_once_and_every_record_is_there_once() {
    let kills = std::env::var("TERAPI_SERVICE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4_usize);
    let seed = std::env::var("TERAPI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x7e2a_9115_u64);
    eprintln!("{kills} kills, seed {seed} (set TERAPI_SERVICE_KILLS, TERAPI_SEED for others)");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let key = init(&data);
    let api = ItemsApi::start().await;
    let names: Vec<String> = (0..ACCOUNTS).map(name).collect();
    for account in &names {
        api.put(account, Account::of(account, PAGES * PAGE_SIZE, PAGE_SIZE));
    }
    api.rule(|_| Do::Wait(Duration::from_millis(30)));
    let mut process = Process::start(&data, &[]);
    let mut client = Client::new(&process.url, &key);
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    set_up(&client, &api, &refs).await;
    for account in &names {
        start_now(&client, account).await;
    }
    let mut apps: BTreeMap<&str, App> = names.iter().map(|account| (account.as_str(), App::default())).collect();
    let (mut slowest, mut interrupted_at_once) = (Duration::ZERO, Vec::new());
    let mut texts = 0_usize;
    for kill in 0..kills {
        // Some time within the work of this round.
        let until = api.count() + random.random_range(10..ACCOUNTS * PAGES / 4);
        api.until_count(until).await;
        for (account, app) in &mut apps {
            if random.random_bool(0.5) {
                app.read(&client, account).await;
            }
        }
        let running = client.get("/v1/syncs?limit=1000").await.ok();
        let running = running["items"].as_array().unwrap().iter().filter(|sync| sync["state"] == "running").count();
        interrupted_at_once.push(running);
        process.kill();
        // What changes while nobody looks.
        for account in &names {
            if random.random_bool(0.7) {
                continue;
            }
            texts += 1;
            let nth = random.random_range(0..PAGES * PAGE_SIZE);
            api.change(account, |account| account.items[nth].1 = format!("changed before kill {kill}, {texts}"));
        }
        let count = api.count();
        process = Process::start(&data, &[]);
        client = Client::new(&process.url, &key);
        let listening = Instant::now();
        if running > 0 {
            let within = tokio::time::timeout(GOES_ON_WITHIN, api.until_count(count + 1)).await;
            assert!(within.is_ok(), "kill {kill}: {running} runs were under way, and none went on");
            slowest = slowest.max(listening.elapsed());
        }
        for (account, app) in &mut apps {
            app.read(&client, account).await;
        }
        // A script that was under way at a kill runs alone until it has succeeded, as one that does so three times over is
        // not run any more. This one is innocent.
        super::until("the script is no suspect", async || {
            client.get("/v1/scripts/paged").await.ok()["suspicion"].is_null().then_some(())
        })
        .await;
        // There is always something under way for the next kill.
        for account in &names {
            client.post(&format!("{}/trigger", sync_path(account)), &json!({})).await.ok();
        }
    }
    eprintln!("runs under way at the kills: {interrupted_at_once:?}; the slowest went on after {slowest:?}");
    assert!(interrupted_at_once.iter().all(|running| *running > ACCOUNTS / 2), "{interrupted_at_once:?}");

    // What a page had when it was fetched may have changed since: one whole run more sees all of it.
    for account in &names {
        until_succeeded(&client, account).await;
    }
    for account in &names {
        let ran = run(&client, account).await;
        assert_eq!(ran["outcome"]["code"], "succeeded", "{ran:#}");
    }
    for (account, app) in &mut apps {
        app.read(&client, account).await;
        let expected = api.items(account);
        let known: Vec<(String, String)> = app.records.clone().into_iter().collect();
        assert_eq!(known, expected, "{account}: what the app followed");
        assert_eq!(records(&client, account).await, expected, "{account}: what is read from the beginning");
        let stream = client.get(&sync_path(account)).await.ok()["streams"][0].clone();
        assert_eq!(stream["records"], expected.len(), "{account}");
    }
    let runs = client.get("/v1/runs?limit=1000").await.ok();
    let codes = runs["items"].as_array().unwrap().iter().map(|run| run["outcome"]["code"].clone());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    codes.for_each(|code: Value| *counts.entry(code.as_str().unwrap_or("none").to_owned()).or_default() += 1);
    eprintln!("{counts:?}");
    assert!(counts["interrupted"] >= kills * ACCOUNTS / 2, "{counts:?}");
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["interrupted", "succeeded"], "{counts:?}");
    assert_eq!(api.seen().iter().map(|seen| seen.inside).max().map(|most| most <= 2), Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_a_kill_broke_off_is_said_to_be_and_is_not_done_again_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let key = init(&data);
    let api = ItemsApi::start().await;
    let process = Process::start(&data, &[]);
    let client = Client::new(&process.url, &key);
    client.put("/v1/integrations/items", &integration(&api)).await.ok();
    client.upload("poster", "").await.ok();
    connect(&client, &api, "alpha", json!({ "type": "none" })).await;
    api.rule(|_| Do::Hold);
    let call = async |client: &Client| {
        let request = client.request(reqwest::Method::POST, "/v1/connections/alpha/actions/poster");
        let request = request.header("prefer", "respond-async").header("idempotency-key", "k");
        client.send(request.body(json!({ "text": "once" }).to_string())).await
    };
    let id = call(&client).await.ok()["id"].as_str().unwrap().to_owned();
    api.until_count(1).await;
    process.kill();
    let process = Process::start(&data, &[]);
    let client = Client::new(&process.url, &key);
    let told = until("the call is tidied", async || {
        let told = client.get(&format!("/v1/calls/{id}")).await.ok();
        (told["state"] != "running").then_some(told)
    })
    .await;
    assert_eq!((&told["state"], &told["error"]["code"]), (&json!("interrupted"), &json!("interrupted")));
    let again = call(&client).await;
    assert_eq!((again.status, again.json()["id"].as_str()), (424, Some(id.as_str())));
    assert_eq!(api.count(), 1, "it was done again");
}
