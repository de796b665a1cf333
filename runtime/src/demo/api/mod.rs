//! A small API on this machine, of the shapes that real ones have, with data that changes: for `terapi demo`, tests
//! and benches.
//!
//! | request | shape |
//! |---|---|
//! | `GET /repos/{owner}/{repo}/issues`, `POST` the same | GitHub: pages by `Link`, `since`, pull requests among issues |
//! | `GET /users.list` | Slack: `ok`, pages by cursor |
//! | `GET /v1/customers` | Stripe: `has_more`, pages by the last id |
//!
//! Every owner and repository has the same issues. All data is derived from [`DemoApiOptions::seed`] when it is asked
//! for, and only what was changed since is held: a repository of a million issues costs nothing. With a fixed
//! [`DemoApiOptions::now_ms`] every answer is the same in every process.
//!
//! Order of checks: count the request, wait out the latency, refuse every n-th, then route and answer.

mod customers;
mod github;
mod issue_json;
mod issues;
mod members;
#[cfg(test)]
mod tests;
mod words;

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use self::issue_json::IssueWriter;
use self::issues::Issues;
pub use self::issues::{Issue, IssueState};
use self::members::Members;

/// How many of the last requests are remembered.
const REMEMBERED_REQUESTS: usize = 1_000;

/// What the API holds and how it behaves.
#[derive(Clone, Debug)]
pub struct DemoApiOptions {
    /// Decides all texts, names and which issue is what.
    pub seed: u64,
    /// Now, in milliseconds since the Unix epoch: the newest data is just older, changes are dated so. None takes the
    /// system's clock, at the start and at each change. [`DemoApi::set_now`] moves it.
    pub now_ms: Option<u64>,
    /// Issues of the repository, numbered from 1.
    pub issues: u64,
    /// Members of the workspace.
    pub members: u32,
    /// Customers of the account.
    pub customers: u32,
    /// Answers every n-th request 429 with `Retry-After: 1`, and each request with `X-RateLimit-Remaining`.
    pub refuse_every: Option<NonZeroU64>,
    /// How long each answer takes longer than it must.
    pub latency: Duration,
    /// For benches: issues differ by number, dates and state only, so that a page costs the server about as much as
    /// copying it.
    pub cheap_pages: bool,
}

impl Default for DemoApiOptions {
    fn default() -> Self {
        DemoApiOptions {
            seed: 1,
            now_ms: None,
            issues: 250,
            members: 40,
            customers: 120,
            refuse_every: None,
            latency: Duration::ZERO,
            cheap_pages: false,
        }
    }
}

/// A running API. A cheap clone; the server ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct DemoApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    _stop: Arc<oneshot::Sender<()>>,
}

/// A request that was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServedRequest {
    /// Such as `GET`.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The status of the answer.
    pub status: u16,
}

impl DemoApi {
    /// Starts the API on a free port of 127.0.0.1. It must be called within a Tokio runtime and fails where there is no
    /// free port.
    pub async fn start(options: DemoApiOptions) -> std::io::Result<DemoApi> {
        Self::start_at((std::net::Ipv4Addr::LOCALHOST, 0).into(), options).await
    }

    /// The same at this address.
    pub async fn start_at(address: SocketAddr, options: DemoApiOptions) -> std::io::Result<DemoApi> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options));
        let router = Router::new()
            .route("/repos/{owner}/{repo}/issues", get(github::list).post(github::create))
            .route("/users.list", get(members::list))
            .route("/v1/customers", get(customers::list))
            .fallback(not_found)
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), observe))
            .with_state(Arc::clone(&shared));
        let (stop, stopped) = oneshot::channel::<()>();
        // Small answers should not wait for the acknowledgement of what was sent before them.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            axum::serve(listener, router).with_graceful_shutdown(stopped).await
        });
        Ok(DemoApi { shared, address, _stop: Arc::new(stop) })
    }

    /// The base URL, without a slash at its end: `http://127.0.0.1:49152`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many issues there are, which is the highest number.
    #[must_use]
    pub fn issue_count(&self) -> u64 {
        self.shared.read(|data| data.issues.count())
    }

    /// The ids of the members, in the order of the list.
    #[must_use]
    pub fn member_ids(&self) -> Vec<String> {
        self.shared.read(|data| data.members.ids())
    }

    /// Requests answered so far, the refused ones too.
    #[must_use]
    pub fn requests_served(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Bytes of the bodies of these answers.
    #[must_use]
    pub fn bytes_served(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// The last requests, at most 1,000, the oldest first.
    #[must_use]
    pub fn last_requests(&self) -> Vec<ServedRequest> {
        lock(&self.shared.served).iter().cloned().collect()
    }

    /// Forgets the last requests, so that a test or demo sees only what comes now. The counters go on.
    pub fn forget_requests(&self) {
        lock(&self.shared.served).clear();
    }
}

/// What a demo or a test changes while syncs run.
#[allow(clippy::must_use_candidate, reason = "what counts is the change; tests of the demo data look at the result")]
impl DemoApi {
    /// Sets the time that the next changes are dated with, in milliseconds since the Unix epoch.
    pub fn set_now(&self, now_ms: u64) {
        *lock(&self.shared.now_ms) = Some(now_ms);
    }

    /// Changes an issue and dates it now, unless the change changes nothing. False if there is no such issue.
    pub fn update_issue(&self, number: u64, change: impl FnOnce(&mut Issue)) -> bool {
        let now_ms = self.shared.now_ms();
        self.shared.write().issues.update(number, now_ms, change)
    }

    /// Adds an open issue and returns its number.
    pub fn add_issue(&self, title: &str, body: &str) -> u64 {
        let now_ms = self.shared.now_ms();
        self.shared.write().issues.add(title.to_owned(), Some(body.to_owned()), Vec::new(), now_ms).number()
    }

    /// Removes the issues above `count`, or adds issues up to it; these are dated now and held in memory.
    pub fn set_issue_count(&self, count: u64) {
        let now_ms = self.shared.now_ms();
        self.shared.write().issues.set_count(count, now_ms);
    }

    /// Removes a member from the list. False if there is none with this id.
    pub fn remove_member(&self, id: &str) -> bool {
        self.shared.write().members.remove(id)
    }

    /// Gives a member another real name and dates it now. False if there is none with this id.
    pub fn rename_member(&self, id: &str, real_name: &str) -> bool {
        let now_ms = self.shared.now_ms();
        self.shared.write().members.rename(id, real_name, now_ms)
    }
}

/// What the handlers and the process that hosts them share.
#[derive(Debug)]
struct Shared {
    options: DemoApiOptions,
    /// When the data was made, in Unix milliseconds.
    start_ms: u64,
    now_ms: Mutex<Option<u64>>,
    data: RwLock<Data>,
    issue_writer: IssueWriter,
    requests: AtomicU64,
    bytes: AtomicU64,
    served: Mutex<VecDeque<ServedRequest>>,
}

/// What can be changed. Customers cannot.
#[derive(Debug)]
struct Data {
    issues: Issues,
    members: Members,
}

impl Shared {
    fn new(options: DemoApiOptions) -> Self {
        let start_ms = options.now_ms.unwrap_or_else(system_now_ms);
        let issues = Issues::new(options.seed, options.issues, start_ms);
        Shared {
            start_ms,
            now_ms: Mutex::new(options.now_ms),
            issue_writer: IssueWriter::new(&issues, options.cheap_pages),
            data: RwLock::new(Data { issues, members: Members::new(options.seed, options.members, start_ms) }),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            served: Mutex::default(),
            options,
        }
    }

    fn now_ms(&self) -> u64 {
        lock(&self.now_ms).unwrap_or_else(system_now_ms)
    }

    fn read<T>(&self, see: impl FnOnce(&Data) -> T) -> T {
        see(&self.data.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Data> {
        self.data.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panic while locked can only come from a closure given to [`DemoApi::update_issue`], and leaves an issue half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system_now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Counts, slows down, refuses and remembers.
async fn observe(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let nth = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let method = request.method().to_string();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    if !shared.options.latency.is_zero() {
        tokio::time::sleep(shared.options.latency).await;
    }
    let every = shared.options.refuse_every.map(NonZeroU64::get);
    let refused = every.is_some_and(|every| nth.is_multiple_of(every));
    let mut response = if refused { too_many_requests() } else { next.run(request).await };
    if let Some(every) = every {
        let remaining = if refused { 0 } else { every - 1 - nth % every };
        let headers = response.headers_mut();
        headers.insert("x-ratelimit-limit", HeaderValue::from(every - 1));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(remaining));
        headers.insert("x-ratelimit-reset", HeaderValue::from(shared.now_ms() / 1000 + 1));
    }
    shared.bytes.fetch_add(response.body().size_hint().exact().unwrap_or(0), Ordering::Relaxed);
    let mut served = lock(&shared.served);
    if served.len() == REMEMBERED_REQUESTS {
        served.pop_front();
    }
    served.push_back(ServedRequest { method, target, status: response.status().as_u16() });
    drop(served);
    response
}

fn too_many_requests() -> Response {
    let text = r#"{"message":"API rate limit exceeded.","documentation_url":"https://docs.example/rate-limits"}"#;
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, text.to_owned());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
    response
}

async fn not_found() -> Response {
    json(StatusCode::NOT_FOUND, r#"{"message":"Not Found","documentation_url":"https://docs.example"}"#.to_owned())
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], text).into_response()
}

/// The JSON string that says `text`.
fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes RFC 3339 in whole seconds, such as `2026-01-31T09:28:17Z`.
fn write_date(out: &mut String, unix_ms: u64) {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    // Past the year 9999 jiff has no date; nobody gets there but by an option that means nothing.
    let date = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    let _ = write!(out, "{date}");
}

/// A number that looks random and depends on nothing but the two: `SplitMix64`.
fn mix(seed: u64, index: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0xD6E8_FEB8_6659_FD93).wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// One of `choices`, decided by `dice`; the default if there are none.
fn pick<T: Copy + Default>(choices: &[T], dice: u64) -> T {
    let length = u64::try_from(choices.len()).unwrap_or(u64::MAX).max(1);
    usize::try_from(dice % length).ok().and_then(|index| choices.get(index)).copied().unwrap_or_default()
}
