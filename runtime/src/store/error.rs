//! Why the store refused or could not do something.

use crate::ids::{ModelName, RunId, StreamKey};

/// An error of the store. Nothing is stored by halves, whichever it is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An entry of a batch is not acceptable; nothing of the batch was stored.
    #[error("entry {index} of the batch is not acceptable: {reason}")]
    InvalidRecord {
        /// Its index in the batch.
        index: usize,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A batch has too many entries or bytes.
    #[error("the batch is too large: {0}; save smaller batches")]
    BatchTooLarge(String),
    /// A checkpoint or metadata is not acceptable.
    #[error("{what} was not saved: {reason}")]
    InvalidState {
        /// `the checkpoint` or `the metadata`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Another run has the sync.
    #[error("run {0} of this sync is active; wait for its end or cancel it")]
    SyncBusy(RunId),
    /// Another run took the sync over.
    #[error("this run lost its lease: another run took over its sync; nothing was written")]
    LeaseLost,
    /// `track_deletes_end` without start.
    #[error("deletes of {0} are not tracked: call track-deletes-start first")]
    NotTracking(ModelName),
    /// A refresh would delete too much.
    #[error(
        "delete guard: this run would delete {would_delete} of the {live} records of {stream} (it saved {saved} of \
         them); nothing was deleted. If that is right, let it through once with --allow-deletes; if not, look at what \
         the API answered"
    )]
    DeleteGuard {
        /// In which stream.
        stream: Box<StreamKey>,
        /// How many it would delete.
        would_delete: u64,
        /// How many there are.
        live: u64,
        /// How many of those the run saved.
        saved: u64,
    },
    /// A cursor that this store never gave out for this stream, or that was damaged.
    #[error(
        "this cursor is not one of {0}: hand back a cursor exactly as it was received, or leave it out to read from the start"
    )]
    BadCursor(Box<StreamKey>),
    /// A cursor from a history that this store no longer has.
    #[error(
        "this cursor is from a history of {0} that was cleared or restored: leave the cursor out and read from the start"
    )]
    LostHistory(Box<StreamKey>),
    /// A cursor from before what retention pruned.
    #[error(
        "this cursor of {0} is older than what is kept: changes that it has not read were pruned. To have everything \
         again, reset the sync with --empty, run it, and read from the start; or leave the cursor out and read what \
         there still is"
    )]
    PastRetention(Box<StreamKey>),
    /// The directory is in use.
    #[error("the data directory {path} is in use by process {holder}; stop that process or use another --data-dir")]
    Locked {
        /// Which directory.
        path: String,
        /// The process id, or a word where it is unknown.
        holder: String,
    },
    /// The directory was written by a newer Terapi.
    #[error("the data directory {path} has format {found}, this Terapi reads up to {supported}: use a newer Terapi")]
    NewerFormat {
        /// Which directory.
        path: String,
        /// Its format.
        found: u32,
        /// Ours.
        supported: u32,
    },
    /// Stored bytes are not what was written.
    #[error("the store is damaged: {what}; nothing wrong was served. {next}")]
    Corrupt {
        /// What and where.
        what: String,
        /// What to do.
        next: &'static str,
    },
    /// The disk or the index refused.
    #[error("the store could not {doing}: {source}")]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl StoreError {
    /// The stable code, the same in API, CLI and docs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRecord { .. } => "invalid-record",
            Self::BatchTooLarge(_) => "batch-too-large",
            Self::InvalidState { .. } => "invalid-state",
            Self::SyncBusy(_) => "sync-busy",
            Self::LeaseLost => "lease-lost",
            Self::NotTracking(_) => "not-tracking",
            Self::DeleteGuard { .. } => "delete-guard",
            Self::BadCursor(_) => "bad-cursor",
            Self::LostHistory(_) => "cursor-from-lost-history",
            Self::PastRetention(_) => "cursor-past-retention",
            Self::Locked { .. } => "store-locked",
            Self::NewerFormat { .. } => "store-newer-format",
            Self::Corrupt { .. } => "store-corrupt",
            Self::Storage { .. } => "storage",
        }
    }

    /// For `map_err`: an I/O error while `doing`.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Storage { doing, source }
    }

    /// For `map_err`: an error of sled while `doing`.
    pub(crate) fn index(doing: &'static str) -> impl FnOnce(sled::Error) -> Self {
        move |error| Self::Storage {
            doing,
            source: match error {
                sled::Error::Io(source) => source,
                other => std::io::Error::other(other.to_string()),
            },
        }
    }
}
