//! The end of a successful run: what a full refresh did not see goes, a generation that was built is swapped in.
//!
//! Order: all accounts and generations are checked by the guard → what is unseen is found in the index → deletes are
//! committed in the order of the feed → the last of them together with the swaps and the run's own rows. So a run that
//! deletes no more than [`DELETES_AT_ONCE`] records does so in one atomic commit; what a larger one has deleted when the
//! process dies was unseen by a refresh that had saved everything, and the next refresh goes on with the rest.

use std::sync::{Arc, MutexGuard};

use roaring::{RoaringBitmap, RoaringTreemap};

use super::commit::{Head, Staged};
use super::feed::{Next, Walk};
use super::layers::{Rows, View};
use super::retention::Horizons;
use super::streams::{StreamCell, StreamRow};
use super::syncs::{Account, ActiveRun};
use super::{Engine, keys, lock};
use crate::ids::{StreamKey, Timestamp};
use crate::store::{Action, DeleteGuard, Lease, StoreError};

/// Deletes in one commit. A tombstone carries the content, so memory bounds them: about 16 MiB of kilobyte records.
const DELETES_AT_ONCE: usize = 10_000;
/// The largest content that one commit deletes.
const MAX_DELETE_BYTES: usize = 16 << 20;

/// A stream that a run's end writes to.
struct Due {
    cell: Arc<StreamCell>,
    seen: RoaringBitmap,
}

/// The last deletes of a stream, which come with the run's end.
struct Last<'a> {
    cell: &'a StreamCell,
    head: MutexGuard<'a, Option<Head>>,
    next: Head,
    staged: Vec<Staged>,
}

/// A generation that takes the place of another.
struct Swap {
    key: StreamKey,
    old: u32,
    new: u32,
}

impl Engine {
    /// Ends a run that succeeded: deletes, swaps, and whatever `rows` adds, durable together: it is told how many records
    /// were deleted. Returns the commit's number.
    pub(super) fn finish_refresh(
        &self,
        lease: &Lease,
        active: &ActiveRun,
        guard: &DeleteGuard,
        now: Timestamp,
        rows: impl FnOnce(u64) -> Result<Rows, StoreError>,
    ) -> Result<u64, StoreError> {
        let swaps = self.swaps(lease, guard)?;
        let mut due = self.due(lease, active, guard)?;
        // Two runs that end at once and share streams must take them in one order.
        due.sort_by_key(|due| due.cell.number);
        let mut deleted = 0;
        let mut last: Vec<Last<'_>> = Vec::new();
        for Due { cell, seen } in &due {
            let mut head = lock(&cell.head);
            let Some(current) = head.as_mut() else { continue };
            // Everything that is there has its extent, then.
            self.wait_durable(self.index.last_ticket())?;
            let doomed = self.unseen(cell.number, seen)?;
            deleted += doomed.len();
            let (next, staged) = self.delete_sequences(cell, current, &doomed, now)?;
            last.push(Last { cell, head, next, staged });
        }
        let old_cells: Vec<_> = {
            let streams = lock(&self.streams);
            swaps.iter().map(|swap| streams.cells.get(&swap.old).cloned()).collect()
        };
        let mut old_heads: Vec<_> = old_cells.iter().flatten().map(|cell| lock(&cell.head)).collect();
        let rows = rows(deleted)?;
        let ticket = self.commit(|group| {
            for Last { cell, head, next, staged } in &mut last {
                cell.put(group, *next, std::mem::take(staged));
                **head = Some(*next);
            }
            for Swap { key, old, new } in &swaps {
                let row = StreamRow { number: *new, building: None };
                group.put_row(keys::stream(key), Some(row.encode()));
                if *old != 0 {
                    group.drop_generation(*old);
                }
            }
            group.put_rows(rows);
        })?;
        let mut streams = lock(&self.streams);
        for Swap { key, old, new } in &swaps {
            streams.rows.insert(key.clone(), StreamRow { number: *new, building: None });
            streams.cells.remove(old);
        }
        drop(streams);
        for head in &mut old_heads {
            **head = None;
        }
        Ok(ticket)
    }

    fn swaps(&self, lease: &Lease, guard: &DeleteGuard) -> Result<Vec<Swap>, StoreError> {
        let mut swaps = Vec::new();
        for (key, row) in self.building(&lease.sync)? {
            let Some((new, _)) = row.building else { continue };
            let old_live = Head::read(&self.index, View::Applied, row.number)?.live;
            let new_live = Head::read(&self.index, View::Applied, new)?.live;
            check_guard(&key, guard, old_live, new_live.min(old_live))?;
            swaps.push(Swap { key, old: row.number, new });
        }
        Ok(swaps)
    }

    /// The streams that lose records, all checked by the guard.
    fn due(&self, lease: &Lease, active: &ActiveRun, guard: &DeleteGuard) -> Result<Vec<Due>, StoreError> {
        let mut due = Vec::new();
        for (model, account) in active.accounts.iter().filter(|(_, account)| account.deletes()) {
            let stream = lease.sync.stream(model);
            if let Some(cell) = self.stream(&stream, Some(&lease.sync))?
                && self.would_delete(&stream, &cell, account, guard)? > 0
            {
                due.push(Due { cell, seen: account.seen.clone() });
            }
        }
        Ok(due)
    }

    /// How many records an account's end deletes, if the guard lets it.
    pub(super) fn would_delete(
        &self,
        stream: &StreamKey,
        cell: &StreamCell,
        account: &Account,
        guard: &DeleteGuard,
    ) -> Result<u64, StoreError> {
        let (live, saved) = self.live_and_saved(cell, account)?;
        check_guard(stream, guard, live, saved)?;
        Ok(live.saturating_sub(saved))
    }

    /// How many records exist, and how many of those the account has seen.
    fn live_and_saved(&self, cell: &StreamCell, account: &Account) -> Result<(u64, u64), StoreError> {
        let head = lock(&cell.head);
        let Some(head) = head.as_ref() else { return Ok((0, 0)) };
        // Where every record that ever was still exists, so does every one in the account.
        if account.seen.is_empty() || head.live == u64::from(head.next_number) {
            return Ok((head.live, account.seen.len()));
        }
        // Otherwise another script may have deleted what this account has seen, now or before a checkpoint.
        let mut saved = 0;
        self.index.visit_places(cell.number, |_, place| {
            saved += u64::from(place.action != Action::Deleted && account.seen.contains(place.number));
            Ok(())
        })?;
        Ok((head.live, saved))
    }

    /// The sequences of the records that exist and were not seen.
    fn unseen(&self, stream: u32, seen: &RoaringBitmap) -> Result<RoaringTreemap, StoreError> {
        let mut unseen = RoaringTreemap::new();
        self.index.visit_places(stream, |_, place| {
            if place.action != Action::Deleted && !seen.contains(place.number) {
                unseen.insert(place.sequence);
            }
            Ok(())
        })?;
        Ok(unseen)
    }

    /// Deletes the records at these sequences. Commits all but the last of them, which it returns with the head after it.
    fn delete_sequences(
        &self,
        cell: &StreamCell,
        head: &mut Head,
        doomed: &RoaringTreemap,
        now: Timestamp,
    ) -> Result<(Head, Vec<Staged>), StoreError> {
        let mut next = *head;
        let (mut staged, mut bytes) = (Vec::new(), 0);
        let (Some(first), Some(last)) = (doomed.min(), doomed.max()) else { return Ok((next, staged)) };
        let horizons = Horizons::read(&self.index, cell.number)?;
        // Few of many is the rule: what holds none of them is not unpacked.
        let wanted = |first: u64, last: u64| doomed.rank(last) > doomed.rank(first.saturating_sub(1));
        let mut after = first - 1;
        loop {
            let walk = Walk { wanted: &wanted, ..Walk::all(after, last) };
            after = self.walk(cell.number, walk, |entry| {
                if !doomed.contains(entry.sequence) {
                    return Some(Next::GoOn);
                }
                next.last += 1;
                next.live = next.live.saturating_sub(1);
                bytes += entry.data.len();
                let entry = horizons.strip(entry.to_entry());
                staged.push(self.tombstone(cell.number, entry, next.last, now));
                let full = staged.len() >= DELETES_AT_ONCE || bytes >= MAX_DELETE_BYTES;
                Some(if full { Next::Stop } else { Next::GoOn })
            })?;
            if after >= last {
                return Ok((next, staged));
            }
            // Not while walking: a commit may wait for a checkpoint, and that for readers.
            self.commit_changes(cell, head, next, std::mem::take(&mut staged))?;
            bytes = 0;
        }
    }
}

/// Holds back a run that would leave too little of what exists.
#[expect(clippy::cast_precision_loss, reason = "a share of counts; no count here comes near 2⁵³")]
pub(in crate::store) fn check_guard(
    stream: &StreamKey,
    guard: &DeleteGuard,
    live: u64,
    saved: u64,
) -> Result<(), StoreError> {
    let would_delete = live.saturating_sub(saved);
    let guarded = !guard.allow && would_delete > 0 && live >= guard.min_records;
    if guarded && (saved == 0 || would_delete as f64 > live as f64 * guard.max_share) {
        return Err(StoreError::DeleteGuard { stream: Box::new(stream.clone()), would_delete, live, saved });
    }
    Ok(())
}
