//! What the scheduler knows of one sync. It is persisted as JSON in the sync's row; every field has a default and unknown
//! ones are ignored, so that an older and a newer version can read each other's rows.

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::ids::Timestamp;
use crate::run::{Outcome, StopReason};

/// One sync's plan. Made by [`Plan::new`], changed only by the [`Planner`](super::Planner), persisted by its owner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// How often; `None`: only when triggered.
    pub schedule: Option<Schedule>,
    /// A point of the grid of `every …`: its ticks lie a whole number of periods away. Cron does without.
    pub anchor: Timestamp,
    /// No scheduled run before it. With `every …` the first one is exactly then, and it is the grid's anchor.
    pub start_at: Option<Timestamp>,
    /// Whether runs start by themselves.
    pub state: PlanState,
    /// When it is due, which is in the past while it waits for a free slot; `None` while a run is under way, while it is
    /// paused, and when nothing is to come.
    pub next_run_at: Option<Timestamp>,
    /// Why it is due then.
    pub next_cause: Cause,
    /// The run under way. A plan that is read with it after a crash is due at once.
    pub running: Option<Running>,
    /// A run that somebody asked for and that has not started.
    pub trigger: Option<Trigger>,
    /// Failed runs and stopped ones that count as failed, in a row.
    pub failures: u32,
    /// Of those the ones in a row that the runtime had to break off (out of fuel, trapped …) without the checkpoint moving.
    pub breaks: u32,
    /// Runs in a row that were cut short (timed out, interrupted, parked, broken off) without the checkpoint moving.
    pub unmoved: u32,
    /// `unmoved` reached its limit: runs take place and nothing comes of them. A success or a moved checkpoint clears it.
    pub stalled: bool,
    /// The last run neither succeeded nor was cancelled: there is work left that no tick needs to ask for.
    pub unfinished: bool,
    /// When the last run started.
    pub last_started_at: Option<Timestamp>,
    /// When the last run ended.
    pub last_ended_at: Option<Timestamp>,
    /// When the last successful run ended.
    pub last_success_at: Option<Timestamp>,
    /// How the last run ended: `succeeded`, `parked`, or the code of the failure or stop.
    pub last_outcome: Option<String>,
    /// What a person should read of that end; absent on success.
    pub last_message: Option<String>,
}

impl Plan {
    /// The plan of a sync made at `now`: without `start_at` its first run is due then, with the key's jitter.
    #[must_use]
    pub fn new(schedule: Option<Schedule>, start_at: Option<Timestamp>, now: Timestamp) -> Self {
        Self { schedule, anchor: start_at.unwrap_or(now), start_at, ..Self::default() }
    }

    /// Whether it is paused, by whomever.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self.state, PlanState::Paused { .. })
    }
}

/// Whether a sync's runs start by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum PlanState {
    /// They do.
    #[default]
    Active,
    /// They do not.
    Paused {
        /// Who paused it.
        by: PausedBy,
        /// Why, for a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// Who paused a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PausedBy {
    /// A person: until resumed. A trigger runs once and leaves it paused.
    Operator,
    /// A failure that trying again does not mend: until resumed or triggered.
    Failure,
}

/// Why a run is due, or took place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A tick of the schedule.
    #[default]
    Scheduled,
    /// The last run failed or got nowhere, and it is tried again.
    Retry,
    /// Somebody asked for it.
    Triggered,
    /// The last run was cut short in the middle of its work and is gone on with.
    Continued,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// When it started.
    pub started_at: Timestamp,
    /// Why it started.
    #[serde(default)]
    pub cause: Cause,
    /// Looked at only when a plan is inserted whose run a crash interrupted: whether that run moved its checkpoint. The
    /// owner sets it if it knows; else the run is given the benefit of the doubt.
    #[serde(default = "yes")]
    pub checkpoint_moved: bool,
}

fn yes() -> bool {
    true
}

/// Somebody asked for a run. However often, it is one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// When it was first asked for.
    pub at: Timestamp,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// How.
    pub outcome: Ended,
    /// Whether the checkpoint differs from the one at the run's start.
    pub checkpoint_moved: bool,
}

/// How a run ended, as far as it matters to when the next one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All done.
    Succeeded,
    /// The script, or what the runtime does at a run's end, said that it failed.
    Failed {
        /// The stable code.
        code: String,
        /// For a person.
        message: String,
        /// Whether trying again may help; if not, the sync is paused.
        transient: bool,
        /// The earliest next try, in milliseconds from now.
        retry_after_ms: Option<u64>,
    },
    /// The runtime ended it.
    Stopped {
        /// Why.
        reason: StopReason,
        /// For a person.
        message: String,
    },
    /// The process is about to stop, and the run came to rest at a checkpoint.
    Parked,
}

impl Ended {
    /// The stable code, as in [`Outcome::code`], or `parked`.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { code, .. } => code,
            Self::Stopped { reason, .. } => reason.code(),
            Self::Parked => "parked",
        }
    }

    /// What a person should read, if there is anything.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Succeeded | Self::Parked => None,
            Self::Failed { message, .. } | Self::Stopped { message, .. } => Some(message),
        }
    }
}

impl From<&Outcome> for Ended {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed(failure) => Self::Failed {
                code: failure.code.clone(),
                message: failure.message.clone(),
                transient: failure.transient,
                retry_after_ms: failure.retry_after_ms,
            },
            Outcome::Stopped(stopped) => Self::Stopped { reason: stopped.reason, message: stopped.message.clone() },
        }
    }
}
