//! What became of recorded files, for a person and for a program.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::output;
use crate::trial::{Mismatch, Trial};

/// Lines of the log that a difference is shown with.
const LOG_LINES: usize = 5;

/// Differences of one file that are shown, and notes. A program gets all.
const MAX_SHOWN: usize = 10;

/// The widest name of a file that others are aligned to.
const MAX_WIDTH: usize = 80;

/// Where values begin, below a difference.
const INDENT: &str = "\n              ";

/// What became of one file.
#[derive(Serialize)]
pub(super) struct Tested {
    pub(super) script: PathBuf,
    pub(super) file: PathBuf,
    pub(super) same: bool,
    #[serde(flatten)]
    pub(super) trial: Trial,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Wrong>,
}

/// A file that could not be used.
#[derive(Serialize, Clone)]
pub(super) struct Wrong {
    pub(super) code: String,
    pub(super) message: String,
}

/// The width that all these names fit in.
pub(super) fn width<'a>(files: impl Iterator<Item = &'a PathBuf>) -> usize {
    files.map(|file| name(file).chars().count()).max().unwrap_or_default().min(MAX_WIDTH)
}

fn name(file: &Path) -> String {
    let shown = file.strip_prefix(".").unwrap_or(file);
    output::printable(&shown.display().to_string())
}

impl Tested {
    pub(super) fn show(&self, width: usize) {
        let name = name(&self.file);
        if let Some(Wrong { code, message }) = &self.error {
            let red = output::RED.bold();
            anstream::println!("{red}unusable{red:#}  {name}");
            output::error(Some(code).filter(|code| !code.is_empty()).map(String::as_str), message);
            return;
        }
        let trial = &self.trial;
        let figures = [
            (trial.replayed, "host call replayed", "host calls replayed"),
            (trial.requests, "request", "requests"),
            (trial.saved, "saved", "saved"),
            (trial.deleted, "deleted", "deleted"),
            (trial.waited_ms / 1_000, "s not waited for", "s not waited for"),
        ];
        let figures = figures.iter().filter(|(count, ..)| *count > 0);
        let figures: Vec<String> = figures
            .map(|(count, one, more)| format!("{} {}", output::count(*count), if *count == 1 { one } else { more }))
            .collect();
        let (style, word) = if self.same { (output::GREEN.bold(), "same   ") } else { (output::RED.bold(), "differs") };
        let line = format!("{name:width$}  {}", figures.join(", "));
        anstream::println!("{style}{word}{style:#}  {}", line.trim_end());
        let dim = output::DIM;
        for note in trial.notes.iter().take(MAX_SHOWN) {
            anstream::println!("    {dim}note      {}{dim:#}", indented(note));
        }
        more(trial.notes.len(), "notes");
        for Mismatch { kind, what, path, recorded, came } in trial.mismatches.iter().take(MAX_SHOWN) {
            let (green, red) = (output::GREEN, output::RED);
            let at = if path.is_empty() { String::new() } else { format!(", at {path}") };
            anstream::println!("  {kind}: {}", indented(&format!("{what}{at}")));
            anstream::println!("    recorded  {green}{}{green:#}", indented(recorded));
            anstream::println!("    came      {red}{}{red:#}", indented(came));
        }
        more(trial.mismatches.len(), "differences");
        if !self.same {
            let lines = &trial.log;
            for line in lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default() {
                anstream::println!("    {dim}log       {}{dim:#}", indented(&line.message));
            }
        }
    }
}

fn more(all: usize, what: &str) {
    if all > MAX_SHOWN {
        anstream::println!("    … and {} more {what}: --json has all", all - MAX_SHOWN);
    }
}

fn indented(text: &str) -> String {
    output::printable(text).trim_end().replace('\n', INDENT)
}
