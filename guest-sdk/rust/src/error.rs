//! What a script returns when it gives up.
//!
//! [`Error`] carries the kind that decides what Terapi does next: a *transient* error is tried again later, a *permanent*
//! one waits until somebody changes something. The SDK's own calls set it; an error of another crate that arrives through
//! `?` counts as permanent, because trying again rarely repairs a mapping.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::bindings::host::terapi::sync::{http, records, state};
use crate::bindings::sync::terapi::sync::types::{Failure, FailureKind};

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a script gave up: a message for the operator, and whether it may go better next time.
///
/// Every `std::error::Error` turns into one through `?`; [`Context::context`] says what was being done.
/// (Like `anyhow::Error` it is no `std::error::Error` itself, which is what allows that conversion.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
    status: Option<u16>,
    details: Option<String>,
    retry_after: Option<Duration>,
}

/// What Terapi should do after an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It may go better next time: Terapi tries again, later and later.
    Transient,
    /// It will fail again until somebody changes something.
    Permanent,
}

impl Error {
    /// An error that will come again until somebody changes something. Say what was being done, what was wrong, and
    /// what to do.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { kind: Kind::Permanent, message: message.into(), status: None, details: None, retry_after: None }
    }

    /// An error that may go better next time.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { kind: Kind::Transient, ..Self::permanent(message) }
    }

    /// Adds something machine-readable; for an action this is the body of its error. Whatever has no JSON form is left out.
    #[must_use]
    pub fn with_details(mut self, details: &impl Serialize) -> Self {
        self.details = serde_json::to_string(details).ok();
        self
    }

    /// Names the earliest next try, from now. Terapi holds it to between one second and one day.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Puts what was being done in front of the message and keeps all else.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Whether it may go better next time.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status of the answer, if the error is one of 400 and above.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// An answer whose status says that it failed.
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Many errors already print their cause.
            if !message.contains(&cause_text) {
                message = format!("{message}: {cause_text}");
            }
            source = cause.source();
        }
        Self::permanent(message)
    }
}

/// Says what was being done when something failed: `.context("reading the labels")?`, also on an `Option`.
pub trait Context<T> {
    /// Puts `doing` in front of the error's message; `None` becomes a permanent error with `doing` as message.
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(doing))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::permanent(doing.to_string()))
    }
}

/// Returns a permanent [`Error`](crate::Error): `bail!("{} is no repository; write owner/name", config.repository)`.
#[macro_export]
macro_rules! bail {
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::permanent(::std::format!($($message)+)))
    };
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            kind: match error.kind {
                Kind::Transient => FailureKind::Transient,
                Kind::Permanent => FailureKind::Permanent,
            },
            message: error.message,
            details: error.details,
            retry_after_ms: error.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// Why the host did not send a request, or got no answer.
pub(crate) fn from_http(request: &str, error: http::Error) -> Error {
    match error {
        http::Error::InvalidRequest(reason) => Error::permanent(format!("{request}: not a valid request: {reason}")),
        http::Error::Denied(reason) => Error::permanent(format!("{request}: denied: {reason}")),
        http::Error::TimedOut => Error::transient(format!("{request}: no complete answer within the time")),
        http::Error::BodyTooLarge(limit) => {
            Error::permanent(format!("{request}: the answer is over {limit} bytes: ask for smaller pages"))
        }
        http::Error::Transport(reason) => Error::transient(format!("{request}: {reason}")),
        http::Error::Exhausted(budget) => exhausted(request, &format!("{budget:?}")),
    }
}

/// Why the host did not save or read records. `name_entry` names the entry at an index of the batch.
pub(crate) fn from_records(doing: &str, error: records::Error, name_entry: impl Fn(usize) -> String) -> Error {
    match error {
        records::Error::UnknownModel(model) => Error::permanent(format!(
            "{doing}: the manifest has no model `{model}`: name it under `models` of the script's attribute"
        )),
        records::Error::Invalid((index, reason)) => {
            let entry = usize::try_from(index).map_or_else(|_| format!("entry {index}"), name_entry);
            Error::permanent(format!("{doing}: {entry}: {reason}"))
        }
        records::Error::BatchTooLarge(reason) | records::Error::DeleteGuard(reason) => {
            Error::permanent(format!("{doing}: {reason}"))
        }
        records::Error::Exhausted(budget) => exhausted(doing, &format!("{budget:?}")),
        records::Error::NotAllowed(reason) => Error::permanent(format!("{doing}: not allowed: {reason}")),
        records::Error::LeaseLost => lease_lost(doing),
        records::Error::Storage(reason) => Error::transient(format!("{doing}: {reason}")),
    }
}

/// Why the host did not save a checkpoint or metadata.
pub(crate) fn from_state(doing: &str, error: state::Error) -> Error {
    match error {
        state::Error::Invalid(reason) => Error::permanent(format!("{doing}: {reason}")),
        state::Error::Exhausted(budget) => exhausted(doing, &format!("{budget:?}")),
        state::Error::NotAllowed(reason) => Error::permanent(format!("{doing}: not allowed: {reason}")),
        state::Error::LeaseLost => lease_lost(doing),
        state::Error::Storage(reason) => Error::transient(format!("{doing}: {reason}")),
    }
}

fn exhausted(doing: &str, budget: &str) -> Error {
    Error::permanent(format!("{doing}: this run used up its budget ({budget}): do less in a run, or raise the limit"))
}

fn lease_lost(doing: &str) -> Error {
    Error::transient(format!("{doing}: another run took over this sync"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn reads_a_number(text: &str) -> Result<u8> {
        let size: u8 = text.parse().context("reading the page size")?;
        Ok(size)
    }

    #[test]
    fn any_std_error_passes_through_the_question_mark_and_says_what_was_being_done() {
        let error = reads_a_number("many").unwrap_err();
        assert_eq!(error.kind(), Kind::Permanent);
        assert_eq!(error.message(), "reading the page size: invalid digit found in string");
    }

    #[test]
    fn context_keeps_the_kind_the_status_and_the_wait() {
        let error =
            Error::transient("slow down").with_status(429).with_retry_after(Duration::from_secs(7)).context("x");
        assert_eq!((error.kind(), error.status(), error.message()), (Kind::Transient, Some(429), "x: slow down"));
        let failure = Failure::from(error);
        assert!(matches!(failure.kind, FailureKind::Transient));
        assert_eq!(failure.retry_after_ms, Some(7_000));
    }

    #[test]
    fn details_travel_as_json() {
        let failure = Failure::from(Error::permanent("no").with_details(&["a"]));
        assert_eq!(failure.details.as_deref(), Some(r#"["a"]"#));
    }

    #[test]
    fn bail_returns_a_permanent_error() {
        fn refuses(name: &str) -> Result<()> {
            bail!("{name} is unknown");
        }
        assert_eq!(refuses("x").unwrap_err(), Error::permanent("x is unknown"));
    }

    #[test]
    fn a_refused_record_is_named_by_its_id() {
        let error =
            from_records("saving Issue", records::Error::Invalid((3, "too large".into())), |i| format!("record {i}"));
        assert_eq!(error.message(), "saving Issue: record 3: too large");
    }
}
