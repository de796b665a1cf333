//! A circuit breaker: who has failed again and again is left alone for a while.
//!
//! Closed, it counts failures in a row. Open, it lets nothing through. When its time is over it is half-open: one request,
//! the probe, goes through, and its outcome closes the breaker or opens it for twice as long. What comes back from before
//! the last change says nothing about now and does not count.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Failures in a row that open it. A request by itself, with its five retries, does not.
const FAILURES: u32 = 10;

/// How long it is open at first; each probe that fails doubles it.
const FIRST_OPEN: Duration = Duration::from_secs(5);

/// Where doubling ends: an API that is back is noticed within a minute.
const MAX_OPEN: Duration = Duration::from_mins(1);

/// What a request that does not wait for a probe's outcome is told to wait.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// The circuit breaker of an integration.
pub struct Breaker {
    state: Mutex<State>,
    /// Counts the changes of state.
    epoch: watch::Sender<u64>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, time: Duration },
    Probing { time: Duration },
}

/// Why a request cannot go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Barred {
    /// For so long.
    Open(Duration),
    /// Until the probe's outcome is known.
    Probing,
}

impl Barred {
    /// When it is worth asking again.
    pub(super) fn wait(self) -> Duration {
        match self {
            Self::Open(wait) => wait,
            Self::Probing => PROBE_WAIT,
        }
    }
}

/// The right to send one request, and the duty to tell how it went. Dropped without a word, it says nothing about the
/// API; a probe is then another's to make.
pub(super) struct Pass {
    breaker: Arc<Breaker>,
    epoch: u64,
    told: bool,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Closed { failures: 0 }), epoch: watch::Sender::new(0) })
    }

    /// Wakes up at the next change of state.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Whether a request could go now.
    pub(super) fn look(&self) -> Result<(), Barred> {
        match *self.state() {
            State::Closed { .. } => Ok(()),
            State::Open { until, .. } => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Ok(()),
                wait => Err(Barred::Open(wait)),
            },
            State::Probing { .. } => Err(Barred::Probing),
        }
    }

    /// Lets a request go, as the probe if it is time for one.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Pass, Barred> {
        self.look()?;
        let mut state = self.state();
        match *state {
            State::Closed { .. } => {}
            State::Open { time, .. } => self.change(&mut state, State::Probing { time }),
            // Another was faster.
            State::Probing { .. } => return Err(Barred::Probing),
        }
        Ok(Pass { breaker: Arc::clone(self), epoch: *self.epoch.borrow(), told: false })
    }

    fn change(&self, state: &mut State, to: State) {
        *state = to;
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The API works, whatever it answered.
    pub(super) fn succeeded(mut self) {
        self.tell(|breaker, state| match state {
            State::Closed { failures } => *failures = 0,
            State::Probing { .. } => breaker.change(state, State::Closed { failures: 0 }),
            State::Open { .. } => {}
        });
    }

    /// The API did not answer, or that it is broken.
    pub(super) fn failed(mut self) {
        self.tell(|breaker, state| {
            let time = match state {
                State::Closed { failures } => {
                    *failures += 1;
                    if *failures < FAILURES {
                        return;
                    }
                    FIRST_OPEN
                }
                State::Probing { time } => time.saturating_mul(2).min(MAX_OPEN),
                State::Open { .. } => return,
            };
            breaker.change(state, State::Open { until: Instant::now() + time, time });
        });
    }

    fn tell(&mut self, outcome: impl FnOnce(&Breaker, &mut State)) {
        self.told = true;
        let mut state = self.breaker.state();
        if self.epoch == *self.breaker.epoch.borrow() {
            outcome(&self.breaker, &mut state);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.told {
            self.tell(|breaker, state| {
                if let State::Probing { time } = *state {
                    breaker.change(state, State::Open { until: Instant::now(), time });
                }
            });
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Breaker").field(&*self.state()).finish()
    }
}
