//! Uploads: bytes of strangers, refused with a clear error or run within limits.

mod bombs;
mod children;
mod generated;
mod kept;
mod surface;

use serde_json::Value;

use super::{Case, Ground, Tested, case, library_case};
use crate::support::HandWritten;

const UPLOADS: &str = "tests/sandbox/uploads.rs";
const BODIES: &str = "tests/adversarial/api/bodies.rs";
const MANIFESTS: &str = "tests/sandbox/manifests.rs";

pub(super) const CASES: &[Case] = &[
    Case("U01", Tested::Here),
    Case("U02", Tested::Here),
    Case("U03", Tested::Here),
    Case("U04", Tested::Here),
    Case("U05", Tested::Elsewhere(&[(UPLOADS, "a_component_that_is_cut_off_anywhere_is_refused")])),
    Case("U06", Tested::Elsewhere(&[(UPLOADS, "a_component_with_flipped_bits_is_refused_or_runs_within_limits")])),
    Case("U06-smith", Tested::Here),
    Case("U08", Tested::Here),
    Case("U09", Tested::Here),
    Case("U10", Tested::Here),
    Case("U11", Tested::Here),
    Case("U12", Tested::Elsewhere(&[(BODIES, "a_body_over_the_limit_is_refused_with_its_connection")])),
    Case("U13", Tested::Elsewhere(&[(BODIES, "bodies_that_would_have_to_be_unpacked_are_not_taken")])),
    Case("U14", Tested::Here),
    Case("U14-unscanned", Tested::Here),
    Case("U16", Tested::Here),
    Case("U16-unscanned", Tested::Here),
    Case("U17", Tested::Here),
    Case("U18", Tested::Here),
    Case("U18-gone", Tested::Here),
    Case("U19", Tested::Here),
    Case("U21", Tested::Here),
    Case("U23", Tested::Here),
    Case(
        "U24",
        Tested::Elsewhere(&[
            (MANIFESTS, "a_describe_that_does_too_much_is_refused"),
            (MANIFESTS, "a_start_function_that_loops_or_traps_is_refused"),
            (MANIFESTS, "a_manifest_of_very_many_models_is_refused_soon"),
            (UPLOADS, "a_script_that_misbehaves_only_when_it_runs_is_accepted_and_then_stopped"),
        ]),
    ),
    Case("U26", Tested::Here),
    Case("U28", Tested::Here),
    Case("U28-writable", Tested::Here),
    Case("U29", Tested::Here),
    Case("U30", Tested::Here),
    Case("U-passing", Tested::Here),
    Case("U-deep", Tested::Here),
    Case("U-place", Tested::Here),
    Case("U-names", Tested::Here),
];

/// Uploads these bytes, which are refused with this status and code.
async fn refused(ground: &Ground, bytes: Vec<u8>, status: u16, code: &'static str) -> String {
    let problem = ground.client.upload_bytes(bytes, "").await.problem(status, code);
    problem["detail"].as_str().unwrap().to_owned()
}

/// A component of WebAssembly text.
fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A script that works, with these fields in its module besides.
fn with_fields(fields: &str) -> Vec<u8> {
    HandWritten { fields: fields.to_owned(), ..HandWritten::default() }.bytes()
}

/// The scripts that are deployed, by name.
async fn deployed(ground: &Ground) -> Vec<String> {
    let page = ground.client.get("/v1/scripts").await.ok();
    let name = |script: &Value| script["name"].as_str().unwrap().to_owned();
    page["items"].as_array().unwrap().iter().map(name).collect()
}

/// What is compiled and kept.
fn artifacts(ground: &Ground) -> Vec<std::path::PathBuf> {
    let folder = std::fs::read_dir(ground.data.join("artifacts")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}
