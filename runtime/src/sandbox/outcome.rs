//! From how a guest ended to what is stored: traps are told apart by their types.

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};

use super::Stop;
use super::bindings::types;
use super::host::{HostBroke, NotHere, Parked};
use super::limits::{MAX_HANDLES, MemoryExceeded, RunMeter, TableExceeded, bytes};
use crate::run::{Failure, StopReason, Stopped};
use crate::script::javascript::Built;
use crate::store::canonical;

/// Frames of a backtrace that are kept, innermost first: enough to see the author's own functions.
pub(super) const MAX_FRAMES: usize = 20;
/// A failure's message is read by people.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Details and outputs are kept with the run.
const MAX_DETAILS_BYTES: usize = 64 << 10;
/// Bounds of a script's wish for when to try again.
const RETRY_AFTER_MS: (u64, u64) = (1_000, 24 * 3_600 * 1_000);

/// What is stored of a stop.
pub(super) fn stopped(stop: &Stop, meter: &RunMeter) -> Stopped {
    let (reason, message) = match stop {
        Stop::Error(error) => return stopped_by(error, meter),
        Stop::TimedOut => (
            StopReason::TimedOut,
            format!(
                "time limit of {:?} exceeded: fetch less in one run (filter, or save a checkpoint and go on from it in \
                 the next), or raise the limit with --timeout",
                meter.limits.timeout
            ),
        ),
        Stop::Cancelled => (StopReason::Cancelled, "the run was cancelled".to_owned()),
        Stop::Panicked(text) => (StopReason::Internal, internal(text)),
    };
    Stopped { reason, message, backtrace: Vec::new() }
}

/// What is stored of an error that ended the guest.
pub(super) fn stopped_by(error: &wasmtime::Error, meter: &RunMeter) -> Stopped {
    if let Some(parked) = error.downcast_ref::<Parked>() {
        // Nobody's fault, so no place in the script is pointed at.
        return Stopped { reason: StopReason::Parked, message: parked.to_string(), backtrace: Vec::new() };
    }
    let trap = error.downcast_ref::<Trap>();
    let (reason, message) = if let Some(exceeded) = error.downcast_ref::<MemoryExceeded>() {
        (StopReason::OutOfMemory, exceeded.to_string())
    } else if let Some(exceeded) = error.downcast_ref::<TableExceeded>() {
        (StopReason::OutOfMemory, exceeded.to_string())
    } else if let Err(exceeded) = meter.check_memory() {
        // Growth was refused, and the guest ended itself over it before the refusal could.
        (StopReason::OutOfMemory, exceeded.to_string())
    } else if trap == Some(&Trap::OutOfFuel) {
        (
            StopReason::OutOfFuel,
            format!(
                "fuel limit of {} exceeded: the script computes too much or loops; do less in one run, or raise the \
                 limit with --fuel",
                meter.limits.fuel
            ),
        )
    } else if trap == Some(&Trap::StackOverflow) {
        (StopReason::Trapped, "stack overflow: the script recurses too deeply; its stack has 12 MiB".to_owned())
    } else if trap == Some(&Trap::MemoryOutOfBounds) {
        // The stack that a language keeps in memory, 1 MiB in Rust, stands below everything else and ends before the host's.
        let trap = Trap::MemoryOutOfBounds;
        (
            StopReason::Trapped,
            format!(
                "the script trapped: {trap}; in safe code that is a stack overflow: the script recurses too deeply"
            ),
        )
    } else if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        (StopReason::Trapped, format!("the script called exit({}); return an error instead", exit.0))
    } else if let Some(not_here) = error.downcast_ref::<NotHere>() {
        (StopReason::Trapped, not_here.to_string())
    } else if let Some(broke) = error.downcast_ref::<HostBroke>() {
        (StopReason::Internal, internal(&broke.0))
    } else if let Some(trap) = trap {
        let printed = "what it printed before is in the run's log";
        (StopReason::Trapped, format!("the script trapped: {trap} (in Rust that is a panic; {printed})"))
    } else if is_too_much_at_once(error) {
        (
            StopReason::Exhausted,
            format!(
                "one host call carried more than {}: save smaller batches",
                bytes(super::limits::HOST_CALL_BYTES as u64)
            ),
        )
    } else if let Some(ResourceTableError::Full) = error.downcast_ref() {
        (
            StopReason::Exhausted,
            format!("more than {MAX_HANDLES} handles at once: let go of streams and timers that are done"),
        )
    } else {
        (StopReason::Trapped, format!("the script broke off: {}", error.root_cause()))
    };
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
    Stopped { reason, message: cut(message), backtrace }
}

fn internal(text: &str) -> String {
    format!("the host failed while it served this run: {text}. Please report it")
}

/// wasmtime 48 keeps the type of this one error private, so its text has to do; the test
/// `a_call_that_carries_too_much_is_stopped` fails when the text changes.
fn is_too_much_at_once(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}

fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let frames = backtrace.frames().iter();
    frames
        .map(|frame| match frame.func_name() {
            Some(name) => demangle(name),
            None => format!("function {}", frame.func_index()),
        })
        .collect()
}

/// Rust's hashes at the end of a symbol say nothing to a person; nor does a name that is a page long.
fn demangle(name: &str) -> String {
    const MAX_CHARS: usize = 256;
    if name.len() > 8 * MAX_CHARS {
        return name.chars().take(MAX_CHARS).collect();
    }
    let mut text = format!("{:#}", rustc_demangle::demangle(name));
    if text.len() > MAX_CHARS {
        text = text.chars().take(MAX_CHARS).collect();
    }
    text
}

/// What is stored of a failure that the script returned; places in a script that is text are its author's.
pub(super) fn failed(mut failure: types::Failure, text: Option<&Built>) -> Failure {
    if let Some(built) = text {
        failure.message = built.explain(&cut(failure.message));
        let short = failure.details.take_if(|details| details.len() <= MAX_DETAILS_BYTES);
        failure.details = short.map(|details| built.places(&details));
    }
    let transient = matches!(failure.kind, types::FailureKind::Transient);
    let (least, most) = RETRY_AFTER_MS;
    Failure {
        code: if transient { "script-transient" } else { "script-permanent" }.to_owned(),
        transient,
        message: cut(failure.message),
        details: failure
            .details
            .filter(|details| details.len() <= MAX_DETAILS_BYTES && canonical::validate_value(details).is_ok()),
        retry_after_ms: failure.retry_after_ms.map(|ms| ms.clamp(least, most)),
    }
}

pub(super) fn cut(message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
        return format!("{} … (cut)", message.get(..end).unwrap_or_default());
    }
    message
}
