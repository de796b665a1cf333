//! An external API that keeps to no protocol: it answers with the bytes that a test gives it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What is done with a request.
#[derive(Clone)]
pub(super) enum Step {
    /// These bytes are sent.
    Send(Vec<u8>),
    /// These bytes are sent again and again, with a pause after each time, until the other end has had enough.
    Flood(Vec<u8>, Duration),
    /// Nothing happens until the other end closes.
    Hang,
    /// The connection is closed.
    Close,
}

/// The server. Its connections end with it.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Of each request the number of its connection, and its bytes.
    requests: Mutex<Vec<(usize, String)>>,
    connections: AtomicUsize,
    /// Bytes that were sent in floods.
    flooded: AtomicUsize,
}

type Answer = Arc<dyn Fn(usize, &str) -> Vec<Step> + Send + Sync>;

impl Server {
    /// Answers the n-th request, counted from 0 over all connections, with what `answer` gives for it. It listens on
    /// 127.0.0.2, which stands for the public Internet in these tests.
    pub(super) async fn start(answer: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.2:0".parse().unwrap(), answer).await
    }

    /// The same on this address.
    pub(super) async fn on(
        address: SocketAddr,
        answer: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::<Shared>::default());
        let (answer, shared_too): (Answer, _) = (Arc::new(answer), Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&answer), Arc::clone(&shared_too)));
            }
        });
        Self { address, shared, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Answers every request with these bytes.
    pub(super) async fn always(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, _| vec![Step::Send(answer.clone())]).await
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests that came, in their order.
    pub(super) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    /// On which connection each request came.
    pub(super) fn connections_of_requests(&self) -> Vec<(usize, String)> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many connected.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many bytes were sent in floods before the other end had enough.
    pub(super) fn flooded(&self) -> usize {
        self.shared.flooded.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, answer: Answer, shared: Arc<Shared>) -> std::io::Result<()> {
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    // What is sent is on its way at once.
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let request = loop {
            if let Some(end) = request_end(&buffer) {
                break String::from_utf8_lossy(&buffer.drain(..end).collect::<Vec<_>>()).into_owned();
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let nth = {
            let mut requests = shared.requests.lock().unwrap();
            requests.push((connection, request.clone()));
            requests.len() - 1
        };
        for step in answer(nth, &request) {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await?,
                Step::Flood(bytes, pause) => loop {
                    stream.write_all(&bytes).await?;
                    shared.flooded.fetch_add(bytes.len(), Ordering::SeqCst);
                    match pause {
                        Duration::ZERO => tokio::task::yield_now().await,
                        pause => tokio::time::sleep(pause).await,
                    }
                },
                Step::Hang => while stream.read_buf(&mut buffer).await? > 0 {},
                Step::Close => return Ok(()),
            }
        }
    }
}

fn request_end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

/// An answer of HTTP/1.1 with a length.
pub(super) fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A redirect.
pub(super) fn redirect(status: u16, to: &str) -> Vec<u8> {
    answer(status, &format!("location: {to}\r\n"), "")
}

/// Sends these bytes to whoever has sent anything to 127.0.0.2 and this port.
pub(super) async fn blurting(bytes: Vec<u8>) -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&bytes).await;
            // Until the other end has had enough.
            while stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {}
        }
    });
    (port, AbortOnDropHandle::new(serving))
}
