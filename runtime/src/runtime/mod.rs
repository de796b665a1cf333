//! The façade: everything that API and CLI can ask for.
//!
//! A [`Runtime`] is one environment: a store of its own, with its integrations, connections, scripts, syncs, records, runs and
//! keys. What environments have in common is sandbox, egress, clock and scheduler; [`Service`] is all of them.
//!
//! | module | what it knows |
//! |---|---|
//! | `integrations`, `connections`, `credentials` | external APIs, accounts at them, what opens them |
//! | `scripts` | uploads, versions |
//! | `syncs`, `dispatch` | scripts on connections with their schedules, and who runs them |
//! | `execute` | one run of a sync or an action, from its lease to its end |
//! | `rehearse` | runs that are tried out: on a store that only reads, on none, from a cassette |
//! | `calls` | actions that somebody waits for, or asks about later; the proxy |
//! | `quarantine` | scripts that take the process down |
//! | `access` | API keys |
//! | `service` | environments, opened and served |

mod access;
mod calls;
mod connections;
mod credentials;
mod dispatch;
mod error;
mod execute;
mod integrations;
mod quarantine;
mod rehearse;
mod scripts;
mod service;
mod syncs;
mod triggers;

use std::future::Future;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use futures_util::FutureExt as _;
use ipnet::IpNet;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::access::NewKey;
pub use self::calls::{Call, CallState, ProxyMeter};
pub use self::connections::{Connection, ConnectionSpec};
pub use self::credentials::CredentialSpec;
pub use self::dispatch::{DispatchFigures, Once};
pub use self::error::RuntimeError;
pub use self::execute::Execution;
pub use self::integrations::{Auth, Hidden, Integration, IntegrationSpec, OauthClient};
pub use self::rehearse::{DryRun, Workshop};
pub use self::scripts::Upload;
pub use self::service::{Service, store_dir};
pub use self::syncs::{Asked, Sync, SyncSettings, SyncSpec, SyncStatus};
pub use self::triggers::Triggering;

use self::connections::Accounts;
use self::dispatch::Dispatch;
use crate::clock::Clock;
use crate::egress::{Egress, EgressError};
use crate::ids::EnvironmentName;
use crate::sandbox::{self, Artifacts, Limits, Sandbox, SandboxError, UploadLimits};
use crate::scheduler::Admission;
use crate::secrets::{Keyring, SecretsError};
use crate::store::embedded::StoreOptions;
use crate::store::{DocumentKind, Store, StoreError};

/// Slots of the sandbox besides those that syncs fill: somebody waits for an action.
const ACTIONS_AT_ONCE: u32 = 16;
/// One part in so many of the memory of runs is what syncs leave to actions and the proxy: somebody waits for those, and a sync
/// may take an hour.
const KEPT_PART: u64 = 8;

/// One environment: everything that API and CLI can ask of it. A cheap handle.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

/// What is behind a [`Runtime`].
pub struct Inner {
    name: EnvironmentName,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    accounts: Accounts,
    /// Held while documents are read, checked and written: integrations, connections, syncs, keys.
    changing: tokio::sync::Mutex<()>,
    /// Held while one document of a sync is read and written.
    sync_documents: Mutex<()>,
    calls: Mutex<calls::Calls>,
    keys: Mutex<access::Seen>,
    /// When house was kept last, in milliseconds.
    kept_house_at: AtomicU64,
}

impl Deref for Runtime {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

/// What all environments have in common.
struct Shared {
    clock: Arc<dyn Clock>,
    options: Options,
    /// Made when first needed: who only reads records waits for neither a pool of instances nor a trust store.
    sandbox: OnceLock<Sandbox>,
    egress: OnceLock<Egress>,
    /// Where compiled scripts are kept for the next process.
    artifacts: Option<Arc<Artifacts>>,
    /// Compiled scripts, by content.
    loaded: Mutex<scripts::Loaded>,
    scheduler: Arc<Dispatch>,
    suspects: quarantine::Suspects,
    /// Read when first needed.
    keyring: RwLock<Option<Arc<Keyring>>>,
}

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Runs at once. Each has a slot of reserved address space in the pool.
    pub runs_at_once: u32,
    /// What the memory limits of runs at once may add up to, in bytes.
    pub memory: u64,
    /// Limits of a run, unless its script or sync says otherwise.
    pub limits: Limits,
    /// What scripts may be made of, and what compiling one may take.
    pub uploads: UploadLimits,
    /// The program that compiles scripts in a process of its own: Terapi itself. Without one they are compiled in this process.
    pub compiler: Option<PathBuf>,
    /// How long runs are kept, in milliseconds; for ever if not given.
    pub keep_runs_ms: Option<u64>,
    /// Networks that are not public and that integrations may name.
    pub networks: Vec<IpNet>,
    /// The DNS servers that egress asks; the machine's own if there are none.
    pub dns: Vec<std::net::SocketAddr>,
    /// Keys for credentials, as the environment variable has them.
    pub secret_keys: Option<String>,
    /// The file with keys for credentials, where the variable has none.
    pub secrets_file: PathBuf,
    /// How the stores are opened.
    pub store: StoreOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            runs_at_once: 16,
            memory: 2 << 30,
            limits: Limits::default(),
            uploads: UploadLimits::default(),
            compiler: None,
            keep_runs_ms: None,
            networks: Vec::new(),
            dns: Vec::new(),
            secret_keys: None,
            secrets_file: PathBuf::from("secrets.key"),
            store: StoreOptions::default(),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does this, and makes an error of a panic: whoever asked must hear, and what was taken for it be given back.
async fn unbroken<T>(work: impl Future<Output = Result<T, RuntimeError>> + Send) -> Result<T, RuntimeError> {
    // A run's work is some kilobytes, and who waits for it has them twice.
    match AssertUnwindSafe(Box::pin(work)).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(RuntimeError::Broke(sandbox::panic_text(&*panic))),
    }
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Storage { doing: "encode a document", source: error.into() })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
        what: format!("a document is not what was written: {error}"),
        next: "Write it anew",
    })
}

impl Shared {
    fn new(clock: Arc<dyn Clock>, options: Options, artifacts: Option<Arc<Artifacts>>) -> Self {
        let kept = options.memory / KEPT_PART;
        let admission = Admission { runs: options.runs_at_once, memory: options.memory, kept };
        Self {
            clock,
            sandbox: OnceLock::new(),
            egress: OnceLock::new(),
            artifacts,
            loaded: Mutex::default(),
            scheduler: Arc::new(Dispatch::new(admission)),
            suspects: quarantine::Suspects::default(),
            keyring: RwLock::default(),
            options,
        }
    }

    fn sandbox(&self) -> Result<&Sandbox, SandboxError> {
        if let Some(sandbox) = self.sandbox.get() {
            return Ok(sandbox);
        }
        // Two that come first at once make two; one stays.
        let slots = self.options.runs_at_once.saturating_add(ACTIONS_AT_ONCE);
        let Options { uploads, compiler, .. } = &self.options;
        let sandbox = Sandbox::new(slots, Arc::clone(&self.clock))?.taking(uploads, compiler.clone());
        let sandbox = match &self.artifacts {
            Some(artifacts) => sandbox.keeping(Arc::clone(artifacts)),
            None => sandbox,
        };
        Ok(self.sandbox.get_or_init(|| sandbox))
    }

    fn egress(&self) -> Result<&Egress, EgressError> {
        if let Some(egress) = self.egress.get() {
            return Ok(egress);
        }
        let egress = Egress::asking(&self.options.dns)?.with_clock(Arc::clone(&self.clock));
        Ok(self.egress.get_or_init(|| egress))
    }
}

impl Runtime {
    /// Opens the default environment of a data directory, creating it if there is none.
    pub fn open(data_dir: &Path, options: &StoreOptions) -> Result<Self, RuntimeError> {
        let secrets_file = data_dir.join("secrets.key");
        let options = Options { store: options.clone(), secrets_file, ..Options::default() };
        Ok(Service::open(data_dir, options)?.default_environment())
    }

    /// A runtime on this store and clock.
    #[must_use]
    pub fn with(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self::new(EnvironmentName::default(), store, Arc::new(Shared::new(clock, Options::default(), None)))
    }

    fn new(name: EnvironmentName, store: Arc<dyn Store>, shared: Arc<Shared>) -> Self {
        let inner = Inner {
            name,
            store,
            shared,
            accounts: Accounts::default(),
            changing: tokio::sync::Mutex::default(),
            sync_documents: Mutex::default(),
            calls: Mutex::default(),
            keys: Mutex::default(),
            kept_house_at: AtomicU64::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    fn upgrade(inner: &Weak<Inner>) -> Option<Self> {
        Some(Self { inner: inner.upgrade()? })
    }

    /// Which environment this is.
    #[must_use]
    pub fn name(&self) -> &EnvironmentName {
        &self.name
    }

    /// The time, as the runtime sees it.
    #[must_use]
    pub fn now(&self) -> crate::ids::Timestamp {
        self.shared.clock.now()
    }

    /// The store, for reading: records, runs, logs.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The keys for credentials.
    fn keyring(&self) -> Result<Arc<Keyring>, RuntimeError> {
        let read = self.shared.keyring.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(keyring) = read {
            return Ok(keyring);
        }
        let Options { secret_keys, secrets_file, .. } = &self.shared.options;
        let keyring = Keyring::from_env_or_file(secret_keys.as_deref(), secrets_file)?;
        let keyring = Arc::new(keyring.ok_or_else(|| SecretsError::NoKey { file: secrets_file.clone() })?);
        *self.shared.keyring.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&keyring));
        Ok(keyring)
    }

    /// Asks the store on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let store = Arc::clone(&self.store);
        let asked = tokio::task::spawn_blocking(move || ask(&*store)).await;
        let broke = |error: tokio::task::JoinError| StoreError::Storage {
            doing: "answer",
            source: std::io::Error::other(error.to_string()),
        };
        Ok(asked.map_err(broke)??)
    }

    async fn document<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: DocumentKind,
        key: &str,
    ) -> Result<Option<T>, RuntimeError> {
        let key = key.to_owned();
        self.blocking(move |store| store.document(kind, &key)?.map(|text| parse(&text)).transpose()).await
    }

    async fn documents<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: DocumentKind,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<T>, RuntimeError> {
        self.blocking(move |store| {
            let found = store.documents(kind, &prefix, after.as_deref(), limit)?;
            found.iter().map(|(_, text)| parse(text)).collect()
        })
        .await
    }

    /// Writes a document and returns when it is durable.
    async fn put_document(&self, kind: DocumentKind, key: &str, value: &impl Serialize) -> Result<(), RuntimeError> {
        let (key, text) = (key.to_owned(), json(value)?);
        self.blocking(move |store| {
            store.put_document(kind, &key, Some(&text))?;
            store.sync()
        })
        .await
    }

    async fn remove_document(&self, kind: DocumentKind, key: &str) -> Result<(), RuntimeError> {
        let key = key.to_owned();
        self.blocking(move |store| {
            store.put_document(kind, &key, None)?;
            store.sync()
        })
        .await
    }
}
