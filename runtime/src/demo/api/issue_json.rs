//! An issue as the API spells it: the field set of GitHub's, with shorter users, about 1.5 KB.

use std::fmt::Write;

use super::issues::{Entry, Issue, IssueState, Issues};
use super::{json_string, mix, words, write_date};

/// Stand in a template for what differs. From a private area of Unicode, so that no text has them.
const HOLES: [char; 4] = ['\u{e000}', '\u{e001}', '\u{e002}', '\u{e003}'];

/// Writes issues, if asked to by copying templates.
#[derive(Debug)]
pub(super) struct IssueWriter {
    /// One for each last digit of a number, since the state depends on it; or none.
    templates: Vec<Vec<Piece>>,
}

/// A text that is the same in every issue, then the index of a hole, if it is not the last.
#[derive(Debug)]
struct Piece {
    text: String,
    hole: Option<usize>,
}

impl IssueWriter {
    pub(super) fn new(issues: &Issues, from_templates: bool) -> Self {
        let template = |last_digit| {
            let [repository, number, created, updated] = HOLES.map(String::from);
            let issue = issues.derive(last_digit);
            let text = Spelling { repository: &repository, number: &number, created: &created, updated: &updated };
            let closed = issue.closed_ms().map(|_| updated.as_str());
            pieces(&text.issue(&issue, closed))
        };
        IssueWriter { templates: if from_templates { (0..10).map(template).collect() } else { Vec::new() } }
    }

    /// Writes the array of `entries`.
    pub(super) fn page(&self, repository: &str, issues: &Issues, entries: &[Entry<'_>]) -> String {
        let mut out = String::with_capacity(2 + entries.len() * 2048);
        let mut separator = '[';
        for entry in entries {
            out.push(separator);
            separator = ',';
            match *entry {
                Entry::Changed(issue) => write_issue(&mut out, repository, issue),
                Entry::Derived(number) => {
                    let template = usize::try_from(number % 10).ok().and_then(|digit| self.templates.get(digit));
                    match template {
                        Some(template) => fill(&mut out, template, repository, issues, number),
                        None => write_issue(&mut out, repository, &issues.derive(number)),
                    }
                }
            }
        }
        out.push_str(if entries.is_empty() { "[]" } else { "]" });
        out
    }
}

/// Writes one issue.
pub(super) fn write_issue(out: &mut String, repository: &str, issue: &Issue) {
    let [created, updated, closed] =
        [issue.created_ms(), issue.updated_ms(), issue.closed_ms().unwrap_or(0)].map(|unix_ms| {
            let mut date = String::new();
            write_date(&mut date, unix_ms);
            date
        });
    let number = issue.number().to_string();
    let spelling = Spelling { repository, number: &number, created: &created, updated: &updated };
    out.push_str(&spelling.issue(issue, issue.closed_ms().map(|_| closed.as_str())));
}

/// Writes issue `number` from its template.
fn fill(out: &mut String, template: &[Piece], repository: &str, issues: &Issues, number: u64) {
    let digits = number.to_string();
    let (mut created, mut updated) = (String::new(), String::new());
    write_date(&mut created, issues.created_ms(number));
    write_date(&mut updated, issues.updated_ms(number));
    let fillings = [repository, &digits, &created, &updated];
    for piece in template {
        out.push_str(&piece.text);
        if let Some(filling) = piece.hole.and_then(|hole| fillings.get(hole)) {
            out.push_str(filling);
        }
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let hole = |character: char| HOLES.iter().position(|hole| *hole == character);
    let split = text.split_inclusive(HOLES);
    let pieces = split.map(|part| match part.char_indices().next_back() {
        Some((at, last)) if HOLES.contains(&last) => {
            Piece { text: part.get(..at).unwrap_or_default().to_owned(), hole: hole(last) }
        }
        _ => Piece { text: part.to_owned(), hole: None },
    });
    pieces.collect()
}

/// What differs between issues that are otherwise the same.
struct Spelling<'a> {
    /// `owner/repo`.
    repository: &'a str,
    number: &'a str,
    created: &'a str,
    updated: &'a str,
}

impl Spelling<'_> {
    fn issue(&self, issue: &Issue, closed: Option<&str>) -> String {
        let Spelling { repository, number, created, updated } = *self;
        let api = format!("https://api.example/repos/{repository}");
        let (kind, kinds, node) =
            if issue.is_pull_request() { ("pull", "pulls", "PR") } else { ("issue", "issues", "I") };
        let html = format!("https://hub.example/{repository}/{}/{number}", if kind == "pull" { kind } else { kinds });
        let date = |date: Option<&str>| date.map_or("null".to_owned(), |date| format!("\"{date}\""));
        let labels: Vec<String> = issue.labels.iter().map(|label| label_json(&api, label)).collect();
        let (state, reason) = match issue.state {
            IssueState::Open => ("open", "null"),
            IssueState::Closed if issue.is_pull_request() => ("closed", "null"),
            IssueState::Closed => ("closed", "\"completed\""),
        };
        let mut out = String::with_capacity(2048);
        // An id is the number with digits in front, so that it cannot be taken for the number.
        let _ = write!(
            out,
            r#"{{"url":"{api}/issues/{number}","repository_url":"{api}","labels_url":"{api}/issues/{number}/labels{{/name}}","#
        );
        let _ = write!(
            out,
            r#""comments_url":"{api}/issues/{number}/comments","events_url":"{api}/issues/{number}/events","#
        );
        let _ = write!(
            out,
            r#""html_url":"{html}","id":4300{number},"node_id":"{node}_demo{number}","number":{number},"title":{},"#,
            json_string(&issue.title)
        );
        let _ = write!(
            out,
            r#""user":{},"labels":[{}],"state":"{state}","locked":false,"assignees":[],"milestone":null,"#,
            user_json(issue.author()),
            labels.join(",")
        );
        let _ = write!(
            out,
            r#""comments":{},"created_at":"{created}","updated_at":"{updated}","closed_at":{},"assignee":null,"#,
            issue.comments,
            date(closed)
        );
        out.push_str(r#""author_association":"CONTRIBUTOR","active_lock_reason":null,"#);
        if issue.is_pull_request() {
            let merged = date(closed);
            let _ = write!(
                out,
                r#""draft":false,"pull_request":{{"url":"{api}/pulls/{number}","html_url":"{html}","diff_url":"{html}.diff","patch_url":"{html}.patch","merged_at":{merged}}},"#
            );
        } else {
            out.push_str(r#""sub_issues_summary":{"total":0,"completed":0,"percent_completed":0},"#);
        }
        let body = issue.body.as_deref().map_or("null".to_owned(), json_string);
        let _ = write!(
            out,
            r#""body":{body},"closed_by":null,"reactions":{{"url":"{api}/issues/{number}/reactions","total_count":0,"+1":0,"-1":0,"laugh":0,"hooray":0,"confused":0,"heart":0,"rocket":0,"eyes":0}},"#
        );
        let _ = write!(
            out,
            r#""timeline_url":"{api}/issues/{number}/timeline","performed_via_github_app":null,"state_reason":{reason}}}"#
        );
        out
    }
}

fn user_json(author: u64) -> String {
    let login = words::login(author);
    let id = 1000 + author;
    format!(
        r#"{{"login":"{login}","id":{id},"node_id":"U_demo{id}","avatar_url":"https://avatars.example/u/{id}","gravatar_id":"","url":"https://api.example/users/{login}","html_url":"https://hub.example/{login}","type":"User","user_view_type":"public","site_admin":false}}"#
    )
}

fn label_json(api: &str, label: &str) -> String {
    let id = label.bytes().fold(0, |id, byte| mix(id, u64::from(byte))) >> 32;
    let name = json_string(label);
    // A label may be any text, and its URL is one inside a string.
    let in_url: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!(
        r#"{{"id":{id},"node_id":"LA_demo{id}","url":"{api}/labels/{in_url}","name":{name},"color":"{:06x}","default":false,"description":null}}"#,
        id & 0xff_ffff
    )
}
