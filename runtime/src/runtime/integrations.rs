//! Integrations: external APIs as the operator configured them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::{Runtime, RuntimeError};
use crate::egress::{Breaker, ClientAuth, Gate, HostPattern, MAX_RETRIES, RateRules, RetryRules};
use crate::ids::{IntegrationName, Timestamp};
use crate::store::DocumentKind;

/// An external API: where it is, who may be asked there, with what manners.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IntegrationSpec {
    /// What a request's URL that is only a path is appended to, such as `https://api.github.com`.
    #[schema(value_type = Option<String>, format = "uri")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Url>,
    /// Hosts that scripts may reach: `api.github.com`, `*.example.com`, `http://127.0.0.1:8080`. The base URL's own if
    /// none is given.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Networks that are not public and may be reached all the same, of those that the configuration allows.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
    /// How connections show who they are.
    #[serde(default)]
    pub auth: Auth,
    /// Hosts to which the credential is attached, of those above; the base URL's own if none is given.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential_hosts: Vec<HostPattern>,
    /// Limits for all connections together.
    #[serde(default)]
    pub rate: RateRules,
    /// Limits for each connection.
    #[serde(default)]
    pub connection_rate: RateRules,
    /// When requests are tried again.
    #[serde(default)]
    pub retry: RetryRules,
    /// How the API's lists are paged, for scripts' pagination helpers: an object that is handed on as it is.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagination: Option<serde_json::Map<String, serde_json::Value>>,
}

/// How connections of an integration show who they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// They do not.
    #[default]
    None,
    /// By a key in a header.
    ApiKeyHeader {
        /// The header's name, such as `X-Api-Key`.
        name: String,
        /// What stands before the key, such as `Token `.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
    /// By a key in a query parameter.
    ApiKeyQuery {
        /// The parameter's name.
        name: String,
    },
    /// By a token that stays the same.
    Bearer,
    /// By user and password.
    Basic,
    /// By tokens that the connection's client gets for itself (RFC 6749, section 4.4).
    #[serde(rename = "oauth2-client-credentials")]
    Oauth2ClientCredentials(OauthClient),
    /// By tokens that are had for a refresh token (RFC 6749, section 6).
    #[serde(rename = "oauth2-refresh-token")]
    Oauth2RefreshToken(OauthClient),
}

/// An OAuth 2 client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OauthClient {
    /// Where tokens are had.
    #[schema(value_type = String, format = "uri")]
    pub token_url: Url,
    /// The client's name at the API. Each connection's own if it is not given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client's secret. Never shown again; left out in a later change it stays what it was, if the
    /// host of `token_url` and `client_id` do, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub client_secret: Option<Hidden>,
    /// What to ask for; the API's default if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// How the client says who it is.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// What the API wants to be told besides, such as `audience`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// A secret on its way in. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Auth {
    fn client_mut(&mut self) -> Option<&mut OauthClient> {
        match self {
            Self::Oauth2ClientCredentials(client) | Self::Oauth2RefreshToken(client) => Some(client),
            _ => None,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ApiKeyHeader { .. } => "api-key-header",
            Self::ApiKeyQuery { .. } => "api-key-query",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::Oauth2ClientCredentials(_) => "oauth2-client-credentials",
            Self::Oauth2RefreshToken(_) => "oauth2-refresh-token",
        }
    }
}

/// An integration as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Integration {
    /// Its name.
    pub name: IntegrationName,
    /// What the operator gave, without secrets.
    pub spec: IntegrationSpec,
    /// The client's secret, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed_secret: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

impl Integration {
    /// Whether the OAuth client's secret is kept.
    #[must_use]
    pub fn has_client_secret(&self) -> bool {
        self.sealed_secret.is_some()
    }

    pub(super) fn purpose(&self) -> String {
        format!("integration {}", self.name)
    }

    /// Where the credential goes.
    pub(super) fn credential_hosts(&self, base_url: Option<&Url>) -> Vec<HostPattern> {
        if !self.spec.credential_hosts.is_empty() {
            return self.spec.credential_hosts.clone();
        }
        base_url.and_then(HostPattern::of).into_iter().collect()
    }

    pub(super) fn hosts(&self, base_url: Option<&Url>) -> Vec<HostPattern> {
        let mut hosts = self.spec.hosts.clone();
        let own = base_url.and_then(HostPattern::of).filter(|own| !hosts.contains(own));
        hosts.extend(own);
        hosts
    }
}

/// Connections that are looked at together.
const PAGE: usize = 1_000;
/// The longest window of a rate limit: 31 days.
const MAX_WINDOW_MS: u64 = 31 * 86_400_000;

/// What all connections of an integration share at run time.
#[derive(Clone)]
pub(super) struct SharedManners {
    pub(super) gate: Arc<Gate>,
    pub(super) breaker: Arc<Breaker>,
}

impl Runtime {
    /// Creates or replaces an integration. Says whether it is new.
    pub async fn put_integration(
        &self,
        name: IntegrationName,
        mut spec: IntegrationSpec,
    ) -> Result<(Integration, bool), RuntimeError> {
        let bad = |reason: String| RuntimeError::BadInput { what: "the integration", reason };
        if let Some(network) = spec.networks.iter().find(|network| !self.allows(network)) {
            return Err(bad(format!(
                "the network {network} is not one that the configuration allows: add it to `[network] allow`"
            )));
        }
        check_manners(&spec).map_err(bad)?;
        if let Some(base) = &spec.base_url
            && HostPattern::of(base).is_none_or(|_| !matches!(base.scheme(), "https" | "http"))
        {
            return Err(bad(format!("the base URL {base} is neither https nor http")));
        }
        let _changing = self.changing.lock().await;
        let before = self.find_integration(&name).await?;
        let is_new = before.is_none();
        let given = spec.auth.client_mut().and_then(|client| client.client_secret.take());
        let now = self.shared.clock.now();
        let mut integration = Integration {
            name,
            spec,
            sealed_secret: None,
            created_at: before.as_ref().map_or(now, |before| before.created_at),
            updated_at: now,
        };
        integration.sealed_secret = match given {
            Some(secret) => Some(self.keyring()?.seal(&integration.purpose(), secret.0.as_bytes())?),
            // A secret stays with who it was given for: it is not sent anywhere else.
            None => before.and_then(|mut before| {
                let (old, new) = (before.spec.auth.client_mut()?, integration.spec.auth.client_mut()?);
                let is_same = old.token_url.origin() == new.token_url.origin() && old.client_id == new.client_id;
                before.sealed_secret.filter(|_| is_same)
            }),
        };
        self.put_document(DocumentKind::Integration, integration.name.as_str(), &integration).await?;
        if let Some(shared) = self.accounts.manners_if_any(&integration.name) {
            shared.gate.set_rules(&integration.spec.rate);
        }
        self.accounts.forget_all();
        Ok((integration, is_new))
    }

    /// Whether the configuration lets integrations name the network.
    fn allows(&self, network: &IpNet) -> bool {
        self.shared.options.networks.iter().any(|allowed| allowed.contains(network))
    }

    /// Networks of an integration that its connections may reach: what the configuration has ceased to allow since it was
    /// put is not among them.
    pub(super) fn networks_of(&self, integration: &Integration) -> Vec<IpNet> {
        integration.spec.networks.iter().filter(|network| self.allows(network)).copied().collect()
    }

    /// An integration.
    pub async fn integration(&self, name: &IntegrationName) -> Result<Integration, RuntimeError> {
        self.find_integration(name).await?.ok_or_else(|| RuntimeError::unknown("integration", name))
    }

    async fn find_integration(&self, name: &IntegrationName) -> Result<Option<Integration>, RuntimeError> {
        self.document(DocumentKind::Integration, name.as_str()).await
    }

    /// Integrations by name, from behind `after` on.
    pub async fn integrations(&self, after: Option<String>, limit: usize) -> Result<Vec<Integration>, RuntimeError> {
        self.documents(DocumentKind::Integration, String::new(), after, limit).await
    }

    /// Removes an integration that no connection needs.
    pub async fn delete_integration(&self, name: &IntegrationName) -> Result<(), RuntimeError> {
        let _changing = self.changing.lock().await;
        self.integration(name).await?;
        // Page by page: there may be a million.
        let mut after = None;
        loop {
            let page = self.connections(after, PAGE).await?;
            if let Some(user) = page.iter().find(|connection| connection.integration == *name) {
                let by = format!("connection {}", user.name);
                return Err(RuntimeError::InUse { what: "integration", name: name.to_string(), by });
            }
            let Some(last) = page.last().filter(|_| page.len() == PAGE) else { break };
            after = Some(last.name.to_string());
        }
        let scripts = self.blocking(|store| store.scripts()).await?;
        if let Some(user) = scripts.iter().find(|script| script.integration.as_ref() == Some(name)) {
            let by = format!("script {}", user.name);
            return Err(RuntimeError::InUse { what: "integration", name: name.to_string(), by });
        }
        self.remove_document(DocumentKind::Integration, name.as_str()).await
    }
}

/// Limits that let nothing through, and retries without end, are mistakes.
fn check_manners(spec: &IntegrationSpec) -> Result<(), String> {
    for rules in [&spec.rate, &spec.connection_rate] {
        if rules.concurrency == Some(0) {
            return Err("a concurrency of 0 lets no request through".to_owned());
        }
        if rules.limits.iter().any(|limit| limit.requests == 0 || !(1..=MAX_WINDOW_MS).contains(&limit.per_ms)) {
            return Err("a rate limit is 1 or more `requests` in `per_ms` from 1 ms to 31 days".to_owned());
        }
    }
    if spec.retry.max > MAX_RETRIES {
        return Err(format!("a request is tried again at most {MAX_RETRIES} times"));
    }
    Ok(())
}
