//! `/v1/scripts`

use std::collections::HashMap;

use axum::http::StatusCode;
use axum::response::Json as Answer;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::access::{Caller, Deploy, Look};
use super::input::{Json, PageQuery, Path, Query, Raw};
use super::problem::Problems;
use super::views::{ScriptPage, ScriptView};
use crate::ids::{IntegrationName, ScriptName};
use crate::runtime::Upload;
use crate::sandbox::LimitOverrides;
use crate::store::{Script, Suspicion};

/// What an upload is besides its bytes. What is left out is as the version before has it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadQuery {
    /// To deploy it under; its own name if left out.
    name: Option<ScriptName>,
    /// The integration that it is for: its syncs go there, and if it says so one is created for each connection.
    integration: Option<IntegrationName>,
    /// Memory of a run, in bytes.
    memory: Option<u64>,
    /// Fuel of a run.
    fuel: Option<u64>,
    /// Time of a run, in milliseconds.
    timeout_ms: Option<u64>,
}

/// List scripts
#[utoipa::path(get, path = "/v1/scripts", tag = "scripts", operation_id = "list_scripts", params(PageQuery),
    responses((status = 200, body = ScriptPage), Problems))]
pub(super) async fn list(caller: Caller<Look>, Query(page): Query<PageQuery>) -> Result<Answer<ScriptPage>, Problem> {
    let (limit, after) = (page.limit()?, page.after());
    let found = caller.runtime.blocking(|store| store.scripts()).await?;
    let behind = found.into_iter().filter(|it| after.as_deref().is_none_or(|after| it.name.as_str() > after));
    let suspicions = caller.runtime.suspicions().await?;
    let items = behind.take(limit).map(|script| view_with(script, &suspicions)).collect();
    Ok(Answer(ScriptPage::of(items, limit, |item| item.name.to_string())))
}

/// Upload a script
///
/// The body is a WebAssembly component, or a script's text: TypeScript or JavaScript of one file, or a source package,
/// `{"terapi":"source/1","modules":[{"name":"issues.ts","source":"…"},…]}` with the script first. Which of them it is says the body
/// itself. It is checked, compiled or translated, and asked to describe itself; it becomes the next version under its name,
/// and the active one. The same bytes again are no new version.
#[utoipa::path(post, path = "/v1/scripts", tag = "scripts", operation_id = "upload_script", params(UploadQuery),
    request_body(content((inline(Vec<u8>) = "application/wasm"), (String = "text/plain"))),
    responses((status = 201, body = ScriptView), Problems))]
pub(super) async fn upload(
    caller: Caller<Deploy>,
    Query(query): Query<UploadQuery>,
    Raw(bytes): Raw,
) -> Result<(StatusCode, Answer<ScriptView>), Problem> {
    let UploadQuery { name, integration, memory, fuel, timeout_ms } = query;
    let given = memory.is_some() || fuel.is_some() || timeout_ms.is_some();
    let limits = given.then_some(LimitOverrides { fuel, memory, timeout_ms });
    let script = caller.runtime.deploy(bytes, Upload { name, integration, limits }).await?;
    Ok((StatusCode::CREATED, view(&caller, script).await?))
}

/// Look at a script without deploying it
///
/// Checks and compiles or translates the script in the body, and answers what it says of itself.
#[utoipa::path(post, path = "/v1/scripts/describe", tag = "scripts", operation_id = "describe_script",
    request_body(content((inline(Vec<u8>) = "application/wasm"), (String = "text/plain"))),
    responses((status = 200, body = Object), Problems))]
pub(super) async fn describe(caller: Caller<Deploy>, Raw(bytes): Raw) -> Result<Answer<serde_json::Value>, Problem> {
    let script = caller.runtime.look_at(bytes.into()).await?;
    Ok(Answer(serde_json::to_value(&script.manifest).unwrap_or_default()))
}

/// Show the active version of a script
#[utoipa::path(get, path = "/v1/scripts/{script}", tag = "scripts", operation_id = "get_script",
    params(("script" = ScriptName, Path)), responses((status = 200, body = ScriptView), Problems))]
pub(super) async fn get(caller: Caller<Look>, Path(name): Path<ScriptName>) -> Result<Answer<ScriptView>, Problem> {
    let row = caller.runtime.script_row(&name).await?;
    view(&caller, row).await
}

async fn view<N>(caller: &Caller<N>, script: Script) -> Result<Answer<ScriptView>, Problem> {
    let suspicion = caller.runtime.suspicion(&script.hash).await?;
    Ok(Answer(ScriptView::from(script).with(suspicion)))
}

fn view_with(script: Script, suspicions: &HashMap<String, Suspicion>) -> ScriptView {
    let suspicion = suspicions.get(&script.hash.to_string()).copied();
    ScriptView::from(script).with(suspicion)
}

/// What to change of a script.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScriptChange {
    /// Limits of its runs, all of them; what is left out is the operator's default.
    limits: Option<LimitOverrides>,
    /// The integration that it is for.
    integration: Option<IntegrationName>,
}

/// Change a script's limits or integration
#[utoipa::path(patch, path = "/v1/scripts/{script}", tag = "scripts", operation_id = "change_script",
    params(("script" = ScriptName, Path)), request_body = ScriptChange,
    responses((status = 200, body = ScriptView), Problems))]
pub(super) async fn change(
    caller: Caller<Deploy>,
    Path(name): Path<ScriptName>,
    Json(change): Json<ScriptChange>,
) -> Result<Answer<ScriptView>, Problem> {
    let row = caller.runtime.change_script(&name, change.limits, change.integration).await?;
    view(&caller, row).await
}

/// Delete a script that no sync has
///
/// Its records stay.
#[utoipa::path(delete, path = "/v1/scripts/{script}", tag = "scripts", operation_id = "delete_script",
    params(("script" = ScriptName, Path)), responses((status = 204, description = "It is gone."), Problems))]
pub(super) async fn delete(caller: Caller<Deploy>, Path(name): Path<ScriptName>) -> Result<StatusCode, Problem> {
    caller.runtime.remove_script(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the versions of a script that are kept, the newest first
#[utoipa::path(get, path = "/v1/scripts/{script}/versions", tag = "scripts", operation_id = "list_script_versions",
    params(("script" = ScriptName, Path), PageQuery), responses((status = 200, body = ScriptPage), Problems))]
pub(super) async fn versions(
    caller: Caller<Look>,
    Path(name): Path<ScriptName>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<ScriptPage>, Problem> {
    let limit = page.limit()?;
    let after = page.after().map(|after| after.parse::<u32>());
    let after = after.transpose().map_err(|_| Problem::bad_request("bad-query", "after is the number of a version"))?;
    let found = caller.runtime.script_versions(&name).await?;
    let behind = found.into_iter().filter(|it| after.is_none_or(|after| it.version < after));
    let suspicions = caller.runtime.suspicions().await?;
    let items = behind.take(limit).map(|script| view_with(script, &suspicions)).collect();
    Ok(Answer(ScriptPage::of(items, limit, |item| item.version.to_string())))
}

/// Make a version the active one
#[utoipa::path(post, path = "/v1/scripts/{script}/versions/{version}/activate", tag = "scripts",
    operation_id = "activate_script",
    params(("script" = ScriptName, Path), ("version" = u32, Path)), responses((status = 200, body = ScriptView), Problems))]
pub(super) async fn activate(
    caller: Caller<Deploy>,
    Path((name, version)): Path<(ScriptName, u32)>,
) -> Result<Answer<ScriptView>, Problem> {
    let row = caller.runtime.activate_script(&name, version).await?;
    view(&caller, row).await
}

/// Make the version before the active one the active one
#[utoipa::path(post, path = "/v1/scripts/{script}/roll-back", tag = "scripts", operation_id = "roll_back_script",
    params(("script" = ScriptName, Path)), responses((status = 200, body = ScriptView), Problems))]
pub(super) async fn roll_back(
    caller: Caller<Deploy>,
    Path(name): Path<ScriptName>,
) -> Result<Answer<ScriptView>, Problem> {
    let row = caller.runtime.roll_back_script(&name).await?;
    view(&caller, row).await
}

/// Let the active version of a script run again that is quarantined
///
/// A version is quarantined when three of its runs in a row took the process down or lost their lease: it is not run any
/// more, its syncs are paused, and its actions answered with `script-quarantined`. Another version is not affected. Released, it
/// is run alone until it succeeds. A version that is not quarantined stays as it is.
#[utoipa::path(post, path = "/v1/scripts/{script}/release", tag = "scripts", operation_id = "release_script",
    params(("script" = ScriptName, Path)), responses((status = 200, body = ScriptView), Problems))]
pub(super) async fn release(
    caller: Caller<Deploy>,
    Path(name): Path<ScriptName>,
) -> Result<Answer<ScriptView>, Problem> {
    let row = caller.runtime.release_script(&name).await?;
    view(&caller, row).await
}
