//! Egress against servers on loopback. Nothing here reaches beyond the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bodies;
mod breaker;
mod credentials;
mod gate;
mod manners;
mod oauth;
mod redirects;
mod retries;
mod tls;
mod traces;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::Clients;
use super::*;

/// What a [`Server`] does with a request.
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    Hang,
    Close,
}

/// A server on loopback that keeps what it was sent.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    /// Connections that the client has closed.
    closed: Arc<tokio::sync::Semaphore>,
}

impl Server {
    /// Answers the n-th request, counted from 0 over all connections, with `answer(n, request)`.
    async fn start(answer: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", answer).await
    }

    async fn start_on(address: &str, answer: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
            closed: Arc::new(tokio::sync::Semaphore::new(0)),
        };
        let (requests, connections, closed) =
            (server.requests.clone(), server.connections.clone(), server.closed.clone());
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, requests, closed) = (answer.clone(), requests.clone(), closed.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, &*answer, &requests).await;
                    closed.add_permits(1);
                });
            }
        });
        server
    }

    /// Answers every request with the same bytes.
    async fn always(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, _| vec![Step::Send(answer.clone())]).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(usize, &str) -> Vec<Step> + Send + Sync),
    requests: &Mutex<Vec<String>>,
) -> io::Result<()> {
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
            let mut requests = requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        for step in answer(nth, &request) {
            match step {
                Step::Send(bytes) => stream.write_all(&bytes).await?,
                Step::Pause(time) => tokio::time::sleep(time).await,
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
fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Listens where nothing may connect.
struct Canary(std::net::TcpListener);

impl Canary {
    fn on(address: &str) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// A connection to loopback is in the listener's queue before `connect` returns, so there is nothing to wait for.
    fn assert_silent(&self, what: &str) {
        let error = self.0.accept().expect_err(what);
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{what}");
    }
}

/// A run's budgets, and what is left of them.
struct Budget {
    requests: usize,
    bytes: usize,
    sent: AtomicUsize,
    held: AtomicUsize,
    peak: AtomicUsize,
}

impl Budget {
    fn new(requests: usize, bytes: usize) -> Self {
        Self { requests, bytes, sent: AtomicUsize::new(0), held: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    fn ample() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

impl Meter for Budget {
    fn request(&self) -> Result<(), Exhausted> {
        if self.sent() == self.requests {
            return Err(Exhausted::HttpRequests);
        }
        self.sent.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn received(&self, decoded_bytes: usize) -> Result<(), Exhausted> {
        let held = self.held() + decoded_bytes;
        if held > self.bytes {
            return Err(Exhausted::HttpBytes);
        }
        self.held.store(held, Ordering::SeqCst);
        self.peak.fetch_max(held, Ordering::SeqCst);
        Ok(())
    }

    fn released(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes, Ordering::SeqCst);
        assert!(before >= bytes, "{bytes} of {before} bytes were released");
    }
}

/// An egress whose names resolve to what is given here: the n-th answer to the n-th question, the last one for ever.
fn with_names(names: &[(&str, &[&[&str]])]) -> (Egress, Arc<AtomicUsize>) {
    let names: HashMap<String, Vec<Vec<IpAddr>>> = names
        .iter()
        .map(|(name, answers)| {
            let answers = answers.iter().map(|answer| answer.iter().map(|a| a.parse().unwrap()).collect());
            ((*name).to_owned(), answers.collect())
        })
        .collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let lookup: resolver::Lookup = {
        let asked = asked.clone();
        Arc::new(move |name| {
            let nth = asked.fetch_add(1, Ordering::SeqCst);
            let answer = names.get(&name).map(|answers| answers[nth.min(answers.len() - 1)].clone());
            Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
        })
    };
    (Egress::with(Clients::new(client::system_tls().unwrap(), lookup)).unwrap(), asked)
}

/// A policy with these hosts and all of loopback.
fn loopback(hosts: &[&str]) -> Policy {
    Policy { private_networks: vec!["127.0.0.0/8".parse().unwrap()], ..allowing(hosts) }
}

/// A policy with these hosts.
fn allowing(hosts: &[&str]) -> Policy {
    // Where a test is about retries it says so.
    let retry = RetryRules { max: 0, ..RetryRules::default() };
    Policy { allowed_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(), retry, ..Policy::default() }
}

/// A policy that allows a server.
fn to(server: &Server) -> Policy {
    loopback(&[&server.url("")])
}

/// An account without limits.
fn account(credential: Option<Credential>) -> Account {
    let gate = || Gate::new(&RateRules::default());
    Account { integration: gate(), connection: gate(), credential: credential.map(Arc::new), breaker: Breaker::new() }
}

/// A credential for these hosts.
fn credential(scheme: Scheme, hosts: &[String]) -> Credential {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Credential::new(scheme, None, hosts, None, Arc::new(SystemClock))
}

/// Waits for as long as it takes, while time is paused or not, until this holds.
async fn until(holds: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not come to pass");
        tokio::task::yield_now().await;
    }
}

fn get(url: impl Into<String>) -> Request {
    Request { method: "GET".to_owned(), url: url.into(), ..Request::default() }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn value<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}
