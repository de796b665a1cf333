//! `terapi environment`

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;

use super::client::Content;
use super::{Context, Failed, key, output};
use crate::api::EnvironmentSpec;
use crate::api::views::EnvironmentView;
use crate::ids::EnvironmentName;

/// Manage environments, each with its own data and keys
#[derive(Debug, Subcommand)]
pub(super) enum EnvironmentCommand {
    /// Make an environment, and its first key, whose text is shown this once
    Add {
        /// Its name
        name: EnvironmentName,
    },
    /// List environments
    List,
}

impl EnvironmentCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let client = context.client()?;
        match self {
            Self::Add { name } => {
                let body = Content::json(&EnvironmentSpec { name })?;
                key::new_key(context, &client.text(Method::POST, "/v1/environments", body).await?)?;
            }
            Self::List => {
                let items = client.get::<super::client::Page>("/v1/environments").await?.items;
                output::list(context, items, "", &["name"], |it: EnvironmentView| vec![it.name.to_string()])?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
