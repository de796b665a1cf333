//! What the operator allows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::address;
use super::breaker::Breaker;
use super::credential::Credential;
use super::error::{EgressError, Rule};
use super::gate::Gate;

/// What the operator allows the requests of one script. The default allows none.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Hosts that requests may go to.
    pub allowed_hosts: Vec<HostPattern>,
    /// Networks that are reachable although they are not public, for hosts that are allowed as well.
    pub private_networks: Vec<IpNet>,
    /// What a request's URL that is only a path is appended to. Its host needs to be allowed like any other.
    pub base_url: Option<Url>,
    /// How many bytes an answer's body may have, decoded. As sent it may not have more either.
    pub max_body_bytes: u64,
    /// How long one attempt may take, from the first byte sent to the last received, redirects included.
    pub timeout: Duration,
    /// How many requests of one run may be under way together. Egress sees single requests; who sends several of a run
    /// keeps to it.
    pub concurrency: usize,
    /// Whose requests these are. Without, nothing is attached, and nobody waits for another.
    pub account: Option<Account>,
    /// When requests are tried again.
    pub retry: RetryRules,
}

/// A connection as the outside sees it. What its parts learn is shared by all who hold clones.
#[derive(Debug, Clone)]
pub struct Account {
    /// Of all connections of the integration.
    pub integration: Arc<Gate>,
    /// Of this connection.
    pub connection: Arc<Gate>,
    /// Attached to requests to its hosts.
    pub credential: Option<Arc<Credential>>,
    /// Of all connections of the integration.
    pub breaker: Arc<Breaker>,
}

impl Account {
    /// Tells apart who must not share a pool of connections.
    pub(super) fn pool(&self) -> (u64, Option<u64>) {
        (self.connection.id(), self.credential.as_ref().map(|credential| credential.id()))
    }
}

/// When requests are tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryRules {
    /// How many times a request that changes nothing, or the same however often it is sent (`GET`, `HEAD`, `OPTIONS`,
    /// `PUT`, `DELETE`), is tried again, whatever the script says; at most [`MAX_RETRIES`](super::MAX_RETRIES). Where the
    /// script asks for more, it gets more.
    pub max: u32,
    /// Statuses to try again on besides 429, those of 500 and above, and what the script names.
    pub statuses: Vec<u16>,
    /// The first wait where the API asks for none, in milliseconds. The next ones double.
    pub first_wait_ms: u64,
    /// Where doubling ends.
    pub max_wait_ms: u64,
}

impl Default for RetryRules {
    fn default() -> Self {
        // With five retries an API may be down for half a minute to a minute: a deployment, a failover.
        Self { max: 5, statuses: Vec::new(), first_wait_ms: 1000, max_wait_ms: 60_000 }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            private_networks: Vec::new(),
            base_url: None,
            // A quarter of a guest's default memory of 64 MiB: the body is copied into it and then parsed there.
            max_body_bytes: 16 << 20,
            timeout: Duration::from_secs(30),
            // What browsers open to one host: APIs are used to it.
            concurrency: 6,
            account: None,
            retry: RetryRules::default(),
        }
    }
}

impl Policy {
    /// Checks a URL: first its scheme, host and port against the allowed hosts, then its host, where that is an address
    /// or a name for one, against the networks. A name that needs resolving is checked by the resolver.
    pub(super) fn admit(&self, url: &Url) -> Result<(), EgressError> {
        let denied = |rule| EgressError::Denied { host: url.host_str().unwrap_or_default().to_owned(), rule };
        if !self.allowed_hosts.iter().any(|pattern| pattern.matches(url)) {
            return Err(match HostPattern::of(url) {
                Some(pattern) => denied(Rule::Host(pattern)),
                None => EgressError::InvalidRequest("the URL has no host and port".to_owned()),
            });
        }
        let addresses = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => address::known_addresses(name),
            None => Vec::new(),
        };
        let reachable = |address: &_| address::is_reachable(&self.private_networks, *address);
        match addresses.first() {
            // One is enough: of the two addresses of `localhost`, the resolver answers with those that are reachable.
            Some(first) if !addresses.iter().any(reachable) => Err(denied(Rule::Network(address::network_of(*first)))),
            _ => Ok(()),
        }
    }
}

/// Hosts that requests may go to, written `[scheme://]host[:port]`.
///
/// - The host is exact (`api.github.com`, `127.0.0.1`, `[::1]`) or `*.example.com`, which is every name below
///   `example.com` and not `example.com` itself.
/// - Without a scheme it is `https`. Clear text has to be said: `http://127.0.0.1:8080`.
/// - Without a port it is the scheme's own, 443 or 80, and no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    tls: bool,
    subdomains: bool,
    host: Host<String>,
    port: u16,
}

/// A text is not a [`HostPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a host to allow: {problem}; write [http://]host[:port], such as api.example.com, *.example.com or http://127.0.0.1:8080"
)]
pub struct HostPatternError {
    text: String,
    problem: &'static str,
}

impl HostPattern {
    /// The pattern for just this URL's scheme, host and port.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let (host, port) = (url.host()?.to_owned(), url.port_or_known_default()?);
        Some(Self { tls: url.scheme() == "https", subdomains: false, host, port })
    }

    /// Whether requests to the URL are allowed.
    #[must_use]
    pub fn matches(&self, url: &Url) -> bool {
        url.scheme() == self.scheme()
            && url.port_or_known_default() == Some(self.port)
            && match (&self.host, url.host()) {
                (Host::Domain(parent), Some(Host::Domain(name))) if self.subdomains => {
                    name.strip_suffix(parent.as_str()).is_some_and(|head| head.len() > 1 && head.ends_with('.'))
                }
                (host, Some(other)) => !self.subdomains && *host == other.to_owned(),
                (_, None) => false,
            }
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostPatternError;

    fn try_from(text: String) -> Result<Self, HostPatternError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |problem| HostPatternError { text: text.to_owned(), problem };
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("the scheme is neither https nor http")),
        };
        let (subdomains, authority) = match rest.strip_prefix("*.") {
            Some(parent) => (true, parent),
            None => (false, rest),
        };
        if authority.contains(['/', '\\', '?', '#', '@', '%']) || authority.contains(char::is_whitespace) {
            return Err(wrong("there is more than a host and a port"));
        }
        if authority.contains('*') {
            return Err(wrong("`*.` may stand only before a name"));
        }
        let url = Url::parse(&format!("{scheme}://{authority}/")).map_err(|_| wrong("there is no valid host"))?;
        let pattern = Self { tls, subdomains, ..Self::of(&url).ok_or_else(|| wrong("there is no valid host"))? };
        if pattern.port == 0 {
            return Err(wrong("0 is no port"));
        }
        if subdomains && !matches!(pattern.host, Host::Domain(_)) {
            return Err(wrong("`*.` may stand only before a name"));
        }
        Ok(pattern)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tls {
            f.write_str("http://")?;
        }
        if self.subdomains {
            f.write_str("*.")?;
        }
        write!(f, "{}", self.host)?;
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn matches(pattern: &str, url: &str) -> bool {
        pattern.parse::<HostPattern>().unwrap().matches(&url.parse().unwrap())
    }

    #[test]
    fn a_pattern_allows_its_scheme_host_and_port_and_no_other() {
        assert!(matches("api.example.com", "https://api.example.com/x"));
        assert!(matches("API.example.com", "https://api.EXAMPLE.com:443/x"));
        assert!(!matches("api.example.com", "http://api.example.com/"));
        assert!(!matches("api.example.com", "https://api.example.com:8443/"));
        assert!(!matches("api.example.com", "https://api.example.com:80/"));
        assert!(!matches("api.example.com", "https://example.com/"));
        assert!(!matches("api.example.com", "https://x.api.example.com/"));
        assert!(!matches("api.example.com", "https://api.example.com.evil.test/"));
        assert!(matches("http://api.example.com", "http://api.example.com/"));
        assert!(!matches("http://api.example.com", "https://api.example.com/"));
        assert!(!matches("http://api.example.com", "http://api.example.com:443/"));
        assert!(matches("https://api.example.com:8443", "https://api.example.com:8443/"));
        assert!(matches("http://127.0.0.1:8080", "http://127.1:8080/"));
        assert!(matches("[::1]:8080", "https://[0:0:0:0:0:0:0:1]:8080/"));
        assert!(!matches("http://127.0.0.1", "http://127.0.0.2/"));
    }

    #[test]
    fn a_wildcard_allows_names_below_it_and_not_the_name_itself() {
        assert!(matches("*.example.com", "https://api.example.com/"));
        assert!(matches("*.example.com", "https://a.b.example.com/"));
        assert!(!matches("*.example.com", "https://example.com/"));
        assert!(!matches("*.example.com", "https://.example.com/"));
        assert!(!matches("*.example.com", "https://evilexample.com/"));
        assert!(!matches("*.example.com", "https://example.com.evil.test/"));
        assert!(!matches("*.example.com", "http://api.example.com/"));
        assert!(!matches("*.example.com", "https://api.example.com:8443/"));
    }

    #[test]
    fn a_pattern_reads_back_what_it_displays() {
        for (text, shown) in [
            ("api.example.com", "api.example.com"),
            ("https://api.example.com:443", "api.example.com"),
            ("http://api.example.com:80", "http://api.example.com"),
            ("http://api.example.com:443", "http://api.example.com:443"),
            ("*.Example.com:8443", "*.example.com:8443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("127.1", "127.0.0.1"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            let pattern: HostPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(shown.parse::<HostPattern>().unwrap(), pattern);
        }
    }

    #[test]
    fn what_is_not_a_host_is_not_a_pattern() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.example.com",
            "a.*.example.com",
            "*.127.0.0.1",
            "*.[::1]",
            "ftp://example.com",
            "://example.com",
            "example.com/path",
            "example.com?x",
            "user@example.com",
            "example.com:0",
            "example.com:65536",
            "example.com:port",
            "exa mple.com",
            "exa\nmple.com",
            "example%2ecom",
            "::1",
        ] {
            let error = text.parse::<HostPattern>().expect_err(text);
            assert!(error.to_string().contains("api.example.com"), "{error}");
        }
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let error = Policy::default().admit(&"https://api.example.com/".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("`--allow-host api.example.com`"), "{error}");
    }
}
