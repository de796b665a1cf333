//! `/v1/syncs`

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Json as Answer, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::access::{Caller, Look, Manage};
use super::input::{Json, OptionalJson, Path, Query, SyncPath, idempotency_key, limit};
use super::problem::Problems;
use super::views::{RunView, SyncPage, SyncView};
use crate::ids::{ConnectionName, RunId};
use crate::runtime::{Asked, Once, SyncSettings, SyncSpec, Triggering};

/// The longest wait for a run's end.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// Which syncs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those of this connection.
    connection: Option<ConnectionName>,
    /// The `next` of the page before.
    after: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// List syncs
#[utoipa::path(get, path = "/v1/syncs", tag = "syncs", operation_id = "list_syncs", params(ListQuery),
    responses((status = 200, body = SyncPage), Problems))]
pub(super) async fn list(caller: Caller<Look>, Query(query): Query<ListQuery>) -> Result<Answer<SyncPage>, Problem> {
    let limit = limit(query.limit)?;
    let found = caller.runtime.syncs(query.connection.as_ref(), query.after, limit).await?;
    let now = caller.runtime.now();
    let items = found.into_iter().map(|sync| SyncView::of(sync, now)).collect();
    let key = |item: &SyncView| format!("{}/{}/{}", item.connection, item.script, item.variant);
    Ok(Answer(SyncPage::of(items, limit, key)))
}

/// Create a sync
///
/// Its first run is due at `start_at`, or else within a tenth of its period and a minute, so that of many that are created
/// together not all begin together. Without a frequency of the script's or its own it runs only when somebody asks. One whose
/// script requires a configuration that it lacks is paused, and says what to set.
#[utoipa::path(post, path = "/v1/syncs", tag = "syncs", operation_id = "create_sync", request_body = SyncSpec,
    responses((status = 201, body = SyncView), Problems))]
pub(super) async fn create(
    caller: Caller<Manage>,
    Json(spec): Json<SyncSpec>,
) -> Result<(StatusCode, Answer<SyncView>), Problem> {
    let status = caller.runtime.create_sync(spec).await?;
    Ok((StatusCode::CREATED, Answer(SyncView::with_status(status, caller.runtime.now()))))
}

/// Show a sync: its state, counts, last outcome and next run
#[utoipa::path(get, path = "/v1/syncs/{connection}/{script}/{variant}", tag = "syncs", operation_id = "get_sync",
    params(SyncPath), responses((status = 200, body = SyncView), Problems))]
pub(super) async fn get(caller: Caller<Look>, Path(path): Path<SyncPath>) -> Result<Answer<SyncView>, Problem> {
    status(&caller, &path.key()).await
}

async fn status<N>(caller: &Caller<N>, key: &crate::ids::SyncKey) -> Result<Answer<SyncView>, Problem> {
    let status = caller.runtime.sync_status(key).await?;
    Ok(Answer(SyncView::with_status(status, caller.runtime.now())))
}

/// Change a sync's configuration, frequency, start or limits
#[utoipa::path(patch, path = "/v1/syncs/{connection}/{script}/{variant}", tag = "syncs", operation_id = "change_sync",
    params(SyncPath), request_body = SyncSettings, responses((status = 200, body = SyncView), Problems))]
pub(super) async fn change(
    caller: Caller<Manage>,
    Path(path): Path<SyncPath>,
    Json(settings): Json<SyncSettings>,
) -> Result<Answer<SyncView>, Problem> {
    let status = caller.runtime.change_sync(&path.key(), settings).await?;
    Ok(Answer(SyncView::with_status(status, caller.runtime.now())))
}

/// Delete a sync
///
/// Its records stay; a run under way is cancelled first.
#[utoipa::path(delete, path = "/v1/syncs/{connection}/{script}/{variant}", tag = "syncs", operation_id = "delete_sync",
    params(SyncPath), responses((status = 204, description = "It is gone."), Problems))]
pub(super) async fn delete(caller: Caller<Manage>, Path(path): Path<SyncPath>) -> Result<StatusCode, Problem> {
    caller.runtime.delete_sync(&path.key()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How to run now.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trigger {
    /// Wait so many seconds for the run's end.
    #[schema(minimum = 0, maximum = 600)]
    #[serde(default)]
    pub(crate) wait_seconds: u64,
    /// Let this run delete as much as it finds to delete.
    #[serde(default)]
    pub(crate) allow_deletes: bool,
}

/// What became of asking for a run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Triggered {
    /// The run, if it ended while it was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunView>,
    /// The run that is under way, if it has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active_run: Option<RunId>,
}

/// Run a sync now
///
/// While a run is under way, one more follows it, however often this is asked. With an `Idempotency-Key` the same request
/// within 24 hours asks for no other run, and is answered as the first.
#[utoipa::path(post, path = "/v1/syncs/{connection}/{script}/{variant}/trigger", tag = "syncs",
    operation_id = "trigger_sync",
    params(SyncPath, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters")), request_body = Option<Trigger>,
    responses((status = 200, body = Triggered, description = "The run has ended."),
        (status = 202, body = Triggered, description = "It is under way, or will be."), Problems))]
pub(super) async fn trigger(
    caller: Caller<Manage>,
    Path(path): Path<SyncPath>,
    headers: HeaderMap,
    OptionalJson(trigger): OptionalJson<Trigger>,
) -> Result<Response, Problem> {
    let wait = Duration::from_secs(trigger.wait_seconds).min(MAX_WAIT);
    let once = Once { allow_deletes: trigger.allow_deletes };
    let (key, runtime) = (path.key(), &caller.runtime);
    let Some(given) = idempotency_key(&headers)? else {
        let (status, triggered) = answer(runtime.trigger(&key, once, wait).await?);
        return Ok((status, Answer(triggered)).into_response());
    };
    let (status, text) = match runtime.trigger_once(&key, once, wait, &given).await? {
        Triggering::Now(asked) => {
            let (status, triggered) = answer(asked);
            let text = serde_json::to_string(&triggered)
                .map_err(|error| Problem::bad_request("bad-body", error.to_string()))?;
            runtime.trigger_answered(&given, format!("{} {text}", status.as_u16())).await?;
            (status, text)
        }
        Triggering::Before(answer) => match answer.split_once(' ') {
            Some(("200", text)) => (StatusCode::OK, text.to_owned()),
            _ => (StatusCode::ACCEPTED, answer.split_once(' ').unwrap_or_default().1.to_owned()),
        },
    };
    Ok((status, [(header::CONTENT_TYPE, "application/json")], text).into_response())
}

fn answer(asked: Asked) -> (StatusCode, Triggered) {
    match asked {
        Asked::Ended(run) => (StatusCode::OK, Triggered { run: Some((*run).into()), active_run: None }),
        Asked::Pending { run } => (StatusCode::ACCEPTED, Triggered { run: None, active_run: run }),
    }
}

/// Why a sync is paused.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    /// For who sees that it is.
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
}

/// Pause a sync
///
/// A run under way goes on; none begins until it is started again, unless somebody asks for one.
#[utoipa::path(post, path = "/v1/syncs/{connection}/{script}/{variant}/pause", tag = "syncs", operation_id = "pause_sync",
    params(SyncPath), request_body = Option<Pause>, responses((status = 200, body = SyncView), Problems))]
pub(super) async fn pause(
    caller: Caller<Manage>,
    Path(path): Path<SyncPath>,
    OptionalJson(pause): OptionalJson<Pause>,
) -> Result<Answer<SyncView>, Problem> {
    let key = path.key();
    let reason = pause.reason.map(|reason| reason.chars().take(1_000).collect());
    caller.runtime.pause(&key, reason).await?;
    status(&caller, &key).await
}

/// Start a sync that is paused
#[utoipa::path(post, path = "/v1/syncs/{connection}/{script}/{variant}/start", tag = "syncs", operation_id = "start_sync",
    params(SyncPath), responses((status = 200, body = SyncView), Problems))]
pub(super) async fn start(caller: Caller<Manage>, Path(path): Path<SyncPath>) -> Result<Answer<SyncView>, Problem> {
    let key = path.key();
    caller.runtime.start(&key).await?;
    status(&caller, &key).await
}

/// Whether there was something to cancel.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Cancelled {
    /// Whether a run was under way.
    pub(crate) cancelled: bool,
}

/// Cancel a sync's run, if one is under way
#[utoipa::path(post, path = "/v1/syncs/{connection}/{script}/{variant}/cancel", tag = "syncs", operation_id = "cancel_sync",
    params(SyncPath), responses((status = 200, body = Cancelled), Problems))]
pub(super) async fn cancel(caller: Caller<Manage>, Path(path): Path<SyncPath>) -> Result<Answer<Cancelled>, Problem> {
    let cancelled = caller.runtime.cancel_sync(&path.key()).await?;
    Ok(Answer(Cancelled { cancelled }))
}

/// How to reset.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetBody {
    /// Collect the records anew, beside the old ones, which readers go on seeing until a run succeeds.
    #[serde(default)]
    empty: bool,
}

/// Forget what a sync remembers, so that its next run fetches everything
///
/// What is fetched again is compared with what is there; the app sees only what changed. With `empty` it sees all of it
/// anew, and cursors from before are answered with 410. Refused while a run is under way.
#[utoipa::path(post, path = "/v1/syncs/{connection}/{script}/{variant}/reset", tag = "syncs", operation_id = "reset_sync",
    params(SyncPath), request_body = Option<ResetBody>, responses((status = 200, body = SyncView), Problems))]
pub(super) async fn reset(
    caller: Caller<Manage>,
    Path(path): Path<SyncPath>,
    OptionalJson(body): OptionalJson<ResetBody>,
) -> Result<Answer<SyncView>, Problem> {
    let key = path.key();
    caller.runtime.reset_sync(&key, body.empty).await?;
    status(&caller, &key).await
}
