//! Health, the `OpenAPI` document, environments, retention.

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json as Answer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{AnyKey, Caller, Manage};
use super::input::Json;
use super::problem::{ProblemBody, Problems};
use super::views::{EnvironmentPage, EnvironmentView, KeyView, NewKeyView};
use super::{Api, Problem};
use crate::ids::EnvironmentName;
use crate::keys::Scopes;
use crate::store::Retention;

/// How the service is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`
    pub(crate) status: String,
    /// The version of Terapi.
    pub(crate) version: String,
}

fn ok() -> Answer<Health> {
    Answer(Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// Whether the process answers; needs no key
#[utoipa::path(get, path = "/v1/health", tag = "system", operation_id = "health", security(()),
    responses((status = 200, body = Health)))]
pub(super) async fn health() -> Answer<Health> {
    ok()
}

/// Whether requests can be served: the store writes, and nobody has asked the service to stop; needs no key
#[utoipa::path(get, path = "/v1/ready", tag = "system", operation_id = "ready", security(()),
    responses((status = 200, body = Health),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Not now.")))]
pub(super) async fn ready(State(api): State<Api>) -> Result<Answer<Health>, Problem> {
    if api.stop.is_cancelled() {
        return Err(crate::runtime::RuntimeError::Stopping.into());
    }
    for runtime in api.service.environments() {
        runtime.blocking(|store| store.sync()).await?;
    }
    Ok(ok())
}

/// This document
#[utoipa::path(get, path = "/v1/openapi.json", tag = "system", operation_id = "openapi",
    responses((status = 200, body = Object, description = "OpenAPI 3.1"), Problems))]
pub(super) async fn openapi(_: Caller<AnyKey>) -> impl IntoResponse {
    // Made when somebody asks: a command on a data directory has no use for it.
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| serde_json::to_string(&super::document()).unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// Refuses who is not of the default environment, whose keys are those of whoever runs the service.
fn only_default<N>(caller: &Caller<N>) -> Result<(), Problem> {
    if caller.principal.environment == EnvironmentName::default() {
        return Ok(());
    }
    Err(Problem::forbidden("environments are managed with a key of the environment `default`"))
}

/// List environments
///
/// Needs a key of the environment `default`.
#[utoipa::path(get, path = "/v1/environments", tag = "environments", operation_id = "list_environments",
    responses((status = 200, body = EnvironmentPage), Problems))]
pub(super) async fn list_environments(
    caller: Caller<Manage>,
    State(api): State<Api>,
) -> Result<Answer<EnvironmentPage>, Problem> {
    only_default(&caller)?;
    let items = api.service.environments().iter().map(|it| EnvironmentView { name: it.name().clone() }).collect();
    Ok(Answer(EnvironmentPage { items, next: None }))
}

/// An environment to make.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvironmentSpec {
    /// Its name.
    pub(crate) name: EnvironmentName,
}

/// Make an environment, and its first key
///
/// Needs a key of the environment `default`. The key that is answered may do everything in the new environment, and nothing
/// else; its text is shown this once.
#[utoipa::path(post, path = "/v1/environments", tag = "environments", operation_id = "create_environment",
    request_body = EnvironmentSpec, responses((status = 201, body = NewKeyView), Problems))]
pub(super) async fn create_environment(
    caller: Caller<Manage>,
    State(api): State<Api>,
    Json(spec): Json<EnvironmentSpec>,
) -> Result<(StatusCode, Answer<NewKeyView>), Problem> {
    only_default(&caller)?;
    if !caller.principal.scopes.includes(&Scopes::all()) {
        return Err(Problem::forbidden(
            "the key of a new environment may do everything there, so it takes one that may here",
        ));
    }
    let runtime = api.service.create_environment(&spec.name).await?;
    let made = runtime.create_key("first", Scopes::all(), None).await?;
    let text = made.text.expose().to_owned();
    Ok((StatusCode::CREATED, Answer(NewKeyView { key: KeyView::from(made.key), text })))
}

/// How long what is kept, in milliseconds; absent means for ever.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the unit")]
pub(crate) struct RetentionView {
    /// Content of records that did not change for so long goes; that they exist is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payloads_ms: Option<u64>,
    /// Deleted records are forgotten after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tombstones_ms: Option<u64>,
    /// Runs are forgotten, with their logs, so long after they started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runs_ms: Option<u64>,
}

impl From<Retention> for RetentionView {
    fn from(it: Retention) -> Self {
        Self { payloads_ms: it.payloads_ms, tombstones_ms: it.tombstones_ms, runs_ms: it.runs_ms }
    }
}

/// Show how long what is kept
#[utoipa::path(get, path = "/v1/retention", tag = "system", operation_id = "get_retention",
    responses((status = 200, body = RetentionView), Problems))]
pub(super) async fn get_retention(caller: Caller<Manage>) -> Result<Answer<RetentionView>, Problem> {
    Ok(Answer(caller.runtime.blocking(|store| store.retention()).await?.into()))
}

/// Set how long what is kept
#[utoipa::path(put, path = "/v1/retention", tag = "system", operation_id = "set_retention", request_body = RetentionView,
    responses((status = 200, body = RetentionView), Problems))]
pub(super) async fn set_retention(
    caller: Caller<Manage>,
    Json(given): Json<RetentionView>,
) -> Result<Answer<RetentionView>, Problem> {
    let RetentionView { payloads_ms, tombstones_ms, runs_ms } = given;
    let retention = Retention { payloads_ms, tombstones_ms, runs_ms };
    caller.runtime.blocking(move |store| store.set_retention(&retention)).await?;
    Ok(Answer(retention.into()))
}

/// What was pruned.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PrunedView {
    /// Records that lost their content.
    pub(crate) records: u64,
    /// Deleted records that were forgotten.
    pub(crate) tombstones: u64,
    /// Runs that were forgotten.
    pub(crate) runs: u64,
}

/// Prune now what is older than it is kept
#[utoipa::path(post, path = "/v1/retention/prune", tag = "system", operation_id = "prune",
    responses((status = 200, body = PrunedView), Problems))]
pub(super) async fn prune(caller: Caller<Manage>) -> Result<Answer<PrunedView>, Problem> {
    let now = caller.runtime.now();
    let pruned = caller.runtime.blocking(move |store| store.prune(now)).await?;
    Ok(Answer(PrunedView { records: pruned.records, tombstones: pruned.tombstones, runs: pruned.runs }))
}
