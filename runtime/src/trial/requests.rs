//! Whether a request that came is one that was recorded.
//!
//! A request is matched by method, path, parameters, the script's own headers and body, in the order in which they are named
//! here. Where an exchange has a `request`, its `params` and `headers` are all that was sent: a recorder leaves them out where
//! there are none. A body that it leaves out may be any. An exchange without `request` answers whatever comes to its path.
//!
//! The host is not compared: what a recording calls `/items` may have been sent to any base URL, also one with a path of its
//! own.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use serde_json::{Map, Value};
use sha1::{Digest as _, Sha1};

use super::compare::{texts_in_short, values, values_with};
use super::file::{RecordedExchange, RecordedRequest, buffer, text};
use super::leeway::{Accepted, Leeway, Place};
use crate::egress::{Request, Response};
use crate::sandbox::value_in_short;

/// Headers that an SDK, a client or a platform adds by itself, so that a recording has them or not whatever the script did:
/// compared only where both sides have them.
const ADDED_HEADERS: [&str; 18] = [
    "accept",
    "accept-encoding",
    "authorization",
    "base-url-override",
    "connection",
    "connection-id",
    "content-length",
    "content-type",
    "enable-header-forwarding",
    "host",
    "nango-activity-log-id",
    "nango-is-dry-run",
    "nango-is-script",
    "nango-is-sync",
    "provider-config-key",
    "retries",
    "retry-on",
    "user-agent",
];

/// What the recording platform puts before the names of headers that it passes on.
const PASSED_ON: &str = "nango-proxy-";

/// What a recorder has in place of a body of more than a thousand characters: the beginning of its SHA-1 in hex.
const HASHED: &str = "sha1:";

/// By name; more than one where it was sent more than once.
type Params = BTreeMap<String, Vec<String>>;

/// A recorded request and its answer.
pub(super) struct Exchange {
    method: String,
    host: Option<String>,
    path: String,
    /// Parameters in the path itself.
    own_params: Params,
    request: Option<RecordedRequest>,
    pub(super) response: Response,
}

/// A request as it is compared.
pub(super) struct Asked {
    method: String,
    /// Of an absolute URL.
    host: Option<String>,
    path: String,
    params: Params,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// In what a request is not like a recorded one.
pub(super) struct Apart {
    /// How near it is all the same.
    pub(super) rank: usize,
    pub(super) what: &'static str,
    pub(super) path: String,
    pub(super) recorded: String,
    pub(super) came: String,
}

/// How well a request fits; less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fit {
    /// Bytes of a base URL's path before the recorded one.
    before: usize,
    another_host: bool,
}

/// Where something differs, what was recorded there and what came.
type Difference = (String, String, String);

struct Url {
    host: Option<String>,
    path: String,
    params: Params,
}

/// A path without its slashes at both ends and without percent-encoding, and the parameters that it has.
fn place(url: &str) -> Url {
    let (host, after_host) = match url.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => {
            let (host, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            (Some(host.to_ascii_lowercase()), rest)
        }
        _ => (None, url),
    };
    let without_fragment = after_host.split('#').next().unwrap_or_default();
    let (path, query) = without_fragment.split_once('?').unwrap_or((without_fragment, ""));
    let mut params = Params::new();
    add_query(&mut params, query);
    Url { host, path: decode(path).trim_matches('/').to_owned(), params }
}

fn add_query(params: &mut Params, query: &str) {
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        params.entry(name_of(&name)).or_default().push(value.into_owned());
    }
}

/// A list's items are sent under `name` or `name[]`.
fn name_of(name: &str) -> String {
    name.strip_suffix("[]").unwrap_or(name).to_owned()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok()).filter(|_| *first == b'%');
        let decoded = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn header_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix(PASSED_ON).unwrap_or(&name).to_owned()
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        let Url { host, path, mut params } = place(&request.url);
        let mut given = Params::new();
        for (name, value) in &request.query {
            given.entry(name_of(name)).or_default().push(value.clone());
        }
        // What is given later wins, as in the SDKs.
        params.extend(given);
        let mut headers = BTreeMap::new();
        for (name, value) in &request.headers {
            let known: &mut String = headers.entry(header_name(name)).or_default();
            known.push_str(if known.is_empty() { "" } else { ", " });
            known.push_str(value);
        }
        let body = request.body.clone().unwrap_or_default();
        Self { method: request.method.to_ascii_lowercase(), host, path, params, headers, body }
    }

    pub(super) fn name(&self) -> String {
        named(&self.method, &self.path, &self.params)
    }

    fn is_form(&self) -> bool {
        self.headers.get("content-type").is_some_and(|it| it.starts_with("application/x-www-form-urlencoded"))
    }
}

/// Whether a method only reads.
pub(super) fn only_reads(method: &str) -> bool {
    ["get", "head", "options"].iter().any(|reading| reading.eq_ignore_ascii_case(method))
}

fn named(method: &str, path: &str, params: &Params) -> String {
    let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")));
    let pairs: Vec<String> = pairs.collect();
    let separator = if pairs.is_empty() { "" } else { "?" };
    value_in_short(&format!("{} /{path}{separator}{}", method.to_ascii_uppercase(), pairs.join("&")))
}

impl Exchange {
    pub(super) fn of(method: &str, key: &str, recorded: RecordedExchange) -> Self {
        let Url { host, path, params } = place(key);
        let status = recorded.status.unwrap_or(200);
        let mut headers = Vec::new();
        for (name, value) in recorded.headers.into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            match value {
                Value::Array(items) => headers.extend(items.iter().filter_map(text).map(|value| (name.clone(), value))),
                value => headers.extend(text(&value).map(|value| (name.clone(), value))),
            }
        }
        let (body, is_json) = body_of(status, recorded.response.as_deref().map(serde_json::value::RawValue::get));
        // It comes decoded, and as long as it is.
        headers
            .retain(|(name, _)| !matches!(name.as_str(), "content-encoding" | "content-length" | "transfer-encoding"));
        if is_json && !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        Self {
            method: method.to_ascii_lowercase(),
            host,
            path,
            own_params: params,
            request: recorded.request,
            response: Response { status, headers, body },
        }
    }

    /// All parameters that are recorded, by name. What is nested is under `name[key]`.
    fn params(&self) -> BTreeMap<String, Value> {
        let own = |params: &Params| -> Vec<(String, Value)> {
            let params = params.iter();
            params.map(|(name, values)| (name.clone(), Value::from(values.clone()))).collect()
        };
        let mut all: BTreeMap<String, Value> = own(&self.own_params).into_iter().collect();
        match self.request.as_ref().map(|request| &request.params) {
            Some(Value::Object(given)) => {
                all.extend(given.iter().map(|(name, value)| (name_of(name), value.clone())));
            }
            Some(Value::String(query)) => {
                let mut params = Params::new();
                add_query(&mut params, query.trim_start_matches('?'));
                all.extend(own(&params));
            }
            _ => {}
        }
        all
    }

    pub(super) fn name(&self) -> String {
        let texts = |value: Value| match value {
            Value::Array(items) => items.iter().filter_map(text).collect(),
            value => text(&value).into_iter().collect(),
        };
        let params = self.params().into_iter().map(|(name, value)| (name, texts(value))).collect();
        named(&self.method, &self.path, &params)
    }

    /// Without its parameters.
    pub(super) fn short_name(&self) -> String {
        named(&self.method, &self.path, &Params::new())
    }

    /// Whether its method only reads.
    pub(super) fn only_reads(&self) -> bool {
        only_reads(&self.method)
    }

    /// Whether as much is known of the request as of the other's: what answers anything is no further answer to one request.
    pub(super) fn is_as_open(&self, other: &Self) -> bool {
        self.request.is_some() == other.request.is_some()
    }

    pub(super) fn asks_the_same(&self, other: &Self) -> bool {
        self.method == other.method
            && self.path == other.path
            && self.own_params == other.own_params
            && self.request == other.request
    }

    /// How a request fits, or in what it differs first.
    pub(super) fn fit(&self, asked: &Asked, leeway: Option<&Leeway>) -> Result<(Fit, Accepted), Box<Apart>> {
        let apart =
            |rank, what, (path, recorded, came): Difference| Err(Box::new(Apart { rank, what, path, recorded, came }));
        let mut matching = Matching { leeway, accepted: Accepted::default() };
        let same_path = self.path == asked.path || matching.accepts("path", &self.path, &asked.path);
        // A base URL may have a path, which stands before.
        let ends_so = || asked.path.strip_suffix(self.path.as_str()).is_some_and(|before| before.ends_with('/'));
        let other_path = !same_path && asked.host.is_some() && (self.path.is_empty() || ends_so());
        if !same_path && !other_path {
            let shared = asked.path.split('/').zip(self.path.split('/')).take_while(|(a, b)| a == b).count();
            let (recorded, came) = (format!("/{}", self.path), format!("/{}", asked.path));
            let rank = 2 * shared.min(4) + usize::from(self.method == asked.method);
            return apart(rank, "path", (String::new(), value_in_short(&recorded), value_in_short(&came)));
        }
        if self.method != asked.method {
            return apart(10, "method", (String::new(), self.method.clone(), asked.method.clone()));
        }
        let mut wanted = self.params();
        let mut came = asked.params.clone();
        if self.request.is_none() {
            // Nothing is known of the request but what its path says.
            came.retain(|name, _| wanted.contains_key(name));
        }
        flatten(&mut wanted, &came);
        if let Some(found) = matching.pairs("parameter", &wanted, &came) {
            let same = wanted.iter().filter(|(name, value)| came.get(*name).is_some_and(|it| fits(value, it))).count();
            return apart(11 + same.min(900), "parameter", found);
        }
        if let Some(request) = &self.request {
            let headers = request.headers.iter().flatten();
            let headers = headers.filter_map(|(name, value)| Some((header_name(name), text(value)?))).collect();
            if let Some(found) = matching.headers(&headers, &asked.headers) {
                return apart(1_000, "header", found);
            }
            if let Some(data) = &request.data
                && let Some(found) = matching.body(data, asked)
            {
                return apart(2_000, "body", found);
            }
        }
        let another_host = self.host.is_some() && asked.host.is_some() && self.host != asked.host;
        let before = if other_path { asked.path.len().saturating_sub(self.path.len()) } else { 0 };
        Ok((Fit { before, another_host }, matching.accepted))
    }
}

/// Recorded objects that did not come under their own name, as `name[key]`.
fn flatten(wanted: &mut BTreeMap<String, Value>, came: &Params) {
    let nested =
        |(name, value): (&String, &Value)| (value.is_object() && !came.contains_key(name)).then(|| name.clone());
    while let Some(name) = wanted.iter().find_map(nested) {
        if let Some(Value::Object(fields)) = wanted.remove(&name) {
            wanted.extend(fields.into_iter().map(|(key, value)| (name_of(&format!("{name}[{key}]")), value)));
        }
    }
}

/// Whether a recorded parameter is what was sent under its name.
fn fits(recorded: &Value, came: &[String]) -> bool {
    let joined = came.join(",");
    let is_json = || serde_json::from_str::<Value>(&joined).is_ok_and(|came| came == *recorded);
    match recorded {
        // What JavaScript makes of it, if it is sent at all.
        Value::Null => ["null", "", "undefined"].contains(&joined.as_str()),
        Value::Array(items) => text(recorded).is_some_and(|all| all == joined) || items.is_empty() || is_json(),
        Value::Object(_) => joined == "[object Object]" || is_json(),
        scalar => {
            let scalar = text(scalar).unwrap_or_default();
            // A recorder that knows one value a name keeps the last.
            scalar == joined || came.last() == Some(&scalar)
        }
    }
}

/// Compares, and keeps what it accepts.
struct Matching<'a> {
    leeway: Option<&'a Leeway>,
    accepted: Accepted,
}

impl Matching<'_> {
    fn accepts(&mut self, what: &str, recorded: &str, came: &str) -> bool {
        let accepted = self.leeway.and_then(|leeway| leeway.accepts(recorded, came, Place::Request));
        accepted.map(|accepted| self.accepted.extend(what, accepted)).is_some()
    }

    /// Parameters, or the fields of a form.
    fn pairs(&mut self, what: &str, wanted: &BTreeMap<String, Value>, came: &Params) -> Option<Difference> {
        let names: BTreeSet<&String> = wanted.keys().chain(came.keys()).collect();
        let apart = names.into_iter().find(|name| match (wanted.get(*name), came.get(*name)) {
            (Some(wanted), Some(came)) => {
                let recorded = text(wanted).unwrap_or_default();
                !fits(wanted, came) && !self.accepts(&format!("{what} {name}"), &recorded, &came.join(","))
            }
            (Some(wanted), None) => !(wanted.is_null() || wanted.as_array().is_some_and(Vec::is_empty)),
            (None, _) => true,
        })?;
        let nothing = || "nothing".to_owned();
        let recorded = wanted.get(apart).map_or_else(nothing, |it| text(it).unwrap_or_else(|| "null".to_owned()));
        let came = came.get(apart).map_or_else(nothing, |values| values.join(","));
        let (recorded, came) = texts_in_short(&recorded, &came);
        Some((apart.clone(), recorded, came))
    }

    /// The headers that count: those that a script sets itself.
    fn headers(&mut self, recorded: &BTreeMap<String, String>, came: &BTreeMap<String, String>) -> Option<Difference> {
        let names: BTreeSet<&String> = recorded.keys().chain(came.keys()).collect();
        let apart = names.into_iter().find(|name| match (recorded.get(*name), came.get(*name)) {
            (Some(recorded), Some(came)) => {
                !same_header(name, recorded, came) && !self.accepts(&format!("header {name}"), recorded, came)
            }
            _ => !ADDED_HEADERS.contains(&name.as_str()),
        })?;
        let side = |headers: &BTreeMap<String, String>| {
            headers.get(apart).map_or_else(|| "nothing".to_owned(), |it| value_in_short(it))
        };
        Some((apart.clone(), side(recorded), side(came)))
    }

    /// Where a body is not as recorded.
    fn body(&mut self, recorded: &Value, asked: &Asked) -> Option<Difference> {
        let came = &asked.body;
        let whole = |recorded: String| {
            let came = if came.is_empty() { "nothing".into() } else { String::from_utf8_lossy(came) };
            let (recorded, came) = texts_in_short(&recorded, &came);
            Some((String::new(), recorded, came))
        };
        if let Some(bytes) = buffer(recorded) {
            return if bytes == *came { None } else { whole(format!("{} bytes", bytes.len())) };
        }
        let none = matches!(recorded, Value::Null) || recorded == "" || *recorded == Value::Object(Map::new());
        if none && came.is_empty() {
            return None;
        }
        if let Value::String(text) = recorded {
            let base64 = || base64::engine::general_purpose::STANDARD.encode(came);
            if text.as_bytes() == came || *text == base64() {
                return None;
            }
            if let Some(hash) = text.strip_prefix(HASHED) {
                let is = |bytes: &[u8]| hex(&Sha1::digest(bytes)) == hash;
                if is(came) || is(base64().as_bytes()) {
                    return None;
                }
                let varies = self.leeway.and_then(|it| it.accepts_hashed(text, &String::from_utf8_lossy(came)));
                let Some(accepted) = varies else { return whole(format!("a body with {text}")) };
                self.accepted.extend("body", accepted);
                return None;
            }
        }
        if asked.is_form() {
            let mut wanted = match recorded {
                Value::String(text) => {
                    let mut params = Params::new();
                    add_query(&mut params, text);
                    params.into_iter().map(|(name, values)| (name, Value::from(values))).collect()
                }
                Value::Object(fields) => fields.iter().map(|(name, value)| (name_of(name), value.clone())).collect(),
                other => return whole(other.to_string()),
            };
            let mut fields = Params::new();
            add_query(&mut fields, &String::from_utf8_lossy(came));
            flatten(&mut wanted, &fields);
            return self.pairs("body", &wanted, &fields);
        }
        let text = String::from_utf8_lossy(came);
        if let Value::String(recorded) = recorded
            && self.accepts("body", recorded, &text)
        {
            return None;
        }
        let parsed: Option<Value> = serde_json::from_str(&text).ok();
        let recorded = match recorded {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| recorded.clone()),
            other => other.clone(),
        };
        let Some(came) = parsed else {
            return whole(if recorded.is_null() { "nothing".to_owned() } else { recorded.to_string() });
        };
        let compared = match self.leeway {
            Some(leeway) => values_with(leeway, Place::Request, &recorded, &came),
            None => values(&recorded, &came).map_or_else(|| Ok(Accepted::default()), Err),
        };
        match compared {
            Ok(accepted) => {
                self.accepted.extend("body", accepted);
                None
            }
            Err(found) => Some((found.path, found.recorded, found.came)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn same_header(name: &str, recorded: &str, came: &str) -> bool {
    let of = |value: &str| match name {
        // `application/json; charset=utf-8` is `application/json`.
        "content-type" => value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
        _ => value.trim().to_owned(),
    };
    of(recorded) == of(came)
}

/// The bytes that an answer has, and whether they are JSON. A text that is recorded as a string was no JSON, or the string would
/// be what it says: where it looks like JSON all the same, it is sent as a JSON string.
fn body_of(status: u16, response: Option<&str>) -> (Vec<u8>, bool) {
    let Some(response) = response else { return (Vec::new(), false) };
    let Ok(value) = serde_json::from_str::<Value>(response) else { return (Vec::new(), false) };
    if let Some(bytes) = buffer(&value) {
        return (bytes, false);
    }
    match value {
        // Such an answer has no body.
        Value::Null if [204, 205, 304].contains(&status) => (Vec::new(), false),
        Value::String(text) if text.is_empty() || serde_json::from_str::<Value>(&text).is_err() => {
            (text.into_bytes(), false)
        }
        _ => (response.as_bytes().to_vec(), true),
    }
}
