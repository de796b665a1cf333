//! Paths, queries and bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::{Api, Problem};
use crate::ids::{ConnectionName, ScriptName, SyncKey, Variant};
use crate::store::canonical;

/// A path's parameters.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let axum::extract::Path(value) = axum::extract::Path::from_request_parts(parts, api).await?;
        Ok(Self(value))
    }
}

/// A query's parameters.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, api).await?;
        Ok(Self(value))
    }
}

/// Refuses JSON that two readers may read in two ways, or that takes more to read than it says: not UTF-8, over 64 levels, keys
/// twice, numbers of more than a kilobyte. Whether it is JSON of the right kind is found out later.
pub(super) fn check_json(bytes: &[u8]) -> Result<(), Problem> {
    let bad = |detail: String| Problem::bad_request("bad-json", format!("the body cannot be taken: {detail}"));
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    canonical::validate_value(text).map_err(|error| bad(error.to_string()))
}

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), api).await?;
        Ok(Self(json(parts, bytes, api).await?))
    }
}

async fn json<T: DeserializeOwned>(parts: Parts, bytes: Bytes, api: &Api) -> Result<T, Problem> {
    check_json(&bytes)?;
    let request = Request::from_parts(parts, axum::body::Body::from(bytes));
    let axum::Json(value) = axum::Json::from_request(request, api).await?;
    Ok(value)
}

/// A JSON body that may be left out.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequest<Api> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), api).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        Ok(Self(json(parts, bytes, api).await?))
    }
}

/// Bytes, whatever they are.
pub(super) struct Raw(pub(super) Vec<u8>);

impl FromRequest<Api> for Raw {
    type Rejection = Problem;

    /// Into memory of the right size from the start, so that a large body is there once and not as pieces besides.
    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut bytes = Vec::new();
        let bad = |error: &dyn std::fmt::Display| {
            Problem::bad_request("bad-body", format!("the body could not be read: {error}"))
        };
        // It was found to be within the limit.
        bytes.try_reserve_exact(length.unwrap_or(0)).map_err(|error| bad(&error))?;
        let mut data = request.into_body().into_data_stream();
        while let Some(part) = data.next().await {
            bytes.extend_from_slice(&part.map_err(|error| bad(&error))?);
        }
        Ok(Self(bytes))
    }
}

/// A header that is there once or not at all.
pub(super) fn header_text(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    let bad = |what: &str| Problem::bad_request("bad-header", format!("the header {name} {what}"));
    if second.is_some() {
        return Err(bad("is there more than once"));
    }
    let text = first.map(|value| value.to_str().map(str::to_owned)).transpose();
    text.map_err(|_| bad("has characters that it may not have"))
}

/// By what a request is known that is sent again.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    header_text(headers, "idempotency-key")
}

/// Where in a list to go on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The `next` of the page before.
    #[param(min_length = 1, max_length = 600)]
    after: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

impl PageQuery {
    pub(super) fn after(&self) -> Option<String> {
        self.after.clone()
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        limit(self.limit)
    }
}

/// A number of things to list, 1 to 1,000.
pub(super) fn limit(given: Option<usize>) -> Result<usize, Problem> {
    match given {
        None => Ok(100),
        Some(limit @ 1..=1_000) => Ok(limit),
        Some(_) => Err(Problem::bad_request("bad-query", "limit is a number from 1 to 1000")),
    }
}

/// Names a sync.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SyncPath {
    /// The connection.
    connection: ConnectionName,
    /// The script.
    script: ScriptName,
    /// The variant: `base` unless the operator made more.
    variant: Variant,
}

impl SyncPath {
    pub(super) fn key(self) -> SyncKey {
        SyncKey { script: self.script, connection: self.connection, variant: self.variant }
    }
}
