//! `terapi init`

mod project;
mod sdk;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Context, Failed, output};
use crate::config;
use crate::keys::Scopes;

/// Prepare a data directory: keys for credentials, a first API key, a commented configuration. With --lang, begin a script
/// instead
#[derive(Debug, Args)]
#[command(
    after_help = "The key is printed this once. Run it again for another one: nothing that is there is changed.\n\nExamples:\n  \
                  terapi init\n  terapi init --lang ts my-scripts"
)]
pub(super) struct Init {
    /// Begin a script in this language: a project that builds, tests and runs, and no data directory
    #[arg(long, value_name = "LANGUAGE", conflicts_with_all = ["key_name", "quiet"])]
    lang: Option<project::Language>,
    /// Where the project goes, with --lang [default: here]
    #[arg(requires = "lang", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the key is called
    #[arg(long, default_value = "first", value_name = "NAME")]
    key_name: String,
    /// Print nothing but the key
    #[arg(long)]
    quiet: bool,
}

/// The configuration that is looked for where nothing else is said.
pub(super) const FILE: &str = "terapi.toml";

impl Init {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        if let Some(language) = self.lang {
            return project::begin(language, self.dir.as_deref().unwrap_or(Path::new(".")), context.json);
        }
        context.only_here("`terapi init`")?;
        let service = context.service()?;
        let new_keyring = service.create_keyring()?;
        let new_config = write_example(Path::new(FILE))?;
        let runtime = service.environment(&context.environment)?;
        let made = runtime.create_key(&self.key_name, Scopes::all(), None).await?;
        let text = made.text.expose();
        if context.json {
            output::json(&serde_json::json!({ "key": text, "id": made.key.id, "environment": made.key.environment }))?;
        } else if self.quiet {
            anstream::println!("{text}");
        } else {
            let (bold, dim, green) = (output::BOLD, output::DIM, output::GREEN);
            anstream::println!("{green}ready{green:#}  data in {}", context.config.data_dir.display());
            if new_keyring {
                let file = context.config.key_file();
                anstream::println!(
                    "       credentials are sealed with {}: keep a copy of it apart from the data",
                    file.display()
                );
            }
            if new_config {
                anstream::println!("       settings go into {FILE}");
            }
            anstream::println!(
                "\nThe first key of the environment {}, shown this once:\n\n  {bold}{text}{bold:#}\n",
                made.key.environment
            );
            anstream::println!("{dim}export TERAPI_KEY={text}{dim:#}");
            anstream::println!("{dim}terapi serve{dim:#}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the commented configuration if there is none. Says whether it did.
fn write_example(path: &Path) -> Result<bool, Failed> {
    match std::fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(config::EXAMPLE.as_bytes()).map_err(Failed::io(format_args!("write {FILE}")))?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Failed::io(format_args!("write {FILE}"))(error)),
    }
}
