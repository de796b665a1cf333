//! Secrets: sealed where they are kept, attached where they belong, and nowhere else.

#![allow(clippy::format_collect, reason = "a few bytes")]

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use terapi::store::DocumentKind;

use super::api::{Account, Do, Seen};
use super::server::{Process, init};
use super::*;

/// A secret that is found wherever it is, with characters that are written otherwise in URLs.
fn sentinel(what: &str) -> String {
    format!("Sentinel+/{what}/Q7x9=w&Z")
}

/// Everything that must stay secret.
const SECRETS: [&str; 11] = [
    "header-key",
    "query-key",
    "bearer-token",
    "password",
    "client-secret",
    "own-client-secret",
    "refresh-client-secret",
    "refresh-token",
    "access-token",
    "new-access-token",
    "new-refresh-token",
];

/// Kinds of credentials: the integration's `auth`, the connection's credential, and how the API sees it.
fn kinds(api: &ItemsApi) -> Vec<(&'static str, Value, Value)> {
    let client = |kind: &str, auth: &str, secret: Option<&str>| {
        let mut client = json!({
            "type": kind,
            "token_url": api.url("/token"),
            "client_auth": auth,
            "client_id": "the-client",
        });
        if let Some(secret) = secret {
            client["client_secret"] = sentinel(secret).into();
        }
        client
    };
    vec![
        (
            "header",
            json!({ "type": "api-key-header", "name": "X-Thing", "prefix": "Key " }),
            json!({ "type": "api-key", "key": sentinel("header-key") }),
        ),
        (
            "query",
            json!({ "type": "api-key-query", "name": "apparel" }),
            json!({ "type": "api-key", "key": sentinel("query-key") }),
        ),
        ("bearer", json!({ "type": "bearer" }), json!({ "type": "bearer", "token": sentinel("bearer-token") })),
        (
            "basic",
            json!({ "type": "basic" }),
            json!({ "type": "basic", "username": "user", "password": sentinel("password") }),
        ),
        ("client", client("oauth2-client-credentials", "basic", Some("client-secret")), json!({ "type": "none" })),
        (
            "own-client",
            client("oauth2-client-credentials", "body", None),
            json!({ "type": "oauth2-client-credentials", "client_secret": sentinel("own-client-secret") }),
        ),
        (
            "refresh",
            client("oauth2-refresh-token", "body", Some("refresh-client-secret")),
            json!({
                "type": "oauth2-refresh-token",
                "refresh_token": sentinel("refresh-token"),
                "access_token": sentinel("access-token"),
                "expires_at": "2100-01-01T00:00:00Z",
            }),
        ),
    ]
}

/// Every form in which a secret may have been written.
fn forms(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([secret.to_owned(), format!("{secret:?}").trim_matches('"').to_owned()]);
    forms.insert(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    let all: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    forms.insert(all);
    // Percent-encoded in part, as paths and queries are.
    let part = |kept: &str| -> String {
        let one = |c: char| {
            if c.is_alphanumeric() || kept.contains(c) { c.to_string() } else { format!("%{:02X}", c as u32) }
        };
        secret.chars().map(one).collect()
    };
    forms.extend([part("-"), part("-/"), part("-+/"), part("-=/"), part("-+/="), part("-=&/+")]);
    forms.insert(secret.bytes().map(|byte| format!("{byte:02x}")).collect());
    forms.insert(secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    forms.insert(secret.replace('/', "\\/"));
    // In base64, at each of the three places in a group; its ends depend on the neighbors.
    for before in 0..3 {
        let text = [vec![b'x'; before], secret.as_bytes().to_vec()].concat();
        let encoded = BASE64_STANDARD.encode(text);
        let inner = &encoded[4..encoded.len() - 4];
        forms.extend([inner.to_owned(), inner.replace('+', "-").replace('/', "_")]);
    }
    forms
}

/// Of each secret its forms.
static FORMS: LazyLock<Vec<(&str, BTreeSet<String>)>> =
    LazyLock::new(|| SECRETS.into_iter().map(|secret| (secret, forms(&sentinel(secret)))).collect());

/// The secrets that stand in some bytes.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    // What is no UTF-8 is none of these forms either.
    let text = String::from_utf8_lossy(bytes);
    let has = |forms: &BTreeSet<String>| forms.iter().any(|form| text.contains(form));
    FORMS.iter().filter(|(_, forms)| has(forms)).map(|(secret, _)| *secret).collect()
}

fn assert_clean(what: &str, bytes: &[u8]) {
    let found = found(bytes);
    assert!(
        found.is_empty(),
        "{found:?} in {what}: {}",
        String::from_utf8_lossy(bytes).chars().take(3_000).collect::<String>()
    );
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// Whether a request shows who it is.
fn is_known(seen: &Seen) -> bool {
    let query: String = url::form_urlencoded::byte_serialize(sentinel("query-key").as_bytes()).collect();
    let basic = BASE64_STANDARD.encode(format!("user:{}", sentinel("password")));
    match seen.account.as_str() {
        "header" => seen.header("x-thing") == format!("Key {}", sentinel("header-key")),
        "query" => {
            let pairs = url::form_urlencoded::parse(seen.query.as_bytes());
            pairs.into_iter().any(|(name, value)| name == "apparel" && value == sentinel("query-key"))
                || seen.query.contains(&query)
        }
        "bearer" => seen.header("authorization") == format!("Bearer {}", sentinel("bearer-token")),
        "basic" => seen.header("authorization") == format!("Basic {basic}"),
        _ => ["access-token", "new-access-token"]
            .iter()
            .any(|token| seen.header("authorization") == format!("Bearer {}", sentinel(token))),
    }
}

#[test]
fn the_forms_of_a_secret_are_found() {
    let secret = sentinel("password");
    for text in [
        secret.clone(),
        BASE64_STANDARD.encode(format!("user:{secret}")),
        BASE64_STANDARD.encode(format!("u:{secret}")),
        format!("https://x/?key={}", url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>()),
        url::Url::parse_with_params("https://x/", [("key", &secret)]).unwrap().to_string(),
        json!({ "it": secret }).to_string(),
        format!("{:?}", secret.as_bytes()),
    ] {
        assert_eq!(found(text.as_bytes()), ["password"], "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines, reason = "one story: the same secrets go through all of it")]
async fn no_secret_is_in_an_answer_a_log_a_trace_an_error_or_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let key = init(&data);
    let process = Process::start(&data, &[("TERAPI_LOG", "trace,sled=info"), ("RUST_BACKTRACE", "0")]);
    let client = Client::new(&process.url, &key);
    let api = ItemsApi::start().await;
    let good_tokens = |seen: &Seen| {
        if seen.path == "token" {
            let tokens = json!({
                "access_token": sentinel("new-access-token"),
                "refresh_token": sentinel("new-refresh-token"),
                "expires_in": 3600,
            });
            return Do::json(&tokens);
        }
        if is_known(seen) { Do::Serve } else { Do::status(401) }
    };
    let mut said: Vec<(String, String)> = Vec::new();
    let mut say = |what: &str, answer: &super::client::Answer| {
        said.push((what.to_owned(), format!("{:?}\n{}", answer.headers, answer.text)));
    };
    client.upload("paged", "").await.ok();
    api.rule(good_tokens);
    let kinds = kinds(&api);
    for (kind, auth, credential) in &kinds {
        let mut items = integration(&api);
        items["auth"] = auth.clone();
        items["retry"]["max"] = 1.into();
        say("the integration", &client.put(&format!("/v1/integrations/{kind}"), &items).await);
        api.put(kind, Account::of(kind, 4, 2));
        let spec = json!({
            "name": kind,
            "integration": kind,
            "base_url": api.url(&format!("/{kind}")),
            "credential": credential,
        });
        let made = client.post("/v1/connections", &spec).await;
        assert_eq!(made.status, 201, "{}", made.text);
        say("the connection", &made);
        let sync = json!({ "script": "paged", "connection": kind, "frequency": "never" });
        client.post("/v1/syncs", &sync).await.ok();
        assert_eq!(run(&client, kind).await["outcome"]["code"], "succeeded", "{kind}");
        say("proxied", &client.get(&format!("/v1/connections/{kind}/proxy/items?page=1")).await);
        // What is not right is not told either.
        let mut wrong = credential.clone();
        wrong["colour"] = sentinel("bearer-token").into();
        say("a wrong credential", &client.put(&format!("/v1/connections/{kind}/credential"), &wrong).await);
        for (odd, _, other) in &kinds {
            if odd != kind {
                // Those of another kind are refused, mostly.
                let answer = client.put(&format!("/v1/connections/{kind}/credential"), other).await;
                say("another kind's credential", &answer);
            }
        }
        client.put(&format!("/v1/connections/{kind}/credential"), credential).await.ok();
    }
    // An older token server that has learned nothing: it repeats what it was sent.
    let echo = |status: u16, error: &'static str| {
        move |seen: &Seen| {
            if seen.path != "token" {
                return Do::status(401);
            }
            let authorization = seen.header("authorization").to_owned();
            let form: String =
                url::form_urlencoded::parse(seen.body.as_bytes()).map(|(_, value)| format!("{value} ")).collect();
            let body =
                json!({ "error": error, "error_description": format!("no: {form} {} {authorization}", seen.body) });
            Do::Answer(status, Vec::new(), body.to_string())
        }
    };
    for stage in ["401", "echo 403", "echo 400", "cut", "down"] {
        match stage {
            "401" => api.rule(|seen| {
                if seen.path == "token" {
                    Do::json(&json!({ "access_token": sentinel("new-access-token") }))
                } else {
                    Do::status(401)
                }
            }),
            "echo 403" => api.rule(echo(403, "slow_down_please")),
            "echo 400" => api.rule(echo(400, "invalid_grant")),
            "cut" => api.rule(|_| Do::Cut),
            _ => api.rule(|_| Do::status(500)),
        }
        // At once: some wait for a token server that is down.
        let broken = async |kind: &str| {
            let trigger = format!("/v1/syncs/{kind}/paged/base/trigger");
            let answer = client.post(&trigger, &json!({ "wait_seconds": 60 })).await;
            assert_ne!(answer.json()["run"]["outcome"]["code"], "succeeded", "{kind}, {stage}");
            [answer, client.get(&format!("/v1/connections/{kind}/proxy/items?page=1")).await]
        };
        for answers in futures_util::future::join_all(kinds.iter().map(|(kind, _, _)| broken(kind))).await {
            for answer in &answers {
                say(stage, answer);
            }
        }
    }
    for kind in ["client", "own-client", "refresh"] {
        let refused = client.get(&format!("/v1/connections/{kind}")).await.ok()["refused"].clone();
        assert!(refused.as_str().is_some_and(|text| text.contains("invalid_grant")), "{kind}: {refused}");
    }
    for (kind, _, _) in &kinds {
        for path in [
            format!("/v1/integrations/{kind}"),
            format!("/v1/connections/{kind}"),
            format!("/v1/syncs/{kind}/paged/base"),
        ] {
            say("shown", &client.get(&path).await);
        }
    }
    let runs = client.get("/v1/runs?limit=1000").await;
    for run in runs.json()["items"].as_array().unwrap() {
        let id = run["id"].as_str().unwrap();
        say("a run", &client.get(&format!("/v1/runs/{id}")).await);
        say("a run's log", &client.get(&format!("/v1/runs/{id}/logs?limit=1000")).await);
    }
    for list in ["integrations", "connections", "syncs", "scripts", "keys", "streams", "openapi.json"] {
        say(list, &client.get(&format!("/v1/{list}")).await);
    }
    for (kind, _, _) in &kinds {
        say("records", &client.get(&format!("/v1/connections/{kind}/records/Item")).await);
    }
    // The test tests something.
    let seen = api.seen();
    for (kind, _, _) in &kinds {
        assert!(seen.iter().any(|seen| seen.account == *kind && is_known(seen)), "{kind}");
    }
    assert!(seen.iter().any(|seen| found(seen.body.as_bytes()).contains(&"own-client-secret")));
    for (what, text) in &said {
        assert_clean(what, text.as_bytes());
    }
    let log = process.log.clone();
    process.terminate();
    assert!(process.ended().await.success());
    let log = std::fs::read(log).unwrap();
    assert!(log.len() > 10_000, "it logged nothing: {}", String::from_utf8_lossy(&log));
    for line in log.split(|byte| *byte == b'\n') {
        assert_clean("the log", line);
    }
    for file in files(&data) {
        assert_clean(&file.display().to_string(), &std::fs::read(&file).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rotation_everything_is_sealed_with_a_new_key_and_works_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), options(dir.path()), PATIENCE).await;
    let api = ItemsApi::start().await;
    let file = dir.path().join("secrets.key");
    let keys = || std::fs::read_to_string(&file).unwrap();
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
    };
    api.rule(|seen| {
        if seen.path == "token" {
            return Do::json(&json!({ "access_token": sentinel("new-access-token"), "refresh_token": sentinel("new-refresh-token") }));
        }
        if is_known(seen) { Do::Serve } else { Do::status(401) }
    });
    let (_, other) = server.environment("other").await;
    let clients = [server.client().await, other];
    for client in &clients {
        client.upload("paged", "").await.ok();
        for (kind, auth, credential) in kinds(&api) {
            let mut items = integration(&api);
            items["auth"] = auth;
            client.put(&format!("/v1/integrations/{kind}"), &items).await.ok();
            api.put(kind, Account::of(kind, 2, 2));
            let base_url = api.url(&format!("/{kind}"));
            let spec = json!({ "name": kind, "integration": kind, "base_url": base_url, "credential": credential });
            client.post("/v1/connections", &spec).await.ok();
            let sync = json!({ "script": "paged", "connection": kind, "frequency": "never" });
            client.post("/v1/syncs", &sync).await.ok();
            assert_eq!(run(client, kind).await["outcome"]["code"], "succeeded", "{kind}");
        }
    }
    let sealed = || -> BTreeSet<String> {
        let mut sealed = BTreeSet::new();
        for environment in server.service.environments() {
            for kind in [DocumentKind::Integration, DocumentKind::Connection] {
                for (_, text) in environment.store().documents(kind, "", None, 1_000).unwrap() {
                    let document: Value = serde_json::from_str(&text).unwrap();
                    for name in ["sealed", "sealed_tokens", "sealed_secret"] {
                        sealed.extend(document[name].as_str().map(str::to_owned));
                    }
                }
            }
        }
        sealed
    };
    let (old_keys, old_sealed) = (lines(&keys()), sealed());
    // Six credentials and two clients' secrets, and the tokens of two clients, in two environments.
    assert_eq!((old_keys.len(), old_sealed.len()), (1, 20), "{old_sealed:?}");
    assert_eq!(server.service.rotate_secrets().await.unwrap(), 20);
    let (new_keys, new_sealed) = (lines(&keys()), sealed());
    assert_eq!((new_keys.len(), new_sealed.len()), (1, 20));
    assert_ne!(old_keys, new_keys, "the old key is still there");
    assert!(old_sealed.is_disjoint(&new_sealed));
    let id = format!("v1.{}.", new_keys[0].split(':').next().unwrap());
    assert!(new_sealed.iter().all(|text| text.starts_with(&id)));
    let all_work = async |clients: &[Client]| {
        for client in clients {
            for (kind, _, _) in kinds(&api) {
                assert_eq!(run(client, kind).await["outcome"]["code"], "succeeded", "{kind}");
                let proxied = client.request(Method::GET, &format!("/v1/connections/{kind}/proxy/items?page=1"));
                client.send(proxied).await.ok();
            }
        }
    };
    all_work(&clients).await;
    let keys: Vec<String> = clients.iter().map(|client| client.key.clone()).collect();
    server.stop().await;
    // Also by who has only what is on disk.
    let server = Server::start(dir.path(), options(dir.path()), PATIENCE).await;
    let clients: Vec<Client> = keys.iter().map(|key| Client::new(&server.url, key)).collect();
    all_work(&clients).await;
    server.stop().await;
}
