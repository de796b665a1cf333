//! An API with the habits that a sandbox must cope with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A server on a free port of 127.0.0.1; it ends with the runtime that it was started on.
///
/// | path | answer |
/// |---|---|
/// | `/silent` | none, ever |
/// | `/bytes/{n}` | n bytes |
/// | `/nth?nth={n}` | the query |
/// | `/gate/{n}` | `gate n`, once [`OddApi::open_gates`] was called with n or more |
/// | `/echo`, `POST` | how many bytes came |
/// | `/swallow`, `POST` | none, ever, but the body is read |
/// | `/status/{n}` | the status |
/// | `/binary`, `POST` | every byte once, which is no UTF-8 |
#[derive(Clone)]
pub(crate) struct OddApi {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Requests under way.
    waiting: watch::Sender<u64>,
    /// The most at a time.
    most: AtomicU64,
    gates: watch::Sender<u64>,
}

/// Counts a request for as long as its connection waits for an answer.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn new(shared: Arc<Shared>) -> Self {
        shared.waiting.send_modify(|count| {
            *count += 1;
            // Here, where nobody can have left yet.
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

impl OddApi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { waiting: watch::Sender::new(0), most: AtomicU64::new(0), gates: watch::Sender::new(0) });
        let router = Router::new()
            .route("/silent", get(silent))
            .route("/bytes/{count}", get(|Path(count): Path<usize>| async move { vec![b'b'; count] }))
            .route("/nth", get(|RawQuery(query): RawQuery| async move { query.unwrap_or_default() }))
            .route("/gate/{number}", get(gate))
            .route("/echo", post(|body: Bytes| async move { body.len().to_string() }))
            .route("/swallow", post(|state: State<Arc<Shared>>, _body: Bytes| silent(state)))
            .route("/status/{status}", get(status))
            .route("/binary", post(|| async { (0..=255_u8).rev().collect::<Vec<_>>() }))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Lets the answers of the gates up to `number` go.
    pub(crate) fn open_gates(&self, number: u64) {
        self.shared.gates.send_replace(number);
    }

    /// The most requests that waited for an answer at a time.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Returns when so many requests wait for an answer.
    pub(crate) async fn until_waiting(&self, count: u64) {
        self.shared.waiting.subscribe().wait_for(|waiting| *waiting == count).await.unwrap();
    }
}

async fn silent(State(shared): State<Arc<Shared>>) -> &'static str {
    let _waiting = Waiting::new(shared);
    std::future::pending().await
}

async fn gate(State(shared): State<Arc<Shared>>, Path(number): Path<u64>) -> String {
    let _waiting = Waiting::new(Arc::clone(&shared));
    shared.gates.subscribe().wait_for(|open| *open >= number).await.unwrap();
    format!("gate {number}")
}

async fn status(Path(status): Path<u16>) -> impl IntoResponse {
    (axum::http::StatusCode::from_u16(status).unwrap(), "as asked")
}
