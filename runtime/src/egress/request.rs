//! From what a script asks for to what is sent.
//!
//! Order of checks: method → URL → policy → headers → what the credential sets. URLs are read as browsers read them (WHATWG), so what the checks see
//! is what is dialed. That reading is generous: it drops tabs and newlines, takes `\` for `/` and `http:host` for
//! `http://host`. A script has no use for this, and an attacker has, so such spellings are turned away before.

use std::fmt;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, RANGE};
use url::{Url, form_urlencoded};

use super::error::EgressError;
use super::policy::Policy;

/// Longest URL, query included. Servers accept 8 KiB as a rule; some long filters need more.
const MAX_URL_BYTES: usize = 16 << 10;

/// Most headers of a request. No API needs a tenth of it.
const MAX_HEADERS: usize = 128;

/// Most bytes of all headers' names and values together. Servers accept 8 to 32 KiB.
const MAX_HEADER_BYTES: usize = 32 << 10;

/// Headers that frame the message or belong to the connection: they are the host's.
const FORBIDDEN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The codings that `body` decodes.
const ACCEPTED_ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, br, zstd, deflate");

/// A request of a script.
#[derive(Clone, Default)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE`, `HEAD` or `OPTIONS`, in any case.
    pub method: String,
    /// An absolute URL, or a path on the policy's base URL.
    pub url: String,
    /// Names and values. Names are case-insensitive and may repeat.
    pub headers: Vec<(String, String)>,
    /// Added to the URL's own query, percent-encoded.
    pub query: Vec<(String, String)>,
    /// The body, as it is sent.
    pub body: Option<Vec<u8>>,
    /// For one attempt from start to the last byte. The policy's where that is lower or none is given.
    pub timeout: Option<Duration>,
    /// How many times to try again, at most [`MAX_RETRIES`](super::retry::MAX_RETRIES). The policy may have more for a
    /// method that is idempotent.
    pub retries: u32,
    /// Statuses to try again on besides 429 and those of 500 and above.
    pub retry_on: Vec<u16>,
    /// How many redirects to follow, at most [`MAX_REDIRECTS`](super::redirect::MAX_REDIRECTS). With 0 the answer is the
    /// redirect itself.
    pub redirects: u32,
}

impl fmt::Debug for Request {
    /// Without what may be secret: query, headers and body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        f.debug_struct("Request").field("method", &self.method).field("url", &path).finish_non_exhaustive()
    }
}

fn invalid(problem: impl Into<String>) -> EgressError {
    EgressError::InvalidRequest(problem.into())
}

/// Checks a request against all that can be known before a name is resolved, and shapes it for sending.
pub(super) fn prepare(policy: &Policy, request: Request) -> Result<reqwest::Request, EgressError> {
    let method = method(&request.method)?;
    let mut url = url(policy.base_url.as_ref(), &request.url)?;
    append_query(&mut url, &request.query)?;
    policy.admit(&url)?;
    let headers = headers(&request.headers)?;
    if let Some(credential) = policy.account.as_ref().and_then(|account| account.credential.as_ref()) {
        credential.check_own(&url, &headers)?;
    }
    let mut prepared = reqwest::Request::new(method, url);
    *prepared.headers_mut() = headers;
    *prepared.body_mut() = request.body.map(Into::into);
    Ok(prepared)
}

fn method(text: &str) -> Result<Method, EgressError> {
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS]
        .into_iter()
        .find(|method| method.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| invalid("the method is not GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS"))
}

fn url(base: Option<&Url>, text: &str) -> Result<Url, EgressError> {
    if text.len() > MAX_URL_BYTES {
        return Err(invalid(format!("the URL is over {MAX_URL_BYTES} bytes")));
    }
    if text.contains(char::is_control) || text.starts_with(' ') || text.ends_with(' ') {
        return Err(invalid("the URL has a control character, or a space at an end"));
    }
    let before_query = text.split(['?', '#']).next().unwrap_or_default();
    if before_query.contains('\\') {
        return Err(invalid("the URL has a backslash: percent-encode it or write `/`"));
    }
    let absolute = match after_scheme(before_query) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => return Err(invalid("the URL names no host")),
        Some(rest) if rest.split('/').next().is_some_and(|authority| authority.contains('@')) => {
            return Err(invalid("the URL has a user or password: send a header instead"));
        }
        Some(_) => text.to_owned(),
        None if text.starts_with('/') && !text.starts_with("//") => {
            let base = base.ok_or_else(|| {
                invalid("the URL is only a path and no base URL is set: write it in full, or have the operator set one")
            })?;
            let mut base = base.clone();
            base.set_query(None);
            base.set_fragment(None);
            format!("{}{text}", base.as_str().trim_end_matches('/'))
        }
        None => return Err(invalid("the URL must start with https:// or http://, or with / on the base URL")),
    };
    let mut url = Url::parse(&absolute).map_err(|error| invalid(format!("the URL is not valid: {error}")))?;
    url.set_fragment(None);
    check_url(&url)?;
    Ok(url)
}

/// What follows `https://` or `http://`, in any case.
fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    (scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")).then_some(rest)
}

/// What holds for every URL that is dialed, wherever it came from.
pub(super) fn check_url(url: &Url) -> Result<(), EgressError> {
    if !matches!(url.scheme(), "https" | "http") {
        return Err(invalid("the URL is neither https nor http"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the URL has a user or password"));
    }
    if url.as_str().len() > MAX_URL_BYTES {
        return Err(invalid(format!("the URL with its query is over {MAX_URL_BYTES} bytes")));
    }
    Ok(())
}

fn append_query(url: &mut Url, query: &[(String, String)]) -> Result<(), EgressError> {
    if query.is_empty() {
        return Ok(());
    }
    // Before anything is built from it.
    if query.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>() > MAX_URL_BYTES {
        return Err(invalid(format!("the URL with its query is over {MAX_URL_BYTES} bytes")));
    }
    let mut text = url.query().unwrap_or_default().to_owned();
    for (name, value) in query {
        if !text.is_empty() && !text.ends_with('&') {
            text.push('&');
        }
        percent_encode(&mut text, name);
        text.push('=');
        percent_encode(&mut text, value);
    }
    url.set_query(Some(&text));
    check_url(url)
}

/// As forms encode, but a space as `%20`: every server reads that, while `+` is a plus sign to some.
pub(super) fn percent_encode(text: &mut String, part: &str) {
    text.extend(form_urlencoded::byte_serialize(part.as_bytes()).map(|piece| if piece == "+" { "%20" } else { piece }));
}

/// Whether the header is the host's alone.
pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    FORBIDDEN_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("proxy-")
}

fn headers(headers: &[(String, String)]) -> Result<HeaderMap, EgressError> {
    if headers.len() > MAX_HEADERS {
        return Err(invalid(format!("there are over {MAX_HEADERS} headers")));
    }
    if headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_HEADER_BYTES {
        return Err(invalid(format!("the headers are over {MAX_HEADER_BYTES} bytes together")));
    }
    let mut map = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers {
        // Neither is repeated in the message: a value may be a secret, and a name that is none may be anything.
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid("a header's name is empty or has characters that no name may have"))?;
        if is_forbidden(&name) {
            return Err(invalid(format!("the header `{name}` is not for scripts to set")));
        }
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| invalid(format!("the value of the header `{name}` has a control character")))?;
        map.append(name, value);
    }
    // Part of an encoded body cannot be decoded, so where a range is asked for it is left to the script.
    if !map.contains_key(ACCEPT_ENCODING) && !map.contains_key(RANGE) {
        map.insert(ACCEPT_ENCODING, ACCEPTED_ENCODINGS);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn joined(base: &str, text: &str) -> String {
        url(Some(&base.parse().unwrap()), text).unwrap().to_string()
    }

    fn refused(text: &str) -> String {
        let base = "https://api.example.com".parse().unwrap();
        match url(Some(&base), text) {
            Err(error @ EgressError::InvalidRequest(_)) => error.to_string(),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_path_is_appended_to_the_base_url() {
        assert_eq!(joined("https://api.example.com", "/repos?x=1"), "https://api.example.com/repos?x=1");
        assert_eq!(joined("https://api.example.com/", "/repos"), "https://api.example.com/repos");
        assert_eq!(joined("https://a.test/api/v3", "/repos"), "https://a.test/api/v3/repos");
        assert_eq!(joined("https://a.test/api/v3/?k=v#f", "/repos#g"), "https://a.test/api/v3/repos");
        assert_eq!(joined("http://127.0.0.1:8080", "/"), "http://127.0.0.1:8080/");
        assert_eq!(joined("https://a.test", "/a?path=C:\\x"), "https://a.test/a?path=C:\\x");
    }

    #[test]
    fn a_path_never_leaves_the_host_of_the_base_url() {
        for path in
            ["/@evil.test", "/..//evil.test", "/../../..//evil.test/", "/:80", "/https://evil.test/", "/%2f/evil.test"]
        {
            let joined: Url = joined("https://api.example.com/v1", path).parse().unwrap();
            assert_eq!(joined.host_str(), Some("api.example.com"), "{path}");
            assert_eq!(joined.port_or_known_default(), Some(443), "{path}");
        }
        for text in ["//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "evil.test", "", "?x=1", "#f"] {
            refused(text);
        }
    }

    #[test]
    fn only_https_and_http_written_in_full_are_urls() {
        for text in [
            "file:///etc/passwd",
            "ftp://a.test/",
            "gopher://a.test/",
            "data:text/plain,x",
            "unix:/run/x.sock",
            "ws://a.test/",
            "wss://a.test/",
            "http:a.test",
            "http:/a.test",
            "https:a.test",
            "http:\\\\a.test",
            "http:///a.test",
            "https://",
            "https://?x",
            "https://:443/",
            "https://a.test:65536/",
            "https://a.test:x/",
            "https://a b/",
            "https://[fe80::1%25eth0]/",
            "javascript://a.test/",
            "https//a.test",
        ] {
            refused(text);
        }
        assert_eq!(joined("https://a.test", "HTTPS://B.test"), "https://b.test/");
    }

    #[test]
    fn a_url_with_control_characters_is_turned_away_rather_than_mended() {
        for text in [
            "https://a.test/\r\nX: y",
            "https://a.test/a\tb",
            "ht\ntps://a.test/",
            "https://a.te\nst/",
            "https://a.test/\0",
            "https://a.test/\u{7f}",
            " https://a.test/",
            "https://a.test/ ",
        ] {
            refused(text);
        }
    }

    #[test]
    fn a_url_with_a_user_is_turned_away() {
        for text in [
            "https://u@a.test/",
            "https://u:p@a.test/",
            "https://:p@a.test/",
            "https://@a.test/",
            "https://a.test@b.test",
        ] {
            assert!(refused(text).contains("user"), "{text}");
        }
        assert_eq!(joined("https://a.test", "https://a.test/@user"), "https://a.test/@user");
    }

    #[test]
    fn a_query_is_added_percent_encoded() {
        let query = |text: &str, pairs: &[(&str, &str)]| {
            let mut url: Url = text.parse().unwrap();
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            append_query(&mut url, &pairs).map(|()| url.to_string())
        };
        assert_eq!(
            query("https://a.test/", &[("q", "a b&c=d+e/ü\r\n"), ("", "")]).unwrap(),
            "https://a.test/?q=a%20b%26c%3Dd%2Be%2F%C3%BC%0D%0A&="
        );
        assert_eq!(query("https://a.test/?x=1", &[("y", "2")]).unwrap(), "https://a.test/?x=1&y=2");
        assert_eq!(query("https://a.test/?x=1&", &[("y", "2")]).unwrap(), "https://a.test/?x=1&y=2");
        assert_eq!(query("https://a.test/?", &[("y", "2")]).unwrap(), "https://a.test/?y=2");
        assert_eq!(query("https://a.test/?x=%zz", &[]).unwrap(), "https://a.test/?x=%zz");
        assert!(query("https://a.test/", &[("q", &"x".repeat(MAX_URL_BYTES))]).is_err());
        assert!(query("https://a.test/", &[("q", &"ü".repeat(MAX_URL_BYTES / 4))]).is_err());
    }

    #[test]
    fn headers_of_the_connection_are_not_for_scripts() {
        for name in [
            "Host",
            "connection",
            "Content-Length",
            "Transfer-Encoding",
            "Keep-Alive",
            "Proxy-Authorization",
            "Proxy-Connection",
            "PROXY-X",
            "TE",
            "Trailer",
            "Upgrade",
            "HTTP2-Settings",
            "Expect",
        ] {
            let error = headers(&[(name.to_owned(), "x".to_owned())]).unwrap_err();
            assert_eq!(error.code(), "invalid-request", "{name}");
        }
    }

    #[test]
    fn a_header_that_breaks_its_line_is_turned_away() {
        for (name, value) in [
            ("X-A", "a\r\nX-B: b"),
            ("X-A", "a\nb"),
            ("X-A", "a\0"),
            ("X-A\r\nX-B", "a"),
            ("X A", "a"),
            ("X-A:", "a"),
            (":authority", "a"),
            ("", "a"),
            ("Ü", "a"),
        ] {
            assert!(headers(&[(name.to_owned(), value.to_owned())]).is_err(), "{name:?}: {value:?}");
        }
        let kept = headers(&[("X-A".to_owned(), "ü".to_owned()), ("x-a".to_owned(), "b".to_owned())]).unwrap();
        assert_eq!(kept.get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn compression_is_asked_for_unless_the_script_says_otherwise() {
        let accepted = |name: &str, value: &str| {
            let map = headers(&[(name.to_owned(), value.to_owned())]).unwrap();
            map.get(ACCEPT_ENCODING).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(accepted("X-A", "1").as_deref(), Some("gzip, br, zstd, deflate"));
        assert_eq!(accepted("Accept-Encoding", "identity").as_deref(), Some("identity"));
        assert_eq!(accepted("Range", "bytes=0-9"), None);
    }

    #[test]
    fn headers_are_capped_in_number_and_size() {
        let many = |count: usize| vec![("x".to_owned(), String::new()); count];
        assert!(headers(&many(MAX_HEADERS)).is_ok());
        assert!(headers(&many(MAX_HEADERS + 1)).is_err());
        let long = |bytes: usize| [("x".to_owned(), "v".repeat(bytes - 1))];
        assert!(headers(&long(MAX_HEADER_BYTES)).is_ok());
        assert!(headers(&long(MAX_HEADER_BYTES + 1)).is_err());
    }

    #[test]
    fn a_method_is_one_of_seven_in_any_case() {
        assert_eq!(method("gEt").unwrap(), Method::GET);
        for text in ["", "TRACE", "CONNECT", "GET ", "GET /\r\n", "PROPFIND"] {
            assert!(method(text).is_err(), "{text:?}");
        }
    }
}
