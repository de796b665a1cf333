//! `terapi records`

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::args::with_query;
use super::client::{Client, Content, parse};
use super::{Context, Failed, output};
use crate::api::views::StreamView;
use crate::ids::{ConnectionName, ModelName, Time, Variant};
use crate::store::ActionFilter;

/// How often `--follow` looks whether something was written to the data directory.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(300);
/// How long `--follow` waits for whoever has the data directory.
const FOLLOW_PATIENCE: Duration = Duration::from_hours(1);
/// How long a server is asked to wait for changes.
const LONG_POLL: &str = "30s";
/// How long `--follow` waits before it asks again a server that did not answer.
const SERVER_PAUSE: Duration = Duration::from_secs(2);

/// Read the changes of a model, or list what there is to read
#[derive(Debug, Args)]
#[command(after_help = "The cursor says how far you have read. Hand it back, and you get only what changed since:
  terapi records Issue --connection acme --cursor CURSOR")]
pub(super) struct Records {
    /// Which model; without it, list all models of all connections
    model: Option<ModelName>,
    /// Whose
    #[arg(long, default_value = "default", value_name = "NAME")]
    connection: ConnectionName,
    /// In which variant
    #[arg(long, default_value = "base", value_name = "NAME")]
    variant: Variant,
    /// Only what changed since this cursor
    #[arg(long)]
    cursor: Option<String>,
    /// Go on reading as changes come
    #[arg(long)]
    follow: bool,
    /// Only these: added, updated, deleted, separated by commas
    #[arg(long, value_name = "ACTIONS", value_parser = filter)]
    filter: Option<String>,
    /// Only what was changed after this moment, such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    modified_after: Option<Time>,
    /// Only this record; may repeat
    #[arg(long, value_name = "ID", conflicts_with_all = ["cursor", "follow"])]
    id: Vec<String>,
    /// How many at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
}

/// Checked here and handed on as it is.
fn filter(text: &str) -> Result<String, String> {
    text.parse::<ActionFilter>().map(|_| text.to_owned())
}

#[derive(Deserialize)]
struct Page {
    records: Vec<Record>,
    cursor: String,
    more: bool,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    last_action: String,
    data: Option<Box<RawValue>>,
}

impl Records {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let Some(model) = &self.model else {
            return list(context).await;
        };
        if self.follow {
            return match &context.server {
                Some(_) => self.follow_there(context, model).await,
                None => self.follow_here(context, model).await,
            };
        }
        let text = self.read(&context.client()?, model, self.cursor.clone(), None).await?;
        output::answer(context, &text, |page: Page| {
            show(&page);
            if !page.cursor.is_empty() {
                let dim = output::DIM;
                let more = if page.more { " (there is more)" } else { "" };
                anstream::eprintln!("{dim}cursor {}{more}{dim:#}", page.cursor);
            }
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn read(
        &self,
        client: &Client,
        model: &ModelName,
        cursor: Option<String>,
        wait: Option<&str>,
    ) -> Result<String, Failed> {
        let query = [
            ("cursor", cursor),
            ("variant", Some(self.variant.to_string())),
            ("filter", self.filter.clone()),
            ("modified_after", self.modified_after.map(|at| at.0.to_string())),
            ("limit", Some(self.limit.to_string())),
            ("wait", wait.map(str::to_owned)),
        ];
        let query = query.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let ids = self.id.iter().map(|id| ("ids", id.clone()));
        let path = format!("/v1/connections/{}/records/{model}", self.connection);
        client.text(Method::GET, &with_query(&path, query.chain(ids)), Content::None).await
    }

    /// Reads and shows a page; empty ones are passed over. Returns its cursor and whether there is more.
    async fn page(
        &self,
        context: &Context,
        client: &Client,
        model: &ModelName,
        cursor: Option<String>,
        wait: Option<&str>,
    ) -> Result<(String, bool), Failed> {
        let text = self.read(client, model, cursor, wait).await?;
        let page: Page = parse(&text)?;
        if !page.records.is_empty() {
            output::answer(context, &text, |page: Page| {
                show(&page);
                Ok(())
            })?;
        }
        Ok((page.cursor, page.more))
    }

    async fn follow_there(&self, context: &Context, model: &ModelName) -> Result<ExitCode, Failed> {
        let client = context.client()?;
        let mut cursor = self.cursor.clone();
        let mut answered = false;
        loop {
            let page = tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                page = self.page(context, &client, model, cursor.clone(), Some(LONG_POLL)) => page,
            };
            match page {
                Ok((next, _)) => {
                    answered = true;
                    cursor = Some(next);
                }
                // A server that is started anew is waited for, once it is known to be there.
                Err(failed) if answered && failed.code.as_deref().is_some_and(is_passing) => {
                    tokio::select! {
                        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                        () = tokio::time::sleep(SERVER_PAUSE) => {}
                    }
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    async fn follow_here(&self, context: &Context, model: &ModelName) -> Result<ExitCode, Failed> {
        let data_dir = &context.config.data_dir;
        let mut cursor = self.cursor.clone();
        loop {
            // Taken before reading: what a run writes after it is looked at in the next round, never passed over.
            let seen = last_write(data_dir);
            // Opened for a moment only, so that a run beside this can have the directory in between.
            let service = context.service_with_patience(FOLLOW_PATIENCE)?;
            let client = Client::here(service, context.environment.clone());
            loop {
                let (next, more) = self.page(context, &client, model, cursor, None).await?;
                cursor = Some(next);
                if !more {
                    break;
                }
            }
            drop(client);
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                () = written_since(data_dir, seen) => {}
            }
        }
    }
}

fn is_passing(code: &str) -> bool {
    matches!(code, "no-server" | "stopping")
}

/// Returns when the log was written after `seen`.
async fn written_since(data_dir: &Path, seen: Option<SystemTime>) {
    while last_write(data_dir) <= seen {
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
}

fn last_write(data_dir: &Path) -> Option<SystemTime> {
    let files = std::fs::read_dir(data_dir.join("log")).ok()?;
    files.filter_map(|file| file.ok()?.metadata().ok()?.modified().ok()).max()
}

fn show(page: &Page) {
    for record in &page.records {
        let style = output::action_style(&record.last_action);
        let id = output::printable(&record.id);
        let whole = record.data.as_ref().map_or("null", |data| data.get());
        let data: String = output::printable(whole).chars().take(160).collect();
        let cut = if data.len() < whole.len() { " …" } else { "" };
        let dim = output::DIM;
        anstream::println!("{style}{:<7}{style:#}  {id}  {dim}{data}{cut}{dim:#}", record.last_action);
    }
}

async fn list(context: &Context) -> Result<ExitCode, Failed> {
    let items = context.client()?.all("/v1/streams").await?;
    let columns = ["connection", "model", "variant", ">records", ">changes"];
    output::list(context, items, "no records yet: terapi run SCRIPT", &columns, |it: StreamView| {
        vec![
            it.connection.to_string(),
            it.model.to_string(),
            it.variant.to_string(),
            output::count(it.records),
            output::count(it.changes),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}
