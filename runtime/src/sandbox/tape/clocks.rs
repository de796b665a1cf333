//! The clocks and random numbers that a guest with a tape gets by WASI.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::Tape;
use crate::clock::JumpingClock;
use crate::sandbox::limits::RunMeter;

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

/// A seed of a guest's own.
pub(in crate::sandbox) fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        // The system has none to give, as it may in its first second. These are secrets of this process at least.
        seed.copy_from_slice(
            blake3::hash(RandomState::new().build_hasher().finish().to_le_bytes().as_slice()).as_bytes(),
        );
    }
    seed
}

/// Random numbers that follow from a seed: the output of BLAKE3, keyed with it. Nobody who does not know the seed can tell
/// them from others. Who has a cassette has the seed, as he would have the numbers if they were written down one by one.
///
/// The engine asks for them a byte at a time, so each is counted as work of ten.
pub(in crate::sandbox) struct SeededRandom {
    numbers: blake3::OutputReader,
    meter: Arc<RunMeter>,
    block: [u8; BLOCK],
    at: usize,
}

/// Bytes that are made at once.
const BLOCK: usize = 256;
/// What a random byte costs.
const COST: u64 = 10;

impl SeededRandom {
    pub(in crate::sandbox) fn new(seed: &[u8; 32], purpose: &str, meter: Arc<RunMeter>) -> Self {
        let numbers = blake3::Hasher::new_keyed(seed).update(purpose.as_bytes()).finalize_xof();
        Self { numbers, meter, block: [0; BLOCK], at: BLOCK }
    }

    pub(in crate::sandbox) fn number(mut self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        self.meter.note_work(bytes.len() as u64 * COST);
        for byte in bytes {
            if self.at == BLOCK {
                self.numbers.fill(&mut self.block);
                self.at = 0;
            }
            *byte = self.block.get(self.at).copied().unwrap_or_default();
            self.at += 1;
        }
    }
}

impl rand_core::TryRng for SeededRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}
