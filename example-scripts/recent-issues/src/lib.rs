//! An incremental sync whose first run does not take everything: only what changed within the last days.

use serde::de::IgnoredAny;
use terapi_guest::prelude::*;

// What the API and the record call alike needs no second struct: this one is read *and* saved.
/// An issue of the repository.
#[model]
#[derive(Deserialize)]
struct Issue {
    id: u64, // written as a string, as every id
    number: u64,
    title: String,
    state: String,
    html_url: String,
    updated_at: Timestamp,
    // For GitHub a pull request is an issue too, with this field more. It is read, but not saved.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pull_request: Option<IgnoredAny>,
}

#[data]
struct Config {
    /// The repository as `owner/name`, such as `rust-lang/rust`.
    repository: String,
    /// How many days the first run looks back.
    #[serde(default = "thirty")]
    days: u32,
}

fn thirty() -> u32 {
    30
}

/// Keeps the issues of a GitHub repository, from some days before the first run on.
#[sync(mode = "incremental", models = [Issue], frequency = "every 5 minutes", base_url = "https://api.github.com")]
fn recent_issues(run: &Run<Config>) -> Result<()> {
    let since = last_sync_date().unwrap_or_else(|| Timestamp::days_ago(run.config.days));
    info!("asking for changes since {since}"; repository = run.config.repository);

    let request = get(format!("/repos/{}/issues", run.config.repository))
        .query("state", "all")
        .query("since", since)
        .query("per_page", 100);
    // By page numbers rather than by `Link`, so that Terapi can fetch pages ahead while this one is worked on.
    for page in request.pages(PageNumber::of("").send_as("page").ahead(4)) {
        let issues: Vec<Issue> = page?.json()?;
        batch_save(issues.iter().filter(|issue| issue.pull_request.is_none()))?;
    }
    Ok(())
}
