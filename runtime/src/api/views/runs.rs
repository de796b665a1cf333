//! Runs, their traces and logs, as answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{time, value};
use crate::ids::{ConnectionName, RunId, ScriptName, Time, Variant};
use crate::run::{LogLine, Outcome, Run};

/// One execution of a script.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RunView {
    pub(crate) id: RunId,
    /// `sync` or `action`.
    pub(crate) kind: String,
    pub(crate) script: ScriptName,
    pub(crate) connection: ConnectionName,
    pub(crate) variant: Variant,
    /// The SHA-256 of the script that ran.
    pub(crate) script_hash: String,
    pub(crate) started_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at: Option<Time>,
    /// How it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<OutcomeView>,
    pub(crate) usage: UsageView,
    pub(crate) changes: ChangesView,
    /// Its requests, the first 1,000. Absent in lists.
    #[schema(value_type = Option<Vec<ExchangeView>>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<Vec<ExchangeView>>,
}

/// How a run ended.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct OutcomeView {
    /// `succeeded`, `failed` or `stopped`.
    pub(crate) status: String,
    /// `succeeded`, or the stable code of the failure or stop.
    pub(crate) code: String,
    /// What a person should read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// The guest's functions, innermost first, where it was stopped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) backtrace: Vec<String>,
}

/// What a run used.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct UsageView {
    /// About one unit an instruction.
    pub(crate) fuel: u64,
    /// The most bytes of memory it held at once.
    pub(crate) peak_memory: u64,
    /// Milliseconds.
    pub(crate) wall_ms: u64,
    /// Requests sent, redirects and retries included.
    pub(crate) http_requests: u64,
    /// Decoded bytes received.
    pub(crate) http_bytes: u64,
    /// Records handed over.
    pub(crate) records: u64,
    /// Bytes of those records.
    pub(crate) record_bytes: u64,
}

/// What a run changed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ChangesView {
    pub(crate) added: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    pub(crate) unchanged: u64,
}

/// One request of a run, and what came of it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ExchangeView {
    pub(crate) at: Time,
    pub(crate) method: String,
    /// Without the credential, and without values that look secret.
    pub(crate) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// The code of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// From the first byte sent to the last received, in milliseconds.
    pub(crate) took_ms: u64,
    /// How long it had waited before: for a retry, for limits, for a token.
    pub(crate) waited_ms: u64,
    /// Of the body, decoded.
    pub(crate) bytes: u64,
}

impl From<crate::egress::Exchange> for ExchangeView {
    fn from(it: crate::egress::Exchange) -> Self {
        let crate::egress::Exchange { at, method, url, status, error, took_ms, waited_ms, bytes } = it;
        Self { at: Time(at), method, url, status, error, took_ms, waited_ms, bytes }
    }
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let (usage, changes) = (run.usage, run.changes);
        Self {
            id: run.id,
            kind: match run.kind {
                crate::run::RunKind::Sync => "sync".to_owned(),
                crate::run::RunKind::Action => "action".to_owned(),
            },
            script: run.sync.script,
            connection: run.sync.connection,
            variant: run.sync.variant,
            script_hash: run.script.to_string(),
            started_at: Time(run.started_at),
            ended_at: time(run.ended_at),
            outcome: run.outcome.map(OutcomeView::from),
            usage: UsageView {
                fuel: usage.fuel,
                peak_memory: usage.peak_memory,
                wall_ms: usage.wall_ms,
                http_requests: usage.http_requests,
                http_bytes: usage.http_bytes,
                records: usage.records,
                record_bytes: usage.record_bytes,
            },
            changes: ChangesView {
                added: changes.added,
                updated: changes.updated,
                deleted: changes.deleted,
                unchanged: changes.unchanged,
            },
            trace: None,
        }
    }
}

impl From<Outcome> for OutcomeView {
    fn from(outcome: Outcome) -> Self {
        Self {
            status: outcome.word().to_owned(),
            code: outcome.code().to_owned(),
            message: Some(outcome.message().to_owned()).filter(|text| !text.is_empty()),
            backtrace: match outcome {
                Outcome::Stopped(stopped) => stopped.backtrace,
                _ => Vec::new(),
            },
        }
    }
}

/// A line of a run's log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LogView {
    pub(crate) at: Time,
    /// `debug`, `info`, `warn` or `error`.
    pub(crate) level: String,
    pub(crate) message: String,
    /// Details, as the script gave them.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fields: Option<serde_json::Value>,
}

impl From<LogLine> for LogView {
    fn from(line: LogLine) -> Self {
        let level = match line.level {
            crate::run::Level::Debug => "debug",
            crate::run::Level::Info => "info",
            crate::run::Level::Warn => "warn",
            crate::run::Level::Error => "error",
        };
        let fields = line.fields.as_deref().map(value);
        Self { at: Time(line.at), level: level.to_owned(), message: line.message, fields }
    }
}
