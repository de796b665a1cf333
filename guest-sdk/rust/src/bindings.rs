//! The contract (`wit/`, package `terapi:sync`) as Rust, generated at compile time.
//!
//! The host's functions are bound once, from the world `host-functions`, with borrowed arguments so that a record's text is
//! not copied on its way out. The worlds `sync` and `action` add what a script exports. Their `export!` macros also
//! carry the description of the exports, so a component gets the exports of the world whose macro it expands, and of no
//! other: `#[sync]` expands one and `#[action]` the other.

/// The functions that the host offers.
pub(crate) mod host {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "host-functions",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// What a sync script exports.
pub mod sync {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "sync",
        pub_export_macro: true,
        generate_unused_types: true,
        with: {
            "terapi:sync/http@0.1.0": crate::bindings::host::terapi::sync::http,
            "terapi:sync/records@0.1.0": crate::bindings::host::terapi::sync::records,
            "terapi:sync/state@0.1.0": crate::bindings::host::terapi::sync::state,
            "terapi:sync/log@0.1.0": crate::bindings::host::terapi::sync::log,
        },
    });
}

/// What an action script exports.
pub mod action {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "action",
        pub_export_macro: true,
        with: {
            "terapi:sync/types@0.1.0": crate::bindings::sync::terapi::sync::types,
            "terapi:sync/http@0.1.0": crate::bindings::host::terapi::sync::http,
            "terapi:sync/records@0.1.0": crate::bindings::host::terapi::sync::records,
            "terapi:sync/state@0.1.0": crate::bindings::host::terapi::sync::state,
            "terapi:sync/log@0.1.0": crate::bindings::host::terapi::sync::log,
        },
    });
}
