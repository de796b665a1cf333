//! `/v1/keys`

use axum::http::StatusCode;
use axum::response::Json as Answer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::access::{AnyKey, Caller, Manage};
use super::input::{Json, PageQuery, Path, Query};
use super::problem::Problems;
use super::views::{KeyPage, KeyView, NewKeyView, ScopeView};
use crate::ids::{EnvironmentName, Time};
use crate::keys::{Scope, Scopes};

/// List keys
#[utoipa::path(get, path = "/v1/keys", tag = "keys", operation_id = "list_keys", params(PageQuery),
    responses((status = 200, body = KeyPage), Problems))]
pub(super) async fn list(caller: Caller<Manage>, Query(page): Query<PageQuery>) -> Result<Answer<KeyPage>, Problem> {
    let limit = page.limit()?;
    let found = caller.runtime.keys(page.after(), limit).await?;
    let items = found.into_iter().map(KeyView::from).collect();
    Ok(Answer(KeyPage::of(items, limit, |item| item.id.clone())))
}

/// A key to make.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeySpec {
    /// What people call it.
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// What it may do; no more than the key that makes it.
    #[schema(min_items = 1)]
    pub(crate) scopes: Vec<ScopeView>,
    /// From when on it opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Time>,
}

/// Make a key
///
/// Its text is shown this once.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", operation_id = "create_key", request_body = KeySpec,
    responses((status = 201, body = NewKeyView), Problems))]
pub(super) async fn create(
    caller: Caller<Manage>,
    Json(spec): Json<KeySpec>,
) -> Result<(StatusCode, Answer<NewKeyView>), Problem> {
    let scopes: Scopes = spec.scopes.into_iter().map(Scope::from).collect();
    if !caller.principal.scopes.includes(&scopes) {
        return Err(Problem::forbidden("a key cannot make one that may do more than itself"));
    }
    let made = caller.runtime.create_key(&spec.name, scopes, spec.expires_at.map(|at| at.0)).await?;
    let text = made.text.expose().to_owned();
    Ok((StatusCode::CREATED, Answer(NewKeyView { key: made.key.into(), text })))
}

/// Take a key away
#[utoipa::path(delete, path = "/v1/keys/{key}", tag = "keys", operation_id = "delete_key",
    params(("key" = String, Path, description = "The key's id.")),
    responses((status = 204, description = "It is gone."), Problems))]
pub(super) async fn delete(caller: Caller<Manage>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    caller.runtime.delete_key(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the key of this request may do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CurrentKey {
    /// Its id.
    pub(crate) id: String,
    /// The environment that it belongs to.
    pub(crate) environment: EnvironmentName,
    /// What it may do.
    pub(crate) scopes: Vec<ScopeView>,
}

/// Show what the key of this request may do
#[utoipa::path(get, path = "/v1/key", tag = "keys", operation_id = "current_key",
    responses((status = 200, body = CurrentKey), Problems))]
pub(super) async fn current(caller: Caller<AnyKey>) -> Answer<CurrentKey> {
    let principal = caller.principal;
    let scopes = principal.scopes.iter().map(ScopeView::from).collect();
    Answer(CurrentKey { id: principal.key_id, environment: principal.environment, scopes })
}
