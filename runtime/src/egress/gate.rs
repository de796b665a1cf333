//! How many requests go out, and how fast.
//!
//! One gate belongs to an integration, one to each of its connections, and every request of every run passes both: first
//! the connection's, then the integration's, so that nobody waits in a circle.
//!
//! # Invariants
//! - In any window of a limit's length no more requests than it names reach the server, as long as none travels for more
//!   than a twentieth of the window. So a request counts from when it is let in until a window's length after its answer
//!   began, or after that twentieth, whichever is earlier: by then it had arrived.
//! - First come, first served. Who leaves the queue takes nothing with it.
//! - The memory of a limit does not grow with its number of requests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Up to this many requests a window remembers each by itself; of more it remembers how many there were in each of this
/// many parts. A part is 1.6 % of the window, which is what a request may be counted for too long.
const SLOTS: u32 = 64;

/// The part of a window that a request may travel: 50 ms under a limit per second. With it and a [slot](SLOTS) a run
/// under a limit takes at most 6.6 % longer than the limit would have it.
const TRAVEL: u32 = 20;

/// How fast an API may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateRules {
    /// All of them hold.
    pub limits: Vec<RateLimit>,
    /// How many requests may be under way together, from the first byte sent to the last received. 0 is taken for 1.
    pub concurrency: Option<u32>,
}

/// At most `requests` in any window of `per_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many. 0 is taken for 1.
    pub requests: u32,
    /// The window, in milliseconds. One of 0 limits nothing.
    pub per_ms: u64,
}

/// Where requests wait until they may go.
pub struct Gate {
    id: u64,
    /// Held by the first in the queue. Fair.
    turn: tokio::sync::Mutex<()>,
    /// Something changed that the first in the queue may wait for.
    changed: Notify,
    state: Mutex<State>,
}

struct State {
    /// Counts the changes of the rules: a permit from before no longer finds its requests in the windows.
    generation: u64,
    windows: Vec<Window>,
    concurrency: Option<u32>,
    /// Permits that are held.
    inside: u32,
    /// Those of them whose request has not been sent yet.
    unsent: u32,
    closed_until: Option<Instant>,
}

/// What is remembered for one limit.
struct Window {
    requests: u64,
    per: Duration,
    /// What a moment is rounded up to, or nothing.
    slot: Option<Duration>,
    origin: Instant,
    /// How many requests count until when.
    counted: BTreeMap<Instant, u64>,
    total: u64,
}

/// The right to send one request. Dropped when its answer was read, or when there will be none.
pub(super) struct Permit {
    gate: Arc<Gate>,
    sent: Option<Sent>,
}

#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    generation: u64,
}

impl Gate {
    /// An open gate.
    #[must_use]
    pub fn new(rules: &RateRules) -> Arc<Self> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let mut state =
            State { generation: 0, windows: Vec::new(), concurrency: None, inside: 0, unsent: 0, closed_until: None };
        state.set_rules(rules);
        Arc::new(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            state: Mutex::new(state),
        })
    }

    /// Changes the rules. What was sent before counts under the new ones, too; what is under way stays so.
    pub fn set_rules(&self, rules: &RateRules) {
        self.state().set_rules(rules);
        self.changed.notify_one();
    }

    /// Lets nobody through for so long. A gate that is closed for longer stays so.
    pub(super) fn close_for(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state();
        state.closed_until = state.closed_until.max(Some(until));
    }

    /// Which gate this is, among all that there ever were.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Waits until a request may be sent. To drop the future is to leave the queue.
    pub(super) async fn enter(self: &Arc<Self>) -> Permit {
        let _turn = self.turn.lock().await;
        loop {
            let until = match self.state().take(Instant::now()) {
                Ok(()) => return Permit { gate: Arc::clone(self), sent: None },
                Err(until) => until,
            };
            let changed = self.changed.notified();
            match until {
                // Whether the time has come or something changed, it is looked at again.
                Some(until) => drop(timeout_at(until, changed).await),
                None => changed.await,
            }
        }
    }

    /// How many entries all windows have.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.state().windows.iter().map(|window| window.counted.len()).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set_rules(&mut self, rules: &RateRules) {
        let old = std::mem::take(&mut self.windows);
        let limits = rules.limits.iter().filter(|limit| limit.per_ms > 0);
        self.windows = limits.map(|limit| Window::new(limit, &old)).collect();
        self.concurrency = rules.concurrency.map(|most| most.max(1));
        self.generation += 1;
    }

    /// Takes a place, or says when to ask again; never, if something has to happen first.
    fn take(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        if let Some(until) = self.closed_until {
            if now < until {
                return Err(Some(until));
            }
            self.closed_until = None;
        }
        if self.concurrency.is_some_and(|most| self.inside >= most) {
            return Err(None);
        }
        for window in &mut self.windows {
            window.forget(now);
            if window.total + u64::from(self.unsent) >= window.requests {
                return Err(window.counted.keys().next().copied());
            }
        }
        self.inside += 1;
        self.unsent += 1;
        Ok(())
    }
}

impl Window {
    /// An empty window, or one that takes over what an old one remembers: the shortest that is as long, or the longest.
    fn new(limit: &RateLimit, old: &[Window]) -> Self {
        let per = Duration::from_millis(limit.per_ms);
        let slot = (limit.requests > SLOTS).then(|| per / SLOTS);
        let heir = old.iter().filter(|old| old.per >= per).min_by_key(|old| old.per);
        let heir = heir.or_else(|| old.iter().max_by_key(|old| old.per));
        let mut window = Self {
            requests: u64::from(limit.requests.max(1)),
            per,
            slot,
            origin: heir.map_or_else(Instant::now, |old| old.origin),
            counted: BTreeMap::new(),
            total: 0,
        };
        for (until, count) in heir.iter().flat_map(|old| &old.counted) {
            let arrived = heir.and_then(|old| until.checked_sub(old.per)).unwrap_or(*until);
            window.count(arrived, *count);
        }
        window
    }

    /// When a request that arrives at that moment no longer counts.
    fn until(&self, arrived: Instant) -> Instant {
        let rounded = match self.slot {
            Some(slot) if !slot.is_zero() => {
                let since = arrived.saturating_duration_since(self.origin).as_nanos();
                let over = u64::try_from(since % slot.as_nanos()).unwrap_or_default();
                if over == 0 { arrived } else { arrived + slot.saturating_sub(Duration::from_nanos(over)) }
            }
            _ => arrived,
        };
        rounded + self.per
    }

    fn latest_arrival(&self, sent: Instant) -> Instant {
        sent + self.per / TRAVEL
    }

    fn count(&mut self, arrived: Instant, count: u64) {
        *self.counted.entry(self.until(arrived)).or_default() += count;
        self.total += count;
    }

    /// A request that was thought to arrive as late as it may has arrived.
    fn settle(&mut self, sent: Instant, arrived: Instant) {
        let latest = self.latest_arrival(sent);
        if arrived >= latest {
            return;
        }
        let until = self.until(latest);
        // It may be forgotten already.
        if let Some(count) = self.counted.get_mut(&until) {
            *count -= 1;
            if *count == 0 {
                self.counted.remove(&until);
            }
            self.total -= 1;
            self.count(arrived, 1);
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.counted.first_entry()
            && *first.key() <= now
        {
            self.total -= first.remove();
        }
    }
}

impl Permit {
    /// The request is sent now.
    pub(super) fn sent(&mut self) {
        let at = Instant::now();
        let mut state = self.gate.state();
        let generation = state.generation;
        if self.sent.replace(Sent { at, generation }).is_none() {
            state.unsent -= 1;
            for window in &mut state.windows {
                window.count(window.latest_arrival(at), 1);
            }
        }
        drop(state);
        self.gate.changed.notify_one();
    }

    /// Its answer has begun.
    pub(super) fn answered(&self) {
        let now = Instant::now();
        let Some(sent) = self.sent else { return };
        let mut state = self.gate.state();
        if state.generation == sent.generation {
            for window in &mut state.windows {
                window.settle(sent.at, now);
            }
        }
        drop(state);
        self.gate.changed.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.inside -= 1;
        if self.sent.is_none() {
            state.unsent -= 1;
        }
        drop(state);
        self.gate.changed.notify_one();
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Gate").field("id", &self.id).field("inside", &state.inside).finish_non_exhaustive()
    }
}
