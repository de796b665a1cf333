//! A client of the service, as an app has one.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::support::guest;

/// Who asks the service, with a key.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) key: String,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// What was asked, for messages.
    asked: String,
}

/// A client without anything, for `http`.
pub(crate) fn http() -> reqwest::Client {
    // There is one provider in the binary; who installs it first does not matter.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Client {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        Self { http: http(), url: url.to_owned(), key: key.to_owned() }
    }

    /// One that keeps no connections.
    pub(crate) fn unpooled(url: &str, key: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { http, url: url.to_owned(), key: key.to_owned() }
    }

    /// A request to somebody else.
    pub(crate) fn plain(&self, url: &str) -> reqwest::RequestBuilder {
        self.http.get(url)
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// A request with the key.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.key.is_empty() { request } else { request.bearer_auth(&self.key) }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn try_send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let request = request.build()?;
        let asked = format!("{} {}", request.method(), request.url());
        let answer = self.http.execute(request).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, text: answer.text().await?, asked })
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    /// Uploads a test guest.
    pub(crate) async fn upload(&self, name: &str, query: &str) -> Answer {
        self.upload_bytes(guest(name), query).await
    }

    pub(crate) async fn upload_bytes(&self, bytes: Vec<u8>, query: &str) -> Answer {
        let request = self.request(Method::POST, &format!("/v1/scripts?{query}"));
        self.send(request.header("content-type", "application/wasm").body(bytes)).await
    }
}

impl Answer {
    /// The JSON of an answer that is none of an error. An answer without content is null.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {} {}", self.asked, self.status, self.text);
        self.json()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}: {}", self.asked, self.text))
    }

    /// The problem, which has this status and code and everything that a problem has.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        let problem = self.is_problem(status);
        assert_eq!(problem["code"], code, "{}: {}", self.asked, self.text);
        problem
    }

    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        let kind = self.headers.get("content-type").map(|kind| kind.to_str().unwrap());
        assert_eq!(kind, Some("application/problem+json"), "{}: {}", self.asked, self.text);
        let problem = self.json();
        let code = problem["code"].as_str().unwrap_or_else(|| panic!("{}: no code: {problem}", self.asked));
        assert_eq!(problem["type"], format!("urn:terapi:problem:{code}"), "{}", self.asked);
        assert_eq!(problem["status"], status, "{}", self.asked);
        for field in ["title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{}: {problem}", self.asked);
        }
        let id = problem["request_id"].as_str().unwrap_or_else(|| panic!("{}: no id: {problem}", self.asked));
        assert_eq!(self.headers["x-request-id"], id, "{}", self.asked);
        problem
    }
}
