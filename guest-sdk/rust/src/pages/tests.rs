#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::cell::RefCell;

use super::*;
use crate::http::{get, post};

/// A host that fetches nothing ahead.
impl<F: FnMut(Request) -> Result<Response>> Host for F {
    fn send(&mut self, request: Request) -> Result<Response> {
        self(request)
    }

    fn start(&mut self, _: &Request, _: Next<'_>, _: u32) -> Option<u64> {
        None
    }

    fn take(&mut self, _: u64, _: &Request) -> Option<Result<Response>> {
        unreachable!("no list was started")
    }

    fn stop(&mut self, _: u64) {
        unreachable!("no list was started")
    }
}

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

/// A host that fetches ahead, and notes what it is asked for.
struct Ahead<'a> {
    pages: &'a [(&'a str, &'a str)],
    noted: &'a RefCell<Vec<String>>,
    taken: usize,
}

impl<'a> Ahead<'a> {
    fn new(pages: &'a [(&'a str, &'a str)], noted: &'a RefCell<Vec<String>>) -> Self {
        Self { pages, noted, taken: 0 }
    }

    fn note(&self, text: impl Into<String>) {
        self.noted.borrow_mut().push(text.into());
    }

    fn answer(&mut self) -> Option<Response> {
        let (header, body) = self.pages.get(self.taken)?;
        self.taken += 1;
        let headers = header.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Response::new("GET /x".to_owned(), 200, headers.into_iter().collect(), body.as_bytes().to_vec()))
    }
}

impl Host for Ahead<'_> {
    fn send(&mut self, request: Request) -> Result<Response> {
        self.note(format!("send {:?}", request.query));
        Ok(self.answer().expect("one page more than expected"))
    }

    fn start(&mut self, first: &Request, next: Next<'_>, ahead: u32) -> Option<u64> {
        self.note(format!("start {} {next:?} {ahead}", first.url));
        Some(7)
    }

    fn take(&mut self, list: u64, _: &Request) -> Option<Result<Response>> {
        self.note(format!("take {list}"));
        self.answer().map(Ok)
    }

    fn stop(&mut self, list: u64) {
        self.note(format!("stop {list}"));
    }
}

/// What the host is asked for, and how many pages come out.
fn ahead(paging: Paging, pages: &[(&str, &str)]) -> (Vec<String>, usize) {
    let noted = RefCell::new(Vec::new());
    let count = Pages::new(get("/x"), paging, Ahead::new(pages, &noted)).map(Result::unwrap).count();
    (noted.into_inner(), count)
}

#[test]
fn page_numbers_and_links_are_fetched_ahead_from_the_first_page_on() {
    let (noted, count) =
        ahead(PageNumber::of("").starts_at(3).send_as("p").ahead(4), &[("", "[1]"), ("", "[2]"), ("", "[]")]);
    let start = r#"start /x Count { parameter: "p", first: 3, step: 1 } 4"#;
    assert_eq!((noted, count), ([start, "take 7", "take 7", "take 7", "stop 7"].map(str::to_owned).to_vec(), 3));

    let (noted, count) = ahead(Link::in_header().ahead(1), &[("link: </x?b>; rel=next", "1"), ("", "2")]);
    assert_eq!((noted, count), (["start /x Link 1", "take 7", "take 7", "stop 7"].map(str::to_owned).to_vec(), 2));
}

#[test]
fn an_offset_is_fetched_ahead_when_the_size_of_a_page_is_known() {
    let pages = [("", "[1,2]"), ("", "[3,4]"), ("", "[]")];
    let (noted, count) = ahead(Offset::of("").send_as("o").ahead(2), &pages);
    let start = r#"start /x Count { parameter: "o", first: 2, step: 2 } 2"#;
    let expected = [r#"send [("o", "0")]"#, start, "take 7", "take 7", "stop 7"];
    assert_eq!((noted, count), (expected.map(str::to_owned).to_vec(), 3));

    let (noted, _) = ahead(Offset::of("").full_page(2).send_as("o").ahead(2), &[("", "[1,2]"), ("", "[3]")]);
    let start = r#"start /x Count { parameter: "o", first: 0, step: 2 } 2"#;
    assert_eq!(noted, [start, "take 7", "take 7", "stop 7"]);
}

#[test]
fn an_offset_whose_pages_turn_out_to_differ_in_size_skips_nothing() {
    let pages = [("", "[1,2]"), ("", "[3]"), ("", "[4,5]"), ("", "[]")];
    let (noted, count) = ahead(Offset::of("").send_as("o").ahead(2), &pages);
    let start = r#"start /x Count { parameter: "o", first: 2, step: 2 } 2"#;
    let expected = [r#"send [("o", "0")]"#, start, "take 7", "stop 7", r#"send [("o", "3")]"#, r#"send [("o", "5")]"#];
    assert_eq!((noted, count), (expected.map(str::to_owned).to_vec(), 4));
}

#[test]
fn what_the_host_cannot_see_ahead_of_is_sent_page_by_page() {
    for paging in [
        Cursor::in_body("/next").send_as("c"),
        Link::in_body("/next"),
        Cursor::in_header("link").send_as("c"),
        PageNumber::of("/rows").send_in_body("/page"),
        PageNumber::of("/rows").send_as("page").ahead(0),
    ] {
        let ahead_of = if matches!(paging.kind, Ok(Kind::Count { to: Target::Query(_), .. })) { 0 } else { 4 };
        let (noted, _) = ahead(paging.ahead(ahead_of), &[("", r#"{"rows":[]}"#)]);
        assert!(noted.len() == 1 && noted[0].starts_with("send"), "{noted:?}");
    }
}

#[test]
fn a_loop_that_is_left_early_and_a_page_that_is_wrong_stop_the_list() {
    let noted = RefCell::new(Vec::new());
    let pages = [("", "[1]"), ("", "[2]"), ("", "[3]")];
    let mut left = Pages::new(get("/x"), PageNumber::of("").send_as("p").ahead(4), Ahead::new(&pages, &noted));
    left.next();
    drop(left);
    assert_eq!(noted.take()[1..], ["take 7", "stop 7"]);

    let paging = PageNumber::of("").send_as("p").ahead(4);
    let same = [("", "[1]"), ("", "[1]")];
    let outcomes: Vec<_> = Pages::new(get("/x"), paging, Ahead::new(&same, &noted)).map(|page| page.is_ok()).collect();
    assert_eq!(outcomes, [true, true, false], "the same page twice");
    assert_eq!(noted.take()[1..], ["take 7", "take 7", "stop 7"]);
}

#[test]
fn a_list_that_the_host_ends_is_at_its_end() {
    let (noted, count) = ahead(PageNumber::of("").send_as("p").ahead(4), &[("", "[1]")]);
    assert_eq!((noted[1..].to_vec(), count), (["take 7", "take 7", "stop 7"].map(str::to_owned).to_vec(), 1));
}
