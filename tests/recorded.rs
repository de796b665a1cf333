//! Example scripts against answers recorded from the real APIs, replayed on loopback.
//!
//! The recordings lie beside the repository, in `../shared/recorded` or where `TERAPI_RECORDED` says. They are not part of
//! it, so these tests say so and pass where they are missing; in CI they must be there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;
use terapi::demo;
use terapi::ids::{StreamKey, Variant};
use terapi::run::Outcome;
use terapi::runtime::{Execution, Runtime};
use terapi::store::ChangesQuery;
use terapi::store::embedded::StoreOptions;

fn recording(name: &str) -> Option<Value> {
    let folder = std::env::var_os("TERAPI_RECORDED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/recorded"), PathBuf::from);
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) if std::env::var_os("CI").is_some() => panic!("CI needs {}: {error}", folder.join(name).display()),
        Err(_) => {
            eprintln!("not run: no recording at {} (set TERAPI_RECORDED)", folder.join(name).display());
            None
        }
    }
}

/// Serves the exchanges: the one whose method, path, query and body are the request's.
async fn replay(exchanges: Vec<Value>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(answer).with_state(Arc::new(exchanges));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn answer(State(exchanges): State<Arc<Vec<Value>>>, request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let query: BTreeSet<(String, String)> = url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let found = exchanges.iter().find(|exchange| {
        let wanted = exchange["query"].as_object().unwrap().iter();
        let wanted = wanted.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
        exchange["method"] == parts.method.as_str()
            && exchange["path"] == parts.uri.path()
            && query == wanted
            && exchange["request_body"]["variables"] == body["variables"]
    });
    if let Some(exchange) = found {
        let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
        let headers = [("content-type", "application/json")];
        (StatusCode::from_u16(status).unwrap(), headers, exchange["body"].to_string())
    } else {
        let text = format!("no such exchange: {} {}", parts.method, parts.uri);
        (StatusCode::NOT_FOUND, [("content-type", "text/plain")], text)
    }
}

async fn sync_recorded(file: &str, script: &str, config: &str, model: &str) {
    let Some(recording) = recording(file) else { return };
    let url = replay(recording["exchanges"].as_array().unwrap().clone()).await;
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), &StoreOptions::default()).unwrap();
    let script = runtime.load(demo::script(script).unwrap().to_vec()).await.unwrap();
    let mut execution = Execution::new(script, "recorded".parse().unwrap());
    config.clone_into(&mut execution.config);
    execution.policy.base_url = Some(url.parse().unwrap());
    execution.policy.allowed_hosts = vec![url.parse().unwrap()];
    execution.policy.private_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let run = runtime.sync(execution).await.unwrap();
    assert_eq!(run.outcome, Some(Outcome::Succeeded));

    let stream = StreamKey {
        connection: "recorded".parse().unwrap(),
        model: model.parse().unwrap(),
        variant: Variant::default(),
    };
    let page = runtime.store().changes(&stream, &ChangesQuery { limit: 1_000, ..Default::default() }).unwrap();
    let found: BTreeSet<&str> = page.changes.iter().map(|change| change.id.as_str()).collect();
    let expected = recording["expected_record_ids"][model].as_array().unwrap();
    let expected: BTreeSet<&str> = expected.iter().map(|id| id.as_str().unwrap()).collect();
    assert!(!expected.is_empty());
    assert_eq!(found, expected);
    for change in &page.changes {
        let data: Value = serde_json::from_str(&change.data).unwrap();
        assert_eq!(data["id"], change.id.as_str());
    }
}

#[tokio::test]
async fn the_issues_that_github_really_answered_are_synced_without_pull_requests() {
    let config = r#"{"repository": "viictoo/api-playground2"}"#;
    sync_recorded("github-issues.json", "github-issues", config, "Issue").await;
}

#[tokio::test]
async fn the_redirects_that_shopify_really_answered_are_synced_by_graphql() {
    sync_recorded("shopify-url-redirects.json", "shopify-redirects", "{}", "UrlRedirect").await;
}
