//! `/v1/runs`

use axum::response::Json as Answer;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Problem;
use super::access::{Caller, Look, Manage};
use super::input::{PageQuery, Path, Query, limit};
use super::problem::Problems;
use super::syncs::Cancelled;
use super::views::{ExchangeView, LogPage, LogView, RunPage, RunView};
use crate::ids::{ConnectionName, RunId, ScriptName, Variant};
use crate::store::RunsQuery;

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those of this connection.
    connection: Option<ConnectionName>,
    /// Only those of this script.
    script: Option<ScriptName>,
    /// Only those of this variant.
    variant: Option<Variant>,
    /// The `next` of the page before.
    after: Option<RunId>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// List runs, the newest first
///
/// A page may have fewer than `limit`, or none, and still a `next`.
#[utoipa::path(get, path = "/v1/runs", tag = "runs", operation_id = "list_runs", params(ListQuery),
    responses((status = 200, body = RunPage), Problems))]
pub(super) async fn list(caller: Caller<Look>, Query(query): Query<ListQuery>) -> Result<Answer<RunPage>, Problem> {
    let ListQuery { connection, script, variant, after, limit: given } = query;
    let query = RunsQuery { connection, script, variant, before: after, limit: limit(given)? };
    let page = caller.runtime.blocking(move |store| store.runs(&query)).await?;
    let items = page.runs.into_iter().map(RunView::from).collect();
    Ok(Answer(RunPage { items, next: page.next.map(|next| next.to_string()) }))
}

/// Show a run, with its outcome, usage and the trace of its requests
#[utoipa::path(get, path = "/v1/runs/{run}", tag = "runs", operation_id = "get_run", params(("run" = RunId, Path)),
    responses((status = 200, body = RunView), Problems))]
pub(super) async fn get(caller: Caller<Look>, Path(id): Path<RunId>) -> Result<Answer<RunView>, Problem> {
    let (run, trace) = caller.runtime.blocking(move |store| Ok((store.run(id)?, store.trace(id)?))).await?;
    let run = run.ok_or_else(|| Problem::unknown("run", &id))?;
    let trace: Vec<crate::egress::Exchange> =
        trace.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let trace = Some(trace.into_iter().map(ExchangeView::from).collect());
    Ok(Answer(RunView { trace, ..run.into() }))
}

/// Show a run's log
#[utoipa::path(get, path = "/v1/runs/{run}/logs", tag = "runs", operation_id = "get_run_logs",
    params(("run" = RunId, Path), PageQuery), responses((status = 200, body = LogPage), Problems))]
pub(super) async fn logs(
    caller: Caller<Look>,
    Path(id): Path<RunId>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<LogPage>, Problem> {
    let limit = page.limit()?;
    let after = page.after().map_or(Ok(0), |after| after.parse::<usize>());
    let after = after.map_err(|_| Problem::bad_request("bad-query", "after is the `next` of the page before"))?;
    let (run, lines) = caller.runtime.blocking(move |store| Ok((store.run(id)?, store.log(id)?))).await?;
    run.ok_or_else(|| Problem::unknown("run", &id))?;
    let items: Vec<_> = lines.into_iter().skip(after).take(limit).map(LogView::from).collect();
    // Always there: a run that is under way may log more.
    let next = Some(after.saturating_add(items.len()).to_string());
    Ok(Answer(LogPage { items, next }))
}

/// Cancel a run
#[utoipa::path(post, path = "/v1/runs/{run}/cancel", tag = "runs", operation_id = "cancel_run",
    params(("run" = RunId, Path)), responses((status = 200, body = Cancelled), Problems))]
pub(super) async fn cancel(caller: Caller<Manage>, Path(id): Path<RunId>) -> Result<Answer<Cancelled>, Problem> {
    let cancelled = caller.runtime.cancel_run(id).await?;
    Ok(Answer(Cancelled { cancelled }))
}
