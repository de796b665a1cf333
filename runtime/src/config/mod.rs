//! The operator's settings: `terapi.toml`, environment variables and options, of which the later are the stronger.
//!
//! Every setting is declared once, in `settings.rs`: its section, key, type and default. Its environment variable follows
//! from its name: `[server] listen` is `TERAPI_SERVER_LISTEN`, `data_dir` is `TERAPI_DATA_DIR`. A variable that is set
//! but empty counts as not set.
//!
//! What the file says is checked whole, every key and value of it, although a variable or an option may be stronger:
//! first that it is TOML, then key by key, and the first mistake in it is told, with its line.
//! [`Config::check`] is about values that do not go together, whoever gave them.

mod check;
mod load;
mod setting;
mod settings;
mod suggest;
pub mod units;

use std::path::PathBuf;

pub use self::setting::{Bad, Raw, Setting};
pub use self::settings::{
    Config, LogConfig, LogFormat, LogLevel, LogOverrides, NetworkConfig, NetworkOverrides, Overrides, RunsConfig,
    RunsOverrides, SecretsConfig, SecretsOverrides, ServerConfig, ServerOverrides, UploadsConfig, UploadsOverrides,
};
pub use self::suggest::unknown_variables;
use crate::sandbox::{CompileLimits, Limits, UploadLimits};
use crate::script::ScanLimits;

/// A `terapi.toml` with every setting, explained and commented out at its default: what `terapi init` writes.
pub const EXAMPLE: &str = include_str!("terapi.toml");

/// Why there is no configuration. The code of all of them is `bad-config`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("could not read the configuration {}: {problem}; `terapi init` writes one", .file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What was wrong.
        problem: String,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {problem}", .file.display())]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// From 1 on.
        line: usize,
        /// What was wrong.
        problem: String,
    },
    /// The file has a key that means nothing.
    #[error("{}, line {line}: there is no setting {key}; {hint}", .file.display())]
    UnknownKey {
        /// Which file.
        file: PathBuf,
        /// From 1 on.
        line: usize,
        /// The key, with its section.
        key: String,
        /// What was meant, perhaps, or which keys there are.
        hint: String,
    },
    /// A value cannot be read.
    #[error("{place}: {key} cannot be {value}: {expected}")]
    BadValue {
        /// The file and line, or `environment`.
        place: String,
        /// The key with its section, or the variable.
        key: String,
        /// The value as it was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// Values do not go together.
    #[error("{0}")]
    Check(String),
}

impl ConfigError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "bad-config"
    }
}

/// Reads the value of an option as that of a setting of the type `T` is read: `value_parser = read_value::<LogLevel>`.
pub fn read_value<T: Setting>(text: &str) -> Result<T::Given, String> {
    T::read(&Raw::Text(text.to_owned())).map_err(|Bad(expected)| expected)
}

impl RunsConfig {
    /// The limits of a run whose script and sync say nothing else.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { fuel: self.fuel.0, memory: self.memory_limit.0, timeout: self.timeout, ..Limits::default() }
    }
}

impl UploadsConfig {
    /// The limits of an upload.
    #[must_use]
    pub fn limits(&self) -> UploadLimits {
        let scan = ScanLimits {
            functions: self.functions.0,
            function_bytes: self.function_bytes.0,
            instances: self.instances.0,
        };
        let compile = CompileLimits { cpu: self.compile_time, memory: self.compile_memory.0, wait: self.compile_wait };
        UploadLimits { scan, compile }
    }
}

impl Config {
    /// Where the sealing keys are: `[secrets] key_file`, or `secrets.key` in the data directory.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.secrets.key_file.clone().unwrap_or_else(|| self.data_dir.join("secrets.key"))
    }
}

#[cfg(test)]
mod tests;
