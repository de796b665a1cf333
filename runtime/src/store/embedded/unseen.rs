//! What a tracked refresh has not seen yet, before its end decides over it.

use roaring::RoaringBitmap;

use super::commit::locked;
use super::{Engine, keys};
use crate::ids::{ModelName, SyncKey};
use crate::store::{Action, Lease, StoreError, UnseenIds};

impl Engine {
    pub(super) fn unseen_ids(
        &self,
        lease: &Lease,
        model: &ModelName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<UnseenIds, StoreError> {
        self.with_lease(lease, |run| {
            let account = run.accounts.get(model).ok_or_else(|| StoreError::NotTracking(model.clone()))?;
            self.not_in(&account.seen, &lease.sync, model, after, limit)
        })
    }

    pub(super) fn unseen_before(
        &self,
        sync: &SyncKey,
        model: &ModelName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<UnseenIds>, StoreError> {
        let Some(seen) = self.saved_accounts(sync)?.remove(model) else { return Ok(None) };
        self.not_in(&seen, sync, model, after, limit).map(Some)
    }

    /// In the order of the places: records that change while they are listed keep theirs.
    fn not_in(
        &self,
        seen: &RoaringBitmap,
        sync: &SyncKey,
        model: &ModelName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<UnseenIds, StoreError> {
        let stream = sync.stream(model);
        let found = locked(
            self,
            |engine| engine.stream(&stream, Some(sync)),
            |cell, _| {
                let bad = || StoreError::BadCursor(Box::new(stream.clone()));
                let last = after.map(|token| keys::parse_place_token(cell.number, token).ok_or_else(bad));
                let last = last.transpose()?;
                let mut places = Vec::new();
                let mut reached = None;
                let mut more = false;
                self.index.visit_places_from(cell.number, last, |key, place| {
                    let wanted = place.action != Action::Deleted && !seen.contains(place.number);
                    if wanted && last != Some(*key) {
                        more = places.len() == limit.max(1);
                        if !more {
                            places.push(place);
                            reached = Some(*key);
                        }
                    }
                    Ok(!more)
                })?;
                let ids = self.contents(cell.number, &places)?.into_iter().map(|entry| entry.id).collect();
                Ok(UnseenIds { ids, next: reached.filter(|_| more).map(|key| keys::place_token(&key)) })
            },
        )?;
        Ok(found.unwrap_or_default())
    }
}
