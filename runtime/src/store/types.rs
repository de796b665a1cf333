//! The values that go through the store's door.

use serde::{Deserialize, Serialize};

use crate::ids::{
    ConnectionName, IntegrationName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp, Variant,
};
use crate::run::Run;

/// One record on its way in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 512 bytes, any text.
    pub id: String,
    /// A JSON object as text.
    pub data: String,
}

/// What the store must know of a model to compare its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRule {
    /// Its name.
    pub name: ModelName,
    /// Top-level fields whose change alone is no change.
    pub ignore: Vec<String>,
}

/// What is needed to start a run.
#[derive(Debug, Clone)]
pub struct RunStart {
    /// The run as it starts: no outcome yet. `run.started_at` is now.
    pub run: Run,
    /// For how long the lease holds without being renewed, in milliseconds.
    pub lease_ms: u64,
    /// The models whose unsaved records a success deletes: all of them for a full refresh, none for an incremental.
    pub refreshes: Vec<ModelName>,
}

/// The right of one run to write to its sync. A later lease of the same sync has a greater token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub sync: SyncKey,
    /// Held by which run.
    pub run: RunId,
    /// The fencing token.
    pub token: u64,
}

/// What a batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaveSummary {
    /// New, or deleted before.
    pub added: u32,
    /// Known, and different.
    pub updated: u32,
    /// Known, and the same: not written.
    pub unchanged: u32,
    /// Given more than once in the batch; the last counted.
    pub repeated: u32,
}

/// Holds back a refresh that would delete suspiciously much.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteGuard {
    /// Streams with fewer records than this are not guarded.
    pub min_records: u64,
    /// The largest share of a stream's records that one run may delete, 0 to 1.
    pub max_share: f64,
    /// Let everything through, this once.
    pub allow: bool,
}

impl Default for DeleteGuard {
    /// Guards streams of 100 records and more against losing more than half of them in one run: big enough that a
    /// tidy-up of a test account passes, small enough that an API that answers nothing empties no product.
    fn default() -> Self {
        Self { min_records: 100, max_share: 0.5, allow: false }
    }
}

/// What a sync remembers between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncState {
    /// When the last successful run started.
    pub last_sync_date: Option<Timestamp>,
    /// The script's own progress: a JSON object.
    pub checkpoint: Option<String>,
}

/// What a reset makes of the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// They stay, and what is fetched again is compared with them.
    Refetch,
    /// What the sync saves to these models from now on goes to a new generation, beside the old one that readers go on
    /// seeing. The sync's next success swaps them, within the delete guard; cursors of the old one are refused then.
    Empty {
        /// The models.
        models: Vec<ModelName>,
    },
}

/// After what time content, and what is noted of runs, is pruned. The default is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Content of records that did not change for so many milliseconds goes; that they exist is kept.
    pub payloads_ms: Option<u64>,
    /// Deleted records are forgotten after so many milliseconds.
    pub tombstones_ms: Option<u64>,
    /// Runs that ended, with their logs and traces, are forgotten so many milliseconds after they started.
    #[serde(default)]
    pub runs_ms: Option<u64>,
}

/// What retention took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Records that lost their content.
    pub records: u64,
    /// Deleted records that were forgotten.
    pub tombstones: u64,
    /// Runs that were forgotten.
    pub runs: u64,
}

/// What happened to a record last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It came, or came back.
    Added,
    /// It changed.
    Updated,
    /// It went.
    Deleted,
}

impl Action {
    /// `added`, `updated` or `deleted`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// Which actions a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionFilter {
    /// Records that came.
    pub added: bool,
    /// Records that changed.
    pub updated: bool,
    /// Records that went.
    pub deleted: bool,
}

impl ActionFilter {
    /// Everything.
    pub const ALL: Self = Self { added: true, updated: true, deleted: true };

    /// Whether this action passes.
    #[must_use]
    pub fn passes(self, action: Action) -> bool {
        match action {
            Action::Added => self.added,
            Action::Updated => self.updated,
            Action::Deleted => self.deleted,
        }
    }
}

impl std::str::FromStr for ActionFilter {
    type Err = String;

    /// Words separated by commas: `added,updated,deleted` in any combination.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut filter = Self { added: false, updated: false, deleted: false };
        for word in text.split(',') {
            match word.trim() {
                "added" => filter.added = true,
                "updated" => filter.updated = true,
                "deleted" => filter.deleted = true,
                other => {
                    return Err(format!(
                        "{other:?} is not an action: use added, updated, deleted, separated by commas"
                    ));
                }
            }
        }
        Ok(filter)
    }
}

/// What a reader asks for.
#[derive(Debug, Clone)]
pub struct ChangesQuery {
    /// Where the last page ended; `None` for the beginning.
    pub cursor: Option<String>,
    /// Which actions.
    pub filter: ActionFilter,
    /// Only what was changed after this moment.
    pub modified_after: Option<Timestamp>,
    /// At most so many changes; 0 is taken as 1.
    pub limit: usize,
    /// About so many bytes of JSON; a page has at least one change if there is one.
    pub max_bytes: usize,
}

impl Default for ChangesQuery {
    fn default() -> Self {
        Self { cursor: None, filter: ActionFilter::ALL, modified_after: None, limit: 100, max_bytes: 8 << 20 }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the stream, from 1 on.
    pub sequence: u64,
    /// The record's id.
    pub id: String,
    /// What happened last.
    pub action: Action,
    /// The record's JSON; of a deleted one the last that was known.
    pub data: String,
    /// When the record was first seen, or seen again after a delete.
    pub first_seen_at: Timestamp,
    /// When it was changed.
    pub last_modified_at: Timestamp,
    /// The cursor for having read up to here.
    pub cursor: String,
}

impl Change {
    /// When it was deleted, if it is.
    #[must_use]
    pub fn deleted_at(&self) -> Option<Timestamp> {
        (self.action == Action::Deleted).then_some(self.last_modified_at)
    }
}

/// A page of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePage {
    /// In commit order.
    pub changes: Vec<Change>,
    /// Where to go on, also when there is nothing more now.
    pub cursor: String,
    /// Whether there is more right now.
    pub more: bool,
}

/// Some of the records of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their last change.
    pub entries: Vec<Entry>,
    /// For the next ones.
    pub next: Option<String>,
}

/// Some of the ids of the records that an account of deletes has not seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnseenIds {
    /// Each once.
    pub ids: Vec<String>,
    /// For the next ones.
    pub next: Option<String>,
}

/// A stream in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamInfo {
    /// Which.
    pub stream: StreamKey,
    /// Records that exist.
    pub live: u64,
    /// Changes so far: the last sequence number.
    pub changes: u64,
}

/// A kind of [document](super::Store::document).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// An external API.
    Integration,
    /// An account at one.
    Connection,
    /// A script that is scheduled on a connection.
    Sync,
    /// An API key.
    Key,
    /// A call of an action that somebody waits for or asks about later.
    ActionCall,
    /// What is held against a script. See [`Suspicion`](super::Suspicion).
    Suspect,
}

impl DocumentKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Integration, Self::Connection, Self::Sync, Self::Key, Self::ActionCall, Self::Suspect];

    /// One byte for keys, the same for ever.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            Self::Integration => b'i',
            Self::Connection => b'c',
            Self::Sync => b's',
            Self::Key => b'k',
            Self::ActionCall => b'a',
            Self::Suspect => b'q',
        }
    }
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunsQuery {
    /// Only those of this connection.
    pub connection: Option<ConnectionName>,
    /// Only those of this script.
    pub script: Option<ScriptName>,
    /// Only those of this variant.
    pub variant: Option<Variant>,
    /// From before this one on.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

impl RunsQuery {
    /// The newest runs, whosever they are.
    #[must_use]
    pub fn newest(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }
}

/// Some runs, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    /// Perhaps none although there are more.
    pub runs: Vec<Run>,
    /// From before which to go on; `None` at the end.
    pub next: Option<RunId>,
}

/// A deployed script, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Deployed under this name.
    pub name: ScriptName,
    /// Which upload under this name it is, from 1 on; 0 of a store that did not count yet.
    #[serde(default)]
    pub version: u32,
    /// The API that it is for, where its syncs take it from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<IntegrationName>,
    /// Its content.
    pub hash: ScriptHash,
    /// Its size in bytes.
    pub size: u64,
    /// When it was deployed.
    pub added_at: Timestamp,
    /// Its manifest, as JSON.
    pub manifest: String,
    /// Limits set at upload, as JSON; those not set are the operator's defaults.
    pub limits: String,
}
