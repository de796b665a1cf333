//! `terapi records`

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Context, Failed, output, runs};
use crate::ids::{ConnectionName, ModelName, StreamKey, Variant};
use crate::runtime::Runtime;
use crate::store::embedded::StoreOptions;
use crate::store::{ActionFilter, Change, ChangePage, ChangesQuery};

/// How often `--follow` looks whether something was written.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(300);

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
    #[arg(long, value_name = "ACTIONS", default_value = "added,updated,deleted")]
    filter: ActionFilter,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    sequence: u64,
    id: &'a str,
    action: &'static str,
    first_seen_at: String,
    last_modified_at: String,
    deleted_at: Option<String>,
    data: &'a RawValue,
}

impl Records {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let Some(model) = self.model.clone() else {
            return list(context);
        };
        let stream = StreamKey { connection: self.connection.clone(), model, variant: self.variant.clone() };
        let mut query = ChangesQuery {
            cursor: self.cursor.clone(),
            filter: self.filter,
            limit: self.limit,
            ..ChangesQuery::default()
        };
        if !self.follow {
            let page = context.open()?.store().changes(&stream, &query)?;
            show(context, &page)?;
            if !context.json {
                let dim = output::DIM;
                let more = if page.more { " (there is more)" } else { "" };
                anstream::eprintln!("{dim}cursor {}{more}{dim:#}", page.cursor);
            }
            return Ok(ExitCode::SUCCESS);
        }
        loop {
            // Taken before reading: what a run writes after it is looked at in the next round, never passed over.
            let seen = last_write(&context.data_dir);
            // Opened for a moment only, so that a run beside this can have the directory in between.
            let options = StoreOptions { patience: Duration::from_hours(1), ..StoreOptions::default() };
            let runtime = Runtime::open(&context.data_dir, &options)?;
            loop {
                let page = runtime.store().changes(&stream, &query)?;
                if !page.changes.is_empty() {
                    show(context, &page)?;
                }
                query.cursor = Some(page.cursor);
                if !page.more {
                    break;
                }
            }
            drop(runtime);
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
                () = written_since(&context.data_dir, seen) => {}
            }
        }
    }
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

fn show(context: &Context, page: &ChangePage) -> Result<(), Failed> {
    if context.json {
        let changes: Result<Vec<_>, _> = page.changes.iter().map(change_json).collect();
        let changes = changes.map_err(|error| Failed::new(format!("a stored record is no JSON: {error}")))?;
        return output::json(&serde_json::json!({ "changes": changes, "cursor": page.cursor, "more": page.more }));
    }
    for change in &page.changes {
        let style = output::action_style(change.action);
        let id = runs::printable(&change.id);
        let data: String = runs::printable(&change.data).chars().take(160).collect();
        let cut = if data.len() < change.data.len() { " …" } else { "" };
        let dim = output::DIM;
        anstream::println!("{style}{:<7}{style:#}  {id}  {dim}{data}{cut}{dim:#}", change.action.word());
    }
    Ok(())
}

fn change_json(change: &Change) -> Result<ChangeJson<'_>, serde_json::Error> {
    Ok(ChangeJson {
        sequence: change.sequence,
        id: &change.id,
        action: change.action.word(),
        first_seen_at: change.first_seen_at.to_string(),
        last_modified_at: change.last_modified_at.to_string(),
        deleted_at: change.deleted_at().map(|at| at.to_string()),
        data: serde_json::from_str(&change.data)?,
    })
}

fn list(context: &Context) -> Result<ExitCode, Failed> {
    let streams = context.open()?.store().streams()?;
    if context.json {
        output::json(&streams)?;
    } else if streams.is_empty() {
        anstream::println!("no records yet: terapi run SCRIPT");
    } else {
        let rows = streams.iter().map(|info| {
            vec![
                info.stream.connection.to_string(),
                info.stream.model.to_string(),
                info.stream.variant.to_string(),
                output::count(info.live),
                output::count(info.changes),
            ]
        });
        output::table(&["connection", "model", "variant", ">records", ">changes"], rows.collect());
    }
    Ok(ExitCode::SUCCESS)
}
