//! Egress: the one way out.
//!
//! Every request of every script goes through [`Egress::send`]. By default nothing goes: the operator's [`Policy`] names
//! the hosts, and only public addresses are dialed unless it names the networks as well.
//!
//! # Order of checks
//! 1. method and URL: WHATWG URL, absolute or a path on the base URL, no userinfo, `https` or `http` (`request`)
//! 2. scheme, host and port against the allowed hosts (`policy`)
//! 3. a host that is an address, or a name for one, against the networks (`policy`, `address`)
//! 4. headers: none of the connection's, none that breaks its line, not too many (`request`)
//! 5. the run's budget of requests ([`Meter::request`])
//! 6. every address that a name resolves to (`resolver`), and just these are dialed (`client`)
//! 7. while the answer streams: its size decoded and as sent, its pauses, the run's budget of bytes (`body`)
//!
//! A redirect that is followed goes through 1 to 3 and 5 to 7 again; a retry through 5 to 7.
//!
//! # Invariants
//! - Nothing is sent before checks 1 to 5 have passed; a name is not even resolved.
//! - What was checked is what is dialed: no proxy, no second resolving, no pool shared between policies with different
//!   networks.
//! - What the meter was told to have been received and not to have been released is the length of the body returned.
//!   Dropping the future at any point keeps that: `send` is cancel-safe, and cancelling closes the connection.
//! - No text that a script gets holds an address that a name resolved to.

mod address;
mod body;
mod client;
mod error;
mod policy;
mod redirect;
mod request;
mod resolver;
mod retry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use tokio::time::{sleep, timeout};

use self::client::{Clients, MAX_RESPONSE_HEADER_BYTES};
use self::error::Failure;
pub use self::error::{EgressError, Exhausted, Rule};
pub use self::policy::{HostPattern, HostPatternError, Policy};
pub use self::redirect::MAX_REDIRECTS;
pub use self::request::Request;
pub use self::retry::MAX_RETRIES;

/// A cheap handle to the HTTP clients and their pooled connections.
#[derive(Clone)]
pub struct Egress {
    clients: Arc<Clients>,
}

/// An answer, whatever its status.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case. Of a body that was decoded, `Content-Encoding` and `Content-Length` are left out.
    pub headers: Vec<(String, String)>,
    /// Decoded. Its length is what the [`Meter`] still counts; the caller tells the meter when it is gone.
    pub body: Vec<u8>,
}

/// Counts what a run sends and receives, and ends it where a budget does.
pub trait Meter: Send + Sync {
    /// A request is about to be sent: the first, or after a redirect or for a retry another.
    ///
    /// # Errors
    /// The budget is used up; the request is not sent.
    fn request(&self) -> Result<(), Exhausted>;

    /// This many decoded bytes have arrived and are about to be kept.
    ///
    /// # Errors
    /// The budget is used up; these bytes do not count and the body is thrown away.
    fn received(&self, decoded_bytes: usize) -> Result<(), Exhausted>;

    /// A body that was received up to this many bytes is thrown away: an error, a retry, or the end of the run.
    fn released(&self, bytes: usize);
}

/// What one attempt led to.
enum Attempt {
    Answered(Response),
    /// A status that is worth another try, and how long the API asks to wait.
    Again(Option<Duration>),
}

impl Egress {
    /// Reads the system's trust store; connects nowhere.
    ///
    /// # Errors
    /// [`EgressError::Setup`] if TLS cannot be set up. A missing trust store is no error.
    pub fn new() -> Result<Self, EgressError> {
        Self::with(Clients::new(client::system_tls()?, resolver::system_lookup()))
    }

    fn with(clients: Clients) -> Result<Self, EgressError> {
        // Now rather than at the first request.
        clients.get(&[])?;
        Ok(Self { clients: Arc::new(clients) })
    }

    /// Sends a request and waits for the whole answer, over redirects and retries as the request asks for them. Between
    /// retries it sleeps as long as the API asks. It ends by itself only after all retries; a caller with a deadline
    /// drops the future.
    ///
    /// # Errors
    /// See [`EgressError`]. A status of 400 or above is an answer.
    pub async fn send(&self, policy: &Policy, request: Request, meter: &dyn Meter) -> Result<Response, EgressError> {
        let time = request.timeout.map_or(policy.timeout, |own| own.min(policy.timeout));
        let retries = request.retries.min(MAX_RETRIES);
        let redirects = request.redirects.min(MAX_REDIRECTS);
        let retry_on = request.retry_on.clone();
        let first = request::prepare(policy, request)?;
        let client = self.clients.get(&policy.private_networks)?;
        let mut tries_before = 0;
        loop {
            let retry_on = (tries_before < retries).then_some(&*retry_on);
            let attempt = attempt(&client, policy, &first, redirects, retry_on, meter);
            let outcome = timeout(time, attempt).await.unwrap_or_else(|_| Err(Failure::passing(EgressError::TimedOut)));
            let asked = match outcome {
                Ok(Attempt::Answered(response)) => return Ok(response),
                Ok(Attempt::Again(asked)) => asked,
                Err(failure) if failure.passing && tries_before < retries => None,
                Err(failure) => return Err(failure.error),
            };
            let wait = asked.unwrap_or_else(|| retry::backoff(tries_before));
            tracing::debug!(host = first.url().host_str(), tries_before, ?wait, "trying again");
            sleep(wait).await;
            tries_before += 1;
        }
    }
}

/// Sends the request once and follows its redirects. Statuses to try again on are given if there is a try left.
async fn attempt(
    client: &reqwest::Client,
    policy: &Policy,
    first: &reqwest::Request,
    redirects: u32,
    retry_on: Option<&[u16]>,
    meter: &dyn Meter,
) -> Result<Attempt, Failure> {
    let mut request = copy(first)?;
    let mut followed = 0;
    loop {
        meter.request()?;
        let host = request.url().host_str().unwrap_or_default();
        let answer = client.execute(copy(&request)?).await.map_err(|error| Failure::of_transport(&error, host))?;
        let status = answer.status();
        if redirects > 0 && redirect::is_redirect(status, answer.headers()) {
            if followed == redirects {
                let problem = format!("`{host}` redirects once more after {redirects} redirects");
                return Err(EgressError::Transport(problem).into());
            }
            redirect::follow(policy, &mut request, status, answer.headers())?;
            followed += 1;
        } else if retry_on.is_some_and(|statuses| retry::is_passing(status.as_u16(), statuses)) {
            return Ok(Attempt::Again(retry::retry_after(answer.headers(), retry::now())));
        } else {
            let mut headers = headers(answer.headers(), host)?;
            let body = body::read(answer, host, policy.max_body_bytes, meter).await?;
            if body.decoded {
                headers.retain(|(name, _)| name != CONTENT_ENCODING.as_str() && name != CONTENT_LENGTH.as_str());
            }
            return Ok(Attempt::Answered(Response { status: status.as_u16(), headers, body: body.bytes }));
        }
    }
}

/// A request for another hop or try. Its body is shared, not copied.
fn copy(request: &reqwest::Request) -> Result<reqwest::Request, EgressError> {
    request.try_clone().ok_or_else(|| EgressError::InvalidRequest("the body cannot be sent twice".to_owned()))
}

/// An answer's headers. The client caps their number at 100.
fn headers(map: &HeaderMap, host: &str) -> Result<Vec<(String, String)>, EgressError> {
    let bytes: usize = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_RESPONSE_HEADER_BYTES as usize {
        return Err(EgressError::Transport(format!(
            "the headers from `{host}` are over {MAX_RESPONSE_HEADER_BYTES} bytes"
        )));
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect())
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    /// Without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Response");
        shown.field("status", &self.status).field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}
