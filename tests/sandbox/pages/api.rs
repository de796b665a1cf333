//! An API with one list, whose pages come as late and as badly as a test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A server on a free port of 127.0.0.1; it ends with the runtime that it was started on.
///
/// `/list/{last}?page={n}` is `[n]` up to page `last` and `[]` from there on; `page` is 1 if it is not there. Further
/// parameters change that; see [`Wishes`]. `/gate/{n}` is no page, and comes when gate n is open; `/open/{n}` opens it.
#[derive(Clone)]
pub(super) struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Pages that were asked for.
    seen: watch::Sender<Vec<u64>>,
    /// Requests under way, those for gates too.
    waiting: watch::Sender<u64>,
    /// The most at a time.
    most: AtomicU64,
    /// Gates up to this one are open.
    gates: watch::Sender<u64>,
}

#[derive(Deserialize)]
struct Wishes {
    #[serde(default = "one")]
    page: u64,
    /// Page n waits for gate `gates - n`: those further on come first.
    #[serde(default)]
    gates: u64,
    /// So many bytes are added to a page.
    #[serde(default)]
    size: usize,
    /// This page has the status 500.
    #[serde(default)]
    fail: u64,
    /// This page never comes.
    #[serde(default)]
    silent: u64,
    /// How a page names the next one; none on the last.
    #[serde(default)]
    link: Option<Link>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Link {
    /// Its path and query.
    Path,
    /// Its query alone.
    Query,
    /// Always the same page.
    Circle,
    /// No one can read it.
    Broken,
    /// On a host that is not allowed.
    Abroad,
}

fn one() -> u64 {
    1
}

/// Counts a request for as long as its connection waits for an answer.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn new(shared: Arc<Shared>) -> Self {
        shared.waiting.send_modify(|count| {
            *count += 1;
            shared.most.fetch_max(*count, Ordering::SeqCst);
        });
        Self(shared)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|count| *count -= 1);
    }
}

impl Api {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: watch::Sender::new(Vec::new()),
            waiting: watch::Sender::new(0),
            most: AtomicU64::new(0),
            gates: watch::Sender::new(0),
        });
        let router = Router::new()
            .route("/list/{last}", get(page))
            .route("/v1/list/{last}", get(page))
            .route("/gate/{number}", get(gate))
            .route("/open/{number}", get(open))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn open_gates(&self, number: u64) {
        self.shared.gates.send_replace(number);
    }

    pub(super) fn most_at_once(&self) -> u64 {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// The pages that were asked for, sorted.
    pub(super) fn seen(&self) -> Vec<u64> {
        let mut seen = self.shared.seen.borrow().clone();
        seen.sort_unstable();
        seen
    }

    /// Returns when so many pages were asked for.
    pub(super) async fn until_seen(&self, count: usize) {
        self.shared.seen.subscribe().wait_for(|seen| seen.len() >= count).await.unwrap();
    }

    /// Returns when so many requests wait for an answer.
    pub(super) async fn until_waiting(&self, count: u64) {
        self.shared.waiting.subscribe().wait_for(|waiting| *waiting == count).await.unwrap();
    }
}

async fn gate(State(shared): State<Arc<Shared>>, Path(number): Path<u64>) -> String {
    let _waiting = Waiting::new(Arc::clone(&shared));
    shared.gates.subscribe().wait_for(|open| *open >= number).await.unwrap();
    format!("gate {number}")
}

async fn open(State(shared): State<Arc<Shared>>, Path(number): Path<u64>) {
    shared.gates.send_replace(number);
}

async fn page(
    State(shared): State<Arc<Shared>>,
    Path(last): Path<u64>,
    Query(wishes): Query<Wishes>,
    uri: Uri,
) -> impl IntoResponse {
    let page = wishes.page;
    shared.seen.send_modify(|seen| seen.push(page));
    let _waiting = Waiting::new(Arc::clone(&shared));
    shared.gates.subscribe().wait_for(|open| *open >= wishes.gates.saturating_sub(page)).await.unwrap();
    if page == wishes.silent {
        std::future::pending::<()>().await;
    }
    let status = if page == wishes.fail { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let body = if page > last { " [ ]\n".to_owned() } else { format!("[{page}{}]", " ".repeat(wishes.size)) };
    let mut headers = HeaderMap::new();
    if let Some(link) = wishes.link.filter(|_| page < last) {
        let others = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("page="));
        let next: Vec<String> =
            std::iter::once(format!("page={}", page + 1)).chain(others.map(str::to_owned)).collect();
        let next = next.join("&");
        let next = match link {
            Link::Path => format!("<{}?{next}>; rel=\"next\"", uri.path()),
            Link::Query => format!("<?{next}>; rel=next"),
            Link::Circle => format!("<{}?page=1&link=circle>; rel=next", uri.path()),
            Link::Broken => "<page 2; rel=next".to_owned(),
            Link::Abroad => "<https://abroad.example/list>; rel=next".to_owned(),
        };
        headers.insert("link", HeaderValue::from_str(&next).unwrap());
    }
    (status, headers, body)
}
