//! The command line is a client of the API: of a server's, or, with a data directory and no server, of one in this very
//! process. So a command does the same wherever the data is.

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use url::Url;

use super::Failed;
use crate::api::{self, Local};
use crate::ids::EnvironmentName;
use crate::runtime::Service;
use crate::script::MAX_SCRIPT_BYTES;

/// Who answers.
#[derive(Clone)]
pub(super) enum Client {
    /// The API over a data directory that this process has opened.
    Here {
        /// Its routes.
        router: axum::Router,
        /// On whose behalf.
        environment: EnvironmentName,
    },
    /// A server's.
    There {
        /// Sends.
        http: reqwest::Client,
        /// Where.
        server: Url,
        /// What opens it.
        key: String,
    },
}

/// What is sent.
pub(super) enum Content<'a> {
    /// Nothing.
    None,
    /// A JSON text.
    Json(String),
    /// A component.
    Wasm(&'a [u8]),
    /// The text of a script, a package.
    Source(&'a [u8]),
}

impl<'a> Content<'a> {
    /// A value as JSON.
    pub(super) fn json(value: &impl Serialize) -> Result<Self, Failed> {
        Ok(Self::Json(serde_json::to_string(value).map_err(|error| Failed::new(error.to_string()))?))
    }

    /// A script: a component, or the text of one.
    pub(super) fn script(bytes: &'a [u8]) -> Self {
        if bytes.starts_with(b"\0asm") { Self::Wasm(bytes) } else { Self::Source(bytes) }
    }

    fn kind(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Json(_) => Some("application/json"),
            Self::Wasm(_) => Some("application/wasm"),
            Self::Source(_) => Some("application/vnd.terapi.source+json"),
        }
    }

    fn bytes(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::Json(text) => text.into(),
            Self::Wasm(bytes) | Self::Source(bytes) => Bytes::copy_from_slice(bytes),
        }
    }
}

/// A header that is sent besides.
pub(super) type Header = (&'static str, String);

impl Client {
    /// The API over a service in this process.
    pub(super) fn here(service: Service, environment: EnvironmentName) -> Self {
        // One byte more, so that the script's own check says what is wrong.
        let bodies = api::BodyLimits { upload: MAX_SCRIPT_BYTES + 1, ..api::BodyLimits::default() };
        let router = api::router(service, std::sync::Arc::default(), CancellationToken::new(), bodies);
        Self::Here { router, environment }
    }

    /// A server's API.
    pub(super) fn there(server: Url, key: String) -> Result<Self, Failed> {
        let tls = crate::egress::system_tls()?;
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).build();
        let http = http.map_err(|error| Failed::new(format!("the HTTP client could not be set up: {error}")))?;
        Ok(Self::There { http, server, key })
    }

    /// Whether the data directory is open in this process.
    pub(super) fn is_here(&self) -> bool {
        matches!(self, Self::Here { .. })
    }

    /// Asks, and returns the answer as it is.
    pub(super) async fn text(&self, method: Method, path: &str, content: Content<'_>) -> Result<String, Failed> {
        let (status, text) = self.answer(method, path, content, &[]).await?;
        if status.is_success() { Ok(text) } else { Err(problem(status, &text)) }
    }

    /// Asks, and reads the answer as JSON.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Content<'_>,
    ) -> Result<T, Failed> {
        parse(&self.text(method, path, content).await?)
    }

    /// `GET`
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.ask(Method::GET, path, Content::None).await
    }

    /// `GET`, where there may be nothing of that name.
    pub(super) async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Failed> {
        let (status, text) = self.answer(Method::GET, path, Content::None, &[]).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            _ if status.is_success() => parse(&text).map(Some),
            _ => Err(problem(status, &text)),
        }
    }

    /// Asks, and returns status and answer, whatever they are.
    pub(super) async fn answer(
        &self,
        method: Method,
        path: &str,
        content: Content<'_>,
        headers: &[Header],
    ) -> Result<(StatusCode, String), Failed> {
        let kind = content.kind().map(|kind| ("content-type", kind.to_owned()));
        let headers = headers.iter().cloned().chain(kind);
        let (status, bytes) = match self {
            Self::Here { router, environment } => {
                let mut request = axum::http::Request::builder().method(method).uri(path);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let request = request.extension(Local(environment.clone())).body(Body::from(content.bytes()));
                let request = request.map_err(|error| Failed::new(format!("{path}: {error}")))?;
                let response = match router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let status = response.status();
                let body = response.into_body().collect().await;
                let body = body.map_err(|error| Failed::new(format!("the answer to {path} broke off: {error}")))?;
                (status, body.to_bytes())
            }
            Self::There { http, server, key } => {
                let url = format!("{}{path}", server.as_str().trim_end_matches('/'));
                let mut request = http.request(method, url).bearer_auth(key).body(content.bytes());
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let response = request.send().await.map_err(|error| broken(server, &error))?;
                let status = response.status();
                (status, response.bytes().await.map_err(|error| broken(server, &error))?)
            }
        };
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Every item of a list, page by page, as they are.
    pub(super) async fn all(&self, path: &str) -> Result<Vec<Box<RawValue>>, Failed> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", "1000");
            if let Some(after) = &after {
                query.append_pair("after", after);
            }
            let mark = if path.contains('?') { '&' } else { '?' };
            let page: Page = self.get(&format!("{path}{mark}{}", query.finish())).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// Every item of a list, read.
    pub(super) async fn every<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failed> {
        self.all(path).await?.iter().map(|item| parse(item.get())).collect()
    }
}

/// A page of a list.
#[derive(Serialize, serde::Deserialize)]
pub(super) struct Page {
    pub(super) items: Vec<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// Reads an answer.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failed> {
    serde_json::from_str(text).map_err(|error| {
        Failed::new(format!("the answer is not what was expected: {error}; is the server of the same version?"))
    })
}

/// What an answer that is an error says.
pub(super) fn problem(status: StatusCode, text: &str) -> Failed {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: String,
        detail: String,
    }
    match serde_json::from_str::<Problem>(text) {
        Ok(problem) => Failed::coded(problem.code, problem.detail),
        Err(_) => Failed::new(format!("the server answered with status {status}: is it Terapi's?")),
    }
}

fn broken(server: &Url, error: &reqwest::Error) -> Failed {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    Failed::coded("no-server", format!("no answer from {server}: {text}; is `terapi serve` running there?"))
}
