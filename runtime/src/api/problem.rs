//! Errors as answers: RFC 9457, `application/problem+json`.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::egress::EgressError;
use crate::keys::KeyError;
use crate::runtime::RuntimeError;
use crate::sandbox::bytes;
use crate::script::ScriptError;
use crate::store::StoreError;

/// What went wrong, on its way to be an answer.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    request_id: Option<String>,
    /// Seconds after which it may go better.
    retry_after: Option<u32>,
    /// Whether the connection ends with it.
    closes: bool,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// `urn:terapi:problem:` and the code.
    #[schema(format = "uri")]
    r#type: String,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was being done, what was wrong, and what to do.
    detail: String,
    /// The stable code, the same in API, CLI and documentation.
    code: String,
    /// Names the request in the service's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            detail: detail.into(),
            request_id: None,
            retry_after: None,
            closes: false,
        }
    }

    /// It may go better in so many seconds.
    pub(super) fn retry(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(super) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "missing-scope", detail)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("the body is over {}: send less", bytes(limit as u64));
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    pub(super) fn unknown(what: &'static str, name: &impl ToString) -> Self {
        RuntimeError::Unknown { what, name: name.to_string() }.into()
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What was wrong.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let body = ProblemBody {
            r#type: format!("urn:terapi:problem:{}", self.code),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.clone(),
            request_id: self.request_id.clone(),
        };
        let mut response = (status, Json(body)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.closes {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The answer, with which a connection of HTTP/1 ends.
pub(super) fn closing(mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().get_mut::<Problem>() {
        problem.closes = true;
    }
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Writes the request's id into a problem.
pub(super) fn stamp(response: &mut Response, id: &str) {
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        if problem.status.is_server_error() {
            tracing::error!(code = problem.code, detail = problem.detail, request = id, "a request failed");
        }
        problem.request_id = Some(id.to_owned());
        let mut stamped = problem.into_response();
        stamped.extensions_mut().remove::<Problem>();
        *response = stamped;
    }
}

pub(super) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-route", "there is no such route: /v1/openapi.json lists them")
}

pub(super) async fn method_not_allowed() -> Problem {
    no_such_method()
}

pub(super) fn no_such_method() -> Problem {
    let detail = "this route does not take this method: /v1/openapi.json lists what it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

impl From<RuntimeError> for Problem {
    fn from(error: RuntimeError) -> Self {
        Self::new(status(&error), error.code(), error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        RuntimeError::from(error).into()
    }
}

fn status(error: &RuntimeError) -> StatusCode {
    match error {
        RuntimeError::Store(error) => match error {
            StoreError::InvalidRecord { .. }
            | StoreError::BatchTooLarge(_)
            | StoreError::InvalidState { .. }
            | StoreError::NotTracking(_) => StatusCode::UNPROCESSABLE_ENTITY,
            StoreError::SyncBusy(_) | StoreError::LeaseLost | StoreError::DeleteGuard { .. } => StatusCode::CONFLICT,
            StoreError::BadCursor(_) => StatusCode::BAD_REQUEST,
            StoreError::LostHistory(_) | StoreError::PastRetention(_) => StatusCode::GONE,
            StoreError::Storage { .. } => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Locked { .. } | StoreError::NewerFormat { .. } | StoreError::Corrupt { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        },
        RuntimeError::Script(error) => match error {
            ScriptError::NotAComponent(_) | ScriptError::InvalidBinary(_) => StatusCode::BAD_REQUEST,
            ScriptError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ScriptError::CompileBusy { .. } => StatusCode::TOO_MANY_REQUESTS,
            ScriptError::CompileInterrupted(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        },
        RuntimeError::TooManyCalls => StatusCode::TOO_MANY_REQUESTS,
        RuntimeError::Key(KeyError::Unknown | KeyError::Expired { .. }) => StatusCode::UNAUTHORIZED,
        RuntimeError::Key(_)
        | RuntimeError::Schedule(_)
        | RuntimeError::Name(_)
        | RuntimeError::Cassette(_)
        | RuntimeError::WrongKind { .. }
        | RuntimeError::BadInput { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        RuntimeError::UnknownScript(_) | RuntimeError::Unknown { .. } => StatusCode::NOT_FOUND,
        RuntimeError::Exists { .. }
        | RuntimeError::InUse { .. }
        | RuntimeError::Quarantined { .. }
        | RuntimeError::IdempotencyConflict => StatusCode::CONFLICT,
        RuntimeError::Egress(error) => match error {
            EgressError::InvalidRequest(_) => StatusCode::UNPROCESSABLE_ENTITY,
            EgressError::Denied { .. } => StatusCode::FORBIDDEN,
            EgressError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            EgressError::CircuitOpen { .. } | EgressError::Setup(_) => StatusCode::SERVICE_UNAVAILABLE,
            EgressError::CredentialRefused(_) => StatusCode::CONFLICT,
            EgressError::BodyTooLarge(_)
            | EgressError::Transport(_)
            | EgressError::Exhausted(_)
            | EgressError::CredentialUnavailable(_) => StatusCode::BAD_GATEWAY,
        },
        RuntimeError::Broke(_) => StatusCode::INTERNAL_SERVER_ERROR,
        RuntimeError::Secrets(_) | RuntimeError::Stopping | RuntimeError::Sandbox(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::MissingJsonContentType(_) => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "send JSON, with `Content-Type: application/json`",
            ),
            JsonRejection::JsonSyntaxError(error) => Self::bad_request("bad-json", text(&error)),
            JsonRejection::JsonDataError(error) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-body", text(&error))
            }
            JsonRejection::BytesRejection(rejection) => rejection.into(),
            other => Self::bad_request("bad-body", other.body_text()),
        }
    }
}

/// The error with what caused it: where in the body it is.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        let limited = text(&rejection).contains("length limit");
        let status = if limited { StatusCode::PAYLOAD_TOO_LARGE } else { rejection.status() };
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "body-too-large" } else { "bad-body" };
        Self::new(status, code, format!("the body could not be read: {}", text(&rejection)))
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request("bad-path", rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request("bad-query", rejection.body_text())
    }
}

/// What any route may answer besides what it says itself.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum Problems {
    /// The request is not one: a path, query, cursor or JSON that cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(ProblemBody),
    /// There is no key, or one that opens nothing.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(ProblemBody),
    /// The key lacks the scope, or the policy denies it.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemBody),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemBody),
    /// The body came too slowly.
    #[response(status = 408, content_type = "application/problem+json")]
    TooSlow(ProblemBody),
    /// Something stands against it now.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(ProblemBody),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody),
    /// The body is of another kind than the route takes.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(ProblemBody),
    /// The request can be read, and what it says is not acceptable.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(ProblemBody),
    /// Too much is under way at once; `Retry-After` says when to ask again.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(ProblemBody),
    /// Something went wrong that should not.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemBody),
    /// Not now: the disk is full, or the service is about to stop.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}
