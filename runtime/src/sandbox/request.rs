//! What a run works with, and what comes back of it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Cassette, Difference, LimitOverrides, Limits, Progress, Recorder, Script};
use crate::clock::JumpingClock;
use crate::egress::{Egress, Exchange, Policy};
use crate::ids::{ConnectionName, RunId, Timestamp, Variant};
use crate::run::{Changes, LogLine, Outcome, Usage};
use crate::store::{DeleteGuard, Lease, Store};

/// What a run works with and for whom.
pub struct RunRequest {
    /// What to run.
    pub script: Arc<Script>,
    /// Its id.
    pub run: RunId,
    /// For which account.
    pub connection: ConnectionName,
    /// What the script may know of it: a JSON object.
    pub connection_facts: Arc<str>,
    /// In which variant.
    pub variant: Variant,
    /// A JSON object for the script.
    pub config: String,
    /// An action's input, as JSON.
    pub input: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// Where records, state and logs go.
    pub store: Arc<dyn Store>,
    /// A sync's right to write.
    pub lease: Option<Lease>,
    /// The way out.
    pub egress: Egress,
    /// What the operator allows on it.
    pub policy: Arc<Policy>,
    /// Holds back suspicious deletes.
    pub guard: DeleteGuard,
    /// What the sync remembers.
    pub last_sync_date: Option<Timestamp>,
    /// What the sync remembers.
    pub checkpoint: Option<String>,
    /// Ends the run.
    pub cancel: CancellationToken,
    /// Ends the run as soon as it has saved a checkpoint; one that saves none goes on.
    pub park: CancellationToken,
    /// Told how far it is.
    pub progress: watch::Sender<Progress>,
    /// Writes down what it does.
    pub recorder: Option<Arc<Recorder>>,
    /// A clock that jumps where the run would wait, in place of the machine's.
    pub time: Option<Arc<JumpingClock>>,
}

/// How a run went.
pub struct RunReport {
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What it changed.
    pub changes: Changes,
    /// An action's output, as JSON.
    pub output: Option<String>,
    /// Lines of its log that the store does not have yet.
    pub log: Vec<LogLine>,
    /// Its requests, the first of them.
    pub trace: Vec<Exchange>,
}

/// What a replay works with.
pub struct ReplayRequest {
    /// What to run.
    pub script: Arc<Script>,
    /// What answers it.
    pub cassette: Cassette,
    /// Limits in place of those of the recorded run.
    pub limits: LimitOverrides,
    /// Ends it.
    pub cancel: CancellationToken,
}

/// How a replay went.
pub struct ReplayReport {
    /// What the script did otherwise than the recorded run, first.
    pub difference: Option<Difference>,
    /// How many of its calls were as recorded; log lines are not compared and not counted.
    pub calls: u64,
    /// How it ended; where nothing differs, as the recorded run.
    pub outcome: Outcome,
    /// An action's output, as JSON.
    pub output: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// Its log.
    pub log: Vec<LogLine>,
}
