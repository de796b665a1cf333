//! `terapi secrets`

use std::process::ExitCode;

use clap::Subcommand;

use super::{Context, Failed, output};

/// Manage the keys that credentials are sealed with
#[derive(Debug, Subcommand)]
pub(super) enum SecretsCommand {
    /// Seal every credential with a new key, and forget the old one
    #[command(
        after_help = "Works on the data directory, while no server has it. Keys from TERAPI_SECRETS_KEYS are yours to \
change: put the new one first, keep the old one behind it, rotate, and then leave the old one out."
    )]
    Rotate,
}

impl SecretsCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        context.only_here("`terapi secrets rotate`")?;
        let Self::Rotate = self;
        let sealed = context.service()?.rotate_secrets().await?;
        if context.json {
            output::json(&serde_json::json!({ "sealed": sealed }))?;
        } else {
            let secrets = if sealed == 1 { "secret" } else { "secrets" };
            output::done(context, "rotated", format_args!("{} {secrets} sealed anew", output::count(sealed)));
        }
        Ok(ExitCode::SUCCESS)
    }
}
