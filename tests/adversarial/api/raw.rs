//! Bytes to the service, as no client library would send them.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::Ground;
use crate::service::PATIENCE;

impl Ground {
    pub(super) fn address(&self) -> &str {
        self.process.url.strip_prefix("http://").unwrap()
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends bytes and reads until the service closes. It may do so before it has read all of them.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> String {
        exchange(self.connect().await, bytes).await
    }

    /// Waits until the log has named so many limits since this place in it, and returns them.
    pub(super) async fn limits(&self, since: u64, count: usize) -> Vec<String> {
        let named = async {
            while self.limits_since(since).len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE / 4, named).await;
        let limits = self.limits_since(since);
        assert!(waited.is_ok(), "the log should name {count} limits, and names {limits:?}");
        limits
    }
}

pub(super) async fn exchange(stream: TcpStream, bytes: &[u8]) -> String {
    let (mut read, mut write) = stream.into_split();
    let reading = async {
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let both = async {
        let (answer, written) = tokio::join!(reading, write.write_all(bytes));
        drop(written);
        answer
    };
    tokio::time::timeout(PATIENCE, both).await.expect("the service answers or closes")
}

/// The statuses of the answers in what was read.
pub(super) fn statuses(answer: &str) -> Vec<u16> {
    answer.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().unwrap()).collect()
}

/// Of one limit no more than twenty lines a second are logged. A case that counts some more of them takes its time.
pub(super) async fn pace(nth: usize) {
    if nth.is_multiple_of(5) {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
}
