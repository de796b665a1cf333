//! What host calls cost in fuel, and the yield that they owe.
//!
//! A call costs a fixed fee and one unit for each byte that it carries, in either direction, as `memory.copy` does: lifting
//! and lowering, checking text for UTF-8 and parsing it are work by the byte.
//!
//! A guest yields its thread whenever it has burned so much fuel, but taking a fee sets its fuel anew and with it the
//! count to that yield: a guest that did nothing but call the host would keep its thread, past deadline, cancellation and
//! all other runs. So after some calls without a yield the guest is pressed: its next yield comes soon, and until it came
//! no fee is taken. What is owed meanwhile counts all the same, at each call and at the end.
//!
//! The engine's own helpers (`memory.copy` is one) go through the same hook and are not charged: they cost by the byte
//! already. One does not, the copying of texts between two components in one script. A script with more than one memory,
//! which that takes, therefore pays for the time in helpers: a nanosecond is a unit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::{StoreContextMut, Trap};

use super::host::HostState;
use super::limits::{FUEL_YIELD_INTERVAL, HOST_CALL_FUEL};

/// Calls after which a yield is due. At a microsecond each, less than what a guest computes between two yields.
const CALLS_BEFORE_YIELD: u64 = 256;
/// The fuel to the next yield of a guest that is pressed. A few hundred more calls at worst, since each needs some fuel
/// of its own; and long enough that a guest which goes on with computing loses a tenth of its speed until its next call.
const PRESSED_YIELD_INTERVAL: u64 = 10_000;
/// The same for a guest that pays for helpers by the time: one of its instructions may be a copy of megabytes.
const PRESSED_YIELD_INTERVAL_TIMED: u64 = 500;
/// How long a helper may take for nothing. Only those that copy take longer.
const FREE_HELPER_TIME: Duration = Duration::from_micros(2);
/// So many bytes that are carried count as one call on the way to the next yield: as many take the host a microsecond to lift.
const BYTES_A_CALL: u64 = 4 << 10;
/// So many nanoseconds in helpers count as one call on the way to the next yield.
const HELPER_TIME_A_CALL: u64 = 4_000;

/// The account of a guest's calls.
pub(super) struct Fees {
    /// Fuel not taken yet.
    owed: u64,
    /// Calls since the guest last yielded.
    calls: u64,
    /// How often the guest was given a thread: it yielded if this went up.
    turns: Arc<AtomicU64>,
    /// The turn that calls are counted in.
    turn: u64,
    /// Whether its next yield was brought forward.
    pressed: bool,
    /// When the guest left for the host or a helper, and what it owed then; only if helpers cost by their time.
    left: Option<(Instant, u64)>,
    timed: bool,
}

impl Fees {
    /// An account of a guest whose turns are counted in `turns`; `timed` if helpers cost by their time.
    pub(super) fn new(turns: Arc<AtomicU64>, timed: bool) -> Self {
        Self { owed: 0, calls: 0, turns, turn: 0, pressed: false, left: None, timed }
    }

    /// Notes work of so many calls.
    pub(super) fn charge(&mut self, calls: u64) {
        self.owed = self.owed.saturating_add(calls.saturating_mul(HOST_CALL_FUEL));
        self.calls = self.calls.saturating_add(calls);
    }

    /// Notes so many bytes that were or are to be carried between guest and host.
    pub(super) fn carry(&mut self, bytes: u64) {
        self.owed = self.owed.saturating_add(bytes);
        self.calls = self.calls.saturating_add(bytes / BYTES_A_CALL);
    }

    /// Fuel that the guest has used and still has.
    pub(super) fn owed(&self) -> u64 {
        self.owed
    }

    /// The guest leaves, for the host or a helper.
    pub(super) fn leave(&mut self) {
        if self.timed {
            self.left = Some((Instant::now(), self.owed));
        }
    }

    /// Charges for the time in a helper, if it was one: a host function has charged by itself.
    fn charge_helper(&mut self) {
        let Some((at, _)) = self.left.take().filter(|(_, owed)| *owed == self.owed) else { return };
        let time = at.elapsed();
        if time > FREE_HELPER_TIME {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.owed = self.owed.saturating_add(nanos);
            self.calls = self.calls.saturating_add(nanos / HELPER_TIME_A_CALL);
        }
    }
}

/// Takes the fee, when a guest goes on.
pub(super) fn settle(mut store: StoreContextMut<'_, HostState>) -> wasmtime::Result<()> {
    let state = store.data_mut();
    let work = state.meter.take_work();
    let fees = &mut state.fees;
    fees.carry(work);
    fees.charge_helper();
    let owed = fees.owed;
    if owed == 0 {
        return Ok(());
    }
    let turn = fees.turns.load(Ordering::Relaxed);
    let yielded = turn != fees.turn;
    let relieved = yielded && fees.pressed;
    if yielded {
        (fees.turn, fees.calls, fees.pressed) = (turn, 0, false);
    }
    let pressed_before = fees.pressed;
    fees.pressed |= fees.calls >= CALLS_BEFORE_YIELD;
    let (pressed, timed) = (fees.pressed, fees.timed);

    let left = store.get_fuel()?;
    if left < owed {
        store.data_mut().fees.owed = 0;
        store.set_fuel(0)?;
        return Err(Trap::OutOfFuel.into());
    }
    if pressed {
        let interval = if timed { PRESSED_YIELD_INTERVAL_TIMED } else { PRESSED_YIELD_INTERVAL };
        return if pressed_before { Ok(()) } else { store.fuel_async_yield_interval(Some(interval)) };
    }
    if relieved {
        store.fuel_async_yield_interval(Some(FUEL_YIELD_INTERVAL))?;
    }
    store.data_mut().fees.owed = 0;
    store.set_fuel(left - owed)
}
