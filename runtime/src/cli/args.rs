//! Values of options that several commands share.

use std::convert::Infallible;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::Failed;
use crate::config::units::{parse_count, parse_duration, parse_size};
use crate::ids::{ConnectionName, ScriptName, Variant};
use crate::runtime::Hidden;
use crate::sandbox::{LimitOverrides, MAX_MEMORY};

/// Limits of a script or a run.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct LimitArgs {
    /// Memory that the script may use, such as 64MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory_limit: Option<u64>,
    /// Fuel that it may use: about one unit an instruction, such as 500000000 or 5G
    #[arg(long, value_name = "UNITS", value_parser = parse_count)]
    fuel: Option<u64>,
    /// How long it may take, waits included, such as 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl LimitArgs {
    /// Those given here, in place of `base`'s.
    pub(super) fn over(&self, base: &LimitOverrides) -> LimitOverrides {
        LimitOverrides {
            fuel: self.fuel.or(base.fuel),
            memory: self.memory_limit.or(base.memory),
            timeout_ms: self
                .timeout
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
                .or(base.timeout_ms),
        }
    }

    /// Those given here, if any is.
    pub(super) fn given(&self) -> Option<LimitOverrides> {
        let any = self.fuel.is_some() || self.memory_limit.is_some() || self.timeout.is_some();
        any.then(|| self.over(&LimitOverrides::default()))
    }
}

fn parse_memory(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if size == 0 || size > MAX_MEMORY {
        return Err(format!("a memory limit is from 64KiB to {}", crate::sandbox::bytes(MAX_MEMORY)));
    }
    Ok(size)
}

/// Which sync.
#[derive(Debug, Clone, Args)]
pub(super) struct SyncArgs {
    /// The connection
    pub(super) connection: ConnectionName,
    /// The script
    pub(super) script: ScriptName,
    /// Which of several syncs of this script on this connection
    #[arg(long, default_value = "base", value_name = "NAME")]
    pub(super) variant: Variant,
}

impl SyncArgs {
    /// Its place in the API.
    pub(super) fn path(&self) -> String {
        format!("/v1/syncs/{}/{}/{}", self.connection, self.script, self.variant)
    }
}

/// A secret: `-` for standard input, `@FILE` for a file, else the secret itself.
#[derive(Clone)]
pub(super) struct SecretArg(String);

impl std::fmt::Debug for SecretArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl FromStr for SecretArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl SecretArg {
    /// The secret, read from where it is.
    pub(super) fn read(&self) -> Result<Hidden, Failed> {
        let text = match self.0.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file)
                .map_err(Failed::io(format_args!("read the secret from the file {file}")))?,
            None if self.0 == "-" => stdin("the secret")?,
            None => self.0.clone(),
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(Failed::new("the secret is empty"));
        }
        Ok(Hidden(text.to_owned()))
    }

    /// As it was given, where it is not to be read from elsewhere.
    pub(super) fn literal(&self) -> &str {
        &self.0
    }
}

fn stdin(what: &str) -> Result<String, Failed> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(Failed::io(format_args!("read {what} from standard input")))?;
    Ok(text)
}

/// JSON given as text, as a file's name, or as `-` for standard input.
pub(super) fn json_or_file(what: &str, given: &str) -> Result<String, Failed> {
    let trimmed = given.trim();
    if trimmed == "-" {
        return stdin(what);
    }
    // Numbers, `true` and `null` are JSON as well, unless there is such a file.
    let scalar = serde_json::from_str::<serde_json::Value>(trimmed).is_ok() && !Path::new(given).exists();
    if trimmed.starts_with(['{', '[', '"']) || scalar {
        return Ok(given.to_owned());
    }
    std::fs::read_to_string(given).map_err(Failed::io(format_args!("read {what} from the file {given}")))
}

/// The same for a JSON object.
pub(super) fn object(what: &str, given: &str) -> Result<serde_json::Map<String, serde_json::Value>, Failed> {
    let text = json_or_file(what, given)?;
    serde_json::from_str(&text).map_err(|error| Failed::new(format!("{what} is not a JSON object: {error}")))
}

/// A script is meant as a file if it looks like a path or there is such a file.
pub(super) fn looks_like_file(given: &str) -> bool {
    given.contains(['/', '.', '\\']) || Path::new(given).is_file()
}

/// The bytes of a script; of one that is text, with the files that it imports.
pub(super) fn read_script(path: &str) -> Result<Vec<u8>, Failed> {
    Ok(super::source::read(path)?.bytes)
}

/// A path with a query.
pub(super) fn with_query<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        query.append_pair(name, &value);
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Asks on a terminal; elsewhere it has to be said beforehand.
pub(super) fn confirm(yes: bool, question: &str) -> Result<(), Failed> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failed::coded(
            "not-confirmed",
            format!("{question} Say so with --yes: there is no terminal to ask on"),
        ));
    }
    anstream::eprint!("{question} [y/N] ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Failed::io("read the answer"))?;
    if matches!(line.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failed::coded("not-confirmed", "nothing was done"))
    }
}
