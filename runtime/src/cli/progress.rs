//! How far long work is, on a terminal. Nothing is left behind, also when the task that shows it is aborted.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::output::count;
use crate::sandbox::Progress;

/// A bar of bytes.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Hidden where there is no terminal.
    pub(super) fn of_bytes() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left") {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn show(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A line that changes.
pub(super) struct Line {
    spinner: ProgressBar,
    start: Instant,
}

impl Line {
    pub(super) fn on_terminal() -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let spinner = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}  {msg}") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(100));
        Some(Self { spinner, start: Instant::now() })
    }

    pub(super) fn show(&self, text: &str) {
        self.spinner.set_message(text.to_owned());
    }

    /// How many a second, if there were so many since the line began.
    pub(super) fn rate(&self, done: u64) -> String {
        let rate = u128::from(done) * 1_000 / self.start.elapsed().as_millis().max(1);
        count(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}

/// Shows how far a run in this process is, until the task is aborted.
pub(super) fn watch_run(mut progress: watch::Receiver<Progress>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(line) = Line::on_terminal() else { return };
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            let changes = now.changes;
            let records = changes.added + changes.updated + changes.unchanged + changes.deleted;
            line.show(&format!(
                "{} pages, {} records, {} a second: {} added, {} updated, {} deleted",
                count(now.pages),
                count(records),
                line.rate(records),
                count(changes.added),
                count(changes.updated),
                count(changes.deleted)
            ));
        }
    })
}
