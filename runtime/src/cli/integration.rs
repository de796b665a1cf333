//! `terapi integration`

use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use reqwest::Method;
use url::Url;

use super::args::{SecretArg, json_or_file};
use super::client::Content;
use super::{Context, Failed, output};
use crate::api::views::IntegrationView;
use crate::config::units::parse_duration;
use crate::egress::{ClientAuth, HostPattern, RateLimit, RateRules};
use crate::ids::IntegrationName;
use crate::runtime::{Auth, IntegrationSpec, OauthClient};

/// Manage external APIs: where they are, who may be asked there, with what manners
#[derive(Debug, Subcommand)]
pub(super) enum IntegrationCommand {
    /// List integrations
    List,
    /// Show one
    Show {
        /// Its name
        name: IntegrationName,
    },
    /// Create an integration, or replace what was set of it
    #[command(after_help = "Examples:
  terapi integration put github --base-url https://api.github.com --auth bearer --rate 5000/1h --concurrency 10
  terapi integration put shop --base-url https://shop.example --auth api-key-header --auth-name X-Api-Key
  terapi integration put big --file big.json")]
    Put(Box<Put>),
    /// Delete an integration that has no connections
    Delete {
        /// Its name
        name: IntegrationName,
    },
}

/// What an integration is to be.
#[derive(Debug, Args)]
pub(super) struct Put {
    /// Its name
    name: IntegrationName,
    /// Take all of it from this file: JSON, as the API takes it; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "set")]
    file: Option<String>,
    #[command(flatten)]
    set: Set,
}

#[derive(Debug, Args)]
#[group(id = "set", multiple = true)]
struct Set {
    /// What a script's paths are appended to, such as `https://api.github.com`
    #[arg(long, value_name = "URL")]
    base_url: Option<Url>,
    /// A host that scripts may reach besides: `api.github.com`, `*.example.com`; may repeat
    #[arg(long, value_name = "HOST")]
    host: Vec<HostPattern>,
    /// A network that is not public and may be reached; `[network] allow` must have it; may repeat
    #[arg(long, value_name = "CIDR")]
    network: Vec<IpNet>,
    /// How connections show who they are
    #[arg(long, value_enum, default_value = "none")]
    auth: AuthKind,
    /// The name of the header or query parameter that has the API key
    #[arg(long, value_name = "NAME", required_if_eq_any([("auth", "api-key-header"), ("auth", "api-key-query")]))]
    auth_name: Option<String>,
    /// What stands before the key in its header, such as `Token `
    #[arg(long, value_name = "TEXT")]
    auth_prefix: Option<String>,
    /// A host to which the credential is attached, instead of the base URL's; may repeat
    #[arg(long, value_name = "HOST")]
    credential_host: Vec<HostPattern>,
    /// OAuth: where tokens are had
    #[arg(
        long,
        value_name = "URL",
        required_if_eq_any([("auth", "oauth2-client-credentials"), ("auth", "oauth2-refresh-token")])
    )]
    token_url: Option<Url>,
    /// OAuth: the client's name
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// OAuth: the client's secret; better `-` for standard input or `@FILE` than the secret itself
    #[arg(long, value_name = "-|@FILE|SECRET")]
    client_secret: Option<SecretArg>,
    /// OAuth: what to ask for; may repeat
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// OAuth: send the client's name and secret in the body
    #[arg(long)]
    client_auth_body: bool,
    /// At most so many requests in so long, over all connections, such as 10/1s; may repeat
    #[arg(long, value_name = "N/TIME")]
    rate: Vec<Rate>,
    /// At most so many requests at once, over all connections
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// At most so many requests in so long for each connection; may repeat
    #[arg(long, value_name = "N/TIME")]
    connection_rate: Vec<Rate>,
    /// At most so many requests at once for each connection
    #[arg(long, value_name = "N")]
    connection_concurrency: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AuthKind {
    None,
    ApiKeyHeader,
    ApiKeyQuery,
    Bearer,
    Basic,
    #[value(name = "oauth2-client-credentials")]
    Oauth2ClientCredentials,
    #[value(name = "oauth2-refresh-token")]
    Oauth2RefreshToken,
}

/// `10/1s`
#[derive(Debug, Clone)]
struct Rate(RateLimit);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "use requests and a time, such as 10/1s or 5000/1h".to_owned();
        let (requests, per) = text.split_once('/').ok_or_else(wrong)?;
        let requests: u32 = requests.trim().parse().map_err(|_| wrong())?;
        // `10/s` is how people say it.
        let per = per.trim();
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
        let per = parse_duration(&per).map_err(|_| wrong())?;
        let per_ms = u64::try_from(per.as_millis()).map_err(|_| wrong())?;
        if requests == 0 || per_ms == 0 {
            return Err(wrong());
        }
        Ok(Self(RateLimit { requests, per_ms }))
    }
}

impl Set {
    fn spec(self) -> Result<IntegrationSpec, Failed> {
        let rules = |rates: Vec<Rate>, concurrency| RateRules {
            limits: rates.into_iter().map(|rate| rate.0).collect(),
            concurrency,
        };
        let auth = self.auth()?;
        Ok(IntegrationSpec {
            base_url: self.base_url,
            hosts: self.host,
            networks: self.network,
            auth,
            credential_hosts: self.credential_host,
            rate: rules(self.rate, self.concurrency),
            connection_rate: rules(self.connection_rate, self.connection_concurrency),
            ..IntegrationSpec::default()
        })
    }

    fn auth(&self) -> Result<Auth, Failed> {
        let client = || -> Result<OauthClient, Failed> {
            let token_url = self.token_url.clone().ok_or_else(|| Failed::new("--token-url is missing"))?;
            Ok(OauthClient {
                token_url,
                client_id: self.client_id.clone(),
                client_secret: self.client_secret.as_ref().map(SecretArg::read).transpose()?,
                scopes: self.scope.clone(),
                client_auth: if self.client_auth_body { ClientAuth::Body } else { ClientAuth::Basic },
                parameters: std::collections::BTreeMap::new(),
            })
        };
        let name = self.auth_name.clone().unwrap_or_default();
        Ok(match self.auth {
            AuthKind::None => Auth::None,
            AuthKind::ApiKeyHeader => Auth::ApiKeyHeader { name, prefix: self.auth_prefix.clone().unwrap_or_default() },
            AuthKind::ApiKeyQuery => Auth::ApiKeyQuery { name },
            AuthKind::Bearer => Auth::Bearer,
            AuthKind::Basic => Auth::Basic,
            AuthKind::Oauth2ClientCredentials => Auth::Oauth2ClientCredentials(client()?),
            AuthKind::Oauth2RefreshToken => Auth::Oauth2RefreshToken(client()?),
        })
    }
}

impl IntegrationCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let client = context.client()?;
        match self {
            Self::List => {
                let items = client.all("/v1/integrations").await?;
                let columns = ["name", "base url", "auth", "rate", "updated"];
                output::list(context, items, "no integrations yet: terapi integration put NAME", &columns, |it| {
                    row(&it)
                })?;
            }
            Self::Show { name } => {
                let path = format!("/v1/integrations/{name}");
                output::answer(context, &client.text(Method::GET, &path, Content::None).await?, |it| {
                    show(&it);
                    Ok(())
                })?;
            }
            Self::Put(put) => {
                let body = match &put.file {
                    Some(file) => Content::Json(json_or_file("the integration", file)?),
                    None => Content::json(&put.set.spec()?)?,
                };
                let path = format!("/v1/integrations/{}", put.name);
                let (status, text) = client.answer(Method::PUT, &path, body, &[]).await?;
                if !status.is_success() {
                    return Err(super::client::problem(status, &text));
                }
                let word = if status == reqwest::StatusCode::CREATED { "created" } else { "changed" };
                output::answer(context, &text, |it: IntegrationView| {
                    output::done(context, word, format_args!("integration {}", it.name));
                    Ok(())
                })?;
            }
            Self::Delete { name } => {
                client.text(Method::DELETE, &format!("/v1/integrations/{name}"), Content::None).await?;
                output::done(context, "deleted", format_args!("integration {name}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(it: &IntegrationView) -> Vec<String> {
    vec![
        it.name.to_string(),
        output::or_dash(it.spec.base_url.as_ref().map(Url::to_string)),
        it.spec.auth.kind().to_owned(),
        output::or_dash(Some(rates(&it.spec.rate)).filter(|text| !text.is_empty())),
        output::time(it.updated_at),
    ]
}

/// `10/1s, 4 at once`
fn rates(rules: &RateRules) -> String {
    let limits = rules
        .limits
        .iter()
        .map(|limit| format!("{}/{}", output::count(limit.requests.into()), output::exact(limit.per_ms)));
    let at_once = rules.concurrency.map(|concurrency| format!("{concurrency} at once"));
    limits.chain(at_once).collect::<Vec<_>>().join(", ")
}

fn show(it: &IntegrationView) {
    let bold = output::BOLD;
    anstream::println!("{bold}{}{bold:#}", it.name);
    let spec = &it.spec;
    let listed = |hosts: &[HostPattern]| Some(hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let mut auth = spec.auth.kind().to_owned();
    match &spec.auth {
        Auth::ApiKeyHeader { name, .. } | Auth::ApiKeyQuery { name } => auth = format!("{auth} {name}"),
        Auth::Oauth2ClientCredentials(client) | Auth::Oauth2RefreshToken(client) => {
            auth = format!("{auth} by {}", client.token_url);
        }
        _ => {}
    }
    let networks = spec.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    output::facts([
        ("base URL", spec.base_url.as_ref().map(Url::to_string)),
        ("hosts", listed(&spec.hosts)),
        ("networks", Some(networks)),
        ("auth", Some(auth)),
        ("secret", it.has_client_secret.then(|| "kept".to_owned())),
        ("sent to", listed(&spec.credential_hosts)),
        ("rate", Some(rates(&spec.rate))),
        ("a connection", Some(rates(&spec.connection_rate))),
        ("retries", Some(spec.retry.max.to_string())),
        ("pagination", spec.pagination.clone().map(|it| serde_json::Value::Object(it).to_string())),
        ("created", Some(output::time(it.created_at))),
        ("updated", Some(output::time(it.updated_at))),
    ]);
}
