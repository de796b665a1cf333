//! `terapi build`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::source::{self, is_text_file};
use super::{Context, Failed, output, script};
use crate::sandbox::{bytes, stand_alone};

/// Check a script in TypeScript or JavaScript, or make a component of it that stands alone
#[derive(Debug, Args)]
#[command(
    after_help = "A script needs no build to be run or deployed. Where `tsc` is found, in node_modules/.bin or on \
the path, it is asked as well, and what it finds is told as warnings. Examples:
  terapi build github-issues.ts
  terapi build github-issues.ts -o github-issues.wasm"
)]
pub(super) struct Build {
    /// The script file
    file: String,
    /// Write a component that runs wherever components of Terapi do
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Do not ask `tsc`
    #[arg(long)]
    no_types: bool,
}

impl Build {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        if !is_text_file(&self.file) {
            return Err(Failed::usage(format!(
                "{} is no TypeScript or JavaScript file: a component is built by its own language's tools",
                self.file
            )));
        }
        let file = source::read(&self.file)?;
        let loaded = context.workshop().runtime().load(file.bytes.clone()).await?;
        let type_errors = if self.no_types { Vec::new() } else { type_errors(Path::new(&self.file)) };
        for line in &type_errors {
            anstream::eprintln!("warning: {}", output::printable(line));
        }
        let mut written = None;
        if let Some(path) = &self.output {
            let text = String::from_utf8(file.bytes).map_err(|error| Failed::new(error.to_string()))?;
            let component = stand_alone(&text)?;
            written = Some(component.len() as u64);
            std::fs::write(path, component).map_err(Failed::io(format_args!("write {}", path.display())))?;
        }
        if context.json {
            output::json(&serde_json::json!({
                "manifest": loaded.manifest, "modules": loaded.modules(), "type_errors": type_errors,
                "output": self.output, "size": written,
            }))?;
        } else {
            script::show_manifest(&loaded.manifest)?;
            output::facts([("files", Some(loaded.modules().join(", ")))]);
            if let (Some(path), Some(size)) = (&self.output, written) {
                output::done(context, "built", format_args!("{} ({})", path.display(), bytes(size)));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What `tsc` says of a file, if there is one.
fn type_errors(file: &Path) -> Vec<String> {
    let Some(tsc) = find_tsc(file) else { return Vec::new() };
    let mut command = std::process::Command::new(tsc);
    // Of the compiler's own defaults what a script is: an ES module that runs nowhere but here.
    command.args(["--noEmit", "--pretty", "false", "--strict", "--skipLibCheck", "--target", "es2022"]);
    command.args(["--module", "esnext", "--moduleResolution", "bundler", "--resolveJsonModule", "--allowJs"]);
    let Ok(told) = command.arg(file).output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// The project's own `tsc`, or one on the path.
fn find_tsc(file: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(file).ok()?;
    let local = absolute.ancestors().skip(1).map(|folder| folder.join("node_modules/.bin/tsc")).find(|it| it.is_file());
    local.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("tsc")).find(|it| it.is_file())
    })
}
