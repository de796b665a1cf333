//! The engines that are measured: Terapi's store, and what one would write oneself on sled, fjall or SQLite.
//!
//! The three baselines do one job, the core of Terapi's: a batch is atomic; a record whose digest (BLAKE3, 16 bytes) is
//! the stored one is not written; one that changed gets the next sequence number, and the change index leads from
//! sequence to record, one entry a record, so that a feed can be read from any place on. Work becomes durable in groups:
//! Terapi's own every 50 ms, sled and fjall told to do the same, SQLite as `synchronous=NORMAL` does it, when the WAL
//! is checkpointed.
//!
//! What Terapi does beyond that, and pays for in the same figures: the digest is of the canonical JSON, every record
//! carries its times and a checksum, what a refresh saved is kept in account and what it did not is deleted at its end,
//! writes are fenced by a lease, and readers see only what is durable.
//!
//! Each baseline may cache [`CACHE_BYTES`], ten times what Terapi does by default, so that memory is not what decides:
//! with 64 MiB sled loads a third slower. How much each took stands beside its rates.

mod fjall;
mod sled;
mod sqlite;
mod terapi;

use std::path::Path;
use std::time::{Duration, Instant};

use ::terapi::store::Entry;
use serde::{Deserialize, Serialize};

pub(crate) use self::terapi::Terapi;

/// What each baseline may cache.
const CACHE_BYTES: u32 = 256 << 20;
/// How often a group is made durable: as often as Terapi does.
const GROUP_INTERVAL: Duration = Duration::from_millis(50);
/// Changes in a page of the feed.
pub(crate) const PAGE: usize = 1_000;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Terapi,
    Sled,
    Fjall,
    Sqlite,
}

impl Kind {
    /// Terapi first.
    pub(crate) const ALL: [Self; 4] = [Self::Terapi, Self::Sled, Self::Fjall, Self::Sqlite];

    /// As figures call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terapi => "terapi",
            Self::Sled => "bare sled",
            Self::Fjall => "fjall",
            Self::Sqlite => "SQLite",
        }
    }

    /// Opens its store. `cache_bytes` is for Terapi.
    pub(crate) fn open(self, dir: &Path, cache_bytes: Option<u64>) -> Box<dyn Engine> {
        match self {
            Self::Terapi => Box::new(Terapi::open(dir, cache_bytes)),
            Self::Sled => Box::new(sled::Sled::open(dir)),
            Self::Fjall => Box::new(fjall::Fjall::open(dir)),
            Self::Sqlite => Box::new(sqlite::Sqlite::open(dir)),
        }
    }
}

/// A store that knows what changed.
pub(crate) trait Engine {
    /// A pass over the source begins.
    fn begin(&mut self) {}

    /// Saves a batch, and says how many of it were new or different.
    fn save(&mut self, batch: &[Entry]) -> usize;

    /// The pass ends; when this returns, all of it is durable.
    fn end(&mut self);

    /// Reads the whole feed, [`PAGE`] changes at a time, each with sequence, id and JSON of its own, and counts them.
    fn feed(&mut self) -> u64;

    /// Closes it: what it put off is done now.
    fn close(self: Box<Self>);
}

/// A change as the baselines hand it out.
type Change = (u64, String, String);

/// Says when the next group is due.
struct Pace(Instant);

impl Pace {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn due(&mut self) -> bool {
        let due = self.0.elapsed() >= GROUP_INTERVAL;
        if due {
            self.0 = Instant::now();
        }
        due
    }
}

/// What the baselines compare records by.
fn digest(data: &str) -> [u8; 16] {
    let hash: [u8; 32] = blake3::hash(data.as_bytes()).into();
    *hash.first_chunk().unwrap()
}

/// A row of the key-value baselines: digest, sequence, JSON.
struct Row;

impl Row {
    const HEAD: usize = 24;

    fn encode(digest: [u8; 16], sequence: u64, data: &str) -> Vec<u8> {
        [&digest[..], &sequence.to_be_bytes(), data.as_bytes()].concat()
    }

    fn digest(row: &[u8]) -> &[u8] {
        &row[..16]
    }

    fn sequence(row: &[u8]) -> &[u8] {
        &row[16..Self::HEAD]
    }

    fn data(row: &[u8]) -> String {
        String::from_utf8(row[Self::HEAD..].to_vec()).unwrap()
    }
}
