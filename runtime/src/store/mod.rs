//! The store: keeps records, works out what really changed, and hands out the changes in commit order.
//!
//! The door is the trait [`Store`]; `docs` of its methods are the contract that every engine meets and that the
//! conformance suite in `tests/store` checks. Engines:
//!
//! - [`embedded::EmbeddedStore`]: an append-only log of compressed blocks with its index in sled and sorted files, in one
//!   directory.
//! - [`rehearsal::Rehearsal`]: in memory, over another that it only reads.
//!
//! What holds in every engine:
//!
//! 1. A batch is one atomic commit. Ids are compared by bytes; of an id given twice in a batch the last one counts.
//! 2. Every change gets the stream's next sequence number at commit. Readers see commits in that order and only once
//!    they are durable. A record that did not change makes no feed entry and no write.
//! 3. Changed or not is decided by the digest of the canonical JSON ([`canonical`]).
//! 4. The feed is compacted: it holds each record once, at the place of its last change. A reader that hands back its
//!    last cursor receives the final state of everything that changed, in order.
//! 5. Writes of a run carry its [`Lease`]; once another run has taken the sync over they are refused.

pub mod canonical;
pub mod cursor;
pub mod embedded;
mod error;
pub mod rehearsal;
mod suspicion;
mod types;

pub use error::StoreError;
pub use suspicion::{MAX_STRIKES, Offense, STOPPING, Suspicion};
pub use types::{
    Action, ActionFilter, Change, ChangePage, ChangesQuery, DeleteGuard, DocumentKind, Entry, Lease, Listing,
    ModelRule, Pruned, Reset, Retention, RunPage, RunStart, RunsQuery, SaveSummary, Script, StreamInfo, SyncState,
    UnseenIds,
};

use crate::ids::{ConnectionName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp};
use crate::run::{LogLine, Run};

/// The largest id of a record, in bytes. Part of the contract with scripts.
pub const MAX_ID_BYTES: usize = 512;
/// The largest record, in bytes of its JSON text. Part of the contract with scripts.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// The largest batch, in entries. Part of the contract with scripts.
pub const MAX_BATCH_ENTRIES: usize = 1_000;
/// The largest batch, in bytes of ids and JSON. Part of the contract with scripts.
pub const MAX_BATCH_BYTES: usize = 8 << 20;
/// The largest checkpoint, in bytes. It is read and written whole, often.
pub const MAX_CHECKPOINT_BYTES: usize = 64 << 10;
/// How many versions of a script are kept besides the active one.
pub const MAX_SCRIPT_VERSIONS: usize = 20;
/// The largest metadata of a connection, in bytes.
pub const MAX_METADATA_BYTES: usize = 256 << 10;

/// Everything that Terapi keeps. Calls block; async callers put them on a blocking thread. Handles are shared by
/// `Arc`.
pub trait Store: Send + Sync {
    /// Starts a run: takes the lease of its sync and stores the run. Refused with [`StoreError::SyncBusy`] while
    /// another run holds an unexpired lease; an expired one is taken over, and its run's writes are refused from then
    /// on. The [`Suspicion`] of that run's script grows, as it does for runs that are found under way when a store is opened
    /// whose process died.
    fn begin_run(&self, start: RunStart) -> Result<Lease, StoreError>;

    /// Extends a lease to `now` plus the time it was taken for.
    fn renew_lease(&self, lease: &Lease, now: Timestamp) -> Result<(), StoreError>;

    /// Saves a batch whole or not at all. Returns when applied; durable with the next checkpoint, the run's end, or
    /// shortly after on its own.
    fn save(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<SaveSummary, StoreError>;

    /// Merges top-level fields into existing records; unknown or deleted ids are added as given. All or none.
    fn update(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<SaveSummary, StoreError>;

    /// Marks records as deleted, keeping their last content; returns how many existed. All or none.
    fn delete(&self, lease: &Lease, model: &ModelName, ids: &[String], now: Timestamp) -> Result<u32, StoreError>;

    /// Starts, or goes on with, the account of what is saved to `model`.
    fn track_deletes_start(&self, lease: &Lease, model: &ModelName) -> Result<(), StoreError>;

    /// Ends the account and returns how many records [`Store::finish_run`] will delete.
    fn track_deletes_end(&self, lease: &Lease, model: &ModelName, guard: &DeleteGuard) -> Result<u64, StoreError>;

    /// Ids of records that exist and that the account has not seen, each once, in an order of the engine's own; what is saved
    /// meanwhile may be among them or not. Refused with [`StoreError::NotTracking`] where there is no account. A `limit` of 0
    /// is taken as 1.
    fn unseen(
        &self,
        lease: &Lease,
        model: &ModelName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<UnseenIds, StoreError>;

    /// The same of the account that was saved with the checkpoint from which the sync's next run goes on; `None` where there
    /// is no such account. Needs no lease.
    fn unseen_before(
        &self,
        sync: &SyncKey,
        model: &ModelName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<UnseenIds>, StoreError>;

    /// What the sync remembers.
    fn sync_state(&self, sync: &SyncKey) -> Result<SyncState, StoreError>;

    /// Replaces or, with `None`, clears the checkpoint. When it returns, the checkpoint and every batch before it are
    /// durable, together with the accounts of deletes.
    fn save_checkpoint(&self, lease: &Lease, checkpoint: Option<&str>) -> Result<(), StoreError>;

    /// Ends a run and releases its lease. If `run.outcome` is success, deletes what a full refresh or an ended account
    /// did not see, within the guard, and moves the last sync date to the run's start; otherwise deletes nothing.
    /// Adds the deletes to `run.changes`. Durable when it returns. Refused by the guard, it changes nothing and keeps
    /// the lease, so that the caller can finish the run as failed.
    fn finish_run(&self, lease: &Lease, run: &mut Run, guard: &DeleteGuard) -> Result<(), StoreError>;

    /// Forgets last sync date and checkpoint of a sync, so that its next run fetches everything; what becomes of the
    /// records says `mode`. Refused while a run is active.
    fn reset(&self, sync: &SyncKey, mode: &Reset, now: Timestamp) -> Result<(), StoreError>;

    /// The changes after a cursor, oldest first.
    fn changes(&self, stream: &StreamKey, query: &ChangesQuery) -> Result<ChangePage, StoreError>;

    /// The last change of each of these records, in the order asked; unknown ids are left out. Durable when it returns.
    fn changes_of(&self, stream: &StreamKey, ids: &[String]) -> Result<Vec<Change>, StoreError>;

    /// Changes its value, whatever that is, whenever readers of the stream may see more than before. Who waits for changes
    /// takes this first, then reads, then waits.
    fn watch(&self, stream: &StreamKey) -> tokio::sync::watch::Receiver<u64>;

    /// The records with these ids that exist, in the order asked. Sees what is applied, durable or not. A sync that asks
    /// while it builds a new generation of the stream is answered from that one.
    fn get(&self, stream: &StreamKey, sync: Option<&SyncKey>, ids: &[String]) -> Result<Vec<Entry>, StoreError>;

    /// Records that exist, those that changed longest ago first, as they were when the listing began or later: one that is
    /// changed while it is listed may be left out. Sees what is applied, durable or not, and for `sync` like
    /// [`Store::get`]. A `limit` of 0 is taken as 1.
    fn list(
        &self,
        stream: &StreamKey,
        sync: Option<&SyncKey>,
        after: Option<&str>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Listing, StoreError>;

    /// What is pruned, and when.
    fn retention(&self) -> Result<Retention, StoreError>;

    /// Sets what is pruned from now on. Durable when it returns.
    fn set_retention(&self, retention: &Retention) -> Result<(), StoreError>;

    /// Prunes what is older at `now` than the retention says. Readers whose cursor lies before what was pruned are
    /// refused with [`StoreError::PastRetention`].
    fn prune(&self, now: Timestamp) -> Result<Pruned, StoreError>;

    /// Every stream, by name.
    fn streams(&self) -> Result<Vec<StreamInfo>, StoreError>;

    /// A connection's metadata: a JSON object, `{}` if none was set.
    fn metadata(&self, connection: &ConnectionName) -> Result<String, StoreError>;

    /// Replaces a connection's metadata, a JSON object. Durable when it returns.
    fn set_metadata(&self, connection: &ConnectionName, value: &str) -> Result<(), StoreError>;

    /// Replaces the given top-level fields of the metadata atomically. Durable when it returns.
    fn update_metadata(&self, connection: &ConnectionName, fields: &str) -> Result<(), StoreError>;

    /// Forgets a connection: its metadata, records, runs and logs, and what its syncs remember. Documents are not its
    /// business. Refused with [`StoreError::SyncBusy`] while one of its runs is active. Durable when it returns.
    fn delete_connection(&self, connection: &ConnectionName) -> Result<(), StoreError>;

    /// A small JSON text that the service keeps under a name.
    fn document(&self, kind: DocumentKind, key: &str) -> Result<Option<String>, StoreError>;

    /// Documents whose keys begin with `prefix`, by key, from behind `after` on, at most `limit`.
    fn documents(
        &self,
        kind: DocumentKind,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError>;

    /// Keeps a document, or with `None` forgets it. Durable with [`Store::sync`], or shortly after on its own.
    fn put_document(&self, kind: DocumentKind, key: &str, value: Option<&str>) -> Result<(), StoreError>;

    /// Deploys a script under its name as its next version, which is returned and becomes the active one. The same bytes
    /// as the active version's change no more than its limits and its integration. Of old versions the last
    /// [`MAX_SCRIPT_VERSIONS`] are kept. Durable when it returns.
    fn put_script(&self, script: &Script, bytes: &[u8]) -> Result<Script, StoreError>;

    /// Every version of a script that is kept, the newest first.
    fn script_versions(&self, name: &ScriptName) -> Result<Vec<Script>, StoreError>;

    /// Makes a version the active one; `None` if there is no such version. Durable when it returns.
    fn activate_script(&self, name: &ScriptName, version: u32) -> Result<Option<Script>, StoreError>;

    /// Every deployed script, by name.
    fn scripts(&self) -> Result<Vec<Script>, StoreError>;

    /// The script deployed under a name.
    fn script(&self, name: &ScriptName) -> Result<Option<Script>, StoreError>;

    /// The bytes of a deployed script.
    fn script_bytes(&self, hash: &ScriptHash) -> Result<Option<Vec<u8>>, StoreError>;

    /// Takes a script away; its records stay. Says whether there was one.
    fn remove_script(&self, name: &ScriptName) -> Result<bool, StoreError>;

    /// Stores a run that has no lease: an action's. One without an outcome has begun: should the process die, it is noted as
    /// interrupted like a sync's. With one it has ended, and is durable when this returns.
    fn put_run(&self, run: &Run) -> Result<(), StoreError>;

    /// One run.
    fn run(&self, id: RunId) -> Result<Option<Run>, StoreError>;

    /// Runs, the newest first.
    fn runs(&self, query: &RunsQuery) -> Result<RunPage, StoreError>;

    /// Forgets runs that started before `cutoff` and ended, with their logs and traces. Returns how many those were.
    fn forget_runs_before(&self, cutoff: Timestamp) -> Result<u64, StoreError>;

    /// Keeps the trace of a run's requests, a JSON text.
    fn put_trace(&self, run: RunId, trace: &str) -> Result<(), StoreError>;

    /// The trace of a run's requests.
    fn trace(&self, run: RunId) -> Result<Option<String>, StoreError>;

    /// Adds lines to a run's log.
    fn append_log(&self, run: RunId, lines: &[LogLine]) -> Result<(), StoreError>;

    /// A run's log, in order.
    fn log(&self, run: RunId) -> Result<Vec<LogLine>, StoreError>;

    /// Returns when everything applied so far is durable.
    fn sync(&self) -> Result<(), StoreError>;
}
