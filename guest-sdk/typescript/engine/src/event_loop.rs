//! Jobs, requests under way, timers.
//!
//! One turn: run QuickJS's jobs until none is left; hand out what is done; then wait for the next request or timer,
//! whichever is first. Order: a request that is done goes before a timer that is due, timers by time and then by age.
//! At most [`UNDER_WAY`] requests are started; what is over waits here for its turn.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rquickjs::{Ctx, FromJs, Function, Object, Persistent, Promise, Result, Value, promise::PromiseState};

use crate::bindings::terapi::sync::{http, log};
use crate::native::http::{self as client, Want};
use crate::values::Text;

/// How many requests the host lets a run have started and not waited for.
const UNDER_WAY: usize = 32;

type Outcome = std::result::Result<http::Response, http::Error>;

#[derive(Default)]
struct Loop {
    last: u64,
    under_way: BTreeMap<u64, (u64, Want)>,
    queued: VecDeque<(u64, http::Request, Want)>,
    refused: VecDeque<(u64, http::Error)>,
    timers: BTreeMap<(Instant, u64), ()>,
    due: BTreeMap<u64, Instant>,
    rejected: Vec<(Persistent<Value<'static>>, Persistent<Value<'static>>)>,
}

thread_local! {
    static LOOP: RefCell<Loop> = RefCell::new(Loop::default());
}

/// How a promise was driven.
pub enum Ending {
    Settled,
    /// Nothing is left that could settle it.
    Stuck,
}

/// Starts a request, or queues it; its number is what `settle` will be called with.
pub fn request(request: http::Request, want: Want) -> u64 {
    LOOP.with_borrow_mut(|state| {
        state.last += 1;
        let id = state.last;
        state.queued.push_back((id, request, want));
        start_queued(state);
        id
    })
}

fn start_queued(state: &mut Loop) {
    while state.under_way.len() < UNDER_WAY {
        let Some((id, request, want)) = state.queued.pop_front() else { return };
        match http::start(&request) {
            Ok(ticket) => {
                state.under_way.insert(ticket, (id, want));
            }
            Err(error) => state.refused.push_back((id, error)),
        }
    }
}

/// Sets a timer; its number is what `fire` will be called with.
pub fn set_timer(ms: f64) -> u64 {
    // What browsers do with more than they can count: at once would surprise more than 24 days.
    let wait = Duration::from_micros((ms.clamp(0.0, f64::from(i32::MAX)) * 1000.0) as u64);
    LOOP.with_borrow_mut(|state| {
        state.last += 1;
        let due = Instant::now() + wait;
        state.timers.insert((due, state.last), ());
        state.due.insert(state.last, due);
        state.last
    })
}

pub fn clear_timer(id: u64) {
    LOOP.with_borrow_mut(|state| {
        if let Some(due) = state.due.remove(&id) {
            state.timers.remove(&(due, id));
        }
    });
}

/// QuickJS's word of a promise that was rejected with nobody to hear it, or that was heard after all.
pub fn note_rejection<'js>(ctx: Ctx<'js>, promise: Value<'js>, reason: Value<'js>, handled: bool) {
    LOOP.with_borrow_mut(|state| {
        if handled {
            let raw = promise.as_raw();
            state.rejected.retain(|(known, _)| {
                known.clone().restore(&ctx).map_or(true, |known| {
                    // SAFETY: both are alive; compared by identity only.
                    unsafe { rquickjs::qjs::JS_VALUE_GET_PTR(known.as_raw()) != rquickjs::qjs::JS_VALUE_GET_PTR(raw) }
                })
            });
        } else {
            state.rejected.push((Persistent::save(&ctx, promise), Persistent::save(&ctx, reason)));
        }
    });
}

fn warn_of_rejections<'js>(ctx: &Ctx<'js>, boot: &Object<'js>) {
    for (_, reason) in LOOP.with_borrow_mut(|state| std::mem::take(&mut state.rejected)) {
        let text = reason
            .restore(ctx)
            .and_then(|reason| boot.get::<_, Function>("explain")?.call::<_, Text>((reason,)))
            .map_or_else(|_| { ctx.catch(); String::new() }, |text| text.0);
        log::log(log::Level::Warn, &format!("a promise was rejected and nobody handles it: {text}"), None);
    }
}

enum Next {
    Request(u64, Want, Outcome),
    Timer(u64),
    Nothing,
}

/// Runs the loop until the promise is settled.
pub fn drive<'js>(ctx: &Ctx<'js>, boot: &Object<'js>, promise: &Promise<'js>) -> Result<Ending> {
    let settle: Function = boot.get("settle")?;
    let fire: Function = boot.get("fire")?;
    loop {
        while ctx.execute_pending_job() {}
        warn_of_rejections(ctx, boot);
        if promise.state() != PromiseState::Pending {
            return Ok(Ending::Settled);
        }
        match next() {
            Next::Request(id, want, outcome) => {
                let (error, status, headers, body) = client::answer(ctx, outcome, want)?;
                settle.call::<_, Value>((id as f64, error, status, headers, body)).map(drop).or_else(|error| heard(ctx, error))?;
            }
            Next::Timer(id) => {
                fire.call::<_, Value>((id as f64,)).map(drop).or_else(|error| heard(ctx, error))?;
            }
            Next::Nothing => return Ok(Ending::Stuck),
        }
    }
}

/// What the SDK's own callback throws (a stack overflow, say) is no end of the run by itself.
fn heard(ctx: &Ctx<'_>, error: rquickjs::Error) -> Result<()> {
    if error.is_exception() {
        let thrown = ctx.catch();
        let text = Text::from_js(ctx, thrown).map(|text| text.0).unwrap_or_default();
        ctx.catch();
        log::log(log::Level::Warn, &format!("a callback threw: {text}"), None);
        return Ok(());
    }
    Err(error)
}

fn next() -> Next {
    let (timer, waiting, refused) = LOOP.with_borrow_mut(|state| {
        start_queued(state);
        (state.timers.keys().next().copied(), !state.under_way.is_empty(), state.refused.pop_front())
    });
    if let Some((id, error)) = refused {
        return Next::Request(id, Want::Bytes, Err(error));
    }
    match (timer, waiting) {
        (None, false) => Next::Nothing,
        (None, true) => match http::wait() {
            Some((ticket, outcome)) => done(ticket, outcome),
            None => Next::Nothing,
        },
        (Some((due, id)), waiting) => {
            let left = due.saturating_duration_since(Instant::now());
            if waiting || !left.is_zero() {
                // Rounded up: a timer must not be early.
                let ms = left.as_micros().div_ceil(1000);
                if let http::Waited::Done((ticket, outcome)) = http::wait_for(u32::try_from(ms).unwrap_or(u32::MAX)) {
                    return done(ticket, outcome);
                }
            }
            clear_timer(id);
            Next::Timer(id)
        }
    }
}

fn done(ticket: u64, outcome: Outcome) -> Next {
    match LOOP.with_borrow_mut(|state| state.under_way.remove(&ticket)) {
        Some((id, want)) => Next::Request(id, want, outcome),
        // A ticket that was never given out: the host's business, and no reason to wait for it.
        None => Next::Nothing,
    }
}
