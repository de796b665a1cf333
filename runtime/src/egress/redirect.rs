//! Redirects, as the Fetch standard follows them ("HTTP-redirect fetch").

use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName,
    LOCATION,
};
use reqwest::{Method, StatusCode};

use super::error::EgressError;
use super::policy::Policy;
use super::request::check_url;

/// Most redirects that a request may follow. APIs need one, two where a host has moved.
pub const MAX_REDIRECTS: u32 = 5;

/// Gone with the body that they describe.
const BODY_HEADERS: &[HeaderName] = &[CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE];

/// Meant for the origin that the script named, and no other.
const SECRET_HEADERS: &[HeaderName] = &[AUTHORIZATION, COOKIE];

/// Whether a header of a script is meant for the origin that the script named, and is left out where an API leads elsewhere.
pub(crate) fn is_for_one_origin(name: &str) -> bool {
    SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_str()))
}

/// Whether the answer is a redirect to somewhere.
pub(super) fn is_redirect(status: StatusCode, headers: &HeaderMap) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) && headers.contains_key(LOCATION)
}

/// Turns the request that was answered with a redirect into the next one, checked like a new one.
pub(super) fn follow(
    policy: &Policy,
    request: &mut reqwest::Request,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<(), EgressError> {
    let location = headers.get(LOCATION).map(|location| String::from_utf8_lossy(location.as_bytes()));
    let mut target = request.url().join(&location.unwrap_or_default()).map_err(|error| unusable(&error))?;
    target.set_fragment(None);
    if let Some(credential) = policy.account.as_ref().and_then(|account| account.credential.as_ref()) {
        credential.detach(&mut target);
    }
    check_url(&target).map_err(|error| unusable(&error))?;
    policy.admit(&target)?;

    let to_get = match status.as_u16() {
        301 | 302 => request.method() == Method::POST,
        303 => request.method() != Method::GET && request.method() != Method::HEAD,
        _ => false,
    };
    if to_get {
        *request.method_mut() = Method::GET;
        *request.body_mut() = None;
        remove(request, BODY_HEADERS);
    }
    if target.origin() != request.url().origin() {
        remove(request, SECRET_HEADERS);
    }
    *request.url_mut() = target;
    Ok(())
}

/// The script's request was sound, so it is not called invalid; where the API points to is not repeated to the script.
fn unusable(problem: &dyn std::fmt::Display) -> EgressError {
    EgressError::Transport(format!("the API redirects to a place that cannot be requested: {problem}"))
}

fn remove(request: &mut reqwest::Request, names: &[HeaderName]) {
    for name in names {
        request.headers_mut().remove(name);
    }
}
