//! One try of a request: its redirects, and the credential, the limits and the breaker before each of them.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use reqwest::{Client, StatusCode};
use tokio::time::{Instant, timeout};

use super::breaker::{Barred, Pass};
use super::error::{EgressError, Failure};
use super::gate::Permit;
use super::policy::{Account, Policy};
use super::redirect::{self, MAX_REDIRECTS};
use super::request::Request;
use super::token::Door;
use super::trace::Tracing;
use super::{Egress, Meter, Response, body, copy, headers, learned, retry};
use crate::clock::Clock;

/// What all tries of a request have in common.
pub(super) struct Call<'a> {
    door: Door,
    clock: &'a dyn Clock,
    policy: &'a Policy,
    meter: &'a dyn Meter,
    /// For one try, without its waiting.
    time: Duration,
    redirects: u32,
    retry_on: Vec<u16>,
}

/// What one try led to.
pub(super) enum Attempt {
    Answered(Response),
    /// A status that is worth another try, and how long the API asks to wait.
    Again(Option<Duration>),
}

/// What one exchange led to.
enum Step {
    Answered(Response),
    Again(Option<Duration>),
    Redirected(StatusCode, HeaderMap),
    /// The access token of this version is no longer good.
    Unauthorized(u64),
}

/// What may still happen after an exchange.
#[derive(Clone, Copy)]
struct Left {
    time: Duration,
    retried: bool,
    /// The version of the access token that was turned away before.
    stale: Option<u64>,
}

/// The right to send, to one account, and what goes with it.
struct Passage {
    permits: Option<[Permit; 2]>,
    pass: Option<Pass>,
    /// The version of the access token attached.
    token: Option<u64>,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        egress: &'a Egress,
        policy: &'a Policy,
        request: &Request,
        meter: &'a dyn Meter,
    ) -> Result<Self, EgressError> {
        let client: Client = egress.clients.get(&policy.private_networks, policy.account.as_ref())?;
        let mut retry_on = policy.retry.statuses.clone();
        retry_on.extend(&request.retry_on);
        Ok(Self {
            door: Door { client, private_networks: policy.private_networks.clone() },
            clock: &*egress.clock,
            policy,
            meter,
            time: request.timeout.map_or(policy.timeout, |own| own.min(policy.timeout)),
            redirects: request.redirects.min(MAX_REDIRECTS),
            retry_on,
        })
    }

    /// Sends the request once and follows its redirects. A status that is worth another try is an answer, unless it is
    /// `retried`.
    pub(super) async fn attempt(
        &self,
        first: &reqwest::Request,
        mut waiting_since: Instant,
        retried: bool,
    ) -> Result<Attempt, Failure> {
        // As the script and the redirects have it. What is attached is attached to copies.
        let mut bare = copy(first)?;
        let mut left = Left { time: self.time, retried, stale: None };
        let mut followed = 0;
        loop {
            match self.exchange(&bare, waiting_since, &mut left).await? {
                Step::Answered(response) => return Ok(Attempt::Answered(response)),
                Step::Again(asked) => return Ok(Attempt::Again(asked)),
                Step::Unauthorized(version) => left.stale = Some(version),
                Step::Redirected(status, headers) => {
                    if followed == self.redirects {
                        let host = bare.url().host_str().unwrap_or_default();
                        let problem = format!("`{host}` redirects once more after {followed} redirects");
                        return Err(EgressError::Transport(problem).into());
                    }
                    redirect::follow(self.policy, &mut bare, status, &headers)?;
                    followed += 1;
                }
            }
            waiting_since = Instant::now();
        }
    }

    /// Waits for its turn, sends the request once, and tells the meter.
    async fn exchange(
        &self,
        bare: &reqwest::Request,
        waiting_since: Instant,
        left: &mut Left,
    ) -> Result<Step, Failure> {
        let mut request = copy(bare)?;
        let tracing = || {
            let waited = waiting_since.elapsed();
            Tracing::start(self.meter, self.clock.now(), bare.method(), bare.url(), waited)
        };
        let mut passage = match self.enter(&mut request, left).await {
            Ok(passage) => passage,
            Err(failure) => {
                tracing().finish(Some(&failure.error));
                return Err(failure);
            }
        };
        self.meter.request()?;
        for permit in passage.permits.iter_mut().flatten() {
            permit.sent();
        }
        let mut tracing = tracing();
        let started = Instant::now();
        let exchanging = self.transmit(request, &passage, *left, &mut tracing);
        let outcome =
            timeout(left.time, exchanging).await.unwrap_or_else(|_| Err(Failure::passing(EgressError::TimedOut)));
        left.time = left.time.saturating_sub(started.elapsed());
        tracing.finish(outcome.as_ref().err().map(|failure| &failure.error));
        let (status, outcome) = match outcome {
            Ok((status, step)) => (Some(status), Ok(step)),
            Err(failure) => (None, Err(failure)),
        };
        if let Some(pass) = passage.pass.take() {
            match (status, &outcome) {
                (Some(status), _) if status.is_server_error() => pass.failed(),
                (Some(_), _) => pass.succeeded(),
                (None, Err(failure)) if failure.passing => pass.failed(),
                // Nothing that the API did.
                (None, _) => drop(pass),
            }
        }
        outcome
    }

    /// Waits until the breaker and the limits let the request through, and attaches the credential. What an API asks for
    /// while it waits is heeded: both are looked at last.
    async fn enter(&self, request: &mut reqwest::Request, left: &Left) -> Result<Passage, Failure> {
        let Some(account) = &self.policy.account else {
            return Ok(Passage { permits: None, pass: None, token: None });
        };
        loop {
            let mut changes = account.breaker.changes();
            if let Err(barred) = account.breaker.look() {
                // A probe is on its way: what it finds out is known soon.
                if matches!(barred, Barred::Probing) && left.retried {
                    // The account holds the other end.
                    let _ = changes.changed().await;
                    continue;
                }
                let host = request.url().host_str().unwrap_or_default().to_owned();
                return Err(Failure::passing(EgressError::CircuitOpen { host, retry_after: barred.wait() }));
            }
            let permits = Some([account.connection.enter().await, account.integration.enter().await]);
            let token = self.attach(account, request, left.stale).await?;
            // Another may have been faster, or have failed while this one waited.
            if let Ok(pass) = account.breaker.admit() {
                return Ok(Passage { permits, pass: Some(pass), token });
            }
        }
    }

    async fn attach(
        &self,
        account: &Account,
        request: &mut reqwest::Request,
        stale: Option<u64>,
    ) -> Result<Option<u64>, Failure> {
        match &account.credential {
            Some(credential) => Arc::clone(credential).attach(request, &self.door, stale).await,
            None => Ok(None),
        }
    }

    /// Sends the request, which is ready, and reads what comes back.
    async fn transmit(
        &self,
        request: reqwest::Request,
        passage: &Passage,
        left: Left,
        tracing: &mut Tracing<'_>,
    ) -> Result<(StatusCode, Step), Failure> {
        let url = request.url().clone();
        let host = url.host_str().unwrap_or_default();
        let sent = self.door.client.execute(request).await;
        let answer = sent.map_err(|error| Failure::of_transport(&error, host))?;
        let status = answer.status();
        tracing.answered(status);
        for permit in passage.permits.iter().flatten() {
            permit.answered();
        }
        let now = retry::at(self.clock.now());
        if let Some(account) = &self.policy.account
            && let Some(wait) = learned::closed_for(status.as_u16(), answer.headers(), now)
        {
            account.connection.close_for(wait);
        }
        if self.redirects > 0 && redirect::is_redirect(status, answer.headers()) {
            return Ok((status, Step::Redirected(status, answer.headers().clone())));
        }
        if status == StatusCode::UNAUTHORIZED
            && left.stale.is_none()
            && let Some(version) = passage.token
        {
            return Ok((status, Step::Unauthorized(version)));
        }
        if left.retried && retry::is_passing(status.as_u16(), &self.retry_on) {
            let asked = retry::retry_after(answer.headers(), now);
            return Ok((status, Step::Again(asked.max(learned::until_reset(answer.headers(), now)))));
        }
        let mut headers = headers(answer.headers(), host)?;
        let body = body::read(answer, host, self.policy.max_body_bytes, self.meter).await?;
        tracing.received(body.bytes.len());
        if body.decoded {
            headers.retain(|(name, _)| name != CONTENT_ENCODING.as_str() && name != CONTENT_LENGTH.as_str());
        }
        let credential = self.policy.account.as_ref().and_then(|account| account.credential.as_ref());
        if let Some(credential) = credential {
            credential.redact(&mut headers);
        }
        Ok((status, Step::Answered(Response { status: status.as_u16(), headers, body: body.bytes })))
    }
}
