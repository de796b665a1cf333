//! Every shape over HTTP, and how the API behaves as a whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod paging;

use std::collections::BTreeSet;
use std::time::Instant;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::*;

/// 2026-02-03T04:05:06.789Z.
const NOW_MS: u64 = 1_770_091_506_789;

async fn start(options: DemoApiOptions) -> DemoApi {
    DemoApi::start(DemoApiOptions { now_ms: Some(NOW_MS), ..options }).await.unwrap()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The URL that the `Link` header has for a relation.
    fn link(&self, relation: &str) -> Option<String> {
        let links = self.header("link")?.split(", ");
        let mut links = links.map(|link| link.split_once("; rel=").unwrap());
        let (url, _) = links.find(|(_, name)| *name == format!("\"{relation}\""))?;
        Some(url.trim_matches(['<', '>']).to_owned())
    }

    fn numbers(&self) -> Vec<u64> {
        self.json().as_array().unwrap().iter().map(|issue| issue["number"].as_u64().unwrap()).collect()
    }
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

fn client() -> reqwest::Client {
    // Nothing here speaks TLS, but the client is not made without.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn get_url(url: &str) -> Answer {
    send(client().get(url)).await
}

async fn get(api: &DemoApi, target: &str) -> Answer {
    get_url(&format!("{}{target}", api.url())).await
}

// --- issues over HTTP -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn following_the_next_links_meets_every_issue_once() {
    let api = start(DemoApiOptions { issues: 50, ..DemoApiOptions::default() }).await;
    let mut url = format!("{}/repos/acme/rocket/issues?state=all&sort=updated&direction=asc&per_page=7", api.url());
    let mut numbers = Vec::new();
    loop {
        let answer = get_url(&url).await;
        assert_eq!(answer.status, 200);
        numbers.extend(answer.numbers());
        let Some(next) = answer.link("next") else { break };
        assert!(next.starts_with(&format!("{}/repos/acme/rocket/issues?state=all&", api.url())), "{next}");
        url = next;
    }
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    assert_eq!(api.requests_served(), 8);
}

#[tokio::test]
async fn the_links_of_a_page_name_its_neighbors_and_the_ends() {
    let api = start(DemoApiOptions { issues: 50, ..DemoApiOptions::default() }).await;
    let target = "/repos/a/b/issues?page=3&state=all&since=2020-01-01T00%3A00%3A00Z&per_page=10";
    let answer = get(&api, target).await;
    let url = |page| {
        Some(format!("{}/repos/a/b/issues?state=all&since=2020-01-01T00%3A00%3A00Z&per_page=10&page={page}", api.url()))
    };
    assert_eq!(["prev", "next", "last", "first"].map(|name| answer.link(name)), [url(2), url(4), url(5), url(1)]);
    assert_eq!(get(&api, "/repos/a/b/issues?state=all&per_page=50").await.header("link"), None);
    let beyond = get(&api, "/repos/a/b/issues?state=all&per_page=50&page=9").await;
    assert_eq!(beyond.text, "[]");
    assert_eq!((beyond.link("next"), beyond.link("prev").is_some()), (None, true));
}

#[tokio::test]
async fn without_a_query_the_newest_thirty_open_issues_are_listed() {
    let api = start(DemoApiOptions { issues: 160, ..DemoApiOptions::default() }).await;
    let answer = get(&api, "/repos/a/b/issues").await;
    let open: Vec<u64> = (1..=160).rev().filter(|number| ![3, 6, 9].contains(&(number % 10))).collect();
    assert_eq!(answer.numbers(), open[..30]);
    assert!(answer.json().as_array().unwrap().iter().all(|issue| issue["state"] == "open"));
    assert_eq!(get(&api, "/repos/a/b/issues?per_page=1000&state=all&page=x").await.numbers().len(), 100);
}

#[tokio::test]
async fn since_gives_what_was_updated_at_that_second_or_later() {
    let api = start(DemoApiOptions { issues: 30, ..DemoApiOptions::default() }).await;
    api.set_now(NOW_MS + 60_000);
    assert!(api.update_issue(4, |issue| issue.title = "Renamed".into()));
    api.set_now(NOW_MS + 61_000);
    assert_eq!(api.add_issue("New", "of today"), 31);
    assert!(!api.update_issue(32, |issue| issue.comments += 1));
    let since = async |date: &str| {
        let target = format!("/repos/a/b/issues?state=all&sort=updated&direction=asc&since={date}");
        get(&api, &target).await.numbers()
    };
    assert_eq!(since("2026-02-03T04:06:06Z").await, [4, 31]);
    assert_eq!(since("2026-02-03T05:06:06%2B01:00").await, [4, 31]);
    assert_eq!(since("2026-02-03T04:06:06.001Z").await, [31]);
    assert_eq!(since("2026-02-03T04:06:08Z").await, [0; 0]);
    let oldest = get(&api, "/repos/a/b/issues?state=all&direction=asc&per_page=20").await.json();
    assert_eq!(since(oldest[19]["updated_at"].as_str().unwrap()).await[0], 20);
    assert_eq!(since("1970-01-01T00:00:00Z").await.len(), 30);
    let refused = get(&api, "/repos/a/b/issues?since=yesterday").await;
    assert_eq!((refused.status, refused.json()["errors"][0]["field"].as_str()), (422, Some("since")));
}

#[tokio::test]
async fn a_changed_issue_shows_the_change_and_its_date_and_nothing_else_new() {
    let api = start(DemoApiOptions { issues: 9, ..DemoApiOptions::default() }).await;
    let target = "/repos/a/b/issues?state=all&direction=asc";
    let before = get(&api, target).await.json();
    api.set_now(NOW_MS + 1000);
    api.update_issue(5, |issue| {
        issue.title = "Say \"hi\"\n".into();
        issue.labels = vec!["good first issue".into()];
    });
    let mut after = get(&api, target).await.json();
    let changed = after[4].as_object_mut().unwrap();
    assert_eq!(changed["title"], "Say \"hi\"\n");
    assert_eq!(changed["labels"][0]["name"], "good first issue");
    assert_eq!(changed["updated_at"], "2026-02-03T04:05:07Z");
    for field in ["title", "labels", "updated_at"] {
        changed[field] = before[4][field].clone();
    }
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_issue_has_the_fields_of_a_real_one_and_about_1500_bytes() {
    let api = start(DemoApiOptions::default()).await;
    let answer = get(&api, "/repos/acme/rocket/issues?state=all&per_page=100").await;
    let issues = answer.json();
    let mut bytes = 0;
    for issue in issues.as_array().unwrap() {
        bytes += issue.to_string().len();
        let fields: BTreeSet<&str> = issue.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = BTreeSet::from([
            "active_lock_reason",
            "assignee",
            "assignees",
            "author_association",
            "body",
            "closed_at",
            "closed_by",
            "comments",
            "comments_url",
            "created_at",
            "events_url",
            "html_url",
            "id",
            "labels",
            "labels_url",
            "locked",
            "milestone",
            "node_id",
            "number",
            "performed_via_github_app",
            "reactions",
            "repository_url",
            "state",
            "state_reason",
            "timeline_url",
            "title",
            "updated_at",
            "url",
            "user",
        ]);
        if [4, 9].contains(&(issue["number"].as_u64().unwrap() % 10)) {
            expected.extend(["pull_request", "draft"]);
        } else {
            expected.insert("sub_issues_summary");
        }
        assert_eq!(fields, expected);
        assert_eq!(issue["closed_at"].is_null(), issue["state"] == "open");
    }
    assert!((1400..1700).contains(&(bytes / 100)), "{}", bytes / 100);
}

#[tokio::test]
async fn cheap_pages_agree_with_full_ones_in_numbers_dates_and_states() {
    let options = DemoApiOptions { issues: 1000, ..DemoApiOptions::default() };
    let (full, cheap) = (start(options.clone()).await, start(DemoApiOptions { cheap_pages: true, ..options }).await);
    full.update_issue(995, |issue| issue.title = "Both".into());
    cheap.update_issue(995, |issue| issue.title = "Both".into());
    let target = "/repos/acme/rocket/issues?state=all&per_page=100&sort=updated";
    let (full, cheap) = (get(&full, target).await.json(), get(&cheap, target).await.json());
    for (full, cheap) in full.as_array().unwrap().iter().zip(cheap.as_array().unwrap()) {
        for field in
            ["id", "node_id", "number", "url", "created_at", "updated_at", "closed_at", "state", "pull_request"]
        {
            assert_eq!(full.get(field), cheap.get(field), "{field}");
        }
        assert!(!cheap.to_string().contains(['\u{e000}', '\u{e001}', '\u{e002}', '\u{e003}']));
    }
    assert_eq!(full[0], cheap[0]);
    assert_eq!(cheap.as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn a_repository_of_a_million_issues_is_paged_to_its_end() {
    let api = start(DemoApiOptions { issues: 1_000_000, ..DemoApiOptions::default() }).await;
    api.update_issue(500_000, |issue| issue.title = "In the middle".into());
    let target = |page| format!("/repos/a/b/issues?state=all&sort=updated&direction=asc&per_page=100&page={page}");
    assert_eq!(get(&api, &target(5000)).await.numbers()[99], 500_001);
    let last = get(&api, &target(10_000)).await;
    assert_eq!((last.numbers()[98], last.numbers()[99]), (1_000_000, 500_000));
    assert_eq!(last.link("next"), None);
}

#[tokio::test]
async fn the_count_of_issues_goes_up_and_down() {
    let api = start(DemoApiOptions { issues: 10, ..DemoApiOptions::default() }).await;
    api.set_issue_count(12);
    assert_eq!(get(&api, "/repos/a/b/issues?state=all&direction=asc").await.numbers(), (1..=12).collect::<Vec<_>>());
    api.set_issue_count(3);
    assert_eq!(get(&api, "/repos/a/b/issues?state=all&direction=asc").await.numbers(), [1, 2, 3]);
    assert_eq!(api.issue_count(), 3);
}

#[tokio::test]
async fn a_created_issue_is_answered_and_listed() {
    let api = start(DemoApiOptions { issues: 5, ..DemoApiOptions::default() }).await;
    let url = format!("{}/repos/acme/rocket/issues", api.url());
    let created = send(client().post(&url).body(r#"{"title":"Ship it","body":"now","labels":["bug"]}"#)).await;
    assert_eq!(created.status, 201);
    assert!(created.header("location").unwrap().ends_with("/repos/acme/rocket/issues/6"));
    let issue = created.json();
    assert_eq!((&issue["number"], &issue["title"], &issue["body"]), (&6.into(), &"Ship it".into(), &"now".into()));
    assert_eq!(issue["created_at"], "2026-02-03T04:05:06Z");
    assert_eq!(get(&api, "/repos/acme/rocket/issues?per_page=1").await.json()[0], issue);
}

#[tokio::test]
async fn an_issue_without_a_title_is_refused_as_github_does() {
    let api = start(DemoApiOptions { issues: 5, ..DemoApiOptions::default() }).await;
    let url = format!("{}/repos/acme/rocket/issues", api.url());
    for (body, status, field) in [
        (r#"{"body":"no title"}"#, 422, Some("title")),
        (r#"{"title":" "}"#, 422, Some("title")),
        (r#"{"title":5}"#, 422, Some("body")),
        ("{", 400, None),
        ("", 400, None),
    ] {
        let answer = send(client().post(&url).body(body)).await;
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.json()["errors"][0]["field"].as_str(), field, "{body}");
    }
    assert_eq!(api.issue_count(), 5);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let api = start(DemoApiOptions::default()).await;
    for target in ["/", "/repos/a", "/repos/a/b%22c/issues", "/repos/a/b/pulls"] {
        assert_eq!(get(&api, target).await.status, 404, "{target}");
    }
}

// --- members and customers --------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_cursor_leads_through_all_members_even_when_one_leaves_meanwhile() {
    let api = start(DemoApiOptions { members: 25, ..DemoApiOptions::default() }).await;
    let ids = api.member_ids();
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let answer = get(&api, &format!("/users.list?limit=10&cursor={}", cursor.replace('=', "%3D"))).await.json();
        assert_eq!(answer["ok"], true);
        let members = answer["members"].as_array().unwrap();
        seen.extend(members.iter().map(|member| member["id"].as_str().unwrap().to_owned()));
        if seen.len() == 10 {
            assert!(api.remove_member(&ids[2]) && api.remove_member(&ids[10]) && !api.remove_member(&ids[10]));
        }
        answer["response_metadata"]["next_cursor"].as_str().unwrap().clone_into(&mut cursor);
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [&ids[..10], &ids[11..]].concat());
    assert_eq!(get(&api, "/users.list").await.json()["members"].as_array().unwrap().len(), 23);
    assert_eq!(get(&api, "/users.list?cursor=nonsense").await.json()["error"], "invalid_cursor");
}

#[tokio::test]
async fn a_renamed_member_has_the_new_name_and_date() {
    let api = start(DemoApiOptions { members: 3, ..DemoApiOptions::default() }).await;
    let before = get(&api, "/users.list").await.json();
    api.set_now(NOW_MS + 9000);
    assert!(api.rename_member("U00000002", "Maud Okafor") && !api.rename_member("U00000009", "Nobody"));
    let after = get(&api, "/users.list").await.json();
    assert_eq!(after["members"][1]["profile"]["real_name"], "Maud Okafor");
    assert_eq!(after["members"][1]["updated"], (NOW_MS + 9000) / 1000);
    assert_eq!((&after["members"][0], &after["members"][2]), (&before["members"][0], &before["members"][2]));
}

#[tokio::test]
async fn customers_are_paged_by_the_last_id_and_selected_by_creation() {
    let api = start(DemoApiOptions { customers: 23, ..DemoApiOptions::default() }).await;
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let after =
            seen.last().map_or(String::new(), |last| format!("&starting_after={}", last["id"].as_str().unwrap()));
        let answer = get(&api, &format!("/v1/customers?limit=10{after}")).await.json();
        assert_eq!((&answer["object"], &answer["url"]), (&"list".into(), &"/v1/customers".into()));
        seen.extend(answer["data"].as_array().unwrap().iter().cloned());
        if answer["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen.len(), 23);
    assert_eq!(api.requests_served(), 3);
    let created: Vec<u64> = seen.iter().map(|customer| customer["created"].as_u64().unwrap()).collect();
    assert!(created.is_sorted_by(|a, b| a > b));
    let count = async |query: String| {
        get(&api, &format!("/v1/customers?limit=100&{query}")).await.json()["data"].as_array().unwrap().len()
    };
    assert_eq!(count(format!("created%5Bgte%5D={}", created[4])).await, 5);
    assert_eq!(count(format!("created[gt]={}", created[4])).await, 4);
    assert_eq!(count(format!("created[lte]={}&created[gte]={}", created[4], created[6])).await, 3);
    assert_eq!(count(format!("created[lt]={}", created[20])).await, 2);
    for wrong in
        ["starting_after=cus_x", "starting_after=cus_Demo00000024", "limit=101", "created[gte]=x", "created[eq]=1"]
    {
        let answer = get(&api, &format!("/v1/customers?{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert_eq!(answer.json()["error"]["param"].as_str(), wrong.split('=').next(), "{wrong}");
    }
}

// --- behavior ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_nth_request_is_refused_and_the_headers_count_down_to_it() {
    let api = start(DemoApiOptions { refuse_every: NonZeroU64::new(3), ..DemoApiOptions::default() }).await;
    for (status, remaining) in [(200, "1"), (200, "0"), (429, "0"), (200, "1"), (200, "0"), (429, "0")] {
        let answer = get(&api, "/users.list?limit=1").await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (status, Some(remaining)));
        assert_eq!(answer.header("retry-after"), (status == 429).then_some("1"));
    }
    let unlimited = start(DemoApiOptions::default()).await;
    assert_eq!(get(&unlimited, "/users.list?limit=1").await.header("x-ratelimit-remaining"), None);
}

#[tokio::test]
async fn requests_and_bytes_are_counted_and_the_last_requests_remembered() {
    let api = start(DemoApiOptions::default()).await;
    let first = get(&api, "/users.list?limit=2").await;
    let second = send(client().post(format!("{}/repos/a/b/issues", api.url())).body("{}")).await;
    assert_eq!(api.requests_served(), 2);
    assert_eq!(api.bytes_served(), (first.text.len() + second.text.len()) as u64);
    let served =
        |method: &str, target: &str, status| ServedRequest { method: method.into(), target: target.into(), status };
    assert_eq!(
        api.last_requests(),
        [served("GET", "/users.list?limit=2", 200), served("POST", "/repos/a/b/issues", 422)]
    );
    api.forget_requests();
    for index in 0..=REMEMBERED_REQUESTS {
        get(&api, &format!("/{index}")).await;
    }
    let last = api.last_requests();
    assert_eq!((last.len(), last[0].target.as_str()), (REMEMBERED_REQUESTS, "/1"));
}

#[tokio::test]
async fn the_same_seed_and_time_give_the_same_answers_and_another_seed_others() {
    let (a, b) = (start(DemoApiOptions::default()).await, start(DemoApiOptions::default()).await);
    let other = start(DemoApiOptions { seed: 2, ..DemoApiOptions::default() }).await;
    for target in ["/repos/a/b/issues?state=all&per_page=100", "/users.list", "/v1/customers?limit=100"] {
        let text = get(&a, target).await.text;
        assert_eq!(text, get(&b, target).await.text, "{target}");
        assert_ne!(text, get(&other, target).await.text, "{target}");
    }
}

#[tokio::test]
async fn without_a_given_time_the_clock_of_the_system_dates_changes() {
    let before = system_now_ms() / 1000 * 1000;
    let api = DemoApi::start(DemoApiOptions::default()).await.unwrap();
    let number = api.add_issue("New", "");
    let mut updated_ms = 0;
    api.update_issue(number, |issue| updated_ms = issue.updated_ms());
    assert!((before..=system_now_ms()).contains(&updated_ms), "{updated_ms}");
}

#[tokio::test]
async fn an_answer_takes_the_latency_longer() {
    let latency = Duration::from_millis(60);
    let api = start(DemoApiOptions { latency, ..DemoApiOptions::default() }).await;
    let begin = Instant::now();
    get(&api, "/users.list?limit=1").await;
    assert!(begin.elapsed() >= latency);
}

#[tokio::test]
async fn the_server_ends_when_the_last_clone_is_dropped() {
    let api = start(DemoApiOptions::default()).await;
    let (address, clone) = (api.address(), api.clone());
    drop(api);
    assert_eq!(get(&clone, "/users.list").await.status, 200);
    drop(clone);
    let refused = async { while tokio::net::TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("still accepts connections");
}
