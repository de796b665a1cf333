//! Access tokens of OAuth 2: had from the token endpoint, kept, and renewed before they end.
//!
//! # Invariants
//! - One task at a time asks for a token of a credential; who waited for it takes what it got, or its failure.
//! - A token that was given out is kept before it is used. The task that asks runs by itself: that a run ends meanwhile
//!   does not lose a refresh token that was good for one use.
//! - After a refusal for good nothing more is asked.
//! - Nothing that the token endpoint answers is repeated but its error, freed of secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::{Url, form_urlencoded};

use super::body;
use super::credential::{ClientAuth, Credential, Scheme, Tokens, basic};
use super::error::{EgressError, Exhausted, Failure};
use super::policy::{HostPattern, Policy, RetryRules};
use super::retry;
use super::{Meter, request};
use crate::ids::Timestamp;

/// How long before its end a token is renewed: longer than a request travels and clocks differ.
const LEEWAY_MS: u64 = 60_000;

/// What an answer of a token endpoint may have. Tokens with many claims reach 16 KiB.
const MAX_ANSWER_BYTES: u64 = 256 << 10;

/// How long a token endpoint may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many times it is asked again where that may help: the request that waits has retries of its own.
const RETRIES: u32 = 2;

/// The longest wait that a token endpoint can ask for.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Errors of RFC 6749 section 5.2 after which asking again is of no use, and what GitHub calls the first two.
const FINAL: &[&str] = &[
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_request",
    "access_denied",
    "bad_refresh_token",
    "incorrect_client_credentials",
];

/// Errors that pass, whatever the status.
const PASSING: &[&str] = &["temporarily_unavailable", "server_error", "slow_down"];

/// The way out to the token endpoint.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) client: Client,
    pub(super) private_networks: Vec<IpNet>,
}

/// What is known of a credential's tokens.
#[derive(Default)]
pub(super) struct State {
    tokens: Option<Tokens>,
    /// Counts the tokens that there were.
    version: u64,
    leeway_ms: u64,
    /// The keeper has not got them yet.
    unkept: bool,
    refused: Option<String>,
    /// Counts how often a token was asked for, and what the last time failed of.
    flights: u64,
    trouble: Option<String>,
}

/// What to do for a token.
enum Look {
    Ready(String, u64),
    Refused(Failure),
    /// Ask, unless the count of flights has moved and the last one failed.
    Wanted(u64, Option<String>),
}

/// How asking for a token failed.
enum Problem {
    Final(String),
    Passing {
        text: String,
        wait: Option<Duration>,
    },
    /// Not worth asking again at once.
    Other(String),
    /// The door is shut.
    Door(EgressError),
}

impl State {
    pub(super) fn new(tokens: Option<Tokens>, now: Timestamp) -> Self {
        let life = tokens.as_ref().and_then(|tokens| tokens.expires_at).map(|end| end.since(now));
        Self { tokens, leeway_ms: leeway(life), ..Self::default() }
    }

    /// A token that is good now and not of the version that the API has turned away.
    fn good(&self, now: Timestamp, unfit: Option<u64>) -> Option<&str> {
        let tokens = self.tokens.as_ref().filter(|tokens| !tokens.access_token.is_empty())?;
        let lasts = tokens.expires_at.is_none_or(|end| end.since(now) > self.leeway_ms);
        (lasts && unfit != Some(self.version)).then_some(&tokens.access_token)
    }
}

/// Not more than half of the token's life: one that is good for a minute is good for half of it.
fn leeway(life_ms: Option<u64>) -> u64 {
    life_ms.map_or(LEEWAY_MS, |life| LEEWAY_MS.min(life / 2))
}

fn unavailable(text: String) -> Failure {
    Failure::passing(EgressError::CredentialUnavailable(text))
}

impl Credential {
    /// An access token that is not of the version that is `unfit`, and its version.
    pub(super) async fn token(self: &Arc<Self>, door: &Door, unfit: Option<u64>) -> Result<(String, u64), Failure> {
        let before = match self.look(unfit) {
            Look::Ready(token, version) => return Ok((token, version)),
            Look::Refused(failure) => return Err(failure),
            Look::Wanted(flights, _) => flights,
        };
        let turn = Arc::clone(&self.flight).lock_owned().await;
        match self.look(unfit) {
            Look::Ready(token, version) => return Ok((token, version)),
            Look::Refused(failure) => return Err(failure),
            Look::Wanted(flights, Some(trouble)) if flights != before => return Err(unavailable(trouble)),
            Look::Wanted(..) => {}
        }
        let (this, door) = (Arc::clone(self), door.clone());
        let flight = tokio::spawn(async move {
            let outcome = this.renew(&door, unfit).await;
            let trouble = match &outcome {
                Err(Failure { error: EgressError::CredentialUnavailable(text), .. }) => Some(text.clone()),
                _ => None,
            };
            let mut state = this.oauth();
            state.flights += 1;
            state.trouble = trouble;
            drop(state);
            drop(turn);
            outcome
        });
        flight.await.unwrap_or_else(|_| Err(unavailable("asking for an access token was interrupted".to_owned())))
    }

    fn look(&self, unfit: Option<u64>) -> Look {
        let now = self.clock.now();
        let state = self.oauth();
        if let Some(reason) = &state.refused {
            return Look::Refused(EgressError::CredentialRefused(reason.clone()).into());
        }
        match state.good(now, unfit) {
            Some(token) if !state.unkept => Look::Ready(token.to_owned(), state.version),
            _ => Look::Wanted(state.flights, state.trouble.clone()),
        }
    }

    /// Gets a token, unless there is one that only has to be kept, and has it kept.
    async fn renew(&self, door: &Door, unfit: Option<u64>) -> Result<(String, u64), Failure> {
        let now = self.clock.now();
        let good = self.oauth().good(now, unfit).is_some();
        if !good {
            match self.ask(door).await {
                Ok(answer) => self.take(answer, now),
                Err(Problem::Final(reason)) => {
                    self.oauth().refused = Some(reason.clone());
                    if let Some(keeper) = &self.keeper {
                        keeper.refused(&reason).await;
                    }
                    return Err(EgressError::CredentialRefused(reason).into());
                }
                Err(Problem::Passing { text, .. } | Problem::Other(text)) => return Err(unavailable(text)),
                Err(Problem::Door(error)) => return Err(error.into()),
            }
        }
        let (tokens, version, unkept) = {
            let state = self.oauth();
            (state.tokens.clone(), state.version, state.unkept)
        };
        let Some(tokens) = tokens else { return Err(unavailable("there is no access token".to_owned())) };
        if unkept
            && let Some(keeper) = &self.keeper
            && let Err(error) = keeper.keep(&tokens).await
        {
            tracing::error!(error = self.redacted(&error), "a new access token could not be kept");
            return Err(unavailable("a new access token could not be kept".to_owned()));
        }
        self.oauth().unkept = false;
        Ok((tokens.access_token, version))
    }

    fn take(&self, answer: Answer, asked_at: Timestamp) {
        let mut state = self.oauth();
        let old = state.tokens.take().and_then(|tokens| tokens.refresh_token);
        let expires_at = answer.expires_in_ms.map(|life| Timestamp(asked_at.0.saturating_add(life)));
        let refresh_token = answer.refresh_token.or(old);
        state.tokens = Some(Tokens { access_token: answer.access_token, refresh_token, expires_at });
        state.leeway_ms = leeway(answer.expires_in_ms);
        state.version += 1;
        state.unkept = true;
    }

    async fn ask(&self, door: &Door) -> Result<Answer, Problem> {
        let mut tries_before = 0;
        loop {
            match self.ask_once(door).await {
                Err(Problem::Passing { wait, .. }) if tries_before < RETRIES => {
                    let wait = wait.unwrap_or_else(|| retry::backoff(tries_before, &RetryRules::default()));
                    sleep(wait.min(MAX_WAIT)).await;
                    tries_before += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn ask_once(&self, door: &Door) -> Result<Answer, Problem> {
        let Some((url, request)) = self.token_request()? else {
            return Err(Problem::Other("the credential has no token endpoint".to_owned()));
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let policy = Policy {
            allowed_hosts: HostPattern::of(&url).into_iter().collect(),
            private_networks: door.private_networks.clone(),
            ..Policy::default()
        };
        request::check_url(&url).and_then(|()| policy.admit(&url)).map_err(Problem::Door)?;
        let exchange = async {
            let answer = door.client.execute(request).await.map_err(|error| Failure::of_transport(&error, &host))?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let body = body::read(answer, &host, MAX_ANSWER_BYTES, &Uncounted).await?;
            Ok::<_, Failure>((status, headers, body.bytes))
        };
        let outcome = timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(Failure::passing(EgressError::TimedOut)));
        let (status, headers, body) = outcome.map_err(|failure| match failure.error {
            error @ (EgressError::Denied { .. } | EgressError::Setup(_)) => Problem::Door(error),
            error => {
                let text = format!("the token endpoint: {error}");
                if failure.passing { Problem::Passing { text, wait: None } } else { Problem::Other(text) }
            }
        })?;
        self.read(status, &headers, &body)
    }

    /// The request for a token, without a body that anything but the client sees.
    fn token_request(&self) -> Result<Option<(Url, reqwest::Request)>, Problem> {
        let mut form: BTreeMap<&str, &str>;
        let (url, id, secret, scopes, auth) = match &self.scheme {
            Scheme::Oauth2ClientCredentials {
                token_url,
                client_id,
                client_secret,
                scopes,
                client_auth,
                parameters,
            } => {
                form = parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
                form.insert("grant_type", "client_credentials");
                (token_url, client_id, Some(client_secret), scopes, client_auth)
            }
            Scheme::Oauth2RefreshToken { token_url, client_id, client_secret, scopes, client_auth, parameters } => {
                form = parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
                form.insert("grant_type", "refresh_token");
                (token_url, client_id, client_secret.as_ref(), scopes, client_auth)
            }
            _ => return Ok(None),
        };
        let refresh_token = self.oauth().tokens.as_ref().and_then(|tokens| tokens.refresh_token.clone());
        if matches!(self.scheme, Scheme::Oauth2RefreshToken { .. }) {
            let token = refresh_token.as_deref().filter(|token| !token.is_empty());
            form.insert("refresh_token", token.ok_or_else(|| Problem::Final("there is no refresh token".to_owned()))?);
        }
        let scope = scopes.join(" ");
        if !scope.is_empty() {
            form.insert("scope", &scope);
        }
        let mut request = reqwest::Request::new(Method::POST, url.clone());
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        match (secret, auth) {
            (Some(secret), ClientAuth::Basic) => {
                // The RFC has both encoded first, so that a colon in the name does no harm.
                let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let mut value = HeaderValue::from_str(&basic(&encode(id), &encode(secret)))
                    .map_err(|_| Problem::Other("the client's secret cannot be sent".to_owned()))?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
            (secret, _) => {
                form.insert("client_id", id);
                form.extend(secret.map(|secret| ("client_secret", &**secret)));
            }
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        *request.body_mut() = Some(body.into());
        Ok(Some((url.clone(), request)))
    }

    /// Reads an answer of the token endpoint, RFC 6749 sections 5.1 and 5.2.
    fn read(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Problem> {
        // What is wrong with JSON is told with parts of it, which are secret: nothing of that is repeated.
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let error = text("error").unwrap_or_default();
        if status == 200 && error.is_empty() {
            let Some(access_token) = text("access_token") else {
                return Err(Problem::Other(
                    "the token endpoint answers with status 200 and no access token".to_owned(),
                ));
            };
            return Ok(Answer {
                access_token: access_token.to_owned(),
                refresh_token: text("refresh_token").map(ToOwned::to_owned),
                expires_in_ms: body.get("expires_in").and_then(milliseconds),
            });
        }
        let said = [Some(error), text("error_description")].into_iter().flatten().filter(|part| !part.is_empty());
        let said: Vec<String> = said.map(|part| self.redacted(part)).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(": ")) };
        let text = format!("the token endpoint answers with status {status}{said}");
        let passing = status == 429 || status >= 500 || PASSING.contains(&error);
        Err(if passing {
            Problem::Passing { text, wait: retry::retry_after(headers, retry::at(self.clock.now())) }
        } else if matches!(status, 200 | 400 | 401) || FINAL.contains(&error) {
            Problem::Final(text)
        } else {
            Problem::Other(text)
        })
    }

    /// A text from outside, for an error: short, in one line, and without any word that is a secret, holds one, or is part
    /// of one.
    fn redacted(&self, text: &str) -> String {
        /// Shorter words are parts of secrets by chance.
        const SHORTEST_PART: usize = 6;
        /// What is left is told in full by the API's own log.
        const MAX_CHARS: usize = 200;
        let tokens = self.oauth().tokens.clone();
        let mut secrets: Vec<&str> = Vec::new();
        if let Some(tokens) = &tokens {
            secrets.push(&tokens.access_token);
            secrets.extend(tokens.refresh_token.as_deref());
        }
        match &self.scheme {
            Scheme::Oauth2ClientCredentials { client_secret, parameters, .. } => {
                secrets.push(client_secret);
                secrets.extend(parameters.values().map(|value| &**value));
            }
            Scheme::Oauth2RefreshToken { client_secret, parameters, .. } => {
                secrets.extend(client_secret.as_deref());
                secrets.extend(parameters.values().map(|value| &**value));
            }
            _ => {}
        }
        secrets.retain(|secret| !secret.is_empty());
        let text: String = text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let is_secret = |word: &str| {
            let core = word.trim_matches(|c: char| !c.is_alphanumeric());
            secrets.iter().any(|secret| {
                word.contains(secret) || (core.len() >= SHORTEST_PART && secret.contains(core)) || word.len() > 64
            })
        };
        text.split(' ').map(|word| if is_secret(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
    }

    /// The access token that there is, good or not.
    pub(super) fn access_token(&self) -> Option<String> {
        self.oauth().tokens.as_ref().map(|tokens| tokens.access_token.clone())
    }

    fn oauth(&self) -> MutexGuard<'_, State> {
        self.oauth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a token endpoint gave out.
struct Answer {
    access_token: String,
    refresh_token: Option<String>,
    expires_in_ms: Option<u64>,
}

/// Seconds as a number or as a text. What is not above 0 says nothing: a token that ends at once is no use to anybody.
fn milliseconds(value: &Value) -> Option<u64> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok().and_then(|life| u64::try_from(life.as_millis()).ok()).filter(|ms| *ms > 0)
}

/// Tokens are no run's to pay for.
struct Uncounted;

impl Meter for Uncounted {
    fn request(&self) -> Result<(), Exhausted> {
        Ok(())
    }

    fn received(&self, _: usize) -> Result<(), Exhausted> {
        Ok(())
    }

    fn released(&self, _: usize) {}
}
