//! Egress: nothing leaves through a door that was not opened.
//!
//! Scripts try it through the API, on a process whose names are looked up at a DNS server of the tests' own. Listeners on the
//! forbidden addresses of this machine must never hear of it: after each case all of them have been silent. 127.0.0.2 and the
//! addresses behind it stand for the public Internet, where an integration names them as its networks; no test may dial that.

mod addresses;
mod answers;
mod canaries;
mod credentials;
mod dns;
mod names;
mod redirects;
mod requests;
mod server;
mod sharing;
mod tls;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use self::canaries::CANARIES;
use self::dns::{Dns, dns};
use super::{Case, Ground, Tested, case};

const TLS: &str = "runtime/src/egress/tests/tls.rs";

pub(super) const CASES: &[Case] = &[
    Case("E01", Tested::Here),
    Case("E03", Tested::Here),
    Case("E04", Tested::Here),
    Case("E05", Tested::Here),
    Case("E06", Tested::Here),
    Case("E07", Tested::Here),
    Case("E09", Tested::Here),
    Case("E10", Tested::Here),
    Case("E11", Tested::Here),
    Case("E12", Tested::Here),
    Case("E14", Tested::Here),
    Case("E16", Tested::Here),
    Case("E17", Tested::Here),
    Case("E18", Tested::Here),
    Case("E19", Tested::Here),
    Case("E20", Tested::Here),
    Case("E22", Tested::Here),
    Case("E23", Tested::Here),
    Case("E24", Tested::Here),
    Case("E25", Tested::Here),
    Case("E27", Tested::Here),
    // Slow names of one connection do not hold up another's.
    Case("E31", Tested::Here),
    // Links to next pages, which the host follows.
    Case("E32", Tested::Here),
    // Token endpoints and the proxy use the same door.
    Case("E33", Tested::Here),
    // What the configuration ceases to allow.
    Case("E34", Tested::Here),
    // The finer points of TLS, which no certificate of the system's could be had for.
    Case(
        "E35",
        Tested::Elsewhere(&[
            (TLS, "a_trusted_certificate_is_accepted_for_its_name_only"),
            (TLS, "a_certificate_nobody_trusts_is_refused"),
            (TLS, "an_expired_certificate_is_refused"),
            (TLS, "clear_text_where_tls_belongs_is_refused"),
            (TLS, "a_handshake_that_stalls_is_given_up_after_ten_seconds"),
        ]),
    ),
    Case(
        "A15",
        Tested::LeftOut("there are no webhooks; token endpoints, the other URLs that are not a script's, are E33"),
    ),
];

/// Settings of this area's server.
pub(super) async fn settings() -> Vec<(&'static str, &'static str)> {
    let address = dns().await.address.to_string();
    vec![("TERAPI_NETWORK_DNS", Box::leak(address.into_boxed_str()))]
}

/// What a case works with.
struct Scene<'g> {
    ground: &'g Ground,
    dns: &'static Dns,
    connections: Mutex<Vec<String>>,
}

/// A run of the probe, and what it said of each request.
struct Ran {
    run: Value,
    said: Vec<String>,
}

/// A case after which all canaries have been silent.
fn on_egress(id: &'static str, test: impl AsyncFnOnce(&Scene<'_>) -> Vec<&'static str>) {
    case(id, async |ground| {
        let scene = Scene::on(ground).await;
        let limits = test(&scene).await;
        scene.leave().await;
        CANARIES.are_silent(id);
        limits
    });
}

fn new_name(word: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{word}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An integration without any network but these, and no retries.
fn open_to(hosts: &[impl AsRef<str>], networks: &[&str]) -> Value {
    let hosts: Vec<&str> = hosts.iter().map(|host| host.as_ref().trim_end_matches('/')).collect();
    json!({ "hosts": hosts, "networks": networks, "retry": { "max": 0, "first_wait_ms": 5, "max_wait_ms": 50 } })
}

/// A step of the probe that asks for a URL.
fn get(url: impl AsRef<str>) -> Value {
    json!({ "do": "request", "url": url.as_ref() })
}

/// The same, following redirects.
fn follow(url: impl AsRef<str>, redirects: u64) -> Value {
    json!({ "do": "request", "url": url.as_ref(), "n": redirects })
}

/// Has the server open and keep what it opens and keeps with the first run of a kind.
pub(super) async fn warm_up(ground: &Ground) {
    let scene = Scene::on(ground).await;
    for _ in 0..2 {
        scene.fetch(open_to(&["http://none.test"], &[]), &["http://none.test/"]).await;
    }
    scene.leave().await;
}

impl<'g> Scene<'g> {
    async fn on(ground: &'g Ground) -> Self {
        Self { ground, dns: dns().await, connections: Mutex::default() }
    }

    /// Removes its connections, and what is kept open for them.
    async fn leave(&self) {
        let connections = std::mem::take(&mut *self.connections.lock().unwrap());
        for connection in connections {
            self.ground.client.delete(&format!("/v1/connections/{connection}")).await.ok();
        }
    }

    /// A connection at an integration of its own.
    async fn connect(&self, integration: Value) -> String {
        self.connect_as(integration, json!({ "type": "none" })).await
    }

    /// The same, with a credential.
    async fn connect_as(&self, integration: Value, credential: Value) -> String {
        let client = &self.ground.client;
        let name = new_name("api");
        client.put(&format!("/v1/integrations/{name}"), &integration).await.ok();
        self.add(&name, credential).await
    }

    /// One more connection at an integration.
    async fn add(&self, integration: &str, credential: Value) -> String {
        let client = &self.ground.client;
        if client.get("/v1/scripts/probe").await.status == 404 {
            client.upload("probe", "").await.ok();
        }
        let connection = new_name("account");
        let spec = json!({ "name": connection, "integration": integration, "credential": credential });
        client.post("/v1/connections", &spec).await.ok();
        self.connections.lock().unwrap().push(connection.clone());
        let sync = json!({ "script": "probe", "connection": connection, "config": {}, "frequency": "never" });
        client.post("/v1/syncs", &sync).await.ok();
        connection
    }

    /// Has the probe do these steps on a connection, and waits until it has.
    async fn run(&self, connection: &str, steps: Vec<Value>) -> Ran {
        let client = &self.ground.client;
        let path = format!("/v1/syncs/{connection}/probe/base");
        client.patch(&path, &json!({ "config": { "steps": steps } })).await.ok();
        let run = self.ground.run("probe", connection).await;
        let log = client.get(&format!("/v1/runs/{}/logs?limit=1000", run["id"].as_str().unwrap())).await.ok();
        let lines = log["items"].as_array().unwrap_or_else(|| panic!("{log}"));
        let lines = lines.iter().filter_map(|line| line["message"].as_str());
        let said = lines.filter_map(|line| Some(line.split_once(": ")?.1.to_owned())).collect();
        Ran { run, said }
    }

    /// Asks for these URLs on a new connection at the integration.
    async fn fetch(&self, integration: Value, urls: &[impl AsRef<str>]) -> Vec<String> {
        let connection = self.connect(integration).await;
        self.run(&connection, urls.iter().map(get).collect()).await.succeeded(urls.len())
    }
}

impl Ran {
    /// What was said of so many requests.
    #[track_caller]
    fn succeeded(self, count: usize) -> Vec<String> {
        assert_eq!(self.run["outcome"]["status"], "succeeded", "{} {:?}", self.run, self.said);
        assert_eq!(self.said.len(), count, "{:?}", self.said);
        self.said
    }
}

#[track_caller]
fn all_denied(urls: &[impl AsRef<str>], said: &[String]) {
    for (url, said) in urls.iter().zip(said) {
        assert!(said.starts_with("Error::Denied("), "{}: {said}", url.as_ref());
    }
}
