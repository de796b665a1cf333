//! Pages in memory: a fixed number of frames, shared by all runs, in which the clock hand finds the next to replace.
//!
//! A run has a [`Slot`] for each of its pages: the frame in which the page was put last. Whether it is still there says
//! the frame, which knows its owner. So nothing has to be told when a page makes room for another, or when a run goes.
//!
//! A frame is locked for as long as one search in it takes.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::page::{PAGE_BYTES, Page};

/// A page costs its bytes and some for the frame.
const FRAME_BYTES: u64 = PAGE_BYTES as u64 + 64;
/// Below this a cache is no use, and a store with it neither.
const MIN_FRAMES: u64 = 16;

/// How often the clock hand passes a page over after its last use. A filter page answers for 32 data pages.
pub(super) const FILTER_CREDIT: u8 = 4;
/// See [`FILTER_CREDIT`].
pub(super) const DATA_CREDIT: u8 = 1;

/// The frame of a page, from 1 on; 0 for none.
pub(super) type Slot = AtomicU32;

/// The number of a run and the page in it. While the index is open no number is used twice, so no owner is either.
pub(super) type Owner = (u64, u32);

/// See the module's text.
pub(super) struct Cache {
    frames: Box<[Mutex<Frame>]>,
    hand: AtomicUsize,
}

#[derive(Default)]
struct Frame {
    owner: Option<Owner>,
    credit: u8,
    /// Made when it is first needed.
    page: Option<Box<Page>>,
}

impl Cache {
    /// A cache of about so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let frames = (bytes / FRAME_BYTES).clamp(MIN_FRAMES, u64::from(u32::MAX - 1));
        Self { frames: (0..frames).map(|_| Mutex::default()).collect(), hand: AtomicUsize::new(0) }
    }

    /// Reads a page, if it is here.
    pub(super) fn read<T>(&self, slot: &Slot, owner: Owner, credit: u8, read: impl FnOnce(&Page) -> T) -> Option<T> {
        let index = slot.load(Ordering::Relaxed).checked_sub(1)?;
        let mut frame = self.frames.get(index as usize)?.lock().unwrap_or_else(PoisonError::into_inner);
        if frame.owner != Some(owner) {
            return None;
        }
        if frame.credit != credit {
            frame.credit = credit;
        }
        frame.page.as_deref().map(read)
    }

    /// Keeps a page. Its first use counts one less: most data pages are read once.
    pub(super) fn insert(&self, slot: &Slot, owner: Owner, credit: u8, page: &Page) {
        // Each pass of the hand takes one credit. It is past them all after this many, if nobody gives new ones.
        for _ in 0..self.frames.len() * (usize::from(FILTER_CREDIT) + 1) {
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % self.frames.len().max(1);
            let Some(Ok(mut frame)) = self.frames.get(index).map(Mutex::try_lock) else { continue };
            if frame.credit > 0 {
                frame.credit -= 1;
                continue;
            }
            // Should the copy not be finished, the frame is nobody's.
            frame.owner = None;
            frame.page.get_or_insert_with(|| Box::new([0; PAGE_BYTES])).copy_from_slice(page);
            frame.credit = credit.saturating_sub(1);
            frame.owner = Some(owner);
            slot.store(u32::try_from(index + 1).unwrap_or(0), Ordering::Relaxed);
            return;
        }
    }
}
