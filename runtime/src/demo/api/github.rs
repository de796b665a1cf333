//! `/repos/{owner}/{repo}/issues`, as GitHub answers it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::issue_json::write_issue;
use super::issues::{IssueState, Selection};
use super::{Shared, json, json_string, not_found};

/// GitHub's, and its cap.
const DEFAULT_PER_PAGE: u64 = 30;
const MAX_PER_PAGE: u64 = 100;

const DOCUMENTATION: &str = "https://docs.example/rest/issues";

/// Answers a page. As with GitHub, a value that means nothing counts as absent, but for `since`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let Some(repository) = repository(&owner, &repo) else { return not_found().await };
    let get = |name: &str| query.get(name).map(String::as_str);
    let number = |name: &str| get(name).and_then(|value| value.parse::<u64>().ok()).filter(|number| *number > 0);
    let since_ms = match get("since") {
        None | Some("") => 0,
        Some(since) => match since.parse::<jiff::Timestamp>() {
            // A fraction of a second later than a date in whole seconds is later.
            Ok(since) => u64::try_from(since.as_millisecond()).unwrap_or(0),
            Err(_) => return validation_failed("invalid", "since"),
        },
    };
    let selection = Selection {
        state: match get("state") {
            Some("all") => None,
            Some("closed") => Some(IssueState::Closed),
            _ => Some(IssueState::Open),
        },
        by_update: get("sort") == Some("updated"),
        descending: get("direction") != Some("asc"),
        since_ms,
    };
    let per_page = number("per_page").unwrap_or(DEFAULT_PER_PAGE).min(MAX_PER_PAGE);
    let page = number("page").unwrap_or(1);
    let (text, total) = shared.read(|data| {
        let (entries, total) = data.issues.page(&selection, page - 1, per_page);
        (shared.issue_writer.page(&repository, &data.issues, &entries), total)
    });
    let mut response = json(StatusCode::OK, text);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let link = link(host, &uri, page, total.div_ceil(per_page));
    if let Some(link) = link.and_then(|link| link.parse().ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// The `Link` header: absolute URLs of the pages around `page` (from 1), on the host that was asked. None if all is on
/// this page.
fn link(host: &str, uri: &Uri, page: u64, last: u64) -> Option<String> {
    let others: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("page="))
        .collect();
    let link = |to: u64, relation: &str| {
        let page = format!("page={to}");
        let query: Vec<&str> = others.iter().copied().chain([page.as_str()]).collect();
        format!("<http://{host}{}?{}>; rel=\"{relation}\"", uri.path(), query.join("&"))
    };
    let mut links = Vec::new();
    if page > 1 {
        links.push(link((page - 1).min(last.max(1)), "prev"));
    }
    if page < last {
        links.push(link(page + 1, "next"));
        links.push(link(last, "last"));
    }
    if page > 1 {
        links.push(link(1, "first"));
    }
    (!links.is_empty()).then(|| links.join(", "))
}

/// What `POST` takes; other fields are ignored.
#[derive(Deserialize)]
struct NewIssue {
    title: Option<String>,
    body: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
}

/// Creates an issue.
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let Some(repository) = repository(&owner, &repo) else { return not_found().await };
    let new: NewIssue = match serde_json::from_slice(&body) {
        Ok(new) => new,
        Err(error) if error.is_data() => return validation_failed("invalid", "body"),
        Err(_) => {
            let text = format!(r#"{{"message":"Problems parsing JSON","documentation_url":"{DOCUMENTATION}"}}"#);
            return json(StatusCode::BAD_REQUEST, text);
        }
    };
    let Some(title) = new.title.filter(|title| !title.trim().is_empty()) else {
        return validation_failed("missing_field", "title");
    };
    let now_ms = shared.now_ms();
    let mut text = String::new();
    let number = {
        let mut data = shared.write();
        let issue = data.issues.add(title, new.body, new.labels, now_ms);
        write_issue(&mut text, &repository, issue);
        issue.number()
    };
    let location = format!("https://api.example/repos/{repository}/issues/{number}");
    ([(header::LOCATION, location)], json(StatusCode::CREATED, text)).into_response()
}

fn validation_failed(code: &str, field: &str) -> Response {
    let text = format!(
        r#"{{"message":"Validation Failed","errors":[{{"resource":"Issue","code":"{code}","field":{}}}],"documentation_url":"{DOCUMENTATION}","status":"422"}}"#,
        json_string(field)
    );
    json(StatusCode::UNPROCESSABLE_ENTITY, text)
}

/// `owner/repo`, if both are names.
fn repository(owner: &str, repo: &str) -> Option<String> {
    let name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (name(owner) && name(repo)).then(|| format!("{owner}/{repo}"))
}
