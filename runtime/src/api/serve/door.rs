//! A connection's bytes on their way in and out: watched for how long they take, and in HTTP/1 for where requests begin and end.
//!
//! A head reaches the server behind only when it is whole and was found good (see [`super::head`]). In the place of one that is
//! not, the server gets a byte that no request begins with, and then the end: it answers what came before, then 400, and closes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::head::{self, Body, Chunks, Step};

/// What a client that speaks HTTP/2 says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes read at once.
const READ: usize = 8 << 10;
/// Bytes that are thrown away while closing, so that whoever sends them gets to read why.
const LINGER_BYTES: usize = 1 << 20;

/// Where in the stream of requests it is.
enum Place {
    /// Before the first byte, or within what may be the preface of HTTP/2.
    New,
    Http2,
    /// Before or within a head, of which so many bytes were looked at.
    Head {
        seen: usize,
    },
    Length(u64),
    Chunked(Chunks),
    /// Something that cannot be taken was sent: nothing more is read.
    Refused,
}

/// A connection.
pub(super) struct Door<S> {
    io: S,
    activity: Arc<Activity>,
    place: Place,
    max_head: usize,
    /// Read, and not yet understood.
    raw: BytesMut,
    /// Understood, and not yet handed on.
    ready: BytesMut,
    lingered: usize,
    /// Whether the first byte of a head was seen.
    begun: bool,
}

impl<S> Door<S> {
    pub(super) fn new(io: S, activity: Arc<Activity>, max_head: usize) -> Self {
        let (raw, ready) = (BytesMut::new(), BytesMut::new());
        Self { io, activity, place: Place::New, max_head, raw, ready, lingered: 0, begun: false }
    }

    fn refuse(&mut self, limit: &'static str, reason: &'static str, in_place: &[u8]) {
        self.activity.refuse(limit, reason);
        self.ready.extend_from_slice(in_place);
        self.raw.clear();
        self.place = Place::Refused;
    }

    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.activity.head_begins();
        }
    }

    /// Goes over what was read as far as it can be understood.
    fn understand(&mut self) {
        loop {
            if matches!(self.place, Place::New | Place::Head { .. }) && !self.raw.is_empty() {
                self.begin();
            }
            match &mut self.place {
                Place::Http2 => {
                    self.ready.unsplit(self.raw.split());
                    return;
                }
                Place::Refused => {
                    self.raw.clear();
                    return;
                }
                Place::New => {
                    if self.raw.is_empty() {
                        return;
                    }
                    let known = self.raw.len().min(PREFACE.len());
                    if self.raw.get(..known) != PREFACE.get(..known) {
                        self.place = Place::Head { seen: 0 };
                        continue;
                    }
                    if known < PREFACE.len() {
                        return;
                    }
                    self.activity.http2();
                    self.place = Place::Http2;
                }
                Place::Head { seen } => {
                    // RFC 9112, section 2.2: empty lines before a request are no part of it.
                    while self.raw.starts_with(b"\r\n") {
                        self.raw.advance(2);
                        *seen = 0;
                    }
                    if self.raw.is_empty() {
                        return;
                    }
                    let whole = match head::end(&self.raw, *seen) {
                        Ok(Some(end)) if end <= self.max_head => end,
                        Ok(None) if self.raw.len() <= self.max_head => {
                            *seen = self.raw.len();
                            return;
                        }
                        // The server behind says so, too, and how.
                        Ok(_) => {
                            let all = self.raw.split();
                            return self.refuse("head-too-large", "the head of a request is too large", &all);
                        }
                        Err(reason) => return self.refuse("malformed-request", reason, b"\0"),
                    };
                    match head::check(self.raw.get(..whole).unwrap_or_default()) {
                        Ok(body) => {
                            self.begun = false;
                            self.activity.head_ends();
                            self.ready.unsplit(self.raw.split_to(whole));
                            self.place = match body {
                                Body::Length(0) => Place::Head { seen: 0 },
                                Body::Length(length) => Place::Length(length),
                                Body::Chunked => Place::Chunked(Chunks::default()),
                            };
                        }
                        Err(reason) => return self.refuse("malformed-request", reason, b"\0"),
                    }
                }
                Place::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.raw.len());
                    *left -= taken as u64;
                    let done = *left == 0;
                    self.ready.unsplit(self.raw.split_to(taken));
                    if !done {
                        return;
                    }
                    self.place = Place::Head { seen: 0 };
                }
                Place::Chunked(chunks) => {
                    if self.raw.is_empty() {
                        return;
                    }
                    match chunks.step(&self.raw) {
                        Ok(Step::More(taken)) => self.ready.unsplit(self.raw.split_to(taken)),
                        Ok(Step::Skip(taken)) => self.raw.advance(taken),
                        Ok(Step::Done(taken)) => {
                            self.ready.unsplit(self.raw.split_to(taken));
                            self.place = Place::Head { seen: 0 };
                        }
                        // No length of a chunk, nor its end: the body breaks off there.
                        Err(reason) => return self.refuse("malformed-request", reason, b"\0"),
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> Door<S> {
    /// Reads some bytes behind those that are not yet understood. None is the end.
    fn read_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [std::mem::MaybeUninit::uninit(); READ];
        let mut buf = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf));
        if read.is_err() || buf.filled().is_empty() {
            self.activity.gone();
        }
        read?;
        self.raw.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Door<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let count = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if matches!(this.place, Place::Refused) {
                return Poll::Ready(Ok(()));
            }
            if matches!(this.place, Place::Http2) {
                let before = buf.filled().len();
                let read = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
                if read.is_err() || buf.filled().len() == before {
                    this.activity.gone();
                }
                return Poll::Ready(read);
            }
            if ready!(this.read_some(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
            this.understand();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Door<S> {
    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.activity.writes(written.is_pending());
        if matches!(written, Poll::Ready(Err(_))) {
            self.activity.gone();
        }
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Door<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.note(flushed)
    }

    /// With bytes unread a close throws away what was written. So of a request that was answered before it was whole some
    /// more is read, for a moment.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.io).poll_shutdown(cx);
        ready!(this.note(closed))?;
        let between = matches!(this.place, Place::New | Place::Http2 | Place::Head { seen: 0 });
        if (between && this.raw.is_empty()) || this.activity.is_gone() {
            return Poll::Ready(Ok(()));
        }
        if this.lingered == 0 {
            this.activity.lingers();
            this.lingered = 1;
        }
        while this.lingered < LINGER_BYTES {
            this.raw.clear();
            match ready!(this.read_some(cx)) {
                Ok(count @ 1..) => this.lingered += count,
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
