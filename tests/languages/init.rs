//! `terapi init --lang`: what it writes is the SDK as it lies in the repository, and it builds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn terapi(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terapi"));
    command.args(args).current_dir(dir);
    for name in ["TERAPI_DATA_DIR", "TERAPI_SERVER", "TERAPI_KEY", "TERAPI_CONFIG", "TERAPI_ENVIRONMENT"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A project in this language.
fn project(language: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    done(&terapi(dir.path(), &["init", "--lang", language]));
    assert!(!dir.path().join("terapi-data").exists() && !dir.path().join("terapi.toml").exists());
    dir
}

/// The files below a folder whose names end so, by their paths in it.
fn files(root: &Path, suffixes: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if suffixes.iter().any(|suffix| path.to_string_lossy().ends_with(suffix)) {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn a_project_has_the_whole_sdk_of_its_language_as_it_is_in_the_repository() {
    for (language, folder, suffixes) in [
        ("rust", "rust", &[".rs", "Cargo.toml"][..]),
        ("python", "python/terapi", &[".py"][..]),
        ("c", "c/bindings", &[".c", ".h"][..]),
        ("c", "c/include", &[".h"][..]),
        ("c", "c/src", &[".c"][..]),
        ("ts", "typescript", &[".d.ts"][..]),
        ("js", "typescript", &[".d.ts"][..]),
    ] {
        let dir = project(language);
        let given = files(&dir.path().join(".terapi/sdk").join(folder), suffixes);
        let kept = files(&repository().join("guest-sdk").join(folder), suffixes);
        assert_eq!(given.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>(), "runtime/src/cli/init/sdk.rs");
        assert!(given == kept, "{folder} differs");
    }
}

#[test]
fn nothing_of_the_authors_is_written_over_and_a_second_time_renews_the_sdk_alone() {
    let dir = project("python");
    let script = dir.path().join("github_issues.py");
    let sdk = dir.path().join(".terapi/sdk/python/terapi/__init__.py");
    std::fs::write(&script, "mine").unwrap();
    std::fs::write(&sdk, "old").unwrap();
    done(&terapi(dir.path(), &["init", "--lang", "python"]));
    assert_eq!(std::fs::read_to_string(&script).unwrap(), "mine");
    assert_ne!(std::fs::read_to_string(&sdk).unwrap(), "old");

    let other = TempDir::new().unwrap();
    std::fs::write(other.path().join("Makefile"), "all:\n").unwrap();
    let refused = terapi(other.path(), &["init", "--lang", "c"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Makefile is there already"));
    assert_eq!(files(other.path(), &[""]).len(), 1);
}

#[test]
fn a_project_in_rust_passes_its_test_and_builds_a_script() {
    let dir = project("rust");
    // The versions of the SDK's own lock file, where the registry may hold others by now; nothing comes from the network.
    std::fs::copy(repository().join("example-scripts/Cargo.lock"), dir.path().join("Cargo.lock")).unwrap();
    let target = repository().join("target/guests");
    let cargo = |args: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(args).arg("--offline").arg("--target-dir").arg(&target).current_dir(dir.path());
        for name in
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC", "RUSTDOC"]
        {
            cargo.env_remove(name);
        }
        cargo.output().unwrap()
    };
    assert!(done(&cargo(&["test"])).contains("a_pull_request_is_no_issue ... ok"));
    // Without what only a debugger reads, and so within the limit of an upload.
    done(&cargo(&["build", "--target", "wasm32-wasip2", "--config", "profile.dev.debug=false"]));
    let component = target.join("wasm32-wasip2/debug/github_issues.wasm").display().to_string();
    let shown = done(&terapi(dir.path(), &["inspect", &component]));
    assert!(shown.starts_with("github-issues 1.0.0"), "{shown}");
    done(&terapi(dir.path(), &["test", &component, "github-issues.test.json"]));
}

#[test]
fn a_project_in_typescript_or_javascript_needs_nothing_to_pass_its_test() {
    for (language, file) in [("ts", "github-issues.ts"), ("js", "github-issues.js")] {
        let dir = project(language);
        let shown = done(&terapi(dir.path(), &["inspect", file]));
        assert!(shown.starts_with("github-issues 1.0.0"), "{shown}");
        done(&terapi(dir.path(), &["test", file]));
    }
}
