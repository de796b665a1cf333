//! Recorded files of a script, by its name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::Failed;

/// Where they lie, seen from the script: beside it, in `tests/` there, and in `tests/` beside its folder.
const FOLDERS: [&str; 3] = ["", "tests", "../tests"];

/// The recorded files of a script, by path.
pub(super) fn recorded(script: &Path) -> Result<Vec<PathBuf>, Failed> {
    let stem = script.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    // Cargo writes `github_issues.wasm` of the crate `github-issues`.
    let names = BTreeSet::from([stem.replace('_', "-"), stem]);
    let folder = script.parent().unwrap_or(Path::new(""));
    let mut found = BTreeSet::new();
    for place in FOLDERS {
        let folder = folder.join(place);
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Failed::io(format_args!("list {}", folder.display()))(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Failed::io(format_args!("list {}", folder.display())))?;
            let name = entry.file_name();
            if names.iter().any(|stem| is_of(&name.to_string_lossy(), stem)) {
                found.insert(entry.path());
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn is_of(file: &str, stem: &str) -> bool {
    let Some(rest) = file.strip_prefix(stem).and_then(|rest| rest.strip_prefix('.')) else { return false };
    rest == "cassette" || rest == "test.json" || rest.ends_with(".test.json")
}
