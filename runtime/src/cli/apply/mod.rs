//! `terapi apply`: a file says what there is to be; what is there is compared, and made so. Nothing is deleted.
//!
//! `file` reads what is wanted, `plan` compares it with what is there, and here the plan is shown and done.

mod file;
mod plan;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use self::plan::{Action, Plan};
use super::args::confirm;
use super::client::{Client, Content, problem};
use super::{Context, Failed, output};

pub(super) use self::plan::differences;

/// Make integrations, connections and syncs as a file says
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is deleted, and what is as the file says is left alone. Example of a file (JSON works, too):

  [integrations.github]
  base_url = \"https://api.github.com\"
  auth = { type = \"bearer\" }
  rate = { limits = [{ requests = 5000, per_ms = 3600000 }], concurrency = 10 }

  [connections.acme]
  integration = \"github\"
  metadata = { team = \"web\" }
  credential = { type = \"bearer\", token = { env = \"GITHUB_TOKEN\" } }   # or { file = \"PATH\" }

  [[syncs]]
  script = \"github-issues\"
  connection = \"acme\"
  config = { repository = \"rust-lang/cargo\" }
  frequency = \"every 10 minutes\"
  paused = false"
)]
pub(super) struct Apply {
    /// The file: TOML, or JSON if its name ends with .json
    file: PathBuf,
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
    /// Only show what would be done
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Send credentials and secrets also where there is one of the same kind already: nobody can see whether they differ
    #[arg(long)]
    credentials: bool,
}

impl Apply {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let wanted = file::read(&self.file)?;
        let client = context.client()?;
        let plan = plan::plan(&client, wanted, self.credentials).await?;
        let changes = plan.steps.iter().filter(|step| step.action != Action::Unchanged).count();
        if !context.json {
            show(&plan);
        }
        if changes > 0 && !self.dry_run {
            confirm(self.yes, "Apply this?")?;
            for step in &plan.steps {
                for call in &step.calls {
                    make(&client, call).await.map_err(|failed| Failed {
                        message: format!("{} {}: {}", step.what, step.name, failed.message),
                        ..failed
                    })?;
                }
                if step.action != Action::Unchanged {
                    let word = if step.action == Action::Create { "created" } else { "changed" };
                    output::done(context, word, format_args!("{} {}", step.what, step.name));
                }
            }
        }
        if context.json {
            output::json(&json!({ "steps": plan.steps, "changes": changes, "applied": !self.dry_run }))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn make(client: &Client, call: &plan::Call) -> Result<(), Failed> {
    let content = |text: &Option<String>| text.clone().map_or(Content::None, Content::Json);
    let (status, text) = client.answer(call.method.clone(), &call.path, content(&call.body), &[]).await?;
    if status.is_success() {
        return Ok(());
    }
    let failed = problem(status, &text);
    match &call.if_exists {
        // A script that wants a sync for each connection may have been quicker.
        Some(instead) if failed.code.as_deref() == Some("already-exists") => {
            client.text(instead.method.clone(), &instead.path, content(&instead.body)).await.map(drop)
        }
        _ => Err(failed),
    }
}

fn show(plan: &Plan) {
    let (green, yellow, dim) = (output::GREEN, output::YELLOW, output::DIM);
    for step in &plan.steps {
        let (what, name) = (step.what, &step.name);
        match step.action {
            Action::Create => anstream::println!("{green}+ {what} {name}{green:#}"),
            Action::Change => anstream::println!("{yellow}~ {what} {name}{yellow:#}"),
            Action::Unchanged => anstream::println!("{dim}  {what} {name}: unchanged{dim:#}"),
        }
        for change in &step.fields {
            let text = |value: &serde_json::Value| match value {
                serde_json::Value::Null => "nothing".to_owned(),
                value => output::printable(&value.to_string()),
            };
            anstream::println!("    {}: {} → {}", change.field, text(&change.from), text(&change.to));
        }
    }
    if plan.steps.is_empty() {
        anstream::println!("the file names nothing");
    }
}
