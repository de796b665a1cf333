//! A10: who takes their time, takes it from nobody else.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::{Ground, case};
use super::raw::{exchange, statuses};
use crate::service::api::Account;
use crate::service::{PATIENCE, until};

const SHORT: &[(&str, &str)] = &[
    ("TERAPI_SERVER_HEADER_TIMEOUT", "1s"),
    ("TERAPI_SERVER_IDLE_TIMEOUT", "2s"),
    ("TERAPI_SERVER_WRITE_TIMEOUT", "2s"),
    ("TERAPI_SERVER_BODY_TIMEOUT", "8s"),
    ("TERAPI_SERVER_MAX_CONNECTIONS", "20"),
];

/// Writes so many bytes from time to time until the other end closes: what it said, and how long it took.
async fn drip(stream: TcpStream, bytes: &[u8], count: usize, pause: Duration) -> (String, Duration) {
    let start = Instant::now();
    let (mut read, mut write) = stream.into_split();
    let mut answer = Vec::new();
    let dripping = async {
        for piece in bytes.chunks(count).cycle() {
            if write.write_all(piece).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        read = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer)) => drop(read.expect("it is closed")),
        () = dripping => {}
    }
    (String::from_utf8_lossy(&answer).into_owned(), start.elapsed())
}

fn post(ground: &Ground, length: usize) -> String {
    format!(
        "POST /v1/connections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n",
        ground.client.key
    )
}

/// Cases on a server with short times.
fn short(test: impl AsyncFnOnce(&Ground) -> Vec<&'static str>) {
    case("A10", async |_| {
        let ground = Ground::start(SHORT).await;
        ground.check("A10", test).await;
        vec![]
    });
}

#[test]
fn a_head_and_a_body_that_come_byte_by_byte_end_their_connection() {
    short(async |ground| {
        let pause = Duration::from_millis(100);
        let head =
            b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: y\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
        let (answer, took) = drip(ground.connect().await, head, 1, pause).await;
        assert_eq!(answer, "");
        assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&took), "{took:?}");
        // What could be HTTP/2, too.
        let (answer, took) = drip(ground.connect().await, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1, pause).await;
        assert_eq!(answer, "");
        assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&took), "{took:?}");
        let mut stream = ground.connect().await;
        stream.write_all(post(ground, 100_000).as_bytes()).await.unwrap();
        let (answer, took) = drip(stream, b" ", 1, pause).await;
        assert_eq!(statuses(&answer), [408], "{answer}");
        assert!(answer.contains(r#""code":"body-too-slow""#), "{answer}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        // One that keeps the pace for ever.
        let mut stream = ground.connect().await;
        stream.write_all(post(ground, 3_000_000).as_bytes()).await.unwrap();
        let (answer, took) = drip(stream, &[b' '; 40], 40, Duration::from_millis(1)).await;
        assert_eq!(statuses(&answer), [408], "{answer}");
        assert!((Duration::from_secs(6)..Duration::from_mins(1)).contains(&took), "{took:?}");
        vec!["slow-request", "slow-request", "slow-body", "slow-body"]
    });
}

#[test]
fn a_connection_that_says_nothing_is_closed_and_one_that_waits_for_its_answer_is_not() {
    short(async |ground| {
        let silent = ground.connect();
        let mut asked = ground.connect().await;
        asked.write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let page = ground.client.get("/v1/connections/canary/records/Item").await.ok();
        let cursor = page["cursor"].as_str().unwrap();
        let path = format!("/v1/connections/canary/records/Item?cursor={cursor}&wait=5s");
        let waiting = ground.client.get(&path);
        let start = Instant::now();
        let ended = async |mut stream: TcpStream| {
            let mut answer = String::new();
            tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
            (answer, start.elapsed())
        };
        let ((silent, first), (asked, second), waited) =
            tokio::join!(async { ended(silent.await).await }, ended(asked), async { (waiting.await, start.elapsed()) });
        assert_eq!((silent.as_str(), statuses(&asked)), ("", vec![200]));
        assert!((Duration::from_millis(900)..Duration::from_secs(20)).contains(&first), "{first:?}");
        assert!((Duration::from_millis(1_900)..Duration::from_secs(20)).contains(&second), "{second:?}");
        waited.0.ok();
        assert!(waited.1 >= Duration::from_secs(5), "{:?}", waited.1);
        vec![]
    });
}

#[test]
fn an_answer_that_is_not_taken_is_given_up() {
    short(async |ground| {
        // More than the kernel keeps for a connection.
        let items = (0..12_000).map(|nth| (format!("item-{nth:05}"), "x".repeat(1_000))).collect();
        ground.api.put("large", Account { items, ..Account::of("", 0, 500) });
        crate::service::connect(&ground.client, &ground.api, "large", json!({ "type": "api-key", "key": "k" })).await;
        assert_eq!(ground.run("paged", "large").await["outcome"]["code"], "succeeded");
        let since = ground.process.log_size();
        let request = format!(
            "GET /v1/connections/large/records/Item?limit=1000&max_bytes=16777216 HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {}\r\n\r\n",
            ground.client.key
        );
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut stream = socket.connect(ground.address().parse().unwrap()).await.unwrap();
        stream.write_all(request.repeat(12).as_bytes()).await.unwrap();
        let start = Instant::now();
        ground.limits(since, 1).await;
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        drop(stream);
        ground.client.delete("/v1/connections/large").await.ok();
        vec!["slow-reader"]
    });
}

#[test]
fn newcomers_beyond_the_limit_are_told_and_those_who_are_there_go_on() {
    short(async |ground| {
        let since = ground.process.log_size();
        let mut there = ground.connect().await;
        // Within a request, so that it stays.
        there.write_all(post(ground, 2).as_bytes()).await.unwrap();
        let mut others = Vec::new();
        for _ in 0..19 {
            others.push(ground.connect().await);
        }
        let told = until("a newcomer is told", async || {
            let answer = exchange(ground.connect().await, b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n").await;
            (statuses(&answer) == [503]).then_some(answer)
        })
        .await;
        assert!(told.contains(r#""code":"too-many-connections""#), "{told}");
        assert!(told.to_ascii_lowercase().contains("retry-after: 1"), "{told}");
        there.write_all(b"{}").await.unwrap();
        let mut answer = [0; 12];
        there.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 422");
        drop((there, others));
        until("there is room again", async || {
            let answer =
                exchange(ground.connect().await, b"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    .await;
            (statuses(&answer) == [200]).then_some(())
        })
        .await;
        // How many were turned away depends on how soon the service saw that others had gone.
        let limits = ground.limits_since(since);
        assert!(limits.iter().all(|limit| limit == "too-many-connections") && !limits.is_empty(), "{limits:?}");
        vec!["too-many-connections"; limits.len()]
    });
}

#[test]
fn thousands_of_idle_connections_are_held_off_while_requests_are_answered() {
    case("A10", async |_| {
        // Each of them has a descriptor here and there.
        let settings = [("TERAPI_SERVER_MAX_CONNECTIONS", "300"), ("TERAPI_SERVER_HEADER_TIMEOUT", "1s")];
        let ground = Ground::start(&settings).await;
        let test = async |ground: &Ground| {
            let since = ground.process.log_size();
            let (mut held, mut slowest) = (std::collections::VecDeque::new(), Duration::ZERO);
            for nth in 0..3_000 {
                held.push_back(ground.connect().await);
                if held.len() > 280 {
                    held.pop_front();
                }
                if nth % 100 == 99 {
                    let start = Instant::now();
                    let answered = until("the API answers", async || {
                        let request = ground.client.request(reqwest::Method::GET, "/v1/key");
                        ground.client.try_send(request).await.ok().filter(|answer| answer.status == 200)
                    });
                    answered.await.ok();
                    slowest = slowest.max(start.elapsed());
                }
            }
            assert!(slowest < Duration::from_secs(5), "{slowest:?}");
            drop(held);
            // A newcomer may come before those who left are seen to have left.
            let limits = ground.limits_since(since);
            assert!(limits.iter().all(|limit| limit == "too-many-connections"), "{limits:?}");
            vec!["too-many-connections"; limits.len()]
        };
        ground.check("A10", test).await;
        vec![]
    });
}
