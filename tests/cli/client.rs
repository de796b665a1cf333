//! The same commands on a data directory and through a server.

use std::process::{Output, Stdio};

use super::{DemoApiOptions, Desk, Server, Value, json, stderr, stdout};

fn ask(desk: &Desk, server: Option<(&Server, &str)>, args: &[&str]) -> Output {
    let mut command = desk.command(args);
    if let Some((server, key)) = server {
        command.env("TERAPI_SERVER", &server.url).env("TERAPI_KEY", key);
    }
    command.output().unwrap()
}

#[test]
fn a_server_and_a_data_directory_answer_the_same() {
    let desk = Desk::new(DemoApiOptions { members: 7, ..Default::default() });
    let key = desk.furnish();
    desk.done(&["sync", "trigger", "acme", "slack-members"]);
    let runs: Value = serde_json::from_str(&desk.done(&["runs", "--json"])).unwrap();
    let run = runs["items"][0]["id"].as_str().unwrap();
    let commands: [&[&str]; 19] = [
        &["integration", "list"],
        &["integration", "show", "demo"],
        &["connection", "list"],
        &["connection", "list", "--integration", "other"],
        &["connection", "show", "acme"],
        &["connection", "metadata", "acme"],
        &["script", "list"],
        &["script", "show", "create-issue"],
        &["script", "versions", "slack-members"],
        &["sync", "list"],
        &["sync", "show", "acme", "slack-members"],
        &["records"],
        &["records", "Member", "--connection", "acme", "--limit", "3", "--filter", "added"],
        &["runs"],
        &["runs", run],
        &["logs", run],
        &["environment", "list"],
        &["store", "retention", "--runs", "30d"],
        &["connection", "show", "nobody"],
    ];
    let here: Vec<_> = commands.iter().flat_map(|args| both(args)).map(|args| ask(&desk, None, &args)).collect();
    let server = Server::start(&desk, &["serve"]);
    let there =
        commands.iter().flat_map(|args| both(args)).map(|args| (ask(&desk, Some((&server, &key)), &args), args));
    for (here, (there, args)) in here.iter().zip(there) {
        assert_eq!(stdout(here), stdout(&there), "{args:?}: {}", stderr(&there));
        assert_eq!(stderr(here), stderr(&there), "{args:?}");
        assert_eq!(here.status.code(), there.status.code(), "{args:?}");
        let fails = args.contains(&"nobody");
        assert_eq!(there.status.success(), !fails, "{args:?}");
    }
    assert!(stderr(&here[36]).contains("error[unknown-connection]"), "{}", stderr(&here[36]));
    let status = stdout(&ask(&desk, Some((&server, &key)), &["status"]));
    assert!(status.contains("acme        slack-members  manual  -         succeeded"), "{status}");
}

#[test]
fn a_server_runs_syncs_and_calls_actions_for_a_person_elsewhere() {
    let desk = Desk::new(DemoApiOptions { members: 5, ..Default::default() });
    let key = desk.furnish();
    let server = Server::start(&desk, &["serve"]);
    let there = |args: &[&str]| ask(&desk, Some((&server, &key)), args);

    let run = there(&["sync", "trigger", "acme", "slack-members", "--wait", "--json"]);
    assert!(run.status.success(), "{run:?}");
    assert_eq!(json(&run)["run"]["changes"]["added"], 5);
    let run = there(&["run", "slack-members", "--connection", "acme"]);
    assert!(stdout(&run).contains("0 added, 0 updated, 0 deleted, 5 unchanged"), "{run:?}");
    let shown = stdout(&there(&["runs", json(&there(&["runs", "--json"]))["items"][0]["id"].as_str().unwrap()]));
    assert!(shown.contains("GET     ") && shown.contains("/users.list?limit=200  200"), "{shown}");

    let input = r#"{"repository": "a/b", "title": "From afar"}"#;
    let called = there(&["call", "acme", "create-issue", "--input", input, "--json"]);
    assert_eq!(json(&called)["output"]["number"], 251, "{called:?}");
    let again = ["call", "acme", "create-issue", "--input", input, "--idempotency-key", "once"];
    assert_eq!(stdout(&there(&again)), stdout(&there(&again)));
    let failed = there(&["call", "acme", "create-issue"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(stderr(&failed).starts_with("error[script-"), "{failed:?}");

    assert_eq!(server.ended(), None);
    let locked = ask(&desk, None, &["status"]);
    assert!(stderr(&locked).contains("error[store-locked]") && stderr(&locked).contains("--server"), "{locked:?}");
    let app = json(&there(&["key", "add", "app", "--scopes", "read-records", "--json"]));
    let app = (app["text"].as_str().unwrap().to_owned(), app["id"].as_str().unwrap().to_owned());
    assert!(ask(&desk, Some((&server, &app.0)), &["records", "Member", "--connection", "acme"]).status.success());
    let refused = ask(&desk, Some((&server, &app.0)), &["sync", "pause", "acme", "slack-members"]);
    assert!(stderr(&refused).contains("error[missing-scope]"), "{refused:?}");
    assert!(there(&["key", "remove", &app.1]).status.success());
    let refused = ask(&desk, Some((&server, &app.0)), &["records"]);
    assert!(stderr(&refused).contains("error[unauthorized]"), "{refused:?}");
}

#[test]
fn a_run_of_a_file_goes_where_its_connection_may_go_with_its_credential() {
    let desk = Desk::new(DemoApiOptions { members: 3, ..Default::default() });
    desk.furnish();
    let file = desk.file("slack-members.wasm");
    assert!(desk.done(&["run", &file, "--connection", "acme"]).contains("3 added"));
    // Where there is no such connection, nothing is allowed but what the flags say.
    let denied =
        desk.command(&["run", &file, "--connection", "nobody", "--base-url", &desk.api.url()]).output().unwrap();
    assert_eq!(denied.status.code(), Some(1));
    assert!(stdout(&denied).contains("--allow-host"), "{denied:?}");
    // The sync's configuration is that of a run by name, unless another is given.
    desk.done(&["script", "add", &desk.file("github-issues.wasm")]);
    let bare = desk.command(&["run", "github-issues", "--connection", "acme"]).output().unwrap();
    assert_eq!(bare.status.code(), Some(1), "{bare:?}");
    let config = r#"{"repository": "a/b"}"#;
    desk.done(&["sync", "create", "acme", "github-issues", "--frequency", "never", "--config", config]);
    assert!(desk.done(&["run", "github-issues", "--connection", "acme"]).contains("succeeded"));
}

#[test]
fn follow_through_a_server_prints_what_a_run_brings() {
    use std::io::{BufRead as _, BufReader};

    let desk = Desk::new(DemoApiOptions { members: 4, ..Default::default() });
    let key = desk.furnish();
    let server = Server::start(&desk, &["serve"]);
    let mut follower = desk
        .command(&["records", "Member", "--connection", "acme", "--follow", "--json"])
        .env("TERAPI_SERVER", &server.url)
        .env("TERAPI_KEY", &key)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = move || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let trigger = ["sync", "trigger", "acme", "slack-members", "--wait"];
    assert!(ask(&desk, Some((&server, &key)), &trigger).status.success());
    assert_eq!(next()["records"].as_array().unwrap().len(), 4);
    desk.api.rename_member(&desk.api.member_ids()[0], "Somebody Else");
    assert!(ask(&desk, Some((&server, &key)), &trigger).status.success());
    assert_eq!(next()["records"][0]["last_action"], "updated");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_second_init_makes_another_key_and_changes_nothing() {
    let desk = Desk::new(DemoApiOptions::default());
    let first = desk.done(&["init", "--quiet"]);
    let (settings, keys) = (desk.dir.path().join("terapi.toml"), desk.dir.path().join("data/secrets.key"));
    std::fs::write(&settings, "# mine\n").unwrap();
    let sealed_with = std::fs::read(&keys).unwrap();
    let second = desk.done(&["init", "--quiet"]);
    assert!(first.starts_with("terapi_default_") && second.starts_with("terapi_default_") && first != second);
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), "# mine\n");
    assert_eq!(std::fs::read(&keys).unwrap(), sealed_with);
    let listed: Value = serde_json::from_str(&desk.done(&["key", "list", "--json"])).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(first.trim().rsplit('_').next().unwrap()));
}

#[test]
fn an_unknown_setting_is_told_with_what_was_meant() {
    let desk = Desk::new(DemoApiOptions::default());
    std::fs::write(desk.dir.path().join("terapi.toml"), "[server]\nlisen = \"127.0.0.1:1\"\n").unwrap();
    let refused = desk.command(&["status"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let says = stderr(&refused);
    assert!(says.contains("error[bad-config]") && says.contains("terapi.toml, line 2"), "{says}");
    assert!(says.contains("did you mean") && says.contains("listen"), "{says}");
    // What needs no settings works without them.
    assert!(desk.done(&["openapi"]).contains("\"openapi\": \"3.1.0\""));
    for shell in ["bash", "zsh", "fish"] {
        assert!(desk.done(&["completions", shell]).contains("roll-back"), "{shell}");
    }
}

#[test]
fn environments_know_nothing_of_each_other() {
    let desk = Desk::new(DemoApiOptions::default());
    desk.furnish();
    let made = desk.done(&["environment", "add", "staging"]);
    assert!(made.contains("terapi_staging_"), "{made}");
    assert!(desk.done(&["--environment", "staging", "connection", "list"]).contains("no connections yet"));
    assert!(desk.done(&["connection", "list"]).contains("acme"));
    let refused = desk.command(&["status", "--environment", "production"]).output().unwrap();
    assert!(stderr(&refused).contains("error[unknown-environment]"), "{refused:?}");
}

fn both<'a>(args: &[&'a str]) -> [Vec<&'a str>; 2] {
    [args.to_vec(), [args, &["--json"]].concat()]
}
