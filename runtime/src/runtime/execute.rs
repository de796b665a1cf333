//! One run of a sync or an action, from its lease to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::connections::ConnectionFacts;
use super::quarantine::judge;
use super::{Asked, Once, Runtime, RuntimeError};
use crate::clock::JumpingClock;
use crate::egress::{Egress, Exchange, Policy};
use crate::ids::{ConnectionName, RunId, ScriptName, SyncKey, Variant};
use crate::incident;
use crate::run::{Changes, Failure, LogLine, Outcome, Run, RunKind, StopReason, Stopped, Usage};
use crate::sandbox::{self, Limits, Progress, Recorder, RunReport, RunRequest};
use crate::script::SyncMode;
use crate::store::{DeleteGuard, Lease, Reset, RunStart, RunsQuery, Store, StoreError, canonical};

/// For how long a run holds its sync without a sign of life.
const LEASE: Duration = Duration::from_mins(1);
/// How often it gives one: often enough that three in a row may be late.
const RENEW_INTERVAL: Duration = Duration::from_secs(15);

/// One run to do.
pub struct Execution {
    /// What to run.
    pub script: Arc<sandbox::Script>,
    /// Under which name its state is kept.
    pub name: ScriptName,
    /// On which connection.
    pub connection: ConnectionName,
    /// What the script may know of it, as [`Runtime::connection_facts`] has it; its name alone if not given.
    pub connection_facts: Option<Arc<str>>,
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
    /// Ends it at its next checkpoint.
    pub park: CancellationToken,
    /// Told its id when it has begun.
    pub started: watch::Sender<Option<RunId>>,
    /// Told how far it is.
    pub progress: watch::Sender<Progress>,
    /// Writes down what it does.
    pub recorder: Option<Arc<Recorder>>,
    /// Another way out than the runtime's own.
    pub egress: Option<Egress>,
    /// A clock that jumps where the run would wait, in place of the machine's. Needs a recorder.
    pub time: Option<Arc<JumpingClock>>,
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
            connection_facts: None,
            variant: Variant::default(),
            config: "{}".to_owned(),
            limits: Limits::default(),
            policy: Policy { base_url, ..Policy::default() },
            guard: DeleteGuard::default(),
            cancel: CancellationToken::new(),
            park: CancellationToken::new(),
            started: watch::Sender::new(None),
            progress: watch::Sender::new(Progress::default()),
            recorder: None,
            egress: None,
            time: None,
        }
    }
}

impl Runtime {
    /// Does one run of a sync as it is configured. Says whether the checkpoint is another than at its start.
    pub(super) async fn run_sync(
        &self,
        key: &SyncKey,
        once: Once,
        cancel: CancellationToken,
        started: watch::Sender<Option<RunId>>,
    ) -> Result<(Run, bool), RuntimeError> {
        sandbox::failpoint("run::begin", &key.connection);
        let sync = self.sync_document(key).await?;
        let policy = self.policy(&key.connection).await?;
        let facts = self.connection_facts(&key.connection).await?;
        let row = self.script_row(&key.script).await?;
        let alone = self.admit_suspect(&row, &cancel).await?;
        // A version that came meanwhile is another script, against which nothing is held yet.
        let (script, row) = self.deployed(&key.script).await?;
        let hash = row.hash.clone();
        let mut execution = Execution::new(script, key.connection.clone());
        execution.name = key.script.clone();
        execution.connection_facts = Some(facts);
        execution.variant = key.variant.clone();
        execution.config = sync.config;
        execution.limits = self.limits_of(&row, &sync.limits);
        execution.policy = with_base_url(&policy, execution.policy.base_url);
        execution.guard.allow = once.allow_deletes;
        execution.cancel = cancel;
        execution.park = self.shared.scheduler.park().clone();
        execution.started = started;
        let ended = Box::pin(self.sync_and_compare(execution)).await;
        let was_suspect = alone.is_some();
        drop(alone);
        if was_suspect != self.suspicion(&hash).await?.is_some() {
            self.suspicion_changed(&hash).await?;
        }
        ended
    }

    /// Asks for a run of a sync now, and waits for its end for at most `wait`.
    pub async fn trigger(&self, key: &SyncKey, once: Once, wait: Duration) -> Result<Asked, RuntimeError> {
        self.sync_document(key).await?;
        self.refuse_quarantined(&self.script_row(&key.script).await?).await?;
        self.shared.scheduler.trigger(self, key, once, wait).await
    }

    /// Pauses a sync until it is started again.
    pub async fn pause(&self, key: &SyncKey, reason: Option<String>) -> Result<(), RuntimeError> {
        self.shared.scheduler.pause(self, key, reason).await
    }

    /// Lets a paused sync run as its schedule says.
    pub async fn start(&self, key: &SyncKey) -> Result<(), RuntimeError> {
        self.shared.scheduler.resume(self, key).await
    }

    /// Cancels the run of a sync, if one is under way. Says whether there was one.
    pub async fn cancel_sync(&self, key: &SyncKey) -> Result<bool, RuntimeError> {
        self.sync_document(key).await?;
        Ok(self.shared.scheduler.cancel(self, key))
    }

    /// Cancels a run. Says whether it was under way.
    pub async fn cancel_run(&self, run: RunId) -> Result<bool, RuntimeError> {
        let known = self.blocking(move |store| store.run(run)).await?;
        known.ok_or_else(|| RuntimeError::unknown("run", &run))?;
        Ok(self.shared.scheduler.cancel_run(self, run))
    }

    /// The last run of a sync.
    pub(super) async fn last_run(&self, key: &SyncKey) -> Result<Option<Run>, RuntimeError> {
        let query = RunsQuery {
            connection: Some(key.connection.clone()),
            script: Some(key.script.clone()),
            variant: Some(key.variant.clone()),
            ..RunsQuery::newest(1)
        };
        Ok(self.blocking(move |store| store.runs(&query)).await?.runs.pop())
    }

    /// Does one sync, to its end. The error is that it could not begin; how it went is the run's outcome.
    pub async fn sync(&self, execution: Execution) -> Result<Run, RuntimeError> {
        self.sync_and_compare(execution).await.map(|(run, _)| run)
    }

    /// Does one sync, to its end, and says whether the checkpoint is another than at its start.
    async fn sync_and_compare(&self, execution: Execution) -> Result<(Run, bool), RuntimeError> {
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
        let (guard, cancel, started) = (execution.guard.clone(), execution.cancel.clone(), execution.started.clone());
        let (sandbox, mut request) = (self.shared.sandbox()?, self.request(execution, run.id)?);
        let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        let start = RunStart { run: run.clone(), lease_ms, refreshes };
        let (lease, state) = self
            .blocking(move |store| {
                let lease = store.begin_run(start)?;
                let state = store.sync_state(&lease.sync)?;
                Ok((lease, state))
            })
            .await?;
        started.send_replace(Some(run.id));
        request.lease = Some(lease.clone());
        request.last_sync_date = state.last_sync_date;
        request.checkpoint.clone_from(&state.checkpoint);

        let report = {
            let work = sandbox.run(request);
            tokio::pin!(work);
            let mut renew = tokio::time::interval(RENEW_INTERVAL);
            loop {
                tokio::select! {
                    report = &mut work => break report,
                    _ = renew.tick() => {
                        let (held, now) = (lease.clone(), self.shared.clock.now());
                        let renewed = self.blocking(move |store| store.renew_lease(&held, now)).await;
                        // Nothing it does counts any more; a storage error shows itself at the next write.
                        if matches!(renewed, Err(RuntimeError::Store(StoreError::LeaseLost))) {
                            cancel.cancel();
                        }
                    }
                }
            }
        };
        let (run, checkpoint) = self.finish(run, lease, report, guard).await?;
        self.keep_house_at_times().await;
        Ok((run, checkpoint != state.checkpoint))
    }

    /// Ends a sync's run in the store, and returns the checkpoint that it leaves. What the end itself brings up (the delete
    /// guard, a full disk) is an outcome too.
    async fn finish(
        &self,
        mut run: Run,
        lease: Lease,
        report: RunReport,
        guard: DeleteGuard,
    ) -> Result<(Run, Option<String>), RuntimeError> {
        run.ended_at = Some(self.shared.clock.now());
        report_stop(&run, &report.outcome);
        run.outcome = Some(report.outcome);
        run.usage = report.usage;
        run.changes = report.changes;
        let (log, trace) = (report.log, report.trace);
        self.blocking(move |store| {
            note(store, run.id, &log, &trace);
            let checkpoint = store.sync_state(&lease.sync)?.checkpoint;
            let error = match store.finish_run(&lease, &mut run, &guard) {
                Ok(()) => {
                    judge(store, &run.script, run.id, run.outcome.as_ref(), false)?;
                    return Ok((run, checkpoint));
                }
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
                StoreError::LeaseLost => {
                    store.put_run(&run)?;
                    judge(store, &run.script, run.id, None, true)?;
                }
                _ => store.finish_run(&lease, &mut run, &guard)?,
            }
            Ok((run, checkpoint))
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
        if let Err(error) = canonical::validate_value(&input) {
            return Err(RuntimeError::BadInput { what: "the input", reason: error.to_string() });
        }
        let mut run = self.new_run(&execution, RunKind::Action);
        let (sandbox, mut request) = (self.shared.sandbox()?, self.request(execution, run.id)?);
        request.input = Some(input);
        let cancel = request.cancel.clone();
        let admitted = tokio::select! {
            // Then it ends at once.
            () = cancel.cancelled() => None,
            admitted = self.shared.scheduler.admit(request.limits.memory) => Some(admitted),
        };
        sandbox::failpoint("run::begin", &run.sync.connection);
        // Should the process die of it, the next one has to know.
        let begun = run.clone();
        self.blocking(move |store| store.put_run(&begun)).await?;
        let report = sandbox.run(request).await;
        drop(admitted);
        run.ended_at = Some(self.shared.clock.now());
        report_stop(&run, &report.outcome);
        run.outcome = Some(report.outcome);
        run.usage = report.usage;
        let (row, log, trace, output) = (run.clone(), report.log, report.trace, report.output);
        self.blocking(move |store| {
            note(store, row.id, &log, &trace);
            store.put_run(&row)?;
            judge(store, &row.script, row.id, row.outcome.as_ref(), false)
        })
        .await?;
        Ok((run, output))
    }

    /// Forgets what a sync remembers, so that its next run fetches everything; `mode` says what becomes of the records.
    pub async fn reset(&self, sync: SyncKey, mode: Reset) -> Result<(), RuntimeError> {
        let now = self.shared.clock.now();
        self.blocking(move |store| store.reset(&sync, &mode, now)).await
    }

    fn new_run(&self, execution: &Execution, kind: RunKind) -> Run {
        let now = self.shared.clock.now();
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
        let facts =
            execution.connection_facts.unwrap_or_else(|| ConnectionFacts::unknown(&execution.connection).json());
        Ok(RunRequest {
            script: execution.script,
            run,
            connection: execution.connection,
            connection_facts: facts,
            variant: execution.variant,
            config: execution.config,
            input: None,
            limits: execution.limits,
            store: Arc::clone(&self.store),
            lease: None,
            egress: match execution.egress {
                Some(egress) => egress,
                None => self.shared.egress()?.clone(),
            },
            policy: Arc::new(execution.policy),
            guard: execution.guard,
            last_sync_date: None,
            checkpoint: None,
            cancel: execution.cancel,
            park: execution.park,
            progress: execution.progress,
            recorder: execution.recorder,
            time: execution.time,
        })
    }
}

/// Tells the operator of a limit that ended a run.
fn report_stop(run: &Run, outcome: &Outcome) {
    let Outcome::Stopped(stopped) = outcome else { return };
    match stopped.reason {
        StopReason::Cancelled | StopReason::Parked | StopReason::Interrupted => {}
        StopReason::OutOfFuel
        | StopReason::OutOfMemory
        | StopReason::TimedOut
        | StopReason::Trapped
        | StopReason::Exhausted
        | StopReason::Internal => {
            let place = format_args!("run {} of script {} ({})", run.id, run.sync.script, run.script.short());
            incident::report(stopped.reason.code(), place, &stopped.message);
        }
    }
}

/// What a run logged and requested. Without it the run is ended all the same, or its sync would stay busy.
fn note(store: &dyn Store, run: RunId, log: &[LogLine], trace: &[Exchange]) {
    let noted = store.append_log(run, log).and_then(|()| match trace {
        [] => Ok(()),
        trace => store.put_trace(run, &super::json(&trace)?),
    });
    if let Err(error) = noted {
        tracing::error!(%error, %run, "the last lines of a run's log, or its trace, were lost");
    }
}

/// The policy of a connection; where neither it nor its integration names a base URL, the script's own is taken.
pub(super) fn with_base_url(policy: &Policy, of_script: Option<url::Url>) -> Policy {
    let base_url = policy.base_url.clone().or(of_script);
    Policy { base_url, ..policy.clone() }
}

fn check_json(what: &'static str, text: &str) -> Result<(), RuntimeError> {
    canonical::validate_object(text).map_err(|error| RuntimeError::BadInput { what, reason: error.to_string() })
}
