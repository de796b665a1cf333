//! The JavaScript engine of Terapi: QuickJS with the SDK and zod loaded, as a component in the world `engine`.
//!
//! It is built once and snapshotted after [`boot`](engine::boot), so an instance starts with everything loaded. One
//! instance runs one script once. A map:
//! - [`engine`]: QuickJS itself, what is loaded into it, how a script is loaded and run
//! - [`modules`]: which specifier names which module
//! - [`event_loop`]: jobs, requests under way, timers
//! - [`json`]: JSON to and from values, for what is plain
//! - [`native`]: what the JavaScript of the SDK cannot do by itself, a file a topic
//!
//! Invariants: no JavaScript value decides over more than this run; whatever a script does to the objects around it, its
//! end is a `failure` or an answer, not a trap. Nothing here may draw randomness or read the clock before the snapshot.

mod engine;
mod event_loop;
mod exports;
mod json;
mod modules;
mod native;
mod values;

#[allow(missing_docs, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "wit"],
        world: "terapi:engine/unborn",
        generate_all,
    });
}

bindings::export!(Component with_types_in bindings);

/// What the component's exports are implemented on.
pub struct Component;
