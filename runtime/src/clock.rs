//! Time comes in from outside, so that tests can set it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// A clock for runs that are tried out: where a run would wait for a host call, it goes on at once. Else it stands still, but
/// for a microsecond with each reading, or it runs on.
#[derive(Debug)]
pub struct JumpingClock {
    start: u64,
    /// Since when it runs on.
    running: Option<Instant>,
    showing: Mutex<Showing>,
}

/// In nanoseconds, since 1970 but for `ahead`.
#[derive(Debug)]
struct Showing {
    now: u64,
    /// Since when nobody has waited.
    since: u64,
    /// From one wait to the next.
    before: Vec<(u64, u64)>,
    /// What was jumped over.
    ahead: u64,
}

impl JumpingClock {
    /// A clock that begins at `start` and stands still.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        let start = start.0.saturating_mul(1_000_000);
        let showing = Showing { now: start, since: start, before: Vec::new(), ahead: 0 };
        Self { start, running: None, showing: Mutex::new(showing) }
    }

    /// One that runs on: for guests that can sleep by WASI, which takes its time.
    #[must_use]
    pub fn running(start: Timestamp) -> Self {
        Self { running: Some(Instant::now()), ..Self::new(start) }
    }

    fn showing(&self) -> MutexGuard<'_, Showing> {
        let mut showing = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = self.running {
            let passed = nanos(running.elapsed()).saturating_add(showing.ahead);
            showing.now = showing.now.max(self.start.saturating_add(passed));
        }
        showing
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

    /// How much time was jumped over, in milliseconds.
    #[must_use]
    pub fn jumped_ms(&self) -> u64 {
        self.showing().ahead / 1_000_000
    }

    /// Lets time pass.
    pub fn wait(&self, time: Duration) {
        let mut showing = self.showing();
        let stretch = (showing.since, showing.now);
        showing.before.push(stretch);
        showing.ahead = showing.ahead.saturating_add(nanos(time));
        showing.now = showing.now.saturating_add(nanos(time));
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

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.showing().now / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_795_407_829_123);

    #[test]
    fn a_clock_that_jumps_stands_still_but_for_a_microsecond_a_reading() {
        let clock = JumpingClock::new(START);
        assert_eq!([clock.now(), clock.now()], [START; 2]);
        assert_eq!((clock.read(), clock.read_elapsed()), (1_795_407_829_123_001_000, 2_000));
        clock.wait(Duration::from_hours(1));
        assert_eq!(clock.now(), Timestamp(START.0 + 3_600_000));
        assert_eq!(clock.read_elapsed(), 3_600_000_003_000);
        assert_eq!(clock.shown(), [(START.0, START.0), (START.0 + 3_600_000, START.0 + 3_600_000)]);
        assert_eq!(clock.jumped_ms(), 3_600_000);
    }

    #[test]
    fn one_that_runs_on_shows_what_passes_and_what_it_jumps() {
        let clock = JumpingClock::running(START);
        clock.wait(Duration::from_hours(1));
        let started = Instant::now();
        while clock.now().0 < START.0 + 3_600_002 && started.elapsed() < Duration::from_secs(10) {}
        assert!(clock.now().0 >= START.0 + 3_600_002);
        assert_eq!(clock.jumped_ms(), 3_600_000);
    }
}
