//! How things look: color that respects `NO_COLOR` and pipes, aligned tables, numbers with separators.

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::client::{Page, parse};
use super::{Context, Failed};
use crate::api::views::{OutcomeView, RunView};
use crate::ids::{Time, Variant};
use crate::sandbox::bytes;

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

/// An answer of the API: as it is, or shown to a person.
pub(super) fn answer<T: DeserializeOwned>(
    context: &Context,
    text: &str,
    show: impl FnOnce(T) -> Result<(), Failed>,
) -> Result<(), Failed> {
    if context.json {
        if !text.is_empty() {
            anstream::println!("{text}");
        }
        return Ok(());
    }
    show(parse(text)?)
}

/// A list of the API: as it is, as a table, or `nothing`.
pub(super) fn list<T: DeserializeOwned>(
    context: &Context,
    items: Vec<Box<RawValue>>,
    nothing: &str,
    columns: &[&str],
    row: impl Fn(T) -> Vec<String>,
) -> Result<(), Failed> {
    if context.json {
        return json(&Page { items, next: None });
    }
    if items.is_empty() {
        anstream::println!("{nothing}");
        return Ok(());
    }
    let rows = items.iter().map(|item| parse(item.get()).map(&row)).collect::<Result<_, _>>()?;
    table(columns, rows);
    Ok(())
}

/// What was done, to what: `created  connection acme`.
pub(super) fn done(context: &Context, word: &str, what: impl std::fmt::Display) {
    if !context.json {
        let green = GREEN.bold();
        anstream::println!("{green}{word}{green:#}  {what}");
    }
}

/// Names and their values, one a line, those without a value left out.
pub(super) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, Option<String>)>) {
    for (name, value) in facts {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            anstream::println!("{name:<12} {}", printable(&value));
        }
    }
}

/// What others wrote must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A time to the second, in UTC.
pub(super) fn time(at: Time) -> String {
    at.0.to_string().replace('T', " ").chars().take(19).collect()
}

pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// A variant, unless it is the one that every sync has.
pub(super) fn variant(variant: &Variant) -> String {
    if *variant == Variant::default() { String::new() } else { format!(" ({variant})") }
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

/// A time in the largest unit that says it exactly, as options take it.
pub(super) fn exact(ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.into_iter().find(|(_, length)| ms > 0 && ms.is_multiple_of(*length)) {
        Some((unit, length)) => format!("{}{unit}", count(ms / length)),
        None => format!("{ms}ms"),
    }
}

/// The style of an outcome.
pub(super) fn outcome_style(outcome: Option<&OutcomeView>) -> Style {
    match outcome.map(|outcome| outcome.status.as_str()) {
        Some("succeeded") => GREEN,
        Some(_) => RED,
        None => YELLOW,
    }
}

/// The style of what happened to a record.
pub(super) fn action_style(action: &str) -> Style {
    match action {
        "added" => GREEN,
        "updated" => YELLOW,
        _ => RED,
    }
}

/// How a run ended, in a few lines.
pub(super) fn run_summary(run: &RunView) {
    run_figures(run);
    anstream::println!("  {DIM}run       {}{DIM:#}", run.id);
}

/// The same of a run that is not kept.
pub(super) fn run_figures(run: &RunView) {
    let outcome = run.outcome.as_ref();
    let style = outcome_style(outcome).bold();
    let word = outcome.map_or("running", |outcome| &outcome.status);
    let variant = variant(&run.variant);
    anstream::println!(
        "{style}{word}{style:#}  {} on {}{variant} in {}",
        run.script,
        run.connection,
        millis(run.usage.wall_ms)
    );
    if let Some(outcome) = outcome.filter(|outcome| outcome.status != "succeeded") {
        let message = printable(outcome.message.as_deref().unwrap_or_default());
        anstream::println!("  {RED}{}{RED:#}: {message}", outcome.code);
        for frame in outcome.backtrace.iter().take(8) {
            anstream::println!("    {DIM}at {}{DIM:#}", printable(frame));
        }
    }
    let changes = &run.changes;
    anstream::println!(
        "  records   {GREEN}{} added{GREEN:#}, {YELLOW}{} updated{YELLOW:#}, {RED}{} deleted{RED:#}, {} unchanged",
        count(changes.added),
        count(changes.updated),
        count(changes.deleted),
        count(changes.unchanged)
    );
    let usage = &run.usage;
    anstream::println!(
        "  used      {} requests, {} received, {} fuel, {} memory at the peak",
        count(usage.http_requests),
        bytes(usage.http_bytes),
        count(usage.fuel),
        bytes(usage.peak_memory)
    );
}
