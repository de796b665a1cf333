//! The clocks and random numbers that a guest with a tape gets by WASI.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::Tape;
use crate::clock::JumpingClock;

/// Between two readings that were not recorded: a script that waits for a time to pass gets there.
pub(super) const STEP_NANOS: u64 = 1_000;

/// Which clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Which {
    /// The time of day, in nanoseconds since 1970.
    Wall,
    /// Nanoseconds since some moment.
    Monotonic,
}

/// A clock whose readings are written down, or are those that were.
pub(in crate::sandbox) struct RecordedClock {
    tape: Tape,
    /// What is read and written down, if not the machine's clock.
    time: Option<Arc<JumpingClock>>,
    which: Which,
    start: Instant,
}

impl RecordedClock {
    pub(in crate::sandbox) fn new(tape: Tape, time: Option<Arc<JumpingClock>>, which: Which) -> Self {
        Self { tape, time, which, start: Instant::now() }
    }

    fn read(&self) -> u64 {
        match &self.tape {
            Tape::Recording(recorder) => {
                let of_machine = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                let nanos = match (self.which, &self.time) {
                    (Which::Wall, Some(time)) => time.read(),
                    (Which::Monotonic, Some(time)) => time.read_elapsed(),
                    (Which::Wall, None) => of_machine(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
                    (Which::Monotonic, None) => of_machine(self.start.elapsed()),
                };
                recorder.reading(self.which, nanos);
                nanos
            }
            Tape::Replaying(replay) => replay.lock().reading(self.which),
        }
    }
}

impl HostWallClock for RecordedClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.read())
    }
}

impl HostMonotonicClock for RecordedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.read()
    }
}

/// Random numbers that follow from a seed: the output of BLAKE3, keyed with it. Nobody who does not know the seed can tell
/// them from others, and who has the file has the numbers, as he would if they were written down one by one.
pub(in crate::sandbox) struct RecordedRandom(blake3::OutputReader);

impl RecordedRandom {
    pub(in crate::sandbox) fn new(seed: &[u8; 32], purpose: &str) -> Self {
        Self(blake3::Hasher::new_keyed(seed).update(purpose.as_bytes()).finalize_xof())
    }

    pub(in crate::sandbox) fn number(mut self) -> u128 {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }
}

impl rand_core::TryRng for RecordedRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}
