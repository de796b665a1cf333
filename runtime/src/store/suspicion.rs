//! What is held against a script: runs of it that took the process down with them, or that lost their lease.
//!
//! A strike is written in the same commit that notes how the run ended, so that neither is there without the other. Of runs
//! that were under way together when the process died nobody knows which it was: each of their scripts has a strike, one for
//! all its runs. A success clears a script; at [`MAX_STRIKES`] it is quarantined. Documents of the kind
//! [`Suspect`](super::DocumentKind::Suspect), by content: another version is another script.

use serde::{Deserialize, Serialize};

use crate::ids::{RunId, ScriptHash};

/// Strikes in a row, without a success between, at which a script is not run any more. One is an accident of the machine, two
/// may be; a script that is run alone by then and takes the process down a third time did it.
pub const MAX_STRIKES: u32 = 3;

/// The document that says that the process is about to stop because it was told to: what does not end any more is nobody's
/// fault.
pub const STOPPING: &str = "stopping";

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Offense {
    /// It was under way when the process died.
    ProcessDied,
    /// It gave no sign of life for so long that its sync was taken from it.
    LeaseLost,
}

impl Offense {
    /// In words, for behind "its last runs".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ProcessDied => "was under way when the process died",
            Self::LeaseLost => "gave no sign of life and lost its lease",
        }
    }
}

/// What is held against a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// How often in a row.
    pub strikes: u32,
    /// The last run that counted.
    pub run: RunId,
    /// What that run did.
    pub offense: Offense,
}

impl Suspicion {
    /// How the names of documents about scripts begin.
    pub const PREFIX: &str = "script/";

    /// The name of the document about a script.
    #[must_use]
    pub fn key(script: &ScriptHash) -> String {
        format!("{}{script}", Self::PREFIX)
    }

    /// What is held against a script after one run more. A run counts once.
    #[must_use]
    pub fn after(before: Option<Self>, run: RunId, offense: Offense) -> Self {
        match before {
            Some(before) if before.run == run => before,
            Some(Self { strikes, .. }) => Self { strikes: strikes.saturating_add(1), run, offense },
            None => Self { strikes: 1, run, offense },
        }
    }

    /// Whether the script is not run any more.
    #[must_use]
    pub fn is_quarantine(&self) -> bool {
        self.strikes >= MAX_STRIKES
    }

    /// The same after somebody said that the script may run: it is not trusted before it has succeeded.
    #[must_use]
    pub fn released(self) -> Self {
        Self { strikes: self.strikes.min(1), ..self }
    }
}
