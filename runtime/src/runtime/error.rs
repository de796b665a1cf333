//! Why the runtime could not do what was asked.

use crate::egress::EgressError;
use crate::ids::{BadName, RunId, ScriptName};
use crate::keys::KeyError;
use crate::sandbox::{CassetteError, SandboxError};
use crate::scheduler::ScheduleError;
use crate::script::ScriptError;
use crate::secrets::SecretsError;
use crate::store::{Offense, StoreError};

/// Why the runtime could not do what was asked. What a script does wrong is no error here but a run's outcome.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The script is not acceptable.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A cassette cannot be used.
    #[error(transparent)]
    Cassette(#[from] CassetteError),
    /// No sandbox on this machine.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// No way out, or no answer.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// A credential cannot be sealed or opened.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// An API key is not acceptable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A frequency is not acceptable.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A name is not acceptable.
    #[error(transparent)]
    Name(#[from] BadName),
    /// There is no such script.
    #[error("no script is deployed as {0}: deploy it with `terapi script add FILE`, or name a file")]
    UnknownScript(ScriptName),
    /// There is no such thing.
    #[error("there is no {what} {name}{}", hint(.what))]
    Unknown {
        /// `connection`, `integration`, `sync`, `run` …
        what: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// There is one of this name already.
    #[error("the {what} {name} exists already: take another name, or change that one")]
    Exists {
        /// `connection`, `sync` …
        what: &'static str,
        /// Which.
        name: String,
    },
    /// Something else needs it.
    #[error("{what} {name} is in use by {by}: remove that first")]
    InUse {
        /// `integration`, `script` …
        what: &'static str,
        /// Which.
        name: String,
        /// By what.
        by: String,
    },
    /// An action where a sync is needed, or the other way round.
    #[error("{name} is {is}, and this needs {needed}")]
    WrongKind {
        /// Which script.
        name: ScriptName,
        /// `an action` or `a sync`.
        is: &'static str,
        /// `an action` or `a sync`.
        needed: &'static str,
    },
    /// A configuration or input is not usable.
    #[error("{what} is not acceptable: {reason}")]
    BadInput {
        /// `the configuration` or `the input`.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The idempotency key was used for something else.
    #[error(
        "this idempotency key was used with another input or action within the last 24 hours: send the same again, or \
         take a new key"
    )]
    IdempotencyConflict,
    /// So many calls of actions wait or run that no more are taken.
    #[error("as many calls of actions wait or run as there may: try again in a moment")]
    TooManyCalls,
    /// The script has taken the process down.
    #[error(
        "script {name}, version {version}, is quarantined and not run: {strikes} runs of it in a row ended badly, the last \
         ({run}) {}; deploy a corrected version, or let this one run again with `terapi script release {name}`",
        .offense.words()
    )]
    Quarantined {
        /// Which script.
        name: ScriptName,
        /// Which version of it.
        version: u32,
        /// How many runs.
        strikes: u32,
        /// What the last of them did.
        offense: Offense,
        /// The last of them.
        run: RunId,
    },
    /// The runtime itself went wrong: our bug.
    #[error("the runtime failed while it did this: {0}. Please report it")]
    Broke(String),
    /// The service is about to stop.
    #[error("the service is about to stop and begins nothing new: try again in a moment")]
    Stopping,
}

fn hint(what: &str) -> &'static str {
    match what {
        "connection" => ": `terapi connection list` lists them",
        "integration" => ": `terapi integration list` lists them",
        "sync" => ": `terapi sync list` lists them",
        "run" => ": `terapi runs` lists them",
        "key" => ": `terapi key list` lists them",
        "environment" => ": `terapi environment list` lists them",
        _ => "",
    }
}

impl RuntimeError {
    /// The stable code, the same in API, CLI and docs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Script(error) => error.code(),
            Self::Sandbox(error) => error.code(),
            Self::Cassette(error) => error.code(),
            Self::Egress(error) => error.code(),
            Self::Secrets(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::Schedule(error) => error.code(),
            Self::Name(error) => error.code(),
            Self::UnknownScript(_) => "unknown-script",
            Self::Unknown { what, .. } => match *what {
                "connection" => "unknown-connection",
                "integration" => "unknown-integration",
                "environment" => "unknown-environment",
                "sync" => "unknown-sync",
                "run" => "unknown-run",
                "key" => "unknown-key",
                "call" => "unknown-call",
                "version" => "unknown-version",
                _ => "unknown",
            },
            Self::Exists { .. } => "already-exists",
            Self::InUse { .. } => "in-use",
            Self::WrongKind { .. } => "wrong-kind",
            Self::BadInput { .. } => "bad-input",
            Self::IdempotencyConflict => "idempotency-conflict",
            Self::TooManyCalls => "too-many-calls",
            Self::Quarantined { .. } => super::quarantine::QUARANTINED,
            Self::Broke(_) => "internal",
            Self::Stopping => "stopping",
        }
    }

    pub(crate) fn unknown(what: &'static str, name: &(impl ToString + ?Sized)) -> Self {
        Self::Unknown { what, name: name.to_string() }
    }
}
