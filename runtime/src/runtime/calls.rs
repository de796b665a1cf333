//! Calls of actions, which somebody waits for or asks about later, and requests through the proxy.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{Execution, Runtime, RuntimeError, lock, triggers};
use crate::egress::{Exchange, Exhausted, Meter, Request, Response};
use crate::ids::{ConnectionName, RunId, ScriptName, Timestamp};
use crate::incident;
use crate::run::Outcome;
use crate::sandbox::LimitOverrides;
use crate::store::{DocumentKind, Script, Store, StoreError};

/// How long a call can be asked about, and an idempotency key is known.
pub(super) const KEEP_CALLS_MS: u64 = 24 * 3_600_000;
/// The longest idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 255;
/// Bytes of the calls of an environment that wait or run.
const MAX_CALLS_BYTES: usize = 64 << 20;
/// What a call takes besides its input.
const CALL_BYTES: usize = 16 << 10;
/// Requests that one request through the proxy may become, retries and redirects included.
const MAX_PROXY_REQUESTS: u32 = 20;

/// Where a call of an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallState {
    /// It is under way.
    Running,
    /// It is done.
    Succeeded,
    /// It failed, or was stopped.
    Failed,
    /// The service stopped meanwhile. What it did in the external system is not known.
    Interrupted,
}

/// A call of an action.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// Its id.
    pub id: RunId,
    /// Its run, once it has begun.
    pub run: Option<RunId>,
    /// Which action.
    pub script: ScriptName,
    /// On which connection.
    pub connection: ConnectionName,
    /// Where it is.
    pub state: CallState,
    /// What it returned, as JSON.
    pub output: Option<String>,
    /// Why it failed: a stable code.
    pub code: Option<String>,
    /// Why it failed, for a person.
    pub message: Option<String>,
    /// What the action gave with its error, as JSON.
    pub details: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it was asked to do.
    #[serde(default)]
    request_hash: String,
}

/// Calls under way.
pub(super) type Calls = HashMap<RunId, UnderWay>;

/// A call under way.
pub(super) struct UnderWay {
    connection: ConnectionName,
    cancel: CancellationToken,
    ended: watch::Receiver<Option<Arc<Call>>>,
    /// Of its input.
    bytes: usize,
}

/// Which call an idempotency key stands for.
#[derive(Serialize, Deserialize)]
struct Known {
    call: RunId,
    request_hash: String,
    created_at: Timestamp,
}

/// Where it is kept what an idempotency key stands for.
pub(super) fn known_key(prefix: &str, key: &str) -> Result<String, RuntimeError> {
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        let reason = format!("use 1 to {MAX_IDEMPOTENCY_KEY} characters");
        return Err(RuntimeError::BadInput { what: "the idempotency key", reason });
    }
    Ok(format!("{prefix}{}", hash(&[key])))
}

fn call_key(id: RunId) -> String {
    format!("call/{id}")
}

impl Runtime {
    /// Calls an action and returns when it has ended.
    pub async fn call(
        &self,
        script: &ScriptName,
        connection: &ConnectionName,
        input: String,
        idempotency_key: Option<&str>,
    ) -> Result<Arc<Call>, RuntimeError> {
        let id = self.begin_call(script, connection, input, idempotency_key, false).await?;
        self.call_ended(id).await
    }

    /// Calls an action and returns while it is under way; [`Runtime::call_status`] tells more.
    pub async fn call_later(
        &self,
        script: &ScriptName,
        connection: &ConnectionName,
        input: String,
        idempotency_key: Option<&str>,
    ) -> Result<Arc<Call>, RuntimeError> {
        let id = self.begin_call(script, connection, input, idempotency_key, true).await?;
        self.call_status(id).await
    }

    /// A call that was made within the last day, later or with an idempotency key.
    pub async fn call_status(&self, id: RunId) -> Result<Arc<Call>, RuntimeError> {
        let call: Option<Call> = self.document(DocumentKind::ActionCall, &call_key(id)).await?;
        call.map(Arc::new).ok_or_else(|| RuntimeError::unknown("call", &id))
    }

    async fn call_ended(&self, id: RunId) -> Result<Arc<Call>, RuntimeError> {
        let running = lock(&self.calls).get(&id).map(|call| call.ended.clone());
        let Some(mut running) = running else { return self.call_status(id).await };
        let ended = running.wait_for(Option::is_some).await.ok().and_then(|call| call.clone());
        match ended {
            Some(call) => Ok(call),
            None => self.call_status(id).await,
        }
    }

    async fn begin_call(
        &self,
        script: &ScriptName,
        connection: &ConnectionName,
        input: String,
        idempotency_key: Option<&str>,
        later: bool,
    ) -> Result<RunId, RuntimeError> {
        if self.shared.scheduler.park().is_cancelled() {
            return Err(RuntimeError::Stopping);
        }
        let request_hash = hash(&[script.as_str(), connection.as_str(), &input]);
        let known_key = idempotency_key.map(|key| known_key("key/", key)).transpose()?;
        let now = self.shared.clock.now();
        // Held so that of two that come at once with the same key only one begins.
        let _changing = self.changing.lock().await;
        if let Some(key) = &known_key
            && let Some(known) = self.document::<Known>(DocumentKind::ActionCall, key).await?
            && now.since(known.created_at) < KEEP_CALLS_MS
        {
            return if known.request_hash == request_hash {
                Ok(known.call)
            } else {
                Err(RuntimeError::IdempotencyConflict)
            };
        }
        let waiting: usize = lock(&self.calls).values().map(|call| call.bytes + CALL_BYTES).sum();
        if waiting + input.len() > MAX_CALLS_BYTES {
            incident::report(
                "too-many-calls",
                format_args!("action {script} of connection {connection}"),
                format_args!("{waiting} bytes of calls are under way"),
            );
            return Err(RuntimeError::TooManyCalls);
        }
        let (execution, row) = self.action_execution(script, connection).await?;
        let id = RunId::new(now);
        let call = Call {
            id,
            run: None,
            script: script.clone(),
            connection: connection.clone(),
            state: CallState::Running,
            output: None,
            code: None,
            message: None,
            details: None,
            created_at: now,
            ended_at: None,
            request_hash: request_hash.clone(),
        };
        let kept = later || known_key.is_some();
        if kept {
            let known = known_key.map(|key| (key, Known { call: id, request_hash, created_at: now }));
            let known = known.map(|(key, known)| super::json(&known).map(|text| (key, text))).transpose()?;
            let text = super::json(&call)?;
            self.blocking(move |store| {
                store.put_document(DocumentKind::ActionCall, &call_key(id), Some(&text))?;
                if let Some((key, text)) = known {
                    store.put_document(DocumentKind::ActionCall, &key, Some(&text))?;
                }
                // Before it is begun: who repeats it after a crash must not have it done twice.
                store.sync()
            })
            .await?;
        }
        let (done, ended) = watch::channel(None);
        let (connection, cancel, bytes) = (connection.clone(), execution.cancel.clone(), input.len());
        lock(&self.calls).insert(id, UnderWay { connection, cancel, ended, bytes });
        let runtime = self.clone();
        tokio::spawn(async move {
            let call = runtime.do_call(call, execution, &row, input).await;
            if kept && let Err(error) = runtime.put_document(DocumentKind::ActionCall, &call_key(id), &call).await {
                tracing::error!(%error, call = %id, "how a call ended could not be written down");
            }
            let _ = done.send(Some(Arc::new(call)));
            lock(&runtime.calls).remove(&id);
        });
        Ok(id)
    }

    async fn do_call(&self, mut call: Call, execution: Execution, script: &Script, input: String) -> Call {
        let ended = match self.admit_suspect(script, &execution.cancel).await {
            Ok(alone) => {
                let ended = super::unbroken(self.action(execution, input)).await;
                if alone.is_some()
                    && let Err(error) = self.suspicion_changed(&script.hash).await
                {
                    tracing::error!(%error, script = %script.name, "who is suspected could not be told");
                }
                ended
            }
            Err(error) => Err(error),
        };
        call.ended_at = Some(self.shared.clock.now());
        call.state = CallState::Failed;
        match ended {
            Ok((run, output)) => {
                call.run = Some(run.id);
                call.output = output;
                match run.outcome {
                    Some(Outcome::Succeeded) | None => call.state = CallState::Succeeded,
                    Some(outcome) => {
                        call.code = Some(outcome.code().to_owned());
                        call.message = Some(outcome.message().to_owned());
                        if let Outcome::Failed(failure) = outcome {
                            call.details = failure.details;
                        }
                    }
                }
            }
            Err(error) => {
                call.code = Some(error.code().to_owned());
                call.message = Some(error.to_string());
            }
        }
        call
    }

    async fn action_execution(
        &self,
        script: &ScriptName,
        connection: &ConnectionName,
    ) -> Result<(Execution, Script), RuntimeError> {
        let policy = self.policy(connection).await?;
        self.refuse_quarantined(&self.script_row(script).await?).await?;
        let (loaded, row) = self.deployed(script).await?;
        if loaded.manifest.kind != crate::run::RunKind::Action {
            return Err(RuntimeError::WrongKind { name: script.clone(), is: "a sync", needed: "an action" });
        }
        let mut execution = Execution::new(loaded, connection.clone());
        execution.name = script.clone();
        execution.connection_facts = Some(self.connection_facts(connection).await?);
        execution.limits = self.limits_of(&row, &LimitOverrides::default());
        execution.policy = super::execute::with_base_url(&policy, execution.policy.base_url);
        Ok((execution, row))
    }

    /// Calls that a process before this one left behind are noted as interrupted, and old ones forgotten.
    pub(super) async fn tidy_calls(&self, started: bool) -> Result<(), RuntimeError> {
        let now = self.shared.clock.now();
        self.blocking(move |store| each(store, "", |key, text| tidy(store, key, text, now, started))).await
    }

    /// Cancels the calls on a connection, and returns when they have ended. None may begin meanwhile.
    pub(super) async fn cancel_calls_of(&self, connection: &ConnectionName) {
        let ends: Vec<_> = {
            let calls = lock(&self.calls);
            let own = calls.values().filter(|call| call.connection == *connection);
            own.map(|call| {
                call.cancel.cancel();
                call.ended.clone()
            })
            .collect()
        };
        for mut ended in ends {
            // An error is that the call is gone, which is an end, too.
            let _ = ended.wait_for(Option::is_some).await;
        }
    }

    /// Forgets the calls on a connection that is deleted, and the idempotency keys that stand for them.
    pub(super) async fn forget_calls_of(&self, connection: &ConnectionName) -> Result<(), RuntimeError> {
        let connection = connection.clone();
        self.blocking(move |store| {
            let mut gone = HashSet::new();
            each(store, "call/", |key, text| {
                let call: Call = super::parse(text)?;
                if call.connection != connection {
                    return Ok(());
                }
                gone.insert(call.id);
                store.put_document(DocumentKind::ActionCall, key, None)
            })?;
            each(store, triggers::PREFIX, |key, text| {
                if super::parse::<triggers::Noted>(text)?.connection != connection {
                    return Ok(());
                }
                store.put_document(DocumentKind::ActionCall, key, None)
            })?;
            each(store, "key/", |key, text| {
                if !gone.contains(&super::parse::<Known>(text)?.call) {
                    return Ok(());
                }
                store.put_document(DocumentKind::ActionCall, key, None)
            })
        })
        .await
    }

    /// Sends a request as the connection: to its hosts, with its credential and its manners.
    ///
    /// With the answer comes what its memory was admitted by, to be held for as long as it is there.
    pub async fn proxy(
        &self,
        connection: &ConnectionName,
        request: Request,
    ) -> Result<(Response, impl Send + Sync + 'static + use<>), RuntimeError> {
        let policy = self.policy(connection).await?;
        let held = policy.max_body_bytes.saturating_add(request.body.as_ref().map_or(0, |body| body.len() as u64));
        let mut admitted = self.shared.scheduler.admit(held).await;
        let answer = self.shared.egress()?.send(&policy, request, &ProxyMeter::default()).await;
        if let Err(error) = &answer
            && let Some(limit) = error.limit()
        {
            incident::report(limit, format_args!("request through the proxy of connection {connection}"), error);
        }
        let answer = answer?;
        // How slowly it is taken must not hold back others for more than it is.
        admitted.keep(answer.body.len() as u64);
        Ok((answer, admitted))
    }
}

/// Looks at every document about calls whose key begins so.
fn each(
    store: &dyn Store,
    prefix: &str,
    mut look: impl FnMut(&str, &str) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let found = store.documents(DocumentKind::ActionCall, prefix, after.as_deref(), 100)?;
        let Some((last, _)) = found.last() else { return Ok(()) };
        after = Some(last.clone());
        found.iter().try_for_each(|(key, text)| look(key, text))?;
    }
}

fn tidy(store: &dyn Store, key: &str, text: &str, now: Timestamp, started: bool) -> Result<(), StoreError> {
    let old = |at: Timestamp| now.since(at) >= KEEP_CALLS_MS;
    if key.starts_with("key/") {
        let known: Known = super::parse(text)?;
        return if old(known.created_at) { store.put_document(DocumentKind::ActionCall, key, None) } else { Ok(()) };
    }
    if key.starts_with(triggers::PREFIX) {
        let noted: triggers::Noted = super::parse(text)?;
        return if old(noted.created_at) { store.put_document(DocumentKind::ActionCall, key, None) } else { Ok(()) };
    }
    let mut call: Call = super::parse(text)?;
    if old(call.created_at) && call.state != CallState::Running {
        return store.put_document(DocumentKind::ActionCall, key, None);
    }
    if started && call.state == CallState::Running {
        call.state = CallState::Interrupted;
        call.code = Some("interrupted".to_owned());
        call.message = Some(
            "the process ended while this action was under way; look in the external system whether it was done"
                .to_owned(),
        );
        call.ended_at = Some(now);
        return store.put_document(DocumentKind::ActionCall, key, Some(&super::json(&call)?));
    }
    Ok(())
}

/// A hash over texts, none of which can run into the next.
fn hash(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Counts what one request through the proxy becomes.
#[derive(Debug, Default)]
pub struct ProxyMeter(std::sync::atomic::AtomicU32);

impl Meter for ProxyMeter {
    fn request(&self) -> Result<(), Exhausted> {
        let sent = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if sent < MAX_PROXY_REQUESTS { Ok(()) } else { Err(Exhausted::HttpRequests) }
    }

    fn received(&self, _: usize) -> Result<(), Exhausted> {
        Ok(())
    }

    fn released(&self, _: usize) {}

    fn exchanged(&self, exchange: Exchange) {
        let Exchange { method, url, status, took_ms, waited_ms, .. } = exchange;
        tracing::debug!(method, url, status, took_ms, waited_ms, "proxied");
    }
}
