//! Which runs are merged, and the merged view of several.

use std::ops;
use std::sync::Arc;

use super::page::{self, GROUP_PAGES, PAGE_BYTES, Page};
use super::run_file::Run;
use super::{Key, Place, StoreError, corrupt};

/// So many runs of a tier are merged. Each entry is written about once a tier, and a tier is four times the one below.
const TIER_RUNS: usize = 4;
/// Runs of fewer than 4^7 entries are all of the lowest tier: to merge them costs milliseconds.
const LOWEST_TIER: u32 = 6;
/// At most so many at once: each needs a buffer, and the smallest key is found by looking at all.
const MAX_SOURCES: usize = 16;
/// Data pages that are read at once, at most.
const READ_PAGES: usize = 16;

/// Which of the runs of these sizes, oldest first, are to be merged now: neighbors of about the same tier.
///
/// A run that is older than a larger one counts as much as that: it would else keep others apart forever. So tiers
/// descend with age, and there are at most three runs of each when nothing is left to merge. The newest and smallest
/// come first.
pub(super) fn which(sizes: &[u64]) -> Option<ops::Range<usize>> {
    let mut end = sizes.len();
    let mut tier = 0;
    let mut start = end;
    for (index, &size) in sizes.iter().enumerate().rev() {
        let own = (size.max(1).ilog2() / 2).max(LOWEST_TIER);
        if own > tier {
            if end - start >= TIER_RUNS {
                break;
            }
            tier = own;
            end = index + 1;
        }
        start = index;
    }
    (end - start >= TIER_RUNS).then(|| start..end.min(start + MAX_SOURCES))
}

/// Several runs as one: ascending, each key once with its newest place.
pub(in super::super) struct Range {
    /// Newest first.
    cursors: Vec<Cursor>,
    started: bool,
    from: u128,
    to: Option<u128>,
}

impl Range {
    /// Over `runs`, oldest first, from `from` on and before `to`.
    pub(super) fn new(runs: Vec<Arc<Run>>, from: u128, to: Option<u128>) -> Self {
        let cursors = runs.into_iter().rev().map(|run| Cursor::new(run, from, to)).collect();
        Self { cursors, started: false, from, to }
    }

    fn start(&mut self) -> Result<(), StoreError> {
        self.started = true;
        for cursor in &mut self.cursors {
            cursor.turn(cursor.data)?;
            while cursor.key.is_some_and(|key| key < self.from) {
                cursor.advance()?;
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(Key, Place)>, StoreError> {
        if !self.started {
            self.start()?;
        }
        let mut newest: Option<(u128, &Cursor)> = None;
        for cursor in &self.cursors {
            if let Some(key) = cursor.key
                && newest.is_none_or(|(smallest, _)| key < smallest)
            {
                newest = Some((key, cursor));
            }
        }
        let Some((key, cursor)) = newest else { return Ok(None) };
        if self.to.is_some_and(|to| key >= to) {
            return Ok(None);
        }
        let place = cursor.place()?;
        for cursor in &mut self.cursors {
            if cursor.key == Some(key) {
                cursor.advance()?;
            }
        }
        Ok(Some((key.to_be_bytes(), place)))
    }
}

impl Iterator for Range {
    type Item = Result<(Key, Place), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.cursors.clear();
        }
        step
    }
}

/// A place in a run.
struct Cursor {
    run: Arc<Run>,
    /// The key here; none at the end.
    key: Option<u128>,
    /// The data page here.
    data: usize,
    /// Which entry of the page, of how many.
    index: usize,
    count: usize,
    /// Where the data pages of interest end.
    end: usize,
    /// Some data pages, and the number of the first.
    buffer: Vec<u8>,
    buffered: usize,
}

impl Cursor {
    fn new(run: Arc<Run>, from: u128, to: Option<u128>) -> Self {
        let end = to.map_or(run.data_pages(), |to| run.pages_before(to));
        Self { data: run.page_of(from), run, key: None, index: 0, count: 0, end, buffer: Vec::new(), buffered: 0 }
    }

    fn page(&self) -> Option<&Page> {
        self.buffer.as_chunks().0.get(self.data.checked_sub(self.buffered)?)
    }

    /// Goes to the start of a page.
    fn turn(&mut self, data: usize) -> Result<(), StoreError> {
        self.data = data;
        self.index = 0;
        self.count = self.run.count(data);
        self.key = None;
        if data >= self.end {
            self.buffer = Vec::new();
            return Ok(());
        }
        if self.page().is_none() {
            // After the group comes its filter.
            let group_end = (data / GROUP_PAGES + 1) * GROUP_PAGES;
            let pages = READ_PAGES.min(self.end.min(group_end) - data);
            self.buffer.resize(pages * PAGE_BYTES, 0);
            self.buffered = data;
            self.run.read_data(data, &mut self.buffer)?;
        }
        self.read_key();
        Ok(())
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        self.index += 1;
        if self.index >= self.count {
            return self.turn(self.data + 1);
        }
        self.read_key();
        Ok(())
    }

    fn read_key(&mut self) {
        self.key = self.page().and_then(|page| page::keys(page).get(self.index)).map(|key| u128::from_be_bytes(*key));
    }

    fn place(&self) -> Result<Place, StoreError> {
        let place = self.page().and_then(|page| page::places(page).get(self.index)).and_then(Place::decode);
        place.ok_or_else(|| corrupt(format!("{}: an entry has no such action", self.run.path().display())))
    }
}
