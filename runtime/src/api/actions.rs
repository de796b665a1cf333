//! `/v1/connections/{connection}/actions` and `/v1/calls`

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Json as Answer, Response};

use super::Problem;
use super::access::{Caller, RunActions};
use super::input::{Path, Raw, check_json, header_text, idempotency_key};
use super::problem::Problems;
use super::views::CallView;
use crate::ids::{ConnectionName, RunId, ScriptName};
use crate::runtime::CallState;

/// Call an action
///
/// The body is the action's input, any JSON. The answer comes when the action has ended; with `Prefer: respond-async`
/// (RFC 7240) it comes at once, and `Location` says where to ask. With an `Idempotency-Key` the same call within 24 hours is
/// not done again but answered as the first.
#[utoipa::path(post, path = "/v1/connections/{connection}/actions/{script}", tag = "actions", operation_id = "call_action",
    params(("connection" = ConnectionName, Path), ("script" = ScriptName, Path),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: do not wait"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters")),
    request_body = serde_json::Value,
    responses((status = 200, body = CallView, description = "It is done; `output` is what the action returned."),
        (status = 202, body = CallView, description = "It is under way.",
            headers(("Location" = String, description = "Where to ask how it went."))),
        (status = 424, body = CallView, description = "The action failed or was stopped; `error` says why."), Problems))]
pub(super) async fn call(
    caller: Caller<RunActions>,
    Path((connection, script)): Path<(ConnectionName, ScriptName)>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    check_json(&body)?;
    let input = String::from_utf8(body).map_err(|_| Problem::bad_request("bad-json", "the input is not UTF-8"))?;
    let key = idempotency_key(&headers)?;
    let later = header_text(&headers, "prefer")?.is_some_and(|prefer| {
        prefer.split(',').any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
    });
    let runtime = &caller.runtime;
    let call = if later {
        runtime.call_later(&script, &connection, input, key.as_deref()).await?
    } else {
        runtime.call(&script, &connection, input, key.as_deref()).await?
    };
    let status = match call.state {
        CallState::Running => StatusCode::ACCEPTED,
        CallState::Succeeded => StatusCode::OK,
        // The call was right; what it depends on was not.
        CallState::Failed | CallState::Interrupted => StatusCode::FAILED_DEPENDENCY,
    };
    let mut response = (status, Answer(CallView::from(&*call))).into_response();
    if later && let Ok(location) = HeaderValue::from_str(&format!("/v1/calls/{}", call.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Show how a call went that was made later or with an idempotency key, for 24 hours
#[utoipa::path(get, path = "/v1/calls/{call}", tag = "actions", operation_id = "get_call",
    params(("call" = RunId, Path)), responses((status = 200, body = CallView), Problems))]
pub(super) async fn status(caller: Caller<RunActions>, Path(id): Path<RunId>) -> Result<Answer<CallView>, Problem> {
    Ok(Answer(CallView::from(&*caller.runtime.call_status(id).await?)))
}
