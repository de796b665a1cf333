//! What a script's text is: one file, or several in a package.
//!
//! ```text
//! {"terapi":"source/1","modules":[{"name":"github-issues.ts","source":"…"},{"name":"lib/map.ts","source":"…"}]}
//! ```
//!
//! The first module is the script; names are paths below a common folder. Sources stay as the author wrote them, so that the
//! script's hash is over them and errors can show lines.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::error::SourceError;

/// A name for a script that came without one.
const PLAIN: &str = "script.ts";
/// The format.
const FORMAT: &str = "source/1";
/// Modules of a script. The largest of a thousand public ones has a dozen.
pub(crate) const MAX_MODULES: usize = 256;
/// Bytes of all modules of a script together.
pub(super) const MAX_SOURCE_BYTES: usize = 4 << 20;
/// A package of so much source, each byte escaped as it may be (`\u0000`), and names.
const MAX_PACKAGE_BYTES: usize = 6 * MAX_SOURCE_BYTES + (1 << 20);
/// A path is shown in errors.
const MAX_NAME_BYTES: usize = 200;

/// The text of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The script first.
    pub(crate) modules: Vec<Module>,
}

/// One file of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Module {
    /// Its path.
    pub(crate) name: String,
    /// As its author wrote it.
    pub(crate) source: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    terapi: String,
    modules: Vec<Module>,
}

/// Whether these bytes are meant as the text of a script: UTF-8 with something in it and without NUL, and not the text of
/// WebAssembly, parts of which would pass for JavaScript.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    let meant = |text: &str| {
        let text = text.trim_start();
        let is_wat = ["(module", "(component"].iter().any(|start| text.starts_with(start));
        !text.is_empty() && !is_wat
    };
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok_and(meant)
}

impl Source {
    /// Reads the text of a script.
    pub(crate) fn read(text: &str) -> Result<Self, SourceError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !is_package(text) {
            let source = Self { modules: vec![Module { name: PLAIN.to_owned(), source: text.to_owned() }] };
            source.check()?;
            return Ok(source);
        }
        if text.len() > MAX_PACKAGE_BYTES {
            let (what, size) = ("the package".to_owned(), text.len());
            return Err(SourceError::TooLarge { what, size, limit: MAX_PACKAGE_BYTES });
        }
        let package: Package =
            serde_json::from_str(text).map_err(|error| SourceError::BadPackage(error.to_string()))?;
        if package.terapi != FORMAT {
            let format: String = package.terapi.chars().take(40).collect();
            return Err(SourceError::BadPackage(format!("its format is {format:?}; this Terapi reads {FORMAT:?}")));
        }
        let source = Self { modules: package.modules };
        source.check()?;
        Ok(source)
    }

    /// The package, as it is uploaded.
    pub(crate) fn to_package(&self) -> Vec<u8> {
        let package = Package { terapi: FORMAT.to_owned(), modules: self.modules.clone() };
        // Texts and names always encode.
        serde_json::to_vec(&package).unwrap_or_default()
    }

    /// The module that is the script.
    pub(crate) fn entry(&self) -> &str {
        self.modules.first().map_or(PLAIN, |module| &module.name)
    }

    /// Order: how many → how much → names.
    pub(crate) fn check(&self) -> Result<(), SourceError> {
        let bad = |reason: String| Err(SourceError::BadPackage(reason));
        if self.modules.is_empty() {
            return bad("it has no modules: the first one is the script".to_owned());
        }
        if self.modules.len() > MAX_MODULES {
            return bad(format!("it has {} modules, over {MAX_MODULES}", self.modules.len()));
        }
        let size = self.modules.iter().map(|module| module.source.len()).sum();
        if size > MAX_SOURCE_BYTES {
            return Err(SourceError::TooLarge { what: "the script".to_owned(), size, limit: MAX_SOURCE_BYTES });
        }
        let mut names = HashSet::new();
        for Module { name, source } in &self.modules {
            let shown: String = name.chars().take(80).collect();
            if let Err(reason) = check_name(name) {
                return bad(format!("the module name {shown:?} {reason}"));
            }
            if !names.insert(name) {
                return bad(format!("the module {shown} is there twice"));
            }
            if source.contains('\0') {
                return bad(format!("the module {shown} has a NUL in it, so it is no text"));
            }
        }
        if is_json(self.entry()) {
            return bad(format!("the script itself, {}, is JSON: the first module is the script", self.entry()));
        }
        Ok(())
    }
}

/// A package begins with its format: no script does.
fn is_package(text: &str) -> bool {
    let key = text.trim_start().strip_prefix('{').map(str::trim_start);
    key.is_some_and(|rest| rest.starts_with("\"terapi\"") || rest.starts_with("\"modules\""))
}

/// Whether a module is data, by its name.
pub(super) fn is_json(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| extension == "json")
}

/// Extensions of what can be a module.
pub(super) const EXTENSIONS: [&str; 7] = ["ts", "mts", "cts", "js", "mjs", "cjs", "json"];

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err("is empty or longer than 200 bytes");
    }
    // A colon and a bracket are what ends a name in a place such as `at f (lib/map.ts:3:7)`.
    let forbidden = |it: char| it.is_control() || matches!(it, '\\' | ':' | '(' | ')' | '"' | '\'' | '`' | '<' | '>');
    if name.contains(forbidden) {
        return Err("has a character that no module's name may have");
    }
    if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("is not a path below the script's folder");
    }
    if name
        .rsplit_once('.')
        .is_none_or(|(stem, extension)| stem.is_empty() || stem.ends_with('/') || !EXTENSIONS.contains(&extension))
    {
        return Err("does not end in .ts, .js or .json (or .mts, .cts, .mjs, .cjs)");
    }
    Ok(())
}
