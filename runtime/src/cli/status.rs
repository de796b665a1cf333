//! `terapi status`

use std::collections::HashMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::client::parse;
use super::{Context, Failed, output};
use crate::api::views::{ScriptView, StreamView, SyncState, SyncView};
use crate::api::{CurrentKey, Health};
use crate::clock::{Clock as _, SystemClock};
use crate::ids::{ConnectionName, ModelName, ScriptName, Time, Variant};
use crate::script::Manifest;

/// Show all syncs at a glance: state, next run, last outcome, records
#[derive(Debug, Args)]
pub(super) struct Status {}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let client = context.client()?;
        let health: Health = client.get("/v1/ready").await?;
        let key: CurrentKey = client.get("/v1/key").await?;
        let syncs = client.all("/v1/syncs").await?;
        // A key that may not read records sees everything else.
        let streams = client.every::<StreamView>("/v1/streams").await;
        if context.json {
            let streams = streams.ok();
            let environment = key.environment;
            output::json(&json!({ "health": health, "environment": environment, "syncs": syncs, "streams": streams }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let (green, bold, dim) = (output::GREEN.bold(), output::BOLD, output::DIM);
        let place =
            context.server.as_ref().map_or_else(|| context.config.data_dir.display().to_string(), url::Url::to_string);
        anstream::println!(
            "{green}{}{green:#}  environment {bold}{}{bold:#}  {dim}{place}, version {}{dim:#}",
            health.status,
            key.environment,
            health.version
        );
        if syncs.is_empty() {
            anstream::println!("no syncs yet: terapi sync create CONNECTION SCRIPT");
            return Ok(ExitCode::SUCCESS);
        }
        let syncs = syncs.iter().map(|it| parse(it.get())).collect::<Result<Vec<SyncView>, _>>()?;
        let scripts: Vec<ScriptView> = client.every("/v1/scripts").await?;
        let quarantined = scripts.iter().filter_map(|it| {
            let suspicion = it.suspicion.as_ref().filter(|suspicion| suspicion.quarantined)?;
            Some((it.name.clone(), super::script::suspected(it, suspicion)))
        });
        let quarantined: Vec<_> = quarantined.collect();
        let models = models(scripts);
        let streams = streams.ok().map(by_stream);
        let now = SystemClock.now();
        let rows = syncs.iter().map(|it| {
            let records = streams.as_ref().map(|streams| {
                let own = models.get(&it.script).into_iter().flatten();
                let of = |model: &ModelName| streams.get(&(it.connection.clone(), model.clone(), it.variant.clone()));
                output::count(own.filter_map(of).sum())
            });
            vec![
                it.connection.to_string(),
                format!("{}{}", it.script, output::variant(&it.variant)),
                it.state.word().to_owned(),
                output::or_dash(it.next_run_at.map(|at| until(now.0, at))),
                output::or_dash(it.last_outcome.clone()),
                output::or_dash(it.last_ended_at.map(|at| format!("{} ago", span(now.since(at.0))))),
                output::or_dash(records),
            ]
        });
        anstream::println!();
        let columns = ["connection", "sync", "state", "next run", "last outcome", "ended", ">records"];
        output::table(&columns, rows.collect());
        for (name, what) in quarantined {
            let red = output::RED;
            anstream::println!("\n{red}{name}{red:#}  {}", output::printable(&what));
        }
        for it in &syncs {
            let Some(reason) = &it.reason else { continue };
            if matches!(it.state, SyncState::Failed | SyncState::Stalled | SyncState::Paused) || it.failures > 0 {
                let red = output::RED;
                let reason = output::printable(reason);
                anstream::println!("\n{red}{}{red:#}  {} on {}: {reason}", it.state.word(), it.script, it.connection);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn models(scripts: Vec<ScriptView>) -> HashMap<ScriptName, Vec<ModelName>> {
    let models = |script: &ScriptView| serde_json::from_value::<Manifest>(script.manifest.clone()).map(|it| it.models);
    scripts
        .into_iter()
        .map(|script| {
            let models = models(&script).unwrap_or_default().into_iter().map(|model| model.name).collect();
            (script.name, models)
        })
        .collect()
}

fn by_stream(streams: Vec<StreamView>) -> HashMap<(ConnectionName, ModelName, Variant), u64> {
    streams.into_iter().map(|it| ((it.connection, it.model, it.variant), it.records)).collect()
}

fn until(now: u64, at: Time) -> String {
    if at.0.0 <= now { "now".to_owned() } else { format!("in {}", span(at.0.0 - now)) }
}

/// A time in its two largest units.
fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min", s / 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}
