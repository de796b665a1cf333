//! Pages of 4096 bytes: data pages with entries, filter pages with what is not in a group of data pages. Integers are
//! little-endian but for keys.
//!
//! ```text
//! data page   = head keys:[16; 83] places:[33; 83]           both ascending by key; unused ones are zero
//! filter page = head first key:[16] zeros:[19] blocks:[64; 63]
//! head        = checksum:[8] run:u64 page:u32 count:u16 zeros:[7]
//! ```
//!
//! The checksum is blake3 over the page with the checksum as zeros: four whole chunks, which blake3 hashes together.
//! Head and first key are compared with what they must be by the run's fences, so a page of another run, from another
//! place, or of another life of this one does not pass.
//!
//! Keys and places are apart, since a search touches several keys and one place.
//!
//! The filter is a split block Bloom filter. A key picks one block of 512 bits by 16 bits of its hash, and one bit in
//! each of the block's 8 words by 6 bits each: one cache line, no branches. With 42 keys a block on average, about one
//! in 200 absent keys passes. The hash is the last 8 bytes of the key, which are uniform already.

use super::{KEY_BYTES, Key, PLACE_BYTES};

pub(super) const PAGE_BYTES: usize = 4096;
pub(super) type Page = [u8; PAGE_BYTES];
/// As many as fit.
pub(super) const PAGE_ENTRIES: usize = 83;
/// Data pages under one filter page: 12 bits a key, and a power of two.
pub(super) const GROUP_PAGES: usize = 32;

const HEAD_BYTES: usize = PAGE_BYTES - PAGE_ENTRIES * (KEY_BYTES + PLACE_BYTES);
const PLACES_AT: usize = HEAD_BYTES + PAGE_ENTRIES * KEY_BYTES;
const BLOCK_BYTES: usize = 64;
/// The place of one block is taken by the head.
const BLOCKS: u64 = (PAGE_BYTES / BLOCK_BYTES) as u64 - 1;

/// Which page it is, and what of it is known from elsewhere.
pub(super) struct Identity {
    pub(super) run: u64,
    pub(super) page: u32,
    /// Entries of a data page, keys in a filter.
    pub(super) count: usize,
    /// The first key of the page, or of the filter's group.
    pub(super) first: u128,
}

impl Identity {
    fn head(&self) -> [u8; HEAD_BYTES - 8] {
        let mut head = [0; HEAD_BYTES - 8];
        head[..8].copy_from_slice(&self.run.to_le_bytes());
        head[8..12].copy_from_slice(&self.page.to_le_bytes());
        // A group has fewer than 2^16 keys.
        head[12..14].copy_from_slice(&u16::try_from(self.count).unwrap_or(u16::MAX).to_le_bytes());
        head
    }

    /// Fills in head, first key and checksum.
    pub(super) fn seal(&self, page: &mut Page) {
        page[8..HEAD_BYTES].copy_from_slice(&self.head());
        page[HEAD_BYTES..HEAD_BYTES + KEY_BYTES].copy_from_slice(&self.first.to_be_bytes());
        page[..8].fill(0);
        let checksum = blake3::hash(page);
        page[..8].copy_from_slice(&checksum.as_bytes()[..8]);
    }

    /// Whether the page is intact and this one; else what is wrong. Takes the checksum out of the page.
    pub(super) fn check(&self, page: &mut Page) -> Result<(), &'static str> {
        let mut checksum = [0; 8];
        page[..8].swap_with_slice(&mut checksum);
        if blake3::hash(page).as_bytes()[..8] != checksum {
            return Err("its checksum is wrong");
        }
        if page[8..HEAD_BYTES] != self.head() {
            return Err("it is a page of another run or from another place");
        }
        if page[HEAD_BYTES..HEAD_BYTES + KEY_BYTES] != self.first.to_be_bytes() {
            return Err("its first key is not the one that the run's end names");
        }
        Ok(())
    }
}

/// The keys of a data page, used or not.
pub(super) fn keys(page: &Page) -> &[Key] {
    page[HEAD_BYTES..PLACES_AT].as_chunks().0
}

/// The places of a data page, used or not.
pub(super) fn places(page: &Page) -> &[[u8; PLACE_BYTES]] {
    page[PLACES_AT..].as_chunks().0
}

/// Sets an entry of a data page.
pub(super) fn put(page: &mut Page, index: usize, key: &Key, place: &[u8; PLACE_BYTES]) {
    let Some((head_and_keys, places)) = page.split_first_chunk_mut::<PLACES_AT>() else { return };
    let keys = head_and_keys[HEAD_BYTES..].as_chunks_mut().0;
    if let (Some(to_key), Some(to_place)) = (keys.get_mut(index), places.as_chunks_mut().0.get_mut(index)) {
        *to_key = *key;
        *to_place = *place;
    }
}

/// The place of a key in a data page of `count` entries between the keys `low` and `high`. Starts where the key would
/// be if all were evenly spread, as they nearly are: that touches one or two cache lines.
pub(super) fn find(page: &Page, count: usize, key: u128, low: u128, high: u128) -> Option<&[u8; PLACE_BYTES]> {
    let keys = keys(page).get(..count)?;
    let at = |index: usize| keys.get(index).map(|key| u128::from_be_bytes(*key));
    let mut index = guess(key, low, high, count);
    if at(index)? < key {
        while at(index)? < key {
            index += 1;
        }
    } else {
        while at(index)? > key {
            index = index.checked_sub(1)?;
        }
    }
    (at(index)? == key).then(|| places(page).get(index)).flatten()
}

/// Where among `count` evenly spread keys from `low` to `high` a key should be; always below `count`, unless that is 0.
pub(super) fn guess(key: u128, low: u128, high: u128, count: usize) -> usize {
    let (offset, span) = (key.saturating_sub(low), high.saturating_sub(low));
    // 32 bits of both are exact enough, and their product with the count fits.
    let shift = (128 - span.leading_zeros()).saturating_sub(32);
    let [offset, span] = [offset >> shift, span >> shift].map(|bits| u64::try_from(bits).unwrap_or(u64::MAX));
    let last = count.saturating_sub(1);
    let guess = offset.saturating_mul(count as u64).checked_div(span).unwrap_or(0);
    usize::try_from(guess).map_or(last, |guess| guess.min(last))
}

/// The hash of a key for the filter: its lower half.
fn hash(key: u128) -> u64 {
    u64::try_from(key & u128::from(u64::MAX)).unwrap_or(0)
}

/// The block of a hash in a page, never the first one.
fn block(hash: u64) -> usize {
    usize::try_from((((hash >> 48) * BLOCKS) >> 16) + 1).unwrap_or(1)
}

/// Adds a key to a filter page.
pub(super) fn filter_add(page: &mut Page, key: u128) {
    let mut hash = hash(key);
    if let Some(block) = page.as_chunks_mut::<BLOCK_BYTES>().0.get_mut(block(hash)) {
        for word in block.as_chunks_mut().0 {
            *word = (u64::from_le_bytes(*word) | 1 << (hash & 63)).to_le_bytes();
            hash >>= 6;
        }
    }
}

/// Whether a key may be in the group of a filter page. No is certain.
pub(super) fn filter_passes(page: &Page, key: u128) -> bool {
    let mut hash = hash(key);
    let Some(block) = page.as_chunks::<BLOCK_BYTES>().0.get(block(hash)) else { return true };
    let mut all = 1;
    for word in block.as_chunks().0 {
        all &= u64::from_le_bytes(*word) >> (hash & 63);
        hash >>= 6;
    }
    all == 1
}
