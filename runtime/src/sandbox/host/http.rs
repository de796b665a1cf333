//! `terapi:sync/http`: everything goes through [`Egress::send`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::{HostBroke, HostState, RunHost};
use crate::egress::{self, EgressError};
use crate::sandbox::bindings::http::{Error, Host, Request, Response, Ticket};
use crate::sandbox::bindings::types::Budget as WitBudget;
use crate::sandbox::limits::RunMeter;

pub(in crate::sandbox) type Answer = Result<egress::Response, EgressError>;

/// Requests that one `fetch-all` takes, and that may be started and not waited for.
const MAX_UNDER_WAY: usize = 32;

impl Host for HostState {
    async fn fetch(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        let (run, meter, _) = self.enter()?;
        let held = meter.hold_memory(weight(&request))?;
        let answer = run.egress.send(&run.policy, request.into(), &**meter).await;
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
        let sends = requests.into_iter().map(|request| run.egress.send(&run.policy, request.into(), &**meter));
        let sends: Vec<_> = sends.collect();
        let answers: Vec<_> = futures_util::stream::iter(sends).buffered(run.policy.concurrency.max(1)).collect().await;
        drop(held);
        answers.into_iter().map(|answer| run.hand_over(meter, answer)).collect()
    }

    async fn start(&mut self, request: Request) -> wasmtime::Result<Result<Ticket, Error>> {
        let (run, meter, _) = self.enter()?;
        let requests = &mut run.requests;
        if requests.under_way.len() >= MAX_UNDER_WAY {
            let text = format!("{MAX_UNDER_WAY} requests are started and not waited for: call wait first");
            return Ok(Err(Error::InvalidRequest(text)));
        }
        let held = meter.hold_memory(weight(&request))?;
        requests.last_ticket += 1;
        let ticket = requests.last_ticket;
        let (egress, policy, meter) = (run.egress.clone(), Arc::clone(&run.policy), Arc::clone(meter));
        let permits = Arc::clone(&requests.permits);
        requests.under_way.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let answer = egress.send(&policy, request.into(), &*meter).await;
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
}

/// What the host holds of a request until its answer is there: the rest is small.
fn weight(request: &Request) -> u64 {
    request.body.as_ref().map_or(0, |body| body.len() as u64)
}

impl RunHost {
    /// An answer on its way into the guest. It counts as memory until the guest, which now has a copy, calls again.
    fn hand_over(&mut self, meter: &RunMeter, answer: Answer) -> wasmtime::Result<Result<Response, Error>> {
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
            EgressError::Denied { .. } => Self::Denied(error.to_string()),
            EgressError::TimedOut => Self::TimedOut,
            EgressError::BodyTooLarge(limit) => Self::BodyTooLarge(limit),
            EgressError::Transport(_) | EgressError::Setup(_) => Self::Transport(error.to_string()),
            EgressError::Exhausted(egress::Exhausted::HttpRequests) => Self::Exhausted(WitBudget::HttpRequests),
            EgressError::Exhausted(egress::Exhausted::HttpBytes) => Self::Exhausted(WitBudget::HttpBytes),
        }
    }
}
