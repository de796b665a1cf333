//! What one process measures of one engine: passes over the source. For each of them the store is opened before the
//! clock starts, and closed before it stops.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use store_bench::{id, mix, write_issue};
use terapi::store::{Entry, canonical};

use crate::engines::{Kind, Terapi};
use crate::measure::{Watch, disk, peak_rss};

/// Records in a batch, as a page of most APIs.
const BATCH: u64 = 100;
/// Changes that [`changes_since`] asks for.
const CHANGES: u64 = 300;
/// How often.
const ASKED: usize = 3_000;

/// What one pass took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Pass {
    pub(crate) records: u64,
    /// Seconds, all threads of the process, less making the records.
    pub(crate) cpu: f64,
    /// Seconds, less making the records.
    pub(crate) wall: f64,
}

impl Pass {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.records as f64 / self.cpu
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(crate) fn per_second(&self) -> f64 {
        self.records as f64 / self.wall
    }
}

/// What a process measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) json_bytes: u64,
    pub(crate) load: Pass,
    pub(crate) unchanged: Pass,
    pub(crate) feed: Pass,
    pub(crate) changed: Pass,
    /// Bytes on disk after the load, before and after the pass with changes, closed.
    pub(crate) loaded_bytes: u64,
    pub(crate) before_bytes: u64,
    pub(crate) after_bytes: u64,
    pub(crate) peak_rss: u64,
    /// Milliseconds of each answer.
    pub(crate) changes_since: Vec<f64>,
    pub(crate) primitives: Primitives,
}

/// Seconds of CPU for what a load does to its bytes in any case, each alone.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Primitives {
    /// Reading the JSON and hashing its canonical form.
    pub(crate) digest: f64,
    /// BLAKE3 of the text.
    pub(crate) hash: f64,
    pub(crate) zstd: f64,
    /// What zstd leaves of the JSON.
    pub(crate) zstd_share: f64,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Extent {
    /// Load and unchanged refresh.
    Rates,
    /// All passes.
    Passes,
    /// All that is asked of Terapi alone, besides.
    Everything,
}

pub(crate) fn measure(kind: Kind, dir: &Path, records: u64, cache_bytes: Option<u64>, extent: Extent) -> Measured {
    let mut measured = Measured::default();
    let open = || kind.open(dir, cache_bytes);
    (measured.load, measured.json_bytes) = pass(open(), records, records, |_| 0);
    measured.loaded_bytes = disk(dir);
    (measured.unchanged, _) = pass(open(), records, 0, |_| 0);
    if extent != Extent::Rates {
        measured.feed = feed(open(), records);
        measured.before_bytes = disk(dir);
        let expected = (0..records).map(changed).sum();
        (measured.changed, _) = pass(open(), records, expected, changed);
        measured.after_bytes = disk(dir);
    }
    if extent == Extent::Everything {
        measured.changes_since = changes_since(dir, records);
        measured.peak_rss = peak_rss();
        measured.primitives = primitives(records);
    } else {
        measured.peak_rss = peak_rss();
    }
    measured
}

/// The version of a record in the pass with changes: of one in a hundred, the next.
fn changed(number: u64) -> u64 {
    u64::from(mix(number ^ 0xc4a).is_multiple_of(100))
}

/// Fills `batch` with the records from `first` on.
pub(crate) fn make(batch: &mut Vec<Entry>, first: u64, end: u64, version: impl Fn(u64) -> u64) {
    batch.clear();
    for number in first..end.min(first + BATCH) {
        let id = id(number).to_string();
        let mut data = String::with_capacity(2_048);
        write_issue(&mut data, &format!("\"{id}\""), number, version(number));
        batch.push(Entry { id, data });
    }
}

/// One pass over all records, and how many bytes of JSON they are.
fn pass(
    mut engine: Box<dyn crate::engines::Engine>,
    records: u64,
    expected: u64,
    version: impl Fn(u64) -> u64,
) -> (Pass, u64) {
    let (mut batch, mut bytes, mut written) = (Vec::new(), 0, 0);
    let mut watch = Watch::start();
    engine.begin();
    for first in (0..records).step_by(usize::try_from(BATCH).unwrap()) {
        watch.own(|| {
            make(&mut batch, first, records, &version);
            bytes += batch.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        });
        written += engine.save(&batch) as u64;
    }
    engine.end();
    engine.close();
    let (cpu, wall) = watch.read();
    assert_eq!(written, expected, "records written");
    (Pass { records, cpu, wall }, bytes)
}

fn feed(mut engine: Box<dyn crate::engines::Engine>, records: u64) -> Pass {
    let watch = Watch::start();
    let read = engine.feed();
    engine.close();
    let (cpu, wall) = watch.read();
    assert_eq!(read, records, "changes read");
    Pass { records, cpu, wall }
}

/// A refresh of everything with [`CHANGES`] changes in it, then what changed since the cursor from before it, often.
fn changes_since(dir: &Path, records: u64) -> Vec<f64> {
    let (_, before) = Terapi::open(dir, None).read(None);
    let every = (records / CHANGES).max(1);
    let version = |number: u64| {
        if number % every == every / 2 && number / every < CHANGES { 2 } else { changed(number) }
    };
    pass(Box::new(Terapi::open(dir, None)), records, CHANGES.min(records), version);
    let store = Terapi::open(dir, None);
    let asked = (0..ASKED).map(|_| {
        let start = Instant::now();
        let (read, _) = store.read(Some(before.clone()));
        assert_eq!(read, CHANGES.min(records), "changes read");
        start.elapsed().as_secs_f64() * 1_000.0
    });
    asked.collect()
}

/// Does alone, with a sample, what must be done to the bytes of a load.
#[expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]
fn primitives(records: u64) -> Primitives {
    const SAMPLE: u64 = 20_000;
    /// What the store packs at once.
    const BLOCK: usize = 32 << 10;
    let (mut batch, mut entries) = (Vec::new(), Vec::new());
    for first in (0..SAMPLE).step_by(usize::try_from(BATCH).unwrap()) {
        make(&mut batch, first, SAMPLE, |_| 0);
        entries.append(&mut batch);
    }
    let of_all = |watch: &Watch| watch.read().0 * records as f64 / SAMPLE as f64;

    let mut scratch = canonical::Scratch::default();
    let watch = Watch::start();
    for entry in &entries {
        std::hint::black_box(canonical::digest(&entry.data, &[], &mut scratch).unwrap());
    }
    let digest = of_all(&watch);

    let watch = Watch::start();
    for entry in &entries {
        std::hint::black_box(blake3::hash(entry.data.as_bytes()));
    }
    let hash = of_all(&watch);

    let text: Vec<u8> = entries.iter().flat_map(|entry| entry.data.bytes()).collect();
    let (mut compressor, mut packed) = (zstd::bulk::Compressor::new(1).unwrap(), 0);
    let watch = Watch::start();
    for block in text.chunks(BLOCK) {
        packed += compressor.compress(block).unwrap().len();
    }
    Primitives { digest, hash, zstd: of_all(&watch), zstd_share: packed as f64 / text.len() as f64 }
}
