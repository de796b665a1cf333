//! From GitHub's issue to the record. Nothing here is copied or converted: a `&RawValue` is the piece of the answer's text where the
//! value stands, and is written as it is. That is also the safest way with strings, since escapes stay what they are.

use serde::de::IgnoredAny;
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An issue as GitHub answers it, as far as it matters here.
#[derive(Deserialize)]
pub struct ApiIssue<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    number: &'a RawValue,
    title: &'a RawValue,
    state: &'a RawValue,
    user: Option<User<'a>>,
    labels: Vec<Label<'a>>,
    body: Option<&'a RawValue>,
    created_at: &'a RawValue,
    updated_at: &'a RawValue,
    closed_at: Option<&'a RawValue>,
    pull_request: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    login: &'a RawValue,
}

#[derive(Deserialize)]
struct Label<'a> {
    #[serde(borrow)]
    name: &'a RawValue,
}

impl ApiIssue<'_> {
    /// For GitHub a pull request is an issue too, with one field more.
    pub fn is_pull_request(&self) -> bool {
        self.pull_request.is_some()
    }
}

/// An issue as it is saved.
#[derive(Serialize)]
pub struct Issue<'a> {
    /// The number that GitHub gives, saved as a string.
    #[serde(serialize_with = "as_string")]
    pub id: &'a RawValue,
    number: &'a RawValue,
    title: &'a RawValue,
    state: &'a RawValue,
    author: Option<&'a RawValue>,
    #[serde(serialize_with = "names")]
    labels: &'a [Label<'a>],
    body: Option<&'a RawValue>,
    created_at: &'a RawValue,
    updated_at: &'a RawValue,
    closed_at: Option<&'a RawValue>,
}

impl<'a> From<&'a ApiIssue<'a>> for Issue<'a> {
    fn from(issue: &'a ApiIssue<'a>) -> Self {
        Self {
            id: issue.id,
            number: issue.number,
            title: issue.title,
            state: issue.state,
            author: issue.user.as_ref().map(|user| user.login),
            labels: &issue.labels,
            body: issue.body,
            created_at: issue.created_at,
            updated_at: issue.updated_at,
            closed_at: issue.closed_at,
        }
    }
}

fn as_string<S: Serializer>(number: &RawValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(number.get())
}

fn names<S: Serializer>(labels: &[Label<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    let mut names = serializer.serialize_seq(Some(labels.len()))?;
    for label in labels {
        names.serialize_element(label.name)?;
    }
    names.end()
}
