//! No secret comes out again.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use super::{DemoApiOptions, Desk, stderr, stdout};

const SENTINEL: &str = "sentinel-5f1c0a7e";

/// Whether a file below `dir` has the text.
fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        let bytes = || std::fs::read(&path).unwrap();
        if path.is_dir() { holds(&path, text) } else { bytes().windows(text.len()).any(|it| it == text.as_bytes()) }
    })
}

#[test]
fn a_credential_is_in_no_output_and_in_no_file() {
    let desk = Desk::new(DemoApiOptions { members: 3, ..Default::default() });
    desk.furnish();
    let url = desk.api.url();
    let mut said = String::new();
    let mut ask = |args: &[&str], input: Option<&str>| {
        let mut command = desk.command(args);
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(input) = input {
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        said.push_str(&stdout(&output));
        said.push_str(&stderr(&output));
        output.status.success()
    };
    let base = ["--base-url", &url, "--network", "127.0.0.0/8"];
    let put = |name, more: &[&'static str]| {
        let mut args = vec!["integration".to_owned(), "put".to_owned(), name];
        args.extend(base.iter().chain(more).map(|arg| (*arg).to_owned()));
        args
    };
    for (auth, more, flag, given) in [
        ("bearer", &["--auth", "bearer"][..], "--bearer", SENTINEL.to_owned()),
        ("basic", &["--auth", "basic"], "--basic", format!("me:{SENTINEL}")),
        ("header", &["--auth", "api-key-header", "--auth-name", "X-Api-Key"], "--api-key", SENTINEL.to_owned()),
        ("query", &["--auth", "api-key-query", "--auth-name", "api_key"], "--api-key", SENTINEL.to_owned()),
    ] {
        let args = put(auth.to_owned(), more);
        assert!(ask(&args.iter().map(String::as_str).collect::<Vec<_>>(), None), "{auth}");
        assert!(ask(&["connection", "create", auth, "--integration", auth, flag, "-"], Some(&given)), "{auth}");
        assert!(ask(&["connection", "credential", auth, flag, "-"], Some(&format!("{given}\n"))), "{auth}");
        assert!(ask(&["connection", "show", auth, "--json"], None), "{auth}");
        assert!(ask(&["sync", "create", auth, "slack-members"], None), "{auth}");
        assert!(ask(&["sync", "trigger", auth, "slack-members", "--json"], None), "{auth}");
        assert!(ask(&["runs", "--json", "--connection", auth], None), "{auth}");
    }
    let token_url = format!("{url}/token");
    let args =
        put("oauth".to_owned(), &["--auth", "oauth2-refresh-token", "--client-id", "me", "--client-secret", "-"]);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend(["--token-url", &token_url]);
    assert!(ask(&args, Some(SENTINEL)));
    let create = ["connection", "create", "oauth", "--integration", "oauth", "--refresh-token", "-"];
    assert!(ask(&create, Some(&format!("refresh-{SENTINEL}"))));
    assert!(ask(&["sync", "create", "oauth", "slack-members", "--timeout", "2s"], None));
    // Nobody gives tokens there: that is said, and nothing else.
    assert!(!ask(&["sync", "trigger", "oauth", "slack-members"], None));
    assert!(ask(&["integration", "show", "oauth", "--json"], None));
    // A credential of the wrong kind is refused without being repeated.
    assert!(!ask(&["connection", "credential", "bearer", "--basic", "-"], Some(&format!("me:{SENTINEL}"))));
    assert!(!ask(&["connection", "credential", "basic", "--basic", "-"], Some(SENTINEL)));
    assert!(ask(&["secrets", "rotate"], None));
    assert!(ask(&["connection", "list", "--json"], None) && ask(&["integration", "list", "--json"], None));
    let newest = desk.done(&["runs", "--json", "--limit", "1"]);
    let newest: super::Value = serde_json::from_str(&newest).unwrap();
    assert!(ask(&["runs", newest["items"][0]["id"].as_str().unwrap(), "--json"], None));
    assert!(ask(&["logs"], None));
    assert!(said.contains("credential: bearer") && said.contains("7 secrets sealed anew"), "{said}");
    assert!(!said.contains(SENTINEL), "{said}");
    assert!(!holds(&desk.dir.path().join("data"), SENTINEL));
    // Sealed anew, it is still what it was.
    assert!(desk.command(&["sync", "trigger", "basic", "slack-members"]).output().unwrap().status.success());
}
