//! `/v1/integrations`

use axum::http::StatusCode;
use axum::response::Json as Answer;

use super::Problem;
use super::access::{Caller, Look, Manage};
use super::input::{Json, PageQuery, Path, Query};
use super::problem::Problems;
use super::views::{IntegrationPage, IntegrationView};
use crate::ids::IntegrationName;
use crate::runtime::IntegrationSpec;

/// List integrations
#[utoipa::path(get, path = "/v1/integrations", tag = "integrations", operation_id = "list_integrations",
    params(PageQuery), responses((status = 200, body = IntegrationPage), Problems))]
pub(super) async fn list(
    caller: Caller<Look>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<IntegrationPage>, Problem> {
    let limit = page.limit()?;
    let found = caller.runtime.integrations(page.after(), limit).await?;
    let items = found.into_iter().map(IntegrationView::from).collect();
    Ok(Answer(IntegrationPage::of(items, limit, |item| item.name.to_string())))
}

/// Show an integration
#[utoipa::path(get, path = "/v1/integrations/{integration}", tag = "integrations", operation_id = "get_integration",
    params(("integration" = IntegrationName, Path)), responses((status = 200, body = IntegrationView), Problems))]
pub(super) async fn get(
    caller: Caller<Look>,
    Path(name): Path<IntegrationName>,
) -> Result<Answer<IntegrationView>, Problem> {
    Ok(Answer(caller.runtime.integration(&name).await?.into()))
}

/// Create or replace an integration
///
/// Connections, scripts and syncs stay. An OAuth client's secret that is left out stays what it was.
#[utoipa::path(put, path = "/v1/integrations/{integration}", tag = "integrations", operation_id = "put_integration",
    params(("integration" = IntegrationName, Path)), request_body = IntegrationSpec,
    responses((status = 200, body = IntegrationView, description = "It was there, and is as given now."),
        (status = 201, body = IntegrationView, description = "It is new."), Problems))]
pub(super) async fn put(
    caller: Caller<Manage>,
    Path(name): Path<IntegrationName>,
    Json(spec): Json<IntegrationSpec>,
) -> Result<(StatusCode, Answer<IntegrationView>), Problem> {
    let (integration, new) = caller.runtime.put_integration(name, spec).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Answer(integration.into())))
}

/// Delete an integration that has no connections
#[utoipa::path(delete, path = "/v1/integrations/{integration}", tag = "integrations", operation_id = "delete_integration",
    params(("integration" = IntegrationName, Path)), responses((status = 204, description = "It is gone."), Problems))]
pub(super) async fn delete(caller: Caller<Manage>, Path(name): Path<IntegrationName>) -> Result<StatusCode, Problem> {
    caller.runtime.delete_integration(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
