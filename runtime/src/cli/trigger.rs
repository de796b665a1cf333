//! Asking for a run of a sync, and waiting for its end.

use std::process::ExitCode;
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinHandle;

use super::args::{SyncArgs, with_query};
use super::client::{Client, Content, Page, parse};
use super::progress::Line;
use super::{Context, Failed, output};
use crate::api::views::{RunView, SyncState, SyncView};
use crate::api::{Trigger, Triggered};

/// How long one request waits. Proxies on the way tend to give up after a minute.
const WAIT_SECONDS: u64 = 50;
/// How often it is asked how far a run is.
const LOOK: Duration = Duration::from_secs(1);

/// Asks for a run. A data directory in this process runs it before it answers, and so is always waited for.
pub(super) async fn trigger(
    client: &Client,
    sync: &SyncArgs,
    allow_deletes: bool,
    wait: bool,
) -> Result<Triggered, Failed> {
    let path = sync.path();
    let wait_seconds = if wait { WAIT_SECONDS } else { 0 };
    let content = Content::json(&Trigger { wait_seconds, allow_deletes })?;
    let before: SyncView = client.get(&path).await?;
    let _progress = (wait || client.is_here()).then(|| Aborted(watch(client.clone(), path.clone(), changes(&before))));
    let _cancel = client.is_here().then(|| Aborted(cancel_on_signal(client.clone(), path.clone())));
    let mut triggered: Triggered = client.ask(Method::POST, &format!("{path}/trigger"), content).await?;
    while wait && triggered.run.is_none() {
        tokio::time::sleep(LOOK).await;
        let now: SyncView = client.get(&path).await?;
        if !matches!(now.state, SyncState::Running | SyncState::Waiting) {
            let query = [
                ("connection", sync.connection.to_string()),
                ("script", sync.script.to_string()),
                ("variant", sync.variant.to_string()),
                ("limit", "1".to_owned()),
            ];
            let page: Page = client.get(&with_query("/v1/runs", query)).await?;
            match page.items.first() {
                Some(run) => triggered.run = Some(parse(run.get())?),
                None => break,
            }
        }
    }
    Ok(triggered)
}

/// What became of it.
pub(super) fn show(context: &Context, sync: &SyncArgs, triggered: &Triggered) -> Result<ExitCode, Failed> {
    if context.json {
        output::json(triggered)?;
    }
    let Some(run) = &triggered.run else {
        if !context.json {
            let id = triggered.active_run.map_or_else(String::new, |run| format!(": terapi runs {run}"));
            output::done(context, "triggered", format_args!("{} on {}{id}", sync.script, sync.connection));
        }
        return Ok(ExitCode::SUCCESS);
    };
    if !context.json {
        output::run_summary(run);
    }
    Ok(exit_code(run))
}

/// A run that did not succeed is a command that failed.
pub(super) fn exit_code(run: &RunView) -> ExitCode {
    let succeeded = run.outcome.as_ref().is_some_and(|outcome| outcome.status == "succeeded");
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn changes(sync: &SyncView) -> u64 {
    sync.streams.iter().flatten().map(|stream| stream.changes).sum()
}

/// A task that ends with whoever wants it.
struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A line that shows how far the run is, on a terminal.
fn watch(client: Client, path: String, before: u64) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(line) = Line::on_terminal() else { return };
        loop {
            tokio::time::sleep(LOOK).await;
            let Ok(now) = client.get::<SyncView>(&path).await else { continue };
            let changed = changes(&now).saturating_sub(before);
            line.show(&format!(
                "{}: {} changes, {} a second",
                now.state.word(),
                output::count(changed),
                line.rate(changed)
            ));
        }
    })
}

/// A run in this process comes to a clean end.
fn cancel_on_signal(client: Client, path: String) -> JoinHandle<()> {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            let _ = client.text(Method::POST, &format!("{path}/cancel"), Content::None).await;
        }
    })
}
