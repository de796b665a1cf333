//! The API of the bench: issues of a repository, a hundred a page, in the shape that the example scripts read.
//!
//! It has two states, and changes from one to the other when it is told to: in the second, of every thousand records
//! fifteen have changed and five are gone. Asked for what is new since a date, or for a repository that is called
//! `empty`, it has nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;

use crate::records::{id, mix, write_issue};

const PER_PAGE: u64 = 100;

/// What tells the API to change its state.
pub(crate) const FIRST: &str = "first";
pub(crate) const SECOND: &str = "second";

struct Api {
    records: u64,
    second: AtomicBool,
    url: String,
}

/// Of the second state.
pub(crate) fn is_changed(number: u64) -> bool {
    !is_deleted(number) && mix(number ^ 0xc4a) % 1_000 < 15
}

/// In the second state.
pub(crate) fn is_deleted(number: u64) -> bool {
    mix(number ^ 0xde1) % 1_000 < 5
}

/// Serves until standard input ends.
pub(crate) async fn serve(records: u64) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let api = Arc::new(Api { records, second: AtomicBool::new(false), url: url.clone() });
    let router = Router::new().route("/repos/{owner}/{name}/issues", get(page)).with_state(Arc::clone(&api));
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    println!("{url}");
    let told = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines() {
            api.second.store(line.unwrap() == SECOND, Ordering::SeqCst);
            println!("done");
        }
    });
    told.await.unwrap();
}

async fn page(
    State(api): State<Arc<Api>>,
    Path((owner, name)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let json = |text: String| ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    if name == "empty" || query.contains_key("since") {
        return json("[]".to_owned());
    }
    let page = query.get("page").and_then(|page| page.parse::<u64>().ok()).unwrap_or(1).max(1);
    let second = api.second.load(Ordering::SeqCst);
    let numbers = (page - 1) * PER_PAGE..(page * PER_PAGE).min(api.records);
    let mut text = String::with_capacity(200 << 10);
    for number in numbers.filter(|number| !(second && is_deleted(*number))) {
        text.push(if text.is_empty() { '[' } else { ',' });
        write_issue(&mut text, &id(number).to_string(), number, u64::from(second && is_changed(number)));
    }
    text.push_str(if text.is_empty() { "[]" } else { "]" });
    let mut response = json(text);
    if page * PER_PAGE < api.records {
        let next = format!("<{}/repos/{owner}/{name}/issues?page={}>; rel=\"next\"", api.url, page + 1);
        response.headers_mut().insert(header::LINK, next.parse().unwrap());
    }
    response
}
