//! Builds the example scripts, which `terapi demo` brings along and the tests run.
//!
//! They are a workspace of their own for another target, so this calls cargo, with a target folder that all profiles
//! share, and copies the components to `OUT_DIR`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let examples = root.join("example-scripts");
    for watched in ["example-scripts/Cargo.toml", "guest-sdk/rust/src", "guest-sdk/rust/macros/src", "wit"] {
        println!("cargo:rerun-if-changed={}", root.join(watched).display());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&examples)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            println!("cargo:rerun-if-changed={}", entry.path().join("src").display());
            println!("cargo:rerun-if-changed={}", entry.path().join("Cargo.toml").display());
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();

    // target/<profile>/build/terapi-<hash>/out
    let target = out.ancestors().nth(4).map_or_else(|| out.join("guests"), |dir| dir.join("guests"));
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["build", "--release", "--target", "wasm32-wasip2", "--manifest-path"]);
    cargo.arg(examples.join("Cargo.toml")).arg("--target-dir").arg(&target);
    // What is set for the host must not reach the guests: flags, and the compiler's stand-ins that clippy uses.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC", "RUSTDOC"]
    {
        cargo.env_remove(name);
    }
    let built = cargo.output()?;
    if !built.status.success() {
        let output = String::from_utf8_lossy(&built.stderr);
        return Err(format!(
            "the example scripts do not build for wasm32-wasip2; if the target is missing: rustup target add \
             wasm32-wasip2\n{output}"
        )
        .into());
    }

    let mut list = String::from("&[\n");
    for name in &names {
        let file = format!("{}.wasm", name.replace('-', "_"));
        copy_if_changed(&target.join("wasm32-wasip2/release").join(&file), &out.join(&file))?;
        writeln!(list, "    (\"{name}\", include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))),")?;
    }
    list.push(']');
    fs::write(out.join("example_scripts.rs"), list)?;
    Ok(())
}

/// Leaves an unchanged copy alone, so that nothing is compiled again for it.
fn copy_if_changed(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let new = fs::read(from).map_err(|error| format!("{} was not built: {error}", from.display()))?;
    if fs::read(to).ok().as_ref() != Some(&new) {
        fs::write(to, new)?;
    }
    Ok(())
}
