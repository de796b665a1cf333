//! The HTTP API.
//!
//! Every route lies under `/v1`, speaks JSON, and answers errors as `application/problem+json` (RFC 9457) with a stable `code`.
//! A request is looked at in this order: its size → its key → the key's scope → path, query, body → the [`Runtime`] of the
//! key's environment, which is the only one that the handler gets to see.
//!
//! [`Runtime`]: crate::runtime::Runtime
//!
//! | module | what it knows |
//! |---|---|
//! | `access` | keys and scopes: who asks, and what of |
//! | `problem` | errors as answers |
//! | `input` | paths, queries and bodies, with errors that say what is wrong |
//! | `views` | what answers look like |
//! | `scripts` … `system` | the routes, a resource a file |
//! | `openapi` | the document that describes all of it, made of the same code |
//! | `serve` | listening, TLS, stopping |
//! | `metrics` | figures for Prometheus |

mod access;
mod actions;
mod connections;
mod input;
mod integrations;
mod keys;
pub mod metrics;
mod openapi;
mod problem;
mod proxy;
mod records;
mod runs;
mod scripts;
pub mod serve;
mod syncs;
mod system;
pub(crate) mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::access::Local;
pub use self::openapi::document;
pub use self::problem::Problem;

pub(crate) use self::keys::{CurrentKey, KeySpec};
pub(crate) use self::syncs::{Cancelled, Trigger, Triggered};
pub(crate) use self::system::{EnvironmentSpec, Health, PrunedView, RetentionView};

use self::metrics::Metrics;
use crate::runtime::Service;

/// What handlers share.
#[derive(Clone)]
pub struct Api {
    service: Service,
    metrics: Arc<Metrics>,
    /// Cancelled when the service is about to stop: who waits for changes is answered.
    stop: CancellationToken,
}

/// The largest body of a request that is no upload.
const MAX_BODY_BYTES: usize = 3 << 20;
/// The header that names a request in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(system::health))
        .routes(routes!(system::ready))
        .routes(routes!(system::openapi))
        .routes(routes!(system::list_environments, system::create_environment))
        .routes(routes!(system::get_retention, system::set_retention))
        .routes(routes!(system::prune))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::delete))
        .routes(routes!(keys::current))
        .routes(routes!(integrations::list))
        .routes(routes!(integrations::get, integrations::put, integrations::delete))
        .routes(routes!(connections::list, connections::create))
        .routes(routes!(connections::get, connections::delete))
        .routes(routes!(connections::set_credential))
        .routes(routes!(connections::set_config))
        .routes(routes!(connections::get_metadata, connections::set_metadata, connections::merge_metadata))
        .routes(routes!(scripts::list))
        .routes(routes!(scripts::upload))
        .routes(routes!(scripts::describe))
        .routes(routes!(scripts::get, scripts::change, scripts::delete))
        .routes(routes!(scripts::versions))
        .routes(routes!(scripts::activate))
        .routes(routes!(scripts::roll_back))
        .routes(routes!(scripts::release))
        .routes(routes!(syncs::list, syncs::create))
        .routes(routes!(syncs::get, syncs::change, syncs::delete))
        .routes(routes!(syncs::trigger))
        .routes(routes!(syncs::pause))
        .routes(routes!(syncs::start))
        .routes(routes!(syncs::cancel))
        .routes(routes!(syncs::reset))
        .routes(routes!(runs::list))
        .routes(routes!(runs::get))
        .routes(routes!(runs::logs))
        .routes(routes!(runs::cancel))
        .routes(routes!(actions::call))
        .routes(routes!(actions::status))
        .routes(routes!(records::streams))
        .routes(routes!(records::changes))
        .routes(routes!(proxy::get, proxy::post, proxy::put, proxy::patch, proxy::delete))
}

/// The API over a service. Uploads are read up to `max_upload` bytes, other bodies up to 3 MiB.
pub fn router(service: Service, metrics: Arc<Metrics>, stop: CancellationToken, max_upload: usize) -> Router {
    let api = Api { service, metrics, stop };
    Router::from(routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        // The extractors' own limit is the same for every route; ours is not.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(api.clone(), access::authenticate))
        .layer(middleware::from_fn_with_state(max_upload, limit_body))
        .layer(middleware::from_fn_with_state(api.clone(), name_and_count))
        .with_state(api)
}

/// Gives each request an id, or takes the caller's, and counts it.
async fn name_and_count(
    axum::extract::State(api): axum::extract::State<Api>,
    request: Request,
    next: Next,
) -> Response {
    let start = std::time::Instant::now();
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_id = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let id = given.filter(is_id).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = metrics::route_of(&request);
    let mut response = next.run(request).await;
    problem::stamp(&mut response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let (status, took) = (response.status(), start.elapsed());
    api.metrics.answered(&method, &route, status, took);
    tracing::debug!(%method, path, status = status.as_u16(), took_ms = took.as_millis(), request = id, "answered");
    response
}

/// Refuses a body that says that it is too large before any of it is read, and reads no more than so much of one that does
/// not say.
async fn limit_body(
    axum::extract::State(max_upload): axum::extract::State<usize>,
    request: Request,
    next: Next,
) -> Response {
    let uploads = request.method() == axum::http::Method::POST && request.uri().path().starts_with("/v1/scripts");
    let limit = if uploads { max_upload } else { MAX_BODY_BYTES };
    let length = request.headers().get(axum::http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Problem::too_large(limit).into_response();
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::Body::new(http_body_util::Limited::new(body, limit));
    next.run(Request::from_parts(parts, body)).await
}
