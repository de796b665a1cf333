//! E19, E20, E23: what an API answers.

use std::time::{Duration, Instant};

use async_compression::Level;
use async_compression::futures::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use futures_util::io::{AsyncRead, AsyncReadExt as _};
use serde_json::json;

use super::server::{Server, Step, answer};
use super::{get, on_egress, open_to};

const PUBLIC: &[&str] = &["127.0.0.2/32"];
/// What a body may have, decoded.
const MAX_BODY: usize = 16 << 20;

fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

/// What a server that means no good answers, by path.
fn odd_answer(path: &str) -> Vec<Step> {
    let head = |text: &str| Step::Send(format!("HTTP/1.1 200 X\r\n{text}").into_bytes());
    let flood = |bytes: Vec<u8>| Step::Flood(bytes, Duration::ZERO);
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    match path {
        "/chunks" => vec![head(chunked), flood([b"10000\r\n", &vec![b'x'; 65_536][..], b"\r\n"].concat())],
        "/no-length" => vec![head("\r\n"), flood(vec![b'x'; 65_536])],
        "/claims-more" => vec![head("content-length: 16777217\r\n\r\n"), flood(vec![b'x'; 65_536])],
        "/claims-ten-gigabytes" => vec![head("content-length: 10737418240\r\n\r\n"), flood(vec![b'x'; 65_536])],
        "/headers" => vec![head(""), flood(b"x-header: value\r\n".repeat(100))],
        "/one-header" => vec![head("x-header: "), flood(vec![b'x'; 65_536])],
        "/status" => vec![Step::Send(b"HTTP/1.1 200 ".to_vec()), flood(vec![b'x'; 65_536])],
        "/many-headers" => vec![head(&"x: y\r\n".repeat(101)), Step::Send(b"content-length: 0\r\n\r\n".to_vec())],
        "/large-headers" => {
            vec![head(&format!("x: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(70 << 10)))]
        }
        "/trailers" => vec![head(chunked), Step::Send(b"0\r\n".to_vec()), flood(b"x-trailer: y\r\n".repeat(100))],
        "/one-trailer" => vec![head(chunked), Step::Send(b"0\r\nx: ".to_vec()), flood(vec![b'x'; 65_536])],
        "/extension" => vec![head(chunked), Step::Send(b"5;x=".to_vec()), flood(vec![b'x'; 65_536])],
        "/extensions" => {
            vec![head(chunked), flood(format!("1;{}\r\nx\r\n", "y".repeat(10_000)).into_bytes())]
        }
        "/chunk-size" => vec![head(chunked), Step::Send(b"fffffffffffffffff\r\n".to_vec()), Step::Hang],
        "/chunk-lie" => vec![head(chunked), Step::Send(b"2\r\nhello\r\n0\r\n\r\n".to_vec()), Step::Hang],
        "/negative" => vec![head("content-length: -1\r\n\r\n"), Step::Hang],
        "/plus" => vec![head("content-length: +5\r\n\r\nhello"), Step::Hang],
        "/huge" => vec![head("content-length: 99999999999999999999999\r\n\r\n"), Step::Hang],
        "/two-lengths" => vec![head("content-length: 5\r\ncontent-length: 6\r\n\r\nhello"), Step::Hang],
        "/short" => vec![head("content-length: 100\r\n\r\nhello"), Step::Close],
        "/short-chunk" => vec![head(chunked), Step::Send(b"64\r\nhello".to_vec()), Step::Close],
        "/nothing" => vec![Step::Close],
        "/garbage" => vec![Step::Send(vec![0; 100]), Step::Close],
        "/preface" => vec![Step::Send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()), Step::Close],
        "/version" => vec![Step::Send(b"HTTP/3.7 200 X\r\n\r\n".to_vec()), Step::Close],
        "/number" => vec![Step::Send(b"HTTP/1.1 99999 X\r\n\r\n".to_vec()), Step::Close],
        "/fold" => vec![head("x: y\r\n z\r\n: no name\r\ncontent-length: 0\r\n\r\n"), Step::Hang],
        "/drip" => {
            vec![head("content-length: 1000000\r\n\r\n"), Step::Flood(vec![b'x'], Duration::from_millis(20))]
        }
        "/drip-head" => vec![head("x: "), Step::Flood(vec![b'x'], Duration::from_millis(20))],
        "/informational" => vec![flood(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(100))],
        "/continue" => vec![flood(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100))],
        "/silent" => vec![Step::Hang],
        "/stall" => vec![head("content-length: 10\r\n\r\nhello"), Step::Hang],
        "/long" => vec![head("content-length: 5\r\n\r\nhello, and more")],
        "/at-most" => vec![head("content-length: 16777216\r\n\r\n"), Step::Send(vec![b'x'; MAX_BODY])],
        _ => vec![Step::Send(answer(200, "", "hello"))],
    }
}

#[test]
fn an_answer_without_end_or_measure_is_cut_off() {
    on_egress("E19", async |scene| {
        let server = Server::start(move |_, request| odd_answer(path(request))).await;
        let integration = open_to(&[server.url("")], PUBLIC);
        let memory = scene.ground.memory().await;

        let too_large = ["/chunks", "/no-length", "/claims-more", "/claims-ten-gigabytes"];
        let urls = too_large.map(|path| server.url(path));
        let said = scene.fetch(integration.clone(), &urls).await;
        assert_eq!(said, vec![format!("Error::BodyTooLarge({MAX_BODY})"); 4]);
        // What the kernel holds on the way is not ours.
        assert!(server.flooded() < 2 * MAX_BODY + (32 << 20), "{} bytes were taken", server.flooded());

        let broken = [
            "/headers",
            "/one-header",
            "/status",
            "/many-headers",
            "/large-headers",
            "/trailers",
            "/one-trailer",
            "/extension",
            "/extensions",
            "/chunk-size",
            "/chunk-lie",
            "/negative",
            "/plus",
            "/huge",
            "/two-lengths",
            "/short",
            "/short-chunk",
            "/nothing",
            "/garbage",
            "/preface",
            "/version",
            "/number",
            "/fold",
        ];
        let start = Instant::now();
        for some in broken.chunks(8) {
            // Of an integration of its own: ten failures would have it left alone.
            let urls: Vec<String> = some.iter().map(|path| server.url(path)).collect();
            for (path, said) in some.iter().zip(scene.fetch(integration.clone(), &urls).await) {
                assert!(said.starts_with("Error::Transport("), "{path}: {said}");
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());

        let connection = scene.connect(integration.clone()).await;
        let slow = ["/drip", "/drip-head", "/informational", "/continue", "/silent"];
        let steps = slow.map(|path| json!({ "do": "request", "url": server.url(path), "timeout_ms": 400 }));
        let start = Instant::now();
        for (path, said) in slow.iter().zip(scene.run(&connection, steps.into()).await.succeeded(slow.len())) {
            assert_eq!(said, "Error::TimedOut", "{path}");
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        // A stall is not waited for until the request's time is over, which is 30 s.
        let start = Instant::now();
        let said = scene.fetch(integration.clone(), &[server.url("/stall")]).await;
        assert_eq!(said, ["Error::TimedOut"]);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());

        let said = scene.fetch(integration, &["/long", "/", "/at-most", "/"].map(|path| server.url(path))).await;
        assert_eq!(said[..2], ["200 - 5 bytes: hello", "200 - 5 bytes: hello"]);
        assert!(said[2].starts_with("200 - 16777216 bytes: "), "{}", said[2]);
        assert_eq!(said[3], "200 - 5 bytes: hello");
        let now = scene.ground.memory().await;
        assert!(now < memory + (128 << 20), "{memory} bytes before and {now} after");
        vec!["body-too-large", "timed-out", "timed-out"]
    });
}

async fn all(encoder: impl AsyncRead) -> Vec<u8> {
    let mut bytes = Vec::new();
    Box::pin(encoder).read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn encode(coding: &str, data: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => all(GzipEncoder::with_quality(data, Level::Fastest)).await,
        "br" => all(BrotliEncoder::with_quality(data, Level::Fastest)).await,
        "zstd" => all(ZstdEncoder::with_quality(data, Level::Fastest)).await,
        "deflate" => all(ZlibEncoder::with_quality(data, Level::Fastest)).await,
        _ => panic!("{coding}"),
    }
}

#[test]
fn a_body_that_swells_beyond_all_reason_is_cut_off_while_it_does() {
    on_egress("E20", async |scene| {
        let zeros = vec![0; 64 << 20];
        let rows = (0..20_000).map(|nth| format!("{{\"id\":{nth},\"text\":\"{}\"}},", nth * 7919));
        let rows = rows.collect::<Vec<_>>().concat();
        let (mut bombs, mut good) = (Vec::new(), Vec::new());
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let header = format!("content-encoding: {coding}\r\n");
            bombs.push(answer(200, &header, encode(coding, &zeros).await));
            good.push(answer(200, &header, encode(coding, rows.as_bytes()).await));
        }
        let gzip = encode("gzip", rows.as_bytes()).await;
        let twice = encode("gzip", &encode("gzip", &zeros).await).await;
        let mut bad_sum = gzip.clone();
        *bad_sum.iter_mut().nth_back(5).unwrap() ^= 1;
        let broken = [
            answer(200, "content-encoding: gzip, gzip\r\n", &twice),
            answer(200, "content-encoding: gzip\r\ncontent-encoding: gzip\r\n", &twice),
            answer(200, "content-encoding: gzip,identity,br\r\n", &twice),
            answer(200, "content-encoding: gzip\r\n", &bad_sum),
            answer(200, "content-encoding: br\r\n", &gzip),
            answer(200, "content-encoding: zstd\r\n", &gzip),
            answer(200, "content-encoding: gzip\r\n", "clear text"),
            answer(200, "content-encoding: gzip\r\n", &gzip[..gzip.len() / 2]),
            answer(200, "content-encoding: gzip\r\n", [&gzip[..], b"and more"].concat()),
        ];
        // A window of 2 GiB, for a body of nothing.
        let window = answer(200, "content-encoding: zstd\r\n", [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1, 0, 0]);
        let unknown = answer(200, "content-encoding: x-own\r\n", "as it is");
        let empty_member = encode("gzip", b"").await;
        let endless = empty_member.repeat(1000);
        let served: Vec<Vec<u8>> =
            bombs.iter().chain(&good).chain(&broken).chain([&window, &unknown]).cloned().collect();
        let server = Server::start(move |_, request| match path(request).trim_start_matches('/').parse::<usize>() {
            Ok(nth) => vec![Step::Send(served[nth].clone())],
            Err(_) => vec![
                Step::Send(b"HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\n\r\n".to_vec()),
                Step::Flood(endless.clone(), Duration::ZERO),
            ],
        })
        .await;
        let integration = open_to(&[server.url("")], PUBLIC);
        let urls: Vec<String> = (0..bombs.len()).map(|nth| server.url(&format!("/{nth}"))).collect();
        for (nth, said) in scene.fetch(integration.clone(), &urls).await.iter().enumerate() {
            let limit = said.strip_prefix("Error::BodyTooLarge(").and_then(|rest| rest.strip_suffix(')'));
            let limit: usize = limit.unwrap_or_else(|| panic!("{nth}: {said}")).parse().unwrap();
            assert!((1 << 20..=MAX_BODY).contains(&limit), "{nth}: {limit}");
        }
        let mut nth = bombs.len();
        let urls: Vec<String> = (nth..nth + good.len()).map(|nth| server.url(&format!("/{nth}"))).collect();
        for said in scene.fetch(integration.clone(), &urls).await {
            assert!(said.starts_with(&format!("200 - {} bytes: {{\"id\":0", rows.len())), "{said}");
        }
        nth += good.len();
        let urls: Vec<String> = (nth..nth + broken.len()).map(|nth| server.url(&format!("/{nth}"))).collect();
        for (nth, said) in scene.fetch(integration.clone(), &urls).await.iter().enumerate() {
            assert!(said.starts_with("Error::Transport("), "{nth}: {said}");
        }
        nth += broken.len();
        let urls = [nth, nth + 1].map(|nth| server.url(&format!("/{nth}")));
        let said = scene.fetch(integration.clone(), &urls).await;
        assert!(said[0].starts_with("Error::Transport("), "{}", said[0]);
        assert_eq!(said[1], "200 - 8 bytes: as it is");
        // Nothing, for ever: what was received counts as well.
        let said = scene.fetch(integration, &[server.url("/endless")]).await;
        assert_eq!(said, [format!("Error::BodyTooLarge({MAX_BODY})")]);
        vec!["body-too-large", "body-too-large"]
    });
}

#[test]
fn an_answer_that_was_sent_ahead_is_never_taken_for_that_of_the_next_request() {
    on_egress("E23", async |scene| {
        let poison = answer(200, "", "poison");
        let server = Server::start(move |nth, request| {
            let own = answer(200, "", nth.to_string());
            match path(request) {
                "/together" => vec![Step::Send([&own[..], &poison].concat())],
                // After the client has had its answer, and before, while, or after it asks again.
                "/apart" => vec![Step::Send(own), Step::Send(poison.clone())],
                "/half" => vec![Step::Send([&own[..], &poison[..20]].concat())],
                "/head" => vec![Step::Send([&answer(204, "", "")[..], &poison].concat())],
                _ => vec![Step::Send(own)],
            }
        })
        .await;
        let connection = scene.connect(open_to(&[server.url("")], PUBLIC)).await;
        let paths = ["/together", "/apart", "/half", "/head", "/"];
        // What comes in the instant in which the next request is sent cannot be told from its answer, by nobody: what has come
        // before it can.
        let pause = json!({ "do": "wait-for", "timeout_ms": 30 });
        let steps: Vec<_> = paths
            .iter()
            .cycle()
            .take(20)
            .flat_map(|path| [get(server.url(path)), pause.clone(), get(server.url("/"))])
            .collect();
        let said = scene.run(&connection, steps.clone()).await.succeeded(steps.len());
        let said: Vec<&String> = said.iter().filter(|said| *said != "timed out").collect();
        assert_eq!(said.len(), 40);
        for (nth, said) in said.iter().enumerate() {
            let own = format!("200 - {} bytes: {nth}", nth.to_string().len());
            assert!(**said == own || said.starts_with("204 "), "{nth}: {said}");
        }
        // Those without poison keep their connection.
        assert!((16..=33).contains(&server.connections()), "{}", server.connections());
        Vec::new()
    });
}
