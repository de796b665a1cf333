//! An incremental sync: the first run takes everything, the later ones only what changed since the last success.

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
    body: Option<String>,
    created_at: String,
    updated_at: String,
    closed_at: Option<String>,
}

#[data]
struct Config {
    /// The repository as `owner/name`, such as `rust-lang/rust`.
    repository: String,
}

/// Keeps the issues of a GitHub repository, open and closed, without pull requests.
#[sync(mode = "incremental", models = [Issue], frequency = "every 5 minutes", base_url = "https://api.github.com")]
fn github_issues(run: &Run<Config>) -> Result<()> {
    let mut request = get(format!("/repos/{}/issues", run.config.repository))
        .query("state", "all")
        .query("sort", "updated")
        .query("direction", "asc")
        .query("per_page", 100);
    // None on the first run and after a reset. It is when the last run *started*, so nothing falls in between.
    if let Some(date) = last_sync_date() {
        request = request.query("since", date);
    }
    for page in request.pages(Link::in_header()) {
        let issues: Vec<ApiIssue> = page?.json()?;
        // For GitHub a pull request is an issue too, with one field more.
        batch_save(issues.into_iter().filter(|issue| issue.pull_request.is_none()).map(|issue| Issue {
            id: issue.id,
            number: issue.number,
            title: issue.title,
            state: issue.state,
            author: issue.user.map(|user| user.login),
            labels: issue.labels.into_iter().map(|label| label.name).collect(),
            body: issue.body,
            created_at: issue.created_at,
            updated_at: issue.updated_at,
            closed_at: issue.closed_at,
        }))?;
    }
    Ok(())
}

// What GitHub answers, as far as it matters here: https://docs.github.com/rest/issues/issues#list-repository-issues

#[derive(Deserialize)]
struct ApiIssue {
    id: u64,
    number: u64,
    title: String,
    state: String,
    user: Option<User>,
    labels: Vec<Label>,
    body: Option<String>,
    created_at: String,
    updated_at: String,
    closed_at: Option<String>,
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
