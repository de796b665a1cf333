//! Figures for Prometheus, on a listener of their own.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::runtime::Service;

/// Answers of the API.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    answers: Family<Answered, Counter>,
    seconds: Histogram,
    records_read: Counter,
    runs_active: Gauge,
    runs_memory: Gauge,
    runs_started: Gauge,
    start_delay_ms: Gauge,
    tasks: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("terapi");
        let answers = Family::default();
        // From a quarter of a millisecond to four seconds.
        let seconds = Histogram::new((0..15).map(|power| 0.000_25 * f64::from(1 << power)));
        let (records_read, runs_active, runs_memory) = (Counter::default(), Gauge::default(), Gauge::default());
        let (runs_started, start_delay_ms, tasks) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("http_answers", "Answers of the API", answers.clone());
        registry.register("http_seconds", "How long answers took", seconds.clone());
        registry.register("records_read", "Changes that were read", records_read.clone());
        registry.register("runs_active", "Runs of syncs under way", runs_active.clone());
        registry.register("runs_memory_bytes", "The sum of their memory limits", runs_memory.clone());
        registry.register("runs_started", "Runs of syncs that were started", runs_started.clone());
        registry.register("runs_start_delay_ms", "Milliseconds that they were late, together", start_delay_ms.clone());
        registry.register(
            "tasks",
            "Tasks of the process that have not ended: connections, runs, requests",
            tasks.clone(),
        );
        Self { registry, answers, seconds, records_read, runs_active, runs_memory, runs_started, start_delay_ms, tasks }
    }
}

/// The methods that figures are told by; a stranger can think of any number of others.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The route that a request goes to, as the router has it: no name of anybody's is part of a figure.
pub(super) fn route_of(request: &Request) -> String {
    request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned())
}

impl Metrics {
    pub(super) fn answered(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let labels = Answered { method: known(method).to_owned(), route: route.to_owned(), status: status.as_u16() };
        self.answers.get_or_create(&labels).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn read(&self, records: usize) {
        self.records_read.inc_by(records as u64);
    }

    /// The figures as Prometheus reads them.
    #[must_use]
    pub fn text(&self, service: &Service) -> String {
        let figures = service.figures();
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.runs_active, figures.running);
        set(&self.runs_memory, figures.memory);
        set(&self.runs_started, figures.started);
        set(&self.start_delay_ms, figures.delay_ms);
        set(&self.tasks, tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64);
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# the figures could not be written");
        }
        text
    }
}

/// A server of nothing but `/metrics`.
pub fn router(metrics: Arc<Metrics>, service: Service) -> axum::Router {
    axum::Router::new().route("/metrics", axum::routing::get(show)).with_state((metrics, service))
}

async fn show(State((metrics, service)): State<(Arc<Metrics>, Service)>) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], metrics.text(&service)).into_response()
}
