//! Requests and answers. Every request passes the operator's policy; the connection's credential is added by the host and never
//! visible here.
//!
//! [`Request::send`] fails for a status of 400 and above, because a script that forgets to look would save an error page;
//! [`Request::send_any`] accepts any status. Waiting and trying again is the host's work and costs no fuel.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bindings::host::terapi::sync::http as host;
use crate::error::{self, Error, Kind, Result};
use crate::pages::{self, Paging};
use crate::pointer::{self, Pointer};

pub(crate) mod link;

/// Tries after the first for a request that may be repeated, `GET` and `HEAD`: with the host's doubling waits this bridges
/// the short outages that every API has.
const RETRIES: u32 = 3;
/// The most that the host follows.
const REDIRECTS: u32 = 5;
/// The most that the host takes in one `fetch-all`.
const CONCURRENT: usize = 32;
/// How much of a failed answer's body an error shows: enough for the API's own message.
const EXCERPT_BYTES: usize = 512;

/// A `GET` of `url`: an absolute URL, or a path such as `/users.list` on the integration's base URL.
pub fn get(url: impl Into<String>) -> Request {
    Request::new("GET", url)
}

/// A `POST` to `url`.
pub fn post(url: impl Into<String>) -> Request {
    Request::new("POST", url)
}

/// A `PUT` to `url`.
pub fn put(url: impl Into<String>) -> Request {
    Request::new("PUT", url)
}

/// A `PATCH` of `url`.
pub fn patch(url: impl Into<String>) -> Request {
    Request::new("PATCH", url)
}

/// A `DELETE` of `url`.
pub fn delete(url: impl Into<String>) -> Request {
    Request::new("DELETE", url)
}

/// A request under construction; nothing is sent before [`send`](Self::send).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is sent before `send`"]
pub struct Request {
    method: &'static str,
    pub(crate) url: String,
    headers: Vec<(String, String)>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    timeout: Option<Duration>,
    retries: u32,
    retry_on: Vec<u16>,
    redirects: u32,
    /// What went wrong while it was built; told when it is sent.
    broken: Option<Error>,
}

impl Request {
    /// A request with any method that the host knows, `HEAD` and `OPTIONS` for example.
    pub fn new(method: &'static str, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            query: Vec::new(),
            body: None,
            timeout: None,
            retries: if matches!(method, "GET" | "HEAD") { RETRIES } else { 0 },
            retry_on: Vec::new(),
            redirects: REDIRECTS,
            broken: None,
        }
    }

    /// Adds a parameter to the query; the host encodes it.
    pub fn query(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.query.push((name.into(), value.to_string()));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// Sends `body` as JSON, with the content type of it.
    pub fn json(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        match pointer::to_text("writing the request's body", body) {
            Ok(text) => self.typed_body("application/json", text.into_bytes()),
            Err(error) => {
                self.broken = Some(error);
                self
            }
        }
    }

    /// Sends `fields` as a form (`application/x-www-form-urlencoded`).
    pub fn form<N: AsRef<str>, V: Display>(self, fields: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut body = String::new();
        for (name, value) in fields {
            if !body.is_empty() {
                body.push('&');
            }
            body.push_str(&encode(name.as_ref()));
            body.push('=');
            body.push_str(&encode(value));
        }
        self.typed_body("application/x-www-form-urlencoded", body.into_bytes())
    }

    /// Sends `body` as it is. Say what it is with a `content-type` header.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The time from start to the last byte. Without it, or above the operator's limit, that limit holds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many times to try again, at most 10, after a network error, 429, or a status of 500 and above: 3 for `GET` and `HEAD`
    /// unless set here, 0 for the others, since not every API tolerates a repeated `POST`.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Further statuses to try again on.
    pub fn retry_on(mut self, statuses: impl Into<Vec<u16>>) -> Self {
        self.retry_on = statuses.into();
        self
    }

    /// How many redirects to follow, at most 5, which is also the default. With 0 the answer is the redirect itself.
    pub fn redirects(mut self, redirects: u32) -> Self {
        self.redirects = redirects;
        self
    }

    /// Sends it and waits. A status of 400 and above is an error with an excerpt of the body: transient for 408, 425, 429
    /// and from 500 on, permanent otherwise.
    pub fn send(self) -> Result<Response> {
        self.send_any()?.or_error()
    }

    /// Sends it and waits; any status is fine.
    pub fn send_any(self) -> Result<Response> {
        let name = self.to_string();
        let answer = self.with_host(host::fetch)?;
        Response::from_host(name, answer)
    }

    /// All pages of a list, one at a time, each an answer that [`send`](Self::send) would have given.
    ///
    /// The iterator ends when `paging` finds no next page, and after the first error. A next page that was there before
    /// is an error too, so an API that turns in circles cannot keep a run busy for ever. With [`Paging::ahead`] the host
    /// has the next pages ready before they are asked for.
    pub fn pages(self, paging: Paging) -> impl Iterator<Item = Result<Response>> {
        pages::Pages::new(self, paging, Contract)
    }

    fn typed_body(mut self, content_type: &str, body: Vec<u8>) -> Self {
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            self.headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        self.body = Some(body);
        self
    }

    /// Calls the host with this request in the contract's form.
    fn with_host<T>(&self, call: impl FnOnce(host::Request<'_>) -> T) -> Result<T> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone().context(self));
        }
        let headers = pairs(&self.headers);
        let query = pairs(&self.query);
        Ok(call(self.in_contract(&headers, &query)))
    }

    fn in_contract<'a>(
        &'a self,
        headers: &'a [(&'a str, &'a str)],
        query: &'a [(&'a str, &'a str)],
    ) -> host::Request<'a> {
        host::Request {
            method: self.method,
            url: &self.url,
            headers,
            query,
            body: self.body.as_deref(),
            timeout_ms: self.timeout.map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)),
            retries: self.retries,
            retry_on: &self.retry_on,
            redirects: self.redirects,
        }
    }
}

/// The host as the contract has it.
struct Contract;

impl pages::Host for Contract {
    fn send(&mut self, request: Request) -> Result<Response> {
        request.send()
    }

    fn start(&mut self, first: &Request, next: pages::Next<'_>, ahead: u32) -> Option<u64> {
        let next = match next {
            pages::Next::Link => host::NextPage::Link,
            pages::Next::Count { parameter, first, step } => {
                host::NextPage::Count(host::Counter { parameter, first, step })
            }
        };
        // What the host refuses is asked for page by page, where an error has its place.
        first.with_host(|first| host::start_pages(first, next, ahead)).ok()?.ok()
    }

    fn take(&mut self, list: u64, request: &Request) -> Option<Result<Response>> {
        let answer = host::take_page(list)?;
        Some(Response::from_host(request.to_string(), answer).and_then(Response::or_error))
    }

    fn stop(&mut self, list: u64) {
        host::stop_pages(list);
    }
}

/// As an error names it: method and URL. The query stays out, since some APIs want secrets there.
impl Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split('?').next().unwrap_or_default();
        write!(f, "{} {url}", self.method)
    }
}

fn pairs(list: &[(String, String)]) -> Vec<(&str, &str)> {
    list.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The request as an error names it.
    request: String,
}

impl Response {
    pub(crate) fn new(request: String, status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Self { status, headers, body, request }
    }

    fn from_host(request: String, answer: Result<host::Response, host::Error>) -> Result<Self> {
        match answer {
            Ok(answer) => Ok(Self::new(request, answer.status, answer.headers, answer.body)),
            Err(error) => Err(error::from_http(&request, error)),
        }
    }

    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as JSON of a type that may borrow from it: `&str` and `&RawValue` fields cost no copy.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| self.not_as_expected(&error))
    }

    /// The part of the body at a JSON pointer such as `/data/items`; the rest is skipped over. An error if there is
    /// nothing at that place.
    pub fn json_at<'a, T: Deserialize<'a>>(&'a self, pointer: &str) -> Result<T> {
        let part = Pointer::parse(pointer)?.pick(&self.body).map_err(|error| self.not_as_expected(&error))?;
        let Some(part) = part else {
            return Err(Error::permanent(format!(
                "{}: the answer has nothing at `{pointer}`: {}",
                self.request,
                self.excerpt()
            )));
        };
        serde_json::from_str(part.get())
            .map_err(|error| self.not_as_expected(&error).context(format!("at `{pointer}`")))
    }

    /// The body as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The error that a status of 400 and above is; what [`Request::send`] applies.
    pub fn or_error(self) -> Result<Self> {
        if self.status < 400 {
            return Ok(self);
        }
        let kind = match self.status {
            408 | 425 | 429 | 500.. => Kind::Transient,
            _ => Kind::Permanent,
        };
        let mut message = format!("{}: status {}", self.request, self.status);
        if matches!(self.status, 401 | 403) {
            message.push_str(" (check the connection's credential and its permissions)");
        }
        let excerpt = self.excerpt();
        if !excerpt.is_empty() {
            let _ = write!(message, ": {excerpt}");
        }
        let error = match kind {
            Kind::Transient => Error::transient(message),
            Kind::Permanent => Error::permanent(message),
        };
        let wait = self.header("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
        let error = error.with_status(self.status);
        Err(wait.map_or(error.clone(), |wait| error.with_retry_after(wait)))
    }

    pub(crate) fn not_as_expected(&self, error: &serde_json::Error) -> Error {
        Error::permanent(format!("{}: the answer is not as expected: {error}: {}", self.request, self.excerpt()))
    }

    pub(crate) fn request_name(&self) -> &str {
        &self.request
    }

    fn excerpt(&self) -> Cow<'_, str> {
        match self.body.get(..EXCERPT_BYTES) {
            None => self.text(),
            Some(start) => (String::from_utf8_lossy(start).trim_end_matches('\u{fffd}').to_owned() + "…").into(),
        }
    }
}

/// Sends all requests, several at a time, and waits for all. The answers come in the order of the requests; each is what
/// [`Request::send`] would have given.
pub fn fetch_all(requests: impl IntoIterator<Item = Request>) -> Vec<Result<Response>> {
    let requests: Vec<Request> = requests.into_iter().collect();
    let mut answers = Vec::with_capacity(requests.len());
    for chunk in requests.chunks(CONCURRENT) {
        if let Some(broken) =
            chunk.iter().find_map(|request| request.broken.as_ref().map(|e| e.clone().context(request)))
        {
            answers.extend(chunk.iter().map(|_| Err(broken.clone())));
            continue;
        }
        let headers: Vec<_> = chunk.iter().map(|request| pairs(&request.headers)).collect();
        let query: Vec<_> = chunk.iter().map(|request| pairs(&request.query)).collect();
        let batch: Vec<_> = chunk
            .iter()
            .zip(headers.iter().zip(&query))
            .map(|(request, (headers, query))| request.in_contract(headers, query))
            .collect();
        let done = host::fetch_all(&batch);
        answers.extend(
            chunk
                .iter()
                .zip(done)
                .map(|(request, answer)| Response::from_host(request.to_string(), answer).and_then(Response::or_error)),
        );
    }
    answers
}

/// Names a request that was started; never used twice in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Starts a request without waiting for it; [`wait`] gives the answer. At most 32 may be started and not yet waited for.
pub fn start(request: &Request) -> Result<Ticket> {
    request.with_host(host::start)?.map(Ticket).map_err(|error| error::from_http(&request.to_string(), error))
}

/// Waits for the next started request to be done, in the order in which they finish: its ticket, and what
/// [`Request::send`] would have given. None if none is under way.
#[must_use]
pub fn wait() -> Option<(Ticket, Result<Response>)> {
    let (ticket, answer) = host::wait()?;
    Some((Ticket(ticket), Response::from_host(format!("request {ticket}"), answer).and_then(Response::or_error)))
}

/// What [`wait_for`] came back with.
#[derive(Debug)]
pub enum Waited {
    /// A request is done: what [`wait`] would have given.
    Done(Ticket, Result<Response>),
    /// The time is over.
    TimedOut,
}

/// Waits for the next started request to be done, but not longer than `time` (at most 49 days). With none under way it waits
/// for the time; a waiting script uses no fuel.
#[must_use]
pub fn wait_for(time: Duration) -> Waited {
    let timeout_ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    match host::wait_for(timeout_ms) {
        host::Waited::Done((ticket, answer)) => {
            let answer = Response::from_host(format!("request {ticket}"), answer).and_then(Response::or_error);
            Waited::Done(Ticket(ticket), answer)
        }
        host::Waited::TimedOut => Waited::TimedOut,
    }
}

/// Percent-encodes `value` for one segment of a path, or any other place in a URL: all but `A-Z a-z 0-9 - . _ ~`
/// (RFC 3986, section 2.3). `get(format!("/channels/{}", encode(&name)))`
#[must_use]
pub fn encode(value: impl Display) -> String {
    let value = value.to_string();
    let mut out = String::with_capacity(value.len());
    for &byte in value.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
