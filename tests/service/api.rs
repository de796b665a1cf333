//! An external API of accounts with items, which behaves as a test wants it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A server on a free port of 127.0.0.1; it ends with the runtime that it was started on.
///
/// | request | answer |
/// |---|---|
/// | `GET /{account}/items?page=N` | a page of the account's items |
/// | `POST /{account}/things` | makes a thing: `{"number": n}` |
/// | `POST /token` | what the rule says |
///
/// A rule looks at each request first.
#[derive(Clone)]
pub(crate) struct ItemsApi {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    accounts: Mutex<BTreeMap<String, Account>>,
    seen: Mutex<Vec<Seen>>,
    rule: Mutex<Option<Rule>>,
    /// Bodies that were posted to `things`.
    things: Mutex<Vec<Value>>,
    count: watch::Sender<usize>,
    gate: watch::Sender<bool>,
    inside: Mutex<BTreeMap<String, usize>>,
    closes: std::sync::atomic::AtomicBool,
}

type Rule = Arc<dyn Fn(&Seen) -> Do + Send + Sync>;

/// What an account has.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) items: Vec<(String, String)>,
    pub(crate) deleted: Vec<String>,
    pub(crate) page_size: usize,
    /// What the last page says of how the run ends.
    pub(crate) then: &'static str,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) account: String,
    /// Behind the account.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Requests of this account that were under way when it came, with it.
    pub(crate) inside: usize,
    /// Requests that were under way altogether, with it.
    pub(crate) all_inside: usize,
    /// How many requests came before it.
    pub(crate) nth: usize,
}

/// What is done with a request.
pub(crate) enum Do {
    /// What the account says.
    Serve,
    /// The same, later.
    Wait(Duration),
    /// The same, once [`ItemsApi::open`] was called.
    Hold,
    /// This.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Half of what the account says, though all of it was announced.
    Cut,
}

impl Do {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), "{}".to_owned())
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self::Answer(200, vec![("content-type", "application/json".to_owned())], value.to_string())
    }
}

impl Seen {
    /// The number of the page that is asked for.
    pub(crate) fn page(&self) -> Option<usize> {
        let pairs = url::form_urlencoded::parse(self.query.as_bytes()).collect::<Vec<_>>();
        pairs.iter().find(|(name, _)| name == "page").and_then(|(_, page)| page.parse().ok())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Account {
    /// So many items, named and written after `word`.
    pub(crate) fn of(word: &str, count: usize, page_size: usize) -> Self {
        let items = (0..count).map(|nth| (format!("{word}-{nth:05}"), format!("text of {word} {nth}"))).collect();
        Self { items, deleted: Vec::new(), page_size, then: "" }
    }

    fn page(&self, number: usize) -> Value {
        let number = number.max(1);
        let items = self.items.iter().skip((number - 1) * self.page_size).take(self.page_size);
        let items: Vec<Value> = items.map(|(id, text)| json!({ "id": id, "text": text })).collect();
        let more = number * self.page_size < self.items.len();
        if more {
            return json!({ "items": items, "more": true });
        }
        json!({ "items": items, "more": false, "deleted": self.deleted, "then": self.then })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl ItemsApi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Ends each connection with its first answer: then who keeps connections has none to keep.
    pub(crate) fn close_connections(&self) {
        self.shared.closes.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sets what an account has.
    pub(crate) fn put(&self, name: &str, account: Account) {
        lock(&self.shared.accounts).insert(name.to_owned(), account);
    }

    /// Changes what an account has.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Account)) {
        change(lock(&self.shared.accounts).get_mut(name).unwrap());
    }

    /// What an account has, as the records of it should be.
    pub(crate) fn items(&self, name: &str) -> Vec<(String, String)> {
        let mut items = lock(&self.shared.accounts)[name].items.clone();
        items.sort();
        items
    }

    /// Lets each request be looked at first.
    pub(crate) fn rule(&self, rule: impl Fn(&Seen) -> Do + Send + Sync + 'static) {
        *lock(&self.shared.rule) = Some(Arc::new(rule));
    }

    /// Answers what the accounts say.
    pub(crate) fn no_rule(&self) {
        *lock(&self.shared.rule) = None;
    }

    /// Lets go what is held, from now on.
    pub(crate) fn open(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Requests that came, in their order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Those for pages of an account.
    pub(crate) fn pages(&self, account: &str) -> Vec<usize> {
        self.seen().iter().filter(|seen| seen.account == account).filter_map(Seen::page).collect()
    }

    pub(crate) fn forget_seen(&self) {
        lock(&self.shared.seen).clear();
    }

    pub(crate) fn things(&self) -> Vec<Value> {
        lock(&self.shared.things).clone()
    }

    /// Returns once so many requests came since it was started.
    pub(crate) async fn until_count(&self, count: usize) {
        let mut counted = self.shared.count.subscribe();
        let waited = tokio::time::timeout(super::PATIENCE, counted.wait_for(|now| *now >= count)).await;
        waited.unwrap_or_else(|_| panic!("fewer than {count} requests came")).unwrap();
    }

    /// How many requests came since it was started.
    pub(crate) fn count(&self) -> usize {
        *self.shared.count.borrow()
    }
}

/// Counts a request of an account for as long as it is under way.
struct Inside(Arc<Shared>, String);

impl Drop for Inside {
    fn drop(&mut self) {
        *lock(&self.0.inside).get_mut(&self.1).unwrap() -= 1;
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let closes = shared.closes.load(std::sync::atomic::Ordering::SeqCst);
    let mut response = answer_kept(State(shared), request).await;
    if closes {
        response.headers_mut().insert("connection", axum::http::HeaderValue::from_static("close"));
    }
    response
}

async fn answer_kept(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches('/');
    let (account, rest) = path.split_once('/').unwrap_or(("", path));
    let (inside, all_inside) = {
        let mut inside = lock(&shared.inside);
        *inside.entry(account.to_owned()).or_default() += 1;
        (inside[account], inside.values().sum())
    };
    let _inside = Inside(Arc::clone(&shared), account.to_owned());
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let mut seen = Seen {
        at,
        method: parts.method.to_string(),
        account: account.to_owned(),
        path: rest.to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        inside,
        all_inside,
        nth: 0,
    };
    seen.nth = *shared.count.borrow();
    lock(&shared.seen).push(seen.clone());
    shared.count.send_modify(|count| *count += 1);
    let rule = lock(&shared.rule).clone();
    match rule.map_or(Do::Serve, |rule| rule(&seen)) {
        Do::Serve => shared.serve(&seen),
        Do::Wait(time) => {
            tokio::time::sleep(time).await;
            shared.serve(&seen)
        }
        Do::Hold => {
            let _ = shared.gate.subscribe().wait_for(|open| *open).await;
            shared.serve(&seen)
        }
        Do::Answer(status, headers, body) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Do::Cut => {
            let whole = axum::body::to_bytes(shared.serve(&seen).into_body(), 1 << 20).await.unwrap();
            let length = whole.len();
            let half = whole.slice(..length / 2);
            let broken = futures_util::stream::iter([Ok(half), Err(std::io::Error::other("cut"))]);
            let mut response = Response::new(Body::from_stream(broken));
            response.headers_mut().insert("content-length", length.into());
            response
        }
    }
}

impl Shared {
    fn serve(&self, seen: &Seen) -> Response {
        let json = |status: u16, value: &Value| {
            let mut response = Response::new(Body::from(value.to_string()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert("content-type", "application/json".parse().unwrap());
            response
        };
        match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "items") => match lock(&self.accounts).get(&seen.account) {
                Some(account) => json(200, &account.page(seen.page().unwrap_or(1))),
                None => json(404, &json!({ "error": "no such account" })),
            },
            ("POST", "things") => {
                let mut things = lock(&self.things);
                things.push(serde_json::from_str(&seen.body).unwrap_or_default());
                json(201, &json!({ "number": things.len() }))
            }
            _ => json(404, &json!({ "error": "no such thing" })),
        }
    }
}
