//! How things look: color that respects `NO_COLOR` and pipes, aligned tables, numbers with separators.

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::Failed;
use crate::run::{Outcome, Run};
use crate::sandbox::bytes;
use crate::store::Action;

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const RED: Style = AnsiColor::Red.on_default();

/// An error on standard error, with its code.
pub(super) fn error(code: Option<&str>, message: &str) {
    let bold_red = RED.bold();
    match code {
        Some(code) => anstream::eprintln!("{bold_red}error[{code}]{bold_red:#}: {message}"),
        None => anstream::eprintln!("{bold_red}error{bold_red:#}: {message}"),
    }
}

/// One JSON value on a line of its own.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failed> {
    let text = serde_json::to_string(value).map_err(|error| Failed::new(error.to_string()))?;
    anstream::println!("{text}");
    Ok(())
}

/// A table without lines. The names of columns of numbers begin with `>`.
pub(super) fn table(columns: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|name| Cell::new(name.trim_start_matches('>').to_uppercase())));
    for row in rows {
        table.add_row(row);
    }
    for (i, name) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(i) {
            column.set_padding((0, 2));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    for line in table.lines() {
        anstream::println!("{}", line.trim_end());
    }
}

/// 1234567 as 1,234,567.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time that people can compare at a glance.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(super) fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// The style of an outcome.
pub(super) fn outcome_style(outcome: Option<&Outcome>) -> Style {
    match outcome {
        Some(Outcome::Succeeded) => GREEN,
        Some(Outcome::Failed(_) | Outcome::Stopped(_)) => RED,
        None => YELLOW,
    }
}

/// The style of what happened to a record.
pub(super) fn action_style(action: Action) -> Style {
    match action {
        Action::Added => GREEN,
        Action::Updated => YELLOW,
        Action::Deleted => RED,
    }
}

/// How a run ended, in a few lines.
pub(super) fn run_summary(run: &Run) {
    let outcome = run.outcome.as_ref();
    let style = outcome_style(outcome).bold();
    let word = outcome.map_or("running", Outcome::word);
    anstream::println!("{style}{word}{style:#}  {} in {}", run.sync, millis(run.usage.wall_ms));
    if let Some(outcome) = outcome.filter(|outcome| **outcome != Outcome::Succeeded) {
        anstream::println!("  {RED}{}{RED:#}: {}", outcome.code(), outcome.message());
        if let Outcome::Stopped(stopped) = outcome {
            for frame in stopped.backtrace.iter().take(8) {
                anstream::println!("    {DIM}at {frame}{DIM:#}");
            }
        }
    }
    let changes = run.changes;
    anstream::println!(
        "  records   {GREEN}{} added{GREEN:#}, {YELLOW}{} updated{YELLOW:#}, {RED}{} deleted{RED:#}, {} unchanged",
        count(changes.added),
        count(changes.updated),
        count(changes.deleted),
        count(changes.unchanged)
    );
    let usage = run.usage;
    anstream::println!(
        "  used      {} requests, {} received, {} fuel, {} memory at the peak",
        count(usage.http_requests),
        bytes(usage.http_bytes),
        count(usage.fuel),
        bytes(usage.peak_memory)
    );
    anstream::println!("  {DIM}run       {}{DIM:#}", run.id);
}
