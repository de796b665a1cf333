//! Time comes in from outside, so that tests can set it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ids::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct SimulatedClock(AtomicU64);

impl SimulatedClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Sets it.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves it on.
    pub fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Between two readings of a [`JumpingClock`]: a script that looks at the clock until some time has passed gets there, and
/// a thousand readings still show one millisecond.
const TICK_NANOS: u64 = 1_000;

/// A clock for runs that are tried out: where a run would wait, it goes on at once. Else it stands still, but for a
/// microsecond with each reading.
#[derive(Debug)]
pub struct JumpingClock {
    start: u64,
    showing: Mutex<Showing>,
}

/// In nanoseconds since 1970.
#[derive(Debug)]
struct Showing {
    now: u64,
    /// Since when nobody has waited.
    since: u64,
    /// From one wait to the next.
    before: Vec<(u64, u64)>,
}

impl JumpingClock {
    /// A clock that begins at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        let start = start.0.saturating_mul(1_000_000);
        Self { start, showing: Mutex::new(Showing { now: start, since: start, before: Vec::new() }) }
    }

    fn showing(&self) -> MutexGuard<'_, Showing> {
        self.showing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at it: nanoseconds since 1970.
    pub fn read(&self) -> u64 {
        let mut showing = self.showing();
        showing.now = showing.now.saturating_add(TICK_NANOS);
        showing.now
    }

    /// Looks at it: nanoseconds since its start.
    pub fn read_elapsed(&self) -> u64 {
        self.read().saturating_sub(self.start)
    }

    /// How much time has passed, in milliseconds.
    #[must_use]
    pub fn passed_ms(&self) -> u64 {
        self.showing().now.saturating_sub(self.start) / 1_000_000
    }

    /// Lets time pass.
    pub fn wait(&self, time: Duration) {
        let mut showing = self.showing();
        let (since, now) = (showing.since, showing.now);
        showing.before.push((since, now));
        showing.now = now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        showing.since = showing.now;
    }

    /// All that it has shown: from and to, in milliseconds since 1970, both included.
    #[must_use]
    pub fn shown(&self) -> Vec<(u64, u64)> {
        let showing = self.showing();
        let stretches = showing.before.iter().copied().chain([(showing.since, showing.now)]);
        stretches.map(|(from, to)| (from / 1_000_000, to / 1_000_000)).collect()
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.showing().now / 1_000_000)
    }
}
