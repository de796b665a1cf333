//! The run's log: lines that the script logs, and what it prints.
//!
//! Kept are the first three quarters of the budget and the last quarter, with a marker in between that says how much was
//! dropped: the beginning tells what was going on, the end what went wrong. Logging never ends a run.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::limits::RunMeter;
use crate::clock::Clock;
use crate::ids::Timestamp;
use crate::run::{Level, LogLine};

/// A longer line is cut: a log is read by people.
const MAX_LINE_BYTES: usize = 8 << 10;
/// Lines are given to the store when so much has come together.
const CHUNK_BYTES: u64 = 64 << 10;
/// What a line costs besides its text.
const LINE_OVERHEAD_BYTES: u64 = 64;

/// The log of one run while it runs.
pub(super) struct LogBuffer {
    clock: Arc<dyn Clock>,
    lines: Mutex<Lines>,
    /// Lines printed and not charged yet.
    printed: AtomicU64,
}

#[derive(Default)]
struct Lines {
    head_budget: u64,
    tail_budget: u64,
    /// Kept for good, not yet given to the store.
    head: Vec<LogLine>,
    head_bytes: u64,
    tail: VecDeque<LogLine>,
    tail_bytes: u64,
    dropped: u64,
    total_bytes: u64,
}

impl LogBuffer {
    pub(super) fn new(clock: Arc<dyn Clock>, budget: u64) -> Self {
        let tail_budget = budget / 4;
        let lines = Lines { head_budget: budget - tail_budget, tail_budget, ..Lines::default() };
        Self { clock, lines: Mutex::new(lines), printed: AtomicU64::new(0) }
    }

    /// Adds a line.
    pub(super) fn push(&self, level: Level, mut message: String, fields: Option<String>) {
        if message.len() > MAX_LINE_BYTES {
            let end = message.floor_char_boundary(MAX_LINE_BYTES);
            // Anew: a text that is cut keeps the memory that it had, and a call may carry sixteen megabytes of it.
            message = format!("{} … (cut)", message.get(..end).unwrap_or_default());
        }
        let line = LogLine { at: self.clock.now(), level, message, fields };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Lines to give to the store now, if there are enough of them.
    pub(super) fn take_chunk(&self) -> Option<Vec<LogLine>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        (lines.head_bytes >= CHUNK_BYTES).then(|| {
            lines.head_bytes = 0;
            std::mem::take(&mut lines.head)
        })
    }

    /// All lines that the store does not have yet, at the end of the run.
    pub(super) fn take_rest(&self) -> Vec<LogLine> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = std::mem::take(&mut lines.head);
        if lines.dropped > 0 {
            let at = lines.tail.front().map_or(Timestamp(0), |line| line.at);
            let message = format!(
                "log-truncated: {} lines were dropped here; a run keeps the first and the last of its log",
                lines.dropped
            );
            rest.push(LogLine { at, level: Level::Warn, message, fields: None });
        }
        rest.extend(lines.tail.drain(..));
        rest
    }

    /// Lines printed since this was last asked.
    pub(super) fn take_printed(&self) -> u64 {
        self.printed.swap(0, Ordering::Relaxed)
    }

    /// Bytes logged, dropped ones included.
    pub(super) fn total_bytes(&self) -> u64 {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).total_bytes
    }
}

impl Lines {
    fn push(&mut self, line: LogLine) {
        let bytes = (line.message.len() + line.fields.as_ref().map_or(0, String::len)) as u64 + LINE_OVERHEAD_BYTES;
        self.total_bytes += bytes;
        if bytes <= self.head_budget && self.tail.is_empty() && self.dropped == 0 {
            self.head_budget -= bytes;
            self.head_bytes += bytes;
            self.head.push(line);
            return;
        }
        self.head_budget = 0;
        self.tail_bytes += bytes;
        self.tail.push_back(line);
        while self.tail_bytes > self.tail_budget {
            let Some(first) = self.tail.pop_front() else { break };
            self.tail_bytes -=
                (first.message.len() + first.fields.as_ref().map_or(0, String::len)) as u64 + LINE_OVERHEAD_BYTES;
            self.dropped += 1;
        }
    }
}

/// A guest's standard output or error: each line becomes a line of the log.
#[derive(Clone)]
pub(super) struct Stdio {
    log: Arc<LogBuffer>,
    level: Level,
    meter: Arc<RunMeter>,
    partial: Arc<Mutex<Vec<u8>>>,
}

impl Stdio {
    pub(super) fn new(log: Arc<LogBuffer>, level: Level, meter: Arc<RunMeter>) -> Self {
        Self { log, level, meter, partial: Arc::default() }
    }

    fn push(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned();
        self.log.push(self.level, line, None);
        self.log.printed.fetch_add(1, Ordering::Relaxed);
    }

    fn take_in(&self, bytes: &[u8]) {
        self.meter.note_work(bytes.len() as u64);
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            partial.extend_from_slice(piece);
            // Too long for one line, but nothing printed is lost for that.
            while partial.len() > MAX_LINE_BYTES + 2 {
                let is_boundary = |at: &usize| partial.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
                let end = (MAX_LINE_BYTES - 3..=MAX_LINE_BYTES).rev().find(is_boundary).unwrap_or(MAX_LINE_BYTES);
                let rest = partial.split_off(end);
                let line = std::mem::replace(&mut *partial, rest);
                self.push(&line);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut *partial);
                self.push(&line);
            }
        }
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        // The last handle: what was printed without a newline.
        if Arc::strong_count(&self.partial) == 1 {
            let rest = std::mem::take(&mut *self.partial.lock().unwrap_or_else(PoisonError::into_inner));
            if !rest.is_empty() {
                self.push(&rest);
            }
        }
    }
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

impl OutputStream for Stdio {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        // What `check-write` permits; libraries keep to it, and what is over it is for no good.
        if bytes.len() > MAX_LINE_BYTES {
            return Err(StreamError::trap("more was written at once than check-write permits"));
        }
        self.take_in(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE_BYTES)
    }
}

impl tokio::io::AsyncWrite for Stdio {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take_in(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
