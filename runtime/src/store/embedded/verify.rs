//! Is everything as it was written? Reads all of it, and changes nothing.
//!
//! META → MARK → every file of the log, frame by frame, block by block → the index, each entry of it and each of the
//! log → the bytes of scripts.
//!
//! The index is opened as a copy, in the folder for temporary files, since sled writes when it opens; what the log has
//! more than the index is laid over the copy as a start would do. So where the index agrees with the log the next start
//! goes well.

mod agreement;
mod copy;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::copy::IndexCopy;
use super::block::{Block, EntryRef, blocks, parse_stream_name};
use super::commit::Hashes;
use super::frame::{ExtentRef, Payload};
use super::layers::{Index, View};
use super::log::{self, HEADER_BYTES, Position};
use super::mark::{self, Mark};
use super::meta::Meta;
use super::streams::StreamRow;
use super::survey::{Files, Found, Problems, place, refuse_older, walk};
use super::{StoreOptions, keys, replay, take_lock};
use crate::ids::{ScriptHash, StreamKey};
use crate::store::{Script, StoreError};

const MADE_ANEW: &str = "nothing is lost: it is made anew from the log at the next start";

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Files of the log.
    pub files: u64,
    /// Whole frames in them: groups of commits.
    pub frames: u64,
    /// Whole blocks of records in those.
    pub blocks: u64,
    /// Records that exist, each found where the index says.
    pub records: u64,
    /// The size of the log, in bytes.
    pub log_bytes: u64,
    /// What is not as it was written; empty if all is well.
    #[serde(flatten)]
    pub problems: Problems,
}

/// Reads the whole store in `dir` and says what is not as it was written. `progress` is told how many bytes of how many
/// were read. Refused while a process has the store open.
pub fn verify(
    dir: &Path,
    options: &StoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verification, StoreError> {
    let nothing = || std::io::Error::other(format!("there is none in {}", dir.display()));
    if !dir.join("META.json").exists() && !dir.join("log").exists() {
        return Err(StoreError::io("verify a store")(nothing()));
    }
    let _lock = take_lock(dir, options.patience)?;
    let mut found = Verification::default();
    let meta = match Meta::read(dir) {
        Ok(Some(meta)) => refuse_older(&meta).map(|()| Some(meta))?,
        Ok(None) | Err(StoreError::Corrupt { .. }) => {
            let what = "it is missing or not what was written, so the store does not open; the log is looked at, the \
                        index cannot be compared with it";
            found.problems.add("META.json", what);
            None
        }
        Err(error) => return Err(error),
    };
    let mark = check_mark(dir, &mut found.problems)?;
    let files = Files::open(dir, mark.map(|mark| mark.first), mark.map(|mark| mark.position.file))?;
    found.files = files.found.len() as u64;
    found.log_bytes = files.bytes;
    for number in &files.missing {
        found.problems.add(format!("log/{}", log::file_name(*number)), "it is missing, with all that was in it");
    }
    let copy = match &meta {
        Some(meta) => Some((IndexCopy::open(dir, options, &mut found.problems)?, Hashes::new(&meta.secret))),
        None => None,
    };
    let mut check = Check {
        dir,
        found,
        streams: BTreeMap::new(),
        damaged: Vec::new(),
        progress: Progress { tell: progress, done: 0, total: files.bytes * 2 },
    };
    let epoch = meta.map(|meta| meta.epoch);
    let agreeing =
        check.log(&files, mark, epoch, copy.as_ref().map(|(copy, hashes)| (&copy.index, hashes)), options)?;
    if let Some((copy, hashes)) = copy.as_ref().filter(|_| agreeing) {
        check.agreement(&copy.index, hashes, &files)?;
        check.named_scripts(&copy.index)?;
    }
    check.script_files()?;
    let Progress { tell, total, .. } = check.progress;
    tell(total, total);
    Ok(check.found)
}

/// Both slots of the mark must be whole, or never written.
fn check_mark(dir: &Path, problems: &mut Problems) -> Result<Option<Mark>, StoreError> {
    let path = dir.join("MARK");
    let mark = mark::read(&path);
    if mark.is_none() {
        let what = "it is missing or unreadable: whether anything is missing at the begin or the end of the log cannot \
                    be known";
        problems.add("MARK", what);
        return Ok(None);
    }
    let file = File::open(path).map_err(StoreError::io("read its high-water mark"))?;
    for offset in [0, mark::SLOT_BYTES] {
        let mut bytes = [0; 44];
        let written = file.read_at(&mut bytes, offset).is_ok_and(|_| bytes != [0; 44]);
        if written && mark::slot(&file, offset).is_none() {
            problems
                .add(format!("MARK byte {offset}"), "a slot is not what was written; the next start writes it anew");
        }
    }
    Ok(mark)
}

struct Progress<'a> {
    tell: &'a mut dyn FnMut(u64, u64),
    done: u64,
    total: u64,
}

impl Progress<'_> {
    fn at(&mut self, done: u64) {
        (self.tell)(done.min(self.total), self.total);
    }
}

struct Check<'a> {
    dir: &'a Path,
    found: Verification,
    /// Streams by number, as rows and blocks name them.
    streams: BTreeMap<u32, StreamKey>,
    /// Where the log is damaged: file, from, to.
    damaged: Vec<(u32, u64, u64)>,
    progress: Progress<'a>,
}

impl Check<'_> {
    fn stream(&self, number: u32) -> String {
        self.streams.get(&number).map_or_else(|| format!("stream {number}"), ToString::to_string)
    }

    /// Checks the log, and lays over the index what it does not have. Says whether the index is up to date then.
    fn log(
        &mut self,
        files: &Files,
        mark: Option<Mark>,
        epoch: Option<[u8; 8]>,
        index: Option<(&Index, &Hashes)>,
        options: &StoreOptions,
    ) -> Result<bool, StoreError> {
        let standing = index.and_then(|(index, _)| index.catalog.standing().position);
        let mut replay = Replay {
            index,
            checkpoint_bytes: options.limits.checkpoint_bytes,
            standing,
            reached: standing.is_none(),
            whole: files.missing.is_empty(),
            damaged: !files.missing.is_empty(),
        };
        let mut before: Option<(Position, bool)> = None;
        let last = files.found.keys().next_back().copied();
        for (number, file) in &files.found {
            let durable = mark.map(|mark| mark.position).filter(|position| position.file == *number);
            let length = file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
            // In the first file every chain value is right, in another one that of the file before.
            let expected = before.filter(|(end, known)| *known && end.file + 1 == *number).map(|(end, _)| end.chain);
            let (start, known) = match log::start_of(*number, file, epoch.unwrap_or_else(|| epoch_of(file))) {
                Ok(start) => (start, true),
                // Its creation was cut short.
                Err(_) if length <= HEADER_BYTES as u64 && last == Some(*number) && durable.is_none() => continue,
                Err(_) => {
                    self.found.problems.add(place(*number, 0), "the file's header is not what was written");
                    replay.damage(*number, length);
                    let chain = expected.unwrap_or_default();
                    (Position { file: *number, offset: HEADER_BYTES as u64, chain }, expected.is_some())
                }
            };
            if expected.is_some_and(|expected| expected != start.chain) {
                self.found.problems.add(place(*number, 0), "the file does not go on from the one before it");
                replay.damage(*number, 0);
            }
            replay.reached |= standing == Some(start);
            let torn_from = durable.filter(|_| last == Some(*number)).map(|durable| durable.offset);
            let torn_from = torn_from.or_else(|| (mark?.position.file < *number && last == Some(*number)).then_some(0));
            let end = walk(file, (start, known), torn_from, &mut |it| {
                if let Found::Frame { end, .. } = &it {
                    self.progress.at(self.progress.done + end.offset);
                }
                self.piece(*number, &it, &mut replay)
            })?;
            if let Some(durable) = durable.filter(|durable| end.0.offset < durable.offset) {
                let what = format!(
                    "the log ends here, but was durable up to byte {}: {} bytes of commits are missing",
                    durable.offset,
                    durable.offset - end.0.offset
                );
                self.found.problems.add(place(*number, end.0.offset), what);
                replay.damage(*number, durable.offset);
            }
            self.progress.done += length;
            before = Some(end);
        }
        if let Some(standing) = standing.filter(|_| !replay.reached && !replay.damaged) {
            let what = format!(
                "it goes on from byte {} of {}, where no commit ends: it is not the index of this log. Move the folder \
                 `index` away: it is then made anew from the log",
                standing.offset,
                log::file_name(standing.file)
            );
            self.found.problems.add("index", what);
            return Ok(false);
        }
        Ok(index.is_some() && replay.whole)
    }

    fn piece(&mut self, file: u32, found: &Found<'_>, replay: &mut Replay<'_>) -> Result<(), StoreError> {
        match *found {
            Found::Frame { payload, begin, end, follows } => {
                self.found.frames += 1;
                if !follows {
                    let what = "the head of a commit is not what was written, or does not go on from what is before it";
                    self.found.problems.add(place(file, begin.offset - log::FRAME_HEADER_BYTES as u64), what);
                    replay.damage(file, end.offset);
                }
                if let Err(error) = self.frame(begin, payload) {
                    self.found
                        .problems
                        .add(place(file, begin.offset), format!("a commit cannot be taken apart: {error}"));
                }
                replay.frame(payload, begin, end, &mut self.found.problems)
            }
            Found::Damage { from, to } => {
                let what = format!(
                    "{} bytes of a commit are not what was written: besides the records named below, what else was \
                     committed with them is lost (states of syncs, runs, logs)",
                    to - from
                );
                self.found.problems.add(place(file, from), what);
                self.damaged.push((file, from, to));
                replay.damage(file, to);
                Ok(())
            }
            Found::Block { block, .. } => {
                self.found.blocks += 1;
                if let Some(key) = parse_stream_name(block.entries()?.0) {
                    self.streams.entry(block.head.stream).or_insert(key);
                }
                Ok(())
            }
            Found::Lost(lost) => {
                let of = lost.stream.map_or_else(|| "a stream that cannot be told".to_owned(), |it| self.stream(it));
                let records = lost.records.map_or_else(|| "some".to_owned(), |records| format!("up to {records}"));
                let what = format!("{} of {of} cannot be read, with {records} records", blocks_word(lost.blocks));
                self.found.problems.add(place(file, lost.from), what);
                Ok(())
            }
        }
    }

    /// Checks what a whole frame says.
    fn frame(&mut self, begin: Position, payload: &[u8]) -> Result<(), StoreError> {
        let Payload { rows, extents } = Payload::decode(payload)?;
        for (key, value) in &rows {
            if let (Some(stream), Some(value)) = (keys::parse_stream(key), value) {
                let row = StreamRow::decode(value)?;
                for number in [Some(row.number), row.building.map(|(number, _)| number)].into_iter().flatten() {
                    self.named(number, &stream, begin);
                }
            }
        }
        for extent in &extents {
            let mut offset = begin.offset + extent.at as u64;
            let mut next = extent.first;
            for block in blocks(extent.blocks) {
                let block = Block::unpack(block?)?;
                self.block(extent, &block, Position { offset, ..begin }, &mut next)?;
                offset += block.head.length() as u64;
            }
        }
        Ok(())
    }

    fn named(&mut self, number: u32, key: &StreamKey, at: Position) {
        if number == 0 {
            return;
        }
        let known = self.streams.entry(number).or_insert_with(|| key.clone());
        if known != key {
            let what = format!("stream {number} is {known} elsewhere and {key} here");
            self.found.problems.add(place(at.file, at.offset), what);
        }
    }

    fn block(&mut self, extent: &ExtentRef<'_>, block: &Block, at: Position, next: &mut u64) -> Result<(), StoreError> {
        self.found.blocks += 1;
        let (name, entries) = block.entries()?;
        match parse_stream_name(name).filter(|_| block.head.stream == extent.stream) {
            Some(key) => self.named(extent.stream, &key, at),
            None => self.found.problems.add(place(at.file, at.offset), "a block names no stream, or another one"),
        }
        let end = extent.first.saturating_add(u64::from(extent.span));
        for EntryRef { sequence, .. } in entries {
            if sequence < *next || sequence >= end || sequence > block.head.last() {
                let what = format!("in {}, sequence {sequence} is out of order", self.stream(extent.stream));
                self.found.problems.add(place(at.file, at.offset), what);
            }
            *next = sequence + 1;
        }
        Ok(())
    }

    /// The bytes of every version of a script are there.
    fn named_scripts(&mut self, index: &Index) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for (from, to) in [keys::ALL_SCRIPTS, keys::ALL_VERSIONS] {
            rows.extend(index.range(View::Durable, from, to, usize::MAX)?);
        }
        // The active version stands in both.
        let mut seen = BTreeSet::new();
        for (_, value) in rows {
            let Ok(script) = serde_json::from_slice::<Script>(&value) else { continue };
            if seen.insert(script.hash.clone())
                && !self.dir.join("scripts").join(format!("{}.wasm", script.hash)).exists()
            {
                let what = format!("the bytes of script {} are missing: upload it again", script.name);
                self.found.problems.add(format!("scripts/{}.wasm", script.hash), what);
            }
        }
        Ok(())
    }

    fn script_files(&mut self) -> Result<(), StoreError> {
        for path in script_files(self.dir)? {
            let bytes = fs::read(&path).map_err(StoreError::io("read a script"))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if format!("{}.wasm", ScriptHash::of(&bytes)) != name {
                self.found.problems.add(format!("scripts/{name}"), "it is not what was uploaded: upload it again");
            }
        }
        Ok(())
    }
}

fn blocks_word(blocks: u64) -> String {
    if blocks == 1 { "a block".to_owned() } else { format!("{blocks} blocks") }
}

/// The epoch that the header of a file names; for where META does not tell.
pub(super) fn epoch_of(file: &File) -> [u8; 8] {
    let mut epoch = [0; 8];
    // What cannot be read is no epoch, and the header's sum tells.
    let _ = file.read_exact_at(&mut epoch, 16);
    epoch
}

/// The files with bytes of scripts.
pub(super) fn script_files(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let doing = "list its scripts";
    let items = match fs::read_dir(dir.join("scripts")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items.map_err(StoreError::io(doing))?,
    };
    let mut paths = Vec::new();
    for item in items {
        let path = item.map_err(StoreError::io(doing))?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Laying what the index does not have over it.
struct Replay<'a> {
    index: Option<(&'a Index, &'a Hashes)>,
    checkpoint_bytes: usize,
    /// Up to where the index has the log.
    standing: Option<Position>,
    /// A frame ends where the index stands.
    reached: bool,
    /// Nothing was missing so far in what the index does not have.
    whole: bool,
    /// Something was damaged, wherever.
    damaged: bool,
}

impl Replay<'_> {
    /// Something that ends at a place is damaged.
    fn damage(&mut self, file: u32, end: u64) {
        self.damaged = true;
        self.whole &= self.standing.is_some_and(|standing| (file, end) <= standing.place());
    }

    fn frame(
        &mut self,
        payload: &[u8],
        begin: Position,
        end: Position,
        problems: &mut Problems,
    ) -> Result<(), StoreError> {
        self.reached |= self.standing == Some(end);
        let has = self.standing.is_some_and(|standing| end.place() <= standing.place());
        let Some((index, hashes)) = self.index.filter(|_| self.whole && !has) else { return Ok(()) };
        match replay::replay(index, hashes, payload, begin, end) {
            Err(StoreError::Corrupt { what, .. }) => {
                problems.add(place(begin.file, begin.offset), format!("a start cannot lay it over the index: {what}"));
                self.whole = false;
            }
            result => result?,
        }
        if index.waiting_bytes().1 > self.checkpoint_bytes {
            index.checkpoint()?;
        }
        Ok(())
    }
}
