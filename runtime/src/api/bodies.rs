//! Bodies of requests, and of large answers: which are taken at all, how large and how slow they may be, and how many at once.
//!
//! Order of checks: what the headers say, before anything is read; then, once somebody who may reads the body, whether there is
//! room for it in memory; then its pace and its size as it comes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Problem, problem};
use crate::incident;

/// The largest body of a request that is no upload.
const MAX_BODY_BYTES: usize = 3 << 20;
/// Memory is counted in these.
const UNIT: usize = 1 << 10;
/// When whoever finds no room may ask again.
const RETRY_SECONDS: u32 = 2;

/// What bodies of requests may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyLimits {
    /// Bytes of an upload.
    pub upload: usize,
    /// Bytes of all that are in memory.
    pub together: usize,
    /// Bytes a second, on average over the time for a pause.
    pub rate: u64,
    /// How long nothing may come.
    pub pause: Duration,
    /// For all of it.
    pub time: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            upload: crate::script::MAX_SCRIPT_BYTES,
            together: 256 << 20,
            rate: 1 << 10,
            pause: Duration::from_secs(10),
            time: Duration::from_mins(15),
        }
    }
}

/// What the bodies under way share.
pub(super) struct Bodies {
    limits: BodyLimits,
    memory: Arc<Semaphore>,
}

impl Bodies {
    pub(super) fn new(limits: BodyLimits) -> Arc<Self> {
        // A body that is within its own limit must fit in, or nobody ever could send it.
        let units = limits.together.max(limits.upload).max(MAX_BODY_BYTES).div_ceil(UNIT);
        let memory = Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { limits, memory })
    }
}

/// One body: the memory that it has until the request is answered, and why it was not read to its end.
#[derive(Default)]
struct Held {
    memory: Mutex<Option<OwnedSemaphorePermit>>,
    refusal: Mutex<Option<Problem>>,
    ended: AtomicBool,
}

impl Held {
    /// Takes memory for so many more bytes, if there is.
    fn take(&self, bodies: &Bodies, bytes: usize) -> Result<(), Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&bodies.memory).try_acquire_many_owned(units) else {
            incident::report("too-many-bodies", "request", "there is no memory left for bodies of requests");
            let detail = "too many large bodies are being read: send it again in a moment";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-bodies", detail).retry(RETRY_SECONDS));
        };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match memory.as_mut() {
            Some(memory) => memory.merge(more),
            None => *memory = Some(more),
        }
        Ok(())
    }

    fn refuse(&self, problem: Problem) -> std::io::Error {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
        std::io::Error::other("the body was refused")
    }
}

/// A body that is read.
struct Reading {
    data: BodyDataStream,
    held: Arc<Held>,
    bodies: Arc<Bodies>,
    limit: usize,
    read: usize,
    /// Bytes that memory was taken for.
    reserved: usize,
    /// How long nothing may come, as far as its pace has earned it.
    credit: Duration,
    /// For the rest.
    time: Duration,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        // What says how large it is finds its room before any of it is read.
        if self.read == 0
            && self.reserved > 0
            && let Err(problem) = self.held.take(&self.bodies, self.reserved)
        {
            return Some(Err(self.held.refuse(problem)));
        }
        let start = Instant::now();
        let read = tokio::time::timeout(self.credit.min(self.time), self.data.next()).await;
        let (waited, limits) = (start.elapsed(), &self.bodies.limits);
        let Ok(read) = read else {
            incident::report("slow-body", "request", format_args!("{} bytes came", self.read));
            let detail = format!("the body came too slowly: at least {} bytes a second are expected", limits.rate);
            return Some(Err(self.held.refuse(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail))));
        };
        let data = match read {
            None => {
                self.held.ended.store(true, Ordering::Relaxed);
                return None;
            }
            Some(Err(error)) => return Some(Err(std::io::Error::other(error))),
            Some(Ok(data)) => data,
        };
        self.time = self.time.saturating_sub(waited);
        let earned = Duration::from_micros(1_000_000 * data.len() as u64 / limits.rate.max(1));
        self.credit = (self.credit.saturating_sub(waited) + earned).min(limits.pause);
        self.read += data.len();
        if self.read > self.limit {
            return Some(Err(self.held.refuse(too_large(self.limit))));
        }
        if self.read > self.reserved {
            if let Err(problem) = self.held.take(&self.bodies, self.read - self.reserved) {
                return Some(Err(self.held.refuse(problem)));
            }
            self.reserved = self.read;
        }
        Some(Ok(data))
    }
}

/// Bytes of pages of records that may be in memory at once: while they are put together, and until they were taken.
const ANSWERS: usize = 256 << 20;
/// How long a page waits for others to be taken.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// The memory of large answers.
pub(super) struct Answers(Arc<Semaphore>);

impl Default for Answers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ANSWERS / UNIT)))
    }
}

impl Answers {
    /// Memory for an answer of at most so many bytes, which is there twice while it is written.
    pub(super) async fn room(&self, bytes: usize) -> Result<Room, Problem> {
        let units = u32::try_from((2 * bytes).min(ANSWERS).div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = tokio::time::timeout(ANSWER_WAIT, Arc::clone(&self.0).acquire_many_owned(units)).await;
        let room = room.ok().and_then(Result::ok).ok_or_else(|| {
            incident::report("too-many-answers", "request", "there is no memory left for pages of records");
            let detail = "too many pages are waiting to be taken: ask again in a moment, or for smaller ones";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-answers", detail).retry(RETRY_SECONDS)
        })?;
        Ok(Room(room))
    }
}

/// Memory of an answer.
pub(super) struct Room(OwnedSemaphorePermit);

impl Room {
    /// None of it, for an answer with nothing in it.
    pub(super) fn empty(mut self) -> Self {
        drop(self.0.split(self.0.num_permits()));
        self
    }

    /// The answer, which has that memory until it was taken.
    pub(super) fn keep(mut self, mut response: Response) -> Response {
        let size = usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
        let rest = self.0.num_permits().saturating_sub(size.div_ceil(UNIT));
        drop(self.0.split(rest));
        response.extensions_mut().insert(Kept::new(self.0));
        response
    }
}

/// Among an answer's extensions: the memory that it has.
#[derive(Clone)]
pub(super) struct Kept(#[expect(dead_code, reason = "it is held")] Arc<dyn std::any::Any + Send + Sync>);

impl Kept {
    pub(super) fn new(memory: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(memory))
    }
}

fn too_large(limit: usize) -> Problem {
    incident::report("body-too-large", "request", format_args!("the limit is {limit} bytes"));
    Problem::too_large(limit)
}

/// Checks what the headers say, and lets the body be read within its limits.
pub(super) async fn limit(State(bodies): State<Arc<Bodies>>, request: Request, next: Next) -> Response {
    let is_old = request.version() < Version::HTTP_2;
    let has_body = !request.body().is_end_stream();
    let (held, limit) = (Arc::<Held>::default(), limit_of(&request, &bodies.limits));
    let response = match check(&request, limit) {
        Err(problem) => problem.into_response(),
        Ok(_) if !has_body => next.run(request).await,
        Ok(length) => {
            let (head, body) = request.into_parts();
            let BodyLimits { pause, time, .. } = bodies.limits;
            let reading = Reading {
                data: body.into_data_stream(),
                held: Arc::clone(&held),
                bodies,
                limit,
                read: 0,
                reserved: length.unwrap_or(0),
                credit: pause,
                time,
            };
            let data = stream::unfold(Some(reading), async |reading| {
                let mut reading = reading?;
                let data = reading.next().await?;
                let rest = data.is_ok().then_some(reading);
                Some((data, rest))
            });
            let answer = next.run(Request::from_parts(head, Body::from_stream(data))).await;
            let refusal = held.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
            refusal.map_or(answer, Problem::into_response)
        }
    };
    // The rest of the body would be taken for the next request, or has to be read for nothing.
    if has_body && is_old && !held.ended.load(Ordering::Relaxed) { problem::closing(response) } else { response }
}

fn limit_of(request: &Request, limits: &BodyLimits) -> usize {
    let uploads = request.method() == Method::POST && request.uri().path().starts_with("/v1/scripts");
    if uploads { limits.upload } else { MAX_BODY_BYTES }
}

/// What is wrong with a request before it is known who asks; else how long its body is, if it says so.
fn check(request: &Request, limit: usize) -> Result<Option<usize>, Problem> {
    let headers = request.headers();
    if request.method() == Method::CONNECT {
        return Err(problem::no_such_method());
    }
    for name in [header::HOST, header::CONTENT_TYPE, header::CONTENT_ENCODING] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            return Err(Problem::bad_request("bad-header", format!("the header {name} is there more than once")));
        }
    }
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    if let (Some(host), Some(authority)) = (host, authority)
        && !host.eq_ignore_ascii_case(authority)
    {
        return Err(Problem::bad_request("bad-header", "the request names two hosts"));
    }
    let proxied = request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str().contains("/proxy/"));
    let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if !proxied && encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        let detail = "bodies are taken as they are: send it without `Content-Encoding`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", detail));
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length.map(usize::try_from) {
        None => Ok(None),
        Some(Ok(length)) if length <= limit => Ok(Some(length)),
        Some(_) => Err(too_large(limit)),
    }
}
