//! `terapi dry-run`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::progress::watch_run;
use super::run::{RunArgs, cancel_on_signal};
use super::{Context, Failed, output, trigger};
use crate::api::views::RunView;
use crate::ids::Variant;
use crate::run::RunKind;
use crate::runtime::DryRun as Dry;
use crate::sandbox::{Recorder, value_in_short};
use crate::store::rehearsal::RehearsedRecord;

/// Do a run without writing, and show what it would add, update and delete
#[derive(Debug, Args)]
#[command(
    after_help = "The connection and the API are the real ones, and what is stored is read; what the run would write \
stays in memory. The run is not kept, moves no date, and takes no lease. Deletes are shown as a success would delete \
them, within the delete guard. What a script does to the API it does: an action acts. Example:
  terapi dry-run github-issues.wasm --connection acme --allow-host api.github.com"
)]
pub(super) struct DryRun {
    #[command(flatten)]
    args: RunArgs,
    /// Show at most so many changes; with --json all are
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Keep the run's host calls in this file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl DryRun {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        context.only_here("a dry run")?;
        let file = self.args.file()?;
        let runtime = context.open()?;
        let mut execution = self.args.execution(context, &runtime, file).await?;
        let kind = execution.script.manifest.kind;
        let input = self.args.input(kind)?;
        let reset = if kind == RunKind::Sync { self.args.reset(&execution) } else { None };
        let recorder = self.record.as_deref().map(Recorder::create).transpose()?;
        execution.recorder.clone_from(&recorder);
        cancel_on_signal(&execution);
        let bar = watch_run(execution.progress.subscribe());
        let dry = runtime.dry_run(execution, input, reset).await;
        bar.abort();
        let dry = dry?;
        recorder.map(|recorder| recorder.finish()).transpose()?;
        let run = RunView::from(dry.run.clone());
        let code = trigger::exit_code(&run);
        if context.json {
            output::json(&view(&run, &dry)?)?;
        } else {
            self.show(&run, &dry);
        }
        Ok(code)
    }

    fn show(&self, run: &RunView, dry: &Dry) {
        let yellow = output::YELLOW.bold();
        anstream::println!("{yellow}dry run{yellow:#}  nothing was written");
        output::run_figures(run);
        let state = |name: &str, before: &Option<String>, after: &Option<String>| {
            if before != after {
                let text = |value: &Option<String>| value.as_deref().map_or_else(|| "none".to_owned(), value_in_short);
                anstream::println!("  {name:<9} {} → {}", text(before), output::printable(&text(after)));
            }
        };
        state("checkpoint", &dry.before.checkpoint, &dry.after.checkpoint);
        for (connection, value) in &dry.changes.metadata {
            anstream::println!("  metadata  of {connection}: {}", output::printable(&value_in_short(value)));
        }
        if let Some(output) = &dry.output {
            anstream::println!("  output    {}", output::printable(output));
        }
        let records = &dry.changes.records;
        if records.is_empty() {
            return;
        }
        anstream::println!();
        let rows = records.iter().take(self.limit).map(|record| {
            let RehearsedRecord { stream, id, action, data } = record;
            let model = match &stream.variant {
                variant if *variant == Variant::default() => stream.model.to_string(),
                variant => format!("{} ({variant})", stream.model),
            };
            let data = data.as_deref().map(in_a_row).unwrap_or_default();
            vec![action.word().to_owned(), model, output::printable(id), output::printable(&data)]
        });
        output::table(&["action", "model", "id", "data"], rows.collect());
        let more = records.len().saturating_sub(self.limit) as u64;
        if more > 0 {
            let dim = output::DIM;
            anstream::println!("{dim}and {} more (--limit, --json){dim:#}", output::count(more));
        }
    }
}

/// As much of a record as fits beside its id.
fn in_a_row(data: &str) -> String {
    const WIDTH: usize = 60;
    let mut text: String = data.chars().take(WIDTH).collect();
    if text.len() < data.len() {
        text.push('…');
    }
    text
}

fn view(run: &RunView, dry: &Dry) -> Result<Value, Failed> {
    let parsed = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut value = serde_json::to_value(run).map_err(|error| Failed::new(error.to_string()))?;
    let records = dry.changes.records.iter().map(|record| {
        let stream = &record.stream;
        json!({
            "model": stream.model, "variant": stream.variant, "id": record.id, "action": record.action,
            "data": parsed(&record.data),
        })
    });
    let metadata = dry.changes.metadata.values().next_back().cloned();
    let more = [
        ("dry_run", Value::Bool(true)),
        ("records", records.collect()),
        ("checkpoint", json!({ "before": parsed(&dry.before.checkpoint), "after": parsed(&dry.after.checkpoint) })),
        ("metadata", parsed(&metadata).unwrap_or_default()),
        ("output", parsed(&dry.output).unwrap_or_default()),
    ];
    if let Some(fields) = value.as_object_mut() {
        // It is not kept under this id.
        fields.remove("id");
        fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    Ok(value)
}
