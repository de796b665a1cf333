//! `/v1/connections`

use axum::http::StatusCode;
use axum::response::Json as Answer;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Problem;
use super::access::{Caller, Look, Manage};
use super::input::{Json, Path, Query, limit};
use super::problem::Problems;
use super::views::{ConnectionPage, ConnectionView};
use crate::ids::{ConnectionName, IntegrationName};
use crate::runtime::{ConnectionSpec, CredentialSpec};

type Object = serde_json::Map<String, serde_json::Value>;

/// Which connections.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those at this integration.
    integration: Option<IntegrationName>,
    /// The `next` of the page before.
    after: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// List connections
#[utoipa::path(get, path = "/v1/connections", tag = "connections", operation_id = "list_connections",
    params(ListQuery), responses((status = 200, body = ConnectionPage), Problems))]
pub(super) async fn list(
    caller: Caller<Look>,
    Query(query): Query<ListQuery>,
) -> Result<Answer<ConnectionPage>, Problem> {
    let limit = limit(query.limit)?;
    let found = caller.runtime.connections(query.after, limit).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.name.to_string());
    let wanted =
        found.into_iter().filter(|it| query.integration.as_ref().is_none_or(|wanted| it.integration == *wanted));
    Ok(Answer(ConnectionPage { items: wanted.map(ConnectionView::from).collect(), next }))
}

/// Create a connection
///
/// Syncs that scripts of its integration want for each connection are created, too.
#[utoipa::path(post, path = "/v1/connections", tag = "connections", operation_id = "create_connection",
    request_body = ConnectionSpec, responses((status = 201, body = ConnectionView), Problems))]
pub(super) async fn create(
    caller: Caller<Manage>,
    Json(spec): Json<ConnectionSpec>,
) -> Result<(StatusCode, Answer<ConnectionView>), Problem> {
    let connection = caller.runtime.create_connection(spec).await?;
    Ok((StatusCode::CREATED, Answer(connection.into())))
}

/// Show a connection
#[utoipa::path(get, path = "/v1/connections/{connection}", tag = "connections", operation_id = "get_connection",
    params(("connection" = ConnectionName, Path)), responses((status = 200, body = ConnectionView), Problems))]
pub(super) async fn get(
    caller: Caller<Look>,
    Path(name): Path<ConnectionName>,
) -> Result<Answer<ConnectionView>, Problem> {
    Ok(Answer(caller.runtime.connection(&name).await?.into()))
}

/// Delete a connection with its records
///
/// Its syncs, runs, logs, metadata and credential go with it; runs under way are cancelled first.
#[utoipa::path(delete, path = "/v1/connections/{connection}", tag = "connections", operation_id = "delete_connection",
    params(("connection" = ConnectionName, Path)), responses((status = 204, description = "It is gone."), Problems))]
pub(super) async fn delete(caller: Caller<Manage>, Path(name): Path<ConnectionName>) -> Result<StatusCode, Problem> {
    caller.runtime.delete_connection(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a connection's credential
#[utoipa::path(put, path = "/v1/connections/{connection}/credential", tag = "connections", operation_id = "set_credential",
    params(("connection" = ConnectionName, Path)), request_body = CredentialSpec,
    responses((status = 200, body = ConnectionView), Problems))]
pub(super) async fn set_credential(
    caller: Caller<Manage>,
    Path(name): Path<ConnectionName>,
    Json(credential): Json<CredentialSpec>,
) -> Result<Answer<ConnectionView>, Problem> {
    Ok(Answer(caller.runtime.set_credential(&name, &credential).await?.into()))
}

/// Replace what is fixed about the account, such as its tenant or site
///
/// A JSON object that the connection's scripts can read, and nothing secret. Runs under way go on with what they have.
#[utoipa::path(put, path = "/v1/connections/{connection}/config", tag = "connections", operation_id = "set_connection_config",
    params(("connection" = ConnectionName, Path)), request_body = Object,
    responses((status = 200, body = ConnectionView), Problems))]
pub(super) async fn set_config(
    caller: Caller<Manage>,
    Path(name): Path<ConnectionName>,
    Json(value): Json<Object>,
) -> Result<Answer<ConnectionView>, Problem> {
    let config = (!value.is_empty()).then_some(value);
    Ok(Answer(caller.runtime.set_connection_config(&name, config).await?.into()))
}

fn metadata(text: &str) -> Answer<Object> {
    Answer(serde_json::from_str(text).unwrap_or_default())
}

/// Show a connection's metadata
#[utoipa::path(get, path = "/v1/connections/{connection}/metadata", tag = "connections", operation_id = "get_metadata",
    params(("connection" = ConnectionName, Path)), responses((status = 200, body = Object), Problems))]
pub(super) async fn get_metadata(
    caller: Caller<Manage>,
    Path(name): Path<ConnectionName>,
) -> Result<Answer<Object>, Problem> {
    Ok(metadata(&caller.runtime.metadata(&name).await?))
}

/// Replace a connection's metadata
#[utoipa::path(put, path = "/v1/connections/{connection}/metadata", tag = "connections", operation_id = "set_metadata",
    params(("connection" = ConnectionName, Path)), request_body = Object,
    responses((status = 200, body = Object), Problems))]
pub(super) async fn set_metadata(
    caller: Caller<Manage>,
    Path(name): Path<ConnectionName>,
    Json(value): Json<Object>,
) -> Result<Answer<Object>, Problem> {
    let text = serde_json::Value::Object(value).to_string();
    Ok(metadata(&caller.runtime.set_metadata(&name, text, false).await?))
}

/// Replace the given top-level fields of a connection's metadata
#[utoipa::path(patch, path = "/v1/connections/{connection}/metadata", tag = "connections", operation_id = "merge_metadata",
    params(("connection" = ConnectionName, Path)), request_body = Object,
    responses((status = 200, body = Object), Problems))]
pub(super) async fn merge_metadata(
    caller: Caller<Manage>,
    Path(name): Path<ConnectionName>,
    Json(value): Json<Object>,
) -> Result<Answer<Object>, Problem> {
    let text = serde_json::Value::Object(value).to_string();
    Ok(metadata(&caller.runtime.set_metadata(&name, text, true).await?))
}
