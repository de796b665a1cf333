//! A12: floods of HTTP/2, in frames as no library writes them.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::{Ground, case};
use crate::service::PATIENCE;
use crate::service::api::Account;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113, section 4.1
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that is put into no table. RFC 7541, section 6.2.2
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| {
        // A prefix of seven bits, and more behind it.
        match text.len() {
            short @ 0..127 => vec![u8::try_from(short).unwrap()],
            long => {
                let mut bytes = vec![127];
                let mut rest = long - 127;
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).unwrap());
                bytes
            }
        }
    };
    [&[0][..], &length(name), name.as_bytes(), &length(value), value.as_bytes()].concat()
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x")] {
        block.extend(literal(name, value));
    }
    for (name, value) in headers {
        block.extend(literal(name, value));
    }
    block
}

async fn connect(ground: &Ground, settings: &[(u16, u32)]) -> TcpStream {
    let mut stream = ground.connect().await;
    let settings: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &settings)).await.unwrap();
    stream
}

/// A frame that came: kind, stream, payload.
type Frame = (u8, u32, Vec<u8>);

/// Sends pieces until the service closes, and returns every frame that came.
async fn flood(stream: TcpStream, pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Frame> {
    let (mut read, mut write) = stream.into_split();
    let writing = async {
        for piece in pieces {
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        let mut frames = Vec::new();
        let mut head = [0; 9];
        while read.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if read.read_exact(&mut payload).await.is_err() {
                break;
            }
            frames.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload));
        }
        frames
    };
    let both = async { tokio::join!(reading, writing).0 };
    tokio::time::timeout(PATIENCE, both).await.expect("the service closes")
}

#[track_caller]
fn assert_goaway(frames: &[Frame]) {
    let codes: Vec<u32> = frames
        .iter()
        .filter(|(kind, ..)| *kind == GOAWAY)
        .map(|(_, _, payload)| u32::from_be_bytes(payload[4..8].try_into().unwrap()))
        .collect();
    // ENHANCE_YOUR_CALM or PROTOCOL_ERROR, RFC 9113, section 7; nothing if the reset of TCP overtook it.
    assert!(codes.iter().all(|code| [1, 11].contains(code)), "{codes:?}");
}

#[test]
fn streams_that_are_opened_and_reset_at_once_end_the_connection() {
    case("A12", async |ground| {
        let block = request("GET", "/v1/health", &[]);
        let pieces = (0..1_000).map(|nth| {
            let streams = (0..100).map(|stream| 1 + 2 * (nth * 100 + stream));
            let of = |stream| {
                let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                [frame(HEADERS, END_HEADERS | END_STREAM, stream, &block), reset].concat()
            };
            streams.flat_map(of).collect()
        });
        assert_goaway(&flood(connect(ground, &[]).await, pieces).await);
        vec!["http2-violation"]
    });
}

#[test]
fn headers_without_end_are_not_kept() {
    case("A12", async |ground| {
        let start = frame(HEADERS, END_STREAM, 1, &request("GET", "/v1/health", &[]));
        let more = frame(CONTINUATION, 0, 1, &literal("x", &"y".repeat(10_000)));
        let pieces = std::iter::once(start).chain(std::iter::repeat_n(more, 100_000));
        assert_goaway(&flood(connect(ground, &[]).await, pieces).await);
        // Empty ones.
        let start = frame(HEADERS, END_STREAM, 1, &request("GET", "/v1/health", &[]));
        let more = frame(CONTINUATION, 0, 1, b"").repeat(1_000);
        let pieces = std::iter::once(start).chain(std::iter::repeat_n(more, 1_000));
        assert_goaway(&flood(connect(ground, &[]).await, pieces).await);
        vec!["http2-violation"; 2]
    });
}

#[test]
fn headers_that_unpack_to_much_more_are_not_unpacked() {
    case("A12", async |ground| {
        // Into the table once, and then 16,000 times one byte that stands for it: 64 MB.
        let mut block = request("GET", "/v1/health", &[]);
        let mut entry = literal("x", &"y".repeat(4_000));
        entry[0] = 0x40;
        block.extend(entry);
        block.extend([0x80 | 0x3e; 10_000]);
        let answer =
            flood(connect(ground, &[]).await, std::iter::once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)));
        assert_goaway(&answer.await);
        vec!["http2-violation"]
    });
}

#[test]
fn streams_beyond_the_limit_are_refused_and_who_goes_on_is_closed() {
    case("A12", async |ground| {
        let key = format!("Bearer {}", ground.client.key);
        // Each has a body that never comes.
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        let block = request("POST", "/v1/connections", &headers);
        let pieces = (0..100_000).map(|nth| frame(HEADERS, END_HEADERS, 1 + 2 * nth, &block));
        let frames = flood(connect(ground, &[]).await, pieces).await;
        assert_goaway(&frames);
        let refused =
            frames.iter().filter(|(kind, _, payload)| *kind == RST_STREAM && payload[..] == 7_u32.to_be_bytes());
        assert!(refused.count() < 200);
        vec!["http2-violation"]
    });
}

#[test]
fn who_asks_for_pages_and_gives_them_no_window_is_closed() {
    case("A12", async |_| {
        let ground = Ground::start(&[("TERAPI_SERVER_WRITE_TIMEOUT", "1s")]).await;
        let test = async |ground: &Ground| {
            let items = (0..2_000).map(|nth| (format!("item-{nth:05}"), "x".repeat(100))).collect();
            ground.api.put("large", Account { items, ..Account::of("", 0, 500) });
            crate::service::connect(&ground.client, &ground.api, "large", json!({ "type": "api-key", "key": "k" }))
                .await;
            assert_eq!(ground.run("paged", "large").await["outcome"]["code"], "succeeded");
            let (before, since) = (ground.memory().await, ground.process.log_size());
            let key = format!("Bearer {}", ground.client.key);
            let path = "/v1/connections/large/records/Item?limit=1000";
            let block = request("GET", path, &[("authorization", &key)]);
            let pieces = (0..60).map(|nth| frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * nth, &block));
            // SETTINGS_INITIAL_WINDOW_SIZE
            let frames = flood(connect(ground, &[(4, 0)]).await, pieces).await;
            assert!(frames.iter().all(|(kind, _, payload)| *kind != DATA || payload.is_empty()));
            ground.limits(since, 1).await;
            assert!(ground.memory().await < before + (96 << 20));
            ground.client.delete("/v1/connections/large").await.ok();
            vec!["slow-reader"]
        };
        ground.check("A12", test).await;
        vec![]
    });
}

#[test]
fn pings_whose_answers_nobody_reads_are_not_kept() {
    case("A12", async |_| {
        let ground = Ground::start(&[("TERAPI_SERVER_WRITE_TIMEOUT", "1s")]).await;
        let test = async |ground: &Ground| {
            let since = ground.process.log_size();
            for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
                let mut stream = connect(ground, &[]).await;
                // Nothing is read.
                while stream.write_all(&flood.repeat(10_000)).await.is_ok() {}
            }
            ground.limits(since, 2).await;
            vec!["slow-reader"; 2]
        };
        ground.check("A12", test).await;
        vec![]
    });
}

#[test]
fn a_connection_that_asks_nothing_is_closed_however_much_it_says() {
    case("A12", async |_| {
        let ground = Ground::start(&[("TERAPI_SERVER_HEADER_TIMEOUT", "1s")]).await;
        let test = async |ground: &Ground| {
            let ping = frame(PING, 0, 0, &[0; 8]);
            let pieces = std::iter::repeat_with(|| {
                std::thread::sleep(Duration::from_millis(1));
                ping.clone()
            });
            flood(connect(ground, &[]).await, pieces).await;
            vec!["slow-request"]
        };
        ground.check("A12", test).await;
        vec![]
    });
}
