//! Runs that are tried out: on the store without writing to it, on no store at all, or from a cassette.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::{Execution, Options, Runtime, RuntimeError, Shared};
use crate::clock::{Clock, SystemClock};
use crate::ids::{EnvironmentName, SyncKey};
use crate::run::{LogLine, Run, RunKind};
use crate::sandbox::{self, Artifacts, Cassette, LimitOverrides, ReplayReport, ReplayRequest};
use crate::store::rehearsal::{Rehearsal, Rehearsed};
use crate::store::{Reset, SyncState};

/// A run that wrote nothing.
#[derive(Debug)]
pub struct DryRun {
    /// How it went. It is not among the runs that are kept.
    pub run: Run,
    /// An action's output, as JSON.
    pub output: Option<String>,
    /// What it would have changed.
    pub changes: Rehearsed,
    /// What the sync remembers.
    pub before: SyncState,
    /// What it would remember.
    pub after: SyncState,
    /// What it logged.
    pub log: Vec<LogLine>,
}

impl Runtime {
    /// Does a run without writing: the connection and the API are the real ones, what is stored is read, and what would be
    /// written stays in memory. It takes no lease, so it neither waits for a run of the sync nor holds one back. Only a new
    /// access token of the connection is kept, since the API may have made the old one invalid. What the script does to the
    /// API it does: an action, for example, acts.
    pub async fn dry_run(
        &self,
        execution: Execution,
        input: String,
        reset: Option<Reset>,
    ) -> Result<DryRun, RuntimeError> {
        let rehearsal = Arc::new(Rehearsal::over(Arc::clone(&self.store)));
        let stage = self.on(Arc::clone(&rehearsal));
        let sync = SyncKey {
            script: execution.name.clone(),
            connection: execution.connection.clone(),
            variant: execution.variant.clone(),
        };
        let key = sync.clone();
        let before = self.blocking(move |store| store.sync_state(&key)).await?;
        if let Some(mode) = reset {
            stage.reset(sync.clone(), mode).await?;
        }
        let (run, output) = stage.execute(execution, input).await?;
        let key = sync.clone();
        let after = stage.blocking(move |store| store.sync_state(&key)).await?;
        let log = rehearsal.logged();
        let changes = tokio::task::spawn_blocking(move || rehearsal.changes()).await;
        let changes = changes.map_err(|error| crate::store::StoreError::Storage {
            doing: "compare",
            source: std::io::Error::other(error.to_string()),
        })??;
        Ok(DryRun { run, output, changes, before, after, log })
    }

    /// Runs a sync or an action, whichever the script is.
    async fn execute(&self, execution: Execution, input: String) -> Result<(Run, Option<String>), RuntimeError> {
        if execution.script.manifest.kind == RunKind::Action {
            return self.action(execution, input).await;
        }
        Ok((self.sync(execution).await?, None))
    }

    /// Runs a script with what a cassette answers. Nothing is sent or stored.
    pub async fn replay(
        &self,
        script: Arc<sandbox::Script>,
        cassette: Cassette,
        limits: LimitOverrides,
        cancel: CancellationToken,
    ) -> Result<ReplayReport, RuntimeError> {
        let request = ReplayRequest { script, cassette, limits, cancel };
        Ok(self.shared.sandbox()?.replay(request).await?)
    }

    /// This runtime, on that store.
    fn on(&self, store: Arc<Rehearsal>) -> Self {
        let runtime = Self::new(self.name.clone(), store, Arc::clone(&self.shared));
        // Nothing gets old here, and there is nothing to be forgotten: the next housekeeping is never.
        runtime.kept_house_at.store(u64::MAX, Ordering::Relaxed);
        runtime
    }
}

/// Where scripts are tried out without any data of ours.
#[derive(Clone)]
pub struct Workshop {
    runtime: Runtime,
}

impl Workshop {
    /// A workshop that compiles for itself.
    #[must_use]
    pub fn new() -> Self {
        Self::keeping(None)
    }

    /// One that keeps what it compiles in a data directory, if there is one, whoever has it open. Of all else there it takes
    /// no notice.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self::keeping(super::service::artifacts_in(data_dir))
    }

    fn keeping(artifacts: Option<Artifacts>) -> Self {
        let artifacts = artifacts.map(Arc::new);
        let shared = Arc::new(Shared::new(Arc::new(SystemClock) as Arc<dyn Clock>, Options::default(), artifacts));
        let runtime = Runtime::new(EnvironmentName::default(), Arc::new(Rehearsal::empty()), shared);
        Self { runtime }
    }

    /// One that keeps what it compiles where this runtime does.
    #[must_use]
    pub fn beside(runtime: &Runtime) -> Self {
        Self { runtime: runtime.on(Arc::new(Rehearsal::empty())) }
    }

    /// What is here.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Does a run on an empty store, on which `prepare` may put something first. What it wrote is in the store.
    pub async fn run(
        &self,
        execution: Execution,
        input: String,
        prepare: impl FnOnce(&Rehearsal),
    ) -> Result<(Run, Option<String>, Arc<Rehearsal>), RuntimeError> {
        let rehearsal = Arc::new(Rehearsal::empty());
        prepare(&rehearsal);
        let (run, output) = self.runtime.on(Arc::clone(&rehearsal)).execute(execution, input).await?;
        Ok((run, output, rehearsal))
    }
}

impl Default for Workshop {
    fn default() -> Self {
        Self::new()
    }
}
