//! `terapi key`

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;

use super::client::Content;
use super::{Context, Failed, output};
use crate::api::KeySpec;
use crate::api::views::{KeyView, NewKeyView, ScopeView};
use crate::ids::Time;
use crate::keys::{Scope, Scopes};

/// Manage API keys
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key; its text is shown this once
    #[command(after_help = "Example, for an app that reads:
  terapi key add my-app --scopes read-records,run-actions")]
    Add {
        /// What people call it
        name: String,
        /// What it may do: read-records, run-actions, manage, deploy, separated by commas, or all
        #[arg(long, value_name = "SCOPES")]
        scopes: Scopes,
        /// From when on it opens nothing, such as 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires_at: Option<Time>,
    },
    /// List keys, by id, without what opens anything
    List,
    /// Take a key away; from then on it opens nothing
    Remove {
        /// Its id, as `terapi key list` shows it
        id: String,
    },
}

impl KeyCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let client = context.client()?;
        match self {
            Self::Add { name, scopes, expires_at } => {
                let scopes = scopes.iter().map(ScopeView::from).collect();
                let spec = KeySpec { name, scopes, expires_at };
                new_key(context, &client.text(Method::POST, "/v1/keys", Content::json(&spec)?).await?)?;
            }
            Self::List => {
                let items = client.all("/v1/keys").await?;
                let columns = ["id", "name", "scopes", "created", "last used", "expires"];
                output::list(context, items, "no keys yet: terapi key add NAME", &columns, |it: KeyView| {
                    vec![
                        it.id,
                        output::printable(&it.name),
                        scopes(&it.scopes),
                        output::time(it.created_at),
                        output::or_dash(it.last_used_at.map(output::time)),
                        output::or_dash(it.expires_at.map(output::time)),
                    ]
                })?;
            }
            Self::Remove { id } => {
                let encoded: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
                client.text(Method::DELETE, &format!("/v1/keys/{encoded}"), Content::None).await?;
                output::done(context, "removed", format_args!("key {id}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn scopes(scopes: &[ScopeView]) -> String {
    scopes.iter().map(|scope| Scope::from(*scope).as_str()).collect::<Vec<_>>().join(", ")
}

/// Shows a key that was just made, with its text.
pub(super) fn new_key(context: &Context, text: &str) -> Result<(), Failed> {
    output::answer(context, text, |it: NewKeyView| {
        let bold = output::BOLD;
        let key = &it.key;
        let what = format!("key {} of environment {} ({})", key.name, key.environment, scopes(&key.scopes));
        output::done(context, "made", what);
        anstream::println!("\nShown this once:\n\n  {bold}{}{bold:#}", it.text);
        Ok(())
    })
}
