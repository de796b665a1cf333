//! The API: 20 pages of 100 issues with the field set of GitHub's, some 310 KB a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;

pub(crate) const PAGES: u64 = 20;
const PER_PAGE: u64 = 100;
/// Of ten issues one is a pull request.
pub(crate) const RECORDS: u64 = PAGES * PER_PAGE * 9 / 10;

/// The API, in a child process that ends when its standard input closes. Below `/none` every list is empty,
/// and below `/one` it is one page.
pub(crate) async fn serve() {
    let pages: Arc<Vec<String>> = Arc::new((0..PAGES).map(page).collect());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let json = || [(header::CONTENT_TYPE, "application/json")];
    let none = move || async move { (json(), "[]") };
    let one = move |State(pages): State<Arc<Vec<String>>>| async move { (json(), pages[0].clone()) };
    let app = axum::Router::new()
        .route("/repos/terapi/bench/issues", get(list))
        .route("/none/repos/terapi/bench/issues", get(none))
        .route("/one/repos/terapi/bench/issues", get(one))
        .with_state(pages);
    tokio::spawn(async move { axum::serve(listener, app).await });
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

async fn list(
    State(pages): State<Arc<Vec<String>>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let page: usize = query.get("page").map_or(1, |page| page.parse().unwrap());
    let host = headers[header::HOST].to_str().unwrap();
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    if page < pages.len() {
        let url = format!("http://{host}/repos/terapi/bench/issues?state=all&per_page=100&page={}", page + 1);
        answer.insert(header::LINK, format!("<{url}>; rel=\"next\"").parse().unwrap());
    }
    (answer, pages[page - 1].clone())
}

pub(crate) fn page(page: u64) -> String {
    let issues: Vec<String> = (0..PER_PAGE).map(|index| issue(page * PER_PAGE + index)).collect();
    format!("[{}]", issues.join(","))
}

fn issue(n: u64) -> String {
    let api = "https://api.github.com/repos/terapi/bench";
    let mut urls = String::new();
    for name in ["labels", "comments", "events", "timeline"] {
        let _ = write!(urls, r#""{name}_url":"{api}/issues/{n}/{name}","#);
    }
    let labels: Vec<String> = (0..n % 4)
        .map(|label| {
            format!(
                r#"{{"id":9{label}0001,"node_id":"MDU6TGFiZWw{label}","url":"{api}/labels/area-{label}","name":"area-{label}","color":"ededed","default":false,"description":"What belongs to area {label}"}}"#
            )
        })
        .collect();
    let pull = if n % 10 == 9 { format!(r#""pull_request":{{"url":"{api}/pulls/{n}"}},"#) } else { String::new() };
    let body = "It fails with “error: expected one of `!`, `.`” when I run it \\u2014 see below.\\r\\n\\r\\n```\\n\\tat main.rs:12\\n```\\r\\n"
        .repeat(7);
    format!(
        r#"{{"url":"{api}/issues/{n}","repository_url":"{api}",{urls}{pull}"html_url":"https://github.com/terapi/bench/issues/{n}","id":43000{n},"node_id":"I_kwDOAAsO6M4{n}","number":{n},"title":"Something does not work as it should, number {n}","user":{},"labels":[{}],"state":"{}","locked":false,"assignee":null,"assignees":[],"milestone":null,"comments":{},"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-02-03T04:05:06Z","closed_at":null,"author_association":"CONTRIBUTOR","active_lock_reason":null,"body":"{body}","closed_by":null,"reactions":{{"url":"{api}/issues/{n}/reactions","total_count":0,"+1":0,"-1":0,"laugh":0,"hooray":0,"confused":0,"heart":0,"rocket":0,"eyes":0}},"performed_via_github_app":null,"state_reason":null}}"#,
        user(n % 97),
        labels.join(","),
        if n.is_multiple_of(3) { "closed" } else { "open" },
        n % 20,
    )
}

fn user(n: u64) -> String {
    let mut urls = String::new();
    for name in [
        "followers",
        "following",
        "gists",
        "starred",
        "subscriptions",
        "organizations",
        "repos",
        "events",
        "received_events",
    ] {
        let _ = write!(urls, r#""{name}_url":"https://api.github.com/users/user-{n}/{name}","#);
    }
    format!(
        r#"{{"login":"user-{n}","id":{n},"node_id":"MDQ6VXNlcj{n}","avatar_url":"https://avatars.githubusercontent.com/u/{n}?v=4","gravatar_id":"",{urls}"html_url":"https://github.com/user-{n}","type":"User","user_view_type":"public","site_admin":false}}"#
    )
}
