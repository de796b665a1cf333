//! S05: a script that takes the process down again and again.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::library_case;
use crate::service::api::{Account, Do, ItemsApi};
use crate::service::client::Client;
use crate::service::server::{Process, Server, init, options};
use crate::service::{THREADS, connect, integration, until};
use crate::support::guest;

/// A service with a script `poison`, during whose runs the process is killed, and others.
struct Ward {
    data: PathBuf,
    key: String,
    api: ItemsApi,
    process: Option<Process>,
    client: Client,
    _dir: tempfile::TempDir,
}

/// The bytes of a guest as another version: with a custom section that says nothing.
fn version(name: &str, word: &str) -> Vec<u8> {
    let mut bytes = guest(name);
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    bytes.extend([0, length(word) + 2, length(word)]);
    bytes.extend(word.as_bytes());
    bytes.push(0);
    bytes
}

impl Ward {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let key = init(&data);
        let api = ItemsApi::start().await;
        let process = Process::start(&data, &[("TERAPI_LOG_FORMAT", "json")]);
        let client = Client::new(&process.url, &key);
        client.put("/v1/integrations/items", &integration(&api)).await.ok();
        for account in ["innocent", "poison", "third"] {
            api.put(account, Account::of(account, 6, 2));
            connect(&client, &api, account, json!({ "type": "none" })).await;
        }
        Self { data, key, api, process: Some(process), client, _dir: dir }
    }

    /// A script of the sync `name`, on the connection of this name, that runs only when asked.
    async fn sync(&self, name: &str, bytes: Vec<u8>) {
        self.client.upload_bytes(bytes, &format!("name={name}")).await.ok();
        let spec = json!({ "script": name, "connection": name, "frequency": "never" });
        self.client.post("/v1/syncs", &spec).await.ok();
    }

    fn path(name: &str) -> String {
        format!("/v1/syncs/{name}/{name}/base")
    }

    async fn trigger(&self, name: &str) {
        self.client.post(&format!("{}/trigger", Self::path(name)), &json!({})).await.ok();
    }

    async fn state(&self, name: &str) -> Value {
        self.client.get(&Self::path(name)).await.ok()["state"].clone()
    }

    /// What is held against a script: strikes, and whether it is quarantined.
    async fn suspicion(&self, name: &str) -> (u64, bool) {
        let script = self.client.get(&format!("/v1/scripts/{name}")).await.ok();
        let suspicion = &script["suspicion"];
        (suspicion["strikes"].as_u64().unwrap_or(0), suspicion["quarantined"] == true)
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn restart(&mut self) {
        let process = Process::start(&self.data, &[("TERAPI_LOG_FORMAT", "json")]);
        self.client = Client::new(&process.url, &self.key);
        self.process = Some(process);
    }

    fn requests_of(&self, account: &str) -> usize {
        self.api.seen().iter().filter(|seen| seen.account == account).count()
    }

    /// Returns once this account has asked for something that is held.
    async fn until_asked(&self, account: &str, before: usize) {
        let what = format!("{account} asks");
        until(&what, async || (self.requests_of(account) > before).then_some(())).await;
    }

    async fn until_succeeded(&self, name: &str) {
        until(&format!("{name} has succeeded"), async || {
            let sync = self.client.get(&Self::path(name)).await.ok();
            let rests = !["running", "waiting"].contains(&sync["state"].as_str().unwrap());
            (sync["last_outcome"] == "succeeded" && rests).then_some(())
        })
        .await;
    }

    fn incidents(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.data.with_extension("log")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| line["fields"].clone()).filter(|fields| fields["limit"] == "script-quarantined").collect()
    }
}

#[test]
fn a_script_that_takes_the_process_down_three_times_is_set_aside_and_its_neighbors_are_not() {
    library_case("S05", || {
        THREADS.block_on(async {
            let mut ward = Ward::open().await;
            ward.sync("poison", version("paged", "one")).await;
            ward.sync("innocent", version("paged", "other")).await;
            ward.sync("third", version("paged", "third")).await;
            ward.trigger("third").await;
            ward.until_succeeded("third").await;
            // Both are under way when the process dies: nobody knows which of them it was.
            ward.api.rule(|seen| if seen.account == "third" { Do::Serve } else { Do::Hold });
            ward.trigger("poison").await;
            ward.trigger("innocent").await;
            ward.until_asked("poison", 0).await;
            ward.until_asked("innocent", 0).await;
            ward.kill();

            let mut deaths = 1;
            loop {
                // Whoever of them has the turn: the innocent gets its answers, during a run of the other the process dies.
                let asked = ward.requests_of("poison");
                ward.api
                    .rule(|seen| if seen.account == "poison" { Do::Hold } else { Do::Wait(Duration::from_millis(50)) });
                ward.restart();
                let (strikes, quarantined) = ward.suspicion("poison").await;
                assert_eq!((strikes, quarantined), (deaths, deaths >= 3), "after {deaths} deaths");
                assert!(ward.suspicion("innocent").await.0 <= 1, "it was blamed for another");
                assert_eq!(ward.suspicion("third").await, (0, false));
                if quarantined {
                    break;
                }
                until("the poison runs alone", async || {
                    let states = (ward.state("poison").await, ward.state("innocent").await);
                    let suspect = ward.suspicion("innocent").await.0 > 0;
                    assert!(!suspect || states != (json!("running"), json!("running")), "two suspects at once");
                    (ward.requests_of("poison") > asked).then_some(())
                })
                .await;
                // Who is no suspect runs beside it.
                ward.trigger("third").await;
                ward.until_succeeded("third").await;
                ward.kill();
                deaths += 1;
                assert!(deaths <= 3, "it is run again and again");
            }

            // Set aside: said everywhere, asked in vain, and nothing of the connection is gone.
            ward.until_succeeded("innocent").await;
            assert_eq!(ward.suspicion("innocent").await, (0, false));
            let sync = until("the sync rests", async || {
                let sync = ward.client.get(&Ward::path("poison")).await.ok();
                (sync["state"] == "failed").then_some(sync)
            })
            .await;
            assert_eq!(sync["last_outcome"], "script-quarantined");
            let reason = sync["reason"].as_str().unwrap();
            assert!(reason.contains("terapi script release poison") && reason.contains("process died"), "{reason}");
            let asked = ward.requests_of("poison");
            let trigger = format!("{}/trigger", Ward::path("poison"));
            ward.client.post(&trigger, &json!({})).await.problem(409, "script-quarantined");
            assert_eq!(ward.requests_of("poison"), asked, "it was run");
            let listed = ward.client.get("/v1/scripts").await.ok();
            let listed = listed["items"].as_array().unwrap().iter().find(|it| it["name"] == "poison").unwrap().clone();
            assert_eq!(
                (&listed["suspicion"]["quarantined"], &listed["suspicion"]["offense"]),
                (&json!(true), &json!("process-died"))
            );
            assert_eq!(ward.incidents().len(), 1, "{:?}", ward.incidents());
            ward.client.get("/v1/connections/poison/records/Item").await.ok();
            ward.client.get("/v1/connections/poison").await.ok();
            ward.trigger("third").await;
            ward.until_succeeded("third").await;

            // Another version is another script; back to the one that is set aside, it still is.
            ward.api.no_rule();
            ward.client.upload_bytes(version("paged", "two"), "name=poison").await.ok();
            ward.until_succeeded("poison").await;
            assert_eq!(ward.suspicion("poison").await, (0, false));
            ward.client.post("/v1/scripts/poison/roll-back", &json!({})).await.ok();
            assert_eq!(ward.suspicion("poison").await, (3, true));
            ward.client.post(&trigger, &json!({})).await.problem(409, "script-quarantined");

            // Somebody says that it may run: it is on probation until it has succeeded.
            let released = ward.client.post("/v1/scripts/poison/release", &json!({})).await.ok();
            assert_eq!(
                (&released["suspicion"]["strikes"], &released["suspicion"]["quarantined"]),
                (&json!(1), &json!(false))
            );
            ward.client.post(&trigger, &json!({ "wait_seconds": 60 })).await.ok();
            assert_eq!(ward.suspicion("poison").await, (0, false));
            ward.client.post("/v1/scripts/nobody/release", &json!({})).await.problem(404, "unknown-script");
        });
    });
}

#[test]
fn an_action_that_takes_the_process_down_three_times_is_refused_until_it_is_released() {
    library_case("S05", || {
        THREADS.block_on(async {
            let mut ward = Ward::open().await;
            ward.client.upload("poster", "").await.ok();
            ward.sync("innocent", guest("paged")).await;
            let path = "/v1/connections/poison/actions/poster";
            for deaths in 1..=3 {
                ward.api.rule(|_| Do::Hold);
                let asked = ward.requests_of("poison");
                let request = ward.client.request(Method::POST, path).header("prefer", "respond-async");
                ward.client.send(request.body(json!({ "text": "once" }).to_string())).await.ok();
                ward.until_asked("poison", asked).await;
                ward.kill();
                ward.restart();
                assert_eq!(ward.suspicion("poster").await, (deaths, deaths == 3));
                let runs = ward.client.get("/v1/runs?connection=poison").await.ok();
                assert_eq!(runs["items"][0]["outcome"]["code"], "interrupted");
            }
            let asked = ward.requests_of("poison");
            ward.client.post(path, &json!({ "text": "again" })).await.problem(409, "script-quarantined");
            assert_eq!(ward.requests_of("poison"), asked);
            ward.api.no_rule();
            ward.trigger("innocent").await;
            ward.until_succeeded("innocent").await;
            ward.client.post("/v1/scripts/poster/release", &json!({})).await.ok();
            ward.client.post(path, &json!({ "text": "again" })).await.ok();
            assert_eq!(ward.suspicion("poster").await, (0, false));
        });
    });
}

#[test]
fn two_suspects_of_which_one_is_an_action_do_not_run_at_once() {
    library_case("S05", || {
        THREADS.block_on(async {
            let mut ward = Ward::open().await;
            ward.client.upload("poster", "").await.ok();
            ward.sync("innocent", guest("paged")).await;
            ward.api.rule(|_| Do::Hold);
            let path = "/v1/connections/poison/actions/poster";
            let call = async |ward: &Ward| {
                let request = ward.client.request(Method::POST, path).header("prefer", "respond-async");
                ward.client.send(request.body(json!({ "text": "once" }).to_string())).await.ok()
            };
            call(&ward).await;
            ward.trigger("innocent").await;
            ward.until_asked("poison", 0).await;
            ward.until_asked("innocent", 0).await;
            ward.kill();
            ward.api.forget_seen();
            ward.restart();
            // The sync goes on by itself.
            ward.until_asked("innocent", 0).await;
            let id = call(&ward).await["id"].as_str().unwrap().to_owned();
            // A third that is no suspect comes through meanwhile, so the action would have, too.
            ward.api.rule(|seen| if seen.account == "third" { Do::Serve } else { Do::Hold });
            ward.sync("third", version("paged", "third")).await;
            ward.trigger("third").await;
            ward.until_succeeded("third").await;
            assert_eq!(ward.requests_of("poison"), 0, "two suspects at once");
            ward.api.open();
            ward.until_asked("poison", 0).await;
            until("the call is done", async || {
                (ward.client.get(&format!("/v1/calls/{id}")).await.ok()["state"] == "succeeded").then_some(())
            })
            .await;
            assert_eq!((ward.suspicion("poster").await, ward.suspicion("innocent").await), ((0, false), (0, false)));
        });
    });
}

#[test]
fn what_is_under_way_when_the_service_is_told_to_stop_is_held_against_nobody() {
    library_case("S05", || {
        THREADS.block_on(async {
            use terapi::store::{DocumentKind, STOPPING};
            let dir = tempfile::tempdir().unwrap();
            let server = Server::start(dir.path(), options(dir.path()), Duration::from_millis(10)).await;
            let noted = |server: &Server| {
                let store = server.service.default_environment().store().clone();
                store.document(DocumentKind::Suspect, STOPPING).unwrap()
            };
            assert_eq!(noted(&server), None);
            server.begin_to_stop();
            until("it is noted", async || noted(&server)).await;
            server.stop().await;
            // Whatever is left over then is looked at by the store: `tests/store/suspicion.rs`.
        });
    });
}
