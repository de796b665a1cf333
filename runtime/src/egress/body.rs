//! Receiving a body: decoded, counted and capped while it streams.
//!
//! Decoding is done here and not by the HTTP client, since only who sees both sides of the decoder can compare them: a
//! body that swells beyond all reason is cut off early, and a stream that decodes to nothing is not endless.

use std::future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_compression::futures::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use futures_util::io::{AsyncBufRead, AsyncRead, AsyncReadExt};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::time::timeout;

use super::Meter;
use super::error::{EgressError, Failure, find};

/// How long an answer may pause between two pieces. Who is silent for longer is not about to finish in time, and a slot
/// of the run's concurrency is better spent on something else.
const STALL: Duration = Duration::from_secs(10);

/// How many times its size on the wire a body may decode to. A page of plain JSON rows reached 7 times; `deflate` cannot
/// pass 1,032, so what is beyond 200 was made to swell.
const MAX_RATIO: u64 = 200;

/// Up to this size the ratio does not matter: it harms nobody, and a small page of equal rows can well be beyond it.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Decoded bytes per step. Large enough that the meter costs nothing, small enough that the task does not hold its thread.
const STEP_BYTES: usize = 64 << 10;

/// The window that a zstd stream may ask the decoder to allocate: 8 MiB, the most that RFC 9659 allows over HTTP. The
/// decoder's own limit is 128 MiB, for a header of a few bytes.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A content coding that can be decoded.
#[derive(Clone, Copy)]
enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

impl Coding {
    /// The coding that the headers name, if any. One that is not known is left to the script, with its header.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, EgressError> {
        let mut found = None;
        let lines = headers.get_all(CONTENT_ENCODING).iter();
        for name in lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')) {
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Some(Self::Gzip),
                "br" => Some(Self::Brotli),
                "zstd" => Some(Self::Zstd),
                "deflate" => Some(Self::Deflate),
                _ => None,
            };
            // No API encodes twice, while bombs do: each layer multiplies.
            if found.replace(coding).is_some() {
                return Err(EgressError::Transport("the body is encoded more than once".to_owned()));
            }
        }
        Ok(found.flatten())
    }

    /// Decodes to the end of the input: members that follow one another, as gzip and zstd allow, are one body, and
    /// anything else that follows is an error.
    fn decoder<'a>(self, input: impl AsyncBufRead + Send + 'a) -> Pin<Box<dyn AsyncRead + Send + 'a>> {
        macro_rules! all_members {
            ($decoder:expr) => {{
                let mut decoder = $decoder;
                decoder.multiple_members(true);
                Box::pin(decoder)
            }};
        }
        match self {
            Self::Gzip => all_members!(GzipDecoder::new(input)),
            Self::Brotli => all_members!(BrotliDecoder::new(input)),
            Self::Zstd => all_members!(ZstdDecoder::with_params(input, &[DParameter::window_log_max(ZSTD_WINDOW_LOG)])),
            Self::Deflate => all_members!(ZlibDecoder::new(input)),
        }
    }
}

/// A body, and whether it was decoded, so that the headers that describe it as sent no longer do.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) decoded: bool,
}

/// Receives the body of an answer from `host`, at most `max` bytes.
pub(super) async fn read(
    response: reqwest::Response,
    host: &str,
    max: u64,
    meter: &dyn Meter,
) -> Result<Body, Failure> {
    let coding = Coding::of(response.headers())?;
    let length = response.content_length().unwrap_or_default();
    if length > max {
        return Err(EgressError::BodyTooLarge(max).into());
    }
    let received = AtomicU64::new(0);
    let mut chunks = pin!(chunks(response, max, &received));
    let mut kept = Kept::new(meter, max);
    let fault = |error: io::Error| fault(&error, host, max);

    let Some(coding) = coding else {
        kept.bytes.reserve_exact(usize::try_from(length).unwrap_or_default());
        while let Some(chunk) = chunks.try_next().await.map_err(fault)? {
            kept.push(chunk.as_ref(), max)?;
        }
        return Ok(Body { bytes: kept.finish(), decoded: false });
    };

    // Nothing is not an encoding of nothing, but it is what answers to HEAD and with status 204 or 304 hold.
    let Some(first) = chunks.try_next().await.map_err(fault)? else {
        return Ok(Body { bytes: Vec::new(), decoded: false });
    };
    let input = stream::once(future::ready(Ok(first))).chain(chunks).into_async_read();
    let mut decoder = coding.decoder(input);
    let mut step = vec![0; STEP_BYTES];
    loop {
        let count = decoder.read(&mut step).await.map_err(fault)?;
        if count == 0 {
            return Ok(Body { bytes: kept.finish(), decoded: true });
        }
        let swollen = received.load(Ordering::Relaxed).saturating_mul(MAX_RATIO).max(RATIO_FREE_BYTES);
        kept.push(step.get(..count).unwrap_or_default(), swollen.min(max))?;
        // Much can be decoded from what has already arrived: others want the thread as well.
        tokio::task::coop::consume_budget().await;
    }
}

/// The body as it was sent, counted in `received` and at most `max` bytes of it.
fn chunks(
    response: reqwest::Response,
    max: u64,
    received: &AtomicU64,
) -> impl stream::Stream<Item = io::Result<impl AsRef<[u8]> + Send>> + Send {
    stream::try_unfold(response, move |mut response| async move {
        let chunk = match timeout(STALL, response.chunk()).await {
            Ok(chunk) => chunk.map_err(io::Error::other)?,
            Err(_) => return Err(io::Error::other(Fault::Stalled)),
        };
        let Some(chunk) = chunk else { return Ok(None) };
        let count = chunk.len() as u64;
        if received.fetch_add(count, Ordering::Relaxed).saturating_add(count) > max {
            return Err(io::Error::other(Fault::TooLarge));
        }
        Ok(Some((chunk, response)))
    })
}

/// What is wrong with the stream itself, on its way through the decoder.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the body stalled")]
    Stalled,
    #[error("the body is too large")]
    TooLarge,
}

/// Sorts out what came back through the decoder.
fn fault(error: &io::Error, host: &str, max: u64) -> Failure {
    if let Some(fault) = find::<Fault>(error) {
        match fault {
            Fault::Stalled => Failure::passing(EgressError::TimedOut),
            Fault::TooLarge => EgressError::BodyTooLarge(max).into(),
        }
    } else if let Some(error) = find::<reqwest::Error>(error) {
        Failure::of_transport(error, host)
    } else {
        Failure::passing(EgressError::Transport(format!("the body from `{host}` does not decode: {error}")))
    }
}

/// Bytes that the meter has let through. Dropped unfinished, by an error, a timeout or the end of the run, it gives them
/// back.
struct Kept<'m> {
    meter: &'m dyn Meter,
    max: u64,
    bytes: Vec<u8>,
}

impl<'m> Kept<'m> {
    fn new(meter: &'m dyn Meter, max: u64) -> Self {
        Self { meter, max, bytes: Vec::new() }
    }

    /// Keeps a chunk if the whole stays within `limit`.
    fn push(&mut self, chunk: &[u8], limit: u64) -> Result<(), EgressError> {
        let len = self.bytes.len() + chunk.len();
        if len as u64 > limit {
            return Err(EgressError::BodyTooLarge(limit));
        }
        self.meter.received(chunk.len())?;
        if len > self.bytes.capacity() {
            // Doubling, but never beyond the cap: the last step would take twice as much memory as is allowed.
            let most = usize::try_from(self.max).unwrap_or(usize::MAX);
            let target = self.bytes.capacity().saturating_mul(2).min(most).max(len);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.meter.released(self.bytes.len());
        }
    }
}
