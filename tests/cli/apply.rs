//! `terapi apply`

use super::{DemoApiOptions, Desk, Output, Value, json, stderr, stdout};

const FILE: &str = r#"
[integrations.demo]
base_url = "URL"
networks = ["127.0.0.0/8"]
auth = { type = "bearer" }
rate = { limits = [{ requests = 100, per_ms = 1000 }], concurrency = 4 }

[connections.acme]
integration = "demo"
metadata = { team = "web" }
credential = { type = "bearer", token = { env = "DESK_TOKEN" } }

[[syncs]]
script = "slack-members"
connection = "acme"
frequency = "every 60 minutes"
paused = true

[[syncs]]
script = "github-issues"
connection = "acme"
config = { repository = "a/b" }
frequency = "never"
"#;

fn desk() -> Desk {
    let desk = Desk::new(DemoApiOptions { members: 3, ..Default::default() });
    desk.done(&["init", "--quiet"]);
    desk.done(&["script", "add", &desk.file("slack-members.wasm")]);
    desk.done(&["script", "add", &desk.file("github-issues.wasm")]);
    desk
}

fn apply(desk: &Desk, text: &str, flags: &[&str]) -> Output {
    std::fs::write(desk.dir.path().join("plan.toml"), text.replace("URL", &desk.api.url())).unwrap();
    desk.command(&[&["apply", "plan.toml"], flags].concat()).env("DESK_TOKEN", "token-of-apply").output().unwrap()
}

#[test]
fn what_a_file_says_is_made_so_once_and_changes_are_shown_field_by_field() {
    let desk = desk();
    let shown = apply(&desk, FILE, &["--dry-run"]);
    let plan = "+ integration demo\n+ connection acme\n+ sync slack-members on acme\n+ sync github-issues on acme\n";
    assert_eq!(stdout(&shown), plan);
    assert!(desk.done(&["integration", "list"]).contains("no integrations yet"));
    let unasked = apply(&desk, FILE, &[]);
    assert_eq!(unasked.status.code(), Some(1));
    assert!(stderr(&unasked).contains("error[not-confirmed]") && stderr(&unasked).contains("--yes"), "{unasked:?}");

    let done = apply(&desk, FILE, &["--yes"]);
    assert!(done.status.success(), "{done:?}");
    assert!(!stdout(&done).contains("token-of-apply"));
    assert!(desk.done(&["sync", "show", "acme", "slack-members"]).contains("state        paused"));
    assert!(desk.done(&["sync", "trigger", "acme", "github-issues"]).contains("succeeded"));
    let again = json(&apply(&desk, FILE, &["--yes", "--json"]));
    assert_eq!(again["changes"], 0, "{again}");

    let other = FILE
        .replace("concurrency = 4", "concurrency = 8")
        .replace("team = \"web\"", "team = \"app\"")
        .replace("paused = true", "paused = false")
        .replace("\"a/b\"", "\"c/d\"");
    let shown = stdout(&apply(&desk, &other, &["--yes"]));
    for says in [
        "~ integration demo\n    rate.concurrency: 4 → 8\n",
        "~ connection acme\n    metadata.team: \"web\" → \"app\"\n",
        "~ sync slack-members on acme\n    paused: true → false\n",
        "~ sync github-issues on acme\n    config.repository: \"a/b\" → \"c/d\"\n",
    ] {
        assert!(shown.contains(says), "{says:?} is missing in:\n{shown}");
    }
    assert_eq!(json(&apply(&desk, &other, &["--yes", "--json"]))["changes"], 0);
    // What a file does not name stays.
    let alone = apply(&desk, "", &["--yes"]);
    assert_eq!(stdout(&alone), "the file names nothing\n");
    assert!(desk.done(&["connection", "list"]).contains("acme"));
    let sent = json(&apply(&desk, &other, &["--yes", "--json", "--credentials"]));
    assert_eq!(sent["steps"][1]["fields"][0]["field"], "credential", "{sent}");
    let file: Value = serde_json::json!({ "connections": { "acme": { "integration": "demo" } } });
    std::fs::write(desk.dir.path().join("plan.json"), file.to_string()).unwrap();
    assert!(desk.done(&["apply", "plan.json", "--yes"]).contains("connection acme: unchanged"));
}

#[test]
fn mistakes_in_a_file_are_told_before_anything_is_done() {
    let desk = desk();
    for (right, wrong, code, says) in [
        ("base_url", "base_ulr", "bad-file", "integrations.demo: there is no key base_ulr; did you mean base_url?"),
        ("[connections", "[conections", "bad-file", "did you mean connections?"),
        ("\"bearer\" }", "\"barer\" }", "bad-file", "there is no kind barer; did you mean bearer?"),
        ("frequency", "freqency", "bad-file", "syncs[0]: there is no key freqency; did you mean frequency?"),
        ("DESK_TOKEN", "NO_SUCH_VARIABLE", "bad-file", "NO_SUCH_VARIABLE is not set"),
        ("{ env = \"DESK_TOKEN\" }", "90210", "bad-file", "secrets are texts"),
        ("every 60 minutes", "every blue moon", "bad-schedule", "every 5 minutes"),
        ("\"slack-members\"", "\"slack-mebers\"", "unknown-script", "terapi script add FILE"),
        ("integration = \"demo\"", "integration = \"other\"", "unknown-integration", "connections.acme"),
        ("connection = \"acme\"", "connection = \"nobody\"", "unknown-connection", "terapi connection list"),
        ("[integrations.demo]", "[integrations.demo", "bad-file", "plan.toml, line 2"),
    ] {
        assert!(FILE.contains(right), "{right}");
        let refused = apply(&desk, &FILE.replace(right, wrong), &["--yes"]);
        let text = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{wrong}: {refused:?}");
        assert!(text.contains(&format!("error[{code}]")) && text.contains(says), "{wrong}: {text}");
        assert!(!text.contains("90210") && !text.contains("token-of-apply"), "{text}");
    }
    assert!(desk.done(&["integration", "list"]).contains("no integrations yet"));
}
