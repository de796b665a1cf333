//! The service's own log, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogLevel};

/// The variable that says in detail what is logged, over what the configuration says.
const FILTER: &str = "TERAPI_LOG";

/// Begins to log. Commands that end by themselves say on their own what a person should know, so `level` is for what serves.
pub(super) fn start(format: LogFormat, level: LogLevel) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| level.as_str().into());
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(colors);
    // Somebody else who uses the library may log already.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
