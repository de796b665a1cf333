//! The scheduler's hands: what the [`Planner`] says is due is run here, and how it ended is told to it and written down.
//!
//! The planner's plans count while the process lives; each change is written to the sync's document as well, so that a start
//! goes on where a killed process was. Without [`Dispatch::serve`], as for a command on a data directory, nothing runs by
//! itself, and a run that is asked for is done by who asks.

mod admission;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::syncs::Asked;
use super::{Runtime, RuntimeError, lock};
use crate::clock::Clock;
use crate::ids::{EnvironmentName, RunId, SyncKey, Timestamp};
use crate::run::{Run, StopReason};
use crate::scheduler::{Admission, End, Ended, Placement, Plan, Planner, Schedule, Start};
use crate::script::ScriptError;
use crate::store::StoreError;

/// The clock is looked at so often even if nothing is due: it may jump.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);
/// What is left of a stop's patience for runs that are cancelled to write how they ended.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// A sync among those of all environments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SyncId {
    environment: EnvironmentName,
    sync: SyncKey,
}

impl fmt::Display for SyncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.environment, super::syncs::document_key(&self.sync))
    }
}

/// A run under way.
struct Active {
    cancel: CancellationToken,
    run: watch::Receiver<Option<RunId>>,
}

/// A run that was taken from the plan and not begun yet.
struct Begin {
    start: Start<SyncId>,
    cancel: CancellationToken,
    started: watch::Sender<Option<RunId>>,
}

/// What was asked for a sync's next run only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Once {
    /// Let it delete as much as it finds to delete.
    pub allow_deletes: bool,
}

/// Figures of the scheduler.
#[derive(Debug, Clone, Copy, Default)]
pub struct DispatchFigures {
    /// Runs under way.
    pub running: u64,
    /// The sum of their memory limits, in bytes.
    pub memory: u64,
    /// Runs that were started.
    pub started: u64,
    /// Milliseconds that runs started after they were due, all together.
    pub delay_ms: u64,
}

/// See the module.
pub(crate) struct Dispatch {
    planner: Mutex<Planner<SyncId>>,
    active: Mutex<HashMap<SyncId, Active>>,
    environments: Mutex<HashMap<EnvironmentName, Runtime>>,
    once: Mutex<HashMap<SyncId, Once>>,
    wake: Notify,
    /// Counts ends of runs, for who waits for one.
    ends: watch::Sender<u64>,
    serving: AtomicBool,
    /// Whose turn it is to wait for memory.
    turn: tokio::sync::Mutex<()>,
    /// Cancelled when no run may begin any more; runs under way end at their next checkpoint.
    park: CancellationToken,
    started: AtomicU64,
    delay_ms: AtomicU64,
    /// Delays of starts in milliseconds, for benches and metrics: counts below 1, 2, 4 … ms.
    delays: Mutex<[u64; 24]>,
}

impl Dispatch {
    pub(super) fn new(admission: Admission) -> Self {
        Self {
            planner: Mutex::new(Planner::new(admission)),
            active: Mutex::default(),
            environments: Mutex::default(),
            once: Mutex::default(),
            wake: Notify::new(),
            ends: watch::Sender::new(0),
            serving: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
            park: CancellationToken::new(),
            started: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            delays: Mutex::default(),
        }
    }

    pub(super) fn park(&self) -> &CancellationToken {
        &self.park
    }

    /// Whether runs start by themselves.
    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::SeqCst)
    }

    pub(crate) fn figures(&self) -> DispatchFigures {
        let planner = lock(&self.planner);
        DispatchFigures {
            running: u64::from(planner.running()),
            memory: planner.memory(),
            started: self.started.load(Ordering::Relaxed),
            delay_ms: self.delay_ms.load(Ordering::Relaxed),
        }
    }

    /// How many starts were late by less than 1, 2, 4, 8 … milliseconds.
    pub(crate) fn delays(&self) -> [u64; 24] {
        *lock(&self.delays)
    }

    fn id(runtime: &Runtime, key: &SyncKey) -> SyncId {
        SyncId { environment: runtime.name.clone(), sync: key.clone() }
    }

    /// Takes a sync into the plan. `memory` is the limit of its runs; whether its script is a suspect stays as it is known.
    pub(super) fn insert(&self, runtime: &Runtime, key: &SyncKey, (memory, suspect): (u64, bool), plan: Plan) {
        let id = Self::id(runtime, key);
        let (environment, connection) = (runtime.name.to_string(), key.connection.to_string());
        let placement = Placement { environment, connection, memory, suspect };
        lock(&self.planner).insert(&id, placement, plan, runtime.shared.clock.now());
        self.wake.notify_one();
    }

    pub(super) fn plan(&self, runtime: &Runtime, key: &SyncKey) -> Option<Plan> {
        lock(&self.planner).plan(&Self::id(runtime, key)).cloned()
    }

    pub(super) fn active_run(&self, runtime: &Runtime, key: &SyncKey) -> Option<RunId> {
        lock(&self.active).get(&Self::id(runtime, key)).and_then(|active| *active.run.borrow())
    }

    /// Changes a sync's plan, writes it down and looks what is due then.
    async fn change(
        &self,
        runtime: &Runtime,
        key: &SyncKey,
        change: impl FnOnce(&mut Planner<SyncId>, &SyncId, Timestamp),
    ) -> Result<(), RuntimeError> {
        self.load(runtime, key).await?;
        let id = Self::id(runtime, key);
        let plan = {
            let mut planner = lock(&self.planner);
            change(&mut planner, &id, runtime.shared.clock.now());
            planner.plan(&id).cloned()
        };
        self.wake.notify_one();
        let Some(plan) = plan else { return Ok(()) };
        runtime.save_plan(key, plan).await?;
        runtime.blocking(|store| store.sync()).await
    }

    /// Makes sure that the planner knows a sync.
    async fn load(&self, runtime: &Runtime, key: &SyncKey) -> Result<(), RuntimeError> {
        if self.plan(runtime, key).is_some() {
            return Ok(());
        }
        let sync = runtime.sync_document(key).await?;
        let script = runtime.script_row(&key.script).await?;
        let suspect = runtime.suspicion(&script.hash).await?.is_some();
        self.insert(runtime, key, (runtime.limits_of(&script, &sync.limits).memory, suspect), sync.plan);
        Ok(())
    }

    /// Whether the script of a sync is suspected from now on.
    pub(super) fn set_suspect(&self, runtime: &Runtime, key: &SyncKey, suspect: bool) {
        lock(&self.planner).set_suspect(&Self::id(runtime, key), suspect, runtime.shared.clock.now());
        self.wake.notify_one();
    }

    pub(super) async fn set_schedule(
        &self,
        runtime: &Runtime,
        key: &SyncKey,
        (memory, suspect): (u64, bool),
        schedule: Option<Schedule>,
        start_at: Option<Timestamp>,
    ) -> Result<(), RuntimeError> {
        self.load(runtime, key).await?;
        if let Some(plan) = self.plan(runtime, key) {
            self.insert(runtime, key, (memory, suspect), plan);
        }
        self.change(runtime, key, |planner, id, now| {
            planner.set_schedule(id, schedule, start_at, now);
        })
        .await
    }

    pub(super) async fn pause(
        &self,
        runtime: &Runtime,
        key: &SyncKey,
        reason: Option<String>,
    ) -> Result<(), RuntimeError> {
        self.change(runtime, key, |planner, id, now| {
            planner.pause(id, reason, now);
        })
        .await
    }

    pub(super) async fn resume(&self, runtime: &Runtime, key: &SyncKey) -> Result<(), RuntimeError> {
        self.change(runtime, key, |planner, id, now| {
            planner.resume(id, now);
        })
        .await
    }

    /// Cancels the run of a sync, if there is one. Says whether there was.
    pub(super) fn cancel(&self, runtime: &Runtime, key: &SyncKey) -> bool {
        match lock(&self.active).get(&Self::id(runtime, key)) {
            Some(active) => {
                active.cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// Cancels a run by its id. Says whether it was under way here.
    pub(super) fn cancel_run(&self, runtime: &Runtime, run: RunId) -> bool {
        let active = lock(&self.active);
        let mut own = active.iter().filter(|(id, _)| id.environment == runtime.name);
        match own.find(|(_, active)| *active.run.borrow() == Some(run)) {
            Some((_, active)) => {
                active.cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// Forgets a sync, when its run has ended, which is cancelled.
    pub(super) async fn remove(&self, runtime: &Runtime, key: &SyncKey) {
        let id = Self::id(runtime, key);
        lock(&self.planner).remove(&id);
        lock(&self.once).remove(&id);
        let mut ends = self.ends.subscribe();
        while self.cancel(runtime, key) {
            if ends.changed().await.is_err() {
                break;
            }
        }
    }

    /// Asks for a run now, and waits for its end for at most `wait`. Who asks while one is under way gets one more.
    pub(super) async fn trigger(
        &self,
        runtime: &Runtime,
        key: &SyncKey,
        once: Once,
        wait: Duration,
    ) -> Result<Asked, RuntimeError> {
        if self.park.is_cancelled() {
            return Err(RuntimeError::Stopping);
        }
        let id = Self::id(runtime, key);
        // Of several who ask for the same run each gets what it asked for.
        lock(&self.once).entry(id.clone()).or_default().allow_deletes |= once.allow_deletes;
        let mut ends = self.ends.subscribe();
        let asked_at = runtime.shared.clock.now();
        self.change(runtime, key, |planner, id, now| {
            planner.trigger(id, now);
        })
        .await?;
        if !self.is_serving() {
            let mut due = self.due(runtime.shared.clock.now());
            due.retain(|begin| begin.start.key == id);
            let Some(begin) = due.pop() else { return Ok(Asked::Pending { run: None }) };
            return Ok(Asked::Ended(Box::new(self.run(runtime, begin).await?)));
        }
        let ended = async {
            loop {
                let plan = self.plan(runtime, key)?;
                let after = plan.last_started_at.is_some_and(|at| at >= asked_at);
                if plan.running.is_none() && plan.trigger.is_none() {
                    // Where none has run since, somebody paused the sync, and what was asked for is dropped.
                    return Some(after);
                }
                ends.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(wait, ended).await {
            Ok(Some(false)) => Ok(Asked::Pending { run: None }),
            Ok(Some(true)) => match runtime.last_run(key).await? {
                Some(run) => Ok(Asked::Ended(Box::new(run))),
                None => Ok(Asked::Pending { run: None }),
            },
            Ok(None) => Err(RuntimeError::unknown("sync", key)),
            Err(_) => Ok(Asked::Pending { run: self.active_run(runtime, key) }),
        }
    }

    /// Takes the syncs of an environment into the plan.
    pub(super) async fn serve_environment(&self, runtime: &Runtime) -> Result<(), RuntimeError> {
        let scripts = runtime.blocking(|store| store.scripts()).await?;
        let suspicions = runtime.suspicions().await?;
        let placed = |sync: &super::syncs::Sync| match scripts.iter().find(|script| script.name == sync.key.script) {
            Some(script) => {
                let suspect = suspicions.contains_key(&script.hash.to_string());
                (runtime.limits_of(script, &sync.limits).memory, suspect)
            }
            None => (runtime.shared.options.limits.memory, false),
        };
        for sync in runtime.syncs(None, None, usize::MAX).await? {
            let placed = placed(&sync);
            self.insert(runtime, &sync.key, placed, sync.plan);
        }
        runtime.report_quarantines().await?;
        lock(&self.environments).insert(runtime.name.clone(), runtime.clone());
        Ok(())
    }

    /// Runs what is due, until `stop`; then parks what is under way, for at most `grace`.
    pub(crate) async fn serve(self: Arc<Self>, clock: Arc<dyn Clock>, stop: CancellationToken, grace: Duration) {
        self.serving.store(true, Ordering::SeqCst);
        let mut runs = JoinSet::new();
        loop {
            for begin in self.due(clock.now()) {
                let this = Arc::clone(&self);
                runs.spawn(async move { this.start(begin).await });
            }
            let now = clock.now();
            let wake = lock(&self.planner).next_wake(now);
            let sleep = wake.map_or(LOOK_AT_CLOCK, |at| Duration::from_millis(at.since(now)).min(LOOK_AT_CLOCK));
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
            while runs.try_join_next().is_some() {}
        }
        self.park.cancel();
        let served: Vec<_> = lock(&self.environments).values().cloned().collect();
        for runtime in served {
            runtime.note_stopping().await;
        }
        // They hold this scheduler by what environments share: else none of them would ever be dropped, nor its store
        // closed. Runs under way have theirs in hand.
        lock(&self.environments).clear();
        let mut drained = async || while runs.join_next().await.is_some() {};
        if tokio::time::timeout(grace, drained()).await.is_ok() {
            return;
        }
        lock(&self.active).values().for_each(|active| active.cancel.cancel());
        if tokio::time::timeout(CANCEL_PATIENCE, drained()).await.is_err() {
            tracing::warn!("some runs did not end in time; the next start goes on with them");
        }
    }

    /// Takes what is due from the plan. From here on it can be cancelled, so that who removes a sync waits for it.
    fn due(&self, now: Timestamp) -> Vec<Begin> {
        let mut planner = lock(&self.planner);
        let mut active = lock(&self.active);
        let begin = |start: Start<SyncId>| {
            let cancel = CancellationToken::new();
            let (started, run) = watch::channel(None);
            active.insert(start.key.clone(), Active { cancel: cancel.clone(), run });
            Begin { start, cancel, started }
        };
        planner.due(now).into_iter().map(begin).collect()
    }

    async fn start(&self, begin: Begin) {
        let id = begin.start.key.clone();
        // None while the service stops.
        let Some(runtime) = lock(&self.environments).get(&id.environment).cloned() else { return };
        if let Err(error) = self.run(&runtime, begin).await {
            tracing::warn!(%error, sync = %id, "a run could not begin");
        }
    }

    /// Does a run that the planner says is due, and tells it how it ended.
    async fn run(&self, runtime: &Runtime, begin: Begin) -> Result<Run, RuntimeError> {
        let Begin { start, cancel, started } = begin;
        let (id, key) = (&start.key, &start.key.sync);
        let now = runtime.shared.clock.now();
        self.note_delay(now.since(start.due_at));
        let once = lock(&self.once).remove(id).unwrap_or_default();
        let plan = lock(&self.planner).plan(id).cloned();
        let result = async {
            if let Some(plan) = plan {
                runtime.save_plan(key, plan).await?;
            }
            runtime.run_sync(key, once, cancel, started).await
        };
        let result = super::unbroken(result).await;
        lock(&self.active).remove(id);
        let end = match &result {
            Ok((run, checkpoint_moved)) => {
                let outcome = run.outcome.as_ref().map_or(Ended::Succeeded, Ended::from);
                let outcome = match outcome {
                    // Nobody asked for it but the end of the service, after which it goes on.
                    Ended::Stopped { reason: StopReason::Cancelled, message } if self.park.is_cancelled() => {
                        Ended::Stopped { reason: StopReason::Interrupted, message }
                    }
                    outcome => outcome,
                };
                End { outcome, checkpoint_moved: *checkpoint_moved }
            }
            Err(error) => End { outcome: not_begun(error), checkpoint_moved: false },
        };
        if let Some(message) = end.outcome.message() {
            tracing::info!(sync = %id, code = end.outcome.code(), message, "a run did not succeed");
        }
        let plan = lock(&self.planner).ended(id, &end, runtime.shared.clock.now()).cloned();
        let saved = match plan {
            Some(plan) => runtime.save_plan(key, plan).await,
            None => Ok(()),
        };
        self.ends.send_modify(|count| *count += 1);
        self.wake.notify_one();
        let (run, _) = result?;
        saved?;
        Ok(run)
    }

    fn note_delay(&self, ms: u64) {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.delay_ms.fetch_add(ms, Ordering::Relaxed);
        let class = usize::try_from(u64::BITS - ms.leading_zeros()).unwrap_or(usize::MAX);
        let mut delays = lock(&self.delays);
        let last = delays.len() - 1;
        if let Some(count) = delays.get_mut(class.min(last)) {
            *count += 1;
        }
    }
}

/// What the planner is told of a run that could not begin.
fn not_begun(error: &RuntimeError) -> Ended {
    if let RuntimeError::Broke(message) = error {
        return Ended::Stopped { reason: StopReason::Internal, message: message.clone() };
    }
    let transient = matches!(
        error,
        RuntimeError::Store(StoreError::Storage { .. } | StoreError::SyncBusy(_) | StoreError::LeaseLost)
            | RuntimeError::Script(ScriptError::CompileInterrupted(_) | ScriptError::CompileBusy { .. })
            | RuntimeError::Sandbox(_)
            | RuntimeError::Egress(_)
            | RuntimeError::Stopping
    );
    let (code, message) = (error.code().to_owned(), error.to_string());
    Ended::Failed { code, message, transient, retry_after_ms: None }
}
