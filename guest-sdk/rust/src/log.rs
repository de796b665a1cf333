//! The run's log: `info!("saved {n} members")`, with details after a semicolon:
//! `warn!("left one out"; id = issue.id, reason = "no title")`.
//!
//! Standard output and standard error go there too, as `info` and `warn`; so does the message of a panic.

use serde::Serialize;

use crate::bindings::host::terapi::sync::log as host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author of the script.
    Debug,
    /// What happened.
    Info,
    /// Something is odd, but the run goes on.
    Warn,
    /// Something went wrong.
    Error,
}

/// Adds a line; the macros [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn!) and
/// [`error!`](crate::error!) do this.
///
/// `fields` are names and JSON texts, as [`json`] makes them.
pub fn line(level: Level, message: &str, fields: &[(&str, String)]) {
    let level = match level {
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message, object(fields).as_deref());
}

/// `value` as the JSON text of a field; null if it has none.
#[must_use]
pub fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn object(fields: &[(&str, String)]) -> Option<String> {
    let members: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", json(name))).collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $message:literal $(, $argument:expr)* $(; $($name:ident = $value:expr),+ $(,)?)?) => {
        $crate::log::line(
            $crate::log::Level::$level,
            &::std::format!($message $(, $argument)*),
            &[$($((::core::stringify!($name), $crate::log::json(&$value))),+)?],
        )
    };
}

/// Adds a line for the author of the script: `debug!("page {n}"; cursor = cursor)`.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::__log!(Debug, $($line)+) };
}

/// Adds a line about what happened: `info!("saved {n} members")`.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::__log!(Info, $($line)+) };
}

/// Adds a line about something odd that does not stop the run: `warn!("left one out"; id = id)`.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::__log!(Warn, $($line)+) };
}

/// Adds a line about something that went wrong: `error!("no answer from {host}")`.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::__log!(Error, $($line)+) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_make_one_json_object_and_none_make_nothing() {
        assert_eq!(object(&[]), None);
        let fields = [("id", json("a\"b")), ("count", json(&3))];
        assert_eq!(object(&fields).as_deref(), Some(r#"{"id":"a\"b","count":3}"#));
    }
}
