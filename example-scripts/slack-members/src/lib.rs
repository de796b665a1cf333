//! A full refresh: every run saves all members. A member who is gone from Slack's answer is deleted by Terapi itself, and
//! the app sees only what changed since it last looked.

use terapi_guest::prelude::*;

// `#[model]` makes it a record: saved as JSON, known by its `id`.
/// A member of the workspace.
#[model]
struct Member {
    id: String,
    name: String,
    email: Option<String>,
    bot: bool,
}

/// Keeps the members of a Slack workspace, bots included and deactivated accounts left out.
#[sync(mode = "full-refresh", models = [Member], frequency = "every hour", base_url = "https://slack.com/api")]
fn slack_members() -> Result<()> {
    // Slack puts a cursor into each answer and wants it back as a parameter: https://docs.slack.dev/apis/web-api/pagination
    let paging = Cursor::in_body("/response_metadata/next_cursor").send_as("cursor");

    for page in get("/users.list").query("limit", 200).pages(paging) {
        let page: UsersList = page?.json()?;
        // Slack says "no" with status 200.
        if !page.ok {
            bail!("Slack refused users.list: {} (does the token have users:read?)", page.error.unwrap_or_default());
        }
        let members = page.members.into_iter().filter(|user| !user.deleted);
        batch_save(members.map(|user| Member {
            id: user.id,
            name: user.profile.real_name.unwrap_or(user.name),
            email: user.profile.email,
            bot: user.is_bot,
        }))?;
    }
    Ok(())
}

// What Slack answers, as far as it matters here: https://docs.slack.dev/reference/methods/users.list

#[derive(Deserialize)]
struct UsersList {
    ok: bool,
    error: Option<String>,
    #[serde(default)]
    members: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    name: String,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    is_bot: bool,
    profile: Profile,
}

#[derive(Deserialize)]
struct Profile {
    real_name: Option<String>,
    email: Option<String>,
}
