//! Writes a run: sequentially, under a temporary name, durable before it gets its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::page::{self, GROUP_PAGES, Identity, PAGE_BYTES, PAGE_ENTRIES, Page};
use super::run_file::{End, Run};
use super::{KEY_BYTES, Key, Place, corrupt, sync_dir};
use crate::store::StoreError;

const WRITING: &str = "write the index of records";

/// Writes strictly ascending entries to `path`. No entries make no file. On an error no file is left.
pub(super) fn write(
    path: &Path,
    number: u64,
    mut entries: impl Iterator<Item = Result<(Key, Place), StoreError>>,
) -> Result<Option<Run>, StoreError> {
    let Some(first) = entries.next().transpose()? else { return Ok(None) };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut unfinished = Unfinished { path: temporary.into(), keep: false };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unfinished.path);
    let mut writer = Writer::new(file.map_err(StoreError::io(WRITING))?, number);
    writer.push(&first)?;
    for entry in entries {
        writer.push(&entry?)?;
    }
    let (file, end, fences) = writer.finish()?;
    fs::rename(&unfinished.path, path).map_err(StoreError::io(WRITING))?;
    path.clone_into(&mut unfinished.path);
    path.parent().map_or(Ok(()), sync_dir).map_err(StoreError::io(WRITING))?;
    unfinished.keep = true;
    Ok(Some(Run::assemble(path.to_owned(), file, &end, fences)))
}

/// Removes its file unless told to keep it.
struct Unfinished {
    path: PathBuf,
    keep: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.keep {
            // If that fails too, the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

struct Writer {
    file: File,
    number: u64,
    entries: u64,
    last: u128,
    fences: Vec<u128>,
    /// The data page that is being filled, and how far it is.
    page: Box<Page>,
    count: usize,
    /// The filter of its group.
    filter: Box<Page>,
    filter_count: usize,
    /// Finished pages of the group, not written yet.
    pending: Vec<u8>,
    /// The number of the next finished page.
    next: u32,
}

impl Writer {
    fn new(file: File, number: u64) -> Self {
        Self {
            file,
            number,
            entries: 0,
            last: 0,
            fences: Vec::new(),
            page: Box::new([0; PAGE_BYTES]),
            count: 0,
            filter: Box::new([0; PAGE_BYTES]),
            filter_count: 0,
            pending: Vec::with_capacity((GROUP_PAGES + 1) * PAGE_BYTES),
            next: 0,
        }
    }

    fn push(&mut self, (bytes, place): &(Key, Place)) -> Result<(), StoreError> {
        let key = u128::from_be_bytes(*bytes);
        if self.entries > 0 && key <= self.last {
            return Err(corrupt(format!("entries for run {} of the index of records do not ascend", self.number)));
        }
        let encoded = place.encode();
        let encoded = encoded.ok_or_else(|| corrupt(format!("sequence or time of {place:?} is beyond 2^48")))?;
        if self.count == PAGE_ENTRIES {
            self.finish_page()?;
        }
        if self.count == 0 {
            self.fences.push(key);
        }
        page::put(&mut self.page, self.count, bytes, &encoded);
        page::filter_add(&mut self.filter, key);
        self.count += 1;
        self.filter_count += 1;
        self.entries += 1;
        self.last = key;
        Ok(())
    }

    fn finish_page(&mut self) -> Result<(), StoreError> {
        let first = self.fences.last().copied().unwrap_or(0);
        self.identity(self.count, first).seal(&mut self.page);
        self.pending.extend_from_slice(&*self.page);
        self.count_page()?;
        self.page.fill(0);
        self.count = 0;
        if self.fences.len().is_multiple_of(GROUP_PAGES) { self.finish_group() } else { Ok(()) }
    }

    fn finish_group(&mut self) -> Result<(), StoreError> {
        let group = self.fences.chunks(GROUP_PAGES).next_back();
        let first = group.and_then(|group| group.first()).copied().unwrap_or(0);
        self.identity(self.filter_count, first).seal(&mut self.filter);
        self.pending.extend_from_slice(&*self.filter);
        self.count_page()?;
        self.filter.fill(0);
        self.filter_count = 0;
        self.file.write_all(&self.pending).map_err(StoreError::io(WRITING))?;
        self.pending.clear();
        Ok(())
    }

    fn identity(&self, count: usize, first: u128) -> Identity {
        Identity { run: self.number, page: self.next, count, first }
    }

    fn count_page(&mut self) -> Result<(), StoreError> {
        let full = || StoreError::io(WRITING)(io::Error::other("a run has at most 2^32 pages"));
        self.next = self.next.checked_add(1).ok_or_else(full)?;
        Ok(())
    }

    /// Writes the rest and makes it durable.
    fn finish(mut self) -> Result<(File, End, Vec<u128>), StoreError> {
        if self.count > 0 {
            self.finish_page()?;
        }
        if self.filter_count > 0 {
            self.finish_group()?;
        }
        let mut bytes = Vec::with_capacity(self.fences.len() * KEY_BYTES);
        for fence in &self.fences {
            bytes.extend_from_slice(&fence.to_be_bytes());
        }
        let end = End { number: self.number, entries: self.entries, last: self.last };
        let encoded = end.encode(&bytes);
        bytes.extend_from_slice(&encoded);
        self.file.write_all(&bytes).map_err(StoreError::io(WRITING))?;
        self.file.sync_all().map_err(StoreError::io(WRITING))?;
        Ok((self.file, end, self.fences))
    }
}
