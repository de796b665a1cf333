//! One stream of a rehearsal: what was written over what is there.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ids::{StreamKey, SyncKey};
use crate::store::{Entry, Listing, Store, StoreError};

/// Records that are read at a time where all are.
const READ_AT_ONCE: usize = 1_000;
/// Bytes of them.
const MAX_READ_BYTES: usize = 4 << 20;

/// 16 bytes stand for an id, where a million of them are remembered.
pub(super) fn hash(id: &str) -> u128 {
    let hash: [u8; 32] = blake3::hash(id.as_bytes()).into();
    let (half, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
    u128::from_le_bytes(*half)
}

/// Which records were saved since an account of deletes was opened.
#[derive(Default)]
pub(super) struct Account {
    seen: HashSet<u128>,
    /// Where it goes on from a checkpoint: what exists and was not seen before that.
    unseen_before: Option<HashSet<u128>>,
    /// A full refresh's, which the run's success ends.
    refresh: bool,
    /// Ended by the script.
    pub(super) ended: bool,
}

impl Account {
    pub(super) fn going_on(unseen_before: Option<HashSet<u128>>) -> Self {
        Self { unseen_before, ..Self::default() }
    }

    pub(super) fn of_a_refresh(self) -> Self {
        Self { refresh: true, ..self }
    }

    pub(super) fn deletes(&self) -> bool {
        self.refresh || self.ended
    }

    pub(super) fn see(&mut self, id: &str) {
        self.seen.insert(hash(id));
    }

    pub(super) fn has_seen(&self, id: &str) -> bool {
        let id = hash(id);
        self.seen.contains(&id) || self.unseen_before.as_ref().is_some_and(|unseen| !unseen.contains(&id))
    }

    /// It was deleted.
    pub(super) fn forget(&mut self, id: &str) {
        let id = hash(id);
        self.seen.remove(&id);
        if let Some(unseen) = &mut self.unseen_before {
            unseen.insert(id);
        }
    }
}

/// A stream of the store below, for the sync that asks.
pub(super) struct Below<'a> {
    pub(super) store: Option<&'a dyn Store>,
    pub(super) stream: &'a StreamKey,
    pub(super) sync: Option<&'a SyncKey>,
}

impl Below<'_> {
    fn get(&self, ids: &[String]) -> Result<Vec<Entry>, StoreError> {
        self.store.map_or_else(|| Ok(Vec::new()), |store| store.get(self.stream, self.sync, ids))
    }

    fn list(&self, after: Option<&str>, limit: usize, max_bytes: usize) -> Result<Listing, StoreError> {
        self.store.map_or_else(
            || Ok(Listing { entries: Vec::new(), next: None }),
            |store| store.list(self.stream, self.sync, after, limit, max_bytes),
        )
    }

    pub(super) fn each_id(&self, mut visit: impl FnMut(&str)) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.list(after.as_deref(), READ_AT_ONCE, MAX_READ_BYTES)?;
            for entry in &page.entries {
                visit(&entry.id);
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// What became of a record.
pub(super) struct Staged {
    /// Whether it is in the store below.
    pub(super) existed: bool,
    /// What it is now; `None` if it is deleted.
    pub(super) data: Option<String>,
    order: u64,
}

/// What was written to a stream.
#[derive(Default)]
pub(super) struct Overlay {
    /// What is below does not count: it is collected anew.
    pub(super) emptied: bool,
    staged: HashMap<String, Staged>,
    order: BTreeMap<u64, String>,
    last: u64,
}

impl Overlay {
    pub(super) fn emptied() -> Self {
        Self { emptied: true, ..Self::default() }
    }

    /// Writes a record. `exists` says whether there was one just now.
    pub(super) fn put(&mut self, id: &str, exists: bool, data: Option<String>) {
        self.last += 1;
        let existed = match self.staged.get(id) {
            Some(before) => {
                self.order.remove(&before.order);
                before.existed
            }
            None => exists,
        };
        self.order.insert(self.last, id.to_owned());
        self.staged.insert(id.to_owned(), Staged { existed, data, order: self.last });
    }

    /// What was written, in the order of the last change.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&str, &Staged)> {
        self.order.values().filter_map(|id| Some((id.as_str(), self.staged.get(id)?)))
    }

    /// The records with these ids that exist, in the order asked.
    pub(super) fn get(&self, below: &Below<'_>, ids: &[String]) -> Result<Vec<(String, String)>, StoreError> {
        let elsewhere: Vec<String> = if self.emptied {
            Vec::new()
        } else {
            ids.iter().filter(|id| !self.staged.contains_key(*id)).cloned().collect()
        };
        let mut found: HashMap<String, String> = HashMap::new();
        if !elsewhere.is_empty() {
            found.extend(below.get(&elsewhere)?.into_iter().map(|entry| (entry.id, entry.data)));
        }
        let current = |id: &String| match self.staged.get(id) {
            Some(staged) => staged.data.clone(),
            None => found.get(id).cloned(),
        };
        Ok(ids.iter().filter_map(|id| Some((id.clone(), current(id)?))).collect())
    }

    /// Each record that exists.
    pub(super) fn each_id(&self, below: &Below<'_>, mut visit: impl FnMut(&str)) -> Result<(), StoreError> {
        if !self.emptied {
            below.each_id(|id| {
                if !self.staged.contains_key(id) {
                    visit(id);
                }
            })?;
        }
        for (id, staged) in self.in_order() {
            if staged.data.is_some() {
                visit(id);
            }
        }
        Ok(())
    }

    /// Some records: those below that nobody wrote to, then what was written, as it was when the listing began.
    pub(super) fn list(
        &self,
        below: &Below<'_>,
        after: Option<&str>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Listing, StoreError> {
        let bad = || StoreError::BadCursor(Box::new(below.stream.clone()));
        let (until, place) = match after {
            None => (self.last, None),
            Some(token) => {
                let (until, place) = token.split_once(':').ok_or_else(bad)?;
                (until.parse().map_err(|_| bad())?, Some(place))
            }
        };
        let mut written_after = 0;
        match place.map(|place| place.split_at_checked(1).unwrap_or(("", ""))) {
            Some(("w", place)) => written_after = place.parse().map_err(|_| bad())?,
            Some(("b", _)) | None if !self.emptied => {
                let place = place.and_then(|place| place.get(1..));
                let mut page = below.list(place, limit, max_bytes)?;
                page.entries.retain(|entry| !self.staged.contains_key(&entry.id));
                let next = page.next.map_or_else(|| format!("{until}:w0"), |next| format!("{until}:b{next}"));
                return Ok(Listing { entries: page.entries, next: Some(next) });
            }
            None => {}
            Some(_) => return Err(bad()),
        }
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, None);
        for (order, id) in self.order.range(written_after + 1..) {
            if *order > until {
                break;
            }
            if entries.len() >= limit || bytes >= max_bytes {
                next = Some(format!("{until}:w{}", order - 1));
                break;
            }
            if let Some(data) = self.staged.get(id).and_then(|staged| staged.data.clone()) {
                bytes += data.len();
                entries.push(Entry { id: id.clone(), data });
            }
        }
        Ok(Listing { entries, next })
    }
}
