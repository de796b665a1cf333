//! A09: bodies that are too large, too many, or not what they seem.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{Ground, case};
use super::raw::statuses;
use crate::service::client::Answer;

async fn send(ground: &Ground, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = ground.client.request(method, path).header("content-type", "application/json");
    ground.client.send(request.body(body)).await
}

#[test]
fn a_body_over_the_limit_is_refused_with_its_connection() {
    case("A09", async |ground| {
        let head = |path: &str, how: &str| {
            let key = &ground.client.key;
            format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n{how}\r\n\r\n"
            )
        };
        let lengths = [
            ("/v1/connections", (3 << 20) + 1),
            ("/v1/connections", 75 << 20),
            ("/v1/scripts", (32 << 20) + 1),
            ("/v1/scripts", 10 << 30),
            ("/v1/scripts/describe", 999_999_999_999_999_999_u64),
        ];
        for (path, length) in lengths {
            let answer = ground.exchange(head(path, &format!("Content-Length: {length}")).as_bytes()).await;
            assert_eq!(statuses(&answer), [413], "{path} {length}: {answer}");
            assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
            assert!(answer.contains(r#""code":"body-too-large""#), "{answer}");
        }
        // Those that do not say how large they are, and have no end.
        for (path, limit) in [("/v1/connections", 3 << 20), ("/v1/scripts", 32 << 20)] {
            let (mut read, mut write) = ground.connect().await.into_split();
            write.write_all(head(path, "Transfer-Encoding: chunked").as_bytes()).await.unwrap();
            let sending = async {
                let chunk =
                    [format!("{:x}\r\n", 64 << 10).into_bytes(), vec![b' '; 64 << 10], b"\r\n".to_vec()].concat();
                let mut sent = 0;
                while write.write_all(&chunk).await.is_ok() {
                    sent += 64 << 10;
                }
                sent
            };
            let mut answer = Vec::new();
            let (sent, _) = tokio::join!(sending, read.read_to_end(&mut answer));
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert_eq!(statuses(&answer), [413], "{path}: {answer}");
            // What the kernel and the closing of the connection took besides.
            assert!(sent < limit + (16 << 20), "{path}: {sent} bytes were taken");
        }
        vec!["body-too-large"; lengths.len() + 2]
    });
}

#[test]
fn bodies_that_would_have_to_be_unpacked_are_not_taken() {
    case("A09", async |ground| {
        for path in ["/v1/scripts", "/v1/scripts/describe", "/v1/connections", "/v1/keys"] {
            for encoding in ["gzip", "br", "deflate", "zstd", "GZIP", "gzip, gzip", "x", ""] {
                let request = ground.client.request(Method::POST, path).header("content-type", "application/json");
                let request = request.header("content-encoding", encoding).body(vec![0x1f, 0x8b, 8, 0]);
                ground.client.send(request).await.problem(415, "unsupported-encoding");
            }
        }
        vec![]
    });
}

#[test]
fn json_that_is_not_what_it_seems_is_refused() {
    case("A09", async |ground| {
        let nested =
            |open: &str, close: &str, levels: usize| format!("{}{}", open.repeat(levels), close.repeat(levels));
        let hostile = [
            nested("[", "]", 1_000_000).into_bytes(),
            "[".repeat(1_000_000).into_bytes(),
            format!("{{\"a\":{}}}", nested("[", "]", 64)).into_bytes(),
            format!("{{\"a\":{}1{}}}", "{\"a\":".repeat(64), "}".repeat(64)).into_bytes(),
            br#"{"name":"a","name":"b"}"#.to_vec(),
            br#"{"a":{"b":1,"\u0062":2}}"#.to_vec(),
            format!("{{\"a\":{}}}", "9".repeat(1_000_000)).into_bytes(),
            format!("{{\"a\":0.{}}}", "1".repeat(10_000)).into_bytes(),
            br#"{"a":"\ud800"}"#.to_vec(),
            b"{\"a\":\"\xff\"}".to_vec(),
            b"\xef\xbb\xbf{}".to_vec(),
            br#"{"a":NaN}"#.to_vec(),
            br#"{"a":1} x"#.to_vec(),
            b"".to_vec(),
        ];
        let paths = [
            (Method::POST, "/v1/connections"),
            (Method::POST, "/v1/keys"),
            (Method::PUT, "/v1/integrations/other"),
            (Method::PUT, "/v1/connections/canary/metadata"),
            (Method::PATCH, "/v1/connections/canary/metadata"),
            (Method::PUT, "/v1/connections/canary/config"),
            (Method::POST, "/v1/connections/canary/actions/none"),
        ];
        for (method, path) in &paths {
            for body in &hostile {
                send(ground, method.clone(), path, body.clone()).await.problem(400, "bad-json");
            }
        }
        for body in hostile.iter().filter(|body| !body.is_empty()) {
            send(ground, Method::POST, "/v1/syncs/canary/paged/base/trigger", body.clone())
                .await
                .problem(400, "bad-json");
        }
        // Within the limits, and of another kind than the route takes.
        let many: serde_json::Map<_, _> = (0..100_000).map(|nth| (format!("f{nth}"), json!(1))).collect();
        send(ground, Method::POST, "/v1/connections", json!(many).to_string()).await.problem(422, "bad-body");
        for body in ["null", "[]", "1", "\"x\"", "[{\"name\":\"a\"}]"] {
            send(ground, Method::POST, "/v1/connections", body).await.problem(422, "bad-body");
        }
        // The deepest that is taken.
        let deep = format!("{{\"a\":{}}}", nested("[", "]", 63));
        send(ground, Method::PUT, "/v1/connections/canary/metadata", deep.clone()).await.ok();
        let seen = ground.client.get("/v1/connections/canary/metadata").await;
        assert_eq!(seen.text, deep);
        send(ground, Method::PUT, "/v1/connections/canary/metadata", "{}").await.ok();
        vec![]
    });
}

#[test]
fn a_thousand_uploads_at_once_have_no_more_memory_than_they_may() {
    case("A09", async |_| {
        let settings = [("TERAPI_SERVER_BODY_MEMORY", "33MiB"), ("TERAPI_SERVER_BODY_TIMEOUT", "20s")];
        let ground = Ground::start(&settings).await;
        let test = async |ground: &Ground| {
            let since = ground.process.log_size();
            let before = ground.memory().await;
            let head = format!(
                "POST /v1/scripts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
                ground.client.key,
                32 << 20
            );
            // One that goes on for as long as it likes.
            let mut first = ground.connect().await;
            first.write_all(head.as_bytes()).await.unwrap();
            first.write_all(&vec![b'x'; 31 << 20]).await.unwrap();
            let mut refused = 0;
            let many = (0..200).map(|_| async {
                let mut stream = ground.connect().await;
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&vec![b'x'; 64 << 10]).await;
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer).await;
                String::from_utf8_lossy(&answer).into_owned()
            });
            for answer in futures_util::future::join_all(many).await {
                assert_eq!(statuses(&answer), [429], "{answer}");
                assert!(answer.contains(r#""code":"too-many-bodies""#), "{answer}");
                assert!(answer.to_ascii_lowercase().contains("retry-after: 2"), "{answer}");
                refused += 1;
            }
            assert_eq!(refused, 200);
            let now = ground.memory().await;
            assert!(now < before + (128 << 20), "{} MiB more", (now - before) >> 20);
            // What is small is read all the same.
            ground.canary().await;
            first.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
            let mut answer = [0; 12];
            first.read_exact(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
            drop(first);
            let limits = ground.limits_since(since);
            let bodies = limits.iter().filter(|limit| *limit == "too-many-bodies").count();
            // The first twenty of a second, and whatever the script is called that is none.
            assert!(bodies >= 1, "{limits:?}");
            limits.into_iter().map(|limit| &*limit.leak()).collect()
        };
        ground.check("A09", test).await;
        vec![]
    });
}
