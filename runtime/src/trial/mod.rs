//! Scripts against recorded files: what `terapi test` does.
//!
//! Two kinds of files are known by their beginning. A [`Cassette`] is replayed. A file of Nango's format
//! (`NAME.test.json`: what the script is given, what the API answers, what has to come out) is run against: the script runs as
//! any run does, on a store in memory, and its requests are answered from the file. Nothing waits: its clock jumps.
//!
//! - `file`: the format · `exchanges`: which recorded answer a request gets · `requests`: whether a request is a recorded one
//! - `calls`: records, checkpoints, log · `compare`: values · `leeway`: what cannot be as recorded · `stamps`: times in a text

mod calls;
mod compare;
mod exchanges;
mod file;
mod leeway;
mod requests;
mod stamps;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

pub use self::file::TrialError;

use self::calls::{Calls, Side};
use self::exchanges::{Exchanges, Unmatched};
use self::file::{RecordedFile, WantedError};
use self::leeway::Accepted;
use crate::clock::{Clock as _, JumpingClock, SystemClock};
use crate::egress::Egress;
use crate::ids::{ConnectionName, SyncKey, Timestamp, Variant};
use crate::run::{LogLine, Outcome, RunKind};
use crate::runtime::{Execution, RuntimeError, Workshop};
use crate::sandbox::{Cassette, CassetteError, LimitOverrides, Recorder, Script};
use crate::store::rehearsal::Rehearsal;
use crate::store::{Store as _, SyncState};

/// Where paths go that have no base URL: nowhere, since no request of a trial is sent.
const NOWHERE: &str = "https://recorded.invalid";

/// The connection of a trial.
const CONNECTION: &str = "default";

/// What a trial may use, where the caller does not say otherwise: a script that goes round in circles is soon told.
const MAX_REQUESTS: u64 = 10_000;
const TIMEOUT: Duration = Duration::from_mins(2);

/// One thing that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// `request`, `request-not-made`, `saved`, `updated`, `deleted`, `found-deleted`, `checkpoint`, `metadata`, `log`,
    /// `outcome`, `output`, `error`; of a cassette also what a replay's difference is called.
    pub kind: String,
    /// Which request, model or call.
    pub what: String,
    /// Where in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What the file has.
    pub recorded: String,
    /// What came.
    pub came: String,
}

/// A run against a recorded file.
#[derive(Debug, Default, Serialize)]
pub struct Trial {
    /// What is not as recorded.
    pub mismatches: Vec<Mismatch>,
    /// What is worth knowing and no difference, such as another order of the same records.
    pub notes: Vec<String>,
    /// Requests that the script made.
    pub requests: u64,
    /// Records that it saved.
    pub saved: u64,
    /// Records that it deleted.
    pub deleted: u64,
    /// Host calls that were as recorded, of a cassette.
    pub replayed: u64,
    /// How much time it waited, in milliseconds: none that really passed.
    pub waited_ms: u64,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// How many things were compared.
    #[serde(skip)]
    compared: usize,
    #[serde(skip)]
    accepted: Accepted,
}

impl Trial {
    fn differs(&mut self, kind: &str, what: impl Into<String>, recorded: impl Into<String>, came: impl Into<String>) {
        let (what, recorded, came) = (what.into(), recorded.into(), came.into());
        self.mismatches.push(Mismatch { kind: kind.to_owned(), what, path: String::new(), recorded, came });
    }
}

/// Bytes that a recorder writes to.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Now, but with milliseconds and seconds: times that were written by hand or cut have none, and are not to be taken for it.
fn an_odd_moment() -> Timestamp {
    let now = SystemClock.now().0;
    let odd = |now: u64, unit: u64, part: u64| if (now / part).is_multiple_of(unit) { now + part } else { now };
    Timestamp(odd(odd(now, 1_000, 1), 60, 1_000))
}

/// Runs a script against a file in Nango's format.
///
/// # Errors
/// The file is not of that format, or the run could not begin. How the run went is in the answer.
pub async fn against(
    workshop: &Workshop,
    script: &Arc<Script>,
    path: &Path,
    bytes: &[u8],
    limits: &LimitOverrides,
) -> Result<Trial, TrialError> {
    let recorded = RecordedFile::parse(path, bytes)?;
    let start = recorded.now().map_or_else(an_odd_moment, Timestamp);
    // A text has no other way to wait than host calls.
    let clock =
        Arc::new(if script.modules().is_empty() { JumpingClock::running(start) } else { JumpingClock::new(start) });
    let exchanges = Arc::new(Exchanges::of(&recorded, path, &clock)?);
    let connection: ConnectionName = CONNECTION.parse().map_err(RuntimeError::from)?;
    let mut execution = Execution::new(Arc::clone(script), connection.clone());
    execution.connection_facts = Some(recorded.connection_facts(&connection).into());
    execution.policy.base_url = execution.policy.base_url.or_else(|| NOWHERE.parse().ok());
    let egress = Egress::answered_by(Arc::clone(&exchanges) as _).map_err(RuntimeError::from)?;
    execution.egress = Some(egress.with_clock(Arc::clone(&clock) as _));
    execution.guard.allow = true;
    (execution.limits.http_requests, execution.limits.timeout) = (MAX_REQUESTS, TIMEOUT);
    execution.limits = execution.limits.with(limits);
    execution.time = Some(Arc::clone(&clock));
    let buffer = Buffer::default();
    let tape = PathBuf::from("the run");
    let wrong = |source| RuntimeError::from(CassetteError::Unwritable { path: tape.clone(), source });
    let recorder = Recorder::of_effects(&tape, Box::new(buffer.clone())).map_err(wrong)?;
    execution.recorder = Some(Arc::clone(&recorder));
    let sync = SyncKey { script: execution.name.clone(), connection: connection.clone(), variant: Variant::default() };
    let stored = recorded.stored(script).map_err(|reason| TrialError::Foreign { path: path.to_owned(), reason })?;
    let prepare = |store: &Rehearsal| {
        for (model, entries) in stored {
            store.put(&sync.stream(&model), entries);
        }
        let state = SyncState {
            last_sync_date: recorded.last_sync_date().map(Timestamp),
            checkpoint: recorded.checkpoint_at_start(),
        };
        store.set_state(&sync, state);
        if let Some(metadata) = recorded.metadata() {
            // What is no object is told by the script, which does not find it.
            let _ = store.set_metadata(&connection, &metadata);
        }
    };
    let (run, output, store) = workshop.run(execution, recorded.input(), prepare).await?;
    let read = || {
        recorder.finish()?;
        let written = std::mem::take(&mut *buffer.0.lock().unwrap_or_else(PoisonError::into_inner));
        Calls::of(&Cassette::of(&tape, written)?)
    };
    let calls = read().map_err(RuntimeError::from)?;

    let mut trial = Trial { log: store.logged(), waited_ms: clock.jumped_ms(), ..Trial::default() };
    exchanges.report(&mut trial);
    let is_sync = script.manifest.kind == RunKind::Sync;
    calls.compare(&recorded, exchanges.leeway(), is_sync, &mut trial);
    let outcome = run.outcome.unwrap_or(Outcome::Succeeded);
    let mut side = Side { leeway: exchanges.leeway(), trial: &mut trial };
    match recorded.error() {
        Some(wanted) => side.failure(wanted, &outcome),
        None if outcome != Outcome::Succeeded => side.trial.differs("outcome", "the run", "succeeded", ended(&outcome)),
        None => {
            if let Some(expected) = recorded.output().filter(|_| !is_sync) {
                let came = output.as_deref().and_then(|output| serde_json::from_str(output).ok());
                side.values("output", "the action", &expected, &came.unwrap_or_default());
            }
        }
    }
    trial.tell_of_requests(exchanges.unmatched(), exchanges.not_made(), outcome == Outcome::Succeeded);
    // What went wrong first comes first: a run that fails has yet to save what it would have.
    trial.mismatches.sort_by_key(|mismatch| match mismatch.kind.as_str() {
        "request" => 0,
        "outcome" | "error" => 1,
        _ => 2,
    });
    let accepted = std::mem::take(&mut trial.accepted);
    trial.notes.extend(accepted.notes());
    Ok(trial)
}

fn ended(outcome: &Outcome) -> String {
    match outcome.message() {
        "" => outcome.word().to_owned(),
        message => format!("{} with {}: {message}", outcome.word(), outcome.code()),
    }
}

impl Side<'_> {
    /// The run has to fail, by itself.
    fn failure(&mut self, wanted: &WantedError, outcome: &Outcome) {
        self.trial.compared += 1;
        let Outcome::Failed(failure) = outcome else {
            let message = wanted.messages().next().map(|text| format!(" with {text:?}")).unwrap_or_default();
            return self.trial.differs("outcome", "the run", format!("failed{message}"), ended(outcome));
        };
        for text in wanted.messages().filter(|text| !failure.message.contains(*text)) {
            self.trial.differs("error", "its message", format!("… {text} …"), &failure.message);
        }
        if let Some(payload) = &wanted.payload {
            let came = failure.details.as_deref().and_then(|details| serde_json::from_str(details).ok());
            self.values("error", "its payload", payload, &came.unwrap_or_default());
        }
    }
}

impl Trial {
    /// To read less, or to go on where there was nothing to read, and to come to the same is no difference in what a script
    /// does. To read another thing in the place of a recorded one is, and so is whatever changes something.
    fn tell_of_requests(&mut self, unmatched: Vec<Unmatched>, not_made: Vec<(String, bool)>, succeeded: bool) {
        let same = succeeded && self.mismatches.is_empty() && self.compared > 0;
        let read = |all: &[Unmatched]| all.iter().all(|it| it.only_reads);
        let all_read = not_made.iter().all(|(_, only_reads)| *only_reads);
        let accepted = same && read(&unmatched) && all_read && (unmatched.is_empty() || not_made.is_empty());
        for Unmatched { mismatch, .. } in unmatched {
            if accepted {
                self.notes.push(format!("{} is not recorded, and the script went on without an answer", mismatch.what));
            } else {
                self.mismatches.push(mismatch);
            }
        }
        if !succeeded {
            // What a run that ended early had yet to ask for says nothing.
            if !not_made.is_empty() && !self.mismatches.is_empty() {
                let (count, some) = (not_made.len(), if not_made.len() == 1 { "request was" } else { "requests were" });
                self.notes.push(format!("{count} recorded {some} not made before it ended"));
            }
            return;
        }
        for (name, _) in not_made {
            if accepted {
                self.notes.push(format!("{name} was not asked for"));
            } else {
                self.differs("request-not-made", name.clone(), name, "no such request");
            }
        }
    }
}
