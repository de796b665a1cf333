//! Every route of the API's document: who gets in, and that nothing of one environment is seen from another.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::client::{Answer, Client};
use super::*;

/// What stands in everything that environment A has, and nowhere else.
const SENTINEL: &str = "alpha-sentinel";

/// A route of the document.
#[derive(Debug, Clone)]
struct Route {
    id: String,
    method: Method,
    path: String,
}

/// What a key needs for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    AnyKey,
    Scopes(&'static [&'static str]),
}

/// Written down by hand, so that a route that asks for less than it should is found.
fn needs(id: &str) -> Needs {
    match id {
        "health" | "ready" => Needs::Nothing,
        "openapi"
        | "current_key"
        | "get_retention"
        | "list_integrations"
        | "get_integration"
        | "list_connections"
        | "get_connection"
        | "get_metadata"
        | "list_scripts"
        | "get_script"
        | "list_script_versions"
        | "list_syncs"
        | "get_sync"
        | "list_runs"
        | "get_run"
        | "get_run_logs" => Needs::AnyKey,
        "list_streams" | "read_records" => Needs::Scopes(&["read-records", "manage"]),
        "call_action" | "get_call" | "proxy_get" | "proxy_post" | "proxy_put" | "proxy_patch" | "proxy_delete" => {
            Needs::Scopes(&["run-actions"])
        }
        "upload_script" | "describe_script" | "change_script" | "delete_script" | "activate_script"
        | "roll_back_script" | "release_script" => Needs::Scopes(&["deploy"]),
        "list_environments"
        | "create_environment"
        | "set_retention"
        | "prune"
        | "list_keys"
        | "create_key"
        | "delete_key"
        | "put_integration"
        | "delete_integration"
        | "create_connection"
        | "delete_connection"
        | "set_credential"
        | "set_connection_config"
        | "set_metadata"
        | "merge_metadata"
        | "create_sync"
        | "change_sync"
        | "delete_sync"
        | "trigger_sync"
        | "pause_sync"
        | "start_sync"
        | "cancel_sync"
        | "reset_sync"
        | "cancel_run" => Needs::Scopes(&["manage"]),
        other => panic!("the route {other} is new: say here what it needs"),
    }
}

fn document() -> Value {
    serde_json::to_value(terapi::api::document()).unwrap()
}

fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_ascii_uppercase().parse::<Method>() else { continue };
            if let Some(id) = operation["operationId"].as_str() {
                routes.push(Route { id: id.to_owned(), method, path: path.clone() });
            }
        }
    }
    assert!(routes.len() > 50, "{routes:?}");
    routes
}

/// Names of one of everything.
type Names = BTreeMap<&'static str, String>;

impl Route {
    fn path(&self, names: &Names) -> String {
        let mut path = self.path.clone();
        for (name, value) in names {
            path = path.replace(&format!("{{{name}}}"), value).replace(&format!("{{*{name}}}"), value);
        }
        assert!(!path.contains('{'), "no name for {path}");
        path
    }

    /// A request that is right in all but perhaps who asks.
    async fn ask(&self, client: &Client, names: &Names) -> Answer {
        let path = self.path(names);
        let request = client.request(self.method.clone(), &path);
        let json = |value: Value| {
            request.try_clone().unwrap().header("content-type", "application/json").body(value.to_string())
        };
        let request = match self.id.as_str() {
            "create_environment" => json(json!({ "name": "made-by-a-test" })),
            "create_key" => json(json!({ "name": "made by a test", "scopes": ["manage"] })),
            "create_connection" => json(json!({ "name": "made-by-a-test", "integration": names["integration"] })),
            "create_sync" => {
                json(json!({ "script": names["script"], "connection": names["connection"], "variant": "more" }))
            }
            "set_credential" => json(json!({ "type": "none" })),
            "set_retention"
            | "put_integration"
            | "set_connection_config"
            | "set_metadata"
            | "merge_metadata"
            | "change_sync"
            | "change_script" => json(json!({})),
            "upload_script" | "describe_script" => request.header("content-type", "application/wasm").body("no script"),
            "call_action" => json(json!({ "text": "x" })),
            _ => request,
        };
        client.send(request).await
    }
}

/// A service with everything in environment A, and a client of an environment B that has nothing but its key.
struct World {
    a: Client,
    b: Client,
    names: Names,
    /// A place in A's records.
    cursor: String,
    _dir: tempfile::TempDir,
    _server: Server,
}

impl World {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), options(dir.path()), PATIENCE).await;
        let (_, a) = server.environment("a").await;
        let (_, b) = server.environment("b").await;
        let api = ItemsApi::start().await;
        api.put(
            "alpha",
            api::Account { items: vec![("one".to_owned(), SENTINEL.to_owned())], ..api::Account::of("", 0, 10) },
        );
        let mut items = integration(&api);
        items["pagination"] = json!({ "note": SENTINEL });
        a.put("/v1/integrations/items", &items).await.ok();
        a.upload("paged", "integration=items").await.ok();
        a.upload("poster", "integration=items").await.ok();
        connect(&a, &api, "alpha", json!({ "type": "none" })).await;
        a.put("/v1/connections/alpha/metadata", &json!({ "note": SENTINEL })).await.ok();
        run(&a, "alpha").await;
        // So that its schedule changes nothing meanwhile.
        a.post(&format!("{}/pause", sync_path("alpha")), &json!({})).await.ok();
        let run = a.get("/v1/runs").await.ok()["items"][0]["id"].as_str().unwrap().to_owned();
        let called = a.request(Method::POST, "/v1/connections/alpha/actions/poster");
        let called = called.header("idempotency-key", "k").body(json!({ "text": SENTINEL }).to_string());
        let call = a.send(called).await.ok()["id"].as_str().unwrap().to_owned();
        let key = json!({ "name": SENTINEL, "scopes": ["read-records"] });
        let key = a.post("/v1/keys", &key).await.ok()["id"].as_str().unwrap().to_owned();
        let page = a.get("/v1/connections/alpha/records/Item").await.ok();
        assert!(page.to_string().contains(SENTINEL));
        let names = Names::from([
            ("integration", "items".to_owned()),
            ("connection", "alpha".to_owned()),
            ("script", "paged".to_owned()),
            ("variant", "base".to_owned()),
            ("version", "1".to_owned()),
            ("model", "Item".to_owned()),
            ("path", "items".to_owned()),
            ("run", run),
            ("call", call),
            ("key", key),
        ]);
        let cursor = page["cursor"].as_str().unwrap().to_owned();
        Self { a, b, names, cursor, _dir: dir, _server: server }
    }

    /// Everything that A has, as A sees it.
    async fn of_a(&self) -> Vec<String> {
        // Those are the service's own, or another test's to change.
        let others = ["ready", "health", "openapi", "proxy_get", "list_keys", "list_environments"];
        let mut all = Vec::new();
        for route in routes() {
            if route.method == Method::GET && !others.contains(&&*route.id) {
                let answer = route.ask(&self.a, &self.names).await;
                assert_eq!(answer.status, 200, "{route:?}: {}", answer.text);
                all.push(answer.text);
            }
        }
        all
    }

    /// A key of A with these scopes.
    async fn key(&self, scopes: &[&str]) -> Client {
        let key = json!({ "name": "scoped", "scopes": scopes });
        self.a.with_key(self.a.post("/v1/keys", &key).await.ok()["text"].as_str().unwrap())
    }
}

/// The same for all tests here: none of them changes what A has.
fn with_world(test: impl AsyncFnOnce(&'static World)) {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    THREADS.block_on(async { test(WORLD.get_or_init(World::open).await).await });
}

#[test]
fn without_a_key_nothing_but_health_answers() {
    with_world(async |world| {
        for route in routes() {
            let answer = route.ask(&world.a.with_key(""), &world.names).await;
            if needs(&route.id) == Needs::Nothing {
                assert_eq!(answer.status, 200, "{route:?}");
                continue;
            }
            assert_eq!(answer.headers["www-authenticate"], "Bearer", "{route:?}");
            answer.problem(401, "unauthorized");
        }
    });
}

#[test]
fn what_is_no_good_key_opens_nothing() {
    with_world(async |world| {
        let good = world.key(&["manage"]).await;
        good.get("/v1/key").await.ok();
        let mut mistyped = good.key.clone();
        let last = if mistyped.ends_with('a') { "b" } else { "a" };
        mistyped.replace_range(mistyped.len() - 1.., last);
        let elsewhere = good.key.replacen("terapi_a_", "terapi_b_", 1);
        let nowhere = good.key.replacen("terapi_a_", "terapi_none_", 1);
        // An hour ago, and a moment ago, when it had been good.
        let expired = json!({ "name": "old", "scopes": ["manage"], "expires_at": "2026-01-01T00:00:00Z" });
        let expired = world.a.post("/v1/keys", &expired).await.ok()["text"].as_str().unwrap().to_owned();
        let deleted = world.key(&["manage"]).await;
        let id = deleted.get("/v1/key").await.ok()["id"].as_str().unwrap().to_owned();
        world.a.delete(&format!("/v1/keys/{id}")).await.ok();
        let words = ["", " ", "terapi", "x", "terapi_a_", "ü", &"x".repeat(5_000)].map(str::to_owned);
        for key in words.into_iter().chain([mistyped, elsewhere, nowhere, expired, deleted.key]) {
            for route in routes() {
                if needs(&route.id) != Needs::Nothing {
                    let request = world.a.with_key("").request(route.method.clone(), &route.path(&world.names));
                    let answer = world.a.send(request.header("authorization", format!("Bearer {key}"))).await;
                    answer.problem(401, "unauthorized");
                }
            }
        }
        // The other ways to say who one is.
        for header in [format!("Basic {}", good.key), good.key.clone(), format!("Bearer  {}x", good.key)] {
            let request = world.a.with_key("").request(Method::GET, "/v1/key").header("authorization", header);
            world.a.send(request).await.problem(401, "unauthorized");
        }
    });
}

#[test]
fn a_key_of_another_environment_sees_nothing_and_changes_nothing() {
    with_world(async |world| {
        let before = world.of_a().await;
        assert!(before.concat().contains(SENTINEL));
        // Last what makes an integration there, which other routes would find.
        let (last, first): (Vec<_>, Vec<_>) = routes().into_iter().partition(|route| route.id == "put_integration");
        for route in first.into_iter().chain(last) {
            let answer = route.ask(&world.b, &world.names).await;
            assert!(!answer.text.contains(SENTINEL), "{route:?}: {}", answer.text);
            let status = answer.status;
            let value = answer.json();
            match route.id.as_str() {
                "health" | "ready" | "openapi" | "get_retention" | "set_retention" | "prune" | "create_key"
                | "put_integration" => assert!((200..300).contains(&status), "{route:?}: {value}"),
                "current_key" => assert_eq!(value["environment"], "b"),
                "list_keys" => assert!(!value.to_string().contains(&world.names["key"]), "{value}"),
                "list_environments" | "create_environment" => {
                    answer.problem(403, "missing-scope");
                }
                "upload_script" | "describe_script" => assert_eq!(status, 422, "{value}"),
                "read_records" => assert_eq!((status, &value["records"]), (200, &json!([]))),
                id if id.starts_with("list_") && id != "list_script_versions" => {
                    assert_eq!((status, &value["items"]), (200, &json!([])), "{route:?}");
                }
                _ => drop(answer.is_problem(404)),
            }
        }
        let path = format!("/v1/connections/alpha/records/Item?cursor={}", world.cursor);
        world.b.get(&path).await.is_problem(400);
        let found = world.b.get("/v1/connections/alpha/records/Item?ids=one").await.ok();
        assert_eq!(found["records"], json!([]));
        for path in ["/v1/runs?connection=alpha", "/v1/syncs?connection=alpha", "/v1/connections?integration=items"] {
            assert_eq!(world.b.get(path).await.ok()["items"], json!([]), "{path}");
        }
        let again = world.b.request(Method::POST, "/v1/connections/alpha/actions/poster");
        let again = again.header("idempotency-key", "k").body(json!({ "text": SENTINEL }).to_string());
        world.b.send(again).await.is_problem(404);
        for (now, before) in world.of_a().await.iter().zip(&before) {
            assert_eq!(now, before);
        }
    });
}

#[test]
fn a_key_without_the_scope_is_refused_and_one_with_it_is_not() {
    const ALL: [&str; 4] = ["read-records", "run-actions", "manage", "deploy"];
    with_world(async |world| {
        let before = world.of_a().await;
        // Names of nothing, so that what is let through does nothing.
        let mut nothing = world.names.clone();
        nothing.insert("run", "01999999-9999-7999-8999-999999999999".to_owned());
        nothing.insert("call", "01999999-9999-7999-8999-999999999999".to_owned());
        for name in ["integration", "connection", "script", "key", "variant"] {
            nothing.insert(name, "nothing".to_owned());
        }
        for route in routes() {
            let Needs::Scopes(any_of) = needs(&route.id) else { continue };
            let others: Vec<&str> = ALL.into_iter().filter(|scope| !any_of.contains(scope)).collect();
            let refused = route.ask(&world.key(&others).await, &world.names).await.problem(403, "missing-scope");
            assert!(refused["detail"].as_str().unwrap().contains(any_of[0]), "{refused}");
            if ["list_environments", "create_environment", "put_integration"].contains(&&*route.id) {
                continue;
            }
            for scope in any_of {
                let answer = route.ask(&world.key(&[scope]).await, &nothing).await;
                assert!(![401, 403].contains(&answer.status), "{route:?} with {scope}: {}", answer.text);
            }
        }
        assert_eq!(world.of_a().await, before);
        // Nobody makes a key that may do more than their own.
        let manager = world.key(&["manage"]).await;
        let more = json!({ "name": "more", "scopes": ["manage", "deploy"] });
        manager.post("/v1/keys", &more).await.problem(403, "missing-scope");
    });
}

#[test]
fn a_method_that_a_route_does_not_take_and_a_route_that_there_is_not_are_problems() {
    with_world(async |world| {
        let mut taken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for route in routes() {
            taken.entry(route.path(&world.names)).or_default().insert(route.method.to_string());
        }
        for (path, methods) in taken {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
                if methods.contains(method) {
                    continue;
                }
                let answer = world.a.ask(method.parse().unwrap(), &path, None).await;
                let allowed = answer.headers.get("allow").map(|allow| allow.to_str().unwrap().to_owned());
                answer.problem(405, "method-not-allowed");
                // RFC 9110, section 15.5.6
                let allowed = allowed.unwrap_or_else(|| panic!("{method} {path}: no Allow"));
                let allowed: BTreeSet<String> =
                    allowed.split(',').map(|it| it.trim().to_owned()).filter(|it| it != "HEAD").collect();
                assert_eq!(allowed, methods, "{method} {path}");
            }
        }
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/nothing",
            "/v2/health",
            "/v1/health/",
            "/v1/connections/alpha/records",
            "/metrics",
        ] {
            world.a.get(path).await.problem(404, "no-such-route");
            world.a.with_key("").get(path).await.problem(401, "unauthorized");
        }
    });
}

#[test]
fn a_request_that_cannot_be_read_is_a_problem_and_is_told_by_its_id() {
    with_world(async |world| {
        let a = &world.a;
        let request = |method: Method, path: &str, kind: &str, body: &str| {
            a.request(method, path).header("content-type", kind).body(body.to_owned())
        };
        let json = "application/json";
        for (method, path, kind, body, status, code) in [
            (Method::POST, "/v1/connections", json, "{", 400, "bad-json"),
            (Method::POST, "/v1/connections", json, "{}", 422, "bad-body"),
            (
                Method::POST,
                "/v1/connections",
                json,
                r#"{"name":"x","integration":"items","colour":1}"#,
                422,
                "bad-body",
            ),
            (Method::POST, "/v1/connections", json, r#"{"name":"Not A Name","integration":"items"}"#, 422, "bad-body"),
            (Method::POST, "/v1/connections", "text/plain", "{}", 415, "unsupported-media-type"),
            (Method::POST, "/v1/connections/alpha/actions/poster", json, "{", 400, "bad-json"),
            (Method::GET, "/v1/connections?limit=0", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections?limit=1001", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections?colour=red", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections/Not%20A%20Name", json, "", 400, "bad-path"),
            (Method::GET, "/v1/runs/1", json, "", 400, "bad-path"),
            (Method::GET, "/v1/connections/%ff", json, "", 400, "bad-path"),
            (Method::GET, "/v1/connections/alpha/records/Item?colour=red", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections/alpha/records/Item?limit=x", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections/alpha/records/Item?filter=x", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections/alpha/records/Item?wait=61s", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections/alpha/records/Item?modified_after=x", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections/alpha/records/Item?ids=a&cursor=x", json, "", 400, "bad-query"),
            (Method::GET, "/v1/connections/alpha/records/Item?cursor=x", json, "", 400, "bad-cursor"),
        ] {
            a.send(request(method, path, kind, body)).await.problem(status, code);
        }
        let own = a.send(a.request(Method::GET, "/v1/runs/1").header("x-request-id", "mine-1")).await;
        assert_eq!(own.problem(400, "bad-path")["request_id"], "mine-1");
        let odd = a.send(a.request(Method::GET, "/v1/runs/1").header("x-request-id", "not an id")).await;
        assert_ne!(odd.problem(400, "bad-path")["request_id"], "not an id");
    });
}

#[test]
fn the_document_that_is_served_is_the_one_of_the_code_and_describes_problems_everywhere() {
    with_world(async |world| {
        let served = world.b.get("/v1/openapi.json").await.ok();
        assert_eq!(served, document());
        assert!(served["openapi"].as_str().unwrap().starts_with("3.1"), "{}", served["openapi"]);
        let ids: BTreeSet<String> = routes().into_iter().map(|route| route.id).collect();
        assert_eq!(ids.len(), routes().len(), "an operation id is there twice");
        for (path, item) in served["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                if path.contains("/proxy/") {
                    // Any answer may be the API's own.
                    assert!(operation["responses"]["default"]["content"]["*/*"].is_object(), "{method} {path}");
                } else if needs(id) != Needs::Nothing {
                    let of_401 = &operation["responses"]["401"]["content"];
                    assert!(of_401["application/problem+json"].is_object(), "{method} {path}: {of_401}");
                }
            }
        }
    });
}
