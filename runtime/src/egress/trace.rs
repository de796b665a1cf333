//! What a run's trace says of each exchange with an API: enough to see what went wrong, and no secret.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use super::Meter;
use super::error::EgressError;
use crate::ids::Timestamp;

/// Longest URL in a trace, in characters.
const MAX_URL_CHARS: usize = 1024;

/// What the names of query parameters hold whose values are secret, as a rule. Too many are hidden rather than too few.
const SECRET_NAMES: &[&str] =
    &["token", "key", "secret", "password", "passwd", "signature", "sig", "auth", "code", "session"];

/// The error of an exchange whose request was given up, with the run or by it.
const CANCELLED: &str = "cancelled";

/// One request that was sent, or was about to be, and what came of it. A redirect, a retry, and the repetition with a new
/// token are exchanges of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When it was sent, or given up.
    pub at: Timestamp,
    /// `GET`.
    pub method: String,
    /// As it was before the credential was attached. Values that look secret are `…`.
    pub url: String,
    /// The answer's status, if one came, even if its body did not.
    pub status: Option<u16>,
    /// The [code](EgressError::code) of what went wrong; `cancelled` if the run ended meanwhile.
    pub error: Option<String>,
    /// From the first byte sent to the last received, in milliseconds.
    pub took_ms: u64,
    /// How long it had waited before, in milliseconds: for a retry, for the limits, for a token.
    pub waited_ms: u64,
    /// Of the body, decoded.
    pub bytes: u64,
}

/// An exchange on its way. Dropped, it is told to the meter.
pub(super) struct Tracing<'m> {
    meter: &'m dyn Meter,
    exchange: Exchange,
    started: Instant,
}

impl<'m> Tracing<'m> {
    pub(super) fn start(meter: &'m dyn Meter, at: Timestamp, method: &Method, url: &Url, waited: Duration) -> Self {
        let exchange = Exchange {
            at,
            method: method.as_str().to_owned(),
            url: shown(url),
            status: None,
            error: Some(CANCELLED.to_owned()),
            took_ms: 0,
            waited_ms: milliseconds(waited),
            bytes: 0,
        };
        Self { meter, exchange, started: Instant::now() }
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.exchange.status = Some(status.as_u16());
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.exchange.bytes = bytes as u64;
    }

    pub(super) fn finish(mut self, error: Option<&EgressError>) {
        self.exchange.error = error.map(|error| error.code().to_owned());
    }
}

impl Drop for Tracing<'_> {
    fn drop(&mut self) {
        self.exchange.took_ms = milliseconds(self.started.elapsed());
        self.meter.exchanged(self.exchange.clone());
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A URL without what may be secret.
fn shown(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    // Neither fails where there is a host, and without one there is neither.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let mut text = String::from(bare);
    for (nth, pair) in url.query().iter().flat_map(|query| query.split('&')).enumerate() {
        text.push(if nth == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => text.extend([name, "=…"]),
            _ => text.push_str(pair),
        }
    }
    match text.char_indices().nth(MAX_URL_CHARS) {
        Some(_) => text.chars().take(MAX_URL_CHARS - 1).chain(['…']).collect(),
        None => text,
    }
}

/// Whether a parameter's name, as it stands in the URL, looks like that of a secret.
fn is_secret(name: &str) -> bool {
    let names = form_urlencoded::parse(name.as_bytes());
    names.map(|(name, _)| name.to_ascii_lowercase()).any(|name| SECRET_NAMES.iter().any(|part| name.contains(part)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    fn shown(url: &str) -> String {
        super::shown(&url.parse().unwrap())
    }

    #[test]
    fn values_that_look_secret_are_hidden() {
        assert_eq!(shown("https://u:p@a.test/x?page=2&api_key=s3#f"), "https://a.test/x?page=2&api_key=…");
        for name in [
            "token",
            "access_token",
            "API-KEY",
            "clientSecret",
            "Password",
            "passwd",
            "X-Amz-Signature",
            "sig",
            "auth",
            "code",
            "SESSIONID",
            "%74oken",
        ] {
            assert_eq!(shown(&format!("https://a.test/?{name}=s3=s3&b=1")), format!("https://a.test/?{name}=…&b=1"));
        }
        assert_eq!(shown("https://a.test/?page=2&&x&="), "https://a.test/?page=2&&x&=");
    }

    #[test]
    fn a_long_url_is_cut() {
        let text = shown(&format!("https://a.test/?q={}", "x".repeat(2000)));
        assert_eq!((text.chars().count(), text.chars().last()), (1024, Some('…')));
    }
}
