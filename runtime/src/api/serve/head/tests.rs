#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn read(head: &str) -> Result<Body, &'static str> {
    match end(head.as_bytes(), 0)? {
        Some(all) if all == head.len() => check(head.as_bytes()),
        other => panic!("{head:?} ends at {other:?}"),
    }
}

#[test]
fn what_has_one_meaning_passes() {
    for (head, body) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", Body::Length(0)),
        ("GET / HTTP/1.0\r\n\r\n", Body::Length(0)),
        ("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", Body::Length(0)),
        ("GET http://A.test:80/x HTTP/1.1\r\nHost: a.test:80\r\n\r\n", Body::Length(0)),
        ("POST /a?b=%20 HTTP/1.1\r\nHost: [::1]:8733\r\nContent-Length: 05 \r\n\r\n", Body::Length(5)),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tCHUNKED\r\nx: \u{fc}\r\n\r\n", Body::Chunked),
    ] {
        assert_eq!(read(head), Ok(body), "{head:?}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_does_not() {
    let start = "POST /v1/x HTTP/1.1\r\nHost: x\r\n";
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding\r\n : chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "Transfer-Encoding: \0chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Host: x\r\n",
        "Host: y\r\n",
        ": x\r\n",
        "no colon\r\n",
        "\u{fc}: x\r\n",
    ] {
        let head = format!("{start}{lines}\r\n");
        assert!(end(head.as_bytes(), 0).and_then(|_| check(head.as_bytes())).is_err(), "{head:?}");
    }
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET http://b@a/ HTTP/1.1\r\nHost: b@a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET v1/health HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
    ] {
        assert!(end(head.as_bytes(), 0).and_then(|_| check(head.as_bytes())).is_err(), "{head:?}");
    }
}

#[test]
fn the_end_is_found_in_whatever_pieces_a_head_comes() {
    let head = b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET";
    let all = head.len() - 3;
    for seen in 0..all {
        assert_eq!(end(&head[..seen], 0), Ok(None), "{seen}");
        assert_eq!(end(head, seen), Ok(Some(all)), "{seen}");
    }
}

/// What is left of a body in chunks, and how many bytes it has.
fn follow(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut chunks, mut at, mut kept) = (Chunks::default(), 0, Vec::new());
    while at < bytes.len() {
        match chunks.step(&bytes[at..])? {
            Step::More(count) => {
                kept.extend_from_slice(&bytes[at..at + count]);
                at += count;
            }
            Step::Skip(count) => at += count,
            Step::Done(count) => {
                kept.extend_from_slice(&bytes[at..at + count]);
                return Ok(Some((kept, at + count)));
            }
        }
    }
    Ok(None)
}

#[test]
fn chunks_are_followed_to_their_end_and_trailers_go_nowhere() {
    let plain = b"5;a=b\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\n";
    assert_eq!(follow(plain), Ok(Some((plain.to_vec(), plain.len()))));
    let trailed = b"0\r\nx: y\r\nTransfer-Encoding: chunked\r\n\r\nGET";
    assert_eq!(follow(trailed), Ok(Some((b"0\r\n\r\n".to_vec(), trailed.len() - 3))));
    assert_eq!(follow(b"5\r\nhel"), Ok(None));
    for bad in [
        &b"\r\n"[..],
        b"5\nhello\r\n",
        b"5 \r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5\r\nhelloGET",
        b"5\r\nhello\n",
        b"5\r\nhello\rx",
        b"1000000000000000\r\n",
        b"0\r\nx\n\r\n",
        b"0\r\n x: y\r\n\r\n",
        b"0\r\n\rx",
    ] {
        assert!(follow(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
    }
    let flood = [&b"0\r\n"[..], &b"x: y\r\n".repeat(1_000)].concat();
    assert!(follow(&flood).is_err());
    assert!(follow(&[&b"5;"[..], &[b'x'; 5_000]].concat()).is_err());
}
