//! `terapi init --lang LANGUAGE [DIR]`: a script to start from, with all that it needs beside the language's own tools.
//!
//! Two kinds of files: the author's, which are written once and never over something else, and the SDK's in `.terapi`, which
//! belong to this version of Terapi and are written anew each time.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::super::{Failed, output};
use super::sdk;
use crate::componentize::WIT;

/// What a script can be begun in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Language {
    /// Rust, with cargo
    Rust,
    /// TypeScript, with nothing but terapi
    #[value(alias = "typescript")]
    Ts,
    /// JavaScript, with nothing but terapi
    #[value(alias = "javascript")]
    Js,
    /// Python, with componentize-py
    Python,
    /// C, with clang and wasi-libc
    C,
}

/// A file of the project, by its path.
type File = (&'static str, &'static str);

struct Template {
    files: &'static [File],
    /// Of the SDK, below `.terapi/sdk`.
    sdk: &'static [File],
    /// Whether the SDK reads the contract's text.
    wit: bool,
    /// What to do next, in the project.
    steps: &'static [&'static str],
}

macro_rules! template {
    ($to:literal, $from:literal) => {
        ($to, include_str!(concat!($from, ".template")))
    };
}

/// What the API answers to every language's script, and what is to be saved of it.
const RECORDED: File = template!("github-issues.test.json", "shared/github-issues.test.json");
const GITIGNORE: File = (".gitignore", "/target/\n/.venv/\n__pycache__/\n/terapi-data/\n*.wasm\n");

const TYPESCRIPT: Template = Template {
    files: &[
        GITIGNORE,
        template!("github-issues.ts", "typescript/github-issues.ts"),
        RECORDED,
        template!("tsconfig.json", "typescript/tsconfig.json"),
    ],
    sdk: sdk::TYPESCRIPT,
    wit: false,
    steps: &[
        "terapi test github-issues.ts",
        "terapi run github-issues.ts --connection me --allow-host api.github.com",
        "terapi records Issue --connection me",
    ],
};

const JAVASCRIPT: Template = Template {
    files: &[
        GITIGNORE,
        template!("github-issues.js", "javascript/github-issues.js"),
        RECORDED,
        template!("jsconfig.json", "javascript/jsconfig.json"),
    ],
    sdk: sdk::TYPESCRIPT,
    wit: false,
    steps: &[
        "terapi test github-issues.js",
        "terapi run github-issues.js --connection me --allow-host api.github.com",
        "terapi records Issue --connection me",
    ],
};

const RUST: Template = Template {
    files: &[
        GITIGNORE,
        RECORDED,
        template!("Cargo.toml", "rust/Cargo.toml"),
        template!("src/lib.rs", "rust/src/lib.rs"),
    ],
    sdk: sdk::RUST,
    wit: true,
    steps: &[
        "rustup target add wasm32-wasip2",
        "cargo test",
        "cargo build --release --target wasm32-wasip2",
        "terapi test target/wasm32-wasip2/release/github_issues.wasm github-issues.test.json",
        "terapi run target/wasm32-wasip2/release/github_issues.wasm --connection me --allow-host api.github.com",
        "terapi records Issue --connection me",
    ],
};

const PYTHON: Template = Template {
    files: &[
        GITIGNORE,
        RECORDED,
        template!("github_issues.py", "python/github_issues.py"),
        template!("test_github_issues.py", "python/test_github_issues.py"),
    ],
    sdk: sdk::PYTHON,
    wit: true,
    steps: &[
        "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1",
        "export PYTHONPATH=.terapi/sdk/python",
        ".venv/bin/python -m unittest",
        ".venv/bin/python -m terapi build github_issues.py -o github_issues.wasm",
        "terapi test github_issues.wasm github-issues.test.json",
        "terapi run github_issues.wasm --connection me --allow-host api.github.com",
        "terapi records Issue --connection me",
    ],
};

const C: Template = Template {
    files: &[
        GITIGNORE,
        RECORDED,
        template!("github_issues.c", "c/github_issues.c"),
        template!("Makefile", "c/Makefile"),
    ],
    sdk: sdk::C,
    wit: false,
    steps: &[
        "apt-get install make clang lld wasi-libc libclang-rt-14-dev-wasm32",
        "make",
        "make test",
        "terapi run github_issues.wasm --connection me --allow-host api.github.com",
        "terapi records Issue --connection me",
    ],
};

impl Language {
    fn template(self) -> &'static Template {
        match self {
            Self::Rust => &RUST,
            Self::Ts => &TYPESCRIPT,
            Self::Js => &JAVASCRIPT,
            Self::Python => &PYTHON,
            Self::C => &C,
        }
    }
}

/// The dependencies that the SDK's own packages take from their workspace, as lines of a `Cargo.toml`.
fn sdk_dependencies() -> String {
    let wanted = ["proc-macro2", "quote", "schemars", "serde", "serde_json", "syn", "wit-bindgen"];
    let given = sdk::WORKSPACE.lines().filter(|line| {
        line.split_once(" = ").is_some_and(|(name, value)| wanted.contains(&name) && !value.contains("path ="))
    });
    let mut lines: Vec<&str> = vec![
        "terapi-guest = { path = \".terapi/sdk/rust\" }",
        "terapi-guest-macros = { path = \".terapi/sdk/rust/macros\" }",
    ];
    lines.extend(given);
    lines.join("\n")
}

/// Writes a project, and says what to do with it.
pub(super) fn begin(language: Language, dir: &Path, json: bool) -> Result<ExitCode, Failed> {
    let template = language.template();
    let again = dir.join(".terapi/sdk").is_dir();
    for (name, _) in template.files.iter().filter(|(name, _)| !again && *name != GITIGNORE.0) {
        let file = dir.join(name);
        if file.exists() {
            return Err(Failed::coded(
                "exists",
                format!("{} is there already, and nothing was written: name another folder", file.display()),
            ));
        }
    }
    let mut written = Vec::new();
    for (name, text) in template.files.iter().filter(|_| !again) {
        let text = text.replace("@SDK_DEPENDENCIES@", &sdk_dependencies());
        if write_new(&dir.join(name), &text)? {
            written.push((*name).to_owned());
        }
    }
    for (name, text) in template.sdk {
        write(&dir.join(".terapi/sdk").join(name), text)?;
    }
    for (name, text) in WIT.iter().filter(|_| template.wit) {
        write(&dir.join(".terapi/wit").join(name), text)?;
    }
    if json {
        output::json(&serde_json::json!({ "dir": dir, "files": written, "next": template.steps }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (dim, green) = (output::DIM, output::GREEN);
    if again {
        anstream::println!("{green}ready{green:#}  .terapi is this version's now; nothing else was touched");
        return Ok(ExitCode::SUCCESS);
    }
    anstream::println!("{green}ready{green:#}  {}", written.join(", "));
    anstream::println!("       what they need of Terapi is in .terapi\n");
    if dir != Path::new(".") {
        anstream::println!("{dim}cd {}{dim:#}", dir.display());
    }
    for step in template.steps {
        anstream::println!("{dim}{step}{dim:#}");
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> Result<(), Failed> {
    let doing = || format!("write {}", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(Failed::io(doing()))?;
    }
    std::fs::write(file, text).map_err(Failed::io(doing()))
}

/// Writes a file if there is none. Says whether it did.
fn write_new(file: &Path, text: &str) -> Result<bool, Failed> {
    let doing = || format!("write {}", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(Failed::io(doing()))?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(mut opened) => opened.write_all(text.as_bytes()).map(|()| true).map_err(Failed::io(doing())),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Failed::io(doing())(error)),
    }
}
