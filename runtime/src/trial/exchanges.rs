//! Which recorded answer a request gets.
//!
//! Of several recorded exchanges that match a request, one is taken that was not used, in the order of the file; when all were
//! used, the last of them again. What matches exactly goes before what matches but for [what is accepted](super::leeway). A
//! request is tried again, as a live one would be, where the same request is recorded with one more answer.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::file::{RecordedExchange, RecordedFile, TrialError};
use super::leeway::{Accepted, Given, Leeway};
use super::requests::{Apart, Asked, Exchange, Fit, only_reads};
use super::{Mismatch, Trial};
use crate::clock::JumpingClock;
use crate::egress::{Answered, Answers, EgressError, Policy, Request};

/// Requests that nothing was recorded for, of which each is told: a script may go on for long after the first.
const MAX_UNMATCHED: usize = 20;

/// All exchanges of a file.
pub(super) struct Exchanges {
    recorded: Vec<Exchange>,
    leeway: Leeway,
    clock: Arc<JumpingClock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: BTreeSet<usize>,
    asked: u64,
    accepted: Accepted,
    unmatched: Vec<Unmatched>,
}

/// A request that nothing was recorded for.
#[derive(Clone)]
pub(super) struct Unmatched {
    pub(super) mismatch: Mismatch,
    pub(super) only_reads: bool,
}

/// The recorded request that comes nearest, and in what it is apart.
type Nearest = Option<(usize, Box<Apart>)>;

impl Exchanges {
    pub(super) fn of(file: &RecordedFile, path: &Path, clock: &Arc<JumpingClock>) -> Result<Self, TrialError> {
        let (mut all, mut in_answers) = (Vec::new(), Given::default());
        for (method, place, recorded) in file.api() {
            let foreign = |error: serde_json::Error| TrialError::Foreign {
                path: path.to_owned(),
                reason: format!("api.{method}.{place}: {error}"),
            };
            let list: Vec<RecordedExchange> = if recorded.get().starts_with('[') {
                serde_json::from_str(recorded.get()).map_err(foreign)?
            } else {
                vec![serde_json::from_str(recorded.get()).map_err(foreign)?]
            };
            for recorded in list {
                if let Some(response) = &recorded.response {
                    in_answers.add(response.get());
                }
                for value in recorded.headers.iter().flat_map(serde_json::Map::values) {
                    in_answers.add(&value.to_string());
                }
                all.push(Exchange::of(method, place, recorded));
            }
        }
        let time = file.now().is_none().then(|| Arc::clone(clock));
        let leeway = Leeway::new(time, file.given(), in_answers);
        Ok(Self { recorded: all, leeway, clock: Arc::clone(clock), state: Mutex::default() })
    }

    /// What is accepted in the place of what is recorded.
    pub(super) fn leeway(&self) -> &Leeway {
        &self.leeway
    }

    /// How many requests came, and what was accepted of them.
    pub(super) fn report(&self, trial: &mut Trial) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        trial.requests = state.asked;
        trial.compared += state.used.len();
        trial.accepted.extend("", std::mem::take(&mut state.accepted));
    }

    /// Requests that nothing was recorded for.
    pub(super) fn unmatched(&self) -> Vec<Unmatched> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).unmatched.clone()
    }

    /// Recorded requests that were not made, and whether each only reads.
    pub(super) fn not_made(&self) -> Vec<(String, bool)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let used: Vec<&Exchange> = state.used.iter().filter_map(|at| self.recorded.get(*at)).collect();
        let exchanges = self.recorded.iter().enumerate();
        let unused = exchanges.filter(|(at, exchange)| {
            // The same request, recorded once more, could not have been told from the one that came.
            !state.used.contains(at) && !used.iter().any(|other| other.asks_the_same(exchange))
        });
        unused.map(|(_, exchange)| (exchange.name(), exchange.only_reads())).collect()
    }

    fn find(&self, asked: &Asked, used: &BTreeSet<usize>) -> Result<(usize, Accepted), Nearest> {
        let mut nearest: Nearest = None;
        for leeway in [None, Some(&self.leeway)] {
            let mut matching: Vec<(Fit, usize, Accepted)> = Vec::new();
            nearest = None;
            for (at, exchange) in self.recorded.iter().enumerate() {
                match exchange.fit(asked, leeway) {
                    Ok((fit, accepted)) => matching.push((fit, at, accepted)),
                    Err(apart) => {
                        if nearest.as_ref().is_none_or(|(_, best)| apart.rank > best.rank) {
                            nearest = Some((at, apart));
                        }
                    }
                }
            }
            let Some(best) = matching.iter().map(|(fit, _, _)| *fit).min() else { continue };
            matching.retain(|(fit, _, _)| *fit == best);
            let unused = matching.iter().position(|(_, at, _)| !used.contains(at));
            let (_, at, accepted) = matching.swap_remove(unused.unwrap_or(matching.len() - 1));
            return Ok((at, accepted));
        }
        Err(nearest)
    }
}

impl Answers for Exchanges {
    fn answer(&self, _: &Policy, request: &Request) -> Result<Answered, EgressError> {
        let asked = Asked::of(request);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let found = self.find(&asked, &state.used);
        let nearest = match found.map(|(at, accepted)| (at, accepted, self.recorded.get(at))) {
            Ok((at, accepted, Some(exchange))) => {
                state.used.insert(at);
                state.accepted.extend(&exchange.short_name(), accepted);
                let another = |(at, other): (usize, &Exchange)| {
                    !state.used.contains(&at)
                        && other.is_as_open(exchange)
                        && other.fit(&asked, Some(&self.leeway)).is_ok()
                };
                let another = self.recorded.iter().enumerate().any(another);
                return Ok(Answered { response: exchange.response.clone(), another });
            }
            Ok(_) => None,
            Err(nearest) => nearest.and_then(|(at, apart)| Some((self.recorded.get(at)?.name(), apart))),
        };
        let name = asked.name();
        let (path, recorded, came) = match nearest {
            Some((nearest, apart)) => {
                let place = if apart.path.is_empty() { String::new() } else { format!(" {}", apart.path) };
                let path = format!("{}{place}", apart.what);
                (path, format!("nearest is {nearest}: {}", apart.recorded), apart.came)
            }
            None => (String::new(), "no request at all".to_owned(), name.clone()),
        };
        let differs = if path.is_empty() { String::new() } else { format!("; the nearest differs in its {path}") };
        let message = format!("no answer is recorded for {name}{differs}");
        if state.unmatched.len() < MAX_UNMATCHED {
            let only_reads = only_reads(&request.method);
            let mismatch = Mismatch { kind: "request".to_owned(), what: name, path, recorded, came };
            state.unmatched.push(Unmatched { mismatch, only_reads });
        }
        Err(EgressError::Transport(message))
    }

    fn wait(&self, time: Duration) {
        self.clock.wait(time);
    }
}
