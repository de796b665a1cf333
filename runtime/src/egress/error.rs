//! Why there is no answer.
//!
//! The texts go to guests: they name what the script itself wrote and what the operator would type, and never an address
//! that a name resolved to nor anything of the network behind it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use ipnet::IpNet;

use super::policy::HostPattern;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The request cannot be sent as it is: bad URL, method or header.
    #[error("the request cannot be sent: {0}")]
    InvalidRequest(String),
    /// The policy forbids it.
    #[error("requests to `{host}` are denied: the operator allows them with `{rule}`")]
    Denied {
        /// The host as the script named it.
        host: String,
        /// The rule that is missing. Where it is added another may turn out to be missing as well.
        rule: Rule,
    },
    /// No complete answer within the time.
    #[error("no complete answer within the time: ask for less at a time or give the request more of it")]
    TimedOut,
    /// The decoded body is over this many bytes.
    #[error("the decoded body is over {0} bytes: ask for smaller pages")]
    BodyTooLarge(u64),
    /// Connection, TLS or protocol trouble.
    #[error("no answer from the API: {0}")]
    Transport(String),
    /// The run has used up a budget.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The connection's credential is no longer good, or cannot be used at all.
    #[error("the connection's credential is refused: {0}; reconnect the account")]
    CredentialRefused(String),
    /// The connection's credential cannot be had right now.
    #[error("the connection's credential cannot be had right now: {0}; try again later")]
    CredentialUnavailable(String),
    /// The API has failed again and again, and is left alone for a while.
    #[error("`{host}` has failed again and again: no requests are sent to it for {} s", .retry_after.as_secs_f64().ceil())]
    CircuitOpen {
        /// The host as the script named it.
        host: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// This machine cannot make requests at all.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(String),
}

impl EgressError {
    /// The stable name of the kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid-request",
            Self::Denied { .. } => "denied",
            Self::TimedOut => "timed-out",
            Self::BodyTooLarge(_) => "body-too-large",
            Self::Transport(_) => "transport",
            Self::Exhausted(_) => "exhausted",
            Self::CredentialRefused(_) => "credential-refused",
            Self::CredentialUnavailable(_) => "credential-unavailable",
            Self::CircuitOpen { .. } => "circuit-open",
            Self::Setup(_) => "setup",
        }
    }

    /// The [code](Self::code) of what is no trouble between here and the API, but a limit that the request ran into, or a
    /// rule that it broke.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::InvalidRequest(_)
            | Self::Denied { .. }
            | Self::TimedOut
            | Self::BodyTooLarge(_)
            | Self::Exhausted(_) => Some(self.code()),
            Self::Transport(_)
            | Self::CredentialRefused(_)
            | Self::CredentialUnavailable(_)
            | Self::CircuitOpen { .. }
            | Self::Setup(_) => None,
        }
    }
}

/// The rule that would let a request through. Displays as the option that adds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// A host to allow.
    Host(HostPattern),
    /// A network to allow besides its host.
    Network(IpNet),
    /// A network to allow besides its host. Which one is not for the script to know; the log names it.
    NetworkInLog,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(pattern) => write!(f, "--allow-host {pattern}"),
            Self::Network(network) => write!(f, "--allow-network {network}"),
            Self::NetworkInLog => f.write_str("--allow-network <the network that the server's log names>"),
        }
    }
}

/// A budget that a [`Meter`](super::Meter) guards and that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// How many requests the run may send, redirects and retries counted.
    #[error("this run has sent all the HTTP requests that it may")]
    HttpRequests,
    /// How many bytes the run may receive, or hold.
    #[error("this run has received all the bytes that it may")]
    HttpBytes,
}

/// An error of one attempt, and whether another attempt may fare better.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: EgressError,
    pub(super) passing: bool,
}

impl Failure {
    /// One that may pass by itself.
    pub(super) fn passing(error: EgressError) -> Self {
        Self { error, passing: true }
    }

    /// Sorts out what went wrong between here and the API.
    pub(super) fn of_transport(error: &reqwest::Error, host: &str) -> Self {
        if find::<Refused>(error).is_some() {
            EgressError::Denied { host: host.to_owned(), rule: Rule::NetworkInLog }.into()
        } else if error.is_builder() {
            EgressError::InvalidRequest(format!(
                "the URL has characters that must be percent-encoded ({})",
                root(error)
            ))
            .into()
        } else if error.is_timeout() {
            Self::passing(EgressError::TimedOut)
        } else {
            let what = if let Some(tls) = find::<rustls::Error>(error) {
                format!("tls: {tls} (host `{host}`)")
            } else if error.is_dns() {
                format!("the name `{host}` does not resolve: {}", root(error))
            } else if error.is_connect() {
                format!("no connection to `{host}`: {}", root(error))
            } else {
                format!("the connection to `{host}` broke: {}", root(error))
            };
            Self::passing(EgressError::Transport(what))
        }
    }
}

impl<E: Into<EgressError>> From<E> for Failure {
    /// One that stays.
    fn from(error: E) -> Self {
        Self { error: error.into(), passing: false }
    }
}

/// What the resolver says of a name with an address that the policy does not let through.
#[derive(Debug, thiserror::Error)]
#[error("the name has an address that is not public")]
pub(super) struct Refused;

/// The error and all that caused it, outermost first. [`io::Error`] hides what it wraps from `source`.
fn chain<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

/// The first error of type `E` in the chain.
pub(super) fn find<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

/// What the innermost error says. The outer ones hold the URL, which may hold secrets.
fn root(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}
