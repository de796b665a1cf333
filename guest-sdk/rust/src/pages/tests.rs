#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::cell::RefCell;

use super::*;
use crate::http::{get, post};

/// Follows `paging` through `answers` (header, body); returns the requests as `url?query body` and the outcome of each page.
fn follow(request: Request, paging: Paging, answers: &[(&str, &str)]) -> (Vec<String>, Vec<Result<String>>) {
    let sent = RefCell::new(Vec::new());
    let pages = Pages::new(request, paging, |request: Request| {
        let query: Vec<_> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let body = request.body.map(|body| String::from_utf8(body).unwrap()).unwrap_or_default();
        sent.borrow_mut()
            .push(format!("{}?{} {body}", request.url, query.join("&")).trim_end_matches(['?', ' ']).to_owned());
        let (header, body) = answers.get(sent.borrow().len() - 1).expect("one page more than expected");
        let headers = header.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Response::new("GET /x".to_owned(), 200, headers.into_iter().collect(), body.as_bytes().to_vec()))
    });
    let outcomes = pages.map(|page| page.map(|page| page.text().into_owned())).collect();
    (sent.into_inner(), outcomes)
}

#[test]
fn a_cursor_travels_from_the_body_into_the_query_and_replaces_the_last_one() {
    let paging = Cursor::in_body("/meta/next").send_as("cursor");
    let answers = [("", r#"{"meta":{"next":"a="}}"#), ("", r#"{"meta":{"next":17}}"#), ("", r#"{"meta":{"next":""}}"#)];
    let (sent, pages) = follow(get("/x").query("limit", 2).query("cursor", "start"), paging, &answers);
    assert_eq!(sent, ["/x?limit=2&cursor=start", "/x?limit=2&cursor=a=", "/x?limit=2&cursor=17"]);
    assert_eq!(pages.len(), 3);
}

#[test]
fn a_missing_null_or_blank_cursor_is_the_end() {
    for body in ["{}", r#"{"next":null}"#, r#"{"next":""}"#, r#"{"next":false}"#, ""] {
        let (sent, pages) = follow(get("/x"), Cursor::in_body("/next").send_as("c"), &[("", body)]);
        assert_eq!((sent.len(), pages), (1, vec![Ok(body.to_owned())]));
    }
}

#[test]
fn a_cursor_may_go_into_the_body_and_keeps_its_type() {
    let request = post("/x").json(&serde_json::json!({"query": "q", "variables": {"first": 2}}));
    let paging = Cursor::in_body("/data/end").send_in_body("/variables/after");
    let answers = [("", r#"{"data":{"end":"abc"}}"#), ("", r#"{"data":{"end":9}}"#), ("", r#"{"data":{"end":null}}"#)];
    let (sent, _) = follow(request, paging, &answers);
    assert_eq!(
        sent,
        [
            r#"/x? {"query":"q","variables":{"first":2}}"#,
            r#"/x? {"query":"q","variables":{"first":2,"after":"abc"}}"#,
            r#"/x? {"query":"q","variables":{"first":2,"after":9}}"#,
        ]
    );
}

#[test]
fn the_last_item_may_be_the_cursor_and_a_flag_the_end() {
    let answers =
        [("", r#"{"data":[{"id":"a"},{"id":"b"}],"more":true}"#), ("", r#"{"data":[{"id":"c"}],"more":false}"#)];
    let paging = Cursor::of_last_item("/data", "/id").while_true("/more").send_as("after");
    let (sent, pages) = follow(get("/x"), paging, &answers);
    assert_eq!((sent, pages.len()), (vec!["/x".to_owned(), "/x?after=b".to_owned()], 2));

    let answers = [("", r#"{"data":[{"id":1}]}"#), ("", r#"{"data":[]}"#)];
    let (sent, _) = follow(get("/x"), Cursor::of_last_item("/data", "/id").send_as("after"), &answers);
    assert_eq!(sent, ["/x", "/x?after=1"]);
}

#[test]
fn a_missing_flag_or_id_is_an_error_and_not_the_end() {
    let paging = Cursor::in_body("/next").while_true("/more").send_as("c");
    let (_, pages) = follow(get("/x"), paging, &[("", r#"{"next":"a"}"#)]);
    assert!(pages[1].as_ref().unwrap_err().message().contains("neither true nor false at `/more`"));
    let (_, pages) = follow(get("/x"), Cursor::of_last_item("", "/id").send_as("c"), &[("", "[{}]")]);
    assert!(pages[1].as_ref().unwrap_err().message().contains("an item without `/id`"));
}

#[test]
fn a_cursor_may_come_in_a_header() {
    let paging = Cursor::in_header("X-Next").send_as("token");
    let (sent, _) = follow(get("/x"), paging, &[("x-next: t1", "[]"), ("x-next:  ", "[]")]);
    assert_eq!(sent, ["/x", "/x?token=t1"]);
}

#[test]
fn an_api_that_turns_in_circles_is_stopped_after_the_good_pages() {
    let answers = [("", r#"{"next":"a"}"#), ("", r#"{"next":"b"}"#), ("", r#"{"next":"a"}"#)];
    let (sent, pages) = follow(get("/x"), Cursor::in_body("/next").send_as("c"), &answers);
    assert_eq!((sent.len(), pages.len()), (3, 4));
    assert!(pages[3].as_ref().unwrap_err().message().contains("same cursor twice"), "{:?}", pages[3]);

    let same = ("link: </x?page=2>; rel=next", "[]");
    let (sent, pages) = follow(get("/x"), Link::in_header(), &[same, same]);
    assert_eq!((sent.len(), pages.len()), (2, 3));
    assert!(pages[2].as_ref().unwrap_err().message().contains("same link twice"));

    let (sent, pages) = follow(get("/x"), PageNumber::of("").send_as("page"), &[("", "[1]"), ("", "[1]")]);
    assert_eq!((sent.len(), pages.len()), (2, 3));
    assert!(pages[2].as_ref().unwrap_err().message().contains("same page twice"));
}

#[test]
fn a_cursor_that_is_an_object_is_an_error_and_not_the_end() {
    let (_, pages) = follow(get("/x"), Cursor::in_body("/next").send_as("c"), &[("", r#"{"next":{}}"#)]);
    assert!(pages[1].as_ref().unwrap_err().message().contains("neither a string nor a number"));
}

#[test]
fn a_link_is_followed_without_the_query_of_the_first_request() {
    let answers = [("link: </x?page=2&state=all>; rel=\"next\"", "[]"), ("link: </x?page=1>; rel=\"prev\"", "[]")];
    let (sent, pages) = follow(get("/x").query("state", "all"), Link::in_header(), &answers);
    assert_eq!(sent, ["/x?state=all", "/x?page=2&state=all"]);
    assert_eq!(pages.len(), 2);
}

#[test]
fn a_link_may_stand_in_the_body() {
    let answers = [("", r#"{"@odata.nextLink":"https://y.test/v1?skip=5"}"#), ("", "{}")];
    let (sent, _) = follow(get("https://x.test/v1"), Link::in_body("/@odata.nextLink"), &answers);
    assert_eq!(sent, ["https://x.test/v1", "https://y.test/v1?skip=5"]);
}

#[test]
fn an_offset_grows_by_what_came_and_ends_with_the_empty_page() {
    let answers = [("", r#"{"rows":[1,2]}"#), ("", r#"{"rows":[3]}"#), ("", r#"{"rows":[]}"#)];
    let (sent, pages) = follow(get("/x"), Offset::of("/rows").send_as("offset"), &answers);
    assert_eq!(sent, ["/x?offset=0", "/x?offset=2", "/x?offset=3"]);
    assert_eq!(pages.len(), 3);
}

#[test]
fn a_short_page_is_the_end_only_where_the_author_says_so() {
    let answers = [("", "[1,2]"), ("", "[3]")];
    let (sent, _) = follow(get("/x"), PageNumber::of("").starts_at(0).full_page(2).send_as("page"), &answers);
    assert_eq!(sent, ["/x?page=0", "/x?page=1"]);
}

#[test]
fn an_offset_in_a_body_is_a_number() {
    let answers = [("", r#"{"rows":[1]}"#), ("", r#"{"rows":null}"#)];
    let (sent, _) =
        follow(post("/x").json(&serde_json::json!({})), Offset::of("/rows").send_in_body("/from"), &answers);
    assert_eq!(sent, [r#"/x? {"from":0}"#, r#"/x? {"from":1}"#]);
}

#[test]
fn a_page_without_the_array_is_an_error_and_not_the_end() {
    let (_, pages) = follow(get("/x"), Offset::of("/rows").send_as("offset"), &[("", r#"{"error":"x"}"#)]);
    assert!(pages[1].as_ref().unwrap_err().message().contains("no array at `/rows`"));
}

#[test]
fn a_wrong_pointer_and_a_failed_request_end_the_iteration() {
    let (sent, pages) = follow(get("/x"), Cursor::in_body("next").send_as("c"), &[]);
    assert_eq!((sent.len(), pages.len()), (0, 1));
    assert!(pages[0].is_err());

    let mut failing = Pages::new(get("/x"), Link::in_header(), |_| Err(Error::transient("down")));
    assert_eq!(failing.next(), Some(Err(Error::transient("down"))));
    assert_eq!(failing.next(), None);
}
