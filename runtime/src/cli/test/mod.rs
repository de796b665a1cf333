//! `terapi test`

mod find;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::args::{LimitArgs, read_script};
use super::replay::{Replayed, place};
use super::{Context, Failed, output};
use crate::runtime::Workshop;
use crate::sandbox::{Cassette, LimitOverrides, Script};
use crate::trial::{self, Mismatch, Trial, TrialError};

/// Lines of the log that a difference is shown with.
const LOG_LINES: usize = 5;

/// Run a script against recorded files, and show what differs
#[derive(Debug, Args)]
#[command(
    after_help = "A recorded file is a cassette of `terapi run --record`, which is replayed, or a file in Nango's format \
(`api`, `nango`, `input`, `output`): the script runs on an empty store, its requests are answered from the file, and what \
it asks for, saves, deletes and returns is compared. Nothing is sent, nothing is stored. Without a FILE those of the \
script's name are taken, beside it and in `tests/`: NAME.test.json, NAME.*.test.json, NAME.cassette. The exit code is 1 \
if anything differs. Example:
  terapi test github-issues.ts"
)]
pub(super) struct Test {
    /// The script's file
    script: PathBuf,
    /// Recorded files
    files: Vec<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What became of one file, for a program.
#[derive(Serialize)]
struct Tested {
    file: PathBuf,
    same: bool,
    #[serde(flatten)]
    trial: Trial,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Wrong>,
}

/// A file that could not be used.
#[derive(Serialize)]
struct Wrong {
    code: String,
    message: String,
}

impl Test {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let files = if self.files.is_empty() { find::recorded(&self.script)? } else { self.files.clone() };
        if files.is_empty() {
            let message = format!(
                "there is no recorded file for {}: record one with `terapi run {0} --record {}`, or name one",
                self.script.display(),
                self.script.with_extension("cassette").display()
            );
            return Err(Failed::coded("no-recorded-file", message));
        }
        let bytes = read_script(&self.script.to_string_lossy())?;
        let workshop = context.workshop();
        let script = workshop.runtime().load(bytes).await?;
        let mut tested = Vec::with_capacity(files.len());
        for file in files {
            let trial = self.test(&workshop, &script, &file).await;
            let one = match trial {
                Ok(trial) => Tested { file, same: trial.mismatches.is_empty(), trial, error: None },
                Err(failed) => {
                    let error = Wrong { code: failed.code.unwrap_or_default(), message: failed.message };
                    Tested { file, same: false, trial: Trial::default(), error: Some(error) }
                }
            };
            if !context.json {
                one.show();
            }
            tested.push(one);
        }
        let differing = tested.iter().filter(|one| !one.same).count();
        if context.json {
            let same = differing == 0;
            output::json(&serde_json::json!({ "same": same, "files": tested }))?;
        } else if tested.len() > 1 {
            let style = if differing == 0 { output::GREEN } else { output::RED };
            anstream::println!("{style}{} of {} files as recorded{style:#}", tested.len() - differing, tested.len());
        }
        Ok(if differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn test(&self, workshop: &Workshop, script: &Arc<Script>, file: &Path) -> Result<Trial, Failed> {
        let limits = self.limits.over(&LimitOverrides::default());
        let unreadable = |source| TrialError::Unreadable { path: file.to_owned(), source };
        if Cassette::is_one(&beginning(file).map_err(unreadable)?) {
            let cassette = Cassette::open(file)?;
            let calls = cassette.calls;
            let replayed = Replayed::play(workshop.runtime(), Arc::clone(script), cassette, limits).await?;
            let report = replayed.report;
            let mismatches = report.difference.map(|difference| Mismatch {
                kind: difference.kind.to_owned(),
                what: place(&difference, calls),
                path: String::new(),
                recorded: difference.recorded,
                came: difference.came,
            });
            let notes = vec![format!("{} host calls replayed", output::count(report.calls))];
            return Ok(Trial {
                mismatches: mismatches.into_iter().collect(),
                notes,
                log: report.log,
                ..Trial::default()
            });
        }
        let bytes = std::fs::read(file).map_err(unreadable)?;
        Ok(trial::against(workshop, script, file, &bytes, &limits).await?)
    }
}

/// Enough of a file to know a cassette by.
fn beginning(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Tested {
    fn show(&self) {
        let file = self.file.display();
        if let Some(Wrong { code, message }) = &self.error {
            let red = output::RED.bold();
            anstream::println!("{red}unusable{red:#}  {file}");
            output::error(Some(code).filter(|code| !code.is_empty()).map(String::as_str), message);
            return;
        }
        let trial = &self.trial;
        let figures = [(trial.requests, "requests"), (trial.saved, "saved"), (trial.deleted, "deleted")];
        let figures = figures.iter().filter(|(count, _)| *count > 0);
        let mut figures: Vec<String> =
            figures.map(|(count, name)| format!("{} {name}", output::count(*count))).collect();
        figures.extend(trial.notes.iter().cloned());
        let (style, word) = if self.same { (output::GREEN.bold(), "same   ") } else { (output::RED.bold(), "differs") };
        anstream::println!("{style}{word}{style:#}  {file}  {}", output::printable(&figures.join(", ")));
        for Mismatch { kind, what, path, recorded, came } in &trial.mismatches {
            let (green, red) = (output::GREEN, output::RED);
            let at = if path.is_empty() { String::new() } else { format!(", at {path}") };
            anstream::println!("  {kind}: {}", output::printable(&format!("{what}{at}")));
            anstream::println!("    recorded  {green}{}{green:#}", output::printable(recorded));
            anstream::println!("    came      {red}{}{red:#}", output::printable(came));
        }
        if !self.same {
            let (dim, lines) = (output::DIM, &trial.log);
            for line in lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default() {
                anstream::println!("    {dim}log       {}{dim:#}", output::printable(&line.message));
            }
        }
    }
}
