//! What a connection is doing, and whether its other end takes too long for it.
//!
//! Three times are bounded: that of a head, from its first byte; that of saying nothing at all, between requests; and that of
//! not taking what is sent. A request under way is bounded by itself: its body by the router, its answer by what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Limits;

/// How long a connection that is closed is read from, so that the answer arrives before the close.
const LINGER: Duration = Duration::from_secs(2);

/// Why a connection is closed from this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing was asked for a while, which is nobody's fault.
    Idle,
    /// A head that does not come to its end.
    Head,
    /// An answer that is not taken.
    Reader,
}

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent since it was accepted.
    New,
    /// Between requests.
    Idle,
    /// Within a head; or, in HTTP/2, before the first request is whole.
    Head,
    /// It is closed, and what still comes is thrown away.
    Lingering,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Requests under way.
    busy: usize,
    next: u64,
    /// Since when a write waits for the other end.
    blocked: Option<Instant>,
    /// Parts of answers that were handed over, and since when no more was taken.
    handed: BTreeMap<u64, Instant>,
    refused: Option<(&'static str, &'static str)>,
    /// Whether the other end has gone.
    gone: bool,
    http2: bool,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(State {
            phase: Phase::New,
            since: Instant::now(),
            busy: 0,
            next: 0,
            blocked: None,
            handed: BTreeMap::new(),
            refused: None,
            gone: false,
            http2: false,
        }))
    }
}

impl Activity {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn enter(&self, phase: Phase) {
        self.with(|state| (state.phase, state.since) = (phase, Instant::now()));
    }

    /// The first byte of a head is there.
    pub(super) fn head_begins(&self) {
        self.enter(Phase::Head);
    }

    /// A head is whole.
    pub(super) fn head_ends(&self) {
        self.enter(Phase::Idle);
    }

    /// It is closed.
    pub(super) fn lingers(&self) {
        self.enter(Phase::Lingering);
    }

    /// It speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.with(|state| state.http2)
    }

    pub(super) fn http2(&self) {
        self.with(|state| state.http2 = true);
    }

    /// What was sent cannot be taken. The first reason is the one.
    pub(super) fn refuse(&self, limit: &'static str, reason: &'static str) {
        self.with(|state| state.refused = state.refused.or(Some((limit, reason))));
    }

    pub(super) fn refused(&self) -> Option<(&'static str, &'static str)> {
        self.with(|state| state.refused)
    }

    /// The other end has closed, or broke.
    pub(super) fn gone(&self) {
        self.with(|state| state.gone = true);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.with(|state| state.gone)
    }

    /// Whether a write waits.
    pub(super) fn writes(&self, waits: bool) {
        self.with(|state| state.blocked = if waits { state.blocked.or_else(|| Some(Instant::now())) } else { None });
    }

    /// A request begins.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        let id = self.with(|state| {
            state.busy += 1;
            state.next += 1;
            state.next
        });
        UnderWay { activity: Arc::clone(self), id }
    }

    /// Returns when the other end has taken too long.
    pub(super) async fn overdue(&self, limits: &Limits) -> Overdue {
        let shortest = limits.header.min(limits.idle).min(limits.write);
        let tick = (shortest / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            tokio::time::sleep(tick).await;
            if let Some(overdue) = self.with(|state| state.overdue(Instant::now(), limits)) {
                return overdue;
            }
        }
    }
}

impl State {
    fn overdue(&self, now: Instant, limits: &Limits) -> Option<Overdue> {
        let over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if self.blocked.is_some_and(|since| over(since, limits.write))
            || self.handed.values().any(|since| over(*since, limits.write))
        {
            return Some(Overdue::Reader);
        }
        match self.phase {
            Phase::Lingering if over(self.since, LINGER) => Some(Overdue::Idle),
            _ if self.busy > 0 => None,
            Phase::New if over(self.since, limits.header) => Some(Overdue::Idle),
            Phase::Head if over(self.since, limits.header) => Some(Overdue::Head),
            Phase::Idle if over(self.since, limits.idle) => Some(Overdue::Idle),
            _ => None,
        }
    }
}

/// A request under way, until its answer was taken or it was given up.
#[derive(Debug)]
pub(super) struct UnderWay {
    activity: Arc<Activity>,
    id: u64,
}

impl UnderWay {
    /// A part of the answer was handed over.
    pub(super) fn handed(&self) {
        self.activity.with(|state| state.handed.insert(self.id, Instant::now()));
    }

    /// It was taken: more is asked for.
    pub(super) fn taken(&self) {
        self.activity.with(|state| state.handed.remove(&self.id));
    }

    /// Bytes of an answer to hand over at once: in HTTP/2 each of many streams may have so many waiting.
    pub(super) fn part(&self) -> usize {
        if self.activity.is_http2() { 16 << 10 } else { 64 << 10 }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.activity.with(|state| {
            state.handed.remove(&self.id);
            state.busy -= 1;
            if state.busy == 0 {
                state.since = Instant::now();
                // In HTTP/2 nobody sees where a head begins.
                if state.http2 {
                    state.phase = Phase::Idle;
                }
            }
        });
    }
}
