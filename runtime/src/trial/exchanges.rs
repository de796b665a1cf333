//! Which recorded answer a request gets.
//!
//! A request is matched by method, path, parameters, the script's own headers and body. The host is not compared: what a recording
//! calls `/items` may have been sent to any base URL, also one with a path of its own. Of several recorded exchanges that match,
//! one is taken that was not used, in the order of the file; when all were used, the last of them again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::compare::values;
use super::file::{RecordedExchange, RecordedFile, RecordedRequest, TrialError, buffer, text};
use super::{Mismatch, Trial};
use crate::egress::{Answers, EgressError, Policy, Request, Response};
use crate::sandbox::value_in_short;

/// Headers that an SDK or a client adds by itself: compared only where both sides have them.
const ADDED_HEADERS: [&str; 5] = ["content-type", "accept", "accept-encoding", "user-agent", "content-length"];

/// All exchanges of a file.
pub(super) struct Exchanges {
    exchanges: Vec<Exchange>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: BTreeSet<usize>,
    asked: u64,
    unmatched: Vec<Mismatch>,
}

struct Exchange {
    method: String,
    path: String,
    /// Parameters in the path itself.
    own_params: BTreeMap<String, String>,
    request: Option<RecordedRequest>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A request as it is compared.
struct Asked {
    method: String,
    path: String,
    params: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// In what a request is not like a recorded one.
struct Apart {
    what: &'static str,
    path: String,
    recorded: String,
    came: String,
}

impl Exchanges {
    pub(super) fn of(file: &RecordedFile, path: &Path) -> Result<Self, TrialError> {
        let mut exchanges = Vec::new();
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
            exchanges.extend(list.into_iter().map(|recorded| Exchange::of(method, place, recorded)));
        }
        Ok(Self { exchanges, state: Mutex::default() })
    }

    /// How many requests came.
    pub(super) fn asked(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    /// Requests that nothing was recorded for, and recorded ones that did not come.
    pub(super) fn report(&self, trial: &mut Trial) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        trial.mismatches.extend(state.unmatched.iter().cloned());
        let used: Vec<&Exchange> = state.used.iter().filter_map(|at| self.exchanges.get(*at)).collect();
        for (at, exchange) in self.exchanges.iter().enumerate() {
            // The same request, recorded once more, could not have been told from the one that came.
            if !state.used.contains(&at) && !used.iter().any(|other| other.asks_the_same(exchange)) {
                trial.differs("request-not-made", exchange.name(), exchange.name(), "no such request");
            }
        }
    }

    fn find(&self, asked: &Asked, used: &BTreeSet<usize>) -> Result<usize, Option<(usize, Apart)>> {
        let mut nearest: Option<(usize, usize, Apart)> = None;
        let mut matching: Vec<(bool, usize)> = Vec::new();
        for (at, exchange) in self.exchanges.iter().enumerate() {
            match exchange.apart(asked) {
                None => matching.push((exchange.path == asked.path, at)),
                Some((rank, apart)) => {
                    if nearest.as_ref().is_none_or(|(best, _, _)| rank > *best) {
                        nearest = Some((rank, at, apart));
                    }
                }
            }
        }
        // One that was recorded for just this path goes before one whose path is only the end of it.
        let exact = matching.iter().any(|(exact, _)| *exact);
        matching.retain(|(is_exact, _)| *is_exact || !exact);
        let unused = matching.iter().find(|(_, at)| !used.contains(at));
        match unused.or(matching.last()) {
            Some((_, at)) => Ok(*at),
            None => Err(nearest.map(|(_, at, apart)| (at, apart))),
        }
    }
}

impl Answers for Exchanges {
    fn answer(&self, _: &Policy, request: Request) -> Result<Response, EgressError> {
        let asked = Asked::of(request);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let found = self.find(&asked, &state.used);
        match found.map(|at| (at, self.exchanges.get(at))) {
            Ok((at, Some(exchange))) => {
                state.used.insert(at);
                let Exchange { status, headers, body, .. } = exchange;
                Ok(Response { status: *status, headers: headers.clone(), body: body.clone() })
            }
            other => {
                let name = asked.name();
                let nearest = other.err().flatten();
                let nearest = nearest.and_then(|(at, apart)| Some((self.exchanges.get(at)?.name(), apart)));
                let (path, recorded, came) = match nearest {
                    Some((nearest, apart)) => {
                        let place = if apart.path.is_empty() { String::new() } else { format!(" {}", apart.path) };
                        let path = format!("{}{place}", apart.what);
                        (path, format!("nearest is {nearest}: {}", apart.recorded), apart.came)
                    }
                    None => (String::new(), "no request at all".to_owned(), name.clone()),
                };
                let message = format!("no answer is recorded for {name}; recorded: {recorded}; came: {came}");
                state.unmatched.push(Mismatch { kind: "request".to_owned(), what: name, path, recorded, came });
                Err(EgressError::Transport(message))
            }
        }
    }
}

/// A path without its slashes at both ends and without percent-encoding, and the parameters that it has.
fn place(url: &str) -> (String, BTreeMap<String, String>) {
    let after_host = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest.find(['/', '?']).map_or("", |at| rest.get(at..).unwrap_or_default()),
        _ => url,
    };
    let without_fragment = after_host.split('#').next().unwrap_or_default();
    let (path, query) = without_fragment.split_once('?').unwrap_or((without_fragment, ""));
    let path = decode(path);
    let params = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    (path.trim_matches('/').to_owned(), params)
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let decoded = hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Asked {
    fn of(request: Request) -> Self {
        let (path, mut params) = place(&request.url);
        // What is given later wins, as in the SDKs.
        params.extend(request.query);
        Self {
            method: request.method.to_ascii_lowercase(),
            path,
            params,
            headers: request.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
            body: request.body.unwrap_or_default(),
        }
    }

    fn name(&self) -> String {
        named(&self.method, &self.path, &self.params)
    }

    fn is_form(&self) -> bool {
        self.headers.get("content-type").is_some_and(|it| it.starts_with("application/x-www-form-urlencoded"))
    }
}

fn named(method: &str, path: &str, params: &BTreeMap<String, String>) -> String {
    let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let separator = if params.is_empty() { "" } else { "?" };
    format!("{} /{path}{separator}{}", method.to_ascii_uppercase(), params.join("&"))
}

impl Exchange {
    fn of(method: &str, key: &str, recorded: RecordedExchange) -> Self {
        let (path, own_params) = place(key);
        let mut headers = Vec::new();
        for (name, value) in recorded.headers.into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            match value {
                Value::Array(items) => headers.extend(items.iter().filter_map(text).map(|value| (name.clone(), value))),
                value => headers.extend(text(&value).map(|value| (name.clone(), value))),
            }
        }
        let (body, is_json) = body_of(recorded.response.as_deref().map_or("", |response| response.get()));
        // It comes decoded, and as long as it is.
        headers
            .retain(|(name, _)| !matches!(name.as_str(), "content-encoding" | "content-length" | "transfer-encoding"));
        if is_json && !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        Self {
            method: method.to_ascii_lowercase(),
            path,
            own_params,
            request: recorded.request,
            status: recorded.status.unwrap_or(200),
            headers,
            body,
        }
    }

    fn params(&self) -> BTreeMap<String, String> {
        let mut params = self.own_params.clone();
        match self.request.as_ref().map(|request| &request.params) {
            Some(Value::Object(given)) => {
                params.extend(given.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))));
            }
            Some(Value::String(query)) => {
                params.extend(url::form_urlencoded::parse(query.trim_start_matches('?').as_bytes()).into_owned());
            }
            _ => {}
        }
        params
    }

    fn name(&self) -> String {
        named(&self.method, &self.path, &self.params())
    }

    fn asks_the_same(&self, other: &Self) -> bool {
        self.method == other.method
            && self.path == other.path
            && self.own_params == other.own_params
            && self.request == other.request
    }

    /// How near the request is, and in what it differs first; `None` if in nothing.
    fn apart(&self, asked: &Asked) -> Option<(usize, Apart)> {
        let apart = |rank, what, path: String, recorded: String, came: String| {
            Some((rank, Apart { what, path, recorded, came }))
        };
        let same_path = asked.path == self.path
            || asked
                .path
                .strip_suffix(self.path.as_str())
                .is_some_and(|before| self.path.is_empty() || before.ends_with('/'));
        if self.method != asked.method {
            let rank = usize::from(same_path);
            return apart(rank, "method", String::new(), self.method.clone(), asked.method.clone());
        }
        if !same_path {
            return apart(1, "path", String::new(), format!("/{}", self.path), format!("/{}", asked.path));
        }
        let params = self.params();
        let Some(request) = &self.request else {
            // Nothing is known of the request but what its path says.
            let (name, value) = params.iter().find(|(name, value)| asked.params.get(*name) != Some(value))?;
            let came = asked.params.get(name).cloned().unwrap_or_else(|| "nothing".to_owned());
            return apart(10, "parameter", name.clone(), value.clone(), came);
        };
        if let Some((name, recorded, came)) = first_apart(&params, &asked.params) {
            let same = params.iter().filter(|(name, value)| asked.params.get(*name) == Some(value)).count();
            return apart(10 + same, "parameter", name, recorded, came);
        }
        let headers = request.headers.iter().flatten();
        let headers: BTreeMap<String, String> =
            headers.filter_map(|(name, value)| Some((name.to_ascii_lowercase(), text(value)?))).collect();
        let (recorded, came) = own_headers(&headers, &asked.headers);
        if let Some((name, recorded, came)) = first_apart(&recorded, &came) {
            return apart(1_000, "header", name, recorded, came);
        }
        let (path, recorded, came) = body_apart(&request.data, asked)?;
        apart(2_000, "body", path, recorded, came)
    }
}

/// The headers that count: those that a script sets itself.
fn own_headers(
    recorded: &BTreeMap<String, String>,
    came: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let own = |these: &BTreeMap<String, String>, those: &BTreeMap<String, String>| {
        let counts = |name: &str| !ADDED_HEADERS.contains(&name) || those.contains_key(name);
        let kept = these.iter().filter(|(name, _)| counts(name));
        kept.map(|(name, value)| {
            // `application/json; charset=utf-8` is `application/json`.
            let value = if name == "content-type" { value.split(';').next().unwrap_or_default() } else { value };
            (name.clone(), value.trim().to_owned())
        })
        .collect()
    };
    (own(recorded, came), own(came, recorded))
}

fn first_apart(
    recorded: &BTreeMap<String, String>,
    came: &BTreeMap<String, String>,
) -> Option<(String, String, String)> {
    let names: BTreeSet<&String> = recorded.keys().chain(came.keys()).collect();
    let name = names.into_iter().find(|name| recorded.get(*name) != came.get(*name))?;
    let side = |map: &BTreeMap<String, String>| map.get(name).map_or("nothing".to_owned(), |it| value_in_short(it));
    Some((name.clone(), side(recorded), side(came)))
}

/// Where a body is not as recorded.
fn body_apart(recorded: &Value, asked: &Asked) -> Option<(String, String, String)> {
    let came = &asked.body;
    let shown = |bytes: &[u8]| {
        if bytes.is_empty() { "nothing".to_owned() } else { value_in_short(&String::from_utf8_lossy(bytes)) }
    };
    let whole = |recorded: String| Some((String::new(), value_in_short(&recorded), shown(came)));
    if let Some(bytes) = buffer(recorded) {
        return if bytes == *came { None } else { whole(format!("{} bytes", bytes.len())) };
    }
    let none = matches!(recorded, Value::Null) || recorded == "" || *recorded == Value::Object(serde_json::Map::new());
    if none && came.is_empty() {
        return None;
    }
    if let Value::String(text) = recorded
        && text.as_bytes() == came
    {
        return None;
    }
    let form = |text: &[u8]| url::form_urlencoded::parse(text).into_owned().collect::<BTreeMap<String, String>>();
    if asked.is_form() {
        let recorded_form = match recorded {
            Value::String(text) => form(text.as_bytes()),
            Value::Object(fields) => fields.iter().filter_map(|(name, it)| Some((name.clone(), text(it)?))).collect(),
            other => return whole(other.to_string()),
        };
        return first_apart(&recorded_form, &form(came));
    }
    let parsed: Option<Value> = serde_json::from_slice(came).ok();
    let recorded = match recorded {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| recorded.clone()),
        other => other.clone(),
    };
    match parsed {
        Some(came) => values(&recorded, &came).map(|found| (found.path, found.recorded, found.came)),
        None => whole(if recorded.is_null() { "nothing".to_owned() } else { recorded.to_string() }),
    }
}

/// The bytes that an answer has, and whether they are JSON. A text that is recorded as a string was no JSON, or the string would
/// be what it says: where it looks like JSON all the same, it is sent as a JSON string.
fn body_of(response: &str) -> (Vec<u8>, bool) {
    let Ok(value) = serde_json::from_str::<Value>(response) else { return (Vec::new(), false) };
    if let Some(bytes) = buffer(&value) {
        return (bytes, false);
    }
    match value {
        Value::String(text) if text.is_empty() || serde_json::from_str::<Value>(&text).is_err() => {
            (text.into_bytes(), false)
        }
        _ => (response.as_bytes().to_vec(), true),
    }
}
