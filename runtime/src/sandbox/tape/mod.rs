//! Cassettes: a run's host calls, kept in a file and answered from it.
//!
//! Everything that a script learns of the world comes in through its imports: the host functions, the clocks and random
//! numbers of WASI. So a run whose imports are answered from what another run got does the same, byte for byte, offline. That
//! is what a cassette is for: to look at a run again, and to see whether a changed script still does what the old one did.
//!
//! - `door`: the one door that host calls go through · `clocks`: the same for clocks and random numbers
//! - `record`: a [`Recorder`] writes · `format`: the file, a [`Cassette`] · `replay`: answers from it
//! - `wire`: the contract's values as JSON · `compare`: where two JSON texts differ
//!
//! # The file
//!
//! JSON lines in UTF-8. The first is the header: the format with its version (`terapi-cassette/1`), the script's name, version, kind
//! and hash, and what the run began with: run id, connection, variant, configuration, input, last sync date, checkpoint, limits,
//! and the seed of its random numbers. Then a line for each host call, in order, written when the call is answered:
//!
//! ```json
//! {"n":1,"call":"http.fetch","arguments":{"request":{"method":"GET","url":"/issues", …}},"answer":{"ok":{"status":200, …}}}
//! ```
//!
//! Functions and fields have the names of `wit/`; how values are written says `wire`. `"clocks"` of a line are the readings of
//! the wall clock and the monotonic clock, in nanoseconds, between the call before and this one. A call without `answer` is one in
//! which the run ended. The last line is `{"end":{"outcome":…,"output":…}}`; a file without it was cut off.
//!
//! # Invariants
//! - No credential is in it: a script never has one, and what the host attaches to requests is attached behind the door.
//!   What the API answered is in it as it was; the file is readable by its owner alone.
//! - Memory stays flat, whatever the length of the run: a line is written when its call ends and read when it is called for.
//! - A run without a tape pays one comparison a host call.
//! - A replay sends nothing and stores nothing: there is neither an egress nor a store behind it.
//! - What a script logs is kept, and not compared: a line more or less is no other behavior.

mod clocks;
mod compare;
mod door;
mod format;
mod record;
mod replay;
mod wire;

use std::sync::Arc;

pub(super) use self::clocks::{RecordedClock, SeededRandom, Which, seed};
pub use self::compare::{Found, json_difference, shown as value_in_short};
pub(super) use self::door::{Doors, door};
pub use self::format::{Cassette, CassetteError, Header, RecordedCall};
pub use self::record::Recorder;
pub use self::replay::Difference;
pub(super) use self::replay::Replay;

/// What goes along with a guest's calls.
#[derive(Clone)]
pub(super) enum Tape {
    /// They are written down.
    Recording(Arc<Recorder>),
    /// They are answered from a file.
    Replaying(Arc<Replay>),
}

/// The replay is over, at a difference or where the recorded run ended. Carried through the engine as the reason of the trap.
#[derive(Debug, thiserror::Error)]
#[error("the replay is over")]
pub(super) struct Ended;
