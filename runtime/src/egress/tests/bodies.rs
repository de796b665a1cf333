//! Bodies: decoded, capped, counted. Where time matters it is paused.

use async_compression::Level;
use async_compression::futures::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use async_compression::zstd::CParameter;
use futures_util::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::*;

async fn all(encoder: impl AsyncRead) -> Vec<u8> {
    let mut bytes = Vec::new();
    Box::pin(encoder).read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn encode(coding: &str, data: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => all(GzipEncoder::new(data)).await,
        "br" => all(BrotliEncoder::with_quality(data, Level::Fastest)).await,
        "zstd" => all(ZstdEncoder::new(data)).await,
        "deflate" => all(ZlibEncoder::new(data)).await,
        _ => panic!("{coding}"),
    }
}

const CODINGS: [&str; 4] = ["gzip", "br", "zstd", "deflate"];

/// An answer whose length nobody says beforehand.
fn chunked(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 X\r\n{headers}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(1000) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn encoded(coding: &str, body: &[u8]) -> Vec<u8> {
    chunked(&format!("content-encoding: {coding}\r\n"), body)
}

/// Something that compresses, but not beyond all reason.
fn page(bytes: usize) -> Vec<u8> {
    let rows =
        (0..).flat_map(|n: u64| format!("{{\"id\":{n},\"name\":\"{}\"}},", n.wrapping_mul(0x9e37_79b9)).into_bytes());
    rows.take(bytes).collect()
}

/// Gets from a server that always answers this, under a cap, and checks the meter.
async fn fetch(answer: Vec<u8>, max_body_bytes: u64) -> Result<Response, EgressError> {
    let server = Server::always(answer).await;
    let budget = Budget::ample();
    let policy = Policy { max_body_bytes, ..to(&server) };
    let result = Egress::new().unwrap().send(&policy, get(server.url("/")), &budget).await;
    assert_eq!(budget.held(), result.as_ref().map_or(0, |response| response.body.len()));
    assert!(budget.peak.load(Ordering::SeqCst) as u64 <= max_body_bytes);
    result
}

async fn error(answer: Vec<u8>, max_body_bytes: u64) -> EgressError {
    fetch(answer, max_body_bytes).await.unwrap_err()
}

const AMPLE: u64 = 16 << 20;

#[tokio::test]
async fn a_body_of_exactly_the_cap_is_kept_and_one_byte_more_is_refused() {
    for (size, fits) in [(0, true), (100_000, true), (100_001, false)] {
        let body = page(size);
        let mut answers = vec![answer(200, "", &body), chunked("", &body)];
        for coding in CODINGS {
            answers.push(encoded(coding, &encode(coding, &body).await));
            let mut plain = answer(200, &format!("content-encoding: {coding}\r\n"), encode(coding, &body).await);
            answers.push(std::mem::take(&mut plain));
        }
        for answer in answers {
            match fetch(answer, 100_000).await {
                Ok(response) => assert!(fits && response.body == body),
                Err(EgressError::BodyTooLarge(100_000)) => assert!(!fits),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_even_received() {
    let server = Server::start(|_, _| {
        vec![Step::Send(b"HTTP/1.1 200 X\r\ncontent-length: 99999999999\r\n\r\n".to_vec()), Step::Hang]
    })
    .await;
    let sent = Egress::new().unwrap().send(&to(&server), get(server.url("/")), &Budget::ample()).await;
    assert!(matches!(sent, Err(EgressError::BodyTooLarge(AMPLE))), "{sent:?}");
}

#[tokio::test]
async fn headers_that_describe_the_encoded_body_go_with_the_encoding() {
    let bytes = encode("gzip", b"hello").await;
    let response = fetch(answer(200, "Content-Encoding: GZIP\r\nX-A: 1\r\nX-A: 2\r\n", &bytes), AMPLE).await.unwrap();
    assert_eq!(response.body, b"hello");
    assert_eq!(response.headers, [header("x-a", "1"), header("x-a", "2")]);
}

#[tokio::test]
async fn a_bomb_is_cut_off_at_two_hundred_times_what_was_received() {
    let zeros = vec![0; 8 << 20];
    for coding in CODINGS {
        let bomb = encode(coding, &zeros).await;
        let free = 1_u64 << 20;
        match error(encoded(coding, &bomb), AMPLE).await {
            EgressError::BodyTooLarge(limit) => {
                assert!(limit == free || limit == bomb.len() as u64 * 200, "{coding}: {limit}");
                assert!(limit < 8 << 20, "{coding}: {limit}");
            }
            error => panic!("{coding}: {error}"),
        }
        // As small as this, nobody is harmed.
        let small = encode(coding, &zeros[..1 << 20]).await;
        assert!(small.len() * 200 < 1 << 20);
        assert_eq!(fetch(encoded(coding, &small), AMPLE).await.unwrap().body.len(), 1 << 20, "{coding}");
    }
}

#[tokio::test]
async fn an_encoded_body_that_decodes_to_nothing_is_capped_as_well() {
    let nothing = encode("gzip", b"").await;
    let endless = nothing.repeat(2000 / nothing.len() + 1);
    let sent = error(encoded("gzip", &endless), 2000).await;
    assert!(matches!(sent, EgressError::BodyTooLarge(2000)), "{sent}");
    assert_eq!(fetch(encoded("gzip", &nothing.repeat(10)), 2000).await.unwrap().body, b"");
}

#[tokio::test]
async fn a_body_that_does_not_decode_is_a_transport_error() {
    let body = page(5000);
    for coding in CODINGS {
        let good = encode(coding, &body).await;
        let cut = &good[..good.len() - 5];
        let followed = [&good[..], b"trailing"].concat();
        let mut answers = vec![encoded(coding, cut), encoded(coding, &followed), encoded(coding, &body)];
        if matches!(coding, "gzip" | "deflate") {
            let mut damaged = good.clone();
            let checksum = damaged.len() - if coding == "gzip" { 8 } else { 4 };
            damaged[checksum] ^= 1;
            answers.push(encoded(coding, &damaged));
        }
        for (n, answer) in answers.into_iter().enumerate() {
            let error = error(answer, AMPLE).await;
            assert_eq!(error.code(), "transport", "{coding} {n}: {error}");
        }
        let wrong = if coding == "gzip" { "zstd" } else { "gzip" };
        assert_eq!(error(encoded(wrong, &good), AMPLE).await.code(), "transport", "{coding} as {wrong}");
        let twice = encode(coding, &good).await;
        let error = error(encoded(&format!("{coding}, {coding}"), &twice), AMPLE).await;
        assert!(error.to_string().contains("more than once"), "{error}");
    }
}

#[tokio::test]
async fn members_that_follow_one_another_are_one_body() {
    for coding in ["gzip", "zstd"] {
        let two = [encode(coding, b"one ").await, encode(coding, b"two").await].concat();
        assert_eq!(fetch(encoded(coding, &two), AMPLE).await.unwrap().body, b"one two", "{coding}");
    }
}

#[tokio::test]
async fn a_zstd_body_cannot_ask_for_a_large_window() {
    let body = page(5000);
    for (window_log, fits) in [(23, true), (24, false)] {
        let params = [CParameter::window_log(window_log)];
        let bytes = all(ZstdEncoder::with_quality_and_params(&*body, Level::Fastest, &params)).await;
        let response = fetch(encoded("zstd", &bytes), AMPLE).await;
        assert_eq!(response.is_ok(), fits, "{window_log}: {response:?}");
    }
}

#[tokio::test]
async fn an_encoding_that_is_not_known_is_left_to_the_script() {
    for coding in ["utf-8", "none", "compress"] {
        let response = fetch(encoded(coding, b"as it is"), AMPLE).await.unwrap();
        assert_eq!((&*response.body, value(&response, "content-encoding")), (&b"as it is"[..], Some(coding)));
    }
    assert_eq!(fetch(encoded("identity", b"plain"), AMPLE).await.unwrap().body, b"plain");
}

#[tokio::test]
async fn an_answer_without_a_body_needs_no_decoding() {
    let server = Server::start(|nth, _| {
        let status = if nth == 0 { "200 X\r\ncontent-length: 1000" } else { "204 X" };
        vec![Step::Send(format!("HTTP/1.1 {status}\r\ncontent-encoding: gzip\r\n\r\n").into_bytes())]
    })
    .await;
    let egress = Egress::new().unwrap();
    for method in ["HEAD", "GET"] {
        let request = Request { method: method.to_owned(), ..get(server.url("/")) };
        let response = egress.send(&to(&server), request, &Budget::ample()).await.unwrap();
        assert_eq!(response.body, b"", "{method}");
        assert_eq!(value(&response, "content-encoding"), Some("gzip"), "{method}");
    }
}

#[tokio::test]
async fn connections_are_kept_whatever_the_encoding() {
    let body = page(50_000);
    let mut answers = vec![answer(200, "", &body), chunked("", &body)];
    for coding in CODINGS {
        answers.push(encoded(coding, &encode(coding, &body).await));
    }
    let count = answers.len();
    let server = Server::start(move |nth, _| vec![Step::Send(answers[nth].clone())]).await;
    let egress = Egress::new().unwrap();
    for _ in 0..count {
        let response = egress.send(&to(&server), get(server.url("/")), &Budget::ample()).await.unwrap();
        assert_eq!(response.body, body);
    }
    assert_eq!((server.requests().len(), server.connections()), (count, 1));
}

#[tokio::test]
async fn an_answer_sent_ahead_of_its_request_is_never_taken_for_it() {
    let server = Server::start(|nth, _| {
        let mut bytes = answer(200, "", nth.to_string());
        bytes.extend(answer(200, "", "poison"));
        vec![Step::Send(bytes)]
    })
    .await;
    let egress = Egress::new().unwrap();
    for nth in 0..3 {
        let response = egress.send(&to(&server), get(server.url("/")), &Budget::ample()).await.unwrap();
        assert_eq!(response.body, nth.to_string().into_bytes());
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_given_up_after_ten_seconds() {
    for headers in ["", "content-encoding: gzip\r\n"] {
        let server = Server::start(move |_, _| {
            vec![
                Step::Send(format!("HTTP/1.1 200 X\r\ncontent-length: 10\r\n{headers}\r\n\x1f").into_bytes()),
                Step::Hang,
            ]
        })
        .await;
        let start = Instant::now();
        let budget = Budget::ample();
        let error = Egress::new().unwrap().send(&to(&server), get(server.url("/")), &budget).await.unwrap_err();
        assert!(matches!(error, EgressError::TimedOut), "{error}");
        assert!((10..11).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        assert_eq!(budget.held(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_no_longer_than_the_request_and_the_policy_allow() {
    let drip = |first: &'static str| {
        move |_: usize, _: &str| {
            let mut steps = vec![Step::Send(first.into())];
            steps.extend((0..100).flat_map(|_| [Step::Pause(Duration::from_secs(1)), Step::Send(b"x".to_vec())]));
            steps
        }
    };
    for (first, own, seconds) in [
        ("HTTP/1.1 200 X\r\n", None, 30),
        ("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n", None, 30),
        ("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n", Some(3), 3),
        ("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n", Some(300), 30),
        ("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n", Some(0), 0),
    ] {
        let server = Server::start(drip(first)).await;
        let start = Instant::now();
        let budget = Budget::ample();
        let request = Request { timeout: own.map(Duration::from_secs), ..get(server.url("/")) };
        let error = Egress::new().unwrap().send(&to(&server), request, &budget).await.unwrap_err();
        assert!(matches!(error, EgressError::TimedOut), "{error}");
        assert_eq!(start.elapsed().as_secs(), seconds);
        assert_eq!(budget.held(), 0);
    }
}

#[tokio::test]
async fn headers_of_an_answer_are_capped() {
    let many = "x: y\r\n".repeat(101);
    let long = format!("x: {}\r\n", "y".repeat(66_000));
    let endless = format!("x: {}\r\n", "y".repeat(1_000_000));
    for headers in [many, long, endless] {
        assert_eq!(error(answer(200, &headers, ""), AMPLE).await.code(), "transport");
    }
    let response = fetch(answer(200, &format!("x: {}\r\n", "y".repeat(60_000)), ""), AMPLE).await.unwrap();
    assert_eq!(value(&response, "x").map(str::len), Some(60_000));
}

#[tokio::test]
async fn a_header_value_that_is_no_utf8_is_replaced_and_not_refused() {
    let bytes = [&b"HTTP/1.1 200 X\r\nX-Name: caf\xe9\r\ncontent-length: 0\r\n\r\n"[..]].concat();
    assert_eq!(value(&fetch(bytes, AMPLE).await.unwrap(), "x-name"), Some("caf\u{fffd}"));
}

#[tokio::test]
async fn a_body_that_ends_early_is_a_transport_error() {
    for bytes in [
        "content-length: 10\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "transfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let bytes = format!("HTTP/1.1 200 X\r\n{bytes}").into_bytes();
        let server = Server::start(move |_, _| vec![Step::Send(bytes.clone()), Step::Close]).await;
        let budget = Budget::ample();
        let error = Egress::new().unwrap().send(&to(&server), get(server.url("/")), &budget).await.unwrap_err();
        assert_eq!((error.code(), budget.held()), ("transport", 0), "{error}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_budget_is_thrown_away_and_given_back() {
    let gzip = encode("gzip", &page(300_000)).await;
    for answer in [answer(200, "", page(300_000)), encoded("gzip", &gzip)] {
        let server = Server::always(answer).await;
        let budget = Budget::new(usize::MAX, 299_999);
        let error = Egress::new().unwrap().send(&to(&server), get(server.url("/")), &budget).await.unwrap_err();
        assert!(matches!(error, EgressError::Exhausted(Exhausted::HttpBytes)), "{error}");
        assert!(budget.peak.load(Ordering::SeqCst) > 0);
        assert_eq!(budget.held(), 0);
    }
}

/// Tells when something was received.
struct Watched<'a>(Budget, &'a tokio::sync::Notify);

impl Meter for Watched<'_> {
    fn request(&self) -> Result<(), Exhausted> {
        self.0.request()
    }

    fn received(&self, decoded_bytes: usize) -> Result<(), Exhausted> {
        self.0.received(decoded_bytes)?;
        self.1.notify_one();
        Ok(())
    }

    fn released(&self, bytes: usize) {
        self.0.released(bytes);
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_gives_back_what_it_held_and_closes_its_connection() {
    let server =
        Server::start(|_, _| vec![Step::Send(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nabc".to_vec()), Step::Hang])
            .await;
    let arrived = tokio::sync::Notify::new();
    let budget = Watched(Budget::ample(), &arrived);
    let egress = Egress::new().unwrap();
    let policy = to(&server);
    tokio::select! {
        result = egress.send(&policy, get(server.url("/")), &budget) => panic!("{result:?}"),
        () = arrived.notified() => assert_eq!(budget.0.peak.load(Ordering::SeqCst), 3),
    }
    assert_eq!(budget.0.held(), 0);
    server.closed.acquire().await.unwrap().forget();
}
