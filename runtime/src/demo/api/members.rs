//! `/users.list`, as Slack answers it: always 200, with `ok` to tell, and a cursor that is empty at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Shared, json, mix, words};

/// Slack's recommendation and its cap.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

#[derive(Clone, Debug)]
struct Member {
    name: String,
    real_name: String,
    updated_ms: u64,
}

/// The members of the workspace, by id.
#[derive(Debug)]
pub(super) struct Members(BTreeMap<String, Member>);

impl Members {
    pub(super) fn new(seed: u64, count: u32, start_ms: u64) -> Self {
        let members = (1..=u64::from(count)).map(|number| {
            let dice = mix(seed ^ 0x6d65_6d62, number);
            let real_name = format!("{} {}", words::first_name(dice), words::last_name(dice));
            // Over the last year or so, in whole seconds.
            let updated_ms = start_ms.saturating_sub(dice % 30_000_000 * 1000);
            (format!("U{number:08}"), Member { name: words::login(number), real_name, updated_ms })
        });
        Members(members.collect())
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub(super) fn rename(&mut self, id: &str, real_name: &str, now_ms: u64) -> bool {
        let Some(member) = self.0.get_mut(id) else { return false };
        if member.real_name != real_name {
            real_name.clone_into(&mut member.real_name);
            member.updated_ms = now_ms;
        }
        true
    }

    /// The members from `from` on, at most `limit`, as an array, and the id of the next one.
    fn page(&self, from: &str, limit: usize) -> (Vec<serde_json::Value>, Option<&str>) {
        let mut members = self.0.range(from.to_owned()..).map(|(id, member)| (id.as_str(), member));
        let page = members.by_ref().take(limit).map(|(id, member)| member.json(id)).collect();
        (page, members.next().map(|(id, _)| id))
    }
}

impl Member {
    fn json(&self, id: &str) -> serde_json::Value {
        let Member { name, real_name, updated_ms } = self;
        let (first, last) = real_name.split_once(' ').unwrap_or((real_name, ""));
        serde_json::json!({
            "id": id, "team_id": "T00000001", "name": name, "deleted": false, "color": "9f69e7",
            "real_name": real_name, "tz": "Europe/Amsterdam", "tz_label": "Central European Time", "tz_offset": 3600,
            "profile": {
                "title": "", "phone": "", "skype": "", "real_name": real_name, "real_name_normalized": real_name,
                "display_name": name, "display_name_normalized": name, "status_text": "", "status_emoji": "",
                "status_expiration": 0, "avatar_hash": format!("g{id}"), "email": format!("{name}@example.com"),
                "first_name": first, "last_name": last, "image_72": format!("https://avatars.example/{id}_72.png"),
                "team": "T00000001",
            },
            "is_admin": false, "is_owner": false, "is_primary_owner": false, "is_restricted": false,
            "is_ultra_restricted": false, "is_bot": false, "is_app_user": false, "is_email_confirmed": true,
            "updated": updated_ms / 1000,
        })
    }
}

/// Answers a page of members.
pub(super) async fn list(State(shared): State<Arc<Shared>>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let limit = limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let from = match query.get("cursor").map(String::as_str) {
        None | Some("") => Some(String::new()),
        Some(cursor) => member_of_cursor(cursor),
    };
    let Some(from) = from else {
        return json(StatusCode::OK, r#"{"ok":false,"error":"invalid_cursor"}"#.to_owned());
    };
    let answer = shared.read(|data| {
        let (members, next) = data.members.page(&from, limit);
        // Base64 as Slack's: its `=` shows who forgets to encode a query.
        let next = next.map_or(String::new(), |id| BASE64.encode(format!("user:{id}")));
        serde_json::json!({
            "ok": true, "members": members, "cache_ts": shared.start_ms / 1000,
            "response_metadata": {"next_cursor": next},
        })
    });
    json(StatusCode::OK, answer.to_string())
}

fn member_of_cursor(cursor: &str) -> Option<String> {
    let text = String::from_utf8(BASE64.decode(cursor).ok()?).ok()?;
    text.strip_prefix("user:").map(str::to_owned)
}
