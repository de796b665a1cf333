//! `terapi runs` and `terapi logs`

use std::process::ExitCode;

use clap::Args;

use super::{Context, Failed, output};
use crate::ids::RunId;
use crate::run::{Level, Outcome, Run};
use crate::store::RunsQuery;

/// List runs, the newest first, or show one
#[derive(Debug, Args)]
pub(super) struct Runs {
    /// Show this run
    run: Option<RunId>,
    /// How many to list
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// List those before this one
    #[arg(long, value_name = "RUN")]
    before: Option<RunId>,
}

impl Runs {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let runtime = context.open()?;
        if let Some(id) = self.run {
            let run = runtime.store().run(id)?.ok_or_else(|| unknown(id))?;
            if context.json {
                output::json(&run)?;
            } else {
                output::run_summary(&run);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let query = RunsQuery { before: self.before, ..RunsQuery::newest(self.limit) };
        let runs = runtime.store().runs(&query)?.runs;
        if context.json {
            output::json(&runs)?;
        } else if runs.is_empty() {
            anstream::println!("no runs yet: terapi run SCRIPT");
        } else {
            let rows = runs.iter().map(row).collect();
            output::table(
                &["run", "script", "connection", "started", ">took", "outcome", ">added", ">updated", ">deleted"],
                rows,
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(run: &Run) -> Vec<String> {
    vec![
        run.id.to_string(),
        run.sync.script.to_string(),
        run.sync.connection.to_string(),
        run.started_at.to_string().replace('T', " ").chars().take(19).collect(),
        output::millis(run.usage.wall_ms),
        run.outcome.as_ref().map_or("running", Outcome::code).to_owned(),
        output::count(run.changes.added),
        output::count(run.changes.updated),
        output::count(run.changes.deleted),
    ]
}

/// Show the log of a run
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Which run; the newest if none is named
    run: Option<RunId>,
}

impl Logs {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let runtime = context.open()?;
        let store = runtime.store();
        let id = match self.run {
            Some(id) => store.run(id)?.ok_or_else(|| unknown(id))?.id,
            None => {
                store
                    .runs(&RunsQuery::newest(1))?
                    .runs
                    .first()
                    .ok_or_else(|| Failed::new("no runs yet: terapi run SCRIPT"))?
                    .id
            }
        };
        for line in store.log(id)? {
            if context.json {
                output::json(&line)?;
                continue;
            }
            let (word, style) = match line.level {
                Level::Debug => ("debug", output::DIM),
                Level::Info => ("info ", output::GREEN),
                Level::Warn => ("warn ", output::YELLOW),
                Level::Error => ("error", output::RED),
            };
            let dim = output::DIM;
            let fields = line.fields.unwrap_or_default();
            let text = printable(&line.message);
            anstream::println!("{dim}{}{dim:#} {style}{word}{style:#} {text} {dim}{fields}{dim:#}", line.at);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A script's text must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn unknown(id: RunId) -> Failed {
    Failed { code: Some("unknown-run"), message: format!("there is no run {id}: `terapi runs` lists them") }
}
