//! The façade: everything that API and CLI can ask for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::egress::{Egress, EgressError, Policy};
use crate::ids::{ConnectionName, RunId, ScriptHash, ScriptName, SyncKey, Variant};
use crate::run::{Changes, Failure, Outcome, Run, RunKind, StopReason, Stopped, Usage};
use crate::sandbox::{self, Artifacts, LimitOverrides, Limits, Progress, RunReport, RunRequest, Sandbox, SandboxError};
use crate::script::{ScriptError, SyncMode};
use crate::store::embedded::{EmbeddedStore, StoreOptions};
use crate::store::{DeleteGuard, Lease, Reset, RunStart, Script, Store, StoreError, canonical};

/// For how long a run holds its sync without a sign of life.
const LEASE: Duration = Duration::from_mins(1);
/// How often it gives one: often enough that three in a row may be late.
const RENEW_INTERVAL: Duration = Duration::from_secs(15);
/// How often retention is applied.
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);
/// Runs at once. Each has a slot of reserved address space in the pool.
const RUNS_AT_ONCE: u32 = 32;

/// The runtime: store, sandbox and egress, put together. A cheap handle.
#[derive(Clone)]
pub struct Runtime {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// Made when first needed: who only reads records waits for neither a pool of instances nor a trust store.
    sandbox: Arc<OnceLock<Sandbox>>,
    egress: Arc<OnceLock<Egress>>,
    /// When the retention was applied last, in milliseconds.
    pruned_at: Arc<AtomicU64>,
    /// Where compiled scripts are kept for the next process.
    artifacts: Option<Arc<Artifacts>>,
    /// Compiled scripts, by content.
    loaded: Arc<Mutex<HashMap<ScriptHash, Arc<sandbox::Script>>>>,
}

/// Why the runtime could not do what was asked. What a script does wrong is no error here but a run's outcome.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The script is not acceptable.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// No sandbox on this machine.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// No way out on this machine.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// There is no such script.
    #[error("no script is deployed as {0}: deploy it with `terapi script add FILE`, or name a file")]
    UnknownScript(ScriptName),
    /// An action where a sync is needed, or the other way round.
    #[error("{name} is {is}, and this needs {needed}")]
    WrongKind {
        /// Which script.
        name: ScriptName,
        /// `an action` or `a sync`.
        is: &'static str,
        /// `an action` or `a sync`.
        needed: &'static str,
    },
    /// A configuration or input is not usable.
    #[error("{what} is not acceptable: {reason}")]
    BadInput {
        /// `the configuration` or `the input`.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

impl RuntimeError {
    /// The stable code, the same in API, CLI and docs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Script(error) => error.code(),
            Self::Sandbox(error) => error.code(),
            Self::Egress(error) => error.code(),
            Self::UnknownScript(_) => "unknown-script",
            Self::WrongKind { .. } => "wrong-kind",
            Self::BadInput { .. } => "bad-input",
        }
    }
}

/// One run to do.
pub struct Execution {
    /// What to run.
    pub script: Arc<sandbox::Script>,
    /// Under which name its state is kept.
    pub name: ScriptName,
    /// On which connection.
    pub connection: ConnectionName,
    /// In which variant.
    pub variant: Variant,
    /// A JSON object for the script.
    pub config: String,
    /// What it may use.
    pub limits: Limits,
    /// Where it may go.
    pub policy: Policy,
    /// Holds back suspicious deletes.
    pub guard: DeleteGuard,
    /// Ends it early.
    pub cancel: CancellationToken,
    /// Told how far it is.
    pub progress: watch::Sender<Progress>,
}

impl Execution {
    /// A run of `script` under its own name, that may go nowhere, with the default limits.
    #[must_use]
    pub fn new(script: Arc<sandbox::Script>, connection: ConnectionName) -> Self {
        let name = script.manifest.name.clone();
        let base_url = script.manifest.base_url.as_deref().and_then(|url| url.parse().ok());
        Self {
            script,
            name,
            connection,
            variant: Variant::default(),
            config: "{}".to_owned(),
            limits: Limits::default(),
            policy: Policy { base_url, ..Policy::default() },
            guard: DeleteGuard::default(),
            cancel: CancellationToken::new(),
            progress: watch::Sender::new(Progress::default()),
        }
    }
}

impl Runtime {
    /// Opens the data directory, creating it if there is none.
    pub fn open(data_dir: &Path, options: &StoreOptions) -> Result<Self, RuntimeError> {
        let store = EmbeddedStore::open(data_dir, options)?;
        let artifacts = Artifacts::new(data_dir.join("artifacts"), store.key("terapi 2026 compiled scripts"));
        let runtime = Self::with(Arc::new(store), Arc::new(SystemClock));
        Ok(Self { artifacts: Some(Arc::new(artifacts)), ..runtime })
    }

    /// A runtime on this store and clock.
    #[must_use]
    pub fn with(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let (sandbox, egress, loaded) = (Arc::default(), Arc::default(), Arc::default());
        Self { store, clock, sandbox, egress, pruned_at: Arc::default(), artifacts: None, loaded }
    }

    fn sandbox(&self) -> Result<&Sandbox, SandboxError> {
        if let Some(sandbox) = self.sandbox.get() {
            return Ok(sandbox);
        }
        // Two that come first at once make two; one stays.
        let sandbox = Sandbox::new(RUNS_AT_ONCE, Arc::clone(&self.clock))?;
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
        let egress = Egress::new()?;
        Ok(self.egress.get_or_init(|| egress))
    }

    /// The store, for reading: records, runs, logs.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Checks, compiles and links a script, and asks it to describe itself.
    pub async fn load(&self, bytes: Vec<u8>) -> Result<Arc<sandbox::Script>, RuntimeError> {
        let hash = ScriptHash::of(&bytes);
        if let Some(script) = self.loaded(&hash) {
            return Ok(script);
        }
        let script = self.sandbox()?.load(bytes).await?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(loaded.entry(hash).or_insert(script)))
    }

    fn loaded(&self, hash: &ScriptHash) -> Option<Arc<sandbox::Script>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// Deploys a script under a name, its own if none is given, with limits of its own.
    pub async fn deploy(
        &self,
        bytes: Vec<u8>,
        name: Option<ScriptName>,
        limits: &LimitOverrides,
    ) -> Result<Script, RuntimeError> {
        let loaded = self.load(bytes.clone()).await?;
        let encode = |error: serde_json::Error| StoreError::Storage { doing: "encode a script", source: error.into() };
        let script = Script {
            name: name.unwrap_or_else(|| loaded.manifest.name.clone()),
            version: 0,
            integration: None,
            hash: loaded.hash.clone(),
            size: loaded.size as u64,
            added_at: self.clock.now(),
            manifest: serde_json::to_string(&loaded.manifest).map_err(encode)?,
            limits: serde_json::to_string(limits).map_err(encode)?,
        };
        self.blocking(move |store| store.put_script(&script, &bytes)).await
    }

    /// A deployed script, ready to run, with its own limits.
    pub async fn deployed(&self, name: &ScriptName) -> Result<(Arc<sandbox::Script>, LimitOverrides), RuntimeError> {
        let key = name.clone();
        let row = self.blocking(move |store| store.script(&key)).await?;
        let row = row.ok_or_else(|| RuntimeError::UnknownScript(name.clone()))?;
        let limits = serde_json::from_str(&row.limits).unwrap_or_default();
        if let Some(script) = self.loaded(&row.hash) {
            return Ok((script, limits));
        }
        let bytes = self.blocking(move |store| store.script_bytes(&row.hash)).await?;
        let bytes = bytes.ok_or_else(|| RuntimeError::UnknownScript(name.clone()))?;
        Ok((self.load(bytes).await?, limits))
    }

    /// Does one sync, to its end. The error is that it could not begin; how it went is the run's outcome.
    pub async fn sync(&self, execution: Execution) -> Result<Run, RuntimeError> {
        let manifest = &execution.script.manifest;
        if manifest.kind != RunKind::Sync {
            let name = execution.name.clone();
            return Err(RuntimeError::WrongKind { name, is: "an action", needed: "a sync" });
        }
        check_json("the configuration", &execution.config)?;
        let refreshes = match manifest.mode {
            Some(SyncMode::FullRefresh) => manifest.models.iter().map(|model| model.name.clone()).collect(),
            _ => Vec::new(),
        };
        let run = self.new_run(&execution, RunKind::Sync);
        let (guard, cancel) = (execution.guard.clone(), execution.cancel.clone());
        let (sandbox, mut request) = (self.sandbox()?, self.request(execution, run.id)?);
        let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        let start = RunStart { run: run.clone(), lease_ms, refreshes };
        let lease = self.blocking(move |store| store.begin_run(start)).await?;
        let key = lease.sync.clone();
        let state = self.blocking(move |store| store.sync_state(&key)).await?;
        request.lease = Some(lease.clone());
        request.last_sync_date = state.last_sync_date;
        request.checkpoint = state.checkpoint;

        let report = {
            let work = sandbox.run(request);
            tokio::pin!(work);
            let mut renew = tokio::time::interval(RENEW_INTERVAL);
            loop {
                tokio::select! {
                    report = &mut work => break report,
                    _ = renew.tick() => {
                        let (held, now) = (lease.clone(), self.clock.now());
                        let renewed = self.blocking(move |store| store.renew_lease(&held, now)).await;
                        // Nothing it does counts any more; a storage error shows itself at the next write.
                        if matches!(renewed, Err(RuntimeError::Store(StoreError::LeaseLost))) {
                            cancel.cancel();
                        }
                    }
                }
            }
        };
        let run = self.finish(run, lease, report, guard).await?;
        self.prune().await;
        Ok(run)
    }

    /// Applies the operator's retention, if there is one, every hour that something runs.
    async fn prune(&self) {
        let now = self.clock.now();
        let last = self.pruned_at.swap(now.0, Ordering::Relaxed);
        if now.0.saturating_sub(last) < PRUNE_INTERVAL.as_millis().try_into().unwrap_or(u64::MAX) {
            self.pruned_at.store(last, Ordering::Relaxed);
            return;
        }
        if let Err(error) = self.blocking(move |store| store.prune(now)).await {
            tracing::error!(%error, "what the retention says could not be pruned");
        }
    }

    /// Ends a sync's run in the store. What the end itself brings up (the delete guard, a full disk) is an outcome too.
    async fn finish(
        &self,
        mut run: Run,
        lease: Lease,
        report: RunReport,
        guard: DeleteGuard,
    ) -> Result<Run, RuntimeError> {
        run.ended_at = Some(self.clock.now());
        run.outcome = Some(report.outcome);
        run.usage = report.usage;
        run.changes = report.changes;
        let log = report.log;
        self.blocking(move |store| {
            // Without its log the run is ended all the same, or its sync would stay busy.
            if let Err(error) = store.append_log(run.id, &log) {
                tracing::error!(%error, run = %run.id, "the last lines of a run's log were lost");
            }
            let error = match store.finish_run(&lease, &mut run, &guard) {
                Ok(()) => return Ok(run),
                Err(error) => error,
            };
            run.outcome = Some(match &error {
                StoreError::LeaseLost => Outcome::Stopped(Stopped {
                    reason: StopReason::Cancelled,
                    message: error.to_string(),
                    backtrace: Vec::new(),
                }),
                _ => Outcome::Failed(Failure {
                    code: error.code().to_owned(),
                    transient: matches!(error, StoreError::Storage { .. }),
                    message: error.to_string(),
                    details: None,
                    retry_after_ms: None,
                }),
            });
            match error {
                StoreError::LeaseLost => store.put_run(&run)?,
                _ => store.finish_run(&lease, &mut run, &guard)?,
            }
            Ok(run)
        })
        .await
    }

    /// Runs an action, to its end, and returns its output.
    pub async fn action(&self, execution: Execution, input: String) -> Result<(Run, Option<String>), RuntimeError> {
        if execution.script.manifest.kind != RunKind::Action {
            let name = execution.name.clone();
            return Err(RuntimeError::WrongKind { name, is: "a sync", needed: "an action" });
        }
        check_json("the configuration", &execution.config)?;
        if let Err(error) = serde_json::from_str::<&serde_json::value::RawValue>(&input) {
            return Err(RuntimeError::BadInput { what: "the input", reason: error.to_string() });
        }
        let mut run = self.new_run(&execution, RunKind::Action);
        let (sandbox, mut request) = (self.sandbox()?, self.request(execution, run.id)?);
        request.input = Some(input);
        let report = sandbox.run(request).await;
        run.ended_at = Some(self.clock.now());
        run.outcome = Some(report.outcome);
        run.usage = report.usage;
        let (row, log, output) = (run.clone(), report.log, report.output);
        self.blocking(move |store| {
            if !log.is_empty() {
                store.append_log(row.id, &log)?;
            }
            store.put_run(&row)
        })
        .await?;
        Ok((run, output))
    }

    /// Forgets what a sync remembers, so that its next run fetches everything; `mode` says what becomes of the records.
    pub async fn reset(&self, sync: SyncKey, mode: Reset) -> Result<(), RuntimeError> {
        let now = self.clock.now();
        self.blocking(move |store| store.reset(&sync, &mode, now)).await
    }

    fn new_run(&self, execution: &Execution, kind: RunKind) -> Run {
        let now = self.clock.now();
        Run {
            id: RunId::new(now),
            kind,
            sync: SyncKey {
                script: execution.name.clone(),
                connection: execution.connection.clone(),
                variant: execution.variant.clone(),
            },
            script: execution.script.hash.clone(),
            started_at: now,
            ended_at: None,
            outcome: None,
            usage: Usage::default(),
            changes: Changes::default(),
        }
    }

    fn request(&self, execution: Execution, run: RunId) -> Result<RunRequest, RuntimeError> {
        Ok(RunRequest {
            script: execution.script,
            run,
            connection: execution.connection,
            variant: execution.variant,
            config: execution.config,
            input: None,
            limits: execution.limits,
            store: Arc::clone(&self.store),
            lease: None,
            egress: self.egress()?.clone(),
            policy: Arc::new(execution.policy),
            guard: execution.guard,
            last_sync_date: None,
            checkpoint: None,
            cancel: execution.cancel,
            progress: execution.progress,
        })
    }

    /// Asks the store on a thread that may block.
    async fn blocking<T: Send + 'static>(
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
}

fn check_json(what: &'static str, text: &str) -> Result<(), RuntimeError> {
    canonical::validate_object(text).map_err(|error| RuntimeError::BadInput { what, reason: error.to_string() })
}
