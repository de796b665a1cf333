//! The HTTP API.
//!
//! Every route lies under `/v1`, speaks JSON, and answers errors as `application/problem+json` (RFC 9457) with a stable `code`.
//! A request is looked at in this order: its framing → its size → its key → the key's scope → path, query, body → the
//! [`Runtime`] of the key's environment, which is the only one that the handler gets to see.
//!
//! [`Runtime`]: crate::runtime::Runtime
//!
//! | module | what it knows |
//! |---|---|
//! | `access` | keys and scopes: who asks, and what of |
//! | `problem` | errors as answers |
//! | `bodies` | how large, how slow and how many bodies may be |
//! | `input` | paths, queries and bodies, with errors that say what is wrong |
//! | `views` | what answers look like |
//! | `scripts` … `system` | the routes, a resource a file |
//! | `openapi` | the document that describes all of it, made of the same code |
//! | `serve` | listening, TLS, stopping |
//! | `metrics` | figures for Prometheus |

mod access;
mod actions;
mod bodies;
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
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::access::Local;
pub use self::bodies::BodyLimits;
pub use self::openapi::document;
pub use self::problem::Problem;

#[cfg(feature = "fuzzing")]
pub(crate) use self::records::read_query;

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
    answers: Arc<bodies::Answers>,
}

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

/// The API over a service. Bodies that are no uploads are read up to 3 MiB.
pub fn router(service: Service, metrics: Arc<Metrics>, stop: CancellationToken, bodies: BodyLimits) -> Router {
    let api = Api { service, metrics, stop, answers: Arc::default() };
    Router::from(routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        // The extractors' own limit is the same for every route; ours is not.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(api.clone(), access::authenticate))
        .layer(middleware::from_fn_with_state(bodies::Bodies::new(bodies), bodies::limit))
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
    secure(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let (status, took) = (response.status(), start.elapsed());
    api.metrics.answered(&method, &route, status, took);
    tracing::debug!(%method, path, status = status.as_u16(), took_ms = took.as_millis(), request = id, "answered");
    response
}

/// What every answer says to whoever passes it on or shows it: keep none of it, and take it for nothing else than it says.
fn secure(headers: &mut HeaderMap) {
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
