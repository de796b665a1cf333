//! `terapi run`, and its cassettes: `--record`, `--replay`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::args::looks_like_file;
use super::run::RunArgs;
use super::{Context, Failed, output};
use crate::run::{LogLine, Outcome};
use crate::runtime::{Runtime, Workshop};
use crate::sandbox::{Cassette, Difference, LimitOverrides, ReplayReport, Script};

/// Run one sync (or action) now, from a file or a deployed script
#[derive(Debug, Args)]
#[command(
    after_help = "A file needs no deployment, and nothing leaves the sandbox unless you allow it. Where there is a \
connection of that name, what its integration allows is allowed, and its credential is used. On a server a name \
triggers the sync. Example:
  terapi run github-issues.ts --connection acme --config '{\"repository\": \"rust-lang/cargo\"}' \\
      --allow-host api.github.com

A recording (--record) keeps every host call of the run with its answer, what clocks and random numbers gave, and what
the run began with. It holds no credential, but whatever the API answered. --replay runs the script on it, offline, and
ends at the first thing that it does otherwise: with exit code 1. So you see what a change to a script changes:
  terapi run github-issues.ts --connection acme --record issues.cassette
  terapi run github-issues.ts --replay issues.cassette"
)]
pub(super) struct Run {
    #[command(flatten)]
    args: RunArgs,
    /// Keep the run's host calls in this file, in place of one that is there
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Answer the script from this recording: nothing is sent, nothing is stored
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["record", "config", "input", "reset", "allow_deletes", "allow_host", "allow_network", "base_url"]
    )]
    replay: Option<PathBuf>,
}

impl Run {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let Some(file) = &self.replay else { return self.args.run(context, self.record.as_deref()).await };
        let cassette = Cassette::open(file)?;
        let (runtime, script) = if looks_like_file(self.args.script()) {
            let bytes = self.args.file()?.unwrap_or_default();
            let workshop = context.workshop();
            let script = workshop.runtime().load(bytes).await?;
            (workshop.runtime().clone(), script)
        } else {
            context.only_here("a replay")?;
            let runtime = context.open()?;
            let (script, _) = runtime.deployed(&self.args.script().parse()?).await?;
            (runtime, script)
        };
        let limits = self.args.limits().over(&LimitOverrides::default());
        let replayed = Replayed::play(&runtime, script, cassette, limits).await?;
        if context.json {
            output::json(&replayed.view())?;
        } else {
            replayed.show();
        }
        Ok(if replayed.report.difference.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Context {
    /// Where scripts are tried out. What was compiled is kept in the data directory, if there is one; none is made.
    pub(super) fn workshop(&self) -> Workshop {
        Workshop::in_data_dir(&self.config.data_dir)
    }
}

/// A replay that is over.
pub(super) struct Replayed {
    pub(super) report: ReplayReport,
    script: Arc<Script>,
    cassette: Cassette,
}

/// A replay, for a program.
#[derive(Serialize)]
pub(super) struct ReplayView<'a> {
    same: bool,
    script: &'a str,
    cassette: &'a Path,
    /// Calls that were as recorded.
    calls: u64,
    /// Calls in the recording, log lines included.
    recorded_calls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<&'a Difference>,
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<serde_json::Value>,
    log: &'a [LogLine],
}

impl Replayed {
    pub(super) async fn play(
        runtime: &Runtime,
        script: Arc<Script>,
        cassette: Cassette,
        limits: LimitOverrides,
    ) -> Result<Self, Failed> {
        let cancel = CancellationToken::new();
        let end = cancel.clone();
        let signal = tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                end.cancel();
            }
        });
        let report = runtime.replay(Arc::clone(&script), cassette.clone(), limits, cancel).await;
        signal.abort();
        Ok(Self { report: report?, script, cassette })
    }

    pub(super) fn view(&self) -> ReplayView<'_> {
        ReplayView {
            same: self.report.difference.is_none(),
            script: self.script.manifest.name.as_str(),
            cassette: self.cassette.path(),
            calls: self.report.calls,
            recorded_calls: self.cassette.calls,
            difference: self.report.difference.as_ref(),
            outcome: &self.report.outcome,
            output: self.report.output.as_deref().and_then(|output| serde_json::from_str(output).ok()),
            log: &self.report.log,
        }
    }

    fn show(&self) {
        let header = &self.cassette.header;
        let (script, dim) = (&self.script.manifest.name, output::DIM);
        if header.script != *script {
            let yellow = output::YELLOW;
            anstream::eprintln!(
                "{yellow}note{yellow:#}: the recording is of {}, the script is {script}",
                header.script
            );
        }
        let Some(difference) = &self.report.difference else {
            let (green, calls) = (output::GREEN.bold(), output::count(self.report.calls));
            let outcome = self.report.outcome.word();
            anstream::println!("{green}same{green:#}  {script}: {calls} host calls as recorded, {outcome}");
            return;
        };
        let red = output::RED.bold();
        anstream::println!("{red}differs{red:#}  {script}: {}", place(difference, self.cassette.calls));
        sides(difference);
        for line in self.report.log.iter().rev().take(LOG_LINES).collect::<Vec<_>>().into_iter().rev() {
            anstream::println!("  {dim}log       {}{dim:#}", output::printable(&line.message));
        }
    }
}

/// Lines of the log that a difference is shown with.
const LOG_LINES: usize = 10;

/// Where a difference is, in words.
pub(super) fn place(difference: &Difference, calls: u64) -> String {
    let what = match difference.kind {
        "other-call" => "another call",
        "arguments" => "other arguments",
        "call-more" => "a call more than recorded",
        "call-less" => "a call less than recorded",
        "outcome" => "another outcome",
        "failure" => "another failure",
        "output" => "another output",
        other => other,
    };
    let mut text = match difference.call {
        Some(call) => format!("{what} at call {} of {}", output::count(call), output::count(calls)),
        None => what.to_owned(),
    };
    if difference.kind == "arguments" {
        text = format!("{text}, {}", difference.function.as_deref().unwrap_or_default());
    }
    if !difference.path.is_empty() {
        text = format!("{text}, at {}", difference.path);
    }
    output::printable(&text)
}

/// What was recorded and what came, one below the other.
pub(super) fn sides(difference: &Difference) {
    let (green, red) = (output::GREEN, output::RED);
    anstream::println!("  recorded  {green}{}{green:#}", output::printable(&difference.recorded));
    anstream::println!("  came      {red}{}{red:#}", output::printable(&difference.came));
}
