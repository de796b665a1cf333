//! The sandbox: where scripts of strangers run.
//!
//! A run is a fresh instance of a script that was compiled and linked once. Four stops hold it, each typed and stored
//! with the run: fuel, time (a deadline and a cancellation, around instantiation *and* call), memory (one meter over all
//! memories, tables and the host's buffers), and what host calls may carry and use up. Whatever a guest does, [`run`]
//! returns; nothing here panics on it, and a panic of ours ends that run alone.
//!
//! - `engine`: the one configuration · `load`: bytes → [`Script`] · `manifest`: what it says of itself · `artifacts`: what was compiled is kept
//! - `compiler`: compiling, in a process of its own
//! - `text`: scripts that are text, and the engine that they run in
//! - `request`: what a run works with, and what comes back · `limits`: [`Limits`] and the meter
//! - `tape`: a run's host calls in a file, and answered from it
//! - `host`: the host functions · `fees`: what they cost · `stdio`: what it prints · `outcome`: how it ended
//!
//! [`run`]: Sandbox::run

mod artifacts;
mod bindings;
mod compiler;
mod engine;
mod fees;
mod host;
mod limits;
mod load;
mod manifest;
mod outcome;
mod request;
mod stdio;
mod tape;
mod text;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{InstancePre, Linker};
use wasmtime::{CallHook, Engine, Trap};

pub use self::artifacts::Artifacts;
pub(crate) use self::compiler::{COMMAND as COMPILE_COMMAND, compile_component};
pub use self::compiler::{CompileLimits, Patience};
pub use self::engine::MAX_MEMORY;
pub use self::host::Progress;
pub use self::limits::{LimitOverrides, Limits, MAX_TRACE, bytes};
pub use self::load::{Script, Surface};
pub use self::request::{ReplayReport, ReplayRequest, RunReport, RunRequest};
pub use self::tape::{
    Cassette, CassetteError, Difference, Found, Header, RecordedCall, Recorder, json_difference, value_in_short,
};
pub use self::text::{engine_component, engine_hash, stand_alone};

use self::bindings::types;
use self::compiler::Compiler;
use self::fees::Fees;
use self::host::{HostState, Refusals, Requests, RunHost};
use self::limits::{FUEL_YIELD_INTERVAL, HOST_CALL_BYTES, RunMeter};
use self::load::Pre;
use self::stdio::LogBuffer;
use self::tape::{Replay, Tape};
use crate::clock::Clock;
use crate::ids::ConnectionName;
use crate::run::{Changes, Outcome, RunKind};
use crate::script::ScanLimits;
use crate::script::javascript::Built;
use crate::store::canonical;

/// The largest output of an action.
const MAX_OUTPUT_BYTES: usize = 2 << 20;

/// Compiles and runs scripts. A cheap handle.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    linker: Arc<Linker<HostState>>,
    clock: Arc<dyn Clock>,
    slots: Arc<Semaphore>,
    describing: Arc<Semaphore>,
    artifacts: Option<Arc<Artifacts>>,
    scan_limits: ScanLimits,
    compiler: Arc<Compiler>,
    text_engine: Arc<tokio::sync::OnceCell<InstancePre<HostState>>>,
}

/// What scripts may be made of, and what compiling one may take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadLimits {
    /// What is looked for before it is compiled.
    pub scan: ScanLimits,
    /// What holds while it is compiled.
    pub compile: CompileLimits,
}

/// The sandbox could not be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox could not be set up: {0}")]
pub struct SandboxError(String);

impl SandboxError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "sandbox-setup"
    }
}

/// Scripts that are asked for their manifest at once. They have slots of their own, so that uploads take none from runs.
const DESCRIBES: u32 = 4;

/// A guest's store with its meters.
struct Guest {
    store: wasmtime::Store<HostState>,
    meter: Arc<RunMeter>,
    log: Arc<LogBuffer>,
    /// How often it was given a thread.
    turns: Arc<AtomicU64>,
}

/// Why a guest did not return.
enum Stop {
    Error(wasmtime::Error),
    TimedOut,
    Cancelled,
    Panicked(String),
}

impl Sandbox {
    /// A sandbox in which `runs` runs fit at once; more wait for a slot.
    pub fn new(runs: u32, clock: Arc<dyn Clock>) -> Result<Self, SandboxError> {
        let engine =
            engine::engine(runs.saturating_add(DESCRIBES)).map_err(|error| SandboxError(format!("{error:#}")))?;
        let mut linker = Linker::new(&engine);
        load::link(&mut linker).map_err(|error| SandboxError(format!("{error:#}")))?;
        let slots = Arc::new(Semaphore::new(runs as usize));
        let compiler = Arc::new(Compiler::new(None, CompileLimits::default()));
        Ok(Self {
            engine,
            linker: Arc::new(linker),
            clock,
            slots,
            describing: Arc::new(Semaphore::new(DESCRIBES as usize)),
            artifacts: None,
            scan_limits: ScanLimits::default(),
            compiler,
            text_engine: Arc::default(),
        })
    }

    /// Takes scripts up to these limits, and compiles them with this program, which is Terapi, in a process of their own; in
    /// this process if none is given. That takes somewhere to [keep](Self::keeping) what is compiled.
    #[must_use]
    pub fn taking(self, uploads: &UploadLimits, compiler: Option<PathBuf>) -> Self {
        let compiler = Arc::new(Compiler::new(compiler, uploads.compile.clone()));
        Self { scan_limits: uploads.scan, compiler, ..self }
    }

    /// Keeps what it compiles, and takes what was kept.
    #[must_use]
    pub fn keeping(self, artifacts: Arc<Artifacts>) -> Self {
        Self { artifacts: Some(artifacts), ..self }
    }

    /// Runs a script to its end, whatever that is. Waits for a free slot first; that wait is not the run's, but can be
    /// cancelled like it.
    pub async fn run(&self, request: RunRequest) -> RunReport {
        let Some(recorder) = request.recorder.clone() else { return self.run_in_slot(request).await };
        recorder.start(&request, self.clock.now());
        let report = self.run_in_slot(request).await;
        recorder.end(&report.outcome, report.output.as_deref());
        report
    }

    /// Runs a script with what a cassette answers: nothing is sent and nothing stored. Ends where the script first does
    /// something that is not in the cassette.
    ///
    /// # Errors
    /// The cassette is of a script of the other kind, or its file cannot be read any more.
    pub async fn replay(&self, request: ReplayRequest) -> Result<ReplayReport, CassetteError> {
        let ReplayRequest { script, cassette, limits, cancel } = request;
        let header = &cassette.header;
        if script.manifest.kind != header.kind {
            let word = |kind| if kind == RunKind::Sync { "a sync" } else { "an action" };
            let (recorded, script) = (word(header.kind), word(script.manifest.kind));
            return Err(CassetteError::OtherKind { path: cassette.path().to_owned(), recorded, script });
        }
        let replay = Arc::new(Replay::new(&cassette)?);
        let slot = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            slot = self.slots.acquire() => slot.ok(),
        };
        let start = Instant::now();
        let tape = Some((Tape::Replaying(Arc::clone(&replay)), header.seed()));
        let limits = header.limits().with(&limits);
        let guest = self.guest(limits, None, script.pre.has_one_memory(), script.text.clone(), tape);
        let context = types::Context {
            run_id: header.run.to_string(),
            connection: header.connection.to_string(),
            variant: header.variant.to_string(),
            config: header.config.clone(),
        };
        if slot.is_none() {
            cancel.cancel();
        }
        let report = self.drive(guest, &script, context, header.input.clone(), &cancel, start).await;
        let played = replay.finish(report.outcome, report.output.as_deref())?;
        Ok(ReplayReport {
            difference: played.difference,
            calls: played.calls,
            outcome: played.outcome,
            output: report.output,
            usage: report.usage,
            log: report.log,
        })
    }

    async fn run_in_slot(&self, request: RunRequest) -> RunReport {
        let slot = tokio::select! {
            biased;
            () = request.cancel.cancelled() => None,
            slot = self.slots.acquire() => slot.ok(),
        };
        let start = Instant::now();
        let Some(_slot) = slot else {
            let meter = RunMeter::new(request.limits);
            let outcome = Outcome::Stopped(outcome::stopped(&Stop::Cancelled, &meter));
            let usage = meter.usage(0, start.elapsed());
            return RunReport {
                outcome,
                usage,
                changes: Changes::default(),
                output: None,
                log: Vec::new(),
                trace: Vec::new(),
            };
        };
        let context = types::Context {
            run_id: request.run.to_string(),
            connection: request.connection.to_string(),
            variant: request.variant.to_string(),
            config: request.config.clone(),
        };
        let (script, cancel) = (Arc::clone(&request.script), request.cancel.clone());
        let (input, limits) = (request.input.clone(), request.limits.clone());
        let tape = request.recorder.clone().map(|recorder| {
            let seed = *recorder.seed();
            (Tape::Recording(recorder), seed)
        });
        let means = self.means(request, &script);
        let guest = self.guest(limits, Some(means), script.pre.has_one_memory(), script.text.clone(), tape);
        self.drive(guest, &script, context, input, &cancel, start).await
    }

    /// Instantiates the script in its guest and calls it, to its end.
    async fn drive(
        &self,
        mut guest: Guest,
        script: &Script,
        context: types::Context,
        input: Option<String>,
        cancel: &CancellationToken,
        start: Instant,
    ) -> RunReport {
        let (fuel, timeout) = (guest.meter.limits.fuel, guest.meter.limits.timeout);
        let call = call(&mut guest.store, &script.pre, context, input);
        let mut ended = guarded(call, &guest.turns, timeout, cancel).await;
        let (left, owed) = (guest.store.get_fuel().unwrap_or(0), guest.store.data().fees.owed());
        if left < owed && ended.is_ok() {
            ended = Err(Stop::Error(Trap::OutOfFuel.into()));
        }
        let left = left.saturating_sub(owed);
        let (outcome, output) = match ended {
            Ok(Ok(output)) => (Outcome::Succeeded, output),
            Ok(Err(failure)) => (Outcome::Failed(outcome::failed(failure, script.text.as_deref())), None),
            Err(stop) => {
                let mut stopped = outcome::stopped(&stop, &guest.meter);
                if script.text.is_some() {
                    // The engine's own functions say nothing to the author.
                    stopped.backtrace.clear();
                }
                (Outcome::Stopped(stopped), None)
            }
        };
        let (outcome, output) = check_output(outcome, output);
        let changes = guest.store.data().run.as_ref().map(|run| run.changes).unwrap_or_default();
        let Guest { store, meter, log, .. } = guest;
        // Ends its requests and its half-printed lines. Should that panic, it ends this run alone.
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(store)));
        let (outcome, output) = match dropped {
            Ok(()) => (outcome, output),
            Err(panic) => {
                let stop = Stop::Panicked(panic_text(&*panic));
                (Outcome::Stopped(outcome::stopped(&stop, &meter)), None)
            }
        };
        meter.log_bytes.store(log.total_bytes(), Ordering::SeqCst);
        let usage = meter.usage(fuel.saturating_sub(left), start.elapsed());
        let trace = meter.take_trace();
        RunReport { outcome, usage, changes, output, log: log.take_rest(), trace }
    }

    fn means(&self, request: RunRequest, script: &Script) -> RunHost {
        #[cfg(feature = "failpoints")]
        let farewell = request.connection.clone();
        let permits = Arc::new(Semaphore::new(request.policy.concurrency.max(1)));
        let refusals = Arc::new(Refusals::new(request.run, &request.connection));
        let models = script.manifest.models.iter();
        let models: HashMap<_, _> = models.map(|model| (model.name.to_string(), model.rule())).collect();
        RunHost {
            store: request.store,
            egress: request.egress,
            policy: request.policy,
            clock: Arc::clone(&self.clock),
            time: request.time,
            lease: request.lease,
            connection: request.connection,
            connection_facts: request.connection_facts,
            variant: request.variant,
            models,
            guard: request.guard,
            ended: HashSet::new(),
            run: request.run,
            last_sync_date: request.last_sync_date,
            checkpoint: request.checkpoint,
            park: request.park,
            changes: Changes::default(),
            progress: request.progress,
            requests: Requests { last_ticket: 0, under_way: JoinSet::new(), lists: HashMap::new(), permits, refusals },
            handed_over: 0,
            #[cfg(feature = "failpoints")]
            farewell: host::Farewell(farewell),
        }
    }

    fn guest(
        &self,
        limits: Limits,
        run: Option<RunHost>,
        one_memory: bool,
        text: Option<Arc<Built>>,
        tape: Option<(Tape, [u8; 32])>,
    ) -> Guest {
        let fuel = limits.fuel;
        let log = Arc::new(LogBuffer::new(Arc::clone(&self.clock), limits.log_bytes));
        let meter = Arc::new(RunMeter::new(limits));
        let turns = Arc::new(AtomicU64::new(0));
        let fees = Fees::new(Arc::clone(&turns), !one_memory);
        let state = HostState::new(Arc::clone(&meter), Arc::clone(&log), run, fees, text, tape);
        let mut store = wasmtime::Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(HOST_CALL_BYTES);
        store.call_hook(|mut store, hook| match hook {
            CallHook::CallingHost => {
                store.data_mut().fees.leave();
                Ok(())
            }
            CallHook::ReturningFromHost => fees::settle(store),
            CallHook::CallingWasm | CallHook::ReturningFromWasm => Ok(()),
        });
        // Neither fails with fuel switched on in the engine; if one did, the guest would have no fuel at all.
        let metered = store.set_fuel(fuel).and_then(|()| store.fuel_async_yield_interval(Some(FUEL_YIELD_INTERVAL)));
        if let Err(error) = metered {
            tracing::error!(%error, "a guest could not be given fuel");
        }
        Guest { store, meter, log, turns }
    }
}

/// Instantiates and calls. The outer error is a trap, the inner one what the script returned.
async fn call(
    store: &mut wasmtime::Store<HostState>,
    pre: &Pre,
    context: types::Context,
    input: Option<String>,
) -> wasmtime::Result<Result<Option<String>, types::Failure>> {
    match pre {
        Pre::Sync(pre) => {
            let sync = pre.instantiate_async(&mut *store).await?;
            let result = sync.terapi_sync_sync_script().call_run(store, &context).await?;
            Ok(result.map(|()| None))
        }
        Pre::Action(pre) => {
            let action = pre.instantiate_async(&mut *store).await?;
            let input = input.unwrap_or_else(|| "null".to_owned());
            let result = action.terapi_sync_action_script().call_run(store, &context, &input).await?;
            Ok(result.map(Some))
        }
    }
}

/// Runs a guest's work to its end, its deadline, its cancellation, or a panic of ours, whichever comes first.
async fn guarded<T>(
    work: impl Future<Output = wasmtime::Result<T>>,
    turns: &AtomicU64,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<T, Stop> {
    let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
    let work = std::future::poll_fn(|context| {
        turns.fetch_add(1, Ordering::Relaxed);
        work.as_mut().poll(context)
    });
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Stop::Cancelled),
        () = tokio::time::sleep(timeout) => Err(Stop::TimedOut),
        ended = work => match ended {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Stop::Error(error)),
            Err(panic) => Err(Stop::Panicked(panic_text(&*panic))),
        },
    }
}

/// A place where a test lets something break, for a connection of this name.
#[cfg(feature = "failpoints")]
pub(crate) fn failpoint(name: &str, connection: &ConnectionName) {
    fail::fail_point!(&format!("{name}/{connection}"));
}

#[cfg(not(feature = "failpoints"))]
pub(crate) fn failpoint(_: &str, _: &ConnectionName) {}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// An action's output must be JSON, and not too much of it.
fn check_output(outcome: Outcome, output: Option<String>) -> (Outcome, Option<String>) {
    let Some(text) = output else { return (outcome, None) };
    let refuse = |message: String| {
        let code = "bad-output".to_owned();
        let failure = crate::run::Failure { code, transient: false, message, details: None, retry_after_ms: None };
        (Outcome::Failed(failure), None)
    };
    if text.len() > MAX_OUTPUT_BYTES {
        return refuse(format!("the action's output has {} bytes, over {MAX_OUTPUT_BYTES}: return less", text.len()));
    }
    match canonical::validate_value(&text) {
        Ok(()) => (outcome, Some(text)),
        Err(error) => refuse(format!("the action's output is not acceptable: {error}")),
    }
}
