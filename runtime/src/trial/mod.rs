//! Scripts against recorded files: what `terapi test` does.
//!
//! Two kinds of files are known by their beginning. A [`Cassette`](crate::sandbox::Cassette) is replayed. A file of Nango's format
//! (`NAME.test.json`: what the script is given, what the API answers, what has to come out) is run against: the script runs as
//! any run does, on an empty store in memory, and its requests are answered from the file.
//!
//! - `file`: the format · `exchanges`: which recorded answer a request gets · `compare`: values, records, calls

mod compare;
mod exchanges;
mod file;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

pub use self::file::TrialError;

use self::compare::Calls;
use self::exchanges::Exchanges;
use self::file::RecordedFile;
use crate::egress::Egress;
use crate::ids::{ConnectionName, SyncKey, Timestamp, Variant};
use crate::run::{LogLine, Outcome, RunKind};
use crate::runtime::{Execution, RuntimeError, Workshop};
use crate::sandbox::{Cassette, LimitOverrides, Recorder, Script};
use crate::store::rehearsal::Rehearsal;
use crate::store::{Store as _, SyncState};

/// Where paths go that have no base URL: nowhere, since no request of a trial is sent.
const NOWHERE: &str = "https://recorded.invalid";

/// The connection of a trial.
const CONNECTION: &str = "default";

/// One thing that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// `request`, `request-not-made`, `saved`, `deleted`, `checkpoint`, `metadata`, `outcome`, `output`; of a cassette also
    /// what a replay's difference is called.
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
    /// What it logged.
    pub log: Vec<LogLine>,
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
) -> Result<Trial, RuntimeError> {
    let recorded = RecordedFile::parse(path, bytes)?;
    let exchanges = Arc::new(Exchanges::of(&recorded, path)?);
    let connection: ConnectionName = CONNECTION.parse()?;
    let mut execution = Execution::new(Arc::clone(script), connection.clone());
    execution.connection_facts = Some(recorded.connection_facts(&connection).into());
    execution.policy.base_url = execution.policy.base_url.or_else(|| NOWHERE.parse().ok());
    execution.egress = Some(Egress::answered_by(Arc::clone(&exchanges) as _)?);
    execution.guard.allow = true;
    execution.limits = execution.limits.with(limits);
    let buffer = Buffer::default();
    let tape = PathBuf::from("the run");
    let wrong = |source| crate::sandbox::CassetteError::Unwritable { path: tape.clone(), source };
    let recorder = Recorder::to(&tape, Box::new(buffer.clone())).map_err(wrong)?;
    execution.recorder = Some(Arc::clone(&recorder));
    let sync = SyncKey { script: execution.name.clone(), connection: connection.clone(), variant: Variant::default() };
    let prepare = |store: &Rehearsal| {
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
    recorder.finish()?;
    let tape = Cassette::of(&tape, std::mem::take(&mut *buffer.0.lock().unwrap_or_else(PoisonError::into_inner)))?;
    let calls = Calls::of(&tape)?;

    let mut trial = Trial { requests: exchanges.asked(), log: store.logged(), ..Trial::default() };
    exchanges.report(&mut trial);
    if script.manifest.kind == RunKind::Sync {
        calls.compare_records(&recorded, &mut trial);
    }
    calls.compare_state(&recorded, &mut trial);
    let outcome = run.outcome.unwrap_or(Outcome::Succeeded);
    if outcome != Outcome::Succeeded {
        let came = format!("{} with {}: {}", outcome.word(), outcome.code(), outcome.message());
        trial.differs("outcome", "the run", "succeeded", came);
    } else if let Some(expected) = recorded.output() {
        let came: Value = output.as_deref().and_then(|output| serde_json::from_str(output).ok()).unwrap_or_default();
        if let Some(found) = compare::values(&expected, &came) {
            trial.mismatches.push(Mismatch {
                kind: "output".to_owned(),
                what: "the action".to_owned(),
                path: found.path,
                recorded: found.recorded,
                came: found.came,
            });
        }
    }
    Ok(trial)
}
