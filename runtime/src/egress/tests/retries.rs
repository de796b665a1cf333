//! Trying again. Time is paused: it moves on only when all wait for it.

use std::time::SystemTime;

use jiff::Timestamp;
use tokio::time::Instant;

use super::*;

/// A server that answers the first requests with these and all others with 200 and the request's number.
async fn failing(first: Vec<Vec<Step>>) -> Server {
    let first = Mutex::new(first.into_iter().map(Some).collect::<Vec<_>>());
    Server::start(move |nth, _| {
        let failure = first.lock().unwrap().get_mut(nth).and_then(Option::take);
        failure.unwrap_or_else(|| vec![Step::Send(answer(200, "", nth.to_string()))])
    })
    .await
}

fn status(status: u16, headers: &str) -> Vec<Step> {
    vec![Step::Send(answer(status, headers, "not yet"))]
}

fn retrying(server: &Server, retries: u32) -> Request {
    Request { retries, ..get(server.url("/")) }
}

async fn send(server: &Server, request: Request) -> Result<Response, EgressError> {
    let budget = Budget::ample();
    let result = Egress::new().unwrap().send(&to(server), request, &budget).await;
    assert_eq!(budget.held(), result.as_ref().map_or(0, |response| response.body.len()));
    assert_eq!(budget.sent(), server.requests().len());
    result
}

#[tokio::test(start_paused = true)]
async fn a_request_is_tried_again_until_it_succeeds() {
    let server = failing(vec![
        status(503, ""),
        status(429, ""),
        vec![Step::Close],
        vec![Step::Send(b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nhalf".to_vec()), Step::Close],
        status(599, ""),
    ])
    .await;
    let response = send(&server, retrying(&server, 5)).await.unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"5"[..]));
}

#[tokio::test(start_paused = true)]
async fn without_retries_the_first_answer_is_the_answer() {
    let server = failing(vec![status(503, "retry-after: 0\r\n")]).await;
    let response = send(&server, retrying(&server, 0)).await.unwrap();
    assert_eq!((response.status, &*response.body), (503, &b"not yet"[..]));
    let server = failing(vec![vec![Step::Close]]).await;
    assert_eq!(send(&server, retrying(&server, 0)).await.unwrap_err().code(), "transport");
}

#[tokio::test(start_paused = true)]
async fn after_the_last_retry_the_answer_is_returned_whatever_it_is() {
    let server = Server::always(answer(500, "retry-after: 0\r\n", "down")).await;
    let response = send(&server, retrying(&server, 2)).await.unwrap();
    assert_eq!((response.status, &*response.body, server.requests().len()), (500, &b"down"[..], 3));
    let server = Server::always(answer(500, "retry-after: 0\r\n", "down")).await;
    send(&server, retrying(&server, u32::MAX)).await.unwrap();
    assert_eq!(server.requests().len(), 11, "ten retries are the most");
}

#[tokio::test(start_paused = true)]
async fn waits_are_as_long_as_the_api_asks_and_ten_minutes_at_most() {
    let soon = Timestamp::try_from(SystemTime::now() + Duration::from_secs(100)).unwrap();
    let soon = soon.strftime("%a, %d %b %Y %H:%M:%S GMT");
    for (asked, least, most) in
        [("7", 7.0, 7.5), (&*soon.to_string(), 90.0, 100.5), ("3600", 600.0, 600.5), ("soon", 0.5, 1.5)]
    {
        let server = failing(vec![status(429, &format!("retry-after: {asked}\r\n"))]).await;
        let start = Instant::now();
        // Longer than the request's time, which is that of one attempt.
        send(&server, Request { timeout: Some(Duration::from_secs(5)), ..retrying(&server, 1) }).await.unwrap();
        let waited = start.elapsed().as_secs_f64();
        assert!(least <= waited && waited <= most, "{asked}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn waits_double_where_the_api_asks_for_nothing() {
    let server = failing((0..4).map(|_| status(500, "")).collect()).await;
    let start = Instant::now();
    send(&server, retrying(&server, 4)).await.unwrap();
    let waited = start.elapsed().as_secs_f64();
    assert!((7.5..=15.5).contains(&waited), "half to all of 1 + 2 + 4 + 8 s: {waited}");
}

#[tokio::test(start_paused = true)]
async fn only_what_may_pass_is_tried_again() {
    let server = failing(vec![status(404, "")]).await;
    assert_eq!(send(&server, retrying(&server, 3)).await.unwrap().status, 404);
    let server = failing(vec![status(404, ""), status(202, "")]).await;
    let request = Request { retry_on: vec![404, 202], ..retrying(&server, 3) };
    assert_eq!(send(&server, request).await.unwrap().status, 200);

    let server = Server::always(answer(200, "", "x".repeat(100))).await;
    let policy = Policy { max_body_bytes: 99, ..to(&server) };
    let error = Egress::new().unwrap().send(&policy, retrying(&server, 3), &Budget::ample()).await.unwrap_err();
    assert!(matches!(error, EgressError::BodyTooLarge(99)), "{error}");
    assert_eq!(server.requests().len(), 1);

    let (egress, asked) = with_names(&[("api.test", &[&["10.0.0.1"]])]);
    let request = Request { retries: 3, ..get("http://api.test/") };
    let error = egress.send(&allowing(&["http://api.test"]), request, &Budget::ample()).await.unwrap_err();
    assert_eq!((error.code(), asked.load(Ordering::SeqCst)), ("denied", 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_tried_again() {
    let server = failing(vec![vec![Step::Hang]]).await;
    let start = Instant::now();
    let request = Request { timeout: Some(Duration::from_secs(5)), ..retrying(&server, 1) };
    assert_eq!(send(&server, request).await.unwrap().status, 200);
    assert!(start.elapsed() < Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_retry_sends_the_whole_request_again() {
    let server = failing(vec![status(503, ""), status(307, "location: /there\r\n"), status(503, "")]).await;
    let request = Request {
        method: "POST".to_owned(),
        headers: vec![header("X-Id", "7")],
        query: vec![header("q", "1")],
        body: Some(b"body".to_vec()),
        redirects: 1,
        ..retrying(&server, 2)
    };
    assert_eq!(send(&server, request).await.unwrap().status, 200);
    let sent = server.requests();
    let paths: Vec<&str> = sent.iter().map(|request| request.split(' ').nth(1).unwrap()).collect();
    assert_eq!(paths, ["/?q=1", "/?q=1", "/there", "/?q=1"]);
    assert!(
        sent.iter()
            .all(|request| request.starts_with("POST ") && request.contains("x-id: 7") && request.ends_with("body"))
    );
}

#[tokio::test(start_paused = true)]
async fn retries_end_with_the_budget() {
    let server = Server::always(answer(503, "", "")).await;
    let budget = Budget::new(3, usize::MAX);
    let error = Egress::new().unwrap().send(&to(&server), retrying(&server, 9), &budget).await.unwrap_err();
    assert!(matches!(error, EgressError::Exhausted(Exhausted::HttpRequests)), "{error}");
    assert_eq!(server.requests().len(), 3);
}
