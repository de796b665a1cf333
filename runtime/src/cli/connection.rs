//! `terapi connection`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use url::Url;

use super::args::{SecretArg, confirm, object, with_query};
use super::client::Content;
use super::{Context, Failed, output};
use crate::api::views::ConnectionView;
use crate::ids::{ConnectionName, IntegrationName};
use crate::runtime::{ConnectionSpec, CredentialSpec, Hidden};

/// Manage accounts at integrations: credentials, metadata
#[derive(Debug, Subcommand)]
pub(super) enum ConnectionCommand {
    /// List connections
    List {
        /// Only those at this integration
        #[arg(long, value_name = "NAME")]
        integration: Option<IntegrationName>,
    },
    /// Show one
    Show {
        /// Its name
        name: ConnectionName,
    },
    /// Create a connection
    #[command(after_help = SECRETS_HELP)]
    Create(Box<Create>),
    /// Replace a connection's credential
    #[command(after_help = SECRETS_HELP)]
    Credential {
        /// The connection
        name: ConnectionName,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Show or replace what is fixed about a connection's account, for its scripts to read
    #[command(after_help = "Example:
  terapi connection config acme --set '{\"site\": \"acme-eu\"}'")]
    Config {
        /// The connection
        name: ConnectionName,
        /// Replace all of it: a JSON object, a file with one, or `-`
        #[arg(long, value_name = "JSON|FILE")]
        set: Option<String>,
    },
    /// Show, replace or change a connection's metadata
    #[command(after_help = "Example:
  terapi connection metadata acme --merge '{\"project\": \"WEB\"}'")]
    Metadata {
        /// The connection
        name: ConnectionName,
        /// Replace all of it: a JSON object, a file with one, or `-`
        #[arg(long, value_name = "JSON|FILE", conflicts_with = "merge")]
        set: Option<String>,
        /// Replace the fields given here: a JSON object, a file with one, or `-`
        #[arg(long, value_name = "JSON|FILE")]
        merge: Option<String>,
    },
    /// Delete a connection with its syncs, records, runs and credential
    Delete {
        /// Its name
        name: ConnectionName,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

const SECRETS_HELP: &str =
    "A secret on the command line is seen by others on the machine and kept by the shell: let it \
come from standard input with `-`, or from a file with `@FILE`. Examples:
  terapi connection create acme --integration github --bearer - < token
  terapi connection credential acme --basic @user-and-password";

/// A connection to make.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its name
    name: ConnectionName,
    /// The API that it is an account at
    #[arg(long, value_name = "NAME")]
    integration: IntegrationName,
    /// The account's own base URL, where each has one
    #[arg(long, value_name = "URL")]
    base_url: Option<Url>,
    /// What is fixed about the account, such as its tenant or site: a JSON object, or a file with one; nothing secret
    #[arg(long, value_name = "JSON|FILE")]
    config: Option<String>,
    /// Its metadata: a JSON object, or a file with one
    #[arg(long, value_name = "JSON|FILE")]
    metadata: Option<String>,
    #[command(flatten)]
    credential: CredentialArgs,
}

/// What shows who a connection is.
#[derive(Debug, Args)]
pub(super) struct CredentialArgs {
    /// A key, where the integration says `api-key-header` or `api-key-query`
    #[arg(long, value_name = "-|@FILE|KEY", group = "secret")]
    api_key: Option<SecretArg>,
    /// A token that stays the same
    #[arg(long, value_name = "-|@FILE|TOKEN", group = "secret")]
    bearer: Option<SecretArg>,
    /// User and password, with a colon between
    #[arg(long, value_name = "-|@FILE|USER:PASS", group = "secret")]
    basic: Option<SecretArg>,
    /// OAuth: the refresh token that the account's user allowed
    #[arg(long, value_name = "-|@FILE|TOKEN", group = "secret")]
    refresh_token: Option<SecretArg>,
    /// OAuth: the secret of the account's own client
    #[arg(long, value_name = "-|@FILE|SECRET", group = "secret")]
    client_secret: Option<SecretArg>,
    /// OAuth: the name of the account's own client
    #[arg(long, value_name = "ID", requires = "client_secret")]
    client_id: Option<String>,
    /// No credential
    #[arg(long, group = "secret")]
    no_credential: bool,
}

impl CredentialArgs {
    fn spec(&self) -> Result<Option<CredentialSpec>, Failed> {
        if let Some(key) = &self.api_key {
            return Ok(Some(CredentialSpec::ApiKey { key: key.read()? }));
        }
        if let Some(token) = &self.bearer {
            return Ok(Some(CredentialSpec::Bearer { token: token.read()? }));
        }
        if let Some(basic) = &self.basic {
            let Hidden(text) = basic.read()?;
            let (username, password) = text
                .split_once(':')
                .ok_or_else(|| Failed::new("--basic is a user and a password with a colon between"))?;
            let password = Hidden(password.to_owned());
            return Ok(Some(CredentialSpec::Basic { username: username.to_owned(), password }));
        }
        if let Some(token) = &self.refresh_token {
            let refresh_token = token.read()?;
            let credential = CredentialSpec::Oauth2RefreshToken { refresh_token, access_token: None, expires_at: None };
            return Ok(Some(credential));
        }
        if let Some(secret) = &self.client_secret {
            let (client_id, client_secret) = (self.client_id.clone(), Some(secret.read()?));
            return Ok(Some(CredentialSpec::Oauth2ClientCredentials { client_id, client_secret }));
        }
        Ok(self.no_credential.then_some(CredentialSpec::None))
    }
}

impl ConnectionCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        match self {
            Self::List { integration } => {
                let query = integration.map(|name| ("integration", name.to_string()));
                let items = context.client()?.all(&with_query("/v1/connections", query)).await?;
                let columns = ["name", "integration", "credential", "base url", "updated"];
                output::list(context, items, "no connections yet: terapi connection create NAME", &columns, |it| {
                    row(&it)
                })?;
            }
            Self::Show { name } => {
                let path = format!("/v1/connections/{name}");
                let client = context.client()?;
                let text = client.text(Method::GET, &path, Content::None).await?;
                output::answer(context, &text, |it| {
                    show(it);
                    Ok(())
                })?;
                if !context.json {
                    let metadata: serde_json::Value = client.get(&format!("{path}/metadata")).await?;
                    output::facts([("metadata", Some(metadata.to_string()))]);
                }
            }
            Self::Create(create) => {
                let metadata = create.metadata.as_deref().map(|text| object("the metadata", text)).transpose()?;
                let config = create.config.as_deref().map(|text| object("the configuration", text)).transpose()?;
                let spec = ConnectionSpec {
                    name: create.name,
                    integration: create.integration,
                    base_url: create.base_url,
                    config,
                    credential: create.credential.spec()?.unwrap_or_default(),
                    metadata,
                };
                let client = context.client()?;
                let text = client.text(Method::POST, "/v1/connections", Content::json(&spec)?).await?;
                said(context, "created", &text)?;
            }
            Self::Credential { name, credential } => {
                let credential = credential.spec()?.ok_or_else(|| {
                    Failed::usage("say which credential: --api-key, --bearer, --basic, --refresh-token, --client-secret or --no-credential")
                })?;
                let path = format!("/v1/connections/{name}/credential");
                let text = context.client()?.text(Method::PUT, &path, Content::json(&credential)?).await?;
                said(context, "changed", &text)?;
            }
            Self::Config { name, set } => {
                let path = format!("/v1/connections/{name}");
                let client = context.client()?;
                let text = match set {
                    Some(text) => {
                        let config = Content::json(&object("the configuration", &text)?)?;
                        client.text(Method::PUT, &format!("{path}/config"), config).await?
                    }
                    None => client.text(Method::GET, &path, Content::None).await?,
                };
                let config = super::client::parse::<ConnectionView>(&text)?.config.unwrap_or_default();
                pretty(context, &serde_json::to_string(&config).map_err(|error| Failed::new(error.to_string()))?)?;
            }
            Self::Metadata { name, set, merge } => {
                let (method, body) = match (set, merge) {
                    (Some(text), _) => (Method::PUT, Content::json(&object("the metadata", &text)?)?),
                    (_, Some(text)) => (Method::PATCH, Content::json(&object("the metadata", &text)?)?),
                    _ => (Method::GET, Content::None),
                };
                let path = format!("/v1/connections/{name}/metadata");
                pretty(context, &context.client()?.text(method, &path, body).await?)?;
            }
            Self::Delete { name, yes } => {
                confirm(yes, &format!("Delete connection {name} with its syncs, records and runs?"))?;
                context.client()?.text(Method::DELETE, &format!("/v1/connections/{name}"), Content::None).await?;
                output::done(context, "deleted", format_args!("connection {name}, with its records"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A JSON object as people read it.
fn pretty(context: &Context, text: &str) -> Result<(), Failed> {
    output::answer(context, text, |value: serde_json::Value| {
        let text = serde_json::to_string_pretty(&value).map_err(|error| Failed::new(error.to_string()))?;
        anstream::println!("{text}");
        Ok(())
    })
}

fn said(context: &Context, word: &str, text: &str) -> Result<(), Failed> {
    output::answer(context, text, |it: ConnectionView| {
        output::done(context, word, format_args!("connection {} (credential: {})", it.name, it.credential));
        Ok(())
    })
}

fn row(it: &ConnectionView) -> Vec<String> {
    let credential = if it.refused.is_some() { format!("{}, refused", it.credential) } else { it.credential.clone() };
    vec![
        it.name.to_string(),
        it.integration.to_string(),
        credential,
        output::or_dash(it.base_url.clone()),
        output::time(it.updated_at),
    ]
}

fn show(it: ConnectionView) {
    let bold = output::BOLD;
    anstream::println!("{bold}{}{bold:#}", it.name);
    output::facts([
        ("integration", Some(it.integration.to_string())),
        ("base URL", it.base_url),
        ("config", it.config.map(|config| serde_json::Value::Object(config).to_string())),
        ("credential", Some(it.credential)),
        ("refused", it.refused),
        ("created", Some(output::time(it.created_at))),
        ("updated", Some(output::time(it.updated_at))),
    ]);
}
