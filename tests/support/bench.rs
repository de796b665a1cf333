//! A runtime in a directory of its own, with two APIs beside it that its scripts may reach.

#![allow(clippy::needless_pass_by_value, reason = "`json!` is written at the call")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use terapi::clock::{Clock, SystemClock};
use terapi::demo::api::{DemoApi, DemoApiOptions};
use terapi::egress::Policy;
use terapi::ids::{ConnectionName, ModelName, StreamKey, Variant};
use terapi::run::{LogLine, Outcome, Run, StopReason, Usage};
use terapi::runtime::{Execution, Runtime};
use terapi::sandbox::Script;
use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{Change, ChangesQuery, Store};
use tokio::sync::OnceCell;

use super::{OddApi, guest};

/// A runtime to test with.
pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    /// What the example scripts fetch from.
    pub(crate) api: DemoApi,
    /// What behaves badly.
    pub(crate) odd: OddApi,
    _dir: tempfile::TempDir,
}

/// Two threads, as a small server has: what blocks one of them shows.
static THREADS: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

static SHARED: OnceCell<Bench> = OnceCell::const_new();

/// Runs a test on the bench that all such tests share, so that a script is compiled once. Each uses connections of its
/// own.
pub(crate) fn on_shared_bench<T>(test: impl AsyncFnOnce(&'static Bench) -> T) -> T {
    THREADS.block_on(async { test(SHARED.get_or_init(Bench::open).await).await })
}

impl Bench {
    /// A runtime on an empty store.
    pub(crate) async fn open() -> Self {
        Self::with(|store| store, Arc::new(SystemClock)).await
    }

    /// A runtime on an empty store in some wrapping, and on a clock.
    pub(crate) async fn with(wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { cache_bytes: 8 << 20, ..StoreOptions::default() };
        let store = Arc::new(EmbeddedStore::open(dir.path(), &options).unwrap());
        let api = DemoApi::start(DemoApiOptions::default()).await.unwrap();
        Self { runtime: Runtime::with(wrap(store), clock), api, odd: OddApi::start().await, _dir: dir }
    }

    /// A connection that no other test has.
    pub(crate) fn connection() -> ConnectionName {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("account-{}", NEXT.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
    }

    /// A script, compiled once for this bench.
    pub(crate) async fn load(&self, bytes: Vec<u8>) -> Arc<Script> {
        self.runtime.load(bytes).await.unwrap_or_else(|error| panic!("{}: {error}", error.code()))
    }

    /// A run of a test guest on a connection of its own, which may reach both APIs.
    pub(crate) async fn execution(&self, name: &str, config: Value) -> Execution {
        self.execution_of(self.load(guest(name)).await, config)
    }

    /// The same of a script that was loaded before.
    pub(crate) fn execution_of(&self, script: Arc<Script>, config: Value) -> Execution {
        let mut execution = Execution::new(script, Self::connection());
        execution.config = config.to_string();
        execution.policy = self.policy();
        execution
    }

    /// Allows both APIs.
    pub(crate) fn policy(&self) -> Policy {
        let origin = |url: String| url.parse().unwrap();
        Policy {
            allowed_hosts: vec![origin(self.api.url()), origin(self.odd.url(""))],
            private_networks: vec!["127.0.0.0/8".parse().unwrap()],
            base_url: Some(self.api.url().parse().unwrap()),
            ..Policy::default()
        }
    }

    /// Does a sync, and reads its log and what is stored of it.
    pub(crate) async fn sync(&self, execution: Execution) -> Ran {
        let run = self.runtime.sync(execution).await.unwrap_or_else(|error| panic!("{}: {error}", error.code()));
        let stored = self.runtime.store().run(run.id).unwrap().expect("a run is stored");
        assert_eq!(stored, run, "what is stored of a run is what was told of it");
        Ran { log: self.runtime.store().log(run.id).unwrap(), run }
    }

    /// Runs the probe with these steps on a connection of its own.
    pub(crate) async fn probe(&self, steps: Value) -> Ran {
        self.sync(self.execution("probe", probe(steps)).await).await
    }

    /// All changes of a stream.
    pub(crate) fn feed(&self, connection: &ConnectionName, model: &str) -> Vec<Change> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let query = ChangesQuery { cursor, limit: 10_000, max_bytes: 64 << 20, ..ChangesQuery::default() };
            let page = self.runtime.store().changes(&stream(connection, model), &query).unwrap();
            all.extend(page.changes);
            if !page.more {
                return all;
            }
            cursor = Some(page.cursor);
        }
    }

    /// Ids and JSON of all changes of the probe's things, deleted ones marked with a minus.
    pub(crate) fn things(&self, connection: &ConnectionName) -> Vec<String> {
        let changes = self.feed(connection, "Thing");
        let mark = |change: &Change| if change.deleted_at().is_some() { "-" } else { "" };
        changes.iter().map(|change| format!("{}{}={}", mark(change), change.id, change.data)).collect()
    }
}

/// The configuration of a probe that does these steps.
pub(crate) fn probe(steps: Value) -> Value {
    serde_json::json!({ "steps": steps })
}

pub(crate) fn stream(connection: &ConnectionName, model: &str) -> StreamKey {
    let model: ModelName = model.parse().unwrap();
    StreamKey { connection: connection.clone(), model, variant: Variant::default() }
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) run: Run,
    pub(crate) log: Vec<LogLine>,
}

impl Ran {
    pub(crate) fn outcome(&self) -> &Outcome {
        self.run.outcome.as_ref().expect("the run is over")
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.run.usage
    }

    pub(crate) fn connection(&self) -> &ConnectionName {
        &self.run.sync.connection
    }

    /// Panics unless it succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.outcome(), &Outcome::Succeeded, "{:?}", self.log);
        self
    }

    /// Panics unless it was stopped for this reason, with a message that has these parts.
    #[track_caller]
    pub(crate) fn stopped(self, reason: StopReason, parts: &[&str]) -> Self {
        let Outcome::Stopped(stopped) = self.outcome() else { panic!("{:?}, not stopped", self.outcome()) };
        assert_eq!(stopped.reason, reason, "{}", stopped.message);
        for part in parts {
            assert!(stopped.message.contains(part), "no {part:?} in: {}", stopped.message);
        }
        self
    }

    /// What the probe said of its steps of this name, in order.
    pub(crate) fn said(&self, step: &str) -> Vec<&str> {
        self.log.iter().filter_map(|line| line.message.strip_prefix(step)?.strip_prefix(": ")).collect()
    }
}
