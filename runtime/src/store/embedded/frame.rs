//! What is in a frame of the log: rows of the index, and extents of records. And the row that points at an extent.
//!
//! ```text
//! payload = ops:varint op* extents:varint extent*
//! op      = key:bytes (0 | 1 value:bytes)
//! extent  = kind:u8 stream:varint first:varint span:varint blocks:bytes         kind 1: new, 2: moved by a reclaim
//! ```
//!
//! An extent is the blocks of one stream that were written together. The extents of a stream do not overlap, so the feed is
//! a scan over their rows. A moved extent takes the place of those that began within it, and may have fewer entries.

use super::block::{PackedExtent, Reader, damaged, put_bytes, put_varint};
use super::layers::Rows;
use crate::store::StoreError;

/// Where an extent is and which of its sequences are dead, the value of a `b` row. Dead are those that were superseded, and
/// those that it never had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExtentRow {
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
    /// Sequences it spans: last − first + 1.
    pub(super) span: u32,
    pub(super) dead: u32,
    /// A bit a sequence; empty while none is dead.
    bits: Vec<u8>,
}

impl ExtentRow {
    /// The row of an extent that is at this place of the log.
    pub(super) fn new(file: u32, offset: u64, length: u32, first: u64, span: u32, sequences: &[u64]) -> Self {
        let mut row = Self { file, offset, length, span, dead: 0, bits: Vec::new() };
        let mut next = 0;
        for sequence in sequences {
            let index = sequence.saturating_sub(first);
            (next..index).for_each(|gap| row.bury(gap));
            next = index + 1;
        }
        (next..u64::from(span)).for_each(|gap| row.bury(gap));
        row
    }

    /// Notes that the entry at `index` from the first sequence is superseded.
    pub(super) fn bury(&mut self, index: u64) {
        if index >= u64::from(self.span) {
            return;
        }
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

    pub(super) fn all_dead(&self) -> bool {
        self.dead >= self.span
    }

    /// How many of its bytes its live entries need, about.
    pub(super) fn live_bytes(&self) -> u64 {
        let live = u64::from(self.span.saturating_sub(self.dead));
        u64::from(self.length) * live / u64::from(self.span.max(1))
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

/// Whether an extent brings changes or takes the place of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExtentKind {
    New,
    Moved,
}

/// Encodes a payload. Says at which byte each extent's blocks begin.
pub(super) fn encode(rows: &Rows, extents: &[(ExtentKind, PackedExtent)]) -> (Vec<u8>, Vec<usize>) {
    let blocks: usize = extents.iter().map(|(_, extent)| extent.bytes.len() + 32).sum();
    let mut out = Vec::with_capacity(64 + blocks + rows.len() * 64);
    put_varint(&mut out, rows.len() as u64);
    for (key, value) in rows {
        put_bytes(&mut out, key);
        match value {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                put_bytes(&mut out, value);
            }
        }
    }
    put_varint(&mut out, extents.len() as u64);
    let mut places = Vec::with_capacity(extents.len());
    for (kind, extent) in extents {
        out.push(match kind {
            ExtentKind::New => 1,
            ExtentKind::Moved => 2,
        });
        put_varint(&mut out, u64::from(extent.stream));
        put_varint(&mut out, extent.first);
        put_varint(&mut out, u64::from(extent.span));
        put_varint(&mut out, extent.bytes.len() as u64);
        places.push(out.len());
        out.extend_from_slice(&extent.bytes);
    }
    (out, places)
}

/// An extent in a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExtentRef<'a> {
    pub(super) kind: ExtentKind,
    pub(super) stream: u32,
    pub(super) first: u64,
    pub(super) span: u32,
    /// At which byte of the payload its blocks begin.
    pub(super) at: usize,
    pub(super) blocks: &'a [u8],
}

/// A payload, taken apart.
pub(super) struct Payload<'a> {
    pub(super) rows: Rows,
    pub(super) extents: Vec<ExtentRef<'a>>,
}

impl<'a> Payload<'a> {
    pub(super) fn decode(payload: &'a [u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(payload);
        let mut rows = Rows::new();
        for _ in 0..reader.varint()? {
            let key = reader.bytes()?.to_vec();
            let value = match reader.array()? {
                [0] => None,
                [_] => Some(reader.bytes()?.to_vec()),
            };
            rows.insert(key, value);
        }
        let mut extents = Vec::new();
        for _ in 0..reader.varint()? {
            let kind = match reader.array()? {
                [1] => ExtentKind::New,
                [2] => ExtentKind::Moved,
                _ => return Err(damaged()),
            };
            let (stream, first, span) = (reader.int()?, reader.varint()?, reader.int()?);
            let length = usize::try_from(reader.varint()?).map_err(|_| damaged())?;
            let at = payload.len() - reader.rest().len();
            extents.push(ExtentRef { kind, stream, first, span, at, blocks: reader.take(length)? });
        }
        Ok(Self { rows, extents })
    }
}
