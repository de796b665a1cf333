//! `terapi runs`

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::args::with_query;
use super::client::{Client, Content, Page, parse};
use super::{Context, Failed, output};
use crate::api::views::{ExchangeView, RunView};
use crate::ids::{ConnectionName, RunId, ScriptName};
use crate::sandbox::bytes;

/// List runs, the newest first, or show one with its requests
#[derive(Debug, Args)]
pub(super) struct Runs {
    /// Show this run
    run: Option<RunId>,
    /// Only those of this connection
    #[arg(long, value_name = "NAME")]
    connection: Option<ConnectionName>,
    /// Only those of this script
    #[arg(long, value_name = "NAME")]
    script: Option<ScriptName>,
    /// How many to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
    /// List those before this one
    #[arg(long, value_name = "RUN")]
    before: Option<RunId>,
}

impl Runs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let client = context.client()?;
        if let Some(id) = self.run {
            let text = client.text(Method::GET, &format!("/v1/runs/{id}"), Content::None).await?;
            output::answer(context, &text, |run: RunView| {
                output::run_summary(&run);
                show_trace(run.trace.unwrap_or_default());
                Ok(())
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        let query = [
            ("connection", self.connection.map(|it| it.to_string())),
            ("script", self.script.map(|it| it.to_string())),
            ("after", self.before.map(|it| it.to_string())),
        ];
        let query: Vec<_> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let page = list(&client, query, usize::try_from(self.limit).unwrap_or(usize::MAX)).await?;
        if context.json {
            output::json(&page)?;
            return Ok(ExitCode::SUCCESS);
        }
        let columns = ["run", "script", "connection", "started", ">took", "outcome", ">added", ">updated", ">deleted"];
        output::list(context, page.items, "no runs yet: terapi run SCRIPT", &columns, |run| row(&run))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The newest `limit` runs. A page of the API may have fewer and still not be the last.
pub(super) async fn list(client: &Client, query: Vec<(&str, String)>, limit: usize) -> Result<Page, Failed> {
    let mut items = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query: Vec<_> = query.clone();
        if let Some(after) = after.take() {
            query.retain(|(name, _)| *name != "after");
            query.push(("after", after));
        }
        query.push(("limit", (limit - items.len()).to_string()));
        let page: Page = client.get(&with_query("/v1/runs", query)).await?;
        items.extend(page.items);
        match page.next {
            Some(next) if items.len() < limit => after = Some(next),
            next => return Ok(Page { items, next }),
        }
    }
}

/// The newest run.
pub(super) async fn newest(client: &Client) -> Result<RunView, Failed> {
    let page = list(client, Vec::new(), 1).await?;
    let run = page.items.first().ok_or_else(|| Failed::new("no runs yet: terapi run SCRIPT"))?;
    parse(run.get())
}

fn row(run: &RunView) -> Vec<String> {
    vec![
        run.id.to_string(),
        run.script.to_string(),
        run.connection.to_string(),
        output::time(run.started_at),
        output::millis(run.usage.wall_ms),
        run.outcome.as_ref().map_or("running", |outcome| &outcome.code).to_owned(),
        output::count(run.changes.added),
        output::count(run.changes.updated),
        output::count(run.changes.deleted),
    ]
}

fn show_trace(trace: Vec<ExchangeView>) {
    if trace.is_empty() {
        return;
    }
    anstream::println!();
    let rows = trace.into_iter().map(|it| {
        vec![
            it.at.0.to_string().get(11..23).unwrap_or_default().to_owned(),
            it.method,
            output::printable(&it.url),
            it.error.or(it.status.map(|status| status.to_string())).unwrap_or_default(),
            output::millis(it.took_ms),
            if it.waited_ms == 0 { String::new() } else { output::millis(it.waited_ms) },
            bytes(it.bytes),
        ]
    });
    output::table(&["at", "method", "url", "answer", ">took", ">waited", ">size"], rows.collect());
}
