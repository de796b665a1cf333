//! The store against a plain model of it in memory: whatever is done in whatever order, both say the same, and every
//! reader ends with what there is.
//!
//! A little over 500 lines: the model and the world that checks the store against it are one thing.

mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};
use serde_json::Value;
use terapi::ids::{RunId, StreamKey, SyncKey, Timestamp};
use terapi::run::Outcome;
use terapi::store::{
    Action, Change, DeleteGuard, Lease, ModelRule, RunStart, RunsQuery, SaveSummary, Store, StoreError, StreamInfo,
    SyncState,
};

use self::steps::{Batch, Fields, Step, step};
use crate::store::{
    Embedded, Engine, Reader, UNGUARDED, a_run, entry, failure, list_all, model, now, setting, stream, sync,
};

const SYNCS: [&str; 2] = ["one", "two"];
/// The second ignores the field `t`.
const MODELS: [&str; 2] = ["Issue", "Pull"];
/// Two that share a beginning, two that differ in a zero byte.
const IDS: [&str; 6] = ["a", "a\0", "ab", "é", "e\u{301}", "z"];
const READERS: usize = 3;
const LEASE_MS: u64 = 1_000;
/// Small, so that the streams here are large enough for it.
const GUARD: DeleteGuard = DeleteGuard { min_records: 3, max_share: 0.5, allow: false };

#[derive(Debug, Clone)]
struct Record {
    sequence: u64,
    action: Action,
    fields: Fields,
    first_seen: Timestamp,
    modified: Timestamp,
}

#[derive(Default)]
struct Stream {
    last: u64,
    records: BTreeMap<usize, Record>,
}

impl Stream {
    fn live(&self, id: usize) -> Option<&Record> {
        self.records.get(&id).filter(|record| record.action != Action::Deleted)
    }

    fn live_ids(&self) -> BTreeSet<usize> {
        self.records.keys().copied().filter(|id| self.live(*id).is_some()).collect()
    }

    fn put(&mut self, id: usize, action: Action, fields: Fields, first_seen: Timestamp, modified: Timestamp) {
        self.last += 1;
        self.records.insert(id, Record { sequence: self.last, action, fields, first_seen, modified });
    }

    fn delete(&mut self, id: usize, at: Timestamp) {
        if let Some(record) = self.live(id).cloned() {
            self.put(id, Action::Deleted, record.fields, record.first_seen, at);
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Account {
    seen: BTreeSet<usize>,
    deletes: bool,
}

struct Active {
    lease: Lease,
    run: terapi::run::Run,
    expires: Timestamp,
    refresh: [bool; 2],
    accounts: BTreeMap<usize, Account>,
}

#[derive(Default)]
struct Sync {
    active: Option<Active>,
    state: SyncState,
    /// What goes on with the checkpoint.
    carried: BTreeMap<usize, BTreeSet<usize>>,
}

/// The store under test, and what should be in it.
struct World {
    engine: Embedded,
    store: Option<Arc<dyn Store>>,
    streams: [Stream; 2],
    syncs: [Sync; 2],
    stale: Vec<Lease>,
    runs: BTreeMap<RunId, Option<&'static str>>,
    readers: [Reader; READERS],
    /// Every place where a reader has been, and what it had then.
    held: Vec<(usize, Reader)>,
}

fn rule_of(model_number: usize) -> ModelRule {
    let ignore = if model_number == 1 { vec!["t".to_owned()] } else { Vec::new() };
    ModelRule { name: model(MODELS[model_number]), ignore }
}

fn stream_key(model: usize) -> StreamKey {
    stream("c", MODELS[model])
}

fn sync_key(number: usize) -> SyncKey {
    sync(SYNCS[number], "c")
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

impl World {
    fn new() -> Self {
        let engine = Embedded::new();
        let store = Some(engine.open());
        Self {
            engine,
            store,
            streams: Default::default(),
            syncs: Default::default(),
            stale: Vec::new(),
            runs: BTreeMap::new(),
            readers: Default::default(),
            held: Vec::new(),
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    fn begin(&mut self, number: usize, refresh: [bool; 2], late: bool) {
        let mut run = a_run(&sync_key(number));
        if late {
            run.started_at.0 += 2 * LEASE_MS;
        }
        let refreshes = (0..2).filter(|model| refresh[*model]).map(|model| rule_of(model).name).collect();
        let result = self.store().begin_run(RunStart { run: run.clone(), lease_ms: LEASE_MS, refreshes });
        let sync = &mut self.syncs[number];
        if let Some(active) = &sync.active {
            if active.expires > run.started_at {
                assert!(matches!(result, Err(StoreError::SyncBusy(holder)) if holder == active.run.id), "{result:?}");
                return;
            }
            self.stale.push(active.lease.clone());
            self.runs.insert(active.run.id, Some("interrupted"));
        }
        let lease = result.expect("begin");
        let mut accounts = BTreeMap::new();
        for model in (0..2).filter(|model| refresh[*model]) {
            accounts
                .insert(model, Account { seen: sync.carried.get(&model).cloned().unwrap_or_default(), deletes: true });
        }
        self.runs.insert(run.id, None);
        let expires = Timestamp(run.started_at.0 + LEASE_MS);
        sync.active = Some(Active { lease, run, expires, refresh, accounts });
    }

    fn save(&mut self, number: usize, model: usize, batch: &Batch, merge: bool) {
        let Some(active) = &mut self.syncs[number].active else { return };
        let stream = &mut self.streams[model];
        let at = now();
        let mut expected = SaveSummary::default();
        for (index, (id, new, _)) in batch.iter().enumerate() {
            if batch.iter().skip(index + 1).any(|(later, _, _)| later == id) {
                expected.repeated += 1;
                continue;
            }
            let old = stream.live(*id).cloned();
            let new = old.as_ref().filter(|_| merge).map_or(*new, |old| old.fields.merged(*new));
            match old {
                Some(old) if old.fields.compared(model) == new.compared(model) => expected.unchanged += 1,
                Some(old) => {
                    expected.updated += 1;
                    stream.put(*id, Action::Updated, new, old.first_seen, at);
                }
                None => {
                    expected.added += 1;
                    stream.put(*id, Action::Added, new, at, at);
                }
            }
            if let Some(account) = active.accounts.get_mut(&model) {
                account.seen.insert(*id);
            }
        }
        let entries: Vec<_> = batch.iter().map(|(id, fields, odd)| entry(IDS[*id], &fields.json(*odd))).collect();
        let store = self.store.as_ref().unwrap();
        let result = if merge {
            store.update(&active.lease, &rule_of(model), &entries, at)
        } else {
            store.save(&active.lease, &rule_of(model), &entries, at)
        };
        assert_eq!(result.expect("save"), expected);
    }

    fn bad_batch(&self, number: usize, model: usize, batch: &Batch, at: usize, merge: bool) {
        let Some(active) = &self.syncs[number].active else { return };
        let mut entries: Vec<_> = batch.iter().map(|(id, fields, odd)| entry(IDS[*id], &fields.json(*odd))).collect();
        let at = at.min(entries.len());
        let bad = [entry("", "{}"), entry("a", "{"), entry("new", "[1]")][at % 3].clone();
        entries.insert(at, bad);
        let result = if merge {
            self.store().update(&active.lease, &rule_of(model), &entries, now())
        } else {
            self.store().save(&active.lease, &rule_of(model), &entries, now())
        };
        assert!(matches!(result, Err(StoreError::InvalidRecord { index, .. }) if index == at), "{result:?}");
    }

    fn delete(&mut self, number: usize, model: usize, ids: &[usize]) {
        let Some(active) = &mut self.syncs[number].active else { return };
        let stream = &mut self.streams[model];
        let (at, mut expected) = (now(), 0);
        for id in ids {
            if stream.live(*id).is_some() {
                expected += 1;
                stream.delete(*id, at);
                if let Some(account) = active.accounts.get_mut(&model) {
                    account.seen.remove(id);
                }
            }
        }
        let names: Vec<_> = ids.iter().map(|id| IDS[*id].to_owned()).collect();
        let store = self.store.as_ref().unwrap();
        let deleted = store.delete(&active.lease, &rule_of(model).name, &names, at).expect("delete");
        assert_eq!(deleted, expected);
    }

    /// How many records an account deletes, or that the guard refuses it.
    fn would_delete(&self, account: &Account, model: usize, guard: &DeleteGuard) -> Option<u64> {
        let live = self.streams[model].live_ids();
        let saved = live.intersection(&account.seen).count();
        let count = live.len() - saved;
        let held_back = !guard.allow
            && count > 0
            && live.len() as u64 >= guard.min_records
            && (saved == 0 || count * 2 > live.len());
        (!held_back).then_some(count as u64)
    }

    fn track_start(&mut self, number: usize, model: usize) {
        let sync = &mut self.syncs[number];
        let Some(active) = &mut sync.active else { return };
        self.store.as_ref().unwrap().track_deletes_start(&active.lease, &rule_of(model).name).expect("track");
        let carried = &sync.carried;
        let account = active
            .accounts
            .entry(model)
            .or_insert_with(|| Account { seen: carried.get(&model).cloned().unwrap_or_default(), deletes: false });
        account.deletes = active.refresh[model];
    }

    fn track_end(&mut self, number: usize, model: usize, guarded: bool) {
        let guard = if guarded { GUARD } else { UNGUARDED };
        let Some(active) = &self.syncs[number].active else { return };
        let result = self.store().track_deletes_end(&active.lease, &rule_of(model).name, &guard);
        let Some(account) = active.accounts.get(&model) else {
            assert!(matches!(result, Err(StoreError::NotTracking(_))), "{result:?}");
            return;
        };
        let Some(count) = self.would_delete(account, model, &guard) else {
            assert!(matches!(result, Err(StoreError::DeleteGuard { .. })), "{result:?}");
            return;
        };
        assert_eq!(result.expect("end an account"), count);
        if let Some(account) = self.syncs[number].active.as_mut().and_then(|active| active.accounts.get_mut(&model)) {
            account.deletes = true;
        }
    }

    fn checkpoint(&mut self, number: usize, value: Option<u8>) {
        let sync = &mut self.syncs[number];
        let Some(active) = &mut sync.active else { return };
        let text = value.map(|value| format!(r#"{{"page":{value}}}"#));
        self.store.as_ref().unwrap().save_checkpoint(&active.lease, text.as_deref()).expect("save a checkpoint");
        if text.is_none() {
            sync.carried.clear();
        } else {
            sync.carried.extend(active.accounts.iter().map(|(model, account)| (*model, account.seen.clone())));
        }
        sync.state.checkpoint = text;
    }

    fn finish(&mut self, number: usize, success: bool, guarded: bool) {
        let guard = if guarded { GUARD } else { UNGUARDED };
        let store = self.store();
        let Some(mut active) = self.syncs[number].active.take() else { return };
        let at = now();
        active.run.ended_at = Some(at);
        active.run.outcome = Some(if success { Outcome::Succeeded } else { failure() });
        let result = store.finish_run(&active.lease, &mut active.run, &guard);
        let due: Vec<_> = active.accounts.iter().filter(|(_, account)| success && account.deletes).collect();
        if due.iter().any(|(model, account)| self.would_delete(account, **model, &guard).is_none()) {
            assert!(matches!(result, Err(StoreError::DeleteGuard { .. })), "{result:?}");
            assert_eq!(active.run.changes.deleted, 0);
            self.syncs[number].active = Some(active);
            return;
        }
        result.expect("finish");
        let mut deleted = 0;
        for (model, account) in due {
            let doomed: Vec<_> = self.streams[*model].live_ids().difference(&account.seen).copied().collect();
            deleted += doomed.len() as u64;
            self.delete_in_any_order(*model, &doomed, at);
        }
        assert_eq!(active.run.changes.deleted, deleted);
        self.runs.insert(active.run.id, Some(if success { "succeeded" } else { "script-transient" }));
        let sync = &mut self.syncs[number];
        if success {
            sync.state.last_sync_date = Some(active.run.started_at);
            if sync.state.checkpoint.is_none() {
                sync.carried.clear();
            }
            for (model, account) in &active.accounts {
                if account.deletes {
                    sync.carried.remove(model);
                } else if sync.state.checkpoint.is_some() {
                    sync.carried.insert(*model, account.seen.clone());
                }
            }
        }
        self.stale.push(active.lease);
    }

    /// In which order a refresh deletes is the engine's choice: take it from the feed.
    fn delete_in_any_order(&mut self, model: usize, doomed: &[usize], at: Timestamp) {
        let last = self.streams[model].last;
        let mut reader = Reader::default();
        let changes = reader.catch_up(&*self.store(), &stream_key(model), 100);
        let found: Vec<_> = changes.iter().filter(|change| change.sequence > last).collect();
        assert_eq!(found.len(), doomed.len(), "the refresh deletes {doomed:?}: {found:?}");
        for change in found {
            let id = IDS.iter().position(|id| *id == change.id).unwrap();
            assert!(doomed.contains(&id), "{change:?} should not be deleted");
            self.streams[model].delete(id, at);
        }
    }

    fn reset(&mut self, number: usize, late: bool) {
        let mut at = now();
        if late {
            at.0 += 2 * LEASE_MS;
        }
        let result = self.store().reset(&sync_key(number), &terapi::store::Reset::Refetch, at);
        let sync = &mut self.syncs[number];
        if let Some(active) = &sync.active {
            if active.expires > at {
                assert!(matches!(result, Err(StoreError::SyncBusy(_))), "{result:?}");
                return;
            }
            self.stale.push(active.lease.clone());
            self.runs.insert(active.run.id, Some("interrupted"));
        }
        result.expect("reset");
        *sync = Sync::default();
    }

    /// What the index knows is in the log too: without it, everything must come back.
    fn reopen(&mut self, rebuild: bool) {
        self.store = None;
        if rebuild {
            std::fs::remove_dir_all(self.engine.dir.path().join("index")).unwrap();
        }
        self.store = Some(self.engine.open());
        for sync in &mut self.syncs {
            if let Some(active) = sync.active.take() {
                self.runs.insert(active.run.id, Some("interrupted"));
                self.stale.push(active.lease);
            }
        }
    }

    fn read(&mut self, number: usize, limit: usize, whole: bool) {
        let (store, key) = (self.store(), stream_key(number % 2));
        let reader = &mut self.readers[number];
        self.held.push((number % 2, reader.clone()));
        if whole {
            store.sync().unwrap();
            reader.catch_up(&*store, &key, limit);
            self.assert_reader(number % 2, &self.readers[number]);
        } else {
            reader.page(&*store, &key, limit);
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Begin { sync, refresh, late } => self.begin(*sync, *refresh, *late),
            Step::Save { sync, model, batch } => self.save(*sync, *model, batch, false),
            Step::Update { sync, model, batch } => self.save(*sync, *model, batch, true),
            Step::BadBatch { sync, model, batch, at, merge } => self.bad_batch(*sync, *model, batch, *at, *merge),
            Step::Delete { sync, model, ids } => self.delete(*sync, *model, ids),
            Step::StaleSave { model } => {
                for lease in &self.stale {
                    let result = self.store().save(lease, &rule_of(*model), &[entry("stale", "{}")], now());
                    assert!(matches!(result, Err(StoreError::LeaseLost)), "{result:?}");
                }
            }
            Step::TrackStart { sync, model } => self.track_start(*sync, *model),
            Step::TrackEnd { sync, model, guarded } => self.track_end(*sync, *model, *guarded),
            Step::Checkpoint { sync, value } => self.checkpoint(*sync, *value),
            Step::Finish { sync, success, guarded } => self.finish(*sync, *success, *guarded),
            Step::Reset { sync, late } => self.reset(*sync, *late),
            Step::Reopen { rebuild } => self.reopen(*rebuild),
            Step::Sync => self.store().sync().unwrap(),
            Step::Read { reader, limit, whole } => self.read(*reader, *limit, *whole),
            Step::Rewind { reader, to } => {
                let held: Vec<_> = self.held.iter().filter(|(model, _)| model % 2 == reader % 2).collect();
                if !held.is_empty() {
                    self.readers[*reader] = held[to % held.len()].1.clone();
                }
            }
        }
    }

    /// What `get`, `list` and `sync_state` say is what should be there.
    fn assert_applied(&self) {
        let store = self.store();
        for (number, sync) in self.syncs.iter().enumerate() {
            assert_eq!(store.sync_state(&sync_key(number)).unwrap(), sync.state);
        }
        for (number, stream) in self.streams.iter().enumerate() {
            let key = stream_key(number);
            let asked: Vec<_> = IDS.iter().map(|id| (*id).to_owned()).collect();
            let found = store.get(&key, None, &asked).unwrap();
            let found: Vec<_> = found.iter().map(|entry| (entry.id.as_str(), value(&entry.data))).collect();
            let of = |id: usize| (IDS[id], value(&stream.records[&id].fields.json(false)));
            assert_eq!(found, stream.live_ids().into_iter().map(of).collect::<Vec<_>>());
            let listed = list_all(&*store, &key, 2);
            let listed: Vec<_> = listed.iter().map(|entry| (entry.id.as_str(), value(&entry.data))).collect();
            let mut expected: Vec<_> = stream.live_ids().into_iter().collect();
            expected.sort_unstable_by_key(|id| stream.records[id].sequence);
            assert_eq!(listed, expected.into_iter().map(of).collect::<Vec<_>>());
        }
    }

    /// A reader that has caught up has what there is.
    fn assert_reader(&self, model: usize, reader: &Reader) {
        let replica: BTreeMap<_, _> = reader.replica.iter().map(|(id, data)| (id.as_str(), value(data))).collect();
        let stream = &self.streams[model];
        let expected =
            stream.live_ids().into_iter().map(|id| (IDS[id], value(&stream.records[&id].fields.json(false))));
        assert_eq!(replica, expected.collect());
    }

    fn assert_all(&mut self) {
        self.assert_applied();
        let store = self.store();
        store.sync().unwrap();
        let mut infos = Vec::new();
        for (number, stream) in self.streams.iter().enumerate() {
            let changes = Reader::default().catch_up(&*store, &stream_key(number), 3);
            let mut expected: Vec<_> = stream.records.iter().collect();
            expected.sort_unstable_by_key(|(_, record)| record.sequence);
            assert_eq!(changes.len(), expected.len(), "{changes:?}");
            for (change, (id, record)) in changes.iter().zip(expected) {
                assert_eq!(value(&change.data), value(&record.fields.json(false)));
                let expected = Change {
                    sequence: record.sequence,
                    id: IDS[*id].to_owned(),
                    action: record.action,
                    data: change.data.clone(),
                    first_seen_at: record.first_seen,
                    last_modified_at: record.modified,
                    cursor: change.cursor.clone(),
                };
                assert_eq!(*change, expected);
            }
            if stream.last > 0 {
                let live = stream.live_ids().len() as u64;
                infos.push(StreamInfo { stream: stream_key(number), live, changes: stream.last });
            }
        }
        assert_eq!(store.streams().unwrap(), infos);
        for (id, outcome) in &self.runs {
            let run = store.run(*id).unwrap().expect("the run is stored");
            assert_eq!(run.outcome.as_ref().map(Outcome::code), *outcome);
        }
        assert_eq!(store.runs(&RunsQuery::newest(1_000)).unwrap().runs.len(), self.runs.len());
        for number in 0..READERS {
            self.readers[number].catch_up(&*store, &stream_key(number % 2), 2);
            self.assert_reader(number % 2, &self.readers[number]);
        }
        for (model, mut reader) in std::mem::take(&mut self.held) {
            reader.catch_up(&*store, &stream_key(model), 4);
            self.assert_reader(model, &reader);
        }
    }
}

/// `TERAPI_STORE_CASES` and `TERAPI_STORE_SEED` make it longer and make it the same again.
#[test]
fn the_store_and_its_model_agree_whatever_is_done() {
    let _quick = crate::store::sync_calls::SkipSyncs::new();
    let seed = setting("TERAPI_STORE_SEED", rand::random());
    eprintln!("TERAPI_STORE_SEED={seed}");
    let config = ProptestConfig {
        cases: u32::try_from(setting("TERAPI_STORE_CASES", 250)).unwrap(),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..70), |steps| {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
            world.assert_applied();
        }
        world.assert_all();
        world.reopen(false);
        world.assert_all();
        world.reopen(true);
        world.assert_all();
        Ok::<_, TestCaseError>(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
