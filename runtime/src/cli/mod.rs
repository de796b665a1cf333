//! The command line: words, help texts, exit codes. Each command is a file; nearly all of them are clients of the API, which
//! a server answers or this process itself, over a data directory. What works on files (`init`, `serve`, `dev`, `store`,
//! `secrets`) and a run of a file ask the [`Runtime`].
//!
//! Exit codes: 0 done · 1 it failed, and standard error says why, with a stable code in brackets · 2 the command line is
//! wrong.

mod apply;
mod args;
mod build;
mod call;
mod client;
mod componentize;
mod connection;
mod demo;
mod dev;
mod dry_run;
mod environment;
mod init;
mod inspect;
mod integration;
mod key;
mod log;
mod logs;
mod output;
mod progress;
mod records;
mod replay;
mod run;
mod runs;
mod script;
mod secrets;
mod serve;
mod source;
mod status;
mod store;
mod sync;
mod test;
mod trigger;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::client::Client;
use crate::config::{self, Config, LogLevel, Overrides, ServerOverrides};
use crate::ids::EnvironmentName;
use crate::runtime::{Options, Runtime, RuntimeError, Service};
use crate::sandbox;
use crate::store::embedded::StoreOptions;

/// Over the options that every command has.
const EVERYWHERE: &str = "Options everywhere";

/// Terapi keeps data that lives in somebody else's system in sync: sandboxed scripts pull it from the API, the store
/// works out what really changed, and your app reads just the changes.
#[derive(Debug, Parser)]
#[command(name = "terapi", version, max_term_width = 100, after_help = "Begin with `terapi demo`; it needs nothing.")]
pub struct Cli {
    /// Where everything is kept [default: ./terapi-data]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration [default: ./terapi.toml, if there is one]
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "TERAPI_CONFIG", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Ask this server instead of a data directory
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "TERAPI_SERVER", value_name = "URL")]
    server: Option<url::Url>,
    /// The key that opens the server
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "TERAPI_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<args::SecretArg>,
    /// The environment, on a data directory; a server's is the key's
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "TERAPI_ENVIRONMENT", default_value = "default", value_name = "NAME")]
    environment: EnvironmentName,
    /// Answer in JSON, for programs
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prepare a data directory: keys for credentials, a first API key, a commented configuration
    Init(init::Init),
    /// Serve the API and run syncs as their schedules say
    Serve(serve::Serve),
    /// Serve, and deploy script files whenever they change
    Dev(dev::Dev),
    /// Show what Terapi does, with a local API and scripts that it brings along
    Demo(demo::Demo),
    /// Show all syncs at a glance: state, next run, last outcome, records
    Status(status::Status),
    /// Manage external APIs: where they are, who may be asked there, with what manners
    #[command(subcommand)]
    Integration(integration::IntegrationCommand),
    /// Manage accounts at integrations: credentials, metadata
    #[command(subcommand)]
    Connection(connection::ConnectionCommand),
    /// Deploy scripts
    #[command(subcommand)]
    Script(script::ScriptCommand),
    /// Manage syncs: scripts on connections, with their schedules
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    /// Make integrations, connections and syncs as a file says
    Apply(apply::Apply),
    /// Run one sync (or action) now, from a file or a deployed script
    Run(replay::Run),
    /// Do a run without writing, and show what it would add, update and delete
    DryRun(dry_run::DryRun),
    /// Run a script against recorded files, and show what differs
    Test(test::Test),
    /// Call an action
    Call(call::Call),
    /// Read the changes of a model, or list what there is to read
    Records(records::Records),
    /// List runs, or show one with its requests
    Runs(runs::Runs),
    /// Show the log of a run
    Logs(logs::Logs),
    /// Check a script in TypeScript or JavaScript, or make a component of it that stands alone
    Build(build::Build),
    /// Show what a script describes, imports and exports
    Inspect(inspect::Inspect),
    /// Make a script of a core Wasm module, as C compilers emit it
    Componentize(componentize::Componentize),
    /// Manage API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Manage environments, each with its own data and keys
    #[command(subcommand)]
    Environment(environment::EnvironmentCommand),
    /// Manage the keys that credentials are sealed with
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    /// Check, copy and rescue the data directory, and decide how long it keeps what
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Compile the component on standard input: what `terapi` starts itself for each script
    #[command(name = sandbox::COMPILE_COMMAND, hide = true)]
    CompileComponent {
        /// CPU time that it may take
        cpu_seconds: u64,
        /// Address space that it may take, in bytes
        memory: u64,
    },
    /// Print the document that describes the API, in the format of `OpenAPI` 3.1
    Openapi,
    /// Print a script that completes commands in your shell
    #[command(after_help = "Example:\n  terapi completions bash > ~/.local/share/bash-completion/completions/terapi")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Environment variables of the command line itself; all others are settings.
const OWN_VARIABLES: [&str; 5] = ["TERAPI_CONFIG", "TERAPI_SERVER", "TERAPI_KEY", "TERAPI_ENVIRONMENT", "TERAPI_LOG"];

/// What every command gets.
struct Context {
    config: Config,
    environment: EnvironmentName,
    server: Option<url::Url>,
    key: Option<String>,
    json: bool,
}

impl Context {
    fn new(cli: &Cli) -> Result<Self, Failed> {
        let default = PathBuf::from(init::FILE);
        let file = cli.config_file.clone().or_else(|| default.is_file().then_some(default));
        let listen = match &cli.command {
            Command::Serve(serve) => serve.at.listen,
            Command::Dev(dev) => dev.at.listen,
            _ => None,
        };
        let server = ServerOverrides { listen, ..ServerOverrides::default() };
        let flags = Overrides { data_dir: cli.data_dir.clone(), server, ..Overrides::default() };
        let config = Config::load(file.as_deref(), |name| std::env::var(name).ok(), flags)?;
        let serves = matches!(cli.command, Command::Serve(_) | Command::Dev(_));
        log::start(config.log.format, if serves { config.log.level } else { LogLevel::Warn });
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let names = names.filter(|name| !OWN_VARIABLES.contains(&name.as_str()));
        for warning in config::unknown_variables(names) {
            tracing::warn!("{warning}");
        }
        let (environment, server) = (cli.environment.clone(), cli.server.clone());
        let key = cli.key.as_ref().map(|key| key.literal().to_owned());
        Ok(Self { config, environment, server, key, json: cli.json })
    }

    /// Where the environment's store lies.
    fn store_dir(&self) -> PathBuf {
        crate::runtime::store_dir(&self.config.data_dir, &self.environment)
    }

    /// Everything in the data directory.
    fn service(&self) -> Result<Service, RuntimeError> {
        self.service_on(StoreOptions::default())
    }

    /// The same, after waiting so long for whoever has it.
    fn service_with_patience(&self, patience: Duration) -> Result<Service, RuntimeError> {
        self.service_on(StoreOptions { patience, ..StoreOptions::default() })
    }

    fn service_on(&self, store: StoreOptions) -> Result<Service, RuntimeError> {
        let runs = &self.config.runs;
        let options = Options {
            runs_at_once: runs.at_once,
            memory: runs.memory.0,
            limits: runs.limits(),
            uploads: self.config.uploads.limits(),
            compiler: itself(),
            keep_runs_ms: u64::try_from(runs.keep.as_millis()).ok(),
            networks: self.config.network.allow.clone(),
            dns: self.config.network.dns.clone(),
            secret_keys: std::env::var(crate::secrets::KEYS_VARIABLE).ok(),
            secrets_file: self.config.key_file(),
            store,
        };
        Service::open(&self.config.data_dir, options)
    }

    /// The environment, in the data directory.
    fn open(&self) -> Result<Runtime, RuntimeError> {
        self.service()?.environment(&self.environment)
    }

    /// The API: the server's, if one is named, else one over the data directory.
    fn client(&self) -> Result<Client, Failed> {
        match &self.server {
            None => Ok(Client::here(self.service()?, self.environment.clone())),
            Some(server) => {
                let key = self.key.clone().ok_or_else(|| {
                    Failed::usage(
                        "a server needs a key: give it with --key or in TERAPI_KEY; `terapi init` makes the first",
                    )
                })?;
                Client::there(server.clone(), key)
            }
        }
    }

    /// For what works on files, and so not through a server.
    fn only_here(&self, what: &str) -> Result<(), Failed> {
        if self.server.is_none() {
            return Ok(());
        }
        Err(Failed::usage(format!(
            "{what} works on a data directory: run it on the server's machine, without --server"
        )))
    }
}

/// This program, for processes that it starts: the one that runs, also if another version was put in its place.
fn itself() -> Option<PathBuf> {
    if cfg!(target_os = "linux") { Some("/proc/self/exe".into()) } else { std::env::current_exe().ok() }
}

/// The code of a wrong command line.
const USAGE: &str = "usage";

/// Why a command failed: a message, and a code where there is one.
#[derive(Debug)]
struct Failed {
    code: Option<String>,
    message: String,
}

impl From<crate::trial::TrialError> for Failed {
    fn from(error: crate::trial::TrialError) -> Self {
        match error {
            crate::trial::TrialError::Run(error) => error.into(),
            error => Self::coded(error.code(), error.to_string()),
        }
    }
}

impl From<config::ConfigError> for Failed {
    fn from(error: config::ConfigError) -> Self {
        Self::coded(error.code(), error.to_string())
    }
}

impl From<crate::api::serve::ServeError> for Failed {
    fn from(error: crate::api::serve::ServeError) -> Self {
        Self::coded(error.code(), error.to_string())
    }
}

impl<E: Into<RuntimeError>> From<E> for Failed {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut message = error.to_string();
        if error.code() == "store-locked" {
            message.push_str("; if that is `terapi serve`, ask it: add --server URL and --key KEY");
        }
        Self::coded(error.code(), message)
    }
}

impl Failed {
    fn new(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into() }
    }

    fn coded(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: Some(code.into()), message: message.into() }
    }

    /// The command line is wrong in a way that its grammar does not know.
    fn usage(message: impl Into<String>) -> Self {
        Self::coded(USAGE, message)
    }

    fn io(doing: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::new(format!("could not {doing}: {error}"))
    }

    fn print(&self) -> ExitCode {
        output::error(self.code.as_deref(), &self.message);
        if self.code.as_deref() == Some(USAGE) { ExitCode::from(2) } else { ExitCode::FAILURE }
    }
}

impl Cli {
    /// Does what the command line says.
    pub async fn run(self) -> ExitCode {
        // What needs neither settings nor data works whatever they are.
        match &self.command {
            Command::Openapi => {
                return print_document(self.json).map_or_else(|failed| failed.print(), |()| ExitCode::SUCCESS);
            }
            Command::CompileComponent { cpu_seconds, memory } => {
                return sandbox::compile_component(*cpu_seconds, *memory);
            }
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Self::command(), "terapi", &mut script);
                anstream::print!("{}", String::from_utf8_lossy(&script));
                return ExitCode::SUCCESS;
            }
            _ => {}
        }
        let context = match Context::new(&self) {
            Ok(context) => context,
            Err(failed) => return failed.print(),
        };
        let done = match self.command {
            Command::Init(init) => init.run(&context).await,
            Command::Serve(serve) => serve.run(&context).await,
            Command::Dev(dev) => dev.run(&context).await,
            Command::Demo(demo) => demo.run().await,
            Command::Status(status) => status.run(&context).await,
            Command::Integration(integration) => integration.run(&context).await,
            Command::Connection(connection) => connection.run(&context).await,
            Command::Script(script) => script.run(&context).await,
            Command::Sync(sync) => sync.run(&context).await,
            Command::Apply(apply) => apply.run(&context).await,
            Command::Run(run) => run.run(&context).await,
            Command::DryRun(dry_run) => dry_run.run(&context).await,
            Command::Test(test) => test.run(&context).await,
            Command::Call(call) => call.run(&context).await,
            Command::Records(records) => records.run(&context).await,
            Command::Runs(runs) => runs.run(&context).await,
            Command::Logs(logs) => logs.run(&context).await,
            Command::Build(build) => build.run(&context).await,
            Command::Inspect(inspect) => inspect.run(&context).await,
            Command::Componentize(componentize) => componentize.run(context.json),
            Command::Key(key) => key.run(&context).await,
            Command::Environment(environment) => environment.run(&context).await,
            Command::Secrets(secrets) => secrets.run(&context).await,
            Command::Store(store) => store.run(&context).await,
            Command::Openapi | Command::Completions { .. } | Command::CompileComponent { .. } => Ok(ExitCode::SUCCESS),
        };
        done.unwrap_or_else(|failed| failed.print())
    }
}

fn print_document(one_line: bool) -> Result<(), Failed> {
    let document = crate::api::document();
    if one_line {
        return output::json(&document);
    }
    let text = serde_json::to_string_pretty(&document).map_err(|error| Failed::new(error.to_string()))?;
    anstream::println!("{text}");
    Ok(())
}
