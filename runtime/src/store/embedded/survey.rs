//! Reading a log that may be damaged: what [`super::verify`] and [`super::salvage`] have in common.
//!
//! A file is walked frame by frame. Where one is not whole, what can be read of it is found like this:
//!
//! 1. where it ends says its head, if the chain vouches for that; otherwise it ends where the next whole frame begins;
//! 2. if it has its sum all the same, only its head is damaged;
//! 3. otherwise its rows are lost, and each block in it that has its own sum is good.
//!
//! A place within a whole block is never taken for the begin of a frame: a record's text may look like one.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::block::{BLOCK_HEAD_BYTES, Block, BlockHead, ZSTD_MAGIC};
use super::frame::{ExtentRef, Payload};
use super::log::{self, FRAME_HEADER_BYTES, FrameHead, Position};
use super::meta::{FORMAT, Meta};
use crate::store::StoreError;

/// So many problems are told one by one: more do not help anybody to decide what to do.
const MAX_PROBLEMS: usize = 100;
/// What is read at once of a file of which some places cannot be read: a page, so that little is lost beside them.
const READ_BYTES: usize = 4 << 10;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// File and byte.
    pub place: String,
    /// What is wrong, and what it means for whom.
    pub what: String,
}

/// The first problems that were found, and how many more there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// At most a hundred.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more_problems: u64,
}

impl Problems {
    pub(super) fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { place: place.into(), what: what.into() });
        } else {
            self.more_problems += 1;
        }
    }

    /// How many there are in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.problems.len() as u64 + self.more_problems
    }
}

/// File and byte, for people.
pub(super) fn place(file: u32, offset: u64) -> String {
    format!("log/{} byte {offset}", log::file_name(file))
}

/// What stands in a file of the log, in order.
pub(super) enum Found<'a> {
    /// A whole frame. `follows` unless it is known not to go on from what stands before it.
    Frame { payload: &'a [u8], begin: Position, end: Position, follows: bool },
    /// From where to where there is no whole frame. What can be read of it, and what cannot, comes next.
    Damage { from: u64, to: u64 },
    /// A whole block in there.
    Block { offset: u64, block: &'a Block },
    /// Blocks in there that cannot be read.
    Lost(Lost),
}

/// Blocks that cannot be read, next to each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    pub(super) from: u64,
    /// How many, as far as that can be told.
    pub(super) blocks: u64,
    /// Of which stream, as far as that can be told.
    pub(super) stream: Option<u32>,
    /// At most so many records, if that can be told.
    pub(super) records: Option<u64>,
}

/// Walks a file from `start` on and hands what it finds to `visit`. `known` says whether the chain value at the start
/// is known. What is not whole behind `torn_from` is left alone: it is what a crash tore off. Returns the end of what
/// was walked, and whether the chain value there is known.
pub(super) fn walk(
    file: &File,
    (start, known): (Position, bool),
    torn_from: Option<u64>,
    visit: &mut dyn FnMut(Found<'_>) -> Result<(), StoreError>,
) -> Result<(Position, bool), StoreError> {
    let length = file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
    let mut walk = Walk { file, length, position: start, known, rest: None };
    let mut payload = Vec::new();
    loop {
        // A place that the disk cannot read is damage like any other.
        while let Ok(Some((begin, end))) = log::read_frame(file, walk.position, length, &mut payload) {
            visit(Found::Frame { payload: &payload, begin, end, follows: true })?;
            (walk.position, walk.known) = (end, true);
        }
        let from = walk.position.offset;
        if from >= length || torn_from.is_some_and(|torn| from >= torn) {
            return Ok((walk.position, walk.known));
        }
        walk.damage(visit)?;
    }
}

struct Walk<'a> {
    file: &'a File,
    length: u64,
    position: Position,
    known: bool,
    /// The file from some byte on, in memory, once a frame's end had to be searched: searching goes over it only once.
    rest: Option<(u64, Vec<u8>)>,
}

impl Walk<'_> {
    /// Goes behind a frame that is not whole.
    fn damage(&mut self, visit: &mut dyn FnMut(Found<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let Position { offset: from, chain: before, .. } = self.position;
        let begin = from + FRAME_HEADER_BYTES as u64;
        let head = FrameHead::decode(&read(self.file, from, FRAME_HEADER_BYTES as u64));
        let vouched = |head: &FrameHead| {
            begin + u64::from(head.length) <= self.length && log::chain(before, head.length, head.sum) == head.chain
        };
        if let Some(head) = head.filter(|head| self.known && vouched(head)) {
            let to = begin + u64::from(head.length);
            visit(Found::Damage { from, to })?;
            pieces(&read(self.file, begin, to - begin), begin, visit)?;
            self.position = Position { offset: to, chain: head.chain, ..self.position };
            return Ok(());
        }
        let (start, bytes) = self.rest.get_or_insert_with(|| (from, read(self.file, from, self.length - from)));
        let bytes = usize::try_from(from - *start).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let next = next_frame(bytes);
        let (frame, rest) = bytes.split_at_checked(next).unwrap_or((bytes, &[]));
        let to = from + frame.len() as u64;
        let (head, payload) = frame.split_at_checked(FRAME_HEADER_BYTES).unwrap_or((frame, &[]));
        let sum = log::sum(payload);
        if !payload.is_empty() && head.get(8..16) == Some(&sum) {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            let computed = log::chain(before, length, sum);
            let written = head.last_chunk::<8>().copied().unwrap_or_default();
            // Which of the two the next frame goes on from tells which is right.
            let next = FrameHead::decode(rest);
            let chain = match next.filter(|next| log::chain(written, next.length, next.sum) == next.chain) {
                None if self.known => computed,
                _ => written,
            };
            let begin = Position { offset: begin, ..self.position };
            let end = Position { offset: to, chain, ..self.position };
            visit(Found::Frame { payload, begin, end, follows: !self.known })?;
            (self.position, self.known) = (end, true);
            return Ok(());
        }
        visit(Found::Damage { from, to })?;
        pieces(payload, begin, visit)?;
        self.position.offset = to;
        self.known = false;
        Ok(())
    }
}

/// Where the next frame begins that has its sum, behind the first byte; where there is none the end.
fn next_frame(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let payload = |head: &FrameHead| rest.get(FRAME_HEADER_BYTES..)?.get(..head.length as usize);
        if let Some(head) = FrameHead::decode(rest)
            && payload(&head).is_some_and(|payload| log::sum(payload) == head.sum)
        {
            return at;
        }
        at += whole_block(rest).map_or(1, |block| block.head.length());
    }
    bytes.len()
}

/// Finds the blocks in the payload of a frame that is not whole.
fn pieces(
    payload: &[u8],
    base: u64,
    visit: &mut dyn FnMut(Found<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    // Mostly a bit flipped in a block, and the frame can be taken apart as ever; otherwise it does not end where it
    // should.
    if let Ok(whole) = Payload::decode(payload)
        && whole.extents.last().is_some_and(|last| last.at + last.blocks.len() == payload.len())
    {
        return whole.extents.iter().try_for_each(|it| blocks(it.blocks, base + it.at as u64, Some(it), visit));
    }
    blocks(payload, base, None, visit)
}

/// Finds blocks, where there is nothing else but those of one extent, or anywhere.
fn blocks(
    bytes: &[u8],
    base: u64,
    extent: Option<&ExtentRef<'_>>,
    visit: &mut dyn FnMut(Found<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (mut at, mut gap) = (0, Gap::default());
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(block) = whole_block(rest) {
            gap.end(base, extent).map_or(Ok(()), |lost| visit(Found::Lost(lost)))?;
            visit(Found::Block { offset: base + at as u64, block: &block })?;
            at += block.head.length();
            gap = Gap { from: at, ..Gap::default() };
        } else {
            gap.look(rest, at, extent);
            at += 1;
        }
    }
    gap.to = bytes.len();
    gap.end(base, extent).map_or(Ok(()), |lost| visit(Found::Lost(lost)))
}

/// Bytes between whole blocks.
#[derive(Default)]
struct Gap {
    from: usize,
    to: usize,
    /// Places that look like a block.
    blocks: u64,
    stream: Option<u32>,
    records: Option<u64>,
}

impl Gap {
    /// One byte more, with which `rest` begins.
    fn look(&mut self, rest: &[u8], at: usize, extent: Option<&ExtentRef<'_>>) {
        self.to = at + 1;
        let looks_like_one = is_packed(rest);
        // Where there are only blocks one begins at the start, also if it does not look like it any more.
        if !looks_like_one && (extent.is_none() || at > self.from) {
            return;
        }
        if self.blocks == 0 {
            self.from = if extent.is_some() { self.from } else { at };
        }
        self.blocks += u64::from(looks_like_one);
        let Ok(head) = BlockHead::decode(rest) else { return };
        match extent {
            Some(extent) if head.stream != extent.stream || head.first < extent.first || head.span > extent.span => {}
            _ => {
                self.stream = self.stream.or(Some(head.stream));
                self.records = Some(self.records.unwrap_or(0) + u64::from(head.span));
            }
        }
    }

    fn end(&self, base: u64, extent: Option<&ExtentRef<'_>>) -> Option<Lost> {
        let blocks = self.blocks.max(u64::from(extent.is_some() && self.to > self.from));
        let stream = extent.map(|extent| extent.stream).or(self.stream);
        (blocks > 0).then_some(Lost { from: base + self.from as u64, blocks, stream, records: self.records })
    }
}

fn is_packed(bytes: &[u8]) -> bool {
    bytes.get(BLOCK_HEAD_BYTES..).is_some_and(|packed| packed.starts_with(&ZSTD_MAGIC))
}

/// The block with which `bytes` begin.
fn whole_block(bytes: &[u8]) -> Option<Block> {
    let block = Some(bytes).filter(|bytes| is_packed(bytes)).and_then(|bytes| Block::decode(bytes).ok())?;
    block.entries().is_ok().then_some(block)
}

/// Reads a part of a file; what the disk does not give is zeros.
fn read(file: &File, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    if file.read_exact_at(&mut bytes, offset).is_err() {
        for (at, piece) in bytes.chunks_mut(READ_BYTES).enumerate() {
            if file.read_exact_at(piece, offset + (at * READ_BYTES) as u64).is_err() {
                piece.fill(0);
            }
        }
    }
    bytes
}

/// The files of a log that there should be, each with its number, from `first` on.
pub(super) struct Files {
    pub(super) found: BTreeMap<u32, Arc<File>>,
    /// What is missing among them, or after them.
    pub(super) missing: Vec<u32>,
    pub(super) bytes: u64,
}

impl Files {
    /// Opens them to read. `first` and `last` are known where the high-water mark is.
    pub(super) fn open(dir: &Path, first: Option<u32>, last: Option<u32>) -> Result<Self, StoreError> {
        let mut found = match log::list(&dir.join("log"), false) {
            Err(StoreError::Storage { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            result => result?,
        };
        // What a reclaim that was cut short left over: everything live in them stands further on.
        found.retain(|number, _| first.is_none_or(|first| *number >= first));
        let first = first.or_else(|| found.keys().next().copied()).unwrap_or(1);
        let last = last.max(found.keys().next_back().copied()).unwrap_or(first);
        // A wild number must not be counted up to.
        let missing = (first..=last).filter(|number| !found.contains_key(number)).take(MAX_PROBLEMS).collect();
        let mut bytes = 0;
        for file in found.values() {
            bytes += file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
        }
        Ok(Self { found, missing, bytes })
    }
}

/// Refuses a store of an older format, which none of the tools reads.
pub(super) fn refuse_older(meta: &Meta) -> Result<(), StoreError> {
    if meta.format == FORMAT {
        return Ok(());
    }
    Err(StoreError::Storage {
        doing: "use a tool on a store of an older format",
        source: std::io::Error::other("start Terapi with it once, which brings it to the present one"),
    })
}
