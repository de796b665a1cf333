//! Script files: components as they are, and TypeScript with the files that it imports.

use std::path::{Component, Path, PathBuf};

use super::Failed;
use crate::script::javascript::{Import, MAX_MODULES, Module, Source, candidates, external, imports};
use crate::script::{ScriptError, check_header};

/// Extensions of files that are text.
const TEXT: [&str; 6] = ["ts", "mts", "cts", "js", "mjs", "cjs"];

/// A script as it is uploaded, and the files that it is made of.
pub(super) struct ScriptFile {
    pub(super) bytes: Vec<u8>,
    pub(super) files: Vec<PathBuf>,
}

/// Whether a file is TypeScript or JavaScript, by its name.
pub(super) fn is_text_file(path: &str) -> bool {
    Path::new(path).extension().and_then(|it| it.to_str()).is_some_and(|it| TEXT.contains(&it))
}

/// Whether a file can be a module of a script.
fn is_module_file(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "json") || path.to_str().is_some_and(is_text_file)
}

/// Reads a script: a component, or a text with all files that it imports.
pub(super) fn read(path: &str) -> Result<ScriptFile, Failed> {
    let bytes = std::fs::read(path).map_err(Failed::io(format_args!("read the script {path}")))?;
    let entry = PathBuf::from(path);
    if !is_text_file(path) {
        if Path::new(path).extension().is_some_and(|it| it == "wasm") {
            // By its name it is none of a script's text.
            check_header(&bytes)?;
        }
        return Ok(ScriptFile { bytes, files: vec![entry] });
    }
    let mut found = Found { files: Vec::new() };
    found.follow(&entry, bytes)?;
    let (paths, sources): (Vec<_>, Vec<_>) = found.files.into_iter().unzip();
    let modules = names(&paths).into_iter().zip(sources).map(|(name, source)| Module { name, source });
    let source = Source { modules: modules.collect() };
    source.check().map_err(ScriptError::from)?;
    Ok(ScriptFile { bytes: source.to_package(), files: paths })
}

/// The files of a script that are watched: those that it has, as far as they can be read.
pub(super) fn files(path: &str) -> Vec<PathBuf> {
    let entry = PathBuf::from(path);
    if !is_text_file(path) {
        return vec![entry];
    }
    let mut found = Found { files: Vec::new() };
    if let Ok(bytes) = std::fs::read(&entry) {
        // What is wrong with it is said when it is deployed.
        let _ = found.follow(&entry, bytes);
    }
    let mut files: Vec<_> = found.files.into_iter().map(|(path, _)| path).collect();
    if files.is_empty() {
        files.push(entry);
    }
    files
}

/// Files that were found, with their text, the script first.
struct Found {
    files: Vec<(PathBuf, String)>,
}

impl Found {
    fn follow(&mut self, entry: &Path, bytes: Vec<u8>) -> Result<(), Failed> {
        self.take(entry, bytes)?;
        let mut next = 0;
        while let Some((path, text)) = self.files.get(next).cloned() {
            next += 1;
            let shown = path.display().to_string();
            // What does not parse, and what leads nowhere, is told with its place when the script is built.
            let Ok(specifiers) = imports(&plain_name(&path), &text) else { continue };
            for specifier in specifiers.iter().filter(|it| external(it) == Import::Path) {
                let folder = path.parent().unwrap_or(Path::new(""));
                let mut paths = candidates(specifier).into_iter().map(|it| tidy(&folder.join(it)));
                let target = paths.find(|path| is_module_file(path) && path.is_file());
                let Some(target) = target.filter(|target| self.files.iter().all(|(known, _)| known != target)) else {
                    continue;
                };
                if self.files.len() == MAX_MODULES {
                    return Err(Failed::coded(
                        "bad-source-package",
                        format!("{shown}: the script imports more than {MAX_MODULES} files"),
                    ));
                }
                let name = target.display().to_string();
                let bytes =
                    std::fs::read(&target).map_err(Failed::io(format_args!("read {name}, which {shown} imports")))?;
                self.take(&target, bytes)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &Path, bytes: Vec<u8>) -> Result<(), Failed> {
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Failed::new(format!("{} is not text in UTF-8", path.display())))?;
        let text = text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned);
        self.files.push((tidy(path), text));
        Ok(())
    }
}

/// A name that says of what kind a file is; where it lies is no matter.
fn plain_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "script.ts".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A path without `.` and without `..` where that can be left out.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Names of modules: paths below the folder that the files have in common.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let absolute: Vec<PathBuf> =
        paths.iter().map(|path| std::path::absolute(path).map_or_else(|_| path.clone(), |path| tidy(&path))).collect();
    let mut common = absolute.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_owned();
    while !absolute.iter().all(|path| path.starts_with(&common)) && common.pop() {}
    let name = |path: &PathBuf| {
        let below = path.strip_prefix(&common).unwrap_or(path);
        let segments = below.components().map(|it| it.as_os_str().to_string_lossy().into_owned());
        segments.collect::<Vec<_>>().join("/")
    };
    absolute.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_script_comes_with_the_files_that_it_imports_named_from_their_common_folder() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        write("lib/map.ts", "import table from './table.json'; export default table");
        write("lib/table.json", "{}");
        write("types.ts", "export interface T {}");
        let entry = write(
            "syncs/issues.ts",
            "import type { T } from '../types.js'; import map from '../lib/map.js'; import './gone.js'; map(1 as unknown as T)",
        );
        let read = read(&entry).unwrap();
        let source = Source::read(std::str::from_utf8(&read.bytes).unwrap()).unwrap();
        let names: Vec<_> = source.modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["syncs/issues.ts", "lib/map.ts", "lib/table.json"]);
        assert_eq!(read.files.len(), 3);
        assert_eq!(files(&entry), read.files);
        let alone = write("alone.ts", "1");
        let read = super::read(&alone).unwrap();
        assert_eq!(read.bytes, br#"{"terapi":"source/1","modules":[{"name":"alone.ts","source":"1"}]}"#);
    }
}
