//! A run: an immutable file of ascending entries.
//!
//! ```text
//! file   = group* fences end
//! group  = data page × 32 (the last group's may be fewer), filter page        pages are 4096 bytes, see `page`
//! fences = first key:[16] of each data page
//! end    = "TERAPLAC" version:u32 data pages:u32 run:u64 entries:u64 last key:[16] checksum:[16]       64 bytes
//! ```
//!
//! The checksum of the end is blake3 over fences and end. All data pages but the last are full, so the number of
//! entries gives the place of everything and the exact length of the file. Integers are little-endian but for keys.
//!
//! Opening checks length, end and fences, which then stay in memory. A page is checked whenever it is read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::cache::{Cache, DATA_CREDIT, FILTER_CREDIT, Slot};
use super::page::{self, GROUP_PAGES, Identity, PAGE_BYTES, PAGE_ENTRIES, Page};
use super::{KEY_BYTES, Place, corrupt};
use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"TERAPLAC";
const VERSION: u32 = 1;
const END_BYTES: usize = 64;
const READING: &str = "read the index of records";
/// Of one run no more is said: it is lost as a whole.
const MAX_PROBLEMS: usize = 100;

/// A run. Drops its file handle, never its file.
pub(super) struct Run {
    number: u64,
    path: PathBuf,
    file: File,
    entries: u64,
    last: u128,
    /// The first key of each data page.
    fences: Box<[u128]>,
    /// The first key of each group: every 32nd of the fences, close together for the search.
    groups: Box<[u128]>,
    /// For the cache, by page number.
    slots: Box<[Slot]>,
}

/// The end of a file but for its checksum.
pub(super) struct End {
    pub(super) number: u64,
    pub(super) entries: u64,
    pub(super) last: u128,
}

impl End {
    fn data_pages(&self) -> u64 {
        self.entries.div_ceil(PAGE_ENTRIES as u64)
    }

    /// Of the file. A wild number of entries gives a length that no file has.
    fn length(&self) -> u64 {
        let pages = self.data_pages() + self.data_pages().div_ceil(GROUP_PAGES as u64);
        let fences = self.data_pages() * KEY_BYTES as u64;
        pages.saturating_mul(PAGE_BYTES as u64).saturating_add(fences).saturating_add(END_BYTES as u64)
    }

    /// With the checksum over it and the encoded fences.
    pub(super) fn encode(&self, fences: &[u8]) -> [u8; END_BYTES] {
        let mut end = [0; END_BYTES];
        end[..8].copy_from_slice(MAGIC);
        end[8..12].copy_from_slice(&VERSION.to_le_bytes());
        // The writer stops before there are more.
        end[12..16].copy_from_slice(&u32::try_from(self.data_pages()).unwrap_or(u32::MAX).to_le_bytes());
        end[16..24].copy_from_slice(&self.number.to_le_bytes());
        end[24..32].copy_from_slice(&self.entries.to_le_bytes());
        end[32..48].copy_from_slice(&self.last.to_be_bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(fences).update(&end[..48]);
        end[48..].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        end
    }
}

impl Run {
    /// Opens a run and checks length, end and fences. A file that is missing is damage too.
    pub(super) fn open(path: &Path, number: u64) -> Result<Self, StoreError> {
        let wrong = |what: &str| corrupt(format!("{}: {what}", path.display()));
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(wrong("the file is missing")),
            file => file.map_err(StoreError::io("open a file of the index of records"))?,
        };
        let length = file.metadata().map_err(StoreError::io(READING))?.len();
        let short = "the file is too short: its end is missing";
        let end_at = length.checked_sub(END_BYTES as u64).ok_or_else(|| wrong(short))?;
        let mut stored = [0; END_BYTES];
        file.read_exact_at(&mut stored, end_at).map_err(StoreError::io(READING))?;
        if stored[..8] != *MAGIC {
            return Err(wrong("its end is not that of a run: the file is torn or something else"));
        }
        if stored[8..12] != VERSION.to_le_bytes() {
            return Err(wrong("its version is not known to this Terapi"));
        }
        let [_, _, _, entries, last, last_low, _, _] = *stored.as_chunks::<8>().0 else { return Err(wrong(short)) };
        let last = u128::from(u64::from_be_bytes(last)) << 64 | u128::from(u64::from_be_bytes(last_low));
        let end = End { number, entries: u64::from_le_bytes(entries), last };
        if end.entries == 0 || end.entries > length || end.length() != length {
            return Err(wrong("its length is not the one that its end names: the file is torn"));
        }
        let fences_length = end.data_pages() * KEY_BYTES as u64;
        let mut fences = vec![0; usize::try_from(fences_length).map_err(|_| wrong("it is too large"))?];
        file.read_exact_at(&mut fences, end_at - fences_length).map_err(StoreError::io(READING))?;
        if end.encode(&fences) != stored {
            return Err(wrong("the checksum over its end and fences is wrong, or it is another run"));
        }
        let fences = fences.as_chunks().0.iter().map(|key| u128::from_be_bytes(*key)).collect();
        Ok(Self::assemble(path.to_owned(), file, &end, fences))
    }

    /// A run whose file is complete.
    pub(super) fn assemble(path: PathBuf, file: File, end: &End, fences: Vec<u128>) -> Self {
        let groups: Box<[u128]> = fences.iter().step_by(GROUP_PAGES).copied().collect();
        let slots = (0..fences.len() + groups.len()).map(|_| Slot::default()).collect();
        let End { number, entries, last } = *end;
        Self { number, path, file, entries, last, fences: fences.into(), groups, slots }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// The length of the file.
    pub(super) fn bytes(&self) -> u64 {
        End { number: self.number, entries: self.entries, last: self.last }.length()
    }

    /// How many data pages there are.
    pub(super) fn data_pages(&self) -> usize {
        self.fences.len()
    }

    /// The last data page that does not start after the key, or the first.
    pub(super) fn page_of(&self, key: u128) -> usize {
        self.fences.partition_point(|fence| *fence <= key).saturating_sub(1)
    }

    /// How many data pages start before the key.
    pub(super) fn pages_before(&self, key: u128) -> usize {
        self.fences.partition_point(|fence| *fence < key)
    }

    /// The place of a key in this run.
    pub(super) fn get(&self, cache: &Cache, key: u128) -> Result<Option<Place>, StoreError> {
        if key > self.last {
            return Ok(None);
        }
        let Some(group) = self.groups.partition_point(|fence| *fence <= key).checked_sub(1) else { return Ok(None) };
        let filter = self.filter_identity(group);
        if !self.read(cache, &filter, FILTER_CREDIT, |page| page::filter_passes(page, key))? {
            return Ok(None);
        }
        let from = group * GROUP_PAGES;
        let fences = self.fences.get(from..self.fences.len().min(from + GROUP_PAGES)).unwrap_or_default();
        let data = from + fences.partition_point(|fence| *fence <= key).saturating_sub(1);
        let identity = self.data_identity(data);
        let high = self.fences.get(data + 1).copied().unwrap_or(self.last);
        let found = |page: &Page| page::find(page, identity.count, key, identity.first, high).map(Place::decode);
        match self.read(cache, &identity, DATA_CREDIT, found)? {
            None => Ok(None),
            Some(Some(place)) => Ok(Some(place)),
            Some(None) => Err(self.wrong(identity.page, "an entry of it has no such action")),
        }
    }

    /// Reads a page from the cache, or else from disk into it.
    fn read<T>(
        &self,
        cache: &Cache,
        identity: &Identity,
        credit: u8,
        read: impl Fn(&Page) -> T,
    ) -> Result<T, StoreError> {
        let owner = (self.number, identity.page);
        let slot = self.slots.get(identity.page as usize);
        if let Some(value) = slot.and_then(|slot| cache.read(slot, owner, credit, &read)) {
            return Ok(value);
        }
        let mut page = [0; PAGE_BYTES];
        self.read_pages(identity.page, &mut page)?;
        identity.check(&mut page).map_err(|what| self.wrong(identity.page, what))?;
        if let Some(slot) = slot {
            cache.insert(slot, owner, credit, &page);
        }
        Ok(read(&page))
    }

    /// Reads and checks data pages, all in one group, around the cache.
    pub(super) fn read_data(&self, first: usize, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.read_pages(self.data_identity(first).page, buffer)?;
        for (page, data) in buffer.as_chunks_mut::<PAGE_BYTES>().0.iter_mut().zip(first..) {
            let identity = self.data_identity(data);
            identity.check(page).map_err(|what| self.wrong(identity.page, what))?;
        }
        Ok(())
    }

    fn read_pages(&self, page: u32, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.file.read_exact_at(buffer, u64::from(page) * PAGE_BYTES as u64).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.wrong(page, "the file has become too short"),
            _ => StoreError::io(READING)(error),
        })
    }

    fn wrong(&self, page: u32, what: &str) -> StoreError {
        corrupt(self.problem(page, what))
    }

    fn problem(&self, page: u32, what: &str) -> String {
        let at = u64::from(page) * PAGE_BYTES as u64;
        format!("{}, page {page} (byte {at}): {what}", self.path.display())
    }

    /// Entries of a data page.
    pub(super) fn count(&self, data: usize) -> usize {
        let before = data.saturating_mul(PAGE_ENTRIES) as u64;
        usize::try_from(self.entries.saturating_sub(before)).map_or(PAGE_ENTRIES, |rest| rest.min(PAGE_ENTRIES))
    }

    fn data_identity(&self, data: usize) -> Identity {
        Identity {
            run: self.number,
            page: number_of(data + data / GROUP_PAGES),
            count: self.count(data),
            first: self.fences.get(data).copied().unwrap_or(self.last),
        }
    }

    fn filter_identity(&self, group: usize) -> Identity {
        let from = group * GROUP_PAGES;
        let to = self.fences.len().min(from + GROUP_PAGES);
        let rest = usize::try_from(self.entries).unwrap_or(usize::MAX).saturating_sub(from * PAGE_ENTRIES);
        Identity {
            run: self.number,
            page: number_of(to + group),
            count: rest.min(GROUP_PAGES * PAGE_ENTRIES),
            first: self.groups.get(group).copied().unwrap_or(self.last),
        }
    }

    /// Reads every page and says what is wrong.
    pub(super) fn verify(&self, problems: &mut Vec<String>) {
        let enough = problems.len() + MAX_PROBLEMS;
        let mut before = None;
        for group in 0..self.groups.len() {
            if problems.len() >= enough {
                problems.push(format!("{}: and more", self.path.display()));
                return;
            }
            self.verify_group(group, &mut before, problems);
        }
        if before.is_some_and(|before| before != self.last) {
            problems.push(format!("{}: its last key is not the one that its end names", self.path.display()));
        }
    }

    fn verify_group(&self, group: usize, before: &mut Option<u128>, problems: &mut Vec<String>) {
        let mut filter = [0; PAGE_BYTES];
        let filter_identity = self.filter_identity(group);
        let filter_is_good = match self.checked(&filter_identity, &mut filter) {
            Ok(()) => true,
            Err(problem) => {
                problems.push(problem);
                false
            }
        };
        let from = group * GROUP_PAGES;
        for data in from..self.fences.len().min(from + GROUP_PAGES) {
            let identity = self.data_identity(data);
            let mut page = [0; PAGE_BYTES];
            if let Err(problem) = self.checked(&identity, &mut page) {
                problems.push(problem);
                *before = None;
                continue;
            }
            for (key, place) in page::keys(&page).iter().zip(page::places(&page)).take(identity.count) {
                let key = u128::from_be_bytes(*key);
                let what = if before.is_some_and(|before| before >= key) {
                    "its keys do not ascend"
                } else if Place::decode(place).is_none() {
                    "an entry of it has no such action"
                } else if filter_is_good && !page::filter_passes(&filter, key) {
                    "a key of it is not in the filter"
                } else {
                    *before = Some(key);
                    continue;
                };
                problems.push(self.problem(identity.page, what));
                break;
            }
        }
    }

    fn checked(&self, identity: &Identity, page: &mut Page) -> Result<(), String> {
        self.read_pages(identity.page, page).map_err(|error| self.problem(identity.page, &error.to_string()))?;
        identity.check(page).map_err(|what| self.problem(identity.page, what))
    }
}

/// Pages fit in 32 bits: the writer stops before there are more, and opening compares the file's length.
fn number_of(page: usize) -> u32 {
    u32::try_from(page).unwrap_or(u32::MAX)
}
