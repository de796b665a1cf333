//! Connections: accounts at integrations.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::credentials::CredentialSpec;
use super::integrations::{Integration, SharedManners};
use super::{Runtime, RuntimeError, lock};
use crate::egress::{Account, Breaker, Credential, Egress, Gate, Policy};
use crate::ids::{ConnectionName, IntegrationName, Timestamp};
use crate::store::{DocumentKind, canonical};

/// What a connection is made of.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSpec {
    /// Its name.
    pub name: ConnectionName,
    /// The API that it is an account at.
    pub integration: IntegrationName,
    /// The account's own base URL, where each has one: `https://acme.example.com`. Its host must be one that the
    /// integration allows.
    #[schema(value_type = Option<String>, format = "uri")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Url>,
    /// What shows who it is, as the integration's `auth` wants it.
    #[serde(default)]
    pub credential: CredentialSpec,
    /// What is fixed about the account, such as its tenant or site: a JSON object that its scripts can read. Nothing secret.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    /// Its metadata at first: a JSON object.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A connection as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    /// Its name.
    pub name: ConnectionName,
    /// The API that it is an account at.
    pub integration: IntegrationName,
    /// Its own base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Url>,
    /// What is fixed about the account: a JSON object that its scripts can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    /// What its credential is called: `none`, `api-key` …
    pub credential: String,
    /// The credential, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<String>,
    /// The tokens that were had since, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed_tokens: Option<String>,
    /// Why the API refuses it, if it does: the account has to be connected anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// When its credential was given; those of before this was noted have none.
    #[serde(default)]
    pub(super) credential_given_at: Timestamp,
}

impl Connection {
    pub(super) fn purpose(&self) -> String {
        format!("connection {}", self.name)
    }
}

/// What a script may know of its connection: `terapi:sync/state.connection`.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionFacts<'a> {
    id: &'a ConnectionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    integration: Option<&'a IntegrationName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

impl<'a> ConnectionFacts<'a> {
    /// Those of a connection that nobody made.
    pub(super) fn unknown(id: &'a ConnectionName) -> Self {
        Self { id, integration: None, config: None, pagination: None }
    }

    pub(super) fn json(&self) -> Arc<str> {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned()).into()
    }
}

/// The largest configuration of a connection, in bytes of its JSON: each run carries it.
const MAX_CONFIG_BYTES: usize = 64 << 10;

/// Accounts as egress holds them, made when they are first needed.
#[derive(Default)]
pub(super) struct Accounts {
    /// How often something was forgotten.
    generation: AtomicU64,
    manners: Mutex<HashMap<IntegrationName, SharedManners>>,
    policies: Mutex<HashMap<ConnectionName, Arc<Policy>>>,
    gates: Mutex<HashMap<ConnectionName, Arc<Gate>>>,
    /// With a hash of what each was made of. A run may hold one for long, and of two for the same account one would sooner
    /// or later use a refresh token that the other has spent: so there is a new one only where it is another.
    pub(super) credentials: Mutex<HashMap<ConnectionName, (blake3::Hash, Arc<Credential>)>>,
}

impl Accounts {
    fn manners(&self, integration: &Integration) -> SharedManners {
        let mut all = lock(&self.manners);
        let made = all
            .entry(integration.name.clone())
            .or_insert_with(|| SharedManners { gate: Gate::new(&integration.spec.rate), breaker: Breaker::new() });
        made.clone()
    }

    pub(super) fn manners_if_any(&self, integration: &IntegrationName) -> Option<SharedManners> {
        lock(&self.manners).get(integration).cloned()
    }

    /// What was learned of a connection's limits stays when its credential changes.
    fn gate(&self, connection: &ConnectionName, integration: &Integration) -> Arc<Gate> {
        let rules = &integration.spec.connection_rate;
        let mut gates = lock(&self.gates);
        let gate = gates.entry(connection.clone()).or_insert_with(|| Gate::new(rules));
        gate.set_rules(rules);
        Arc::clone(gate)
    }

    fn forget(&self, connection: &ConnectionName, egress: Option<&Egress>) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        lock(&self.policies).remove(connection);
        lock(&self.credentials).remove(connection);
        if let (Some(gate), Some(egress)) = (lock(&self.gates).get(connection), egress) {
            egress.forget(gate);
        }
    }

    /// What is under way goes on with what it has.
    pub(super) fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        lock(&self.policies).clear();
    }
}

impl Runtime {
    /// Creates a connection, and the syncs that scripts of its integration ask for.
    pub async fn create_connection(&self, spec: ConnectionSpec) -> Result<Connection, RuntimeError> {
        let changing = self.changing.lock().await;
        if self.find_connection(&spec.name).await?.is_some() {
            return Err(RuntimeError::Exists { what: "connection", name: spec.name.to_string() });
        }
        let integration = self.integration(&spec.integration).await?;
        let now = self.shared.clock.now();
        let mut connection = Connection {
            name: spec.name,
            integration: spec.integration,
            base_url: spec.base_url,
            config: spec.config,
            credential: String::new(),
            sealed: None,
            sealed_tokens: None,
            refused: None,
            created_at: now,
            updated_at: now,
            credential_given_at: now,
        };
        check_base_url(&connection, &integration)?;
        check_config(connection.config.as_ref())?;
        self.seal_credential(&mut connection, &integration, &spec.credential)?;
        if let Some(metadata) = spec.metadata {
            let name = connection.name.clone();
            let text = serde_json::Value::Object(metadata).to_string();
            self.blocking(move |store| store.set_metadata(&name, &text)).await?;
        }
        self.put_document(DocumentKind::Connection, connection.name.as_str(), &connection).await?;
        self.accounts.forget(&connection.name, self.shared.egress.get());
        drop(changing);
        self.start_wanted_syncs(&connection).await?;
        Ok(connection)
    }

    /// Replaces a connection's credential.
    pub async fn set_credential(
        &self,
        name: &ConnectionName,
        credential: &CredentialSpec,
    ) -> Result<Connection, RuntimeError> {
        let _changing = self.changing.lock().await;
        let mut connection = self.connection(name).await?;
        let integration = self.integration(&connection.integration).await?;
        self.seal_credential(&mut connection, &integration, credential)?;
        connection.updated_at = self.shared.clock.now();
        self.put_document(DocumentKind::Connection, name.as_str(), &connection).await?;
        self.accounts.forget(name, self.shared.egress.get());
        Ok(connection)
    }

    /// Replaces, or with `None` takes away, what is fixed about the account. Runs under way go on with what they have.
    pub async fn set_connection_config(
        &self,
        name: &ConnectionName,
        config: Option<serde_json::Map<String, serde_json::Value>>,
    ) -> Result<Connection, RuntimeError> {
        let _changing = self.changing.lock().await;
        let mut connection = self.connection(name).await?;
        check_config(config.as_ref())?;
        connection.config = config;
        connection.updated_at = self.shared.clock.now();
        self.put_document(DocumentKind::Connection, name.as_str(), &connection).await?;
        Ok(connection)
    }

    /// What a script may know of its connection, as it is handed to it: a JSON object.
    pub async fn connection_facts(&self, name: &ConnectionName) -> Result<Arc<str>, RuntimeError> {
        let Some(connection) = self.find_connection(name).await? else {
            return Ok(ConnectionFacts::unknown(name).json());
        };
        let integration = self.integration(&connection.integration).await?;
        let facts = ConnectionFacts {
            id: &connection.name,
            integration: Some(&connection.integration),
            config: connection.config.as_ref(),
            pagination: integration.spec.pagination.as_ref(),
        };
        Ok(facts.json())
    }

    /// A connection.
    pub async fn connection(&self, name: &ConnectionName) -> Result<Connection, RuntimeError> {
        self.find_connection(name).await?.ok_or_else(|| RuntimeError::unknown("connection", name))
    }

    pub(super) async fn find_connection(&self, name: &ConnectionName) -> Result<Option<Connection>, RuntimeError> {
        self.document(DocumentKind::Connection, name.as_str()).await
    }

    /// Connections by name, from behind `after` on.
    pub async fn connections(&self, after: Option<String>, limit: usize) -> Result<Vec<Connection>, RuntimeError> {
        self.documents(DocumentKind::Connection, String::new(), after, limit).await
    }

    /// Deletes a connection with its syncs, records, runs, calls and credential. Its runs, those of actions as well, are
    /// cancelled first.
    pub async fn delete_connection(&self, name: &ConnectionName) -> Result<(), RuntimeError> {
        let _changing = self.changing.lock().await;
        self.connection(name).await?;
        self.remove_syncs_of(name).await?;
        self.cancel_calls_of(name).await;
        let key = name.clone();
        self.blocking(move |store| store.delete_connection(&key)).await?;
        self.forget_calls_of(name).await?;
        self.remove_document(DocumentKind::Connection, name.as_str()).await?;
        self.accounts.forget(name, self.shared.egress.get());
        lock(&self.accounts.gates).remove(name);
        Ok(())
    }

    /// A connection's metadata: a JSON object.
    pub async fn metadata(&self, name: &ConnectionName) -> Result<String, RuntimeError> {
        self.connection(name).await?;
        let name = name.clone();
        self.blocking(move |store| store.metadata(&name)).await
    }

    /// Replaces a connection's metadata, or with `merge` the given top-level fields of it. Returns what it is then.
    pub async fn set_metadata(
        &self,
        name: &ConnectionName,
        value: String,
        merge: bool,
    ) -> Result<String, RuntimeError> {
        self.connection(name).await?;
        let name = name.clone();
        self.blocking(move |store| {
            if merge {
                store.update_metadata(&name, &value)?;
            } else {
                store.set_metadata(&name, &value)?;
            }
            store.metadata(&name)
        })
        .await
    }

    /// What the requests of a connection's scripts may do: where, with which credential, with what manners.
    pub async fn policy(&self, name: &ConnectionName) -> Result<Arc<Policy>, RuntimeError> {
        if let Some(policy) = lock(&self.accounts.policies).get(name) {
            return Ok(Arc::clone(policy));
        }
        let generation = self.accounts.generation.load(Ordering::SeqCst);
        let connection = self.connection(name).await?;
        let integration = self.integration(&connection.integration).await?;
        let base_url = connection.base_url.clone().or_else(|| integration.spec.base_url.clone());
        let manners = self.accounts.manners(&integration);
        let account = Account {
            credential: self.credential(&connection, &integration, base_url.as_ref())?,
            integration: manners.gate,
            breaker: manners.breaker,
            connection: self.accounts.gate(name, &integration),
        };
        let policy = Policy {
            allowed_hosts: integration.hosts(base_url.as_ref()),
            private_networks: self.networks_of(&integration),
            base_url,
            retry: integration.spec.retry.clone(),
            account: Some(account),
            ..Policy::default()
        };
        let policy = Arc::new(policy);
        let mut policies = lock(&self.accounts.policies);
        // What was read before a change must not outlive it.
        if self.accounts.generation.load(Ordering::SeqCst) == generation {
            policies.insert(name.clone(), Arc::clone(&policy));
        }
        drop(policies);
        Ok(policy)
    }
}

fn check_base_url(connection: &Connection, integration: &Integration) -> Result<(), RuntimeError> {
    let bad = |reason: String| RuntimeError::BadInput { what: "the connection", reason };
    match &connection.base_url {
        Some(url)
            if !integration.hosts(integration.spec.base_url.as_ref()).iter().any(|pattern| pattern.matches(url)) =>
        {
            Err(bad(format!(
                "its base URL {url} is on none of the integration's hosts: allow it there, such as `*.example.com`"
            )))
        }
        None if integration.spec.base_url.is_none() && integration.spec.hosts.is_empty() => {
            Err(bad("neither it nor the integration names a base URL or hosts".to_owned()))
        }
        _ => Ok(()),
    }
}

fn check_config(config: Option<&serde_json::Map<String, serde_json::Value>>) -> Result<(), RuntimeError> {
    let Some(config) = config else { return Ok(()) };
    let bad = |reason: String| RuntimeError::BadInput { what: "the connection's configuration", reason };
    let text = serde_json::to_string(config).map_err(|error| bad(error.to_string()))?;
    if text.len() > MAX_CONFIG_BYTES {
        return Err(bad(format!("it has {} bytes, over {MAX_CONFIG_BYTES}", text.len())));
    }
    canonical::validate_object(&text).map_err(|error| bad(error.to_string()))
}
