#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Response::new("GET /things".to_owned(), status, headers, body.as_bytes().to_vec())
}

#[test]
fn only_requests_that_may_be_repeated_are_repeated_by_themselves() {
    assert_eq!(get("/").retries, 3);
    assert_eq!(Request::new("HEAD", "/").retries, 3);
    for request in [post("/"), put("/"), patch("/"), delete("/")] {
        assert_eq!(request.retries, 0, "{request}");
    }
}

#[test]
fn a_status_of_400_and_above_is_an_error_of_the_right_kind() {
    for (status, kind) in [(400, Kind::Permanent), (401, Kind::Permanent), (404, Kind::Permanent)].into_iter().chain([
        (408, Kind::Transient),
        (429, Kind::Transient),
        (500, Kind::Transient),
        (503, Kind::Transient),
    ]) {
        let error = answer(status, &[], r#"{"message":"why"}"#).or_error().unwrap_err();
        assert_eq!((error.kind(), error.status()), (kind, Some(status)));
        assert!(error.message().starts_with("GET /things: status"), "{error}");
        assert!(error.message().ends_with(r#"{"message":"why"}"#), "{error}");
    }
    assert!(answer(304, &[], "").or_error().is_ok());
}

#[test]
fn the_wait_that_the_api_asks_for_travels_with_the_error() {
    let error = answer(429, &[("retry-after", "30")], "").or_error().unwrap_err();
    assert_eq!(
        error,
        Error::transient("GET /things: status 429").with_status(429).with_retry_after(Duration::from_secs(30))
    );
}

#[test]
fn an_error_shows_only_the_start_of_a_long_body_and_cuts_no_character() {
    let error = answer(404, &[], &"ä".repeat(10_000)).or_error().unwrap_err();
    assert!(error.message().len() < EXCERPT_BYTES + 100);
    assert!(error.message().ends_with("ä…"));
    let odd = answer(404, &[], &format!("x{}", "ä".repeat(10_000))).or_error().unwrap_err();
    assert!(odd.message().ends_with("ä…"), "{odd}");
}

#[test]
fn an_error_does_not_repeat_the_query() {
    assert_eq!(get("/things?token=secret").query("key", "secret").to_string(), "GET /things");
}

#[test]
fn json_may_borrow_from_the_answer() {
    #[derive(Deserialize)]
    struct Thing<'a> {
        name: &'a str,
    }
    let answer = answer(200, &[], r#"{"data":{"things":[{"name":"a"}]}}"#);
    let things: Vec<Thing<'_>> = answer.json_at("/data/things").unwrap();
    assert_eq!(things.first().unwrap().name, "a");
    let missing = answer.json_at::<Vec<Thing<'_>>>("/data/other").err().unwrap();
    assert!(missing.message().contains("nothing at `/data/other`"), "{missing}");
}

#[test]
fn json_that_is_not_as_expected_shows_the_body() {
    let error = answer(200, &[], "<html>down</html>").json::<u8>().unwrap_err();
    assert_eq!(
        error.message(),
        "GET /things: the answer is not as expected: expected value at line 1 column 1: <html>down</html>"
    );
}

#[test]
fn a_body_that_cannot_be_written_is_told_when_it_is_sent() {
    let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = post("/things").json(&unwritable).send().unwrap_err();
    assert!(error.message().starts_with("POST /things: writing the request's body"), "{error}");
}

#[test]
fn a_form_is_encoded_and_a_content_type_of_the_author_stays() {
    let request = post("/").form([("a b", "1&2"), ("c", "ü")]);
    assert_eq!(request.body.unwrap(), b"a%20b=1%262&c=%C3%BC");
    let request = post("/").header("Content-Type", "application/vnd.api+json").json(&1);
    assert_eq!(request.headers, [("Content-Type".to_owned(), "application/vnd.api+json".to_owned())]);
}

#[test]
fn a_segment_of_a_path_is_encoded() {
    assert_eq!(encode("a/b ä~._-1"), "a%2Fb%20%C3%A4~._-1");
}
