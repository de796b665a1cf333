//! `terapi call`

use std::process::ExitCode;

use clap::Args;
use reqwest::{Method, StatusCode};

use super::args::json_or_file;
use super::client::{Client, Content, Header, problem};
use super::{Context, Failed, output};
use crate::api::views::CallView;
use crate::ids::{ConnectionName, ScriptName};
use crate::runtime::CallState;

/// Call an action
#[derive(Debug, Args)]
#[command(after_help = "Example:
  terapi call acme create-issue --input '{\"repository\": \"a/b\", \"title\": \"Hello\"}'")]
pub(super) struct Call {
    /// The connection
    connection: ConnectionName,
    /// The action
    action: ScriptName,
    /// Its input: JSON, a file with it, or `-`
    #[arg(long, default_value = "{}", value_name = "JSON|FILE")]
    input: String,
    /// Do not wait for its end
    #[arg(long = "async")]
    later: bool,
    /// The same call with the same key within a day is not done again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Call {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let input = json_or_file("the input", &self.input)?;
        let client = context.client()?;
        if self.later && client.is_here() {
            return Err(Failed::usage(
                "--async is for a server: on a data directory the action ends with this command",
            ));
        }
        let mut headers: Vec<Header> = Vec::new();
        if let Some(key) = self.idempotency_key {
            headers.push(("idempotency-key", key));
        }
        if self.later {
            headers.push(("prefer", "respond-async".to_owned()));
        }
        call(context, &client, &self.connection, &self.action, input, &headers).await
    }
}

/// Calls an action and shows what came of it.
pub(super) async fn call(
    context: &Context,
    client: &Client,
    connection: &ConnectionName,
    action: &ScriptName,
    input: String,
    headers: &[Header],
) -> Result<ExitCode, Failed> {
    let path = format!("/v1/connections/{connection}/actions/{action}");
    let (status, text) = client.answer(Method::POST, &path, Content::Json(input), headers).await?;
    if !status.is_success() && status != StatusCode::FAILED_DEPENDENCY {
        return Err(problem(status, &text));
    }
    let call: CallView = super::client::parse(&text)?;
    output::answer(context, &text, |call: CallView| {
        show(&call);
        Ok(())
    })?;
    let fine = matches!(call.state, CallState::Succeeded | CallState::Running);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(call: &CallView) {
    if let Some(error) = &call.error {
        output::error(Some(&error.code), &output::printable(&error.message));
        if let Some(details) = &error.details {
            anstream::eprintln!("  {}", output::printable(details.get()));
        }
        return;
    }
    match (&call.output, call.state) {
        (Some(result), _) => anstream::println!("{}", output::printable(result.get())),
        (None, CallState::Running) => anstream::println!("{}  is under way: GET /v1/calls/{}", call.script, call.id),
        (None, _) => {}
    }
}
