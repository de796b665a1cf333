//! What a run is, once it is data: its outcome, its usage, its log. Written by the sandbox and the runtime, kept by
//! the store, shown by API and CLI; knows nothing of any of them.

use serde::{Deserialize, Serialize};

use crate::ids::{RunId, ScriptHash, SyncKey, Timestamp};

/// Whether a run was a sync or an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// It pulled records.
    Sync,
    /// It did something in the external system.
    Action,
}

/// One execution of a script, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Sync or action.
    pub kind: RunKind,
    /// Script, connection and variant.
    pub sync: SyncKey,
    /// The exact script that ran.
    pub script: ScriptHash,
    /// When it started; becomes the last sync date if it succeeds.
    pub started_at: Timestamp,
    /// When it ended; absent while it runs.
    pub ended_at: Option<Timestamp>,
    /// How it ended; absent while it runs.
    pub outcome: Option<Outcome>,
    /// What it used.
    pub usage: Usage,
    /// What it changed.
    pub changes: Changes,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Outcome {
    /// The script returned ok, and what it did is durable.
    Succeeded,
    /// The script, or what the runtime does at a run's end, said that it failed.
    Failed(Failure),
    /// The runtime ended it.
    Stopped(Stopped),
}

impl Outcome {
    /// The stable code: `succeeded`, or that of the failure or the stop.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed(failure) => &failure.code,
            Self::Stopped(stopped) => stopped.reason.code(),
        }
    }

    /// What a person should read; empty on success.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Succeeded => "",
            Self::Failed(failure) => &failure.message,
            Self::Stopped(stopped) => &stopped.message,
        }
    }

    /// One word: `succeeded`, `failed` or `stopped`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// `script-transient` or `script-permanent` where the script said so, else the runtime's own code.
    pub code: String,
    /// Whether trying again may help.
    pub transient: bool,
    /// For a person.
    pub message: String,
    /// A JSON text from the script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// The earliest next try, in milliseconds from the end of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The runtime ended the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// Why.
    pub reason: StopReason,
    /// Names the limit, the figure, and what to do.
    pub message: String,
    /// The guest's functions, innermost first, where there was a trap; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

/// Why the runtime ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// The CPU budget is used up.
    OutOfFuel,
    /// Memory grew past its limit.
    OutOfMemory,
    /// The deadline passed.
    TimedOut,
    /// Somebody asked for it.
    Cancelled,
    /// Somebody asked for it, and it had just saved a checkpoint: nothing of its work is lost.
    Parked,
    /// The guest trapped: a panic, a bad access, a stack overflow.
    Trapped,
    /// A budget of host calls is used up.
    Exhausted,
    /// The process ended while it ran; noted at the next start.
    Interrupted,
    /// The host itself went wrong while it served the run. Our bug, not the script's.
    Internal,
}

impl StopReason {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::OutOfFuel => "out-of-fuel",
            Self::OutOfMemory => "out-of-memory",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
            Self::Parked => "parked",
            Self::Trapped => "trapped",
            Self::Exhausted => "exhausted",
            Self::Interrupted => "interrupted",
            Self::Internal => "internal",
        }
    }
}

/// What a run used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Fuel: roughly one unit a Wasm instruction, one a byte of bulk memory, and a fee for each host call.
    pub fuel: u64,
    /// The most bytes of memory it held at once: linear memories, tables, and buffers that the host held for it.
    pub peak_memory: u64,
    /// From instantiation to the end.
    pub wall_ms: u64,
    /// Requests sent, redirects and retries included.
    pub http_requests: u64,
    /// Decoded bytes received.
    pub http_bytes: u64,
    /// Records handed over to be saved, updated or deleted.
    pub records: u64,
    /// Bytes of those records.
    pub record_bytes: u64,
    /// Bytes of log lines.
    pub log_bytes: u64,
    /// Bytes of checkpoints and metadata.
    pub state_bytes: u64,
}

/// What a run changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Records that are new.
    pub added: u64,
    /// Records that differ.
    pub updated: u64,
    /// Records that came back the same.
    pub unchanged: u64,
    /// Records that are gone.
    pub deleted: u64,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// For the author.
    Debug,
    /// For the curious.
    Info,
    /// Somebody should look.
    Warn,
    /// Something went wrong.
    Error,
}

/// One line of a run's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// How grave.
    pub level: Level,
    /// The text.
    pub message: String,
    /// A JSON object of details, as the script gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<String>,
}
