//! One sync, written in every language, against one API: the same requests, and the same records to the byte.
//!
//! Rust and TypeScript are always there. Python and C need tools that a plain `cargo test` does not: `.ci/languages` builds
//! their components and names them in the environment.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use serde_json::json;
use terapi::ids::ConnectionName;
use terapi::runtime::Execution;
use terapi::sandbox::Script;

use crate::support::{Bench, guest};

/// A float holds whole numbers up to 2⁵³, and so does a number in JavaScript: its script is compared where none is beyond that.
const FLOATS: [&str; 1] = ["typescript"];
/// Where the built components of the languages that need more tools are.
const BUILT: [(&str, &str); 2] = [("python", "TERAPI_CONFORMANCE_PYTHON"), ("c", "TERAPI_CONFORMANCE_C")];
/// Says that all languages have to be there.
const ALL: &str = "TERAPI_CONFORMANCE_ALL";

/// The scripts, by language.
async fn scripts(bench: &Bench) -> Vec<(&'static str, Arc<Script>)> {
    let typescript = include_bytes!("scripts/conformance.ts").to_vec();
    let mut scripts =
        vec![("rust", bench.load(guest("conformance")).await), ("typescript", bench.load(typescript).await)];
    for (language, variable) in BUILT {
        match std::env::var_os(variable) {
            Some(file) => scripts.push((language, bench.load(std::fs::read(file).unwrap()).await)),
            None if std::env::var_os(ALL).is_some() => panic!("{variable} must name the component in {language}"),
            None => eprintln!("not run in {language}: {variable} is not set (see .ci/languages)"),
        }
    }
    scripts
}

/// An issue as the API keeps it.
#[derive(Clone)]
struct Issue {
    id: u64,
    title: &'static str,
    body: Option<&'static str>,
    weight: &'static str,
    pull_request: bool,
    /// Changed since the last run.
    fresh: bool,
}

#[derive(Default)]
struct Api {
    issues: Vec<Issue>,
    /// Paths and queries, since the last time that somebody looked.
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Api>>;

/// Titles and bodies that a careless reader or writer of JSON spoils.
const TEXTS: [(&str, Option<&str>); 7] = [
    ("plain", None),
    ("naïve café — “quoted” \\ backslash / slash", Some("line one\nline two\r\n\ttabbed")),
    ("emoji 🦀👩‍👩‍👧 and \u{10ffff}", Some("")),
    ("controls \u{0}\u{1}\u{8}\u{c}\u{1f}\u{7f}\u{80}", Some("\u{2028}\u{2029}\u{feff}")),
    ("right to left שלום عربى", Some("\"\\\"nested\\\"\"")),
    ("<script>&amp;</script>", Some("日本語のテキスト")),
    ("ends with a backslash \\", None),
];

/// The largest are beyond what a float holds exactly.
const WEIGHTS: [&str; 4] = ["0", "9007199254740993", "-9007199254740993", "42"];

fn issues(large_numbers: bool) -> Vec<Issue> {
    (0..11)
        .map(|index| {
            let (title, body) = TEXTS[index % TEXTS.len()];
            Issue {
                id: if large_numbers && index % 2 == 0 { 9_007_199_254_740_993 } else { 1_000 } + index as u64,
                title,
                body,
                weight: if large_numbers { WEIGHTS[index % WEIGHTS.len()] } else { "-9007199254740991" },
                pull_request: index % 4 == 3,
                fresh: true,
            }
        })
        .collect()
}

/// JSON as some APIs write it: spaces, everything beyond ASCII escaped.
fn ascii(text: &str) -> String {
    let mut out = String::from("\"");
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ (b'"' | b'\\' | b'/')) => out.extend(['\\', byte as char]),
            Ok(byte @ 0x20..=0x7e) => out.push(byte as char),
            _ => write!(out, "\\u{unit:04X}").unwrap(),
        }
    }
    out + "\""
}

fn spell(index: usize, issue: &Issue) -> String {
    let text = |value: &str| if index.is_multiple_of(2) { ascii(value) } else { json!(value).to_string() };
    let user =
        if index % 5 == 2 { "null".to_owned() } else { format!(r#"{{"login": "user-{index}", "id": {index}}}"#) };
    let labels: Vec<String> =
        (0..index % 3).map(|label| format!(r#"{{"id":{label},"name":{}}}"#, text(&format!("läbel {label}")))).collect();
    let milestone = match index % 3 {
        0 => "null".to_owned(),
        1 => r#"{ "due_on" : null , "title" : "v1" }"#.to_owned(),
        _ => r#"{"title":"v2 ✓","number":2,"due_on":"2026-01-02T03:04:05Z"}"#.to_owned(),
    };
    let pull_request = if issue.pull_request { r#""pull_request": {"url": "https://x.test/1"}, "# } else { "" };
    format!(
        r#"{{ "body": {}, {pull_request}"id": {}, "number":{index},
            "title": {}, "state":"open", "user": {user}, "labels": [{}], "weight": {},
            "reactions": {{"heart": 2, "url": "https://x.test", "total_count": {index}, "+1": 1}},
            "milestone": {milestone}, "updated_at": "2026-01-02T03:04:05Z" }}"#,
        issue.body.map_or("null".to_owned(), text),
        issue.id,
        text(issue.title),
        labels.join(","),
        issue.weight,
    )
}

async fn list(
    State(api): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> impl IntoResponse {
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    let get = |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let mut api = api.lock().unwrap();
    // When a run began is its own; all else is alike.
    let seen: Vec<String> = query
        .iter()
        .map(|(name, value)| match name.as_str() {
            "since" => format!("since={}", value.parse::<jiff::Timestamp>().is_ok()),
            _ => format!("{name}={value}"),
        })
        .collect();
    api.asked.push(format!("/repos/{owner}/{name}/issues?{}", seen.join("&")));
    let chosen: Vec<String> = api
        .issues
        .iter()
        .enumerate()
        .filter(|(_, issue)| issue.fresh || get("since").is_none())
        .map(|(index, issue)| spell(index, issue))
        .collect();
    let per_page: usize = get("per_page").unwrap().parse().unwrap();
    let page: usize = get("page").map_or(1, |page| page.parse().unwrap());
    let shown: Vec<&str> = chosen.iter().skip((page - 1) * per_page).take(per_page).map(String::as_str).collect();
    let host = headers[header::HOST].to_str().unwrap();
    let kept: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query.iter().filter(|(name, _)| name != "page"))
        .finish();
    let base = format!("http://{host}/repos/{owner}/{name}/issues?{kept}");
    let first = format!("<{base}&page=1>; rel=\"first\"");
    let link = if page * per_page < chosen.len() {
        format!("{first}, <{base}&page={}>; rel=\"next\"", page + 1)
    } else {
        first
    };
    ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::LINK, link)], format!("[{}]", shown.join(", ")))
}

async fn serve(api: Shared) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/repos/{owner}/{name}/issues", axum::routing::get(list)).with_state(api);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// What a run left: the requests that it made, and all changes of its stream.
async fn run(
    bench: &Bench,
    script: &Arc<Script>,
    connection: &ConnectionName,
    url: &str,
    api: &Shared,
    all: bool,
) -> Vec<String> {
    let mut execution = Execution::new(Arc::clone(script), connection.clone());
    execution.config = json!({ "repository": "acme/widgets", "all": all }).to_string();
    execution.policy.base_url = Some(url.parse().unwrap());
    execution.policy.allowed_hosts = vec![url.parse().unwrap()];
    execution.policy.private_networks = vec!["127.0.0.0/8".parse().unwrap()];
    bench.sync(execution).await.succeeded();
    let mut left = std::mem::take(&mut api.lock().unwrap().asked);
    left.extend(bench.feed(connection, "Issue").into_iter().map(|change| {
        let mark = if change.deleted_at().is_some() { "deleted " } else { "" };
        format!("{mark}{} {}", change.id, change.data)
    }));
    left
}

/// Runs all scripts step by step, compares what they left with what the first one did, and returns that.
async fn same(bench: &Bench, scripts: &[(&'static str, Arc<Script>)], large_numbers: bool) -> Vec<Vec<String>> {
    let api: Shared = Arc::default();
    let url = serve(Arc::clone(&api)).await;
    let connections: Vec<ConnectionName> = scripts.iter().map(|_| Bench::connection()).collect();
    let mut steps = Vec::new();
    for step in ["everything is new", "one changed, one is new", "two are gone"] {
        {
            let mut api = api.lock().unwrap();
            match step {
                "everything is new" => api.issues = issues(large_numbers),
                "one changed, one is new" => {
                    api.issues.iter_mut().for_each(|issue| issue.fresh = false);
                    api.issues[4].title = "changed ✎";
                    api.issues[4].fresh = true;
                    let new = Issue { id: 77, fresh: true, ..api.issues[1].clone() };
                    api.issues.push(new);
                }
                _ => drop(api.issues.drain(..2)),
            }
        }
        let mut left = Vec::new();
        for ((language, script), connection) in scripts.iter().zip(&connections) {
            let lines = run(bench, script, connection, &url, &api, step == "two are gone").await;
            left.push((*language, lines));
        }
        let (_, first) = &left[0];
        for (language, lines) in &left[1..] {
            for (line, expected) in lines.iter().zip(first) {
                assert_eq!(line, expected, "{language}, {step}");
            }
            assert_eq!(lines.len(), first.len(), "{language}, {step}");
        }
        steps.push(first.clone());
    }
    steps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_language_makes_the_same_requests_and_leaves_the_same_bytes() {
    let bench = Bench::open().await;
    let mut scripts = scripts(&bench).await;
    same(&bench, &scripts, false).await;
    scripts.retain(|(language, _)| !FLOATS.contains(language));
    let steps = same(&bench, &scripts, true).await;

    // And the one that the others are compared with did what it should.
    let is_request = |line: &&String| line.starts_with('/');
    let [new, changed, gone] = &steps[..] else { panic!("three steps") };
    assert_eq!(new.iter().filter(is_request).count(), 4);
    assert_eq!(new.iter().filter(|line| !is_request(line)).count(), 9, "two of eleven are pull requests");
    assert!(new.iter().any(|line| line.starts_with(
        r#"9007199254740993 {"id":"9007199254740993","number":0,"title":"plain","state":"open","author":"user-0","labels":[],"weight":0,"#
    )));
    assert!(new.iter().any(|line| line.contains(r#""weight":9007199254740993,"#)));
    assert!(new.iter().any(|line| line.contains("emoji 🦀")));
    assert!(new.iter().any(|line| line.contains(r#""title":"controls \u0000\u0001\b\f\u001f"#)));
    assert_eq!(changed[0], "/repos/acme/widgets/issues?state=all&per_page=3&since=true");
    assert_eq!(changed.iter().filter(is_request).count(), 1);
    assert!(changed.last().unwrap().starts_with("77 "));
    assert_eq!(gone.iter().filter(|line| line.starts_with("deleted ")).count(), 2);
}
