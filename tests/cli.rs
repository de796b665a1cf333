//! The command line as a person and a program meet it: the real binary, a data directory, a local API.

mod apply;
mod client;
mod dev;
mod secrets;
mod store;
mod typescript;

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use terapi::demo;
use terapi::demo::api::{DemoApi, DemoApiOptions};

/// A data directory, the example scripts as files, and an API.
struct Desk {
    dir: TempDir,
    api: DemoApi,
    _server: tokio::runtime::Runtime,
}

impl Desk {
    fn new(options: DemoApiOptions) -> Self {
        let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let api = server.block_on(DemoApi::start(options)).unwrap();
        let dir = TempDir::new().unwrap();
        for (name, bytes) in demo::SCRIPTS {
            std::fs::write(dir.path().join(format!("{name}.wasm")), bytes).unwrap();
        }
        std::fs::write(dir.path().join("token"), "token-of-the-desk\n").unwrap();
        Self { dir, api, _server: server }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn terapi(&self, args: &[&str]) -> Output {
        terapi(&self.dir.path().join("data"), args)
    }

    /// The same, where the desk is: a configuration is looked for and written there.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).arg("--data-dir").arg(self.dir.path().join("data")).current_dir(self.dir.path());
        for name in ["TERAPI_DATA_DIR", "TERAPI_SERVER", "TERAPI_KEY", "TERAPI_CONFIG", "TERAPI_ENVIRONMENT"] {
            command.env_remove(name);
        }
        // The desk's API is on this machine.
        command.env("TERAPI_NETWORK_ALLOW", "127.0.0.0/8");
        command
    }

    /// What a command prints that has to succeed.
    fn done(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        stdout(&output)
    }

    /// A key, an integration for the desk's API, a connection there, two scripts, and a sync that runs when asked.
    fn furnish(&self) -> String {
        let key = self.done(&["init", "--quiet"]).trim().to_owned();
        let url = self.api.url();
        self.done(&["integration", "put", "demo", "--base-url", &url, "--network", "127.0.0.0/8", "--auth", "bearer"]);
        let metadata = r#"{"team": "web"}"#;
        let connection = ["connection", "create", "acme", "--integration", "demo", "--metadata", metadata];
        self.done(&[&connection[..], &["--bearer", "@token"]].concat());
        self.done(&["script", "add", &self.file("slack-members.wasm")]);
        self.done(&["script", "add", &self.file("create-issue.wasm")]);
        self.done(&["sync", "create", "acme", "slack-members", "--frequency", "never"]);
        key
    }

    /// `terapi run` with the way to the API open.
    fn run(&self, args: &[&str]) -> Output {
        let url = self.api.url();
        let mut all = vec!["run"];
        all.extend(args);
        all.extend(["--base-url", &url, "--allow-host", &url, "--allow-network", "127.0.0.0/8"]);
        self.terapi(&all)
    }
}

/// A server on a desk's data directory. It ends with this.
struct Server {
    process: RefCell<Child>,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Server {
    fn start(desk: &Desk, args: &[&str]) -> Self {
        let mut command = desk.command(args);
        command.args(["--json", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut server = Self { process: RefCell::new(process), lines, url: String::new() };
        let url = server.line();
        url["listening"].as_str().unwrap().clone_into(&mut server.url);
        server
    }

    /// How it ended, if it did.
    fn ended(&self) -> Option<ExitStatus> {
        self.process.borrow_mut().try_wait().unwrap()
    }

    /// The next line that it prints.
    fn line(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// The next line that has this field.
    fn until(&mut self, field: &str) -> Value {
        loop {
            let line = self.line();
            if let Some(value) = line.get(field) {
                return value.clone();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let process = self.process.get_mut();
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_terapi"))
}

fn terapi(data: &Path, args: &[&str]) -> Output {
    Command::new(binary()).args(args).arg("--data-dir").arg(data).env_remove("TERAPI_DATA_DIR").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_person_deploys_a_script_runs_it_and_reads_what_changed() {
    let desk = Desk::new(DemoApiOptions { members: 12, ..Default::default() });

    let added = desk.terapi(&["script", "add", &desk.file("slack-members.wasm")]);
    assert!(added.status.success(), "{added:?}");
    assert!(stdout(&added).contains("deployed  slack-members"));
    assert!(stdout(&desk.terapi(&["script", "list"])).contains("slack-members  full refresh  Member"));
    assert!(stdout(&desk.terapi(&["script", "show", "slack-members"])).contains("every hour"));

    let run = desk.run(&["slack-members", "--connection", "acme"]);
    assert!(run.status.success(), "{run:?}");
    assert!(stdout(&run).contains("succeeded  slack-members on acme"));
    assert!(stdout(&run).contains("12 added, 0 updated, 0 deleted, 0 unchanged"), "{}", stdout(&run));

    let page = json(&desk.terapi(&["records", "Member", "--connection", "acme", "--json"]));
    assert_eq!(page["records"].as_array().unwrap().len(), 12);
    assert_eq!(page["records"][0]["last_action"], "added");
    assert!(page["records"][0]["data"]["name"].is_string());
    assert_eq!(page["more"], false);

    let id = desk.api.member_ids()[4].clone();
    assert!(desk.api.remove_member(&id));
    assert!(desk.run(&["slack-members", "--connection", "acme"]).status.success());
    let cursor = page["cursor"].as_str().unwrap();
    let page = json(&desk.terapi(&["records", "Member", "--connection", "acme", "--json", "--cursor", cursor]));
    assert_eq!(page["records"].as_array().unwrap().len(), 1);
    assert_eq!(page["records"][0]["id"], id.as_str());
    assert_eq!(page["records"][0]["last_action"], "deleted");
    assert!(page["records"][0]["deleted_at"].is_string());

    let streams = stdout(&desk.terapi(&["records"]));
    assert!(streams.contains("acme        Member  base          11       13"), "{streams}");
    let runs = json(&desk.terapi(&["runs", "--json"]));
    assert_eq!(runs["items"].as_array().unwrap().len(), 2);
    assert_eq!(runs["items"][0]["outcome"]["status"], "succeeded");
    assert!(desk.terapi(&["script", "remove", "slack-members"]).status.success());
    let gone = desk.run(&["slack-members"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("error[unknown-script]"), "{}", stderr(&gone));
}

#[test]
fn a_run_that_was_allowed_nowhere_says_what_to_allow() {
    let desk = Desk::new(DemoApiOptions::default());
    let url = desk.api.url();
    let run = desk.terapi(&["run", &desk.file("slack-members.wasm"), "--base-url", &url, "--json"]);
    assert_eq!(run.status.code(), Some(1));
    let outcome = &json(&run)["outcome"];
    assert_eq!(outcome["status"], "failed");
    assert!(outcome["message"].as_str().unwrap().contains(&format!("--allow-host {url}")), "{outcome}");
    // Allowing the host alone does not open the way into a private network.
    let run =
        desk.terapi(&["run", &desk.file("slack-members.wasm"), "--base-url", &url, "--allow-host", &url, "--json"]);
    let outcome = &json(&run)["outcome"];
    assert!(outcome["message"].as_str().unwrap().contains("--allow-network 127.0.0.0/8"), "{outcome}");
    assert_eq!(desk.api.requests_served(), 0);
}

#[test]
fn limits_of_a_script_hold_for_its_runs_and_those_of_a_run_come_first() {
    let desk = Desk::new(DemoApiOptions { issues: 2_000, ..Default::default() });
    let config = r#"{"repository": "a/b", "mistake": "hoards"}"#;
    let add = desk.terapi(&["script", "add", &desk.file("misbehaving.wasm"), "--memory-limit", "2MiB"]);
    assert!(add.status.success(), "{add:?}");
    let stopped = json(&desk.run(&["misbehaving", "--config", config, "--json"]));
    assert_eq!(stopped["outcome"]["code"], "out-of-memory");
    assert!(stopped["outcome"]["message"].as_str().unwrap().contains("memory limit of 2 MiB exceeded"), "{stopped}");
    let passed = json(&desk.run(&["misbehaving", "--config", config, "--memory-limit", "32MiB", "--json"]));
    assert_eq!(passed["outcome"]["status"], "succeeded", "{passed}");
    let stopped = json(&desk.run(&["misbehaving", "--config", config, "--fuel", "10M", "--json"]));
    assert_eq!(stopped["outcome"]["code"], "out-of-fuel");
}

#[test]
fn an_action_prints_its_output() {
    let desk = Desk::new(DemoApiOptions::default());
    let input = r#"{"repository": "a/b", "title": "From the command line"}"#;
    let run = desk.run(&[&desk.file("create-issue.wasm"), "--input", input]);
    assert!(run.status.success(), "{run:?}");
    assert_eq!(json(&run)["number"], 251);
    let failed = desk.run(&[&desk.file("create-issue.wasm"), "--input", r#"{"repository": "a/b"}"#]);
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn inspect_shows_a_component_without_a_data_directory() {
    let desk = Desk::new(DemoApiOptions::default());
    let data = desk.dir.path().join("never");
    let shown = terapi(&data, &["inspect", &desk.file("github-issues.wasm"), "--json"]);
    assert!(shown.status.success(), "{shown:?}");
    let shown = json(&shown);
    assert_eq!(shown["manifest"]["name"], "github-issues");
    assert_eq!(shown["manifest"]["mode"], "incremental");
    assert!(shown["imports"].as_array().unwrap().iter().any(|name| name == "terapi:sync/http@0.1.0"));
    assert_eq!(shown["exports"], serde_json::json!(["terapi:sync/sync-script@0.1.0"]));
    assert!(!data.exists());

    let text = desk.dir.path().join("hello.wasm");
    std::fs::write(&text, "hello").unwrap();
    let refused = terapi(&data, &["inspect", &text.display().to_string()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("error[not-a-component]"), "{}", stderr(&refused));
}

#[test]
fn wrong_command_lines_are_told_what_is_right() {
    let dir = TempDir::new().unwrap();
    for (args, says) in [
        (&["run", "x", "--memory-limit", "lots"][..], "such as 64MiB"),
        (&["run", "x", "--memory-limit", "2GiB"], "from 64KiB to 1 GiB"),
        (&["run", "x", "--timeout", "5"], "such as 90s"),
        (&["run", "x", "--connection", "a/b"], "connection name"),
        (&["run", "x", "--allow-host", "exa mple"], "exa mple"),
        (&["records", "Issue", "--filter", "gone"], "use added, updated, deleted"),
        (&["script", "show", "../../etc/passwd"], "script name"),
        (&["synk"], "unrecognized subcommand"),
        (&["sync", "change", "a", "b"], "say what to change"),
        (&["run", "x.wasm", "--server", "http://127.0.0.1:1", "--key", "k"], "terapi script add x.wasm"),
        (&["status", "--server", "http://127.0.0.1:1"], "a server needs a key"),
        (&["key", "add", "x", "--scopes", "everything"], "read-records,run-actions,manage,deploy"),
    ] {
        let output = terapi(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
    let missing = terapi(dir.path(), &["run", "nowhere.wasm"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("could not read the script nowhere.wasm"), "{}", stderr(&missing));
    let cursor = terapi(dir.path(), &["records", "Issue", "--cursor", "AAAA"]);
    assert!(stderr(&cursor).contains("error[bad-cursor]"), "{}", stderr(&cursor));
}

#[test]
fn a_pipe_gets_no_colors_and_no_progress_bars() {
    let desk = Desk::new(DemoApiOptions::default());
    let run = desk.run(&[&desk.file("slack-members.wasm")]);
    assert!(!stdout(&run).contains('\u{1b}') && !stderr(&run).contains('\u{1b}'), "{run:?}");
    assert!(stderr(&run).is_empty(), "{}", stderr(&run));
}

#[test]
fn the_demo_shows_every_step() {
    let dir = TempDir::new().unwrap();
    let demo = terapi(dir.path(), &["demo"]);
    assert!(demo.status.success(), "{demo:?}");
    let text = stdout(&demo);
    for says in [
        "0 added, 1 updated, 1 deleted",
        "since=",
        "out-of-memory: memory limit of 2 MiB exceeded",
        "out-of-fuel: fuel limit of",
        "--allow-host http://127.0.0.1:",
        "That was it.",
    ] {
        assert!(text.contains(says), "{says:?} is missing in:\n{text}");
    }
}

#[test]
fn follow_goes_on_as_runs_bring_changes() {
    let desk = Desk::new(DemoApiOptions { members: 5, ..Default::default() });
    let mut follower = Command::new(binary())
        .args(["records", "Member", "--follow", "--json", "--data-dir"])
        .arg(desk.dir.path().join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = move || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert!(desk.run(&[&desk.file("slack-members.wasm")]).status.success());
    assert_eq!(next()["records"].as_array().unwrap().len(), 5);
    desk.api.rename_member(&desk.api.member_ids()[0], "Somebody Else");
    assert!(desk.run(&[&desk.file("slack-members.wasm")]).status.success());
    let page = next();
    assert_eq!(page["records"].as_array().unwrap().len(), 1);
    assert_eq!(page["records"][0]["last_action"], "updated");
    follower.kill().unwrap();
    follower.wait().unwrap();
}
