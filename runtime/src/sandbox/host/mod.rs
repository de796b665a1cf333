//! The host functions: what a script can do.
//!
//! Each takes what the guest gave, charges the run's budgets, and asks egress or the store. Errors of the script's own
//! making are values that it gets; an error that ends the run is a trap with a typed reason.

mod http;
mod link;
mod pages;
mod records;
mod refusals;
mod state;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use self::pages::PageList;
pub(super) use self::refusals::Refusals;
use super::bindings::types::Budget as WitBudget;
use super::fees::Fees;
use super::limits::{Budget, Limiter, MAX_HANDLES, RunMeter};
use super::stdio::{LogBuffer, Stdio};
use super::tape::{RecordedClock, SeededRandom, Tape, Which, seed};
use crate::clock::{Clock, JumpingClock};
use crate::egress::{Egress, Policy};
use crate::ids::{ConnectionName, Timestamp, Variant};
use crate::run::{Changes, Level};
use crate::script::javascript::Built;
use crate::store::{DeleteGuard, Lease, ModelRule, Store, StoreError};

/// Random bytes that one call gives: as many as `crypto.getRandomValues` does, at most.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// What a guest's store holds.
pub(super) struct HostState {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(super) limiter: Limiter,
    pub(super) meter: Arc<RunMeter>,
    pub(super) log: Arc<LogBuffer>,
    /// Absent while a script describes itself: then nothing but logging works.
    pub(super) run: Option<RunHost>,
    pub(super) fees: Fees,
    /// The modules of a script that is text.
    pub(super) text: Option<Arc<Built>>,
    /// What goes along with its calls.
    pub(super) tape: Option<Tape>,
}

/// What a run works with.
pub(super) struct RunHost {
    pub(super) store: Arc<dyn Store>,
    pub(super) egress: Egress,
    pub(super) policy: Arc<Policy>,
    pub(super) clock: Arc<dyn Clock>,
    /// What the guest sees of time, where that is not the machine's: nothing waits, and it jumps.
    pub(super) time: Option<Arc<JumpingClock>>,
    /// Absent in an action, which writes no records.
    pub(super) lease: Option<Lease>,
    pub(super) connection: ConnectionName,
    /// What the script may know of it, as JSON.
    pub(super) connection_facts: Arc<str>,
    pub(super) variant: Variant,
    pub(super) models: HashMap<String, ModelRule>,
    pub(super) guard: DeleteGuard,
    /// Models whose account of deletes this run has ended.
    pub(super) ended: HashSet<String>,
    pub(super) run: crate::ids::RunId,
    pub(super) last_sync_date: Option<Timestamp>,
    pub(super) checkpoint: Option<String>,
    pub(super) park: CancellationToken,
    pub(super) changes: Changes,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) requests: Requests,
    /// Answers given to the guest, still counted until it calls again: while they are copied both copies exist.
    pub(super) handed_over: u64,
    #[cfg(feature = "failpoints")]
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(super) farewell: Farewell,
}

/// A part of a run that may break when it is let go.
#[cfg(feature = "failpoints")]
pub(super) struct Farewell(pub(super) ConnectionName);

#[cfg(feature = "failpoints")]
impl Drop for Farewell {
    fn drop(&mut self) {
        super::failpoint("run::drop", &self.0);
    }
}

/// Requests that were started and not waited for, and lists of pages. They end with the run.
pub(super) struct Requests {
    /// Requests and lists are numbered together.
    pub(super) last_ticket: u64,
    pub(super) under_way: JoinSet<(u64, http::Answer)>,
    pub(super) lists: HashMap<u64, PageList>,
    /// One for each request that may be under way, whichever function it comes from.
    pub(super) permits: Arc<Semaphore>,
    pub(super) refusals: Arc<Refusals>,
}

/// How far a run is, for who watches it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Answers received.
    pub pages: u64,
    /// Bytes of answers received.
    pub bytes: u64,
    /// What was changed so far.
    pub changes: Changes,
}

/// A host function was called where it must not be. Ends the call with this text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotHere(pub(super) &'static str);

/// The host went wrong while it served a call: our bug, not the script's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct HostBroke(pub(super) String);

/// The run was asked to park and has saved a checkpoint. Carried through the engine as the reason of the trap.
#[derive(Debug, thiserror::Error)]
#[error("parked at its checkpoint; the next run goes on from there")]
pub(super) struct Parked;

impl HostState {
    /// With a tape, clocks and random numbers are its own, too: these follow from the seed.
    pub(super) fn new(
        meter: Arc<RunMeter>,
        log: Arc<LogBuffer>,
        run: Option<RunHost>,
        fees: Fees,
        text: Option<Arc<Built>>,
        tape: Option<(Tape, [u8; 32])>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        // Nothing behind any of it: no files, no variables, no arguments, no sockets, no input.
        let mut wasi = WasiCtx::builder();
        wasi.stdout(Stdio::new(Arc::clone(&log), Level::Info, Arc::clone(&meter)))
            .stderr(Stdio::new(Arc::clone(&log), Level::Warn, Arc::clone(&meter)))
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(MAX_RANDOM_BYTES);
        let time = run.as_ref().and_then(|run| run.time.as_ref());
        if let Some((tape, _)) = &tape {
            wasi.wall_clock(RecordedClock::new(tape.clone(), time.cloned(), Which::Wall))
                .monotonic_clock(RecordedClock::new(tape.clone(), time.cloned(), Which::Monotonic));
        }
        let seed = tape.as_ref().map_or_else(seed, |(_, seed)| *seed);
        let random = |purpose| SeededRandom::new(&seed, purpose, Arc::clone(&meter));
        wasi.secure_random(random("secure"))
            .insecure_random(random("insecure"))
            .insecure_random_seed(random("insecure seed").number());
        let (wasi, tape) = (wasi.build(), tape.map(|(tape, _)| tape));
        Self { wasi, table, limiter: Limiter::new(Arc::clone(&meter)), meter, log, run, fees, text, tape }
    }

    /// The run's means. The answers that were handed over with the last call are the guest's own by now.
    fn enter(&mut self) -> wasmtime::Result<(&mut RunHost, &Arc<RunMeter>, &Arc<LogBuffer>)> {
        self.meter.check_memory()?;
        self.fees.charge(1);
        let run = self.run.as_mut().ok_or(NotHere(
            "describe called a host function: it only describes the script and gets nothing to work with",
        ))?;
        super::failpoint("run::host-call", &run.connection);
        self.meter.give_memory(std::mem::take(&mut run.handed_over));
        Ok((run, &self.meter, &self.log))
    }
}

impl RunHost {
    /// Calls the store on a thread that may block.
    async fn ask_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> wasmtime::Result<Result<T, StoreError>> {
        let store = Arc::clone(&self.store);
        let asked = tokio::task::spawn_blocking(move || ask(&*store)).await;
        asked.map_err(|error| HostBroke(format!("the store: {error}")).into())
    }

    /// Gives log lines to the store when enough have come together.
    async fn pass_on_log(&self, log: &LogBuffer) -> wasmtime::Result<()> {
        if let Some(lines) = log.take_chunk() {
            let run = self.run;
            if let Err(error) = self.ask_store(move |store| store.append_log(run, &lines)).await? {
                tracing::error!(%error, %run, "lines of a run's log were lost");
            }
        }
        Ok(())
    }

    fn show_progress(&self) {
        let changes = self.changes;
        self.progress.send_modify(|progress| progress.changes = changes);
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Lines that were printed are work of their own.
        self.fees.charge(1 + self.log.take_printed());
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl super::bindings::types::Host for HostState {}

impl From<Budget> for WitBudget {
    fn from(budget: Budget) -> Self {
        match budget {
            Budget::HttpRequests => Self::HttpRequests,
            Budget::HttpBytes => Self::HttpBytes,
            Budget::Records => Self::Records,
            Budget::RecordBytes => Self::RecordBytes,
            Budget::StateBytes => Self::StateBytes,
        }
    }
}
