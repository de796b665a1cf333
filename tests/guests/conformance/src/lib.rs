//! The sync that every language does alike: issues in pages by `Link`, changed ones by the last sync date, all of them with
//! tracked deletes where the configuration says so or there was no run before, a checkpoint after each page of such a pass.

use serde::de::IgnoredAny;
use terapi_guest::prelude::*;

/// An issue of the repository.
#[model]
struct Issue {
    id: u64, // written as a string, as every id
    number: u64,
    title: String,
    state: String,
    author: Option<String>,
    labels: Vec<String>,
    /// Any whole number, of any size.
    weight: Box<RawValue>,
    reactions: Reactions,
    milestone: Option<Milestone>,
    body: Option<String>,
    updated_at: String,
}

#[derive(Serialize, Deserialize, terapi_guest::__private::schemars::JsonSchema)]
#[schemars(crate = "terapi_guest::__private::schemars")]
struct Reactions {
    total_count: u64,
    #[serde(rename = "+1")]
    plus_one: u64,
    heart: u64,
}

#[derive(Serialize, Deserialize, terapi_guest::__private::schemars::JsonSchema)]
#[schemars(crate = "terapi_guest::__private::schemars")]
struct Milestone {
    title: String,
    due_on: Option<String>,
}

#[derive(Deserialize)]
struct ApiIssue {
    id: u64,
    number: u64,
    title: String,
    state: String,
    user: Option<User>,
    labels: Vec<Label>,
    weight: Box<RawValue>,
    reactions: Reactions,
    milestone: Option<Milestone>,
    body: Option<String>,
    updated_at: String,
    pull_request: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[data]
struct Config {
    /// The repository as `owner/name`.
    repository: String,
    /// Whether to look at all issues again, and delete those that are gone.
    #[serde(default)]
    all: bool,
}

#[derive(Serialize)]
struct Place {
    pages: u64,
}

/// Keeps the issues of a repository.
#[sync(mode = "incremental", models = [Issue], frequency = "every hour", base_url = "https://api.github.com")]
fn conformance(run: &Run<Config>) -> Result<()> {
    let since = if run.config.all { None } else { last_sync_date() };
    let mut request =
        get(format!("/repos/{}/issues", run.config.repository)).query("state", "all").query("per_page", 3);
    match since {
        Some(date) => request = request.query("since", date),
        None => track_deletes_start::<Issue>()?,
    }
    let mut place = Place { pages: 0 };
    for page in request.pages(Link::in_header()) {
        let issues: Vec<ApiIssue> = page?.json()?;
        batch_save(issues.into_iter().filter(|issue| issue.pull_request.is_none()).map(|issue| Issue {
            id: issue.id,
            number: issue.number,
            title: issue.title,
            state: issue.state,
            author: issue.user.map(|user| user.login),
            labels: issue.labels.into_iter().map(|label| label.name).collect(),
            weight: issue.weight,
            reactions: issue.reactions,
            milestone: issue.milestone,
            body: issue.body,
            updated_at: issue.updated_at,
        }))?;
        place.pages += 1;
        if since.is_none() {
            save_checkpoint(&place)?;
        }
    }
    if since.is_none() {
        track_deletes_end::<Issue>()?;
        clear_checkpoint()?;
    }
    Ok(())
}
