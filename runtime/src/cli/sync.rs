//! `terapi sync`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::args::{LimitArgs, SyncArgs, object, with_query};
use super::client::Content;
use super::{Context, Failed, output, trigger};
use crate::api::Cancelled;
use crate::api::views::{SyncState, SyncView};
use crate::ids::{ConnectionName, Time};

/// Manage syncs: scripts on connections, with their schedules
#[derive(Debug, Subcommand)]
pub(super) enum SyncCommand {
    /// List syncs
    List {
        /// Only those of this connection
        #[arg(long, value_name = "NAME")]
        connection: Option<ConnectionName>,
    },
    /// Show one: its state, records, last outcome and next run
    Show(SyncArgs),
    /// Create a sync
    #[command(after_help = "Example:
  terapi sync create acme github-issues --frequency 'every 10 minutes' --config '{\"repository\": \"rust-lang/cargo\"}'")]
    Create {
        #[command(flatten)]
        sync: SyncArgs,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Change what is set of a sync; what is not given stays
    Change {
        #[command(flatten)]
        sync: SyncArgs,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Delete a sync; its records stay
    Delete(SyncArgs),
    /// Run a sync now
    Trigger {
        #[command(flatten)]
        sync: SyncArgs,
        /// Wait for the run's end, and fail if it does
        #[arg(long)]
        wait: bool,
        /// Let this run delete as much as it finds to delete
        #[arg(long)]
        allow_deletes: bool,
    },
    /// Pause a sync; a run under way goes on
    Pause {
        #[command(flatten)]
        sync: SyncArgs,
        /// For who sees that it is paused
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Start a sync that is paused
    Start(SyncArgs),
    /// Cancel the run that is under way
    Cancel(SyncArgs),
    /// Forget last sync date and checkpoint, so that the next run fetches everything
    Reset {
        #[command(flatten)]
        sync: SyncArgs,
        /// Collect the records anew, beside the old ones, which take their place when a run succeeds
        #[arg(long)]
        empty: bool,
    },
}

/// What can be set of a sync.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// The script's configuration: a JSON object, or a file with one
    #[arg(long, value_name = "JSON|FILE")]
    config: Option<String>,
    /// How often, such as 'every 5 minutes', 'cron 0 9 * * MON-FRI Europe/Berlin', 'never', or 'script' for the script's own
    #[arg(long, value_name = "WORDS")]
    frequency: Option<String>,
    /// No run of the schedule before this, such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    start_at: Option<Time>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl SettingsArgs {
    fn fields(&self) -> Result<Map<String, Value>, Failed> {
        let mut fields = Map::new();
        if let Some(config) = &self.config {
            fields.insert("config".to_owned(), Value::Object(object("the configuration", config)?));
        }
        if let Some(frequency) = &self.frequency {
            let own = frequency.trim() == "script";
            fields.insert("frequency".to_owned(), if own { Value::Null } else { json!(frequency) });
        }
        if let Some(start_at) = &self.start_at {
            fields.insert("start_at".to_owned(), json!(start_at));
        }
        if let Some(limits) = self.limits.given() {
            fields.insert("limits".to_owned(), json!(limits));
        }
        Ok(fields)
    }
}

impl SyncCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let client = context.client()?;
        let word = |text: String, word: &str| {
            output::answer(context, &text, |it: SyncView| {
                output::done(context, word, format_args!("sync {}{}", name(&it), next(&it)));
                Ok(())
            })
        };
        match self {
            Self::List { connection } => {
                let query = connection.map(|name| ("connection", name.to_string()));
                let items = client.all(&with_query("/v1/syncs", query)).await?;
                let columns = ["connection", "script", "variant", "state", "frequency", "next run", "last outcome"];
                let nothing = "no syncs yet: terapi sync create CONNECTION SCRIPT";
                output::list(context, items, nothing, &columns, |it| row(&it))?;
            }
            Self::Show(sync) => {
                let text = client.text(Method::GET, &sync.path(), Content::None).await?;
                output::answer(context, &text, |it| show(&it))?;
            }
            Self::Create { sync, settings } => {
                let mut fields = settings.fields()?;
                fields.insert("connection".to_owned(), json!(sync.connection));
                fields.insert("script".to_owned(), json!(sync.script));
                fields.insert("variant".to_owned(), json!(sync.variant));
                word(client.text(Method::POST, "/v1/syncs", Content::json(&fields)?).await?, "created")?;
            }
            Self::Change { sync, settings } => {
                let fields = settings.fields()?;
                if fields.is_empty() {
                    return Err(Failed::usage("say what to change: --config, --frequency, --start-at or a limit"));
                }
                word(client.text(Method::PATCH, &sync.path(), Content::json(&fields)?).await?, "changed")?;
            }
            Self::Delete(sync) => {
                client.text(Method::DELETE, &sync.path(), Content::None).await?;
                let (script, connection) = (&sync.script, &sync.connection);
                output::done(context, "deleted", format_args!("sync {script} on {connection}; its records stay"));
            }
            Self::Trigger { sync, wait, allow_deletes } => {
                let triggered = trigger::trigger(&client, &sync, allow_deletes, wait).await?;
                return trigger::show(context, &sync, &triggered);
            }
            Self::Pause { sync, reason } => {
                let body = Content::json(&json!({ "reason": reason }))?;
                word(client.text(Method::POST, &format!("{}/pause", sync.path()), body).await?, "paused")?;
            }
            Self::Start(sync) => {
                let path = format!("{}/start", sync.path());
                word(client.text(Method::POST, &path, Content::None).await?, "started")?;
            }
            Self::Cancel(sync) => {
                let path = format!("{}/cancel", sync.path());
                output::answer(context, &client.text(Method::POST, &path, Content::None).await?, |it: Cancelled| {
                    if it.cancelled {
                        output::done(context, "cancelled", format_args!("the run of {}", sync.script));
                    } else {
                        anstream::println!("no run is under way");
                    }
                    Ok(())
                })?;
            }
            Self::Reset { sync, empty } => {
                let body = Content::json(&json!({ "empty": empty }))?;
                word(client.text(Method::POST, &format!("{}/reset", sync.path()), body).await?, "reset")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn name(it: &SyncView) -> String {
    format!("{} on {}{}", it.script, it.connection, output::variant(&it.variant))
}

fn next(it: &SyncView) -> String {
    match (&it.state, it.next_run_at) {
        (SyncState::Manual, _) => ", which runs when it is triggered".to_owned(),
        (SyncState::Scheduled, Some(at)) => format!(", next run {}", output::time(at)),
        _ => String::new(),
    }
}

fn row(it: &SyncView) -> Vec<String> {
    vec![
        it.connection.to_string(),
        it.script.to_string(),
        it.variant.to_string(),
        it.state.word().to_owned(),
        it.frequency.clone().unwrap_or_else(|| "never".to_owned()),
        output::or_dash(it.next_run_at.map(output::time)),
        output::or_dash(it.last_outcome.clone()),
    ]
}

fn show(it: &SyncView) -> Result<(), Failed> {
    let bold = output::BOLD;
    anstream::println!("{bold}{}{bold:#}", name(it));
    let own = if it.frequency_is_set { "" } else { " (the script's own)" };
    let frequency = it.frequency.as_ref().map_or_else(|| "never".to_owned(), |words| format!("{words}{own}"));
    let limits = serde_json::to_string(&it.limits).map_err(|error| Failed::new(error.to_string()))?;
    let failures = (it.failures > 0).then(|| format!("{} in a row", it.failures));
    output::facts([
        ("state", Some(it.state.word().to_owned())),
        ("reason", it.reason.clone()),
        ("frequency", Some(frequency)),
        ("start at", it.start_at.map(output::time)),
        ("next run", it.next_run_at.map(output::time)),
        ("active run", it.active_run.map(|run| run.to_string())),
        ("last start", it.last_started_at.map(output::time)),
        ("last end", it.last_ended_at.map(output::time)),
        ("last outcome", it.last_outcome.clone()),
        ("last success", it.last_success_at.map(output::time)),
        ("failures", failures),
        ("synced until", it.last_sync_date.map(output::time)),
        ("checkpoint", it.has_checkpoint.map(|has| if has { "saved" } else { "none" }.to_owned())),
        ("config", Some(it.config.to_string())),
        ("limits", Some(limits).filter(|text| text != "{}")),
    ]);
    for stream in it.streams.iter().flatten() {
        let (records, changes) = (output::count(stream.records), output::count(stream.changes));
        anstream::println!("{:<12} {} {records} records, {changes} changes", "model", stream.model);
    }
    Ok(())
}
