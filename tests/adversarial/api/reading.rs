//! A06, A07, A13, A16, A18, A19: names, cursors, methods, triggers, lists, and what needs no key.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::super::{Ground, case, library_case};
use super::raw::statuses;
use crate::service::api::{Account, Do};
use crate::service::client::Client;
use crate::service::{connect, until};

async fn raw_get(ground: &Ground, path: &str) -> String {
    let key = &ground.client.key;
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n");
    ground.exchange(head.as_bytes()).await
}

#[test]
fn a_name_is_never_a_path() {
    case("A06", async |ground| {
        let files = |folder: &std::path::Path| -> BTreeSet<std::path::PathBuf> {
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let (outside, inside) = (files(ground.data.parent().unwrap()), files(&ground.data));
        let names = [
            "..",
            ".",
            "%2e%2e",
            "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            "..%2f..%2fsecrets.key",
            "%2fetc%2fpasswd",
            "a%00b",
            "%00",
            "a%5cb",
            "..%5c..",
            "a;b",
            "a%0d%0ab",
            "a%0ab",
            "%c3%bc",
            "%ff%fe",
            "%e2%80%ae",
            "CON%20",
            "a%20b",
            "%25%32%65",
            "~root",
            "$HOME",
            "a%7fb",
            "-",
            "*",
        ];
        let long = "x".repeat(10_000);
        for name in names.iter().copied().chain([long.as_str()]) {
            for path in [
                format!("/v1/connections/{name}"),
                format!("/v1/connections/{name}/metadata"),
                format!("/v1/connections/canary/records/{name}"),
                format!("/v1/integrations/{name}"),
                format!("/v1/scripts/{name}"),
                format!("/v1/scripts/{name}/versions"),
                format!("/v1/syncs/canary/{name}/base"),
                format!("/v1/syncs/canary/paged/{name}"),
                format!("/v1/runs/{name}"),
                format!("/v1/runs/{name}/logs"),
                format!("/v1/calls/{name}"),
                format!("/v1/{name}"),
                format!("/{name}/{name}"),
            ] {
                let answer = raw_get(ground, &path).await;
                let [status] = statuses(&answer)[..] else { panic!("{path}: {answer}") };
                // A page of a model or variant that there is not is empty.
                let empty = status == 200 && path.contains("/records/") && answer.contains("\"records\":[]");
                assert!([400, 404].contains(&status) || empty, "{path}: {answer}");
            }
            let uploaded = ground.client.upload("paged", &format!("name={name}")).await;
            assert!([400, 422].contains(&uploaded.status), "{name}: {}", uploaded.text);
            let key = format!("/v1/keys/{name}");
            let deleted = ground.client.request(Method::DELETE, &key);
            let deleted = ground.client.send(deleted).await.status;
            assert!([400, 404, 405].contains(&deleted), "{name}: {deleted}");
        }
        for name in ["../../etc/x", "a\0b", "", "ａ", "а", "a/b", "a\\b", "a b", "a\n", &"x".repeat(300)] {
            for (path, body) in [
                ("/v1/connections", json!({ "name": name, "integration": "items" })),
                ("/v1/environments", json!({ "name": name })),
                ("/v1/syncs", json!({ "script": name, "connection": "canary" })),
            ] {
                let answer = ground.client.post(path, &body).await;
                assert!([400, 422].contains(&answer.status), "{path} {name:?}: {}", answer.text);
            }
        }
        assert_eq!(files(ground.data.parent().unwrap()), outside);
        assert_eq!(files(&ground.data), inside);
        vec![]
    });
}

#[test]
fn what_strangers_write_makes_no_lines_in_a_log_of_text() {
    case("A06", async |_| {
        let settings = [("TERAPI_LOG_FORMAT", "text"), ("TERAPI_LOG_LEVEL", "debug")];
        let ground = Ground::start(&settings).await;
        let before = std::fs::read_to_string(&ground.process.log).unwrap().len();
        for path in
            ["/v1/a%0a2026-01-01T00:00:00Z%20ERROR%20forged", "/v1/connections/%1b[31mred%0d%0aforged?x=%0aforged"]
        {
            raw_get(&ground, path).await;
        }
        let forged = "\n2026-01-01T00:00:00Z ERROR forged\n\u{1b}[31m";
        for path in ["/v1/connections", "/v1/keys", "/v1/syncs"] {
            ground.client.post(path, &json!({ "name": forged, "integration": forged, forged: 1 })).await;
        }
        let request = ground.client.request(Method::POST, "/v1/scripts").body(format!("export default {forged}"));
        ground.client.send(request).await.is_problem(422);
        ground.exchange(b"GET /\x1b[31m\nforged HTTP/1.1\r\nforged: \nforged\r\n\r\n").await;
        until("the log has named what was refused", async || {
            let log = std::fs::read_to_string(&ground.process.log).unwrap();
            log.contains("malformed-request").then_some(())
        })
        .await;
        let log = std::fs::read_to_string(&ground.process.log).unwrap();
        let now = jiff::Timestamp::now().to_string();
        for line in log[before..].lines() {
            assert!(line.starts_with(&now[..4]), "{line:?}");
            assert!(!line.starts_with("2026-01-01T00:00:00Z ERROR"), "{line:?}");
            assert!(!line.contains('\u{1b}'), "{line:?}");
        }
        vec![]
    });
}

#[test]
fn a_cursor_that_is_not_its_own_is_told_so() {
    case("A07", async |_| {
        let ground = Ground::start(&[]).await;
        // An environment has files of its own.
        let made = ground.client.post("/v1/environments", &json!({ "name": "elsewhere" })).await.ok();
        let elsewhere = ground.client.with_key(made["text"].as_str().unwrap());
        ground.check("A07", async |ground| cursors(ground, &elsewhere).await).await;
        vec![]
    });
}

async fn cursors(ground: &Ground, elsewhere: &Client) -> Vec<&'static str> {
    let path = "/v1/connections/canary/records/Item";
    let page = ground.client.get(&format!("{path}?limit=2")).await.ok();
    let good = page["cursor"].as_str().unwrap();
    let read = async |path: &str, cursor: &str| {
        let cursor: String = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        ground.client.get(&format!("{path}?cursor={cursor}")).await
    };
    assert_eq!(read(path, good).await.ok()["records"].as_array().unwrap().len(), 3);
    for at in 0..good.len() {
        let mut flipped = good.as_bytes().to_vec();
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        read(path, std::str::from_utf8(&flipped).unwrap()).await.problem(400, "bad-cursor");
        read(path, &good[..at]).await.problem(400, "bad-cursor");
    }
    let long = "A".repeat(20_000);
    for forged in ["-1", "0", "99999999999999999999", "null", "AAAA", " ", "\0", "\u{1f600}", "' OR 1=1", &long] {
        read(path, forged).await.problem(400, "bad-cursor");
    }
    // A megabyte does not even come so far.
    let answer = raw_get(ground, &format!("{path}?cursor={}", "A".repeat(1 << 20))).await;
    assert_eq!(statuses(&answer), [431], "{answer}");

    // Of another model, variant, connection, environment.
    ground.api.put("other", Account::of("other", 5, 10));
    connect(&ground.client, &ground.api, "other", json!({ "type": "api-key", "key": "k" })).await;
    assert_eq!(ground.run("paged", "other").await["outcome"]["code"], "succeeded");
    let others = "/v1/connections/other/records/Item";
    let other = ground.client.get(others).await.ok()["cursor"].as_str().unwrap().to_owned();
    read(path, &other).await.problem(400, "bad-cursor");
    read(others, good).await.problem(400, "bad-cursor");
    read("/v1/connections/canary/records/Other", good).await.problem(400, "bad-cursor");
    ground.client.get(&format!("{path}?cursor={good}&variant=other")).await.problem(400, "bad-cursor");
    elsewhere.get(&format!("{path}?cursor={good}")).await.problem(400, "bad-cursor");

    // Of a history that is gone.
    ground.client.delete("/v1/connections/other").await.ok();
    connect(&ground.client, &ground.api, "other", json!({ "type": "api-key", "key": "k" })).await;
    assert_eq!(ground.run("paged", "other").await["outcome"]["code"], "succeeded");
    read(others, &other).await.problem(410, "cursor-from-lost-history");
    ground.client.delete("/v1/connections/other").await.ok();
    vec!["head-too-large"]
}

#[test]
fn no_bytes_are_taken_for_a_cursor_that_the_store_did_not_make() {
    library_case("A07", || {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/cursor");
        let corpus: Vec<Vec<u8>> =
            std::fs::read_dir(corpus).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
        let mut random = rand::rngs::StdRng::seed_from_u64(6);
        for nth in 0..50_000 {
            let mut bytes = corpus[nth % corpus.len()].clone();
            if nth >= corpus.len() {
                for _ in 0..random.random_range(1..8) {
                    let at = random.random_range(0..=bytes.len());
                    match random.random_range(0..3) {
                        0 => bytes.insert(at, random.random()),
                        1 => bytes.truncate(at),
                        _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
                    }
                }
            }
            terapi::fuzz::cursor(&bytes);
        }
    });
}

#[test]
fn methods_that_nothing_takes_and_headers_that_would_change_one_do_nothing() {
    case("A13", async |ground| {
        let key = &ground.client.key;
        for method in ["TRACE", "CONNECT", "TRACK", "BREW", "PROPFIND", "get", "DEBUG", "OPTIONS"] {
            let target = if method == "CONNECT" { "127.0.0.1:22" } else { "/v1/connections" };
            let head = format!(
                "{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nX-Secret: seen\r\nConnection: close\r\n\r\n"
            );
            let answer = ground.exchange(head.as_bytes()).await;
            assert_eq!(statuses(&answer), [405], "{answer}");
            assert!(!answer.contains("seen"), "{answer}");
        }
        // No stranger gives figures a name.
        let figures = ground.client.send(ground.client.plain(ground.metrics())).await.text;
        assert!(figures.contains(r#"method="other""#), "{figures}");
        assert!(!figures.contains("BREW"), "{figures}");
        for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
            let request = ground.client.request(Method::GET, "/v1/connections/canary").header(name, "DELETE");
            ground.client.send(request).await.ok();
            let request = ground.client.request(Method::POST, "/v1/connections/canary").header(name, "DELETE");
            ground.client.send(request).await.problem(405, "method-not-allowed");
        }
        ground.client.get("/v1/connections/canary").await.ok();
        ground.api.rule(|seen| {
            if seen.account != "canary" {
                return Do::Serve;
            }
            let headers =
                vec![("access-control-allow-origin", "*".to_owned()), ("Access-Control-Allow-Headers", "*".to_owned())];
            Do::Answer(200, headers, "{}".to_owned())
        });
        for (method, path) in [
            (Method::OPTIONS, "/v1/connections"),
            (Method::OPTIONS, "/v1/health"),
            (Method::GET, "/v1/health"),
            (Method::GET, "/v1/connections"),
            (Method::GET, "/v1/nothing"),
            (Method::GET, "/v1/connections/canary/proxy/items"),
        ] {
            let request = ground.client.request(method, path).header("origin", "https://evil.test");
            let request = request.header("access-control-request-method", "DELETE");
            let request = request.header("access-control-request-headers", "authorization");
            let answer = ground.client.send(request).await;
            let of_cors = answer.headers.keys().find(|name| name.as_str().starts_with("access-control"));
            assert_eq!(of_cors, None, "{path}");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
            assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        }
        ground.api.no_rule();
        vec![]
    });
}

#[test]
fn a_trigger_that_is_sent_a_thousand_times_queues_one_run_and_with_a_key_asks_once() {
    case("A16", async |ground| {
        ground.api.put("flooded", Account::of("flooded", 3, 10));
        connect(&ground.client, &ground.api, "flooded", json!({ "type": "api-key", "key": "k" })).await;
        let path = "/v1/syncs/flooded/paged/base";
        ground.client.post(&format!("{path}/pause"), &json!({})).await.ok();
        let runs = async || {
            let runs = ground.client.get("/v1/runs?connection=flooded&limit=1000").await.ok();
            runs["items"].as_array().unwrap().len()
        };
        let before = runs().await;
        ground.api.rule(|seen| if seen.account == "flooded" { Do::Hold } else { Do::Serve });
        let trigger = format!("{path}/trigger");
        for _ in 0..20 {
            let many = (0..50).map(|_| ground.client.post(&trigger, &Value::Null));
            let many =
                (0..50).zip(many).map(|(_, _)| ground.client.send(ground.client.request(Method::POST, &trigger)));
            for answer in futures_util::future::join_all(many).await {
                assert_eq!(answer.status, 202, "{}", answer.text);
            }
        }
        ground.api.no_rule();
        let ended = async || {
            let sync = ground.client.get(path).await.ok();
            (!["running", "waiting"].contains(&sync["state"].as_str().unwrap())).then_some(())
        };
        until("the runs have ended", ended).await;
        // The one that was under way, and the one that follows it.
        let after = runs().await;
        assert!((1..=2).contains(&(after - before)), "{} runs", after - before);

        let with_key = async |key: &str, body: Value| {
            let request = ground.client.request(Method::POST, &trigger).header("idempotency-key", key);
            ground.client.send(request.header("content-type", "application/json").body(body.to_string())).await
        };
        let first = with_key("k", json!({ "wait_seconds": 60 })).await;
        assert_eq!(first.status, 200, "{}", first.text);
        let count = runs().await;
        for _ in 0..50 {
            let again = with_key("k", json!({ "wait_seconds": 60 })).await;
            assert_eq!((again.status, &again.text), (first.status, &first.text));
        }
        let same = futures_util::future::join_all((0..20).map(|_| with_key("k2", json!({ "wait_seconds": 60 })))).await;
        assert!(same.iter().all(|answer| [200, 202].contains(&answer.status)));
        assert_eq!(same.iter().filter(|answer| answer.status == 200).count(), 1);
        assert_eq!(runs().await, count + 1);
        with_key("k", json!({ "allow_deletes": true })).await.problem(409, "idempotency-conflict");
        with_key("", json!({})).await.problem(422, "bad-input");
        with_key(&"k".repeat(256), json!({})).await.problem(422, "bad-input");
        let request = ground.client.request(Method::POST, "/v1/syncs/flooded/none/base/trigger");
        ground.client.send(request.header("idempotency-key", "k3")).await.is_problem(404);
        ground.client.delete("/v1/connections/flooded").await.ok();
        // Of a connection that is gone nothing is remembered.
        connect(&ground.client, &ground.api, "flooded", json!({ "type": "api-key", "key": "k" })).await;
        let anew = with_key("k", json!({ "wait_seconds": 60 })).await;
        assert_ne!(anew.ok()["run"]["id"], first.json()["run"]["id"]);
        ground.client.delete("/v1/connections/flooded").await.ok();
        vec![]
    });
}

#[test]
fn a_page_of_a_list_does_not_take_longer_the_more_there_are() {
    // A million connections take minutes to make. What is to be seen is whether a page costs as much as the whole list: with
    // three thousand that is a factor of a hundred already.
    case("A18", async |ground| {
        let page = async |path: &str| {
            let mut times = Vec::new();
            for _ in 0..9 {
                let start = Instant::now();
                ground.client.get(path).await.ok();
                times.push(start.elapsed());
            }
            times.sort_unstable();
            times[4]
        };
        let paths = ["/v1/connections?limit=10", "/v1/syncs?limit=10", "/v1/runs?limit=10", "/v1/streams?limit=10"];
        let mut before = Vec::new();
        for path in paths {
            before.push(page(path).await);
        }
        ground.client.put("/v1/integrations/many", &crate::service::integration(&ground.api)).await.ok();
        for chunk in 0..60 {
            let made = (0..50).map(|nth| {
                let spec = json!({ "name": format!("many-{chunk:03}-{nth:03}"), "integration": "many" });
                async move { ground.client.post("/v1/connections", &spec).await.ok() }
            });
            futures_util::future::join_all(made).await;
        }
        for (path, before) in paths.iter().zip(before) {
            let now = page(path).await;
            assert!(now < before * 10 + Duration::from_millis(100), "{path}: {before:?}, then {now:?}");
        }
        // From the middle on, by key.
        let middle = ground.client.get("/v1/connections?limit=10&after=many-030-000").await.ok();
        assert_eq!(middle["items"][0]["name"], "many-030-001");
        for chunk in 0..60 {
            let gone = (0..50).map(|nth| async move {
                ground.client.delete(&format!("/v1/connections/many-{chunk:03}-{nth:03}")).await.ok()
            });
            futures_util::future::join_all(gone).await;
        }
        vec![]
    });
}

#[test]
fn without_a_key_there_is_nothing_but_health_and_the_metrics_are_elsewhere() {
    case("A19", async |ground| {
        let document = serde_json::to_value(terapi::api::document()).unwrap();
        let mut open = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let mut asked = path.clone();
            while let (Some(start), Some(end)) = (asked.find('{'), asked.find('}')) {
                asked.replace_range(start..=end, "x");
            }
            for (method, operation) in item.as_object().unwrap() {
                let method: Method = method.to_ascii_uppercase().parse().unwrap();
                let request = ground.client.with_key("").request(method.clone(), &asked);
                let answer = ground.client.send(request).await;
                if answer.status != 401 {
                    open.insert(format!("{method} {path}"));
                    // The document says so, too.
                    assert_eq!(operation["security"], json!([{}]), "{method} {path}");
                }
            }
        }
        assert_eq!(open, BTreeSet::from(["GET /v1/health".to_owned(), "GET /v1/ready".to_owned()]));
        for path in ["/metrics", "/", "/v1", "/v1/health/x", "/debug", "/v1/openapi.json", "/v1//health", "//v1/health"]
        {
            ground.client.with_key("").get(path).await.problem(401, "unauthorized");
        }
        let metrics = ground.process.metrics.as_deref().unwrap().strip_suffix("/metrics").unwrap();
        for path in ["/", "/v1/health", "/v1/key", "/v1/connections", "/metrics/x"] {
            let answer = ground.client.send(ground.client.plain(&format!("{metrics}{path}"))).await;
            assert_eq!((answer.status, answer.text.as_str()), (404, ""), "{path}");
        }
        vec![]
    });
}
