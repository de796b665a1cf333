//! A large list in flat memory: a million issues of some kilobytes each pass through a script that never holds more than one page.
//!
//! Three things make it so. `pages` hands out one answer at a time, which is dropped at the end of the loop's body.
//! `mapping` borrows from the answer instead of copying it. And `batch_save` writes each record straight from there.

use std::borrow::Cow;

use terapi_guest::prelude::*;

mod mapping;

use mapping::{ApiIssue, Issue};

#[data]
struct Config {
    /// The repository as `owner/name`, such as `rust-lang/rust`.
    repository: String,
}

/// Keeps all issues of a very large GitHub repository, open and closed, without pull requests.
#[sync(mode = "full-refresh", models = [Issue], frequency = "every day", base_url = "https://api.github.com")]
fn large_dataset(run: &Run<Config>) -> Result<()> {
    let list = get(format!("/repos/{}/issues", run.config.repository)).query("state", "all").query("per_page", 100);
    for page in list.pages(Link::in_header()) {
        let page = page?;
        let issues: Vec<ApiIssue> = page.json()?;
        batch_save(issues.iter().filter(|issue| !issue.is_pull_request()).map(Issue::from))?;
    }
    Ok(())
}

/// By hand instead of by `#[model]`, so that `mapping` needs nothing but serde and can be tested and measured outside of a component.
impl Model for Issue<'_> {
    const NAME: &'static str = "Issue";

    fn id(&self) -> Cow<'_, str> {
        self.id.get().into()
    }

    fn schema() -> String {
        include_str!("issue.schema.json").to_owned()
    }

    fn write_json(&self, out: &mut Vec<u8>) -> Result<()> {
        Ok(serde_json::to_writer(out, self)?)
    }
}
