//! From an event to the next run: the grid with its jitter, retries, pauses, and when a sync is called stalled.
//!
//! Everything here changes one [`Plan`] and knows of no other. `seed` is a number derived from the sync's key.
//!
//! | how a run ended | the next one |
//! |---|---|
//! | succeeded | the next tick; everything that was counted is 0 again |
//! | failed, transient | the sooner of the next tick and the backoff, but not before what the script asked for |
//! | failed, permanent | none: paused by failure |
//! | out of fuel or memory, trapped, exhausted, internal | as transient; paused after [`MAX_BREAKS`] in a row |
//! | timed out | at once if the checkpoint moved, else as transient, though it is no failure |
//! | interrupted, parked | at once; from [`MAX_UNMOVED`] in a row without a moved checkpoint on as transient |
//! | cancelled | the next tick |
//!
//! A trigger that is waiting comes before all of these: at once, whatever the end was.

use super::plan::{Cause, End, Ended, PausedBy, Plan, PlanState};
use super::schedule::Schedule;
use crate::ids::Timestamp;
use crate::run::StopReason;

/// The wait before the first retry; each further one doubles it.
const BACKOFF_MS: u64 = 10_000;
/// The longest backoff: an API that was down for days is noticed within the hour that it is back.
pub const MAX_BACKOFF_MS: u64 = 3_600_000;
/// So many runs broken off in a row, without a moved checkpoint between, pause a sync: the script has a bug or its limits
/// are too small, and every further try costs what the limits allow.
pub const MAX_BREAKS: u32 = 5;
/// So many runs in a row that were cut short without a moved checkpoint make a sync stalled.
pub const MAX_UNMOVED: u32 = 5;
/// A period's jitter is at most this part of it …
const JITTER_PART: u64 = 10;
/// … and at most this.
const MAX_JITTER_MS: u64 = 60_000;
/// Cron names a time, so it is kept more closely.
const CRON_JITTER_MS: u64 = 30_000;
/// A backoff is up to this part of it shorter or longer.
const BACKOFF_JITTER_PART: u64 = 10;

/// How far a key's ticks lie behind those of its schedule, the same after each restart.
pub(super) fn jitter_ms(schedule: &Schedule, seed: u64) -> u64 {
    let span = match schedule {
        Schedule::Every { ms } => (ms / JITTER_PART).min(MAX_JITTER_MS),
        Schedule::Cron(_) => CRON_JITTER_MS,
    };
    seed.checked_rem(span).unwrap_or(0)
}

/// The wait before try number `tries` + 1.
pub(super) fn backoff_ms(tries: u32, seed: u64) -> u64 {
    let factor = 1_u64.checked_shl(tries.saturating_sub(1)).unwrap_or(u64::MAX);
    let wait = BACKOFF_MS.saturating_mul(factor).min(MAX_BACKOFF_MS);
    let part = wait / BACKOFF_JITTER_PART;
    // Another number for each try; multiplying by an odd one keeps what tells keys apart.
    let lot = (seed ^ u64::from(tries)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    wait - part + lot.checked_rem(2 * part + 1).unwrap_or(0)
}

fn plus(time: Timestamp, ms: u64) -> Timestamp {
    Timestamp(time.0.saturating_add(ms))
}

fn minus(time: Timestamp, ms: u64) -> Timestamp {
    Timestamp(time.0.saturating_sub(ms))
}

impl Plan {
    /// The first tick after `after`, jitter included. One at `start_at` has none: somebody named that moment.
    fn tick_after(&self, seed: u64, after: Timestamp) -> Option<Timestamp> {
        let schedule = self.schedule.as_ref()?;
        let jitter = jitter_ms(schedule, seed);
        let mut from = minus(after, jitter);
        if self.last_started_at.is_some() && after >= self.anchor {
            // The tick at the anchor itself is for the first run. If that was asked for by hand, it is not repeated at once.
            from = from.max(self.anchor);
        }
        if let Some(start) = self.start_at {
            if matches!(schedule, Schedule::Cron(_)) {
                from = from.max(minus(start, 1));
            } else if after < start {
                return Some(start);
            }
        }
        schedule.next_after(self.anchor, from).map(|tick| plus(tick, jitter))
    }

    /// The tick to run next, seen from `now`.
    ///
    /// If the clock was set back, ticks that have run lie ahead again. With `every …` the next run is then at most one period
    /// away. With cron that one tick is left out, unless there are more of them: then the jump was longer than a period,
    /// and running one a second time is the smaller evil.
    pub(super) fn next_tick(&self, seed: u64, now: Timestamp) -> Option<Timestamp> {
        let next = self.tick_after(seed, now)?;
        let Some(ran) = self.last_started_at.filter(|ran| *ran >= next) else { return Some(next) };
        let following = self.tick_after(seed, next);
        match self.schedule.as_ref().and_then(Schedule::period_ms) {
            Some(ms) => Some(following.map_or(plus(now, ms), |following| following.min(plus(now, ms)))),
            None => Some(following.filter(|following| *following > ran).unwrap_or(next)),
        }
    }

    /// The tick to run next of a sync that may never have run: then also one that has passed.
    fn first_tick(&self, seed: u64, now: Timestamp) -> Option<Timestamp> {
        let next = self.next_tick(seed, now);
        if self.last_started_at.is_some() {
            return next;
        }
        // Made while the clock was ahead, its first tick would be too far away.
        self.tick_after(seed, minus(self.anchor, 1)).min(next).or(next)
    }

    fn set_next(&mut self, next: Option<(Timestamp, Cause)>) {
        self.next_run_at = next.map(|(at, _)| at);
        self.next_cause = next.map(|(_, cause)| cause).unwrap_or_default();
    }

    fn set_next_tick(&mut self, tick: Option<Timestamp>) {
        self.set_next(tick.map(|tick| (tick, Cause::Scheduled)));
    }

    /// A plan as it was read, at the time it is read.
    pub(super) fn on_insert(&mut self, seed: u64, now: Timestamp) {
        if let Some(run) = self.running.take() {
            let message = "the process ended while it ran".to_owned();
            let outcome = Ended::Stopped { reason: StopReason::Interrupted, message };
            self.on_end(&End { outcome, checkpoint_moved: run.checkpoint_moved }, seed, now);
        }
        if let Some(seen) = self.last_started_at.max(self.last_ended_at)
            && seen > now
        {
            self.on_clock_set_back(seen.since(now), seed, now);
        }
        if let Some(trigger) = &self.trigger {
            self.set_next(Some((trigger.at.min(now), Cause::Triggered)));
        } else if self.is_paused() {
            self.set_next(None);
        } else if self.next_run_at.is_none() {
            self.set_next_tick(self.first_tick(seed, now));
        } else if self.next_cause == Cause::Scheduled {
            let next = self.next_tick(seed, now).min(self.next_run_at);
            self.set_next_tick(next);
        }
    }

    /// The clock shows `back` less than it did.
    pub(super) fn on_clock_set_back(&mut self, back: u64, seed: u64, now: Timestamp) {
        let (Some(next), None) = (self.next_run_at, &self.running) else { return };
        self.next_run_at = match self.next_cause {
            Cause::Scheduled => self.first_tick(seed, now).map_or(Some(next), |tick| Some(tick.min(next))),
            Cause::Retry => Some(minus(next, back)),
            Cause::Triggered | Cause::Continued => Some(next.min(now)),
        };
    }

    /// Somebody asks for a run.
    pub(super) fn on_trigger(&mut self, now: Timestamp) {
        if matches!(self.state, PlanState::Paused { by: PausedBy::Failure, .. }) {
            self.state = PlanState::Active;
            (self.failures, self.breaks) = (0, 0);
        }
        self.trigger.get_or_insert(super::plan::Trigger { at: now });
        if self.running.is_none() {
            // What is due already keeps its place.
            let at = self.next_run_at.map_or(now, |next| next.min(now));
            self.set_next(Some((at, Cause::Triggered)));
        }
    }

    /// Nothing starts by itself any more. A run under way is not this function's business.
    pub(super) fn on_pause(&mut self, reason: Option<String>) {
        self.state = PlanState::Paused { by: PausedBy::Operator, reason };
        self.trigger = None;
        self.set_next(None);
    }

    /// Runs start by themselves again: at once if work was left over, else with the next tick. Ticks that a pause
    /// swallowed were not missed but unwanted.
    pub(super) fn on_resume(&mut self, seed: u64, now: Timestamp) {
        if !self.is_paused() {
            return;
        }
        self.state = PlanState::Active;
        (self.failures, self.breaks) = (0, 0);
        if self.running.is_some() || self.trigger.is_some() {
            return;
        }
        if self.unfinished {
            self.set_next(Some((now, Cause::Retry)));
        } else {
            self.set_next_tick(self.next_tick(seed, now));
        }
    }

    /// Another schedule. One that is the same changes nothing, so that a deployment may set it each time.
    ///
    /// A new period counts from the last run, so a sync whose last run is longer ago than that is due at once.
    pub(super) fn on_schedule(
        &mut self,
        schedule: Option<Schedule>,
        start_at: Option<Timestamp>,
        seed: u64,
        now: Timestamp,
    ) {
        if self.schedule == schedule && self.start_at == start_at {
            return;
        }
        let new_start = start_at.filter(|_| start_at != self.start_at);
        let jitter = schedule.as_ref().map_or(0, |schedule| jitter_ms(schedule, seed));
        let last = self.last_started_at.map(|last| last.min(now));
        self.anchor = new_start.unwrap_or_else(|| last.map_or(now, |last| minus(last, jitter)));
        (self.schedule, self.start_at) = (schedule, start_at);
        if self.running.is_some() || self.is_paused() {
            return;
        }
        let tick = match last {
            Some(last) if new_start.is_none() && matches!(self.schedule, Some(Schedule::Every { .. })) => {
                self.tick_after(seed, last)
            }
            _ => self.first_tick(seed, now),
        };
        match self.next_run_at {
            // Work that no tick asked for stays due.
            Some(next) if self.next_cause != Cause::Scheduled => {
                if let Some(tick) = tick.filter(|tick| *tick < next) {
                    self.set_next_tick(Some(tick));
                }
            }
            _ => self.set_next_tick(tick),
        }
    }

    /// A run starts.
    pub(super) fn on_start(&mut self, now: Timestamp) {
        let cause = self.next_cause;
        self.running = Some(super::plan::Running { started_at: now, cause, checkpoint_moved: true });
        self.trigger = None;
        self.last_started_at = Some(now);
        self.set_next(None);
    }

    /// A run ended.
    pub(super) fn on_end(&mut self, end: &End, seed: u64, now: Timestamp) {
        self.running = None;
        self.last_ended_at = Some(now);
        self.last_outcome = Some(end.outcome.code().to_owned());
        self.last_message = end.outcome.message().map(str::to_owned);
        self.unfinished = true;
        if end.checkpoint_moved {
            self.moved();
        }
        let unmoved = u32::from(!end.checkpoint_moved);
        let next = match &end.outcome {
            Ended::Succeeded => {
                self.moved();
                self.unfinished = false;
                self.last_success_at = Some(now);
                self.tick(seed, now)
            }
            Ended::Failed { transient: true, retry_after_ms, .. } => {
                self.failures = self.failures.saturating_add(1);
                self.breaks = 0;
                Some(self.retry(self.failures, retry_after_ms.unwrap_or(0), seed, now))
            }
            Ended::Failed { transient: false, code, message, .. } => {
                self.failures = self.failures.saturating_add(1);
                self.pause_by_failure(format!("{code}: {message}"));
                None
            }
            Ended::Stopped { reason: StopReason::Cancelled, .. } => {
                self.unfinished = false;
                self.tick(seed, now)
            }
            Ended::Stopped { reason: StopReason::TimedOut, .. } => {
                self.cut_short(unmoved);
                if end.checkpoint_moved {
                    Some((now, Cause::Continued))
                } else {
                    Some(self.retry(self.unmoved, 0, seed, now))
                }
            }
            Ended::Parked | Ended::Stopped { reason: StopReason::Interrupted | StopReason::Parked, .. } => {
                self.cut_short(unmoved);
                if self.stalled {
                    Some(self.retry(self.unmoved - MAX_UNMOVED + 1, 0, seed, now))
                } else {
                    Some((now, Cause::Continued))
                }
            }
            Ended::Stopped {
                reason:
                    StopReason::OutOfFuel
                    | StopReason::OutOfMemory
                    | StopReason::Trapped
                    | StopReason::Exhausted
                    | StopReason::Internal,
                message,
            } => {
                self.failures = self.failures.saturating_add(1);
                self.breaks = self.breaks.saturating_add(unmoved);
                self.cut_short(unmoved);
                if self.breaks >= MAX_BREAKS {
                    let (count, code) = (self.breaks, end.outcome.code());
                    self.pause_by_failure(format!(
                        "{count} runs in a row were broken off, the last: {code}: {message}"
                    ));
                }
                Some(self.retry(self.failures, 0, seed, now))
            }
        };
        if self.trigger.is_some() {
            self.set_next(Some((now, Cause::Triggered)));
        } else if self.is_paused() {
            self.set_next(None);
        } else {
            self.set_next(next);
        }
    }

    /// The run got somewhere: what it could not do is another matter than what it could not do before.
    fn moved(&mut self) {
        (self.failures, self.breaks, self.unmoved, self.stalled) = (0, 0, 0, false);
    }

    fn cut_short(&mut self, unmoved: u32) {
        self.unmoved = self.unmoved.saturating_add(unmoved);
        self.stalled = self.unmoved >= MAX_UNMOVED;
    }

    /// Unless somebody asked for one more run meanwhile, perhaps because it is mended, or paused it anyhow.
    fn pause_by_failure(&mut self, reason: String) {
        if self.trigger.is_none() && !self.is_paused() {
            self.state = PlanState::Paused { by: PausedBy::Failure, reason: Some(reason) };
        }
    }

    fn tick(&self, seed: u64, now: Timestamp) -> Option<(Timestamp, Cause)> {
        self.next_tick(seed, now).map(|tick| (tick, Cause::Scheduled))
    }

    fn retry(&self, tries: u32, retry_after_ms: u64, seed: u64, now: Timestamp) -> (Timestamp, Cause) {
        let backoff = plus(now, backoff_ms(tries, seed));
        let (at, cause) = self.tick(seed, now).filter(|(tick, _)| *tick <= backoff).unwrap_or((backoff, Cause::Retry));
        let earliest = plus(now, retry_after_ms);
        if at < earliest { (earliest, Cause::Retry) } else { (at, cause) }
    }
}
