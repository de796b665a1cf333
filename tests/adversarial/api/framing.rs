//! A11: where one request ends and the next begins is for nobody to be unsure of.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::case;
use super::raw::{pace, statuses};
use crate::service::PATIENCE;

/// What an attacker would like to be taken for a request of somebody else.
const SMUGGLED: &str = "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_request_that_can_be_read_in_two_ways_is_answered_400_and_nothing_after_it_is_read() {
    case("A11", async |ground| {
        let post = "POST /v1/connections HTTP/1.1\r\nHost: x\r\n";
        let mut heads = Vec::new();
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
            "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Content-Length: +5\r\n\r\nhello",
            "Content-Length: -5\r\n\r\nhello",
            "Content-Length: 5, 5\r\n\r\nhello",
            "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
            "Content-Length: 18446744073709551617\r\n\r\nhello",
            "Host: x\r\n\r\n",
            "\0: x\r\n\r\n",
            "X: \0\r\n\r\n",
            "no colon\r\n\r\n",
        ] {
            heads.push(format!("{post}{lines}"));
        }
        for head in [
            "GET /v1/health HTTP/1.1\r\n\r\n",
            "GET /v1/health HTTP/1.1\nHost: x\n\n",
            "GET http://other/v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET http://x@other/v1/health HTTP/1.1\r\nHost: other\r\n\r\n",
            "GET /v1/health HTTP/1.1 \r\nHost: x\r\n\r\n",
            "GET /v1/health HTTP/3.0\r\nHost: x\r\n\r\n",
            "GET  /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET\t/v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /v1/\u{1}health HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /v1/health\r\n\r\n",
            "\u{16}\u{3}\u{1} a handshake of TLS",
            "POST /v1/connections HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            heads.push(head.to_owned());
        }
        let (mut expected, since) = (Vec::new(), ground.process.log_size());
        for (nth, head) in heads.iter().enumerate() {
            pace(nth).await;
            let answer = ground.exchange(format!("{head}{SMUGGLED}{SMUGGLED}").as_bytes()).await;
            assert_eq!(statuses(&answer), [400], "{head:?}: {answer}");
            // Also in the tail of a connection that was good until then.
            let answer = ground.exchange(format!("{SMUGGLED}{head}{SMUGGLED}").as_bytes()).await;
            assert_eq!(statuses(&answer), [200, 400], "{head:?}: {answer}");
            expected.extend(["malformed-request"; 2]);
            assert_eq!(ground.limits(since, expected.len()).await, expected, "{head:?}");
        }
        expected
    });
}

#[test]
fn a_body_that_is_framed_wrongly_ends_its_connection() {
    case("A11", async |ground| {
        let key = &ground.client.key;
        let head = format!(
            "POST /v1/connections HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        let bodies = [
            "2\n{}\r\n0\r\n\r\n",
            "2 \r\n{}\r\n0\r\n\r\n",
            "+2\r\n{}\r\n0\r\n\r\n",
            "0x2\r\n{}\r\n0\r\n\r\n",
            "2;\n{}\r\n0\r\n\r\n",
            "2\r\n{}0\r\n\r\n",
            "2\r\n{}\n0\r\n\r\n",
            "1000000000000000002\r\n{}\r\n0\r\n\r\n",
            "2\r\n{}\r\n0\r\n folded: x\r\n\r\n",
        ];
        pace(0).await;
        for body in bodies {
            let answer = ground.exchange(format!("{head}{body}{SMUGGLED}{SMUGGLED}").as_bytes()).await;
            assert_eq!(statuses(&answer), [400], "{body:?}: {answer}");
        }
        // Trailers are allowed, and nothing in them counts.
        let trailed = "2\r\n{}\r\n0\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n";
        let last = SMUGGLED.replace("Host", "Connection: close\r\nHost");
        let answer = ground.exchange(format!("{head}{trailed}{last}").as_bytes()).await;
        assert_eq!(statuses(&answer), [422, 200], "{answer}");
        vec!["malformed-request"; bodies.len()]
    });
}

#[test]
fn ten_thousand_requests_in_a_row_are_answered_in_order() {
    case("A11", async |ground| {
        let last = SMUGGLED.replace("Host", "Connection: close\r\nHost");
        let answer = ground.exchange(format!("{}{last}", SMUGGLED.repeat(10_000)).as_bytes()).await;
        assert_eq!(statuses(&answer), vec![200; 10_001]);
        vec![]
    });
}

#[test]
fn heads_beyond_measure_are_refused() {
    case("A11", async |ground| {
        let start = "GET /v1/health HTTP/1.1\r\nHost: x\r\n";
        let long = ground.exchange(format!("{start}X: {}\r\n\r\n", "x".repeat(1 << 20)).as_bytes()).await;
        assert_eq!(statuses(&long), [431], "{long}");
        let endless = ground.exchange(format!("{start}{}", "X: y\r\n".repeat(1 << 17)).as_bytes()).await;
        assert_eq!(statuses(&endless), [431], "{endless}");
        let many = ground.exchange(format!("{start}{}\r\n", "X: y\r\n".repeat(1_000)).as_bytes()).await;
        assert_eq!(statuses(&many), [431], "{many}");
        let target = ground.exchange(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100 << 10)).as_bytes()).await;
        assert_eq!(statuses(&target), [431], "{target}");
        vec!["head-too-large", "head-too-large", "head-too-large", "malformed-request"]
    });
}

#[test]
fn a_head_may_come_byte_by_byte_and_empty_lines_before_it_are_none_of_it() {
    case("A11", async |ground| {
        let mut stream = ground.connect().await;
        let last = SMUGGLED.replace("Host", "Connection: close\r\nHost");
        for byte in format!("\r\n\r\n{SMUGGLED}\r\n{last}").bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!(statuses(&answer), [200, 200], "{answer}");
        vec![]
    });
}
