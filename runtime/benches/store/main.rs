//! The store beside bare sled, fjall and SQLite: `cargo bench --bench store`.
//!
//! Prints one JSON object a line: name, value, unit, the baseline of the same run with the ratio to it, and the goal
//! where there is one. Rates count CPU seconds of all threads; making the records is not counted. Read the ratios;
//! absolute figures are the machine's of the moment. Every engine is measured in a process of its own, so that its peak
//! memory is its own. `TERAPI_BENCH_RECORDS` sets how many records the stream has (200,000; the goals are about
//! 1,000,000, which takes a quarter of an hour and 4 GB below `TMPDIR`).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may stop where it stands")]
#![expect(clippy::doc_markdown, reason = "SQLite is a name")]

mod engines;
#[path = "../shared/measure.rs"]
mod measure;
mod passes;
mod recovery;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engines::Kind;
use measure::{Figure, at, figure, median, progress, records_asked, sorted};
use passes::{Extent, Measured, Pass, Primitives};
use serde::{Deserialize, Serialize};

/// The stream that the rate on the large one is compared with.
const SMALL: u64 = 20_000;
/// The small one takes tenths of a second, so it is measured so often, and the median taken.
const SMALL_ROUNDS: usize = 5;
/// The settings of the cache between which memory is compared.
const CACHES: [u64; 2] = [8 << 20, 64 << 20];
/// The first argument of a child process; the second is its [`Task`].
const CHILD: &str = "--child";

/// What a child process does.
#[derive(Serialize, Deserialize)]
enum Task {
    /// Prints a [`Measured`].
    Measure { kind: Kind, dir: PathBuf, records: u64, cache_bytes: Option<u64>, extent: Extent },
    /// Loads, and says how far it is, until it is killed.
    Load { dir: PathBuf },
}

impl Task {
    fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(CHILD).arg(serde_json::to_string(self).unwrap()).stdout(Stdio::piped());
        command
    }

    fn run(self) {
        match self {
            Self::Measure { kind, dir, records, cache_bytes, extent } => {
                let measured = passes::measure(kind, &dir, records, cache_bytes, extent);
                println!("{}", serde_json::to_string(&measured).unwrap());
            }
            Self::Load { dir } => recovery::load(&dir),
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == CHILD) {
        serde_json::from_str::<Task>(&args[2]).unwrap().run();
        return;
    }
    // `cargo test --benches` only asks whether it starts.
    if args.iter().any(|arg| arg == "--test") {
        return;
    }
    let records = records_asked(200_000);
    let terapi = engines_side_by_side(records);
    scale(records, &terapi);
    memory(records, &terapi);
    recovery::reopen(records);
}

/// Measures in a child process, in a folder that is gone afterwards.
fn measured(kind: Kind, records: u64, cache_bytes: Option<u64>, extent: Extent) -> Measured {
    let dir = tempfile::tempdir().unwrap();
    let task = Task::Measure { kind, dir: dir.path().to_owned(), records, cache_bytes, extent };
    let output = task.command().stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{} did not get through: {}", kind.name(), output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every engine with the same records; returns what Terapi reached.
fn engines_side_by_side(records: u64) -> Measured {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        progress(&format!("{}, {records} records", kind.name()));
        let extent = if kind == Kind::Terapi { Extent::Everything } else { Extent::Passes };
        all.push(measured(kind, records, None, extent));
    }
    let [terapi, sled, fjall, sqlite] = <[Measured; 4]>::try_from(all).unwrap_or_else(|_| unreachable!());
    let engines = [(Kind::Sled, &sled), (Kind::Fjall, &fjall), (Kind::Sqlite, &sqlite)];

    figure("records", float(records), "records").print();
    figure("JSON of a record", float(terapi.json_bytes) / float(records), "bytes").print();
    rates(
        "load",
        |of| of.load,
        &terapi,
        &engines,
        |kind, figure| match kind {
            Kind::Sled => figure.ratio_at_least(4.0),
            _ => figure,
        },
    );
    rates(
        "unchanged refresh",
        |of| of.unchanged,
        &terapi,
        &engines,
        |kind, figure| match kind {
            Kind::Sqlite => figure.ratio_at_least(1.5),
            _ => figure,
        },
    );
    rates("refresh with 1 % changed", |of| of.changed, &terapi, &engines, |_, figure| figure);
    rates(
        "feed",
        |of| of.feed,
        &terapi,
        &engines,
        |kind, figure| match kind {
            Kind::Terapi => figure.at_least(400_000.0),
            _ => figure,
        },
    );
    // No ratios: a baseline that finds room within its files does not grow at all.
    let growth = |of: &Measured| 100.0 * (float(of.after_bytes) / float(of.before_bytes) - 1.0);
    let name = "refresh with 1 % changed, growth of the disk";
    figure(name, growth(&terapi), "%").at_most(3.0).print();
    for (kind, measured) in engines {
        figure(format!("{name}, {}", kind.name()), growth(measured), "%").print();
    }
    let share = |of: &Measured| float(of.loaded_bytes) / float(of.json_bytes);
    compare("size on disk", "of the JSON", share, &terapi, &engines, |kind, figure| match kind {
        Kind::Terapi => figure.at_most(0.35),
        _ => figure,
    });
    compare("peak memory", "MiB", |of| mib(of.peak_rss), &terapi, &engines, |_, figure| figure);

    let asked = sorted(terapi.changes_since.clone());
    let name = "what changed since a cursor, 300 changes";
    figure(format!("{name}, median"), at(&asked, 0.5), "ms").at_most(2.0).print();
    figure(format!("{name}, p99"), at(&asked, 0.99), "ms").print();
    shares(&terapi);
    terapi
}

/// A rate of CPU, then of wall time, beside that of each baseline.
fn rates(
    name: &str,
    pass: impl Fn(&Measured) -> Pass,
    terapi: &Measured,
    baselines: &[(Kind, &Measured)],
    goal: impl Fn(Kind, Figure) -> Figure,
) {
    compare(name, "records/CPU-s", |of| pass(of).per_cpu_second(), terapi, baselines, goal);
    let wall = format!("{name}, wall");
    compare(&wall, "records/s", |of| pass(of).per_second(), terapi, baselines, |_, figure| figure);
}

/// Terapi's figure alone, then beside that of each baseline. `goal` is asked for each of these lines.
fn compare(
    name: &str,
    unit: &'static str,
    value: impl Fn(&Measured) -> f64,
    terapi: &Measured,
    baselines: &[(Kind, &Measured)],
    goal: impl Fn(Kind, Figure) -> Figure,
) {
    goal(Kind::Terapi, figure(name, value(terapi), unit)).print();
    for (kind, measured) in baselines {
        goal(*kind, figure(name, value(terapi), unit).against(kind.name(), value(measured))).print();
    }
}

/// Where the CPU of the load goes, as far as it can be measured apart.
fn shares(terapi: &Measured) {
    let of_load = |seconds: f64| 100.0 * seconds / terapi.load.cpu;
    let Primitives { digest, hash, zstd, zstd_share } = terapi.primitives;
    figure("load, share of the digests of canonical JSON", of_load(digest), "%").print();
    figure("load, share of BLAKE3, if it were of the text as it is", of_load(hash), "%").print();
    figure("load, share of zstd, level 1", of_load(zstd), "%").print();
    let rest = terapi.load.cpu - digest - zstd;
    figure("load, share of the rest: index, log, copies, upkeep", of_load(rest), "%").print();
    figure("zstd, level 1, blocks of 32 KiB", zstd_share, "of the JSON").print();
}

/// The rate on the large stream as a share of that on the small one.
fn scale(records: u64, large: &Measured) {
    progress(&format!("terapi, {SMALL} records, {SMALL_ROUNDS} times"));
    let rounds: Vec<Measured> = (0..SMALL_ROUNDS).map(|_| measured(Kind::Terapi, SMALL, None, Extent::Rates)).collect();
    rate_at_scale("load", records, large, &rounds, |of| of.load);
    rate_at_scale("unchanged refresh", records, large, &rounds, |of| of.unchanged);
    let peaks: Vec<f64> = rounds.iter().map(|round| mib(round.peak_rss)).collect();
    figure(format!("peak memory, {SMALL} records"), median(&peaks), "MiB").print();
}

fn rate_at_scale(name: &str, records: u64, large: &Measured, small: &[Measured], pass: impl Fn(&Measured) -> Pass) {
    let small: Vec<f64> = small.iter().map(|round| pass(round).per_cpu_second()).collect();
    figure(format!("{name}, {records} records"), pass(large).per_cpu_second(), "records/CPU-s")
        .against(&format!("{SMALL} records"), median(&small))
        .ratio_at_least(0.8)
        .print();
}

/// Peak memory under two settings of the cache.
fn memory(records: u64, default: &Measured) {
    for cache in CACHES {
        progress(&format!("terapi, {records} records, cache of {} MiB", cache >> 20));
        let measured = measured(Kind::Terapi, records, Some(cache), Extent::Rates);
        let name = format!("peak memory, cache of {} MiB", cache >> 20);
        figure(name, mib(measured.peak_rss), "MiB").print();
        for (name, pass, usual) in
            [("load", measured.load, default.load), ("unchanged refresh", measured.unchanged, default.unchanged)]
        {
            let (rate, usual) = (pass.per_cpu_second(), usual.per_cpu_second());
            figure(format!("{name}, cache of {} MiB", cache >> 20), rate, "records/CPU-s")
                .against("default cache", usual)
                .print();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]
fn float(count: u64) -> f64 {
    count as f64
}

fn mib(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

/// Opens a store and says how long that took, in seconds of wall time.
fn time_to_open(dir: &Path) -> f64 {
    let start = std::time::Instant::now();
    let store = Kind::Terapi.open(dir, None);
    let seconds = start.elapsed().as_secs_f64();
    store.close();
    seconds
}
