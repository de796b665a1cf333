//! Time is a number here, and a test plays it; nothing waits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod ends;
mod fairness;
mod plans;
mod random;
mod schedules;

use super::*;
use crate::ids::Timestamp;
use crate::run::StopReason;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// 2026-01-02T00:00:00Z.
const T0: Timestamp = Timestamp(1_767_312_000_000);

const ROOMY: Admission = Admission { runs: 100, memory: 1 << 40, kept: 0 };

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond().try_into().unwrap())
}

fn after(time: Timestamp, ms: u64) -> Timestamp {
    Timestamp(time.0 + ms)
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

fn placement() -> Placement {
    Placement { environment: "default".to_owned(), connection: "acme".to_owned(), memory: 1, suspect: false }
}

fn end(outcome: Ended) -> End {
    End { outcome, checkpoint_moved: false }
}

fn moved(outcome: Ended) -> End {
    End { outcome, checkpoint_moved: true }
}

fn ok() -> End {
    moved(Ended::Succeeded)
}

fn transient() -> Ended {
    Ended::Failed { code: "script-transient".into(), message: "503".into(), transient: true, retry_after_ms: None }
}

fn permanent() -> Ended {
    Ended::Failed {
        code: "script-permanent".into(),
        message: "no access".into(),
        transient: false,
        retry_after_ms: None,
    }
}

fn stopped(reason: StopReason) -> Ended {
    Ended::Stopped { reason, message: "stopped".into() }
}

/// Whether this lies within a tenth of `ms`, as jitter may have it.
fn about(found: u64, ms: u64) -> bool {
    found.abs_diff(ms) <= ms / 10
}

/// A planner with one sync, and the hand on its clock.
struct One {
    planner: Planner<String>,
    key: String,
    now: Timestamp,
}

impl One {
    fn new(plan: Plan, now: Timestamp) -> Self {
        Self::named("issues", plan, now)
    }

    fn named(key: &str, plan: Plan, now: Timestamp) -> Self {
        let mut planner = Planner::new(ROOMY);
        planner.insert(&key.to_owned(), placement(), plan, now);
        Self { planner, key: key.to_owned(), now }
    }

    fn every(text: &str) -> Self {
        Self::new(Plan::new(Some(schedule(text)), None, T0), T0)
    }

    fn plan(&self) -> &Plan {
        self.planner.plan(&self.key).unwrap()
    }

    fn next(&self) -> Option<Timestamp> {
        self.plan().next_run_at
    }

    /// Sets the clock, and says whether a run starts.
    fn set(&mut self, now: Timestamp) -> bool {
        self.now = now;
        let starts = self.planner.due(now);
        assert!(starts.len() <= 1);
        starts.len() == 1
    }

    fn pass(&mut self, ms: u64) -> bool {
        self.set(after(self.now, ms))
    }

    /// Goes on to the next wake, which must start a run; says when that was.
    fn wake(&mut self) -> Timestamp {
        let wake = self.planner.next_wake(self.now).expect("something is to come");
        assert!(wake >= self.now);
        assert!(self.set(wake), "nothing starts at {wake}: {:?}", self.plan());
        wake
    }

    fn end(&mut self, end: &End) {
        self.planner.ended(&self.key, end, self.now).expect("it runs");
    }

    /// Runs at the next wake, for some time, to this end.
    fn run(&mut self, ms: u64, how: &End) -> Timestamp {
        let start = self.wake();
        self.now = after(self.now, ms);
        self.end(how);
        start
    }
}
