//! From an integration to its records and back to nothing, as an operator and an app go through it.
//!
//! Over 500 lines: the walks share their integrations, accounts and scripts, and are read side by side.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Account, Do};
use super::client::Client;
use super::*;

/// A page of changes.
async fn page(client: &Client, query: &str) -> Value {
    client.get(&format!("/v1/connections/alpha/records/Item?{query}")).await.ok()
}

fn ids(page: &Value) -> Vec<&str> {
    page["records"].as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn a_connection_starts_its_syncs_and_the_schedule_runs_them() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account::of("a", 25, 10));
        set_up(client, api, &["alpha"]).await;
        let sync = client.get(&sync_path("alpha")).await.ok();
        assert_eq!(
            (&sync["auto"], &sync["frequency"], &sync["frequency_is_set"]),
            (&json!(true), &json!("every hour"), &json!(false))
        );
        assert!(sync["next_run_at"].is_string(), "{sync}");
        start_now(client, "alpha").await;
        let sync = until_succeeded(client, "alpha").await;
        assert_eq!(records(client, "alpha").await, api.items("alpha"));
        assert_eq!(sync["state"], "scheduled");
        assert_eq!((&sync["failures"], &sync["has_checkpoint"]), (&json!(0), &json!(false)));
        assert_eq!(sync["streams"][0]["records"], 25);
        assert!(text(&sync["next_run_at"]) > text(&sync["last_ended_at"]), "{sync}");
        assert!(text(&sync["last_sync_date"]) >= text(&sync["last_started_at"]), "{sync}");

        let runs = client.get("/v1/runs?connection=alpha&script=paged&variant=base").await.ok();
        let run = &runs["items"][0];
        assert_eq!((&run["kind"], &run["outcome"]["status"]), (&json!("sync"), &json!("succeeded")));
        assert_eq!((&run["changes"]["added"], &run["usage"]["http_requests"]), (&json!(25), &json!(3)));
        let shown = client.get(&format!("/v1/runs/{}", text(&run["id"]))).await.ok();
        let trace = shown["trace"].as_array().unwrap();
        assert_eq!(trace.len(), 3);
        assert_eq!((&trace[2]["status"], &trace[2]["url"]), (&json!(200), &json!(api.url("/alpha/items?page=3"))));
        let log = client.get(&format!("/v1/runs/{}/logs", text(&run["id"]))).await.ok();
        let lines: Vec<&str> = log["items"].as_array().unwrap().iter().map(|line| text(&line["message"])).collect();
        assert_eq!(lines, ["page 1", "page 2", "page 3"]);
        let rest = client.get(&format!("/v1/runs/{}/logs?after=2&limit=1", text(&run["id"]))).await.ok();
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &json!("3")));
        let streams = client.get("/v1/streams").await.ok();
        assert_eq!(
            streams["items"],
            json!([{ "connection": "alpha", "model": "Item", "variant": "base", "records": 25, "changes": 25 }])
        );

        // The next run asks for what is new since this one.
        api.forget_seen();
        super::run(client, "alpha").await;
        let query = api.seen()[0].query.clone();
        assert!(query.contains("since="), "{query}");
    });
}

#[test]
fn lists_come_in_pages_that_follow_each_other() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        let accounts = ["c", "a", "e", "b", "d"];
        for account in accounts {
            api.put(account, Account::of(account, 1, 1));
        }
        set_up(client, api, &accounts).await;
        for account in accounts {
            super::run(client, account).await;
        }
        for (list, field) in [
            ("/v1/connections", "name"),
            ("/v1/syncs", "connection"),
            ("/v1/streams", "connection"),
            ("/v1/runs", "id"),
        ] {
            let all = client.get(list).await.ok();
            let all: Vec<&Value> = all["items"].as_array().unwrap().iter().map(|item| &item[field]).collect();
            assert_eq!(all.len(), 5, "{list}");
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let next = client.get(&format!("{list}?limit=2{after}")).await.ok();
                found.extend(next["items"].as_array().unwrap().iter().map(|item| item[field].clone()));
                assert!(found.len() <= 5, "{list} does not end: {found:?}");
                let Some(next) = next["next"].as_str() else { break };
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                after = format!("&after={next}");
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), all, "{list}");
        }
    });
}

#[test]
fn records_are_read_by_cursor_action_time_id_and_size() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account::of("a", 10, 4));
        set_up(client, api, &["alpha"]).await;
        super::run(client, "alpha").await;
        let first = page(client, "").await;
        assert_eq!(ids(&first).len(), 10);
        let record = &first["records"][0];
        assert_eq!(record["data"], json!({ "id": "a-00000", "text": "text of a 0" }));
        assert_eq!((&record["last_action"], &record["deleted_at"]), (&json!("added"), &Value::Null));
        assert_eq!(record["first_seen_at"], record["last_modified_at"]);

        // Page by page, and behind each record.
        let (mut cursor, mut followed) = (String::new(), Vec::new());
        loop {
            let next = page(client, &format!("limit=3{cursor}")).await;
            followed.extend(next["records"].as_array().unwrap().clone());
            cursor = format!("&cursor={}", text(&next["cursor"]));
            if next["more"] == false {
                break;
            }
        }
        assert_eq!(json!(followed), first["records"]);
        for (nth, record) in followed.iter().enumerate() {
            let rest = page(client, &format!("cursor={}", text(&record["cursor"]))).await;
            assert_eq!(ids(&rest), ids(&first)[nth + 1..], "behind record {nth}");
        }

        // One changes, one goes, one comes.
        let before = followed.iter().map(|record| text(&record["last_modified_at"])).max().unwrap().to_owned();
        api.change("alpha", |account| {
            account.items[1].1 = "changed".to_owned();
            account.items.remove(0);
            account.items.push(("new".to_owned(), "new".to_owned()));
            account.deleted = vec!["a-00000".to_owned(), "never-seen".to_owned()];
        });
        let ran = super::run(client, "alpha").await;
        assert_eq!(ran["changes"], json!({ "added": 1, "updated": 1, "deleted": 1, "unchanged": 8 }));
        let news = page(client, &cursor[1..]).await;
        assert_eq!(ids(&news), ["a-00001", "new", "a-00000"]);
        let [updated, added, deleted] = news["records"].as_array().unwrap().as_slice() else { panic!("{news}") };
        assert_eq!((&updated["last_action"], &updated["data"]["text"]), (&json!("updated"), &json!("changed")));
        assert_eq!(updated["first_seen_at"], first["records"][1]["first_seen_at"]);
        assert!(text(&updated["last_modified_at"]) > text(&updated["first_seen_at"]), "{updated}");
        assert_eq!((&added["last_action"], &added["deleted_at"]), (&json!("added"), &Value::Null));
        assert_eq!((&deleted["last_action"], &deleted["data"]["text"]), (&json!("deleted"), &json!("text of a 0")));
        assert_eq!(deleted["deleted_at"], deleted["last_modified_at"]);

        for (filter, expected) in [
            (
                "added",
                vec!["a-00002", "a-00003", "a-00004", "a-00005", "a-00006", "a-00007", "a-00008", "a-00009", "new"],
            ),
            ("updated", vec!["a-00001"]),
            ("deleted", vec!["a-00000"]),
            ("updated,deleted", vec!["a-00001", "a-00000"]),
        ] {
            assert_eq!(ids(&page(client, &format!("filter={filter}")).await), expected, "{filter}");
        }
        assert_eq!(ids(&page(client, "filter=added,updated,deleted").await).len(), 11);
        let since = page(client, &format!("modified_after={before}")).await;
        assert_eq!(ids(&since), ["a-00001", "new", "a-00000"]);
        assert_eq!(ids(&page(client, &format!("modified_after={before}&filter=deleted")).await), ["a-00000"]);
        let future = page(client, "modified_after=2100-01-01T00:00:00Z").await;
        assert_eq!((ids(&future).len(), &future["more"]), (0, &json!(false)));

        let asked = page(client, "ids=a-00003&ids=a-00000&ids=nothing").await;
        let mut found = ids(&asked);
        found.sort_unstable();
        assert_eq!(found, ["a-00000", "a-00003"]);
        assert_eq!(ids(&page(client, "ids=a-00003&ids=a-00000&filter=deleted").await), ["a-00000"]);

        let small = page(client, "max_bytes=1").await;
        assert_eq!((ids(&small).len(), &small["more"]), (1, &json!(true)), "a page has one record at least");
        let small = page(client, "max_bytes=200").await;
        assert!((1..11).contains(&ids(&small).len()), "{small}");
        let end = page(client, &format!("cursor={}", text(&news["cursor"]))).await;
        assert_eq!((ids(&end).len(), &end["more"]), (0, &json!(false)));
        assert_eq!(page(client, "variant=another").await["records"], json!([]));
    });
}

#[test]
fn who_waits_for_changes_is_answered_when_a_run_commits() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account::of("a", 3, 10));
        set_up(client, api, &["alpha"]).await;
        super::run(client, "alpha").await;
        let cursor = text(&page(client, "").await["cursor"]).to_owned();
        let nothing = page(client, &format!("cursor={cursor}&wait=50ms")).await;
        assert_eq!(nothing["records"], json!([]));
        let cursor = text(&nothing["cursor"]).to_owned();

        let path = format!("/v1/connections/alpha/records/Item?cursor={cursor}&wait=60s");
        let mut waiting = Box::pin(client.get(&path));
        let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
        assert!(early.is_err(), "answered with nothing: {early:?}");
        api.change("alpha", |account| account.items.push(("new".to_owned(), "new".to_owned())));
        let (answer, _) = tokio::join!(waiting, super::run(client, "alpha"));
        assert_eq!(ids(&answer.ok()), ["new"]);

        // What is filtered away is no answer; the cursor moves on all the same.
        let cursor = text(&page(client, "").await["cursor"]).to_owned();
        api.change("alpha", |account| account.items.push(("newer".to_owned(), "new".to_owned())));
        let path = format!("/v1/connections/alpha/records/Item?cursor={cursor}&filter=deleted&wait=60s");
        let deletes = async {
            super::run(client, "alpha").await;
            api.change("alpha", |account| account.deleted = vec!["a-00000".to_owned()]);
            super::run(client, "alpha").await
        };
        let (answer, _) = tokio::join!(client.get(&path), deletes);
        assert_eq!(ids(&answer.ok()), ["a-00000"]);
    });
}

/// Events as they come.
struct Events(reqwest::Response, String);

impl Events {
    async fn open(client: &Client, query: &str, last: Option<&str>) -> Self {
        let mut request = client.request(Method::GET, &format!("/v1/connections/alpha/records/Item?{query}"));
        request = request.header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self(answer, String::new())
    }

    /// The next event's id and data; none if the stream ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let line =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name).map(|it| it.trim().to_owned()));
                let found = line("data:").map(|data| {
                    assert_eq!(line("event:").as_deref(), Some("change"));
                    (line("id:").unwrap(), serde_json::from_str(&data).unwrap())
                });
                self.1 = rest[..].into();
                match found {
                    Some(found) => return Some(found),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.0.chunk()).await.expect("an event comes").unwrap()?;
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[test]
fn events_come_with_each_change_and_go_on_where_a_client_was() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account::of("a", 5, 10));
        set_up(client, api, &["alpha"]).await;
        super::run(client, "alpha").await;
        let all = page(client, "").await;
        let mut events = Events::open(client, "", None).await;
        let (first, second) = (events.next().await.unwrap(), events.next().await.unwrap());
        assert_eq!((&first.1, &first.0), (&all["records"][0], &text(&all["records"][0]["cursor"]).to_owned()));
        drop(events);
        let mut events = Events::open(client, "", Some(&second.0)).await;
        for nth in 2..5 {
            assert_eq!(events.next().await.unwrap().1, all["records"][nth]);
        }
        api.change("alpha", |account| account.items.push(("new".to_owned(), "new".to_owned())));
        let (event, _) = tokio::join!(events.next(), super::run(client, "alpha"));
        assert_eq!(event.unwrap().1["id"], "new");

        let path = "/v1/connections/alpha/records/Item";
        let bad = client.request(Method::GET, path).header("accept", "text/event-stream").header("last-event-id", "x");
        client.send(bad).await.problem(400, "bad-cursor");
    });
}

#[test]
fn a_reset_fetches_all_anew_and_one_that_empties_begins_another_history() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account::of("a", 5, 2));
        set_up(client, api, &["alpha"]).await;
        super::run(client, "alpha").await;
        let cursor = text(&page(client, "").await["cursor"]).to_owned();
        let reset = format!("{}/reset", sync_path("alpha"));
        let sync = client.post(&reset, &json!({})).await.ok();
        assert_eq!(sync["last_sync_date"], Value::Null);
        api.forget_seen();
        let ran = super::run(client, "alpha").await;
        assert_eq!(ran["changes"]["unchanged"], 5);
        assert!(!api.seen()[0].query.contains("since"), "{}", api.seen()[0].query);
        assert_eq!(page(client, &format!("cursor={cursor}")).await["records"], json!([]));

        api.change("alpha", |account| drop(account.items.remove(0)));
        client.post(&reset, &json!({ "empty": true })).await.ok();
        // Readers see the old ones until the new are whole.
        assert_eq!(ids(&page(client, "").await).len(), 5);
        api.rule(|seen| if seen.page() == Some(2) { Do::status(404) } else { Do::Serve });
        assert_eq!(super::run(client, "alpha").await["outcome"]["status"], "failed");
        assert_eq!(ids(&page(client, &format!("cursor={cursor}")).await).len(), 0);
        assert_eq!(ids(&page(client, "").await).len(), 5);
        api.no_rule();
        assert_eq!(super::run(client, "alpha").await["outcome"]["status"], "succeeded");
        let path = format!("/v1/connections/alpha/records/Item?cursor={cursor}");
        client.get(&path).await.problem(410, "cursor-from-lost-history");
        assert_eq!(records(client, "alpha").await, api.items("alpha"));

        // Not while a run is under way.
        api.rule(|_| Do::Hold);
        let count = api.count();
        client.post(&format!("{}/trigger", sync_path("alpha")), &json!({})).await.ok();
        api.until_count(count + 1).await;
        client.post(&reset, &json!({})).await.problem(409, "sync-busy");
        api.open();
        until_sync(client, "alpha", "has ended", |sync| sync["state"] == "scheduled").await;
    });
}

#[test]
fn a_sync_is_paused_started_run_and_cancelled_as_the_operator_says() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account::of("a", 5, 2));
        set_up(client, api, &["alpha"]).await;
        let path = sync_path("alpha");
        let sync = client.post(&format!("{path}/pause"), &json!({ "reason": "the account moves" })).await.ok();
        assert_eq!((&sync["state"], &sync["reason"]), (&json!("paused"), &json!("the account moves")));
        let sync = start_now(client, "alpha").await;
        assert_eq!((&sync["state"], &sync["next_run_at"]), (&json!("paused"), &Value::Null));
        // Who asks gets one run, and it stays paused.
        assert_eq!(super::run(client, "alpha").await["outcome"]["code"], "succeeded");
        assert_eq!(client.get(&path).await.ok()["state"], "paused");
        assert_eq!(client.get("/v1/runs").await.ok()["items"].as_array().unwrap().len(), 1);
        let sync = client.post(&format!("{path}/start"), &json!({})).await.ok();
        assert!(["scheduled", "waiting", "running"].contains(&text(&sync["state"])), "{sync}");
        assert_eq!(client.post(&format!("{path}/cancel"), &json!({})).await.ok(), json!({ "cancelled": false }));

        until_sync(client, "alpha", "rests", |sync| sync["state"] == "scheduled").await;
        for by_run in [false, true] {
            api.rule(|_| Do::Hold);
            let count = api.count();
            let asked = client.post(&format!("{path}/trigger"), &json!({})).await;
            assert_eq!(asked.status, 202);
            api.until_count(count + 1).await;
            let active = client.get(&path).await.ok();
            assert_eq!(active["state"], "running");
            let run = text(&active["active_run"]).to_owned();
            let cancel = if by_run { format!("/v1/runs/{run}/cancel") } else { format!("{path}/cancel") };
            assert_eq!(client.post(&cancel, &json!({})).await.ok(), json!({ "cancelled": true }));
            let sync = until_sync(client, "alpha", "rests", |sync| sync["state"] == "scheduled").await;
            assert_eq!(sync["last_outcome"], "cancelled");
            let run = client.get(&format!("/v1/runs/{run}")).await.ok();
            assert_eq!(run["outcome"]["code"], "cancelled");
            assert_eq!(run["trace"][0]["error"], "cancelled");
            assert_eq!(client.post(&cancel, &json!({})).await.ok(), json!({ "cancelled": false }));
        }
        client.delete(&path).await.ok();
        client.get(&path).await.problem(404, "unknown-sync");
        client.post(&format!("{path}/trigger"), &json!({})).await.problem(404, "unknown-sync");
        assert_eq!(records(client, "alpha").await.len(), 5, "records outlive their sync");
    });
}

#[test]
fn a_script_has_versions_that_are_activated_and_rolled_back() {
    on_service(async |world| {
        let Env { client, .. } = &world;
        let first = client.upload("paged", "name=code&memory=33554432").await.ok();
        assert_eq!((&first["version"], &first["limits"]["memory"]), (&json!(1), &json!(33_554_432)));
        assert_eq!(client.upload("paged", "name=code").await.ok()["version"], 1, "the same bytes again");
        let second = client.upload("mirror", "name=code").await.ok();
        assert_eq!((&second["version"], &second["limits"]["memory"]), (&json!(2), &json!(33_554_432)));
        let versions = client.get("/v1/scripts/code/versions").await.ok();
        let numbers: Vec<&Value> = versions["items"].as_array().unwrap().iter().map(|it| &it["version"]).collect();
        assert_eq!(numbers, [&json!(2), &json!(1)]);
        let back = client.post("/v1/scripts/code/roll-back", &json!({})).await.ok();
        assert_eq!((&back["version"], &back["hash"]), (&json!(1), &first["hash"]));
        assert_eq!(client.get("/v1/scripts/code").await.ok()["hash"], first["hash"]);
        client.post("/v1/scripts/code/roll-back", &json!({})).await.problem(404, "unknown-version");
        let again = client.post("/v1/scripts/code/versions/2/activate", &json!({})).await.ok();
        assert_eq!(again["hash"], second["hash"]);
        client.post("/v1/scripts/code/versions/3/activate", &json!({})).await.problem(404, "unknown-version");
        client.post("/v1/scripts/other/versions/1/activate", &json!({})).await.problem(404, "unknown-script");
        let described = client.request(Method::POST, "/v1/scripts/describe").body(crate::support::guest("mirror"));
        assert_eq!(client.send(described).await.ok()["name"], "mirror");
        client.delete("/v1/scripts/code").await.ok();
        client.get("/v1/scripts/code").await.problem(404, "unknown-script");
    });
}

#[test]
fn what_somebody_needs_is_not_deleted() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        api.put("alpha", Account::of("a", 1, 2));
        set_up(client, api, &["alpha"]).await;
        client.delete("/v1/scripts/paged").await.problem(409, "in-use");
        client.delete("/v1/integrations/items").await.problem(409, "in-use");
        let again = json!({ "name": "alpha", "integration": "items" });
        client.post("/v1/connections", &again).await.problem(409, "already-exists");
        client.delete("/v1/connections/alpha").await.ok();
        client.delete("/v1/scripts/paged").await.ok();
        client.delete("/v1/integrations/items").await.ok();
        let elsewhere = json!({ "base_url": "https://10.0.0.1", "networks": ["10.0.0.0/8"] });
        client.put("/v1/integrations/items", &elsewhere).await.problem(422, "bad-input");
    });
}

#[test]
fn a_refresh_that_would_delete_too_much_is_held_back_until_somebody_lets_it() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        client.put("/v1/integrations/items", &integration(api)).await.ok();
        connect(client, api, "alpha", json!({ "type": "none" })).await;
        client.upload("mirror", "integration=items").await.ok();
        let things: Vec<String> = (0..120).map(|nth| format!("thing-{nth:03}")).collect();
        let spec =
            json!({ "script": "mirror", "connection": "alpha", "config": { "things": things }, "frequency": "never" });
        let sync = client.post("/v1/syncs", &spec).await.ok();
        assert_eq!(sync["state"], "manual");
        let path = "/v1/syncs/alpha/mirror/base";
        let run = async |body: Value| client.post(&format!("{path}/trigger"), &body).await.ok()["run"].clone();
        assert_eq!(run(json!({ "wait_seconds": 60 })).await["changes"]["added"], 120);
        client.patch(path, &json!({ "config": { "things": [] } })).await.ok();
        let held = run(json!({ "wait_seconds": 60 })).await;
        assert_eq!(held["outcome"]["code"], "delete-guard", "{held}");
        let count = async || client.get(path).await.ok()["streams"].clone();
        assert_eq!(count().await[0]["records"], 120);
        let sync = client.get(path).await.ok();
        assert_eq!(sync["state"], "failed");
        assert!(text(&sync["reason"]).contains("delete-guard"), "{sync}");
        let let_go = run(json!({ "wait_seconds": 60, "allow_deletes": true })).await;
        assert_eq!((&let_go["outcome"]["code"], &let_go["changes"]["deleted"]), (&json!("succeeded"), &json!(120)));
        // Once is once.
        client.patch(path, &json!({ "config": { "things": things } })).await.ok();
        run(json!({ "wait_seconds": 60 })).await;
        client.patch(path, &json!({ "config": { "things": [] } })).await.ok();
        assert_eq!(run(json!({ "wait_seconds": 60 })).await["outcome"]["code"], "delete-guard");
    });
}

/// Calls `poster` with these headers.
async fn call(client: &Client, headers: &[(&'static str, &str)], input: &Value) -> super::client::Answer {
    let mut request = client.request(Method::POST, "/v1/connections/alpha/actions/poster").body(input.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request).await
}

#[test]
fn an_action_is_called_waited_for_asked_about_and_done_once() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        client.put("/v1/integrations/items", &integration(api)).await.ok();
        connect(client, api, "alpha", json!({ "type": "none" })).await;
        client.upload("poster", "integration=items").await.ok();
        let input = json!({ "text": "one" });
        let done = call(client, &[], &input).await;
        assert_eq!(done.status, 200);
        let done = done.ok();
        assert_eq!((&done["state"], &done["output"]["number"]), (&json!("succeeded"), &json!(1)));
        assert_eq!(api.things()[0]["text"], "one");
        let run = client.get(&format!("/v1/runs/{}", text(&done["run"]))).await.ok();
        assert_eq!((&run["kind"], &run["outcome"]["code"]), (&json!("action"), &json!("succeeded")));

        // Later.
        api.rule(|_| Do::Hold);
        let later = call(client, &[("prefer", "respond-async")], &input).await;
        assert_eq!(later.status, 202, "{}", later.text);
        let place = later.headers["location"].to_str().unwrap().to_owned();
        assert_eq!(later.ok()["state"], "running");
        assert_eq!(client.get(&place).await.ok()["state"], "running");
        api.open();
        let ended = until("the call has ended", async || {
            let call = client.get(&place).await.ok();
            (call["state"] != "running").then_some(call)
        })
        .await;
        assert_eq!((&ended["state"], &ended["output"]["number"]), (&json!("succeeded"), &json!(2)));
        api.no_rule();

        // Ten at once with the same key, and again when it is done.
        let key = [("idempotency-key", "the same")];
        let same = futures_util::future::join_all((0..10).map(|_| call(client, &key, &input))).await;
        let ids: std::collections::BTreeSet<String> =
            same.into_iter().map(|answer| text(&answer.ok()["id"]).to_owned()).collect();
        assert_eq!(ids.len(), 1);
        let again = call(client, &key, &input).await.ok();
        assert!(ids.contains(text(&again["id"])));
        assert_eq!(again["output"]["number"], 3);
        assert_eq!(api.things().len(), 3, "done more than once");
        call(client, &key, &json!({ "text": "two" })).await.problem(409, "idempotency-conflict");
        call(client, &[("idempotency-key", "")], &input).await.problem(422, "bad-input");
        call(client, &[("idempotency-key", &"k".repeat(256))], &input).await.problem(422, "bad-input");
        assert_eq!(api.things().len(), 3);

        // Failures.
        let refused = call(client, &[], &json!({ "text": "why", "refuse": true })).await;
        assert_eq!(refused.status, 424);
        let refused = refused.json();
        assert_eq!((&refused["state"], &refused["error"]["code"]), (&json!("failed"), &json!("script-permanent")));
        assert_eq!((text(&refused["error"]["message"]), &refused["error"]["details"]), ("not this one", &json!("why")));
        let large = call(client, &[], &json!({ "text": "large", "letters": 3_000_000 })).await;
        assert_eq!(large.status, 424);
        assert_eq!(large.json()["error"]["code"], "bad-output");
        let wrong = call(client, &[], &json!({ "no": "text" })).await;
        assert_eq!(wrong.status, 424, "{}", wrong.text);
        // A post is not repeated by itself.
        let count = api.count();
        api.rule(|_| Do::status(503));
        let down = call(client, &[], &input).await;
        assert_eq!((down.status, down.json()["error"]["code"].clone()), (424, json!("script-transient")));
        assert_eq!(api.count(), count + 1);
        client.upload("paged", "").await.ok();
        client.post("/v1/connections/alpha/actions/paged", &input).await.problem(422, "wrong-kind");
        client.post("/v1/connections/alpha/actions/nothing", &input).await.problem(404, "unknown-script");
    });
}

#[test]
fn the_proxy_sends_what_it_is_given_with_the_credential_and_answers_what_the_api_does() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        let mut items = integration(api);
        items["auth"] = json!({ "type": "api-key-header", "name": "X-Api-Key", "prefix": "Key " });
        client.put("/v1/integrations/items", &items).await.ok();
        connect(client, api, "alpha", json!({ "type": "api-key", "key": "k-1" })).await;
        let proxy = |method: Method, path: &str| client.request(method, &format!("/v1/connections/alpha/proxy/{path}"));
        api.rule(|_| {
            let headers = [("x-from", "the API"), ("set-cookie", "a=b"), ("content-type", "text/teapot")];
            Do::Answer(
                418,
                headers.map(|(name, value)| (name, value.to_owned())).to_vec(),
                "short and stout".to_owned(),
            )
        });
        let request = proxy(Method::PUT, "a%20b/%C3%BC/c?x=1&y=%2F&x=2&z").body("the body");
        let request = request
            .header("x-custom", "mine")
            .header("cookie", "session=app")
            .header("user-agent", "the app")
            .header("x-forwarded-for", "10.1.1.1")
            .header("x-request-id", "of-the-app");
        let answer = client.send(request).await;
        assert_eq!((answer.status, answer.text.as_str()), (418, "short and stout"));
        assert_eq!(
            (&answer.headers["x-from"], &answer.headers["terapi-proxied"]),
            (&"the API".parse().unwrap(), &"true".parse().unwrap())
        );
        assert_eq!(answer.headers["content-type"], "text/teapot");
        assert!(!answer.headers.contains_key("set-cookie"));
        let [seen] = &api.seen()[..] else { panic!("{:?}", api.seen()) };
        assert_eq!(
            (seen.method.as_str(), seen.account.as_str(), seen.path.as_str()),
            ("PUT", "alpha", "a%20b/%C3%BC/c")
        );
        assert_eq!((seen.query.as_str(), seen.body.as_str()), ("x=1&y=%2F&x=2&z", "the body"));
        assert_eq!((seen.header("x-api-key"), seen.header("x-custom")), ("Key k-1", "mine"));
        for own in ["authorization", "cookie", "x-forwarded-for", "x-request-id"] {
            assert_eq!(seen.header(own), "", "{own}");
        }
        assert_ne!(seen.header("user-agent"), "the app");

        // It stays with the API, whatever the path looks like.
        for path in ["/evil.test/x", "http://evil.test/x", "@evil.test/x", "..%2f..%2fx"] {
            let count = api.count();
            let answer = client.send(proxy(Method::GET, path)).await;
            assert!(answer.status == 418 || answer.status == 422, "{path}: {}", answer.text);
            assert_eq!(api.count() - count, usize::from(answer.status == 418), "{path}");
        }
        // Not the caller's to set.
        let count = api.count();
        let own = proxy(Method::GET, "items").header("x-api-key", "another");
        client.send(own).await.problem(422, "invalid-request");
        assert_eq!(api.count(), count);

        // What may be repeated is, and what may not is not; the API's answer is passed on.
        for (method, tries) in [(Method::GET, 6), (Method::DELETE, 6), (Method::POST, 1), (Method::PATCH, 1)] {
            // Other connections of the integration have the same breaker: a success closes it.
            api.rule(|_| Do::status(200));
            client.send(proxy(Method::GET, "items")).await.ok();
            api.rule(|_| Do::status(503));
            let count = api.count();
            let answer = client.send(proxy(method.clone(), "items")).await;
            assert_eq!((answer.status, api.count() - count), (503, tries), "{method}");
            assert!(answer.headers.contains_key("terapi-proxied"));
        }
        api.rule(|_| Do::Answer(302, vec![("location", "http://127.0.0.1:1/away".to_owned())], String::new()));
        let away = client.send(proxy(Method::GET, "items")).await;
        assert!(!away.headers.contains_key("terapi-proxied"));
        away.problem(403, "denied");
        client.get("/v1/connections/nobody/proxy/items").await.problem(404, "unknown-connection");
    });
}

#[test]
fn a_deleted_connection_leaves_nothing() {
    on_service(async |world| {
        let Env { client, api, runtime, .. } = &world;
        api.put("alpha", Account::of("a", 7, 2));
        set_up(client, api, &["alpha"]).await;
        client.upload("poster", "integration=items").await.ok();
        client.put("/v1/connections/alpha/metadata", &json!({ "note": "left-over" })).await.ok();
        let ran = super::run(client, "alpha").await;
        let call = call(client, &[("idempotency-key", "k")], &json!({ "text": "left-over", "letters": 3 })).await.ok();
        let cursor = text(&page(client, "").await["cursor"]).to_owned();
        // With a run under way.
        api.rule(|_| Do::Hold);
        let count = api.count();
        client.post(&format!("{}/trigger", sync_path("alpha")), &json!({})).await.ok();
        api.until_count(count + 1).await;
        client.delete("/v1/connections/alpha").await.ok();
        api.no_rule();

        client.get("/v1/connections/alpha").await.problem(404, "unknown-connection");
        client.get("/v1/connections/alpha/metadata").await.problem(404, "unknown-connection");
        client.get(&sync_path("alpha")).await.problem(404, "unknown-sync");
        client.get(&format!("/v1/runs/{}", text(&ran["id"]))).await.problem(404, "unknown-run");
        client.get(&format!("/v1/calls/{}", text(&call["id"]))).await.problem(404, "unknown-call");
        for list in ["/v1/connections", "/v1/syncs", "/v1/runs", "/v1/streams"] {
            assert_eq!(client.get(list).await.ok()["items"], json!([]), "{list}");
        }
        assert_eq!(page(client, "").await["records"], json!([]));
        assert!(runtime.store().streams().unwrap().is_empty());

        // Another of the same name is another.
        connect(client, api, "alpha", json!({ "type": "none" })).await;
        assert_eq!(client.get("/v1/connections/alpha/metadata").await.ok(), json!({}));
        assert_eq!(client.get(&sync_path("alpha")).await.ok()["last_sync_date"], Value::Null);
        let path = format!("/v1/connections/alpha/records/Item?cursor={cursor}");
        assert!([400, 410].contains(&client.get(&path).await.status), "a cursor of another history was taken");
        let again =
            super::walk::call(client, &[("idempotency-key", "k")], &json!({ "text": "left-over", "letters": 3 })).await;
        assert_ne!(again.ok()["id"], call["id"]);
        assert_eq!(super::run(client, "alpha").await["changes"]["added"], 7);
    });
}

#[test]
fn a_connection_that_is_deleted_while_its_run_begins_leaves_nothing() {
    on_service(async |world| {
        let Env { client, api, runtime, .. } = &world;
        set_up(client, api, &[]).await;
        for nth in 0..30 {
            let account = format!("account-{nth}");
            api.put(&account, Account::of("a", 3, 1));
            connect(client, api, &account, json!({ "type": "none" })).await;
            client.post(&format!("{}/trigger", sync_path(&account)), &json!({})).await.ok();
            client.delete(&format!("/v1/connections/{account}")).await.ok();
        }
        // Whatever was begun is over when another has run after it.
        api.put("last", Account::of("a", 3, 1));
        connect(client, api, "last", json!({ "type": "none" })).await;
        super::run(client, "last").await;
        until("nothing runs", async || (world.server.service.figures().running == 0).then_some(())).await;
        let left = client.get("/v1/runs").await.ok();
        assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left:#}");
        assert_eq!(runtime.store().streams().unwrap().len(), 1);
    });
}

#[test]
fn an_action_under_way_on_a_connection_that_is_deleted_leaves_nothing() {
    on_service(async |world| {
        let Env { client, api, .. } = &world;
        client.put("/v1/integrations/items", &integration(api)).await.ok();
        connect(client, api, "alpha", json!({ "type": "none" })).await;
        client.upload("poster", "").await.ok();
        api.rule(|_| Do::Hold);
        let deleted = async {
            api.until_count(1).await;
            client.delete("/v1/connections/alpha").await.ok();
            api.open();
        };
        let input = json!({ "text": "x" });
        let (called, ()) = tokio::join!(call(client, &[("idempotency-key", "k")], &input), deleted);
        let id = called.json()["id"].as_str().unwrap().to_owned();
        client.get(&format!("/v1/calls/{id}")).await.problem(404, "unknown-call");
        assert_eq!(client.get("/v1/runs").await.ok()["items"], json!([]));
    });
}
