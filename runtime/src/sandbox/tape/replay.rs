//! Answers from a cassette, up to the first difference.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::clocks::{STEP_NANOS, Which};
use super::compare::{Found, json_difference, shown};
use super::format::{Cassette, CassetteError, End, Lines, Readings, RecordedCall, Said};
use super::wire::Wire;
use crate::run::{Failure, Outcome, StopReason};

/// Calls that are recorded and not compared.
const NOT_COMPARED: &str = "log.log";

/// The first thing that a replayed script did otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// What it is: `other-call`, `arguments`, `call-more`, `call-less`, `outcome`, `failure`, `output`.
    pub kind: &'static str,
    /// The number of the recorded call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    /// The function that the script called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Where in its arguments, or in the output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What the recording has.
    pub recorded: String,
    /// What came.
    pub came: String,
}

/// A replay, shared by host calls and clocks.
pub(in crate::sandbox) struct Replay(Mutex<Playing>);

/// How far it is.
pub(super) struct Playing {
    lines: Lines,
    /// What the script has to do next; `None` at the end.
    next: Option<RecordedCall>,
    end: End,
    wall: Readable,
    monotonic: Readable,
    difference: Option<Difference>,
    /// The recorded run ended here, in a call or by being stopped from outside.
    over: bool,
    error: Option<CassetteError>,
    /// Bytes of answers that the guest has had in its last call.
    pub(super) handed_over: u64,
    calls: u64,
}

/// What is left to read of a clock before the next call.
struct Readable {
    recorded: VecDeque<u64>,
    last: u64,
}

impl Readable {
    fn read(&mut self) -> u64 {
        // A script that was changed may look more often.
        self.last = self.recorded.pop_front().unwrap_or(self.last.saturating_add(STEP_NANOS));
        self.last
    }

    fn refill(&mut self, readings: Vec<u64>) {
        self.recorded.extend(readings);
    }

    /// Leaves behind what was not read.
    fn pass(&mut self) {
        if let Some(last) = self.recorded.drain(..).next_back() {
            self.last = self.last.max(last);
        }
    }
}

/// What became of a replay.
pub(in crate::sandbox) struct Played {
    /// What was done otherwise, first.
    pub(in crate::sandbox) difference: Option<Difference>,
    /// How many calls were as recorded.
    pub(in crate::sandbox) calls: u64,
    /// How it ended; the recorded end where the replay reached that.
    pub(in crate::sandbox) outcome: Outcome,
}

impl Replay {
    pub(in crate::sandbox) fn new(cassette: &Cassette) -> Result<Self, CassetteError> {
        let start = cassette.header.started_at.0.saturating_mul(1_000_000);
        let clock = |last| Readable { recorded: VecDeque::new(), last };
        let mut playing = Playing {
            lines: cassette.lines()?,
            next: None,
            end: cassette.end.clone(),
            wall: clock(start),
            monotonic: clock(0),
            difference: None,
            over: false,
            error: None,
            handed_over: 0,
            calls: 0,
        };
        playing.advance()?;
        Ok(Self(Mutex::new(playing)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Playing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares how the guest ended.
    pub(in crate::sandbox) fn finish(&self, outcome: Outcome, output: Option<&str>) -> Result<Played, CassetteError> {
        let mut playing = self.lock();
        if let Some(error) = playing.error.take() {
            return Err(error);
        }
        let calls = playing.calls;
        if playing.difference.is_some() {
            return Ok(Played { difference: playing.difference.take(), calls, outcome });
        }
        if playing.over {
            return Ok(Played { difference: None, calls, outcome: playing.end.outcome.clone() });
        }
        let difference = playing.compare_end(&outcome, output);
        let outcome = if difference.is_some() { outcome } else { playing.end.outcome.clone() };
        Ok(Played { difference, calls, outcome })
    }
}

/// Whether a run was ended by something that is not in the script, at a place that another run need not end at.
fn from_outside(outcome: &Outcome) -> bool {
    let Outcome::Stopped(stopped) = outcome else { return false };
    matches!(
        stopped.reason,
        StopReason::Cancelled
            | StopReason::TimedOut
            | StopReason::Parked
            | StopReason::Interrupted
            | StopReason::Internal
    )
}

impl Playing {
    /// Goes to the next call that counts, with what was read of the clocks before it.
    fn advance(&mut self) -> Result<(), CassetteError> {
        self.wall.pass();
        self.monotonic.pass();
        loop {
            let Some((said, Readings { wall, monotonic })) = self.lines.next()? else {
                return Err(self.lines.damaged("the file changed while it was read".to_owned()));
            };
            self.wall.refill(wall);
            self.monotonic.refill(monotonic);
            self.next = match said {
                Said::Readings => continue,
                Said::Call(call) if call.function == NOT_COMPARED => continue,
                Said::Call(call) => Some(call),
                Said::End(_) => None,
            };
            return Ok(());
        }
    }

    pub(super) fn reading(&mut self, which: Which) -> u64 {
        match which {
            Which::Wall => self.wall.read(),
            Which::Monotonic => self.monotonic.read(),
        }
    }

    /// The recorded answer of a call; `None` where the replay is over.
    pub(super) fn answer<T: Wire>(&mut self, function: &'static str, arguments: &Value) -> Option<T> {
        if self.difference.is_some() || self.over || self.error.is_some() {
            return None;
        }
        let Some(recorded) = self.next.take() else {
            self.over = from_outside(&self.end.outcome);
            if !self.over {
                self.difference = Some(Difference {
                    kind: "call-more",
                    call: None,
                    function: Some(function.to_owned()),
                    path: String::new(),
                    recorded: format!("the end: {}", ended(&self.end.outcome)),
                    came: in_short(function, &arguments.to_string()),
                });
            }
            return None;
        };
        self.difference = differs(&recorded, function, arguments);
        if self.difference.is_some() {
            return None;
        }
        self.calls += 1;
        let Some(answer) = &recorded.answer else {
            self.over = true;
            return None;
        };
        let read = serde_json::from_str(answer.get()).ok().and_then(T::from_json);
        if read.is_none() {
            let reason = format!("the answer of call {} is none that {function} gives", recorded.n);
            self.error = Some(self.lines.damaged(reason));
        } else if let Err(error) = self.advance() {
            self.error = Some(error);
            return None;
        }
        read
    }

    fn compare_end(&self, outcome: &Outcome, output: Option<&str>) -> Option<Difference> {
        let recorded = &self.end.outcome;
        let difference = |kind, path: String, recorded: String, came: String| {
            Some(Difference { kind, call: None, function: None, path, recorded, came })
        };
        if let Some(next) = &self.next {
            // A guest that was stopped would perhaps have made the call.
            let kind = if matches!(outcome, Outcome::Stopped(_)) { "outcome" } else { "call-less" };
            return Some(Difference {
                kind,
                call: Some(next.n),
                function: None,
                path: String::new(),
                recorded: in_short(&next.function, next.arguments.get()),
                came: format!("the end: {}", ended(outcome)),
            });
        }
        if from_outside(recorded) {
            return None;
        }
        if outcome.code() != recorded.code() {
            return difference("outcome", String::new(), ended(recorded), ended(outcome));
        }
        if let (Outcome::Failed(recorded), Outcome::Failed(came)) = (recorded, outcome) {
            let text = |failure: &Failure| serde_json::to_string(failure).unwrap_or_default();
            if let Some(Found { path, recorded, came }) = json_difference(&text(recorded), &text(came)) {
                return difference("failure", path, recorded, came);
            }
        }
        let text = |output: Option<&str>| output.unwrap_or("nothing").to_owned();
        let Found { path, recorded, came } = json_difference(&text(self.end.output.as_deref()), &text(output))?;
        difference("output", path, recorded, came)
    }
}

/// What of a call is not as recorded.
fn differs(recorded: &RecordedCall, function: &'static str, arguments: &Value) -> Option<Difference> {
    let arguments = arguments.to_string();
    let call = Some(recorded.n);
    if recorded.function != function {
        return Some(Difference {
            kind: "other-call",
            call,
            function: Some(function.to_owned()),
            path: String::new(),
            recorded: in_short(&recorded.function, recorded.arguments.get()),
            came: in_short(function, &arguments),
        });
    }
    let Found { path, recorded, came } = json_difference(recorded.arguments.get(), &arguments)?;
    Some(Difference { kind: "arguments", call, function: Some(function.to_owned()), path, recorded, came })
}

fn ended(outcome: &Outcome) -> String {
    match outcome.message() {
        "" => outcome.word().to_owned(),
        message => format!("{} with {}: {}", outcome.word(), outcome.code(), shown(message)),
    }
}

/// A call in one line: `http.fetch GET /issues`, `records.batch-save Issue, 100 entries`.
fn in_short(function: &str, arguments: &str) -> String {
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    let request = ["request", "first"].into_iter().find_map(|name| arguments.get(name)).filter(|it| it.is_object());
    let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let rest = if let Some(request) = request {
        let query: Vec<(String, String)> =
            request.get("query").and_then(|it| Wire::from_json(it.clone())).unwrap_or_default();
        let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let separator = if query.is_empty() { "" } else { "?" };
        format!("{} {}{separator}{}", field(request, "method"), field(request, "url"), query.join("&"))
    } else if arguments.get("model").is_some_and(Value::is_string) {
        let count =
            |name: &str| arguments.get(name).and_then(Value::as_array).map(|items| format!(", {} {name}", items.len()));
        let counted = count("entries").or_else(|| count("ids")).unwrap_or_default();
        format!("{}{counted}", field(&arguments, "model"))
    } else if arguments.as_object().is_none_or(serde_json::Map::is_empty) {
        return function.to_owned();
    } else {
        arguments.to_string()
    };
    shown(&format!("{function} {rest}"))
}
