//! Randomness, drawn from the host after the snapshot, and the monotonic clock.

use std::cell::Cell;
use std::time::Instant;

use rquickjs::{Ctx, Error, Exception, Object, Result, TypedArray};

use super::add as function;
use crate::values::array;

thread_local! {
    /// xorshift64*, as QuickJS's own `Math.random`; 0 until it is seeded.
    static STATE: Cell<u64> = const { Cell::new(0) };
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

pub fn add<'js>(host: &Object<'js>) -> Result<()> {
    function(host, "random", random)?;
    function(host, "randomBytes", |ctx: Ctx<'js>, count: f64| {
        let mut bytes = vec![0; count as usize];
        fill(&ctx, &mut bytes)?;
        array(&ctx, bytes)
    })?;
    function(host, "fillRandom", |ctx: Ctx<'js>, into: TypedArray<'js, u8>| {
        let Some(mut raw) = into.as_raw() else { return Ok(()) };
        // SAFETY: no JavaScript runs while the bytes are filled, so the buffer stays where it is.
        fill(&ctx, unsafe { raw.as_mut() })
    })?;
    function(host, "now", || {
        let start = START.get().unwrap_or_else(|| {
            START.set(Some(Instant::now()));
            Instant::now()
        });
        start.elapsed().as_secs_f64() * 1000.0
    })
}

fn fill(ctx: &Ctx<'_>, bytes: &mut [u8]) -> std::result::Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| Exception::throw_message(ctx, &format!("no randomness: {error}")))
}

fn random() -> f64 {
    let mut x = STATE.get();
    if x == 0 {
        x = getrandom::u64().unwrap_or(1) | 1;
    }
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    STATE.set(x);
    // 53 bits, the width of a double's fraction.
    (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
}
