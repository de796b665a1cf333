//! What a run may use, and the meter that counts it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

use crate::egress::Exchange;
use crate::run::Usage;

/// What a run may use at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Fuel: about one unit an instruction and a byte of bulk memory, and 1,000 a host call.
    pub fuel: u64,
    /// Bytes of all linear memories and tables together, and of answers that the host holds for the script.
    pub memory: u64,
    /// From instantiation to the end, waits included.
    pub timeout: Duration,
    /// Requests sent, redirects and retries included.
    pub http_requests: u64,
    /// Decoded bytes received.
    pub http_bytes: u64,
    /// Records handed over to be saved, updated or deleted.
    pub records: u64,
    /// Bytes of those records.
    pub record_bytes: u64,
    /// Bytes of log lines kept; the rest is dropped, the run goes on.
    pub log_bytes: u64,
    /// Bytes of checkpoints and metadata written.
    pub state_bytes: u64,
}

impl Default for Limits {
    /// Room for a sync of a few million records: 100 billion units of fuel are about a minute of one core on a JSON-heavy
    /// script, a Rust guest works in 2 MiB and a JavaScript one in 8, and an hour covers an API that answers ten pages
    /// a second with 36,000 of them.
    fn default() -> Self {
        Self {
            fuel: 100_000_000_000,
            memory: 64 << 20,
            timeout: Duration::from_hours(1),
            http_requests: 100_000,
            http_bytes: 64 << 30,
            records: 20_000_000,
            record_bytes: 64 << 30,
            log_bytes: 1 << 20,
            state_bytes: 256 << 20,
        }
    }
}

impl Limits {
    /// With the given ones in place of these.
    #[must_use]
    pub fn with(mut self, given: &LimitOverrides) -> Self {
        self.fuel = given.fuel.unwrap_or(self.fuel);
        self.memory = given.memory.unwrap_or(self.memory);
        self.timeout = given.timeout_ms.map_or(self.timeout, Duration::from_millis);
        self
    }
}

/// Limits of one script or one run, where they differ from the operator's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitOverrides {
    /// See [`Limits::fuel`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// See [`Limits::memory`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// See [`Limits::timeout`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How many requests of a run are traced: enough to see how they went, and no more than some 200 KiB.
pub const MAX_TRACE: usize = 1_000;
/// The shortest and the longest time of a run that can be set, in milliseconds: a second, a week.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1_000..=7 * 86_400_000;
/// The least and the most memory of a run that can be set: a page of Wasm, and what a slot of the pool has room for.
const MEMORY: std::ops::RangeInclusive<u64> = 64 << 10..=super::MAX_MEMORY;

impl LimitOverrides {
    /// Whether all of them can be kept.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if self.memory.is_some_and(|memory| !MEMORY.contains(&memory)) {
            return Err(format!("a memory limit is from {} to {}", bytes(*MEMORY.start()), bytes(*MEMORY.end())));
        }
        if self.timeout_ms.is_some_and(|timeout| !TIMEOUT_MS.contains(&timeout)) {
            return Err("a time limit is from one second to one week".to_owned());
        }
        if self.fuel == Some(0) {
            return Err("without fuel no script runs".to_owned());
        }
        Ok(())
    }
}

/// What entering the host costs a guest: ten million of the cheapest host calls cost a tenth of the default fuel. A
/// call that does nothing takes the host about as long as the guest needs for so many instructions.
pub(super) const HOST_CALL_FUEL: u64 = 1_000;
/// A guest gives up the thread after so much fuel, about a millisecond.
pub(super) const FUEL_YIELD_INTERVAL: u64 = 1_000_000;
/// Bytes that one host call may carry from the guest: the largest batch, 8 MiB, with room for what a list of entries
/// weighs in the host besides its text.
pub(super) const HOST_CALL_BYTES: usize = 16 << 20;
/// Handles that a guest may hold. A language runtime needs a few dozen.
pub(super) const MAX_HANDLES: usize = 1_000;
/// Table elements of a run, all tables together.
pub(super) const MAX_TABLE_ELEMENTS: usize = 100_000;
/// Core instances, tables and memories of a run. `CPython` as a component has 25 core instances. It goes with the limit that uploads
/// have by default.
pub(super) const MAX_INSTANCES: usize = 1_000;

/// The memory limit was reached. Carried through the engine as the reason of the trap.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) struct MemoryExceeded {
    pub(super) limit: u64,
    pub(super) asked: u64,
}

impl fmt::Display for MemoryExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory limit of {} exceeded: the script needs {} now; save page by page and let go of each page, or raise \
             the limit with --memory-limit",
            bytes(self.limit),
            bytes(self.asked)
        )
    }
}

/// The limit of table elements was reached.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "table limit of {MAX_TABLE_ELEMENTS} elements exceeded: the script wants {asked}; build it with fewer indirect calls"
)]
pub(super) struct TableExceeded {
    asked: u64,
}

/// A count of bytes as people read it: exact where it is a whole number of a unit.
#[must_use]
pub fn bytes(count: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if count >= size {
            let tenths = count.saturating_mul(10).div_ceil(size);
            return if tenths % 10 == 0 {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{count} B")
}

/// Counts what one run uses. Shared by the guest's memories, the host functions and the requests under way.
#[derive(Debug)]
pub(super) struct RunMeter {
    pub(super) limits: Limits,
    memory: AtomicU64,
    peak: AtomicU64,
    /// A buffer of the host did not fit: the run ends at the next chance.
    pub(super) memory_exceeded: AtomicBool,
    asked: AtomicU64,
    http_requests: AtomicU64,
    http_bytes: AtomicU64,
    records: AtomicU64,
    record_bytes: AtomicU64,
    pub(super) log_bytes: AtomicU64,
    state_bytes: AtomicU64,
    /// Work by the byte that WASI did and that was not charged yet.
    work: AtomicU64,
    trace: Mutex<Vec<Exchange>>,
}

/// A budget of host calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    HttpRequests,
    HttpBytes,
    Records,
    RecordBytes,
    StateBytes,
}

impl RunMeter {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            memory: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            memory_exceeded: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            http_requests: AtomicU64::new(0),
            http_bytes: AtomicU64::new(0),
            records: AtomicU64::new(0),
            record_bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            state_bytes: AtomicU64::new(0),
            work: AtomicU64::new(0),
            trace: Mutex::default(),
        }
    }

    /// The run's requests so far.
    pub(super) fn take_trace(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.trace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes work of WASI, in bytes.
    pub(super) fn note_work(&self, bytes: u64) {
        self.work.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Work of WASI since this was last asked.
    pub(super) fn take_work(&self) -> u64 {
        // Asked after each host call and helper, most of which did none.
        if self.work.load(Ordering::Relaxed) == 0 { 0 } else { self.work.swap(0, Ordering::Relaxed) }
    }

    /// Takes memory for the run.
    pub(super) fn take_memory(&self, count: u64) -> Result<(), MemoryExceeded> {
        let now = self.memory.fetch_add(count, Ordering::SeqCst).saturating_add(count);
        if now > self.limits.memory {
            self.memory.fetch_sub(count, Ordering::SeqCst);
            self.asked.fetch_max(now, Ordering::SeqCst);
            self.memory_exceeded.store(true, Ordering::SeqCst);
            return Err(MemoryExceeded { limit: self.limits.memory, asked: now });
        }
        self.peak.fetch_max(now, Ordering::SeqCst);
        Ok(())
    }

    /// Gives memory back.
    pub(super) fn give_memory(&self, count: u64) {
        self.memory.fetch_sub(count, Ordering::SeqCst);
    }

    /// Takes memory for as long as the guard lives.
    pub(super) fn hold_memory(self: &Arc<Self>, count: u64) -> Result<HeldMemory, MemoryExceeded> {
        self.take_memory(count)?;
        Ok(self.held(count))
    }

    /// A guard of memory that was taken before.
    pub(super) fn held(self: &Arc<Self>, count: u64) -> HeldMemory {
        HeldMemory { meter: Arc::clone(self), count }
    }

    /// The error to end the run with, if a buffer did not fit.
    pub(super) fn check_memory(&self) -> Result<(), MemoryExceeded> {
        if self.memory_exceeded.load(Ordering::SeqCst) {
            return Err(MemoryExceeded { limit: self.limits.memory, asked: self.asked.load(Ordering::SeqCst) });
        }
        Ok(())
    }

    /// Uses up some of a budget; refuses, using nothing, what would go over it.
    pub(super) fn spend(&self, budget: Budget, count: u64) -> Result<(), Budget> {
        let (used, limit) = match budget {
            Budget::HttpRequests => (&self.http_requests, self.limits.http_requests),
            Budget::HttpBytes => (&self.http_bytes, self.limits.http_bytes),
            Budget::Records => (&self.records, self.limits.records),
            Budget::RecordBytes => (&self.record_bytes, self.limits.record_bytes),
            Budget::StateBytes => (&self.state_bytes, self.limits.state_bytes),
        };
        let taken = used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
            used.checked_add(count).filter(|sum| *sum <= limit)
        });
        taken.map(drop).map_err(|_| budget)
    }

    pub(super) fn usage(&self, fuel: u64, wall: Duration) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Usage {
            fuel,
            peak_memory: read(&self.peak),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            http_requests: read(&self.http_requests),
            http_bytes: read(&self.http_bytes),
            records: read(&self.records),
            record_bytes: read(&self.record_bytes),
            log_bytes: read(&self.log_bytes),
            state_bytes: read(&self.state_bytes),
        }
    }
}

/// A buffer of the host that counts as the run's memory.
#[derive(Debug)]
pub(super) struct HeldMemory {
    meter: Arc<RunMeter>,
    count: u64,
}

impl HeldMemory {
    /// The memory stays taken; who gives it back is the caller's to say.
    pub(super) fn hand_on(mut self) {
        self.count = 0;
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.meter.give_memory(self.count);
    }
}

impl crate::egress::Meter for RunMeter {
    fn request(&self) -> Result<(), crate::egress::Exhausted> {
        self.spend(Budget::HttpRequests, 1).map_err(|_| crate::egress::Exhausted::HttpRequests)
    }

    fn received(&self, decoded_bytes: usize) -> Result<(), crate::egress::Exhausted> {
        let count = decoded_bytes as u64;
        self.spend(Budget::HttpBytes, count).map_err(|_| crate::egress::Exhausted::HttpBytes)?;
        self.take_memory(count).map_err(|_| crate::egress::Exhausted::HttpBytes)
    }

    fn released(&self, bytes: usize) {
        self.give_memory(bytes as u64);
    }

    fn exchanged(&self, exchange: Exchange) {
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        if trace.len() < MAX_TRACE {
            trace.push(exchange);
        }
    }
}

/// What the engine asks before memories and tables grow.
pub(super) struct Limiter {
    pub(super) meter: Arc<RunMeter>,
    table_elements: usize,
}

impl Limiter {
    pub(super) fn new(meter: Arc<RunMeter>) -> Self {
        Self { meter, table_elements: 0 }
    }
}

/// A table element is a pointer.
const TABLE_ELEMENT_BYTES: u64 = 8;

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.meter.take_memory(desired.saturating_sub(current) as u64)?;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // The guest's own maximum is its business; the pool's, which is told here too, is our limit.
        if maximum.is_some_and(|maximum| desired > maximum && maximum < MAX_TABLE_ELEMENTS) {
            return Ok(false);
        }
        let asked = self.table_elements.saturating_add(desired.saturating_sub(current));
        if asked > MAX_TABLE_ELEMENTS {
            return Err(TableExceeded { asked: asked as u64 }.into());
        }
        self.meter.take_memory((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT_BYTES))?;
        self.table_elements = asked;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_INSTANCES
    }
}
