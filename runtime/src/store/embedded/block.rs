//! Blocks of records: how they lie in the log.
//!
//! ```text
//! block   = stream:u32 first:u64 span:u32 raw:u32 packed:u32 sum:[8] zstd(entries)
//! entries = stream-key:bytes count:varint meta* json*          stream-key = connection 0 model 0 variant
//! meta    = sequence-first:varint action:u8 number:varint first-seen:varint modified:varint digest:[8] id:bytes length:varint
//! ```
//!
//! Integers little-endian, varints LEB128, bytes = length:varint …. The sum covers the head and the packed bytes, so that a
//! block is verified whenever it is read alone; the stream's name inside lets a salvage read it when all else is lost. The
//! records of a block lie together, which is what makes them compress to a quarter: records of one kind repeat their keys,
//! URLs and authors.

use crate::ids::{StreamKey, Timestamp};
use crate::store::{Action, StoreError};

/// The head of a block, up to the packed bytes.
pub(super) const BLOCK_HEAD_BYTES: usize = 32;
/// What zstd begins a frame with, least significant byte first (RFC 8878, 3.1.1).
pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A block is closed when it holds this much JSON. Issue-like records pack to 24 % in blocks of 192 KiB, 26 % at this size,
/// 31 % at 8 KiB (measured); and one flipped bit costs one block, one record read unpacks one.
const BLOCK_TARGET_BYTES: usize = 32 << 10;
/// An extent is closed when it holds this much JSON, so that a reader holds little at a time.
pub(super) const EXTENT_TARGET_BYTES: usize = 256 << 10;
/// Level 1 packs issue-like records within 15 % of level 3 at half the time.
const ZSTD_LEVEL: i32 = 1;
/// Nothing that was packed here is longer: a block is closed with the record that fills it.
const MAX_RAW_BYTES: usize = 4 << 20;

/// A record on its way into a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockEntry {
    pub(super) sequence: u64,
    pub(super) action: Action,
    pub(super) number: u32,
    pub(super) first_seen: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) digest: [u8; 8],
    pub(super) id: String,
    pub(super) data: String,
}

impl BlockEntry {
    pub(super) fn as_ref(&self) -> EntryRef<'_> {
        let Self { sequence, action, number, first_seen, modified, digest, ref id, ref data } = *self;
        EntryRef { sequence, action, number, first_seen, modified, digest, id, data }
    }
}

/// A record in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryRef<'a> {
    pub(super) sequence: u64,
    pub(super) action: Action,
    pub(super) number: u32,
    pub(super) first_seen: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) digest: [u8; 8],
    pub(super) id: &'a str,
    pub(super) data: &'a str,
}

impl EntryRef<'_> {
    pub(super) fn to_entry(self) -> BlockEntry {
        let Self { sequence, action, number, first_seen, modified, digest, id, data } = self;
        BlockEntry { sequence, action, number, first_seen, modified, digest, id: id.to_owned(), data: data.to_owned() }
    }
}

/// The blocks of some entries of one stream, ready to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PackedExtent {
    pub(super) stream: u32,
    pub(super) first: u64,
    /// Sequences it spans: last − first + 1.
    pub(super) span: u32,
    /// Which sequences it has, ascending.
    pub(super) sequences: Vec<u64>,
    pub(super) bytes: Vec<u8>,
}

/// Packs entries, which ascend by sequence, into extents of about `target` bytes of JSON.
pub(super) fn pack<'a>(
    stream: u32,
    key: &StreamKey,
    entries: impl Iterator<Item = &'a BlockEntry>,
    target: usize,
) -> Result<Vec<PackedExtent>, StoreError> {
    let (name, block, extents) = (stream_name(key), Vec::new(), Vec::new());
    let mut packer = Packer { stream, name, target, block, block_json: 0, extent_json: 0, extents };
    for entry in entries {
        packer.add(entry)?;
    }
    packer.close_block()?;
    Ok(packer.extents)
}

struct Packer<'a> {
    stream: u32,
    name: Vec<u8>,
    target: usize,
    block: Vec<&'a BlockEntry>,
    /// Bytes of JSON in the open block.
    block_json: usize,
    /// And in the open extent before it; 0 if none is open.
    extent_json: usize,
    extents: Vec<PackedExtent>,
}

impl<'a> Packer<'a> {
    fn add(&mut self, entry: &'a BlockEntry) -> Result<(), StoreError> {
        self.block.push(entry);
        self.block_json += entry.data.len() + entry.id.len() + 1;
        if self.block_json >= BLOCK_TARGET_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<(), StoreError> {
        let entries = std::mem::take(&mut self.block);
        let json = std::mem::take(&mut self.block_json);
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        if self.extent_json == 0 {
            let (stream, first) = (self.stream, first.sequence);
            self.extents.push(PackedExtent { stream, first, span: 0, sequences: Vec::new(), bytes: Vec::new() });
        }
        if let Some(extent) = self.extents.last_mut() {
            encode(self.stream, &self.name, &entries, json, &mut extent.bytes)?;
            extent.sequences.extend(entries.iter().map(|entry| entry.sequence));
            extent.span = u32::try_from(last.sequence - extent.first + 1).unwrap_or(u32::MAX);
        }
        self.extent_json += json;
        if self.extent_json >= self.target {
            self.extent_json = 0;
        }
        Ok(())
    }
}

/// Appends one block to `out`.
fn encode(stream: u32, name: &[u8], entries: &[&BlockEntry], json: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
    let (first, span) = (first.sequence, last.sequence - first.sequence + 1);
    let mut raw = Vec::with_capacity(json + entries.len() * 48 + name.len() + 8);
    put_bytes(&mut raw, name);
    put_varint(&mut raw, entries.len() as u64);
    for entry in entries {
        put_varint(&mut raw, entry.sequence - first);
        raw.push(action_code(entry.action));
        put_varint(&mut raw, u64::from(entry.number));
        put_varint(&mut raw, entry.first_seen.0);
        put_varint(&mut raw, entry.modified.0);
        raw.extend_from_slice(&entry.digest);
        put_bytes(&mut raw, entry.id.as_bytes());
        put_varint(&mut raw, entry.data.len() as u64);
    }
    for entry in entries {
        raw.extend_from_slice(entry.data.as_bytes());
    }
    let packed = compress(&raw).map_err(StoreError::io("compress a block"))?;
    let start = out.len();
    out.extend_from_slice(&stream.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&u32::try_from(span).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&u32::try_from(raw.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&u32::try_from(packed.len()).unwrap_or(u32::MAX).to_le_bytes());
    let sum = checksum(out.get(start..).unwrap_or_default(), &packed);
    out.extend_from_slice(&sum);
    out.extend_from_slice(&packed);
    Ok(())
}

/// The head of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockHead {
    pub(super) stream: u32,
    pub(super) first: u64,
    /// Sequences it spans: last − first + 1.
    pub(super) span: u32,
    raw: usize,
    packed: usize,
    sum: [u8; 8],
}

impl BlockHead {
    /// Of the block at the start of `bytes`, as it says itself.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        let head = Self {
            stream: u32::from_le_bytes(reader.array()?),
            first: u64::from_le_bytes(reader.array()?),
            span: u32::from_le_bytes(reader.array()?),
            raw: u32::from_le_bytes(reader.array()?) as usize,
            packed: u32::from_le_bytes(reader.array()?) as usize,
            sum: reader.array()?,
        };
        if head.raw > MAX_RAW_BYTES || head.packed > MAX_RAW_BYTES { Err(damaged()) } else { Ok(head) }
    }

    /// The length of the whole block.
    pub(super) fn length(&self) -> usize {
        BLOCK_HEAD_BYTES + self.packed
    }

    pub(super) fn last(&self) -> u64 {
        self.first.saturating_add(u64::from(self.span.max(1)) - 1)
    }
}

/// A block whose sum is right. Only such a one may be passed over: a head that lies would hide what it stands before.
pub(super) struct PackedBlock<'a> {
    pub(super) head: BlockHead,
    packed: &'a [u8],
}

impl<'a> PackedBlock<'a> {
    /// Verifies the block at the start of `bytes`.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, StoreError> {
        let head = BlockHead::decode(bytes)?;
        let packed = bytes.get(BLOCK_HEAD_BYTES..head.length()).ok_or_else(damaged)?;
        let covered = bytes.get(..BLOCK_HEAD_BYTES - 8).unwrap_or_default();
        if checksum(covered, packed) == head.sum { Ok(Self { head, packed }) } else { Err(damaged()) }
    }
}

/// The blocks that follow each other in `bytes`, each verified. Ends after the first that is damaged.
pub(super) fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = Result<PackedBlock<'_>, StoreError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let block = PackedBlock::decode(bytes);
        bytes = block.as_ref().ok().and_then(|block| bytes.get(block.head.length()..)).unwrap_or_default();
        Some(block)
    })
}

struct Meta<'a> {
    entry: EntryRef<'a>,
    length: usize,
}

/// A block, unpacked.
pub(super) struct Block {
    pub(super) head: BlockHead,
    raw: Vec<u8>,
}

impl Block {
    /// Verifies and unpacks the block at the start of `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::unpack(PackedBlock::decode(bytes)?)
    }

    pub(super) fn unpack(PackedBlock { head, packed }: PackedBlock<'_>) -> Result<Self, StoreError> {
        let raw = decompress(packed, head.raw).map_err(|_| damaged())?;
        Ok(Self { head, raw })
    }

    /// The stream's name, and the entries, ascending by sequence.
    pub(super) fn entries(&self) -> Result<(&[u8], Vec<EntryRef<'_>>), StoreError> {
        let mut reader = Reader::new(&self.raw);
        let name = reader.bytes()?;
        let count = usize::try_from(reader.varint()?).map_err(|_| damaged())?;
        let mut metas = Vec::with_capacity(count.min(self.raw.len() / 8));
        for _ in 0..count {
            let entry = EntryRef {
                sequence: self.head.first.checked_add(reader.varint()?).ok_or_else(damaged)?,
                action: reader.action()?,
                number: reader.int()?,
                first_seen: Timestamp(reader.varint()?),
                modified: Timestamp(reader.varint()?),
                digest: reader.array()?,
                id: std::str::from_utf8(reader.bytes()?).map_err(|_| damaged())?,
                data: "",
            };
            metas.push(Meta { entry, length: usize::try_from(reader.varint()?).map_err(|_| damaged())? });
        }
        // Checked once for all: a text each would cost as much again.
        let json = std::str::from_utf8(reader.rest()).map_err(|_| damaged())?;
        let mut rest = json;
        let mut entries = Vec::with_capacity(metas.len());
        for Meta { mut entry, length } in metas {
            (entry.data, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
            entries.push(entry);
        }
        Ok((name, entries))
    }
}

/// The stream's name as blocks carry it.
pub(super) fn stream_name(key: &StreamKey) -> Vec<u8> {
    [key.connection.as_str(), key.model.as_str(), key.variant.as_str()].join("\0").into_bytes()
}

/// The stream that [`stream_name`] names.
pub(super) fn parse_stream_name(name: &[u8]) -> Option<StreamKey> {
    let mut parts = std::str::from_utf8(name).ok()?.split('\0');
    Some(StreamKey {
        connection: parts.next()?.parse().ok()?,
        model: parts.next()?.parse().ok()?,
        variant: parts.next()?.parse().ok()?,
    })
}

fn compress(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    thread_local! {
        // A compressor's tables are a few hundred KiB: made once a thread, not once a block.
        static COMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Compressor<'static>>> = const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|slot| match slot {
        Some(compressor) => compressor.compress(raw),
        None => slot.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?).compress(raw),
    })
}

fn decompress(packed: &[u8], length: usize) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static DECOMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { std::cell::RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|slot| match slot {
        Some(decompressor) => decompressor.decompress(packed, length),
        None => slot.insert(zstd::bulk::Decompressor::new()?).decompress(packed, length),
    })
}

fn checksum(head: &[u8], packed: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    blake3::Hasher::new().update(head).update(packed).finalize_xof().fill(&mut sum);
    sum
}

pub(super) fn damaged() -> StoreError {
    StoreError::Corrupt {
        what: "a block or a row does not have the form it was written in".to_owned(),
        next: super::SALVAGE,
    }
}

pub(super) fn action_code(action: Action) -> u8 {
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

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        Ok(std::str::from_utf8(self.bytes()?).map_err(|_| damaged())?.to_owned())
    }

    pub(super) fn action(&mut self) -> Result<Action, StoreError> {
        match self.array()? {
            [1] => Ok(Action::Added),
            [2] => Ok(Action::Updated),
            [3] => Ok(Action::Deleted),
            _ => Err(damaged()),
        }
    }
}
