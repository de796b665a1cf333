//! The SDKs as they go into a project, by their paths in `guest-sdk`. A test holds the lists against the folder.

macro_rules! files {
    ($($path:literal,)*) => { &[$(($path, include_str!(concat!("../../../../guest-sdk/", $path)))),*] };
}

/// The workspace that the Rust SDK's packages are members of: the versions of what they need.
pub(super) const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// For Rust.
pub(super) const RUST: &[(&str, &str)] = files![
    "rust/Cargo.toml",
    "rust/macros/Cargo.toml",
    "rust/macros/src/arguments.rs",
    "rust/macros/src/lib.rs",
    "rust/macros/src/model.rs",
    "rust/macros/src/script.rs",
    "rust/src/bindings.rs",
    "rust/src/error.rs",
    "rust/src/http.rs",
    "rust/src/http/link.rs",
    "rust/src/http/tests.rs",
    "rust/src/lib.rs",
    "rust/src/log.rs",
    "rust/src/model.rs",
    "rust/src/pages.rs",
    "rust/src/pages/tests.rs",
    "rust/src/pointer.rs",
    "rust/src/records.rs",
    "rust/src/run.rs",
    "rust/src/script.rs",
    "rust/src/state.rs",
    "rust/src/time.rs",
];

/// For Python.
pub(super) const PYTHON: &[(&str, &str)] = files![
    "python/terapi/__init__.py",
    "python/terapi/__main__.py",
    "python/terapi/_component.py",
    "python/terapi/_errors.py",
    "python/terapi/_host.py",
    "python/terapi/_http.py",
    "python/terapi/_loop.py",
    "python/terapi/_model.py",
    "python/terapi/_script.py",
];

/// For C.
pub(super) const C: &[(&str, &str)] = files![
    "c/bindings/action/terapi.c",
    "c/bindings/action/terapi.h",
    "c/bindings/sync/terapi.c",
    "c/bindings/sync/terapi.h",
    "c/build",
    "c/include/terapi_json.h",
    "c/include/terapi_sdk.h",
    "c/src/terapi_json.c",
    "c/src/terapi_sdk.c",
];

/// What an editor needs for TypeScript and JavaScript.
pub(super) const TYPESCRIPT: &[(&str, &str)] =
    files!["typescript/globals.d.ts", "typescript/nango.d.ts", "typescript/terapi.d.ts",];
