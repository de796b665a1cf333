//! Egress: the one way out.
//!
//! Every request of every script goes through [`Egress::send`]. By default nothing goes: the operator's [`Policy`] names
//! the hosts, and only public addresses are dialed unless it names the networks as well.
//!
//! # Order of checks
//! 1. method and URL: WHATWG URL, absolute or a path on the base URL, no userinfo, `https` or `http` (`request`)
//! 2. scheme, host and port against the allowed hosts (`policy`)
//! 3. a host that is an address, or a name for one, against the networks (`policy`, `address`)
//! 4. headers: none of the connection's, none that breaks its line, not too many (`request`); neither a header nor a
//!    query parameter that the credential sets (`credential`)
//! 5. the breaker, the limits of connection and integration, which are waited for (`breaker`, `gate`), and the credential,
//!    attached if the URL is one of its hosts', with an access token that may have to be had first (`credential`, `token`)
//! 6. the breaker again, for what happened meanwhile, and the run's budget of requests ([`Meter::request`])
//! 7. every address that a name resolves to (`names`, `resolver`), and just these are dialed (`client`)
//! 8. while the answer streams: its size decoded and as sent, its pauses, the run's budget of bytes (`body`)
//!
//! A redirect that is followed goes through 1 to 3 and 5 to 8 again; a retry, and the repetition with a new access token
//! after a 401, through 5 to 8. Of each answer's headers the limits are learned (`learned`), and each exchange is told to
//! the meter (`trace`).
//!
//! # Invariants
//! - Nothing is sent before checks 1 to 6 have passed; a name is not even resolved. Only a token endpoint, which is the
//!   operator's and not the script's to name, is asked before 6; it goes through 2, 3, 7 and 8, with its own host allowed.
//! - What was checked is what is dialed: no proxy, no second resolving, no pool shared between policies with different
//!   networks, nor between two connections or two credentials.
//! - A credential is attached to a copy of the request, hop by hop, and never to a host that is not its own. Nothing that a
//!   script, a log, an error or a trace gets holds it.
//! - The connection's gate is passed before the integration's, always, and both are left when the body was read. Waiting
//!   takes none of the request's time.
//! - What the meter was told to have been received and not to have been released is the length of the body returned.
//!   Dropping the future at any point keeps that: `send` is cancel-safe, and cancelling closes the connection. A token that
//!   is asked for is waited for and kept all the same.
//! - No text that a script gets holds an address that a name resolved to.

mod address;
mod body;
mod breaker;
mod client;
mod credential;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gate;
mod learned;
mod names;
mod policy;
mod redirect;
mod request;
mod resolver;
mod retry;
mod send;
#[cfg(test)]
mod tests;
mod token;
mod trace;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName};
use tokio::time::{Instant, sleep};

pub use self::breaker::Breaker;
pub(crate) use self::client::system_tls;
use self::client::{Clients, MAX_RESPONSE_HEADER_BYTES};
pub use self::credential::{ClientAuth, Credential, Scheme, TokenKeeper, Tokens};
pub use self::error::{EgressError, Exhausted, Rule};
pub use self::gate::{Gate, RateLimit, RateRules};
pub use self::policy::{Account, HostPattern, HostPatternError, Policy, RetryRules};
pub use self::redirect::MAX_REDIRECTS;
pub(crate) use self::redirect::is_for_one_origin;
pub use self::request::Request;
pub use self::retry::MAX_RETRIES;
use self::send::{Attempt, Call};
pub use self::trace::Exchange;
use crate::clock::{Clock, SystemClock};

/// A cheap handle to the HTTP clients and their pooled connections.
#[derive(Clone)]
pub struct Egress {
    clients: Arc<Clients>,
    clock: Arc<dyn Clock>,
    /// What answers in place of the network.
    answers: Option<Arc<dyn Answers>>,
}

/// Answers requests in place of the network: a recording does.
pub trait Answers: Send + Sync {
    /// The answer to one try of a request, which is what the script asked for, without a credential. What answers must not
    /// wait.
    fn answer(&self, policy: &Policy, request: &Request) -> Result<Answered, EgressError>;

    /// Lets time pass between two tries, in place of waiting.
    fn wait(&self, time: Duration);
}

/// An answer in place of the network's.
pub struct Answered {
    /// What is answered.
    pub response: Response,
    /// Whether the next try gets another answer. Where it does not, there is no use in it.
    pub another: bool,
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

    /// One exchange with an API is over, well or not: each try, each redirect. Called when its answer was read, and when
    /// the future was dropped. Does nothing by default.
    fn exchanged(&self, exchange: Exchange) {
        let _ = exchange;
    }
}

impl Egress {
    /// Reads the system's trust store; connects nowhere.
    ///
    /// # Errors
    /// [`EgressError::Setup`] if TLS cannot be set up. A missing trust store is no error.
    pub fn new() -> Result<Self, EgressError> {
        Self::asking(&[])
    }

    /// The same, with names looked up at these DNS servers in place of the machine's own, unless there are none.
    ///
    /// # Errors
    /// See [`Egress::new`].
    pub fn asking(dns: &[SocketAddr]) -> Result<Self, EgressError> {
        Self::with(Clients::new(client::system_tls()?, names::lookup(dns)))
    }

    fn with(clients: Clients) -> Result<Self, EgressError> {
        // Now rather than at the first request.
        clients.get(&[], None)?;
        Ok(Self { clients: Arc::new(clients), clock: Arc::new(SystemClock), answers: None })
    }

    /// A way out that leads nowhere: `answers` has all answers. Neither hosts nor credentials play a part.
    ///
    /// # Errors
    /// See [`Egress::new`].
    pub fn answered_by(answers: Arc<dyn Answers>) -> Result<Self, EgressError> {
        Ok(Self { answers: Some(answers), ..Self::new()? })
    }

    /// Closes what is kept open for a connection, since it is gone or is somebody else now. Requests under way go on.
    pub fn forget(&self, connection: &Gate) {
        self.clients.forget(connection);
    }

    /// The same with another clock: dates that APIs send are compared with it, and exchanges are dated by it.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Sends a request and waits for the whole answer, over redirects and retries as the request and the policy have them.
    /// Between retries it sleeps as long as the API asks, and before each try as long as the account's limits have it. It
    /// ends by itself only after all retries; a caller with a deadline drops the future.
    ///
    /// # Errors
    /// See [`EgressError`]. A status of 400 or above is an answer.
    pub async fn send(&self, policy: &Policy, request: Request, meter: &dyn Meter) -> Result<Response, EgressError> {
        if let Some(answers) = &self.answers {
            return self.answered(&**answers, policy, &request, meter);
        }
        let call = Call::new(self, policy, &request, meter)?;
        let asked = request.retries;
        let first = request::prepare(policy, request)?;
        let retries = retry::retries(first.method(), asked, &policy.retry);
        let mut tries_before = 0;
        let mut waiting_since = Instant::now();
        loop {
            let again = tries_before < retries;
            let asked = match call.attempt(&first, waiting_since, again).await {
                Ok(Attempt::Answered(response)) => return Ok(response),
                Ok(Attempt::Again(asked)) => asked,
                Err(failure) if failure.passing && again => match failure.error {
                    EgressError::CircuitOpen { retry_after, .. } => Some(retry_after),
                    _ => None,
                },
                Err(failure) => return Err(failure.error),
            };
            let wait = asked.unwrap_or_else(|| retry::backoff(tries_before, &policy.retry));
            tracing::debug!(host = first.url().host_str(), tries_before, ?wait, "trying again");
            waiting_since = Instant::now();
            sleep(wait).await;
            tries_before += 1;
        }
    }
}

impl Egress {
    /// Tries as often as it would with a network, while there is something new to get.
    fn answered(
        &self,
        answers: &dyn Answers,
        policy: &Policy,
        request: &Request,
        meter: &dyn Meter,
    ) -> Result<Response, EgressError> {
        // What is no method is the answers' to refuse.
        let method = reqwest::Method::from_bytes(request.method.to_ascii_uppercase().as_bytes()).unwrap_or_default();
        let retries = retry::retries(&method, request.retries, &policy.retry);
        let retry_on = [&policy.retry.statuses[..], &request.retry_on].concat();
        let mut tries_before = 0;
        loop {
            meter.request()?;
            let Answered { response, another } = answers.answer(policy, request)?;
            if tries_before == retries || !another || !retry::is_passing(response.status, &retry_on) {
                meter.received(response.body.len())?;
                return Ok(response);
            }
            let headers = header_map(&response.headers);
            let now = retry::at(self.clock.now());
            let asked = retry::retry_after(&headers, now).max(learned::until_reset(&headers, now));
            answers.wait(asked.unwrap_or_else(|| retry::longest_backoff(tries_before, &policy.retry)));
            tries_before += 1;
        }
    }
}

/// Headers as a client has them, without what no client would take.
fn header_map(headers: &[(String, String)]) -> HeaderMap {
    headers.iter().filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, value.parse().ok()?))).collect()
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
