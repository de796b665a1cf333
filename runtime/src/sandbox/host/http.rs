//! `terapi:sync/http`: everything goes through [`Egress::send`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use url::Url;

use super::{HostBroke, HostState, Refusals, RunHost};
use crate::egress::{self, Egress, EgressError, Policy};
use crate::sandbox::bindings::http::{Error, Host, NextPage, Request, Response, Ticket, Waited};
use crate::sandbox::bindings::types::Budget as WitBudget;
use crate::sandbox::limits::RunMeter;

pub(in crate::sandbox) type Answer = Result<egress::Response, EgressError>;

/// Requests that one `fetch-all` takes, and that may be started and not waited for.
const MAX_UNDER_WAY: usize = 32;

impl Host for HostState {
    async fn fetch(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        let (run, meter, _) = self.enter()?;
        let held = meter.hold_memory(weight(&request))?;
        let answer = run.way_out(meter).send(request.into()).await;
        drop(held);
        run.hand_over(meter, answer)
    }

    async fn fetch_all(&mut self, requests: Vec<Request>) -> wasmtime::Result<Vec<Result<Response, Error>>> {
        let (run, meter, _) = self.enter()?;
        if requests.len() > MAX_UNDER_WAY {
            let text = format!("fetch-all takes up to {MAX_UNDER_WAY} requests at once, not {}", requests.len());
            return Ok(requests.iter().map(|_| Err(Error::InvalidRequest(text.clone()))).collect());
        }
        let held = meter.hold_memory(requests.iter().map(weight).sum())?;
        let way_out = run.way_out(meter);
        let answers = join_all(requests.into_iter().map(|request| way_out.send(request.into()))).await;
        drop(held);
        answers.into_iter().map(|answer| run.hand_over(meter, answer)).collect()
    }

    async fn start(&mut self, request: Request) -> wasmtime::Result<Result<Ticket, Error>> {
        let (run, meter, _) = self.enter()?;
        if run.requests.under_way.len() >= MAX_UNDER_WAY {
            let text = format!("{MAX_UNDER_WAY} requests are started and not waited for: call wait first");
            return Ok(Err(Error::InvalidRequest(text)));
        }
        let held = meter.hold_memory(weight(&request))?;
        let way_out = run.way_out(meter);
        run.requests.last_ticket += 1;
        let ticket = run.requests.last_ticket;
        run.requests.under_way.spawn(async move {
            let answer = way_out.send(request.into()).await;
            drop(held);
            (ticket, answer)
        });
        Ok(Ok(ticket))
    }

    async fn wait(&mut self) -> wasmtime::Result<Option<(Ticket, Result<Response, Error>)>> {
        let (run, meter, _) = self.enter()?;
        let Some(done) = run.requests.under_way.join_next().await else { return Ok(None) };
        let (ticket, answer) = done.map_err(|error| HostBroke(format!("a request: {error}")))?;
        Ok(Some((ticket, run.hand_over(meter, answer)?)))
    }

    async fn wait_for(&mut self, timeout_ms: u32) -> wasmtime::Result<Waited> {
        let (run, meter, _) = self.enter()?;
        let time = Duration::from_millis(u64::from(timeout_ms));
        if let Some(jumping) = &run.time {
            // Answers come at once where time jumps: what is under way is there before any time has passed.
            let Some(done) = run.requests.under_way.join_next().await else {
                jumping.wait(time);
                return Ok(Waited::TimedOut);
            };
            let (ticket, answer) = done.map_err(|error| HostBroke(format!("a request: {error}")))?;
            return Ok(Waited::Done((ticket, run.hand_over(meter, answer)?)));
        }
        if run.requests.under_way.is_empty() {
            tokio::time::sleep(time).await;
            return Ok(Waited::TimedOut);
        }
        // Dropped before it is done, `join_next` has taken nothing from the set.
        let Ok(Some(done)) = tokio::time::timeout(time, run.requests.under_way.join_next()).await else {
            return Ok(Waited::TimedOut);
        };
        let (ticket, answer) = done.map_err(|error| HostBroke(format!("a request: {error}")))?;
        Ok(Waited::Done((ticket, run.hand_over(meter, answer)?)))
    }

    async fn start_pages(
        &mut self,
        first: Request,
        next: NextPage,
        ahead: u32,
    ) -> wasmtime::Result<Result<Ticket, Error>> {
        let (run, meter, _) = self.enter()?;
        run.start_pages(meter, first, next, ahead)
    }

    async fn take_page(&mut self, pages: Ticket) -> wasmtime::Result<Option<Result<Response, Error>>> {
        let (run, meter, _) = self.enter()?;
        run.take_page(meter, pages).await
    }

    async fn stop_pages(&mut self, pages: Ticket) -> wasmtime::Result<()> {
        let (run, _, _) = self.enter()?;
        run.stop_pages(pages).await;
        Ok(())
    }
}

/// What a request of a run needs on its way out. Of all that use one at a time, as many as the run has permits.
pub(super) struct WayOut {
    egress: Egress,
    policy: Arc<Policy>,
    pub(super) meter: Arc<RunMeter>,
    permits: Arc<Semaphore>,
    refusals: Arc<Refusals>,
}

impl WayOut {
    /// Waits for a permit, sends, and waits for the answer.
    pub(super) async fn send(&self, request: egress::Request) -> Answer {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let answer = self.egress.send(&self.policy, request, &*self.meter).await;
        // What did not fit into the run's memory ends the run, which is told of then.
        if let Err(error) = &answer
            && self.meter.check_memory().is_ok()
        {
            self.refusals.tell(error);
        }
        answer
    }

    /// The URL that a request's own is, once it is joined to the base URL.
    pub(super) fn absolute(&self, url: &str) -> Option<Url> {
        match &self.policy.base_url {
            Some(base) if url.starts_with('/') => {
                let mut base = base.clone();
                base.set_query(None);
                base.set_fragment(None);
                Url::parse(&format!("{}{url}", base.as_str().trim_end_matches('/'))).ok()
            }
            _ => Url::parse(url).ok(),
        }
    }
}

/// What the host holds of a request until its answer is there. Only once it is sent is it known that its address and headers are
/// within their limits.
pub(super) fn weight(request: &Request) -> u64 {
    let pairs = request.headers.iter().chain(&request.query).map(|(name, value)| name.len() + value.len());
    let text = request.url.len() + request.method.len() + pairs.sum::<usize>();
    (text + request.body.as_ref().map_or(0, Vec::len)) as u64
}

impl RunHost {
    pub(super) fn way_out(&self, meter: &Arc<RunMeter>) -> WayOut {
        WayOut {
            egress: self.egress.clone(),
            policy: Arc::clone(&self.policy),
            meter: Arc::clone(meter),
            permits: Arc::clone(&self.requests.permits),
            refusals: Arc::clone(&self.requests.refusals),
        }
    }

    /// An answer on its way into the guest. It counts as memory until the guest, which now has a copy, calls again.
    pub(super) fn hand_over(
        &mut self,
        meter: &RunMeter,
        answer: Result<egress::Response, impl Into<Error>>,
    ) -> wasmtime::Result<Result<Response, Error>> {
        // A body that did not fit into the memory limit ends the run, whatever the script would make of the error.
        meter.check_memory()?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error.into())),
        };
        self.handed_over += answer.body.len() as u64;
        self.progress.send_modify(|progress| {
            progress.pages += 1;
            progress.bytes += answer.body.len() as u64;
        });
        Ok(Ok(Response { status: answer.status, headers: answer.headers, body: answer.body }))
    }
}

impl From<Request> for egress::Request {
    fn from(request: Request) -> Self {
        Self {
            method: request.method,
            url: request.url,
            headers: request.headers,
            query: request.query,
            body: request.body,
            timeout: request.timeout_ms.map(|ms| Duration::from_millis(u64::from(ms))),
            retries: request.retries,
            retry_on: request.retry_on,
            redirects: request.redirects,
        }
    }
}

impl From<EgressError> for Error {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::InvalidRequest(_) => Self::InvalidRequest(error.to_string()),
            EgressError::Denied { .. } | EgressError::CredentialRefused(_) => Self::Denied(error.to_string()),
            EgressError::TimedOut => Self::TimedOut,
            EgressError::BodyTooLarge(limit) => Self::BodyTooLarge(limit),
            EgressError::Transport(_)
            | EgressError::Setup(_)
            | EgressError::CredentialUnavailable(_)
            | EgressError::CircuitOpen { .. } => Self::Transport(error.to_string()),
            EgressError::Exhausted(egress::Exhausted::HttpRequests) => Self::Exhausted(WitBudget::HttpRequests),
            EgressError::Exhausted(egress::Exhausted::HttpBytes) => Self::Exhausted(WitBudget::HttpBytes),
        }
    }
}
