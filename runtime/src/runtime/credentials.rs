//! Credentials: sealed before they are written, opened where they are attached.
//!
//! What comes in is a [`CredentialSpec`]; with what its integration says it becomes a scheme that egress attaches. It never
//! comes out again. Tokens that egress is given for it are sealed and kept beside it.

use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::connections::Connection;
use super::integrations::{Auth, Hidden, Integration};
use super::{Runtime, RuntimeError, lock};
use crate::egress::{Credential, Scheme, TokenKeeper, Tokens};
use crate::ids::{ConnectionName, Time, Timestamp};
use crate::store::{DocumentKind, StoreError};

/// What shows who a connection is. Never shown again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CredentialSpec {
    /// Nothing.
    #[default]
    None,
    /// A key, for a header or a query parameter.
    ApiKey {
        /// The key.
        key: Hidden,
    },
    /// A token that stays the same.
    Bearer {
        /// The token.
        token: Hidden,
    },
    /// User and password.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: Hidden,
    },
    /// A client of the account's own; not needed where the integration has one.
    #[serde(rename = "oauth2-client-credentials")]
    Oauth2ClientCredentials {
        /// The client's name at the API.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
        /// The client's secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_secret: Option<Hidden>,
    },
    /// What the account's user has allowed.
    #[serde(rename = "oauth2-refresh-token")]
    Oauth2RefreshToken {
        /// The refresh token.
        refresh_token: Hidden,
        /// An access token, if there is one already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access_token: Option<Hidden>,
        /// When that ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Time>,
    },
}

impl CredentialSpec {
    /// What it is called.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ApiKey { .. } => "api-key",
            Self::Bearer { .. } => "bearer",
            Self::Basic { .. } => "basic",
            Self::Oauth2ClientCredentials { .. } => "oauth2-client-credentials",
            Self::Oauth2RefreshToken { .. } => "oauth2-refresh-token",
        }
    }
}

impl Runtime {
    pub(super) fn seal_credential(
        &self,
        connection: &mut Connection,
        integration: &Integration,
        given: &CredentialSpec,
    ) -> Result<(), RuntimeError> {
        // Whether it fits is found out now and not at the first request.
        if let Some((scheme, _)) = self.scheme(integration, given)? {
            scheme.check().map_err(|reason| RuntimeError::BadInput { what: "the credential", reason })?;
        }
        connection.credential_given_at = self.shared.clock.now();
        connection.sealed = match given {
            CredentialSpec::None => None,
            given => {
                let text = serde_json::to_vec(given).map_err(encode)?;
                Some(self.keyring()?.seal(&connection.purpose(), &text)?)
            }
        };
        given.kind().clone_into(&mut connection.credential);
        connection.sealed_tokens = None;
        connection.refused = None;
        Ok(())
    }

    pub(super) fn credential(
        &self,
        connection: &Connection,
        integration: &Integration,
        base_url: Option<&Url>,
    ) -> Result<Option<Arc<Credential>>, RuntimeError> {
        let purpose = connection.purpose();
        let given = match &connection.sealed {
            Some(sealed) => serde_json::from_slice(self.keyring()?.open(&purpose, sealed)?.expose()).map_err(encode)?,
            None => CredentialSpec::None,
        };
        let Some((scheme, mut tokens)) = self.scheme(integration, &given)? else { return Ok(None) };
        let hosts = integration.credential_hosts(base_url);
        let made_of = serde_json::to_vec(&(&scheme, &given, &hosts)).map_err(encode)?;
        let made_of = blake3::hash(&made_of);
        let mut credentials = lock(&self.accounts.credentials);
        if let Some((_, held)) = credentials.get(&connection.name).filter(|(hash, _)| *hash == made_of) {
            return Ok(Some(Arc::clone(held)));
        }
        if let Some(sealed) = &connection.sealed_tokens {
            let kept: Tokens =
                serde_json::from_slice(self.keyring()?.open(&purpose, sealed)?.expose()).map_err(encode)?;
            tokens = Some(kept);
        }
        let (runtime, name, given_at) = (self.downgrade(), connection.name.clone(), connection.credential_given_at);
        let keeper = Keeper { runtime, connection: name, given_at };
        let clock = Arc::clone(&self.shared.clock);
        let credential = Arc::new(Credential::new(scheme, tokens, hosts, Some(Arc::new(keeper)), clock));
        credentials.insert(connection.name.clone(), (made_of, Arc::clone(&credential)));
        Ok(Some(credential))
    }

    /// What is attached to requests: what the integration wants, filled with what the connection has.
    fn scheme(
        &self,
        integration: &Integration,
        given: &CredentialSpec,
    ) -> Result<Option<(Scheme, Option<Tokens>)>, RuntimeError> {
        let bad = |reason: String| RuntimeError::BadInput { what: "the credential", reason };
        let secret = || -> Result<Option<String>, RuntimeError> {
            let Some(sealed) = &integration.sealed_secret else { return Ok(None) };
            let secret = self.keyring()?.open(&integration.purpose(), sealed)?;
            Ok(Some(String::from_utf8_lossy(secret.expose()).into_owned()))
        };
        let scheme = match (&integration.spec.auth, given) {
            (_, CredentialSpec::None) if !matches!(integration.spec.auth, Auth::Oauth2ClientCredentials(_)) => {
                return Ok(None);
            }
            (Auth::ApiKeyHeader { name, prefix }, CredentialSpec::ApiKey { key }) => {
                Scheme::ApiKeyHeader { name: name.clone(), value: format!("{prefix}{}", key.0) }
            }
            (Auth::ApiKeyQuery { name }, CredentialSpec::ApiKey { key }) => {
                Scheme::ApiKeyQuery { name: name.clone(), value: key.0.clone() }
            }
            (Auth::Bearer, CredentialSpec::Bearer { token }) => Scheme::Bearer { token: token.0.clone() },
            (Auth::Basic, CredentialSpec::Basic { username, password }) => {
                Scheme::Basic { username: username.clone(), password: password.0.clone() }
            }
            (
                Auth::Oauth2ClientCredentials(client),
                CredentialSpec::Oauth2ClientCredentials { .. } | CredentialSpec::None,
            ) => {
                let (own_id, own_secret) = match given {
                    CredentialSpec::Oauth2ClientCredentials { client_id, client_secret } => {
                        (client_id.clone(), client_secret.clone().map(|secret| secret.0))
                    }
                    _ => (None, None),
                };
                let missing = |what: &str| bad(format!("neither the connection nor the integration has a {what}"));
                Scheme::Oauth2ClientCredentials {
                    token_url: client.token_url.clone(),
                    client_id: own_id.or_else(|| client.client_id.clone()).ok_or_else(|| missing("client_id"))?,
                    client_secret: own_secret
                        .map_or_else(secret, |own| Ok(Some(own)))?
                        .ok_or_else(|| missing("client_secret"))?,
                    scopes: client.scopes.clone(),
                    client_auth: client.client_auth,
                    parameters: client.parameters.clone(),
                }
            }
            (
                Auth::Oauth2RefreshToken(client),
                CredentialSpec::Oauth2RefreshToken { refresh_token, access_token, expires_at },
            ) => {
                let client_id = client.client_id.clone();
                let scheme = Scheme::Oauth2RefreshToken {
                    token_url: client.token_url.clone(),
                    client_id: client_id.ok_or_else(|| bad("the integration has no client_id".to_owned()))?,
                    client_secret: secret()?,
                    scopes: client.scopes.clone(),
                    client_auth: client.client_auth,
                    parameters: client.parameters.clone(),
                };
                let tokens = Tokens {
                    access_token: access_token.as_ref().map(|token| token.0.clone()).unwrap_or_default(),
                    refresh_token: Some(refresh_token.0.clone()),
                    expires_at: expires_at.map(|time| time.0),
                };
                return Ok(Some((scheme, Some(tokens))));
            }
            (auth, given) => {
                let (auth, given) = (auth.kind(), given.kind());
                return Err(bad(format!("the integration wants {auth}, and this is {given}")));
            }
        };
        Ok(Some((scheme, None)))
    }

    /// Seals every secret with the current key that is not sealed with it yet. Returns how many those were.
    pub async fn reseal(&self) -> Result<u64, RuntimeError> {
        let _changing = self.changing.lock().await;
        let keyring = self.keyring()?;
        let mut count = 0;
        // Whether there was anything to do.
        let mut again = |purpose: &str, sealed: &mut Option<String>| -> Result<bool, RuntimeError> {
            let Some(text) = sealed.as_ref().filter(|text| keyring.needs_rotation(text)) else { return Ok(false) };
            *sealed = Some(keyring.seal(purpose, keyring.open(purpose, text)?.expose())?);
            count += 1;
            Ok(true)
        };
        for mut integration in self.integrations(None, usize::MAX).await? {
            if again(&integration.purpose(), &mut integration.sealed_secret)? {
                self.put_document(DocumentKind::Integration, integration.name.as_str(), &integration).await?;
            }
        }
        for mut connection in self.connections(None, usize::MAX).await? {
            let purpose = connection.purpose();
            let (given, had) =
                (again(&purpose, &mut connection.sealed)?, again(&purpose, &mut connection.sealed_tokens)?);
            if given || had {
                self.put_document(DocumentKind::Connection, connection.name.as_str(), &connection).await?;
            }
        }
        self.accounts.forget_all();
        Ok(count)
    }
}

/// The parser's error may quote what it parsed, and that is secret here.
fn encode(_: serde_json::Error) -> StoreError {
    let source = std::io::Error::other("it is not the JSON that was expected");
    StoreError::Storage { doing: "read or write a credential", source }
}

/// Keeps the tokens of a connection.
struct Keeper {
    runtime: Weak<super::Inner>,
    connection: ConnectionName,
    /// When the credential was given. What is learned of one that was replaced meanwhile is of no use to its successor.
    given_at: Timestamp,
}

impl Keeper {
    async fn change(
        &self,
        change: impl FnOnce(&Runtime, &mut Connection) -> Result<(), RuntimeError>,
    ) -> Result<(), String> {
        let runtime = Runtime::upgrade(&self.runtime).ok_or("the service is about to stop")?;
        let kept = async {
            let _changing = runtime.changing.lock().await;
            let mut connection = runtime.connection(&self.connection).await?;
            if connection.credential_given_at != self.given_at {
                return Ok(());
            }
            change(&runtime, &mut connection)?;
            runtime.put_document(DocumentKind::Connection, self.connection.as_str(), &connection).await
        };
        kept.await.map_err(|error: RuntimeError| error.to_string())
    }
}

impl TokenKeeper for Keeper {
    fn keep(&self, tokens: &Tokens) -> BoxFuture<'_, Result<(), String>> {
        let text = serde_json::to_vec(tokens).map_err(|_| "the tokens cannot be written as JSON".to_owned());
        Box::pin(async move {
            let text = text?;
            let seal = |runtime: &Runtime, connection: &mut Connection| {
                connection.sealed_tokens = Some(runtime.keyring()?.seal(&connection.purpose(), &text)?);
                connection.refused = None;
                Ok(())
            };
            self.change(seal).await
        })
    }

    fn refused(&self, reason: &str) -> BoxFuture<'_, ()> {
        let reason = reason.to_owned();
        Box::pin(async move {
            let note = |_: &Runtime, connection: &mut Connection| {
                connection.refused = Some(reason);
                Ok(())
            };
            if let Err(error) = self.change(note).await {
                tracing::error!(%error, connection = %self.connection, "that a credential was refused could not be noted");
            }
        })
    }
}
