//! The command line: words, help texts, exit codes. Each command is a file; all of them ask the [`Runtime`].
//!
//! Exit codes: 0 done · 1 it failed, and standard error says why, with a stable code in brackets · 2 the command line is
//! wrong.

mod args;
mod demo;
mod inspect;
mod output;
mod records;
mod run;
mod runs;
mod script;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::runtime::{Runtime, RuntimeError};
use crate::store::embedded::StoreOptions;

/// Terapi keeps data that lives in somebody else's system in sync: sandboxed scripts pull it from the API, the store
/// works out what really changed, and your app reads just the changes.
#[derive(Debug, Parser)]
#[command(name = "terapi", version, max_term_width = 100, after_help = "Begin with `terapi demo`; it needs nothing.")]
pub struct Cli {
    /// Where everything is kept
    #[arg(long, global = true, env = "TERAPI_DATA_DIR", default_value = "./terapi-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what Terapi does, with a local API and scripts that it brings along
    Demo(demo::Demo),
    /// Run one sync (or action) now, from a file or a deployed script
    Run(run::RunArgs),
    /// Read the changes of a model, or list what there is to read
    Records(records::Records),
    /// Deploy scripts
    #[command(subcommand)]
    Script(script::ScriptCommand),
    /// List runs, or show one
    Runs(runs::Runs),
    /// Show the log of a run
    Logs(runs::Logs),
    /// Show what a component describes, imports and exports
    Inspect(inspect::Inspect),
    /// Check, copy and rescue the data directory, and decide how long it keeps what
    #[command(subcommand)]
    Store(store::StoreCommand),
}

/// What every command gets.
struct Context {
    data_dir: PathBuf,
    json: bool,
}

impl Context {
    fn open(&self) -> Result<Runtime, RuntimeError> {
        Runtime::open(&self.data_dir, &StoreOptions::default())
    }
}

/// Why a command failed: a message, and a code where there is one.
#[derive(Debug)]
struct Failed {
    code: Option<&'static str>,
    message: String,
}

impl<E: Into<RuntimeError>> From<E> for Failed {
    fn from(error: E) -> Self {
        let error = error.into();
        Self { code: Some(error.code()), message: error.to_string() }
    }
}

impl Failed {
    fn new(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into() }
    }

    fn io(doing: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::new(format!("could not {doing}: {error}"))
    }
}

impl Cli {
    /// Does what the command line says.
    pub async fn run(self) -> ExitCode {
        let context = Context { data_dir: self.data_dir, json: self.json };
        let done = match self.command {
            Command::Demo(demo) => demo.run().await,
            Command::Run(run) => run.run(&context).await,
            Command::Records(records) => records.run(&context).await,
            Command::Script(script) => script.run(&context).await,
            Command::Runs(runs) => runs.run(&context),
            Command::Logs(logs) => logs.run(&context),
            Command::Inspect(inspect) => inspect.run(&context).await,
            Command::Store(store) => store.run(&context),
        };
        match done {
            Ok(code) => code,
            Err(failed) => {
                output::error(failed.code, &failed.message);
                ExitCode::FAILURE
            }
        }
    }
}
