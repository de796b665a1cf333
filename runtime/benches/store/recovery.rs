//! How long a store takes to open: after it was killed, closed, or robbed of its index.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use crate::engines::Kind;
use crate::measure::{disk, figure, progress, sorted};
use crate::{Task, float, passes, time_to_open};

/// Kills, at different places.
const KILLS: u64 = 5;
/// A child says how far it is after so many records.
const STEP: u64 = 1_000;

/// Loads until it is killed, saying how far it is.
pub(crate) fn load(dir: &Path) {
    let mut engine = Kind::Terapi.open(dir, None);
    let mut batch = Vec::new();
    engine.begin();
    for first in (0_u64..).step_by(100) {
        passes::make(&mut batch, first, u64::MAX, |_| 0);
        engine.save(&batch);
        if (first + 100).is_multiple_of(STEP) {
            // Whoever would kill it may be dead.
            if writeln!(std::io::stdout(), "{}", first + 100).is_err() {
                return;
            }
        }
    }
}

/// Kills a load in its course, several times, and measures how long the next start takes.
pub(crate) fn reopen(records: u64) {
    let mut per_gb = Vec::new();
    for kill in 1..=KILLS {
        // Up to the whole stream, and never at a round number.
        let at = records * kill / KILLS - kill * STEP;
        progress(&format!("killed after {at} records"));
        let dir = tempfile::tempdir().unwrap();
        let mut child = Task::Load { dir: dir.path().to_owned() }.command().spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().parse::<u64>().unwrap() >= at));
        child.kill().unwrap();
        child.wait().unwrap();
        let gb = float(disk(dir.path())) / 1e9;
        let killed = time_to_open(dir.path());
        figure(format!("reopen after a kill, {gb:.2} GB"), killed * 1_000.0, "ms").print();
        per_gb.push(killed / gb);
        if kill == KILLS {
            figure(format!("reopen after a close, {gb:.2} GB"), time_to_open(dir.path()) * 1_000.0, "ms").print();
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
            let rebuilt = time_to_open(dir.path());
            figure(format!("reopen without the index, {gb:.2} GB"), rebuilt * 1_000.0, "ms").print();
            figure("rebuild of the index from the log", rebuilt / gb, "s/GB").print();
        }
    }
    // Of the largest, since a fixed part weighs most on the smallest.
    figure("reopen after a kill, largest", *per_gb.last().unwrap(), "s/GB").at_most(2.0).print();
    figure("reopen after a kill, worst", *sorted(per_gb).last().unwrap(), "s/GB").print();
}
