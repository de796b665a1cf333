//! Laying what a frame of the log brings over the index again, at a start.
//!
//! Of an id the highest sequence counts, whatever the order in which frames bring it: so replaying what the index has
//! already changes nothing, and a moved entry that was superseded before it was moved stays dead.

use std::collections::HashMap;

use super::block::{Block, blocks};
use super::commit::Hashes;
use super::flush::{Moves, PlacedExtent, settling_rows};
use super::frame::{ExtentRef, ExtentRow, Payload};
use super::keys;
use super::layers::{Index, PlaceMap, View};
use super::log::Position;
use super::places::{Key, Place};
use crate::store::StoreError;

/// Lays one frame over the index.
pub(super) fn replay(
    index: &Index,
    hashes: &Hashes,
    payload: &[u8],
    begin: Position,
    end: Position,
) -> Result<(), StoreError> {
    let Payload { mut rows, extents } = Payload::decode(payload)?;
    let mut frame = Frame { index, hashes, places: PlaceMap::default(), buried: HashMap::new() };
    let mut placed = Vec::with_capacity(extents.len());
    for extent in extents {
        // A generation that was dropped before its extents were moved stays dropped.
        let head = keys::head(extent.stream);
        let known = match rows.get(&head) {
            Some(value) => value.is_some(),
            None => index.get(View::Durable, &head)?.is_some(),
        };
        if known {
            placed.push(frame.place(&extent, begin)?);
        }
    }
    let Frame { places, buried, .. } = frame;
    let buried = |stream| buried.get(&stream).map_or(&[][..], Vec::as_slice);
    let extents = settling_rows(index, &rows, &placed, Moves::Checked, buried)?;
    rows.extend(extents);
    index.replay(rows, places, end);
    Ok(())
}

struct Frame<'a> {
    index: &'a Index,
    hashes: &'a Hashes,
    places: PlaceMap,
    buried: HashMap<u32, Vec<u64>>,
}

impl Frame<'_> {
    fn place(&mut self, extent: &ExtentRef<'_>, begin: Position) -> Result<PlacedExtent, StoreError> {
        let mut alive = Vec::new();
        for block in blocks(extent.blocks) {
            let block = Block::unpack(block?)?;
            let (_, entries) = block.entries()?;
            let keys: Vec<Key> = entries.iter().map(|entry| self.hashes.place(extent.stream, entry.id)).collect();
            let known = self.index.places(&keys)?;
            for ((entry, key), known) in entries.iter().zip(keys).zip(known) {
                let known = self.places.get(&key).copied().or(known);
                match known {
                    Some(newer) if newer.sequence > entry.sequence => continue,
                    Some(older) if older.sequence < entry.sequence => {
                        self.buried.entry(extent.stream).or_default().push(older.sequence);
                    }
                    _ => {}
                }
                alive.push(entry.sequence);
                let place = Place {
                    sequence: entry.sequence,
                    number: entry.number,
                    action: entry.action,
                    first_seen: entry.first_seen,
                    digest: entry.digest,
                    // Of a pruned record only the index knows how it was spelled, if it does.
                    spelling: match known {
                        Some(known) if entry.data.is_empty() => known.spelling,
                        _ => self.hashes.spelling(entry.data),
                    },
                };
                self.places.insert(key, place);
            }
        }
        let length = u32::try_from(extent.blocks.len()).unwrap_or(u32::MAX);
        let offset = begin.offset + extent.at as u64;
        let row = ExtentRow::new(begin.file, offset, length, extent.first, extent.span, &alive);
        Ok(PlacedExtent { kind: extent.kind, stream: extent.stream, first: extent.first, row })
    }
}
