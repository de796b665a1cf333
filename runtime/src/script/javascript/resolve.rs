//! What an import means.

/// What an import means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Import {
    /// A module of the engine, by the name that the engine has for it.
    Engine(&'static str),
    /// A path, relative to the module that has the import.
    Path,
    /// None of both: what to tell the author.
    Unknown(String),
}

/// What a specifier means by itself.
pub(crate) fn external(specifier: &str) -> Import {
    match specifier {
        "terapi" => Import::Engine("terapi"),
        "nango" => Import::Engine("nango"),
        "zod" | "zod/v4" => Import::Engine("zod"),
        "crypto" | "node:crypto" => Import::Engine("node:crypto"),
        "buffer" | "node:buffer" => Import::Engine("node:buffer"),
        "url" | "node:url" => Import::Engine("node:url"),
        _ if specifier.starts_with("./") || specifier.starts_with("../") || matches!(specifier, "." | "..") => {
            Import::Path
        }
        _ => Import::Unknown(format!("{} cannot be imported: {}", quoted(specifier), advice(specifier))),
    }
}

fn advice(specifier: &str) -> &'static str {
    let bare = specifier.strip_prefix("node:").unwrap_or(specifier);
    match bare {
        _ if specifier.starts_with("zod/") => "import from 'zod'; its other builds are not there",
        "timers" | "timers/promises" | "util" | "events" | "stream" | "assert" => {
            "of Node's modules there are crypto, buffer and url; setTimeout and its like are there without an import"
        }
        "fs" | "fs/promises" | "path" | "os" | "child_process" | "net" | "http" | "https" | "dns" | "process" => {
            "a script has no files and no network but its requests: use terapi.get and its like"
        }
        "axios" | "node-fetch" | "got" | "undici" | "ky" => {
            "requests go through the host: use terapi.get, terapi.post and their like, or fetch"
        }
        _ if specifier.starts_with('/') || specifier.contains("://") => {
            "imports are relative paths such as './map.js', or 'terapi', 'nango' and 'zod'"
        }
        _ => {
            "a script imports its own files by relative paths such as './map.js', and 'terapi', 'nango' and 'zod'; to use a \
             package from npm, copy what you need of it beside the script, or bundle it into one file"
        }
    }
}

fn quoted(specifier: &str) -> String {
    let shown: String = specifier.chars().take(80).collect();
    format!("'{}'", shown.escape_debug())
}

/// The paths that a relative specifier may name, the likeliest first: as it stands, the TypeScript file that the name of a
/// JavaScript file stands for, without its extension, and a folder.
pub(crate) fn candidates(specifier: &str) -> Vec<String> {
    let folder = specifier.ends_with('/') || matches!(specifier.rsplit('/').next(), Some("." | ".."));
    let mut paths = Vec::new();
    if !folder {
        paths.push(specifier.to_owned());
        for (javascript, typescript) in [(".js", ".ts"), (".mjs", ".mts"), (".cjs", ".cts")] {
            paths.extend(specifier.strip_suffix(javascript).map(|stem| format!("{stem}{typescript}")));
        }
        paths.extend([".ts", ".mts", ".js", ".mjs", ".json"].map(|extension| format!("{specifier}{extension}")));
    }
    let folder = specifier.trim_end_matches('/');
    paths.extend(["index.ts", "index.mts", "index.js", "index.mjs"].map(|index| format!("{folder}/{index}")));
    paths
}

/// A path relative to a module's folder, as a path from the common folder; none if it leads out of that.
pub(super) fn join(module: &str, relative: &str) -> Option<String> {
    let folder = module.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut segments: Vec<&str> = folder.split('/').filter(|segment| !segment.is_empty()).collect();
    for segment in relative.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            segment => segments.push(segment),
        }
    }
    Some(segments.join("/"))
}

/// The specifier by which one module names another, exactly.
pub(super) fn relative(from: &str, to: &str) -> String {
    let mut folders = from.split('/').rev().skip(1).collect::<Vec<_>>();
    folders.reverse();
    let target: Vec<&str> = to.split('/').collect();
    let shared = folders.iter().zip(&target).take_while(|(one, other)| one == other).count();
    let shared = shared.min(target.len().saturating_sub(1));
    let up = "../".repeat(folders.len() - shared);
    let down = target.get(shared..).unwrap_or_default().join("/");
    if up.is_empty() { format!("./{down}") } else { format!("{up}{down}") }
}

/// Which module a relative specifier names, and else what to tell the author.
pub(super) fn module<'a>(from: &str, specifier: &str, names: &[&'a str]) -> Result<&'a str, String> {
    let mut leads_out = true;
    for candidate in candidates(specifier) {
        let Some(path) = join(from, &candidate) else { continue };
        leads_out = false;
        if let Some(name) = names.iter().find(|name| **name == path) {
            return Ok(name);
        }
    }
    let specifier = quoted(specifier);
    Err(if leads_out {
        format!("{specifier} leads out of the folder that the script's files have in common")
    } else if let [_] = names {
        format!(
            "{specifier} is not there: the script was given as one file; `terapi script add FILE` sends the files along \
             that it imports"
        )
    } else {
        format!("{specifier} is not there: no file of the script has this name, nor with .ts, .js or /index.ts")
    })
}
