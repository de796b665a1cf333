//! `terapi logs`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::args::with_query;
use super::client::{Client, Page, parse};
use super::{Context, Failed, output, runs};
use crate::api::views::{LogView, RunView};
use crate::ids::RunId;

/// How often `--follow` asks for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);
/// Lines a page.
const PAGE: usize = 1_000;

/// Show the log of a run
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Which run; the newest if none is named
    run: Option<RunId>,
    /// Go on until the run has ended
    #[arg(long)]
    follow: bool,
}

impl Logs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let client = context.client()?;
        let id = match self.run {
            Some(id) => id,
            None => runs::newest(&client).await?.id,
        };
        let mut after = 0;
        // On a data directory that is open here no other process writes to the log.
        let follow = self.follow && !client.is_here();
        loop {
            // Asked before reading, so that the last lines of a run that ends meanwhile are not missed.
            let run: RunView = client.get(&format!("/v1/runs/{id}")).await?;
            after = show(context, &client, id, after).await?;
            if !follow || run.ended_at.is_some() {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
            }
        }
    }
}

/// Shows the lines behind `after`. Returns how many there are.
async fn show(context: &Context, client: &Client, id: RunId, mut after: usize) -> Result<usize, Failed> {
    loop {
        let query = [("after", after.to_string()), ("limit", PAGE.to_string())];
        let page: Page = client.get(&with_query(&format!("/v1/runs/{id}/logs"), query)).await?;
        for line in &page.items {
            if context.json {
                anstream::println!("{}", line.get());
            } else {
                show_line(&parse(line.get())?);
            }
        }
        after += page.items.len();
        if page.items.len() < PAGE {
            return Ok(after);
        }
    }
}

fn show_line(line: &LogView) {
    let style = match line.level.as_str() {
        "debug" => output::DIM,
        "info" => output::GREEN,
        "warn" => output::YELLOW,
        _ => output::RED,
    };
    let dim = output::DIM;
    let fields = line.fields.as_ref().map(ToString::to_string).unwrap_or_default();
    let (text, fields) = (output::printable(&line.message), output::printable(&fields));
    anstream::println!("{dim}{}{dim:#} {style}{:<5}{style:#} {text} {dim}{fields}{dim:#}", line.at.0, line.level);
}
