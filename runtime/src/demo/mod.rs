//! What `terapi demo` shows: the example scripts, compiled in, and an API for them on this machine.
//!
//! Tests and benches use the same scripts and the same API.

pub mod api;

/// The example scripts as components, by name.
pub const SCRIPTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/example_scripts.rs"));

/// The bytes of an example script.
#[must_use]
pub fn script(name: &str) -> Option<&'static [u8]> {
    SCRIPTS.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}
