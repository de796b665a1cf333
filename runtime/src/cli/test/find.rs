//! Scripts, and the recorded files that belong to them by their names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::Failed;

/// Where they lie, seen from the script: beside it, in `tests/` there, and in `tests/` beside its folder.
const FOLDERS: [&str; 3] = ["", "tests", "../tests"];

/// What a script's file ends in.
const SCRIPTS: [&str; 5] = ["ts", "js", "mts", "mjs", "wasm"];

/// Folders that hold other people's scripts.
const FOREIGN: [&str; 2] = ["node_modules", "target"];

/// A script and what it is tested with.
pub(super) struct Pair {
    pub(super) script: PathBuf,
    pub(super) files: Vec<PathBuf>,
}

/// Each script and its recorded files, where some are; those that were named, if any were.
pub(super) fn pairs(script: &Path, files: &[PathBuf]) -> Result<Vec<Pair>, Failed> {
    if script.is_dir() {
        if !files.is_empty() {
            let message = format!("{} is a folder: its scripts' recorded files are found by name", script.display());
            return Err(Failed::coded("usage", message));
        }
        let mut pairs = Vec::new();
        for script in below(script, &is_script)? {
            let files = recorded(&script)?;
            if !files.is_empty() {
                pairs.push(Pair { script, files });
            }
        }
        return Ok(pairs);
    }
    let files = if files.is_empty() { recorded(script)? } else { named(script, files)? };
    Ok(if files.is_empty() { Vec::new() } else { vec![Pair { script: script.to_owned(), files }] })
}

/// The recorded files of a script, by path.
fn recorded(script: &Path) -> Result<Vec<PathBuf>, Failed> {
    let folder = script.parent().unwrap_or(Path::new(""));
    let stems = stems(script);
    let mut found = BTreeSet::new();
    for place in FOLDERS {
        let folder = folder.join(place);
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        found.extend(list(&folder)?.into_iter().filter(|path| stems.iter().any(|stem| is_of(path, stem))));
    }
    Ok(found.into_iter().collect())
}

/// What was named. Of a folder all recorded files below it; where some are the script's by their name, those.
fn named(script: &Path, files: &[PathBuf]) -> Result<Vec<PathBuf>, Failed> {
    let stems = stems(script);
    let mut all = Vec::new();
    for file in files {
        if !file.is_dir() {
            all.push(file.clone());
            continue;
        }
        let below = below(file, &|path| is_of(path, ""))?;
        let own = |path: &PathBuf| stems.iter().any(|stem| is_of(path, stem));
        let some_are_own = below.iter().any(own);
        all.extend(below.into_iter().filter(|path| !some_are_own || own(path)));
    }
    Ok(all)
}

/// The names of a script: Cargo writes `github_issues.wasm` of the crate `github-issues`.
fn stems(script: &Path) -> BTreeSet<String> {
    let stem = script.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    BTreeSet::from([stem.replace('_', "-"), stem])
}

/// Whether a file is a recorded one whose name begins with this.
fn is_of(file: &Path, stem: &str) -> bool {
    let name = name(file);
    let Some(rest) = name.strip_prefix(stem) else { return false };
    let rest = if stem.is_empty() { Some(rest) } else { rest.strip_prefix('.') };
    rest.is_some_and(|rest| {
        ["cassette", "test.json"].contains(&rest)
            || rest.ends_with(".test.json")
            || stem.is_empty() && rest.ends_with(".cassette")
    })
}

fn is_script(file: &Path) -> bool {
    let name = name(file);
    let is = |extension: &str| SCRIPTS.contains(&extension);
    // `x.test.ts` and `x.d.ts` are none.
    file.extension().is_some_and(|it| is(&it.to_string_lossy()))
        && !name.trim_end_matches(|it| it != '.').trim_end_matches('.').contains('.')
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Files below a folder, by path.
fn below(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    for path in list(folder)? {
        let name = name(&path);
        // A link may lead back.
        if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
            found.extend(below(&path, wanted)?);
        } else if path.is_file() && wanted(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

/// What is in a folder, by path; nothing if there is none.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let failed = |error| Failed::io(format_args!("list {}", folder.display()))(error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}
