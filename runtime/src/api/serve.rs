//! Listening, TLS, how long and how many connections may be, stopping.
//!
//! | what a stranger does | what ends it |
//! |---|---|
//! | opens connections | [`Limits::connections`]; beyond that a few are answered 503, and all others closed at once |
//! | says nothing, or a head byte by byte | [`Limits::header`] from its first byte, [`Limits::idle`] between requests |
//! | does not take the answer | [`Limits::write`], also where HTTP/2 has a window of its own for it |
//! | writes requests that can be read in two ways | `door`, before anything of them is read |
//! | floods HTTP/2 with resets, CONTINUATION, headers | h2, within the bounds that are set here |
//!
//! There is no limit on the connections of one peer: behind a proxy all of them have its address, and a limit that suits that
//! suits everybody.
//!
//! Memory: whoever has no key can make a connection hold a head (32 KiB), one read (8 KiB), HTTP/2's window (256 KiB) and its
//! 64 streams with an error each, together less than 1 MiB.

mod activity;
mod door;
mod head;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{StatusCode, Version};
use axum::response::{IntoResponse as _, Response};
use futures_util::Stream;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::activity::{Activity, Overdue, UnderWay};
use self::door::Door;
use super::bodies::Kept;
use super::{Problem, problem};
use crate::incident;

/// For the handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of a request's head.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// Requests that one connection of HTTP/2 may have under way.
const MAX_STREAMS: u32 = 64;
/// Bytes that a client of HTTP/2 may send before they are read: of one request, and of all on a connection.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Bytes of one answer that wait in HTTP/2 for the client's window.
const SEND_BUFFER: usize = 16 << 10;
/// Streams that were reset, by the client before they were looked at, or for its mistakes, until the connection is closed.
const MAX_RESETS: usize = 20;
const MAX_ERRORS: usize = 100;
/// Connections beyond the limit that are told so at once; all others are just closed.
const MAX_REFUSALS: usize = 64;
/// How long telling it may take.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// After an error of `accept`, such as no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For a request's head, from its first byte.
    pub header: Duration,
    /// For saying nothing between two requests.
    pub idle: Duration,
    /// For taking nothing of an answer.
    pub write: Duration,
    /// How many there may be at once.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            write: Duration::from_secs(30),
            connections: 4_096,
        }
    }
}

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("could not listen on {address}: {source}; set another with `--listen`")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Certificate and key cannot be used.
    #[error("the TLS certificate or key cannot be used: {0}")]
    Tls(String),
}

impl ServeError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "listen",
            Self::Tls(_) => "bad-tls",
        }
    }
}

/// Reads a certificate chain and its key, PEM files both.
pub fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let bad = |what: &Path, error: &dyn std::fmt::Display| ServeError::Tls(format!("{}: {error}", what.display()));
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| bad(certificate, &error))?;
    let chain: Result<Vec<_>, _> = chain.collect();
    let chain = chain.map_err(|error| bad(certificate, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ServeError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| bad(certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Binds.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

/// Lets this process have as many descriptors as it may. The usual soft limit of 1,024 is for programs that use `select`.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of descriptors stays as it is");
    }
}

/// Serves until `stop`, then lets requests under way end for at most `grace`.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: axum::Router,
    stop: CancellationToken,
    grace: Duration,
    limits: Limits,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let full = axum::Router::new().fallback(full);
    let limits = Arc::new(limits);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                incident::report("accept", "connection", error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (watcher, tls, limits) = (graceful.watcher(), tls.clone(), Arc::clone(&limits));
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let router = router.clone();
            tokio::spawn(async move {
                let _place = place;
                connection(stream, tls, router, watcher, &limits).await;
            });
            continue;
        }
        incident::report("too-many-connections", "connection", format_args!("{} are open", limits.connections));
        let Ok(place) = Arc::clone(&refusals).try_acquire_owned() else { continue };
        let full = full.clone();
        tokio::spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(REFUSAL_TIME, connection(stream, tls, full, watcher, &limits)).await;
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
}

/// What those are told for whom there is no place.
async fn full(request: Request) -> Response {
    let detail = "there are as many connections as there may be: try again in a moment";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-connections", detail).retry(1);
    let mut response = problem.into_response();
    problem::stamp(&mut response, &uuid::Uuid::now_v7().to_string());
    if request.version() < Version::HTTP_2 { problem::closing(response) } else { response }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: axum::Router,
    watcher: Watcher,
    limits: &Limits,
) {
    let Some(tls) = tls else { return http(stream, router, watcher, limits).await };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, router, watcher, limits).await,
        Ok(Err(error)) => incident::report("tls-handshake", "connection", error),
        Err(_) => incident::report("tls-handshake", "connection", "the handshake took too long"),
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
    watcher: Watcher,
    limits: &Limits,
) {
    let activity = Arc::<Activity>::default();
    let door = Door::new(stream, Arc::clone(&activity), MAX_HEADER_BYTES);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_ERRORS);
    let service = TowerToHyperService::new(Watched { router, activity: Arc::clone(&activity) });
    let serving = watcher.watch(builder.serve_connection(TokioIo::new(door), service).into_owned());
    let ended = tokio::select! {
        ended = serving => ended,
        overdue = activity.overdue(limits) => {
            match overdue {
                Overdue::Idle => tracing::debug!("an idle connection was closed"),
                Overdue::Head => incident::report("slow-request", "connection", "a head did not come to its end"),
                Overdue::Reader => incident::report("slow-reader", "connection", "an answer was not taken"),
            }
            Ok(())
        }
    };
    if let Some((limit, reason)) = activity.refused() {
        incident::report(limit, "connection", reason);
    } else if let Err(error) = ended {
        if activity.is_gone() {
            tracing::debug!(error, "a connection broke");
        } else {
            let limit = if activity.is_http2() { "http2-violation" } else { "malformed-request" };
            incident::report(limit, "connection", Chain(&*error));
        }
    }
}

/// An error with what caused it.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// The router, with what a connection is doing kept count of.
#[derive(Clone)]
struct Watched {
    router: axum::Router,
    activity: Arc<Activity>,
}

impl<B> tower::Service<Request<B>> for Watched
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let under_way = self.activity.request();
        let answering = tower::Service::call(&mut self.router, request);
        Box::pin(async move {
            let (mut head, body) = answering.await?.into_parts();
            let kept = head.extensions.remove::<Kept>();
            if body.is_end_stream() {
                return Ok(Response::from_parts(head, body));
            }
            let data = body.into_data_stream();
            let body = Body::from_stream(Answer { data, rest: Bytes::new(), under_way, _kept: kept });
            Ok(Response::from_parts(head, body))
        })
    }
}

/// An answer's body in parts, each handed over when the one before was taken.
struct Answer {
    data: BodyDataStream,
    rest: Bytes,
    under_way: UnderWay,
    _kept: Option<Kept>,
}

impl Stream for Answer {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.under_way.taken();
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.data).poll_next(cx)) {
                Some(Ok(data)) => self.rest = data,
                end => return Poll::Ready(end),
            }
        }
        let count = self.under_way.part().min(self.rest.len());
        let part = self.rest.split_to(count);
        self.under_way.handed();
        Poll::Ready(Some(Ok(part)))
    }
}
