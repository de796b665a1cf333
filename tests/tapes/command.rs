//! `terapi run --record`, `--replay`, `dry-run` and `test`, as a person and a program meet them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use terapi::demo;
use terapi::demo::api::{DemoApi, DemoApiOptions};

struct Desk {
    dir: TempDir,
    api: DemoApi,
    _server: tokio::runtime::Runtime,
}

impl Desk {
    fn new() -> Self {
        let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = DemoApiOptions { members: 12, ..DemoApiOptions::default() };
        let api = server.block_on(DemoApi::start(options)).unwrap();
        let dir = TempDir::new().unwrap();
        for (name, bytes) in demo::SCRIPTS {
            std::fs::write(dir.path().join(format!("{name}.wasm")), bytes).unwrap();
        }
        Self { dir, api, _server: server }
    }

    fn terapi(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terapi"));
        command.args(args).arg("--data-dir").arg(self.data()).current_dir(self.dir.path());
        for name in ["TERAPI_DATA_DIR", "TERAPI_SERVER", "TERAPI_KEY", "TERAPI_CONFIG", "TERAPI_ENVIRONMENT"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// With the way to the API open.
    fn open(&self, args: &[&str]) -> Output {
        let url = self.api.url();
        let way = ["--base-url", &url, "--allow-host", &url, "--allow-network", "127.0.0.0/8"];
        self.terapi(&[args, &way].concat())
    }

    /// Every file of the data directory.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, files);
                } else {
                    files.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(&self.data(), &mut files);
        files
    }
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
fn a_run_is_recorded_replayed_and_tested() {
    let desk = Desk::new();
    let run = desk.open(&["run", "slack-members.wasm", "--record", "slack-members.cassette"]);
    assert!(run.status.success(), "{run:?}");
    assert!(stderr(&run).contains("host calls in slack-members.cassette"), "{}", stderr(&run));
    let asked = desk.api.requests_served();
    let before = desk.files();
    let replay = desk.terapi(&["run", "slack-members.wasm", "--replay", "slack-members.cassette"]);
    assert!(replay.status.success(), "{replay:?}");
    assert!(stdout(&replay).starts_with("same  slack-members: "), "{}", stdout(&replay));
    assert_eq!(
        json(&desk.terapi(&["run", "slack-members.wasm", "--replay", "slack-members.cassette", "--json"]))["same"],
        true
    );
    let test = desk.terapi(&["test", "slack-members.wasm"]);
    assert!(test.status.success(), "{test:?}");
    assert!(
        stdout(&test).starts_with("same     slack-members.cassette  ")
            && stdout(&test).contains(" host calls replayed"),
        "{}",
        stdout(&test)
    );
    assert_eq!(desk.api.requests_served(), asked);

    // Another answer leads to other records: the recording still has the old ones.
    let text = std::fs::read_to_string(desk.dir.path().join("slack-members.cassette")).unwrap();
    let changed = text.replacen("\\\"id\\\":\\\"U", "\\\"id\\\":\\\"X", 1);
    assert_ne!(changed, text);
    std::fs::write(desk.dir.path().join("changed.cassette"), changed).unwrap();
    let differs = desk.terapi(&["run", "slack-members.wasm", "--replay", "changed.cassette"]);
    assert_eq!(differs.status.code(), Some(1), "{differs:?}");
    let shown = stdout(&differs);
    assert!(shown.starts_with("differs  slack-members: other arguments at call "), "{shown}");
    assert!(
        shown.contains("records.batch-save, at entries[")
            && shown.contains("\n  recorded  ")
            && shown.contains("\n  came      "),
        "{shown}"
    );
    let view = json(&desk.terapi(&["test", "slack-members.wasm", "changed.cassette", "--json"]));
    assert_eq!(view["same"], false);
    assert_eq!(view["file"], "changed.cassette");
    assert_eq!(view["mismatches"][0]["kind"], "arguments");
    assert!(desk.files() == before, "replays and tests left something behind");
    // The file is its owner's.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(desk.dir.path().join("slack-members.cassette")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn errors_have_their_codes() {
    let desk = Desk::new();
    std::fs::write(desk.dir.path().join("text"), "hello").unwrap();
    for (args, code, exit) in [
        (&["run", "slack-members.wasm", "--replay", "text"][..], "cassette-foreign", 1),
        (&["run", "slack-members.wasm", "--replay", "nowhere"], "cassette-unreadable", 1),
        (&["run", "slack-members.wasm", "--record", "no/such/folder"], "cassette-unwritable", 1),
        (&["test", "slack-members.wasm"], "no-recorded-file", 1),
        (&["test", "slack-members.wasm", "text"], "recorded-foreign", 1),
        (&["dry-run", "slack-members.wasm", "--input", "{}"], "usage", 2),
    ] {
        let output = desk.terapi(args);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {output:?}");
        assert!(stderr(&output).contains(&format!("error[{code}]")), "{args:?}: {}", stderr(&output));
    }
    let both = desk.terapi(&["run", "slack-members.wasm", "--replay", "a", "--record", "b"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn a_dry_run_shows_what_would_change_and_leaves_every_file_of_the_store_as_it_was() {
    let desk = Desk::new();
    assert!(desk.open(&["run", "slack-members.wasm"]).status.success());
    let ids = desk.api.member_ids();
    desk.api.remove_member(&ids[3]);
    desk.api.rename_member(&ids[0], "Somebody Else");
    // Whatever opening alone does, it does here.
    assert!(desk.terapi(&["records"]).status.success());
    let before = desk.files();
    let dry = desk.open(&["dry-run", "slack-members.wasm"]);
    assert!(dry.status.success(), "{dry:?}");
    assert!(!String::from_utf8_lossy(&dry.stderr).contains("ERROR"), "what only reads fails at nothing: {dry:?}");
    let text = stdout(&dry);
    assert!(text.starts_with("dry run  nothing was written"), "{text}");
    assert!(text.contains("0 added, 1 updated, 1 deleted, 10 unchanged"), "{text}");
    assert!(text.contains("ACTION") && text.contains(&format!("deleted  Member  {}", ids[3])), "{text}");
    let view = json(&desk.open(&["dry-run", "slack-members.wasm", "--json"]));
    assert_eq!(view["dry_run"], true);
    assert_eq!(view["records"].as_array().unwrap().len(), 2);
    assert_eq!(view["records"][0]["action"], "updated");
    assert_eq!(view["records"][0]["data"]["name"], "Somebody Else", "{view}");
    // To open a store is to add an empty frame to its log; what a run does is more than that.
    let after = desk.files();
    let logs = |files: &BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, usize> {
        let logs = files.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "tlog"));
        logs.map(|(path, bytes)| (path.clone(), bytes.len())).collect()
    };
    let (old, new) = (logs(&before), logs(&after));
    assert_eq!(old.keys().collect::<Vec<_>>(), new.keys().collect::<Vec<_>>());
    assert!(desk.terapi(&["records"]).status.success());
    let opened = logs(&desk.files());
    let grown = |a: &BTreeMap<PathBuf, usize>, b: &BTreeMap<PathBuf, usize>| {
        b.values().sum::<usize>() - a.values().sum::<usize>()
    };
    assert_eq!(grown(&old, &new), 2 * grown(&new, &opened), "two dry runs wrote more than opening does");
    let real = json(&desk.open(&["run", "slack-members.wasm", "--json"]));
    assert_eq!(real["changes"], view["changes"]);
    let runs = json(&desk.terapi(&["runs", "--json"]));
    assert_eq!(runs["items"].as_array().unwrap().len(), 2);
}
