//! `terapi test`

mod find;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use self::show::{Tested, Wrong};
use super::args::{LimitArgs, read_script};
use super::replay::{Replayed, place};
use super::{Context, Failed, output};
use crate::runtime::Workshop;
use crate::sandbox::{Cassette, LimitOverrides, Script};
use crate::trial::{self, Mismatch, Trial, TrialError};

/// Run a script against recorded files, and show what differs
#[derive(Debug, Args)]
#[command(
    after_help = "A recorded file is a cassette of `terapi run --record`, which is replayed, or a file in Nango's format \
(`api`, `nango`, `input`, `output`): the script runs on a store in memory, its requests are answered from the file, and what \
it asks for, saves, deletes and returns is compared. Nothing is sent, nothing is stored, nothing waits. Without a FILE those \
of the script's name are taken, beside it and in `tests/`: NAME.test.json, NAME.*.test.json, NAME.cassette. The time of the \
run and random ids are no difference, and noted; `nango.now` in the file sets the clock. The exit code is 1 if anything \
differs. With --json there is an object a line for each file. Examples:
  terapi test github-issues.ts
  terapi test github-issues.ts recordings/
  terapi test syncs/"
)]
pub(super) struct Test {
    /// The script's file, or a folder: every script below it that has recorded files
    script: PathBuf,
    /// Recorded files, or folders of them
    files: Vec<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Test {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let pairs = find::pairs(&self.script, &self.files)?;
        if pairs.is_empty() {
            return Err(Failed::coded("no-recorded-file", self.how_to_record()));
        }
        let width = show::width(pairs.iter().flat_map(|pair| &pair.files));
        let workshop = context.workshop();
        let (mut all, mut differing) = (0, 0);
        for pair in pairs {
            let script = match load(&workshop, &pair.script).await {
                Ok(script) => Ok(script),
                // Of many scripts the others are tested all the same.
                Err(failed) if self.script.is_dir() => Err(Wrong::from(failed)),
                Err(failed) => return Err(failed),
            };
            for file in pair.files {
                let (trial, error) = match &script {
                    Err(error) => (Trial::default(), Some(error.clone())),
                    Ok(script) => match self.test(&workshop, script, &file).await {
                        Ok(trial) => (trial, None),
                        Err(failed) => (Trial::default(), Some(failed.into())),
                    },
                };
                let same = error.is_none() && trial.mismatches.is_empty();
                let tested = Tested { script: pair.script.clone(), file, same, trial, error };
                (all, differing) = (all + 1, differing + usize::from(!same));
                if context.json {
                    output::json(&tested)?;
                } else {
                    tested.show(width);
                }
            }
        }
        if !context.json && all > 1 {
            let style = if differing == 0 { output::GREEN } else { output::RED };
            anstream::println!("{style}{} of {all} files as recorded{style:#}", all - differing);
        }
        Ok(if differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn how_to_record(&self) -> String {
        let script = self.script.display();
        if self.script.is_dir() {
            return format!("no script below {script} has a recorded file, such as NAME.test.json beside NAME.ts");
        }
        let cassette = self.script.with_extension("cassette");
        let cassette = cassette.display();
        format!(
            "there is no recorded file for {script}: record one with `terapi run {script} --record {cassette}`, or name one"
        )
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
            let mut trial = Trial::default();
            (trial.mismatches, trial.replayed, trial.log) =
                (mismatches.into_iter().collect(), report.calls, report.log);
            return Ok(trial);
        }
        let bytes = std::fs::read(file).map_err(unreadable)?;
        Ok(trial::against(workshop, script, file, &bytes, &limits).await?)
    }
}

async fn load(workshop: &Workshop, script: &Path) -> Result<Arc<Script>, Failed> {
    let bytes = read_script(&script.to_string_lossy())?;
    Ok(workshop.runtime().load(bytes).await?)
}

impl From<Failed> for Wrong {
    fn from(failed: Failed) -> Self {
        Self { code: failed.code.unwrap_or_default(), message: failed.message }
    }
}

/// Enough of a file to know a cassette by.
fn beginning(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
