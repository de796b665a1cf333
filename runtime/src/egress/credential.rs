//! The credential of a connection, attached by the host.
//!
//! # Invariants
//! - It is attached just to requests to its own hosts, and that is looked at for each hop anew: it is put on a copy of the
//!   request that is about to be sent, never on the request that a redirect changes.
//! - A script neither reads it nor can set what it sets.
//! - No Debug, error, log or trace holds it. What has it as a header is marked sensitive, so that the HTTP client neither
//!   shows nor indexes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures_util::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded};

use super::error::{EgressError, Failure};
use super::policy::HostPattern;
use super::request::{is_forbidden, percent_encode};
use super::token::{self, Door};
use crate::clock::Clock;
use crate::ids::Timestamp;

/// What to attach. Serialized only to be sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Scheme {
    /// A header with a key.
    ApiKeyHeader {
        /// The header's name.
        name: String,
        /// Its whole value, with whatever stands before the key.
        value: String,
    },
    /// A query parameter with a key.
    ApiKeyQuery {
        /// The parameter's name.
        name: String,
        /// Its value, not encoded.
        value: String,
    },
    /// A token that stays the same, RFC 6750.
    Bearer {
        /// Without `Bearer`.
        token: String,
    },
    /// User and password, RFC 7617.
    Basic {
        /// Without a colon.
        username: String,
        /// May be empty.
        password: String,
    },
    /// OAuth 2 for a machine of its own account, RFC 6749 section 4.4.
    Oauth2ClientCredentials {
        /// Where tokens are had.
        token_url: Url,
        /// The client's name at the API.
        client_id: String,
        /// The client's secret.
        client_secret: String,
        /// What to ask for; the API's default if empty.
        #[serde(default)]
        scopes: Vec<String>,
        /// How the client says who it is.
        #[serde(default)]
        client_auth: ClientAuth,
        /// What the API wants to be told besides, such as `audience`.
        #[serde(default)]
        parameters: BTreeMap<String, String>,
    },
    /// OAuth 2 for a user who has allowed it once, RFC 6749 section 6. The refresh token is among the [`Tokens`].
    Oauth2RefreshToken {
        /// Where tokens are had.
        token_url: Url,
        /// The client's name at the API.
        client_id: String,
        /// The client's secret; a public client has none.
        client_secret: Option<String>,
        /// What to ask for; what the user has allowed if empty.
        #[serde(default)]
        scopes: Vec<String>,
        /// How the client says who it is, if it has a secret.
        #[serde(default)]
        client_auth: ClientAuth,
        /// What the API wants to be told besides.
        #[serde(default)]
        parameters: BTreeMap<String, String>,
    },
}

/// How an OAuth client says who it is, RFC 6749 section 2.3.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// As user and password in a header.
    #[default]
    Basic,
    /// As `client_id` and `client_secret` in the body.
    Body,
}

/// What a token endpoint has given out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Goes to the API. Empty if there is none yet.
    pub access_token: String,
    /// Goes to the token endpoint. Often good for one use: the answer then holds another.
    pub refresh_token: Option<String>,
    /// When the access token ends, if that was told.
    pub expires_at: Option<Timestamp>,
}

/// Keeps what a [`Credential`] learns.
pub trait TokenKeeper: Send + Sync {
    /// Keeps new tokens. They are used when this has succeeded and not before, so it should last by then: the old refresh
    /// token may be worthless already. On an error it is asked again at the next request.
    fn keep(&self, tokens: &Tokens) -> BoxFuture<'_, Result<(), String>>;

    /// The token endpoint has refused for good, for this reason. Nothing more is asked of it.
    fn refused(&self, reason: &str) -> BoxFuture<'_, ()>;
}

/// The credential of one connection.
pub struct Credential {
    id: u64,
    pub(super) scheme: Scheme,
    hosts: Vec<HostPattern>,
    pub(super) keeper: Option<Arc<dyn TokenKeeper>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) oauth: Mutex<token::State>,
    /// Held by who asks for a token.
    pub(super) flight: Arc<tokio::sync::Mutex<()>>,
}

impl Scheme {
    /// What it is called where it is serialized.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApiKeyHeader { .. } => "api-key-header",
            Self::ApiKeyQuery { .. } => "api-key-query",
            Self::Bearer { .. } => "bearer",
            Self::Basic { .. } => "basic",
            Self::Oauth2ClientCredentials { .. } => "oauth2-client-credentials",
            Self::Oauth2RefreshToken { .. } => "oauth2-refresh-token",
        }
    }

    /// Checks what can be checked before it is used.
    ///
    /// # Errors
    /// What is wrong with it, without any of its values.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::ApiKeyQuery { name, .. } if name.is_empty() => Err("the query parameter's name is empty".to_owned()),
            Self::ApiKeyQuery { .. } => Ok(()),
            Self::Oauth2ClientCredentials { token_url, .. } | Self::Oauth2RefreshToken { token_url, .. } => {
                super::request::check_url(token_url)
                    .map_err(|_| "the token URL must be of https or http, without user or password".to_owned())
            }
            Self::Basic { username, .. } if username.contains(':') => {
                Err("the user's name has a colon, which ends it".to_owned())
            }
            Self::ApiKeyHeader { .. } | Self::Bearer { .. } | Self::Basic { .. } => self.header().map(drop),
        }
    }

    /// The header of a scheme that has one that stays the same.
    fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, String> {
        let (name, value) = match self {
            Self::ApiKeyHeader { name, value } => {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| "the header's name is empty or has characters that no name may have")?;
                if is_forbidden(&name) {
                    return Err(format!("the header `{name}` belongs to the connection"));
                }
                (name, value.clone())
            }
            Self::Bearer { token } => (AUTHORIZATION, format!("Bearer {token}")),
            Self::Basic { username, password } => (AUTHORIZATION, basic(username, password)),
            _ => return Ok(None),
        };
        Ok(Some((name, sensitive(&value)?)))
    }

    pub(super) fn is_oauth(&self) -> bool {
        matches!(self, Self::Oauth2ClientCredentials { .. } | Self::Oauth2RefreshToken { .. })
    }
}

/// The value of a header for user and password.
pub(super) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
}

fn sensitive(value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| "the header's value has a control character".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

impl Credential {
    /// A credential for requests to `hosts`. Of the tokens, an access token that is empty is none.
    #[must_use]
    pub fn new(
        scheme: Scheme,
        tokens: Option<Tokens>,
        hosts: Vec<HostPattern>,
        keeper: Option<Arc<dyn TokenKeeper>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let oauth = Mutex::new(token::State::new(tokens, clock.now()));
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        Self { id, scheme, hosts, keeper, clock, oauth, flight: Arc::default() }
    }

    /// Which credential this is, among all that there ever were.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether requests to the URL carry it.
    pub(super) fn covers(&self, url: &Url) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(url))
    }

    /// Refuses a request of a script that brings what the host attaches.
    pub(super) fn check_own(&self, url: &Url, headers: &HeaderMap) -> Result<(), EgressError> {
        if !self.covers(url) {
            return Ok(());
        }
        let refused = |what: String| {
            Err(EgressError::InvalidRequest(format!(
                "{what} is not for the script to set: the connection's credential is attached by the host"
            )))
        };
        let own = match &self.scheme {
            Scheme::ApiKeyHeader { name, .. } => HeaderName::from_bytes(name.as_bytes()).ok(),
            _ => None,
        };
        if let Some(name) = [Some(AUTHORIZATION), Some(COOKIE), own].iter().flatten().find(|&n| headers.contains_key(n))
        {
            return refused(format!("the header `{name}`"));
        }
        if let Scheme::ApiKeyQuery { name, .. } = &self.scheme
            && url.query_pairs().any(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            return refused(format!("the query parameter `{name}`"));
        }
        Ok(())
    }

    /// Attaches it, if the request goes to one of its hosts. An access token is asked for through the door if there is
    /// none that is good, or if the one of version `stale` was all there is. Returns the version of the token attached.
    pub(super) async fn attach(
        self: &Arc<Self>,
        request: &mut reqwest::Request,
        door: &Door,
        stale: Option<u64>,
    ) -> Result<Option<u64>, Failure> {
        if !self.covers(request.url()) {
            return Ok(None);
        }
        if let Scheme::ApiKeyQuery { name, value } = &self.scheme {
            set_query(request.url_mut(), name, Some(value));
            return Ok(None);
        }
        let (header, version) = if self.scheme.is_oauth() {
            let (token, version) = self.token(door, stale).await?;
            let value = sensitive(&format!("Bearer {token}")).map_err(|_| "the access token has a control character");
            (value.map(|value| Some((AUTHORIZATION, value))).map_err(ToOwned::to_owned), Some(version))
        } else {
            (self.scheme.header(), None)
        };
        if let Some((name, value)) = header.map_err(EgressError::CredentialRefused)? {
            request.headers_mut().insert(name, value);
        }
        Ok(version)
    }

    /// Takes it out of a URL that the API redirects to, in case that the API has put it there.
    pub(super) fn detach(&self, url: &mut Url) {
        if let Scheme::ApiKeyQuery { name, value } = &self.scheme
            && (self.covers(url) || url.query_pairs().any(|(other, its)| other == *name && its == *value))
        {
            set_query(url, name, None);
        }
    }

    /// Takes it out of the headers of an answer, such as `Link` and `Location`: APIs like to repeat a request's query, and
    /// what is in front of them its headers.
    pub(super) fn redact(&self, headers: &mut [(String, String)]) {
        /// Shorter ones are parts of other texts by chance, and no secrets to speak of.
        const SHORTEST: usize = 6;
        let Scheme::ApiKeyQuery { name, value } = &self.scheme else {
            let secrets = self.shown_in_headers();
            for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST) {
                for (_, text) in headers.iter_mut().filter(|(_, text)| text.contains(secret.as_str())) {
                    *text = text.replace(secret.as_str(), "REDACTED");
                }
            }
            return;
        };
        let encoded: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let mut spaced = String::new();
        percent_encode(&mut spaced, value);
        for (_, text) in headers {
            for key in [&encoded, &spaced, value].into_iter().filter(|key| !key.is_empty()) {
                if text.contains(key.as_str()) {
                    let pair = format!("{name}={key}");
                    let text_without = text.replace(&format!("{pair}&"), "").replace(&format!("&{pair}"), "");
                    *text = text_without.replace(&format!("?{pair}"), "").replace(key.as_str(), "REDACTED");
                }
            }
        }
    }
}

impl Credential {
    /// What of it is in the headers of requests, as it stands there.
    fn shown_in_headers(&self) -> Vec<String> {
        match &self.scheme {
            Scheme::ApiKeyHeader { value, .. } => {
                // Without what may stand before the key, too: `Token k` is told as `k`.
                let key = value.rsplit(' ').next().unwrap_or_default();
                vec![value.clone(), key.to_owned()]
            }
            Scheme::Bearer { token } => vec![token.clone()],
            Scheme::Basic { username, password } => {
                let whole = basic(username, password);
                vec![whole.trim_start_matches("Basic ").to_owned(), password.clone()]
            }
            Scheme::Oauth2ClientCredentials { .. } | Scheme::Oauth2RefreshToken { .. } => {
                self.access_token().into_iter().collect()
            }
            Scheme::ApiKeyQuery { .. } => Vec::new(),
        }
    }
}

/// Removes the parameter, and adds it with a value if there is one. The others stay as they are spelled.
fn set_query(url: &mut Url, name: &str, value: Option<&str>) {
    let others = url
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !form_urlencoded::parse(pair.as_bytes()).any(|(other, _)| other.eq_ignore_ascii_case(name)));
    let mut pairs: Vec<String> = others.map(ToOwned::to_owned).collect();
    if let Some(value) = value {
        let mut pair = String::new();
        percent_encode(&mut pair, name);
        pair.push('=');
        percent_encode(&mut pair, value);
        pairs.push(pair);
    }
    let query = pairs.join("&");
    url.set_query((!query.is_empty()).then_some(&query));
}

impl fmt::Debug for Scheme {
    /// The kind alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scheme").field(&self.kind()).finish()
    }
}

impl fmt::Debug for Tokens {
    /// Without the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    /// Kind and hosts alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Credential");
        shown.field("scheme", &self.scheme.kind()).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
