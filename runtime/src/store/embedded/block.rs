//! What is in a commit: rows of the index, and blocks of records. And the rows that point at them.
//!
//! ```text
//! payload of a frame = ops:varint op* blocks:varint block*
//! op     = key:bytes (0 | 1 value:bytes)                        bytes = length:varint …
//! block  = stream:u32 first:u64 span:u32 raw:u32 packed:u32 checksum:[8] zstd(entries)
//! entries = count:varint meta* json*
//! meta   = sequence-first:varint action:u8 number:varint first-seen:varint modified:varint digest:[16] id:bytes length:varint
//! ```
//!
//! Integers little-endian, varints LEB128. The checksum covers the head and the packed bytes, so that a block is
//! verified whenever it is read alone. The records of a block lie together, which is what makes them compress to a
//! seventh and less: records of one kind repeat their keys, URLs and authors.

use crate::ids::Timestamp;
use crate::store::canonical::Digest;
use crate::store::{Action, StoreError};

/// The head of a block, up to the packed bytes.
pub(super) const BLOCK_HEAD_BYTES: usize = 32;
/// A block is closed when it holds this much JSON: big enough to compress well, small enough that reading one record
/// unpacks in a fraction of a millisecond.
pub(super) const BLOCK_TARGET_BYTES: usize = 192 << 10;
/// Level 1 packs issue-like records within 15 % of level 3 at half the time.
const ZSTD_LEVEL: i32 = 1;
/// Nothing that was packed here is longer: a batch's bytes, and as much again for ids and digests.
const MAX_RAW_BYTES: usize = 32 << 20;

/// Where a record is and what it was, the value of an `i` row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) sequence: u64,
    /// The first sequence of its block.
    pub(super) block: u64,
    pub(super) number: u32,
    pub(super) action: Action,
    pub(super) first_seen: Timestamp,
    pub(super) digest: Digest,
    /// A keyed hash of the JSON as it was spelled: the same spelling needs no canonical digest to be unchanged.
    pub(super) spelling: [u8; 8],
}

impl IndexEntry {
    pub(super) fn is_live(&self) -> bool {
        self.action != Action::Deleted
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        put_varint(&mut out, self.sequence);
        put_varint(&mut out, self.sequence.saturating_sub(self.block));
        put_varint(&mut out, u64::from(self.number));
        out.push(action_code(self.action));
        put_varint(&mut out, self.first_seen.0);
        out.extend_from_slice(&self.digest.0);
        out.extend_from_slice(&self.spelling);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        let sequence = reader.varint()?;
        Ok(Self {
            sequence,
            block: sequence.saturating_sub(reader.varint()?),
            number: reader.int()?,
            action: reader.action()?,
            first_seen: Timestamp(reader.varint()?),
            digest: Digest(reader.array()?),
            spelling: reader.array()?,
        })
    }
}

/// Where a block is and what in it is superseded, the value of a `b` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockRow {
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
    /// Sequences it spans: last − first + 1.
    pub(super) span: u32,
    pub(super) dead: u32,
    /// A bit a sequence; empty while none is dead.
    bits: Vec<u8>,
}

impl BlockRow {
    pub(super) fn new(file: u32, offset: u64, length: u32, span: u32) -> Self {
        Self { file, offset, length, span, dead: 0, bits: Vec::new() }
    }

    /// Notes that the entry at `index` from the first sequence is superseded.
    pub(super) fn bury(&mut self, index: u64) {
        self.bits.resize(self.span.div_ceil(8) as usize, 0);
        let Some(byte) = usize::try_from(index / 8).ok().and_then(|i| self.bits.get_mut(i)) else { return };
        let bit = 1 << (index % 8);
        if *byte & bit == 0 {
            *byte |= bit;
            self.dead += 1;
        }
    }

    pub(super) fn is_dead(&self, index: u64) -> bool {
        usize::try_from(index / 8)
            .ok()
            .and_then(|i| self.bits.get(i))
            .is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.bits.len());
        for value in
            [u64::from(self.file), self.offset, u64::from(self.length), u64::from(self.span), u64::from(self.dead)]
        {
            put_varint(&mut out, value);
        }
        out.extend_from_slice(&self.bits);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            file: reader.int()?,
            offset: reader.varint()?,
            length: reader.int()?,
            span: reader.int()?,
            dead: reader.int()?,
            bits: reader.rest().to_vec(),
        })
    }
}

/// A record in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockEntry {
    pub(super) sequence: u64,
    pub(super) action: Action,
    pub(super) number: u32,
    pub(super) first_seen: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) digest: Digest,
    pub(super) id: String,
    pub(super) data: String,
}

/// The records of a block, unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) first: u64,
    pub(super) span: u32,
    pub(super) entries: Vec<BlockEntry>,
}

impl Block {
    /// Appends the block to `out`. The entries ascend by sequence and are not empty.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let json: usize = self.entries.iter().map(|entry| entry.data.len()).sum();
        let mut raw = Vec::with_capacity(json + self.entries.len() * 64);
        put_varint(&mut raw, self.entries.len() as u64);
        for entry in &self.entries {
            put_varint(&mut raw, entry.sequence.saturating_sub(self.first));
            raw.push(action_code(entry.action));
            put_varint(&mut raw, u64::from(entry.number));
            put_varint(&mut raw, entry.first_seen.0);
            put_varint(&mut raw, entry.modified.0);
            raw.extend_from_slice(&entry.digest.0);
            put_bytes(&mut raw, entry.id.as_bytes());
            put_varint(&mut raw, entry.data.len() as u64);
        }
        for entry in &self.entries {
            raw.extend_from_slice(entry.data.as_bytes());
        }
        let packed = pack(&raw).map_err(StoreError::io("compress a block"))?;
        let start = out.len();
        out.extend_from_slice(&self.stream.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.span.to_le_bytes());
        out.extend_from_slice(&u32::try_from(raw.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&u32::try_from(packed.len()).unwrap_or(u32::MAX).to_le_bytes());
        let sum = checksum(out.get(start..).unwrap_or_default(), &packed);
        out.extend_from_slice(&sum);
        out.extend_from_slice(&packed);
        Ok(())
    }

    /// Reads the block at the start of `bytes` and says how long it is.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, usize), StoreError> {
        let mut reader = Reader::new(bytes);
        let stream = u32::from_le_bytes(reader.array()?);
        let first = u64::from_le_bytes(reader.array()?);
        let span = u32::from_le_bytes(reader.array()?);
        let raw_length = u32::from_le_bytes(reader.array()?) as usize;
        let packed_length = u32::from_le_bytes(reader.array()?) as usize;
        let sum: [u8; 8] = reader.array()?;
        let packed = reader.take(packed_length)?;
        let head = bytes.get(..BLOCK_HEAD_BYTES - 8).unwrap_or_default();
        if checksum(head, packed) != sum || raw_length > MAX_RAW_BYTES {
            return Err(damaged());
        }
        let raw = zstd::bulk::decompress(packed, raw_length).map_err(|_| damaged())?;
        let mut reader = Reader::new(&raw);
        let count = usize::try_from(reader.varint()?).map_err(|_| damaged())?;
        let mut metas = Vec::with_capacity(count.min(raw.len()));
        for _ in 0..count {
            let sequence = first.checked_add(reader.varint()?).ok_or_else(damaged)?;
            let entry = BlockEntry {
                sequence,
                action: reader.action()?,
                number: reader.int()?,
                first_seen: Timestamp(reader.varint()?),
                modified: Timestamp(reader.varint()?),
                digest: Digest(reader.array()?),
                id: reader.text()?,
                data: String::new(),
            };
            metas.push((entry, usize::try_from(reader.varint()?).map_err(|_| damaged())?));
        }
        let mut entries = Vec::with_capacity(metas.len());
        for (mut entry, length) in metas {
            std::str::from_utf8(reader.take(length)?).map_err(|_| damaged())?.clone_into(&mut entry.data);
            entries.push(entry);
        }
        Ok((Self { stream, first, span, entries }, BLOCK_HEAD_BYTES + packed_length))
    }
}

fn pack(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    thread_local! {
        // A compressor's tables are a few hundred KiB: made once a thread, not once a batch.
        static COMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Compressor<'static>>> = const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|slot| match slot {
        Some(compressor) => compressor.compress(raw),
        None => slot.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?).compress(raw),
    })
}

fn checksum(head: &[u8], packed: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    blake3::Hasher::new().update(head).update(packed).finalize_xof().fill(&mut sum);
    sum
}

fn damaged() -> StoreError {
    StoreError::Corrupt {
        what: "a block or a row does not have the form it was written in".to_owned(),
        next: "Restore the data directory from a backup",
    }
}

fn action_code(action: Action) -> u8 {
    match action {
        Action::Added => 1,
        Action::Updated => 2,
        Action::Deleted => 3,
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes values off the front of stored bytes; whatever is missing or impossible is damage.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.take(N)?.try_into().map_err(|_| damaged())
    }

    pub(super) fn varint(&mut self) -> Result<u64, StoreError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    pub(super) fn int(&mut self) -> Result<u32, StoreError> {
        u32::try_from(self.varint()?).map_err(|_| damaged())
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let length = usize::try_from(self.varint()?).map_err(|_| damaged())?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, StoreError> {
        Ok(std::str::from_utf8(self.bytes()?).map_err(|_| damaged())?.to_owned())
    }

    fn action(&mut self) -> Result<Action, StoreError> {
        match self.array()? {
            [1] => Ok(Action::Added),
            [2] => Ok(Action::Updated),
            [3] => Ok(Action::Deleted),
            _ => Err(damaged()),
        }
    }
}
