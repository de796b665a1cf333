//! Limits that a stranger ran into, told to the operator: one line of the service's log each, at level `warn`, with the fields
//! `limit` (the stable code that API and command line answer with, too), `place` (what it was: `upload`, `run …`, `request …`,
//! `connection`) and `detail`.
//!
//! Whoever runs into a limit may do so a million times a minute. Of a code no more than twenty lines are written a second; the
//! next one afterwards says how many were not.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one code in a [`WINDOW`].
const MAX_LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// A detail may quote what a stranger sent.
const MAX_DETAIL_CHARS: usize = 500;

struct Window {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

static WINDOWS: Mutex<BTreeMap<&'static str, Window>> = Mutex::new(BTreeMap::new());

/// Writes the line.
pub(crate) fn report(limit: &'static str, place: impl Display, detail: impl Display) {
    let Some(suppressed) = admit(&WINDOWS, limit, Instant::now()) else { return };
    let detail: String = detail.to_string().chars().take(MAX_DETAIL_CHARS).collect();
    if suppressed == 0 {
        tracing::warn!(limit, %place, detail, "a limit was reached");
    } else {
        tracing::warn!(limit, %place, detail, suppressed, "a limit was reached; so many lines of it were left out before");
    }
}

/// Whether there is room for a line, and how many had none since the last.
fn admit(windows: &Mutex<BTreeMap<&'static str, Window>>, limit: &'static str, now: Instant) -> Option<u64> {
    let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
    let window = windows.entry(limit).or_insert(Window { began: now, lines: 0, suppressed: 0 });
    if now.saturating_duration_since(window.began) >= WINDOW {
        (window.began, window.lines) = (now, 0);
    }
    if window.lines == MAX_LINES {
        window.suppressed += 1;
        return None;
    }
    window.lines += 1;
    Some(std::mem::take(&mut window.suppressed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_limit_is_twenty_lines_a_second_and_a_count_and_does_not_silence_another() {
        let (windows, start) = (Mutex::default(), Instant::now());
        let admitted = (0..1_000).filter(|_| admit(&windows, "out-of-fuel", start).is_some()).count();
        assert_eq!(admitted, 20);
        assert_eq!(admit(&windows, "timed-out", start), Some(0));
        assert_eq!(admit(&windows, "out-of-fuel", start + Duration::from_millis(999)), None);
        assert_eq!(admit(&windows, "out-of-fuel", start + WINDOW), Some(981));
        assert_eq!(admit(&windows, "out-of-fuel", start + WINDOW), Some(0));
    }
}
