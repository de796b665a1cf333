//! The test guests of `tests/guests`, built once a test process. Cargo knows what is fresh, so a second build is quick.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The bytes of a test guest, by the name of its crate.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let file = BUILT.join(format!("{}.wasm", name.replace('-', "_")));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{} was not built: {error}", file.display()))
}

/// The folder with the components.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = root.join("target/guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--target", "wasm32-wasip2", "--manifest-path"]);
    cargo.arg(root.join("tests/guests/Cargo.toml")).arg("--target-dir").arg(&target);
    // What is set for the host must not reach the guests.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC", "RUSTDOC"]
    {
        cargo.env_remove(name);
    }
    let built = cargo.output().expect("cargo can be called");
    assert!(
        built.status.success(),
        "the test guests do not build for wasm32-wasip2; if the target is missing: rustup target add wasm32-wasip2\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    target.join("wasm32-wasip2/release")
});
