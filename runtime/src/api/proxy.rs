//! `/v1/connections/{connection}/proxy/…`: requests to the API as the connection, with the manners of its scripts.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;

use super::Problem;
use super::access::{Caller, RunActions};
use super::bodies::Kept;
use super::input::{Path, Raw};
use crate::egress::Request;
use crate::ids::ConnectionName;

/// Headers of the caller that are between it and Terapi.
const OWN: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Headers of an answer that frame it.
const FRAMING: &[&str] =
    &["connection", "content-length", "keep-alive", "set-cookie", "trailer", "transfer-encoding", "upgrade"];

/// Tells an answer of the API from one of Terapi.
const FROM_API: HeaderName = HeaderName::from_static("terapi-proxied");

async fn forward(
    caller: Caller<RunActions>,
    method: &str,
    connection: ConnectionName,
    uri: &Uri,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<Response, Problem> {
    let headers = headers.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    // As it was sent, with its own percent-encoding: /v1/connections/NAME/proxy/REST
    let rest = uri.path().splitn(6, '/').nth(5).unwrap_or_default();
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let request = Request {
        method: method.to_owned(),
        url: format!("/{rest}{query}"),
        headers: headers.collect(),
        body: (!body.is_empty()).then_some(body),
        redirects: 5,
        ..Request::default()
    };
    let (answer, admitted) = caller.runtime.proxy(&connection, request).await?;
    let status = StatusCode::from_u16(answer.status).ok().filter(|status| !status.is_informational());
    let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = status;
    for (name, value) in answer.headers {
        // Who may read an answer of Terapi in a browser is not for another API to say.
        if FRAMING.contains(&name.as_str()) || name.to_ascii_lowercase().starts_with("access-control-") {
            continue;
        }
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(FROM_API, HeaderValue::from_static("true"));
    // What one connection may see is for nobody's cache.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Its memory is admitted until it was taken.
    response.extensions_mut().insert(Kept::new(admitted));
    Ok(response)
}

macro_rules! methods {
    ($($name:ident $method:literal $id:literal $summary:literal;)*) => { $(
        #[doc = $summary]
        ///
        /// The path and query are appended to the base URL; the credential is attached, and limits, retries and redirects
        /// are those of scripts. The answer is the API's own, with `terapi-proxied: true`; without that header it is a
        /// problem of Terapi's.
        #[utoipa::path($name, path = "/v1/connections/{connection}/proxy/{*path}", tag = "proxy", operation_id = $id,
            params(("connection" = ConnectionName, Path), ("path" = String, Path, description = "A path on the base URL.")),
            responses((status = "default", content_type = "*/*", description = "What the API answers, with any status; \
                without `terapi-proxied` a problem of Terapi's: 502 if the API cannot be reached, 504 if it does not answer.")))]
        pub(super) async fn $name(
            caller: Caller<RunActions>,
            Path((connection, _)): Path<(ConnectionName, String)>,
            uri: Uri,
            headers: HeaderMap,
            Raw(body): Raw,
        ) -> Result<Response, Problem> {
            forward(caller, $method, connection, &uri, headers, body).await
        }
    )* };
}

methods! {
    get "GET" "proxy_get" "Send a GET request to the API as the connection";
    post "POST" "proxy_post" "Send a POST request to the API as the connection";
    put "PUT" "proxy_put" "Send a PUT request to the API as the connection";
    patch "PATCH" "proxy_patch" "Send a PATCH request to the API as the connection";
    delete "DELETE" "proxy_delete" "Send a DELETE request to the API as the connection";
}
