//! The scripts that lie beside this file: `nango/`, in the style of templates that people have, each run against its
//! recordings; and `bad/`, wrong and hostile ones, with what must become of each in `bad/expect.json`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// Room for every script that is to end, and an end for those that would not.
const LIMITS: [&str; 6] = ["--fuel", "3G", "--timeout", "20s", "--memory-limit", "64MiB"];

/// What a run may be tried with, in `bad/`: enough for all that is fine, and soon over for what is endless.
const TIGHT: [&str; 6] = ["--fuel", "1G", "--timeout", "4s", "--memory-limit", "48MiB"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/typescript").join(name)
}

/// Everything below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A data directory that has compiled the engine, once a test process; each test works on a copy.
static WARM: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = TempDir::new().unwrap();
    let script = folder("nango").join("06-header-token/releases.ts");
    let run = terapi(dir.path(), &["run", script.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(1), "it fails, for it has no metadata: {run:?}");
    dir
});

fn data_directory() -> TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy(&path, &target);
            } else {
                std::fs::copy(&path, &target).unwrap();
            }
        }
    }
    let dir = TempDir::new().unwrap();
    copy(WARM.path(), dir.path());
    dir
}

fn terapi(data: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terapi"));
    command.args(args).arg("--data-dir").arg(data).current_dir(data);
    for name in ["TERAPI_DATA_DIR", "TERAPI_SERVER", "TERAPI_KEY", "TERAPI_CONFIG", "TERAPI_ENVIRONMENT"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The script of a recording: the file whose stem begins the recording's name, else the only script of the folder.
fn script_of(recording: &Path) -> PathBuf {
    let scripts: Vec<_> = files(recording.parent().unwrap())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "ts"))
        .filter(|path| {
            let source = std::fs::read_to_string(path).unwrap();
            ["export default sync", "export default action", "export default create"]
                .iter()
                .any(|it| source.contains(it))
        })
        .collect();
    let named = scripts.iter().find(|path| {
        let stem = name(path).strip_suffix(".ts").unwrap();
        name(recording).strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'))
    });
    match (named, &scripts[..]) {
        (Some(script), _) | (None, [script]) => script.clone(),
        _ => panic!("{}: which script?", recording.display()),
    }
}

/// What `terapi test` finds that is not as recorded.
fn mismatches(data: &Path, script: &Path, recording: &Path) -> Vec<String> {
    let mut args = vec!["test", script.to_str().unwrap(), recording.to_str().unwrap(), "--json"];
    args.extend(LIMITS);
    let tested = terapi(data, &args);
    let first = tested.stdout.split(|byte| *byte == b'\n').next().unwrap();
    let Ok(report) = serde_json::from_slice::<Value>(first) else { return vec![text(&tested)] };
    let found = report["mismatches"].as_array().unwrap_or_else(|| panic!("{report}"));
    report.get("error").into_iter().chain(found).map(ToString::to_string).collect()
}

#[test]
fn scripts_that_people_have_do_what_their_recordings_say() {
    let data = data_directory();
    let mut wrong = String::new();
    let mut number = 0;
    for recording in files(&folder("nango")).iter().filter(|path| name(path).ends_with(".test.json")) {
        number += 1;
        for mismatch in mismatches(data.path(), &script_of(recording), recording) {
            let folder = recording.parent().unwrap();
            writeln!(wrong, "{}/{}: {mismatch}\n", name(folder), name(recording)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "of {number}:\n{wrong}");
    assert!(number >= 60, "only {number} recordings were found");
}

#[test]
fn a_folder_of_scripts_and_recordings_is_tested_in_one_go() {
    const SCRIPT: &str = "import { createAction } from 'nango';
        import * as z from 'zod';
        export default createAction({ description: '', version: '1.0.0', input: z.any(), output: z.any(),
            exec: async (nango, input) => (await nango.get({ endpoint: '/x', params: { since: input.since } })).data });";
    let data = data_directory();
    let write = |name: &str, text: &str| {
        let file = data.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    let recording = |since: &str, output: &str| {
        serde_json::json!({
            "input": { "since": since }, "output": output,
            "api": { "get": { "/x": { "response": "a", "request": { "params": { "since": "1" } } } } }
        })
        .to_string()
    };
    write("scripts/first.ts", SCRIPT);
    write("scripts/first.good.test.json", &recording("1", "a"));
    write("scripts/tests/first.test.json", &recording("1", "b\u{1b}[31m"));
    write("scripts/nested/second.ts", SCRIPT);
    write("scripts/nested/second.a-long-name.test.json", &recording("2", "a"));
    write("scripts/nested/second.d.ts", "no script");
    write("scripts/nested/helper.ts", "export const x = 1;");
    write("scripts/node_modules/third.ts", "no script");
    write("scripts/node_modules/third.test.json", "{}");
    write("scripts/broken.ts", "export default (");
    write("scripts/broken.test.json", &recording("1", "a"));

    let all = terapi(data.path(), &["test", "scripts"]);
    assert_eq!(all.status.code(), Some(1), "{all:?}");
    let shown = String::from_utf8(all.stdout).unwrap();
    let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
    for line in [
        "unusable  scripts/broken.test.json",
        "same     scripts/first.good.test.json                 1 request",
        "differs  scripts/tests/first.test.json                1 request",
        "  output: the action",
        "    recorded  \"b\\u001b[31m\"",
        "    came      \"a\"",
        "differs  scripts/nested/second.a-long-name.test.json  1 request",
        "  request: GET /x?since=2, at parameter since",
        "1 of 4 files as recorded",
    ] {
        assert!(lines.contains(&line), "no {line:?} in:\n{shown}");
    }
    assert!(!shown.contains("third"), "{shown}");

    // A program gets an object a line.
    let all = terapi(data.path(), &["test", "scripts", "--json"]);
    let views: Vec<Value> = all
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|it| !it.is_empty())
        .map(|it| serde_json::from_slice(it).unwrap())
        .collect();
    let same: Vec<bool> = views.iter().map(|view| view["same"].as_bool().unwrap()).collect();
    assert_eq!(same, [false, true, false, false], "{views:?}");
    assert_eq!((all.status.code(), &views[3]["script"]), (Some(1), &Value::from("scripts/nested/second.ts")));

    // Of a folder of recordings those of the script's name, or all.
    let own = terapi(data.path(), &["test", "scripts/first.ts", "scripts"]);
    assert_eq!(text(&own).lines().last(), Some("1 of 2 files as recorded"), "{own:?}");
    std::fs::rename(data.path().join("scripts/first.ts"), data.path().join("scripts/other.ts")).unwrap();
    let other = terapi(data.path(), &["test", "scripts/other.ts", "scripts"]);
    assert_eq!(text(&other).lines().last(), Some("2 of 4 files as recorded"), "{other:?}");

    let good = terapi(data.path(), &["test", "scripts/other.ts", "scripts/first.good.test.json"]);
    assert_eq!((good.status.code(), text(&good).lines().count()), (Some(0), 1), "{good:?}");
    let none = terapi(data.path(), &["test", "scripts/other.ts"]);
    assert!(text(&none).contains("error[no-recorded-file]"), "{none:?}");
    let both = terapi(data.path(), &["test", "scripts", "scripts/first.good.test.json"]);
    assert!(text(&both).contains("error[usage]"), "{both:?}");
}

/// What must become of a script.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// `refused` (never runs), `failed`, `stopped` or `ok`; several if each is right.
    outcome: OneOrMore,
    /// Parts of the message, where it was refused or failed.
    #[serde(default)]
    message: Vec<String>,
    /// What must not be in it.
    #[serde(default)]
    absent: Vec<String>,
    /// One of these is the code, where it was stopped.
    #[serde(default)]
    code: Vec<String>,
    /// Where the message must point to: `FILE:LINE`, or a file, in which `// <-` marks the line.
    at: Option<String>,
    /// The ids that are there afterwards.
    #[serde(default)]
    records: BTreeMap<String, Vec<String>>,
    /// How many.
    #[serde(default)]
    count: BTreeMap<String, u64>,
    /// The records themselves.
    #[serde(default)]
    data: BTreeMap<String, Vec<Value>>,
    /// How often it is run.
    #[serde(default = "once")]
    runs: u32,
}

fn once() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// What became of a script: one word, its code and its message.
struct Ended {
    word: String,
    code: String,
    message: String,
    added: u64,
}

fn run(data: &Path, script: &Path, connection: &str) -> Ended {
    let mut args = vec!["run", script.to_str().unwrap(), "--connection", connection, "--json"];
    args.extend(TIGHT);
    let output = terapi(data, &args);
    assert!(output.status.code().is_some_and(|code| code < 3), "{}: the process died: {output:?}", script.display());
    match serde_json::from_slice::<Value>(&output.stdout) {
        Ok(run) => {
            let outcome = &run["outcome"];
            let word = outcome["status"].as_str().unwrap_or_else(|| panic!("{run}"));
            Ended {
                word: if word == "succeeded" { "ok" } else { word }.to_owned(),
                code: outcome["code"].as_str().unwrap_or_default().to_owned(),
                message: format!("{}\n{}", outcome["message"].as_str().unwrap_or_default(), outcome["details"]),
                added: run["changes"]["added"].as_u64().unwrap_or_default(),
            }
        }
        Err(_) => Ended { word: "refused".to_owned(), code: String::new(), message: text(&output), added: 0 },
    }
}

/// `FILE:LINE` of the mark, or what is given.
fn place(script: &Path, at: &str) -> String {
    if at.contains(':') {
        return at.to_owned();
    }
    let source = String::from_utf8_lossy(&std::fs::read(script).unwrap()).into_owned();
    let index = source.lines().position(|line| line.contains("// <-")).unwrap();
    format!("{at}:{}", index + 1)
}

/// Whether the place is in the text, and not as the beginning of another number.
fn points_to(text: &str, place: &str) -> bool {
    text.match_indices(place).any(|(at, _)| !text[at + place.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

fn shown(text: &str) -> String {
    text.chars().take(1_000).collect()
}

impl Expected {
    /// What is not as it should be.
    fn differences(&self, data: &Path, script: &Path, connection: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for _ in 0..self.runs {
            let ended = run(data, script, connection);
            let Ended { word, code, message, added } = &ended;
            if !self.outcome.all().contains(word) {
                wrong.push(format!("{word} ({code}), not {:?}: {}", self.outcome.all(), shown(message)));
                continue;
            }
            // Ours, not the script's.
            if code == "internal" || message.contains("panicked at") {
                wrong.push(format!("an error of Terapi itself: {}", shown(message)));
            }
            wrong.extend(
                self.absent
                    .iter()
                    .filter(|part| message.contains(*part))
                    .map(|part| format!("has {part:?}: {message}")),
            );
            match word.as_str() {
                "stopped" if !self.code.is_empty() && !self.code.contains(code) => {
                    wrong.push(format!("{code}, not one of {:?}: {}", self.code, shown(message)));
                }
                "refused" | "failed" => {
                    for part in self.message.iter().filter(|part| !message.contains(*part)) {
                        wrong.push(format!("no {part:?} in: {}", shown(message)));
                    }
                    if let Some(at) = &self.at {
                        let place = place(script, at);
                        let line = place.rsplit(':').next().unwrap();
                        if !points_to(message, &place) {
                            wrong.push(format!("no {place} in: {}", shown(message)));
                        } else if !message.contains(&format!(" {line} | ")) {
                            wrong.push(format!("the author's line is not in: {}", shown(message)));
                        }
                    }
                }
                "ok" => wrong.extend(self.wrong_records(data, connection, *added)),
                _ => {}
            }
        }
        wrong
    }

    fn wrong_records(&self, data: &Path, connection: &str, added: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        let count: u64 = self.count.values().sum();
        if count != 0 && count != added {
            wrong.push(format!("{added} records, not {count}"));
        }
        for model in self.records.keys().chain(self.data.keys()) {
            let read = terapi(data, &["records", model, "--connection", connection, "--json"]);
            let page: Value = serde_json::from_slice(&read.stdout).unwrap_or_else(|_| panic!("{read:?}"));
            let there: Vec<&Value> = page["records"].as_array().unwrap().iter().collect();
            if let Some(ids) = self.records.get(model) {
                let mut found: Vec<_> = there.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect();
                found.sort();
                if found != *ids {
                    wrong.push(format!("records {found:?}, not {ids:?}"));
                }
            }
            if let Some(rows) = self.data.get(model) {
                let found: Vec<_> = there.iter().map(|record| &record["data"]).collect();
                if found.len() != rows.len() || !rows.iter().all(|row| found.contains(&row)) {
                    wrong.push(format!("records {found:?}, not {rows:?}"));
                }
            }
        }
        wrong
    }
}

/// Those whose first expected outcome is this one. A script that is fine runs after each tenth, on the same data.
fn bad_scripts(outcome: &str) {
    let text = std::fs::read_to_string(folder("bad/expect.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_str(&text).unwrap();
    let data = data_directory();
    let mut wrong = String::new();
    let of_this = expected.iter().filter(|(_, expected)| expected.outcome.all()[0] == outcome);
    let mut number = 0;
    for (file, expected) in of_this {
        number += 1;
        let script = folder("bad").join(file);
        for difference in expected.differences(data.path(), &script, &format!("c{number}")) {
            writeln!(wrong, "{file}: {difference}\n").unwrap();
        }
        if number % 10 == 0 {
            let fine = run(data.path(), &folder("bad/kept-between-runs.ts"), &format!("after-{number}"));
            assert_eq!(fine.word, "ok", "after {file}: {}", fine.message);
        }
    }
    assert!(number > 0, "there are none");
    assert!(wrong.is_empty(), "of {number}:\n{wrong}");
}

#[test]
fn scripts_that_cannot_be_built_or_described_are_refused_with_the_line() {
    bad_scripts("refused");
}

#[test]
fn scripts_that_fail_say_why_and_where() {
    bad_scripts("failed");
}

#[test]
fn scripts_that_do_not_end_are_stopped() {
    bad_scripts("stopped");
}

#[test]
fn scripts_that_only_look_odd_run() {
    bad_scripts("ok");
}

#[test]
fn every_bad_script_has_its_expectation() {
    let text = std::fs::read_to_string(folder("bad/expect.json")).unwrap();
    let expected: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let there = files(&folder("bad")).into_iter().filter(|path| path.parent() == Some(&folder("bad")));
    let scripts: Vec<String> = there.map(|path| name(&path).to_owned()).filter(|name| name != "expect.json").collect();
    assert_eq!(scripts, expected.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn large_sources_are_built_or_refused_and_never_kill() {
    const HEAD: &str = "import { createSync, z } from 'terapi';\n";
    const TAIL: &str =
        "\nexport default createSync({ models: { Row: z.object({ id: z.string() }) }, exec: async () => {} });\n";
    let data = data_directory();
    let row = "{ id: 'abcdefghijklmnop', n: 12345 },";
    let sources = [
        ("one-line", format!("const rows = [{}];", row.repeat((1 << 20) / row.len())), &["ok", "refused"][..]),
        ("many-lines", "\n".repeat(1 << 20), &["ok", "refused"]),
        ("comment", format!("/*{}*/", "x".repeat(1 << 20)), &["ok", "refused"]),
        ("template", format!("const text = `{}`;", "${1}".repeat(100_000)), &["ok", "refused"]),
        ("nested-arrays", format!("const deep = {}{};", "[".repeat(200_000), "]".repeat(200_000)), &["refused"]),
        ("nested-calls", format!("const deep = {}1{};", "f(".repeat(50_000), ")".repeat(50_000)), &["refused"]),
        ("nested-types", format!("type Deep = {}1{};", "A<".repeat(100_000), ">".repeat(100_000)), &["refused", "ok"]),
        ("nested-blocks", format!("{}{}", "{".repeat(100_000), "}".repeat(100_000)), &["refused"]),
        ("long-sum", format!("const sum = {}1;", "1+".repeat(200_000)), &["refused", "ok"]),
        ("long-chain", format!("const chain = (globalThis as any){};", "?.a".repeat(100_000)), &["refused", "ok"]),
        ("else-ifs", format!("if (0) {{}} {}", "else if (0) {} ".repeat(50_000)), &["refused", "ok"]),
        ("arrows", format!("const f = {}1;", "() => ".repeat(50_000)), &["refused", "ok"]),
        ("unclosed", "(".repeat(1 << 20), &["refused"]),
        ("names", (0..50_000).fold(String::new(), |text, n| text + &format!("const a{n} = {n};")), &["ok", "refused"]),
        ("long-name", format!("const {} = 1;", "a".repeat(1 << 20)), &["ok", "refused"]),
        ("thirty-megabytes", format!("const x = '{}';", "x".repeat(30 << 20)), &["refused"]),
    ];
    for (name, source, right) in sources {
        let file = data.path().join(format!("{name}.ts"));
        std::fs::write(&file, format!("{HEAD}{source}{TAIL}")).unwrap();
        let ended = run(data.path(), &file, name);
        assert!(right.contains(&ended.word.as_str()), "{name}: {} {}", ended.word, shown(&ended.message));
    }
}
