//! Everything that can be read of a damaged store, written anew as a store that is whole.
//!
//! 1. The log is walked from begin to end ([`super::survey`]). Of what is found only places are kept: for each record
//!    where its highest sequence is, for each row in which frame it stands last. Rows of streams and heads are few.
//! 2. Streams are put together: their rows as found, one made anew from the name in its blocks where it was lost; heads
//!    counted from what there is.
//! 3. A new log is written ([`anew`]): streams and heads, records by stream in the order of their sequences, all other
//!    rows. A start makes the index from it.
//!
//! The history is another one then: cursors of the old one are refused. Memory: about 50 bytes a record and a row.

mod anew;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde::Serialize;

use self::anew::Out;
use super::StoreOptions;
use super::backup::{NewStore, lock_to_read};
use super::block::{Block, blocks, damaged, parse_stream_name};
use super::commit::Head;
use super::frame::Payload;
use super::keys;
use super::log::{self, HEADER_BYTES, Log, Position};
use super::mark::{self, Mark};
use super::meta::Meta;
use super::retention::Horizons;
use super::streams::StreamRow;
use super::survey::{Files, Found, Lost, Problems, place, refuse_older, walk};
use super::verify::{epoch_of, script_files};
use crate::ids::StreamKey;
use crate::store::{Action, StoreError};

/// What was rescued and what was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// Records that exist in the new store.
    pub records: u64,
    /// Its streams.
    pub streams: u64,
    /// Its runs.
    pub runs: u64,
    /// Its scripts' bytes.
    pub scripts: u64,
    /// Blocks of records that could not be read, as far as they can be told.
    pub lost_blocks: u64,
    /// Bytes of the log that could not be read.
    pub lost_bytes: u64,
    /// Streams of which something was lost, as far as that can be told. Their records may be missing, or be older
    /// versions.
    pub affected: Vec<StreamKey>,
    /// Something was lost of which it cannot be told what it was: any stream may be affected.
    pub unattributed: bool,
    /// What was not as it was written.
    #[serde(flatten)]
    pub problems: Problems,
}

/// Writes everything that is readable in `from` to a new store in `to`, which must not exist or be empty. `progress` is
/// told how many bytes of how many were read. Refused while a process has `from` open.
pub fn salvage(
    from: &Path,
    to: &Path,
    options: &StoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Salvaged, StoreError> {
    let nothing = || std::io::Error::other(format!("there is none in {}", from.display()));
    if !from.join("log").exists() {
        return Err(StoreError::io("salvage a store")(nothing()));
    }
    let _from = lock_to_read(from, options.patience)?;
    let mut problems = Problems::default();
    let old = match Meta::read(from) {
        Ok(Some(meta)) => refuse_older(&meta).map(|()| Some(meta))?,
        Ok(None) | Err(StoreError::Corrupt { .. }) => {
            let what = "it is missing or not what was written. The new store has another secret: a record that comes \
                        again with the same content in another spelling counts as changed once";
            problems.add("META.json", what);
            None
        }
        Err(error) => return Err(error),
    };
    let mark = mark::read(&from.join("MARK"));
    if mark.is_none() {
        problems.add(
            "MARK",
            "it is missing or unreadable: what is missing at the begin or the end of the log cannot be told",
        );
    }
    let files = Files::open(from, mark.map(|mark| mark.first), mark.map(|mark| mark.position.file))?;
    for number in &files.missing {
        problems.add(format!("log/{}", log::file_name(*number)), "it is missing, with all that was in it");
    }
    let target = NewStore::begin(to)?;
    let meta = Meta::new(old.as_ref().map(|meta| meta.secret));
    let source = Source { files: &files, mark, epoch: old.map(|meta| meta.epoch) };
    let mut progress = |pass: u64, done: u64| progress(pass * files.bytes + done, files.bytes * 3);

    let unattributed = !files.missing.is_empty();
    let report = Salvaged { unattributed, problems, ..Salvaged::default() };
    let mut survivors = Survivors { report, ..Survivors::default() };
    source.walk(&mut |file, found, done| {
        progress(0, done);
        survivors.take(file, &found)
    })?;
    survivors.missing(&source)?;
    let generations = survivors.settle();

    let log = Log::open(&to.join("log"), meta.epoch, options.limits.roll_bytes, None, None, |_, _, _| Ok(()))?;
    let mut out = Out::new(&log);
    survivors.write_streams(&mut out, &generations)?;
    let mut read = 0;
    for (number, generation) in generations {
        survivors.write_records(&mut out, &files, number, generation, &mut |bytes| {
            read += bytes;
            progress(1, read.min(files.bytes));
        })?;
    }
    survivors.write_rows(&mut out, &source, &mut |done| progress(2, done))?;
    survivors.copy_scripts(from, &target)?;
    log.sync();
    target.finish(&meta, Mark { first: log.first(), position: log.end() })?;
    progress(3, 0);
    Ok(survivors.report)
}

/// The log that is salvaged.
struct Source<'a> {
    files: &'a Files,
    mark: Option<Mark>,
    epoch: Option<[u8; 8]>,
}

impl Source<'_> {
    /// Hands everything that is in it to `visit`, with its file and how many bytes of the log came before it. Twice it
    /// is the same.
    fn walk(&self, visit: &mut dyn FnMut(u32, Found<'_>, u64) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut done = 0;
        let end = self.files.found.keys().next_back().copied();
        for (number, file) in &self.files.found {
            let length = file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
            let (start, known) = match log::start_of(*number, file, epoch_of(file)) {
                // Whole, and of another store.
                Ok(_) if self.epoch.is_some_and(|epoch| epoch != epoch_of(file)) => {
                    visit(*number, Found::Damage { from: 0, to: length }, done)?;
                    continue;
                }
                Ok(start) => (start, true),
                // Frames tell of themselves where they begin, and that they are whole.
                Err(_) => (Position { file: *number, offset: HEADER_BYTES as u64, chain: [0; 8] }, false),
            };
            let durable = self.mark.map(|mark| mark.position).filter(|durable| durable.file <= *number);
            let torn_from = durable.filter(|_| end == Some(*number));
            let torn_from = torn_from.map(|durable| if durable.file == *number { durable.offset } else { 0 });
            walk(file, (start, known), torn_from, &mut |found| {
                let at = match &found {
                    Found::Frame { end, .. } => end.offset,
                    Found::Damage { from, .. } => *from,
                    Found::Block { offset, .. } => *offset,
                    Found::Lost(lost) => lost.from,
                };
                visit(*number, found, done + at)
            })?;
            done += length;
        }
        Ok(())
    }
}

/// Where a block is.
#[derive(Clone, Copy)]
struct BlockPlace {
    file: u32,
    offset: u64,
    length: usize,
}

/// Where a record's last change is.
#[derive(Clone, Copy)]
struct Newest {
    sequence: u64,
    /// Which of the blocks.
    block: u32,
    live: bool,
}

/// The records of one number of a stream.
struct Generation {
    key: StreamKey,
    /// By record number.
    newest: HashMap<u32, Newest>,
}

#[derive(Default)]
struct Survivors {
    report: Salvaged,
    /// In which frame, by file and byte, a row stands last.
    rows: BTreeMap<Vec<u8>, (u32, u64)>,
    streams: BTreeMap<StreamKey, StreamRow>,
    heads: BTreeMap<u32, Head>,
    horizons: BTreeMap<u32, Horizons>,
    /// Generations that are known to be gone.
    gone: BTreeSet<u32>,
    /// The greatest number of a stream.
    last_number: u32,
    generations: BTreeMap<u32, Generation>,
    blocks: Vec<BlockPlace>,
    /// Streams of which blocks were lost.
    affected: BTreeSet<u32>,
}

impl Survivors {
    fn take(&mut self, file: u32, found: &Found<'_>) -> Result<(), StoreError> {
        match *found {
            Found::Frame { payload, begin, .. } => match Payload::decode(payload) {
                Ok(whole) => self.frame(whole, begin)?,
                Err(_) => self.damage(file, begin.offset, payload.len() as u64),
            },
            Found::Damage { from, to } => self.damage(file, from, to - from),
            Found::Block { offset, block } => {
                let length = block.head.length();
                self.report.lost_bytes = self.report.lost_bytes.saturating_sub(length as u64);
                self.block(BlockPlace { file, offset, length }, block)?;
            }
            Found::Lost(Lost { from, blocks, stream, records }) => {
                self.report.lost_blocks += blocks;
                self.affected.extend(stream);
                self.report.unattributed |= stream.is_none();
                let of = match stream {
                    None => "a stream that cannot be told".to_owned(),
                    Some(number) => self.name(number),
                };
                let records = records.map_or_else(|| "some".to_owned(), |records| format!("up to {records}"));
                let what = format!("{blocks} of the blocks of {of} cannot be read, with {records} records");
                self.report.problems.add(place(file, from), what);
            }
        }
        Ok(())
    }

    fn name(&self, number: u32) -> String {
        let named = self.generations.get(&number).map(|generation| &generation.key);
        let has = |row: &StreamRow| row.number == number || row.building.as_ref().is_some_and(|(it, _)| *it == number);
        let named = named.or_else(|| self.streams.iter().find(|(_, row)| has(row)).map(|(key, _)| key));
        named.map_or_else(|| format!("stream {number}"), ToString::to_string)
    }

    fn damage(&mut self, file: u32, from: u64, bytes: u64) {
        self.report.lost_bytes += bytes;
        let what = format!(
            "{bytes} bytes are not what was written; blocks of records in them are rescued one by one, states of syncs, \
             runs and logs that were committed here are as they were before"
        );
        self.report.problems.add(place(file, from), what);
    }

    fn frame(&mut self, payload: Payload<'_>, begin: Position) -> Result<(), StoreError> {
        for (key, value) in payload.rows {
            let number = keys::number(&key).unwrap_or_default();
            match (key.first(), value) {
                (Some(b'S'), Some(value)) => {
                    let Some(stream) = keys::parse_stream(&key) else { continue };
                    let row = StreamRow::decode(&value)?;
                    let building = row.building.as_ref().map_or(0, |(number, _)| *number);
                    self.last_number = self.last_number.max(row.number).max(building);
                    self.streams.insert(stream, row);
                }
                (Some(b'S'), None) => drop(keys::parse_stream(&key).map(|stream| self.streams.remove(&stream))),
                (Some(b'h'), Some(value)) => drop(self.heads.insert(number, Head::decode(&value)?)),
                (Some(b'h'), None) => drop(self.heads.remove(&number)),
                (Some(b'x'), Some(value)) => drop(self.horizons.insert(number, Horizons::decode(&value)?)),
                (Some(b'x'), None) => drop(self.horizons.remove(&number)),
                (Some(b'd'), _) => drop(self.gone.insert(number)),
                (Some(b'c'), Some(value)) if key == keys::STREAM_COUNTER => {
                    self.last_number = self.last_number.max(value.try_into().map_or(0, u32::from_be_bytes));
                }
                (_, Some(_)) => drop(self.rows.insert(key, (begin.file, begin.offset))),
                (_, None) => drop(self.rows.remove(&key)),
            }
        }
        for extent in payload.extents {
            let mut offset = begin.offset + extent.at as u64;
            for found in blocks(extent.blocks) {
                // Damaged in memory before it was written: then the frame's sum is right all the same.
                let Ok(block) = found.and_then(Block::unpack) else {
                    let (from, stream) = (offset, Some(extent.stream));
                    let lost = Lost { from, blocks: 1, stream, records: Some(u64::from(extent.span)) };
                    self.take(begin.file, &Found::Lost(lost))?;
                    break;
                };
                let length = block.head.length();
                self.block(BlockPlace { file: begin.file, offset, length }, &block)?;
                offset += length as u64;
            }
        }
        Ok(())
    }

    fn block(&mut self, place: BlockPlace, block: &Block) -> Result<(), StoreError> {
        let index = u32::try_from(self.blocks.len()).map_err(|_| damaged())?;
        self.blocks.push(place);
        let (name, entries) = block.entries()?;
        let key = parse_stream_name(name).ok_or_else(damaged)?;
        let number = block.head.stream;
        self.last_number = self.last_number.max(number);
        let generation = self.generations.entry(number).or_insert_with(|| Generation { key, newest: HashMap::new() });
        for entry in entries {
            let new = Newest { sequence: entry.sequence, block: index, live: entry.action != Action::Deleted };
            let newest = generation.newest.entry(entry.number).or_insert(new);
            // The same sequence again is one that a reclaim moved.
            if newest.sequence < new.sequence {
                *newest = new;
            }
        }
        Ok(())
    }

    /// Notes what the log should have beyond its end.
    fn missing(&mut self, source: &Source<'_>) -> Result<(), StoreError> {
        let Some(durable) = source.mark.map(|mark| mark.position) else { return Ok(()) };
        let Some(file) = source.files.found.get(&durable.file) else { return Ok(()) };
        let length = file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
        if length < durable.offset {
            let bytes = durable.offset - length;
            self.report.lost_bytes += bytes;
            self.report.unattributed = true;
            let what = format!("the log ends here, {bytes} bytes before where it was durable");
            self.report.problems.add(place(durable.file, length), what);
        }
        Ok(())
    }

    /// Decides which generations there are, and counts them.
    fn settle(&mut self) -> BTreeMap<u32, Generation> {
        let mut found = std::mem::take(&mut self.generations);
        // The newest first: of several that nobody names it is the one to keep.
        for (number, generation) in found.iter().rev() {
            if self.gone.contains(number) {
                continue;
            }
            let Some(row) = self.streams.get(&generation.key) else {
                let what = format!("what the store knew of {} is lost; made anew from its records", generation.key);
                self.report.problems.add("log", what);
                self.affected.insert(*number);
                self.streams.insert(generation.key.clone(), StreamRow { number: *number, building: None });
                continue;
            };
            let named = row.building.as_ref().map_or(row.number, |(building, _)| row.number.max(*building));
            if *number > named {
                let what = format!(
                    "{} records that were being fetched anew into {} are left out: nothing says that they were \
                     complete",
                    generation.newest.len(),
                    generation.key
                );
                self.report.problems.add("log", what);
                self.affected.insert(*number);
            }
        }
        let mut generations = BTreeMap::new();
        let mut affected = BTreeSet::new();
        for (key, row) in &self.streams {
            for number in [row.number, row.building.as_ref().map_or(0, |(number, _)| *number)] {
                if number == 0 {
                    continue;
                }
                let generation =
                    found.remove(&number).unwrap_or_else(|| Generation { key: key.clone(), newest: HashMap::new() });
                let head = self.heads.entry(number).or_default();
                let before = *head;
                head.live = 0;
                for (record, newest) in &generation.newest {
                    head.live += u64::from(newest.live);
                    head.last = head.last.max(newest.sequence);
                    head.next_number = head.next_number.max(record.saturating_add(1));
                }
                if before.live > head.live {
                    let missing = before.live - head.live;
                    let what = format!("{missing} of the {} records of {key} are missing", before.live);
                    self.report.problems.add("log", what);
                    affected.insert(key.clone());
                }
                if self.affected.contains(&number) {
                    affected.insert(key.clone());
                }
                if number == row.number {
                    self.report.records += head.live;
                }
                generations.insert(number, generation);
            }
        }
        // What was left out is told above.
        affected
            .extend(found.iter().filter(|(number, _)| self.affected.contains(number)).map(|(_, it)| it.key.clone()));
        self.report.streams = self.streams.len() as u64;
        self.report.affected = affected.into_iter().collect();
        generations
    }

    fn copy_scripts(&mut self, from: &Path, target: &NewStore<'_>) -> Result<(), StoreError> {
        for path in script_files(from)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match target.put_script(&path) {
                Ok(Some(true)) => self.report.scripts += 1,
                Ok(None) => {}
                // The copy is what cannot be written.
                Err(error) if fs::read(&path).is_ok() => return Err(error),
                Ok(Some(false)) | Err(_) => {
                    let what = "the bytes of a script are not what was uploaded: upload it again";
                    self.report.problems.add(format!("scripts/{name}"), what);
                }
            }
        }
        Ok(())
    }
}
