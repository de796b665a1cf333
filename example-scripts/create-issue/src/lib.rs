//! An action: the app calls it with an input, and it does one thing in the external system. It saves no records; the next
//! run of `github-issues` brings the new issue in.

use terapi_guest::prelude::*;

// Its JSON Schema, comments included, is what the app's developer reads.
/// The issue to create.
#[data]
struct Input {
    /// The repository as `owner/name`.
    repository: String,
    title: String,
    /// Markdown.
    body: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
}

/// The issue that was created.
#[data]
struct Output {
    /// The id of the record that the issue will be.
    id: String,
    number: u64,
    url: String,
}

/// Creates an issue in a GitHub repository.
#[action(base_url = "https://api.github.com")]
fn create_issue(input: &Input) -> Result<Output> {
    // A POST is not repeated by itself: after a time-out the issue may be there already, and twice is worse than an error.
    let answer = post(format!("/repos/{}/issues", input.repository))
        .json(&NewIssue { title: &input.title, body: input.body.as_deref(), labels: &input.labels })
        .send()
        .context(format!("creating an issue in {}", input.repository))?;
    let issue: ApiIssue = answer.json()?;
    info!("created #{}", issue.number; repository = input.repository);
    Ok(Output { id: issue.id.to_string(), number: issue.number, url: issue.html_url })
}

// What GitHub wants and answers: https://docs.github.com/rest/issues/issues#create-an-issue

#[derive(Serialize)]
struct NewIssue<'a> {
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    labels: &'a [String],
}

#[derive(Deserialize)]
struct ApiIssue {
    id: u64,
    number: u64,
    html_url: String,
}
