//! When which sync runs: the scheduler's core.
//!
//! A pure, synchronous state machine. It does no I/O, has no clock and no randomness of its own: every call is given the
//! time, and what looks random (jitter) is derived from the sync's key. Whoever owns a [`Planner`] starts what
//! [`Planner::due`] returns, tells it with [`Planner::ended`] how each run ended, writes the [`Plan`] that a call returns to
//! the sync's row, and sleeps until [`Planner::next_wake`].
//!
//! What holds at all times:
//!
//! 1. A sync has at most one active run.
//! 2. What was missed coalesces: after three hours down, `every 5 minutes` runs once and then follows its grid again.
//! 3. The grid does not drift: ticks are computed from the plan's anchor, never from when a run started or ended.
//! 4. Active runs never exceed the limits in number or memory; only a sync that is larger than all the memory there is
//!    runs regardless, and then alone.
//! 5. Slots go round environments, within one round connections, within one by due time; nothing that is due waits forever.
//! 6. A clock that is set back neither stops a sync until the old time comes again nor runs a tick a second time.
//!
//! | module | what it knows |
//! |---|---|
//! | `schedule` | `every 5 minutes`: frequencies in words, and how one is read and shown |
//! | `cron` | `cron 0 9 * * MON-FRI Europe/Berlin`: wall-clock times and what becomes of them where clocks change |
//! | `plan` | what is persisted of a sync, and how a run may end |
//! | `rules` | from an end to the next run: grid, jitter, backoff, pause, stalled |
//! | `queue` | who of those that are due comes next |
//! | `planner` | the door: timers, admission, and the calls above |

mod cron;
mod plan;
mod planner;
mod queue;
mod rules;
mod schedule;

pub use cron::Cron;
pub use plan::{Cause, End, Ended, PausedBy, Plan, PlanState, Running, Trigger};
pub use planner::{Admission, Placement, Planner, Start, Triggered};
pub use rules::{MAX_BACKOFF_MS, MAX_BREAKS, MAX_UNMOVED};
pub use schedule::{MAX_PERIOD_MS, MIN_PERIOD_MS, Schedule, ScheduleError};

#[cfg(test)]
mod tests;
