//! What the tests share: guests that are built once, a runtime with an API beside it, and hand-written components.

mod at_exit;
mod bench;
mod breaking_store;
mod guests;
mod hand_written;
mod odd_api;
mod sealed_store;

pub(crate) use at_exit::at_exit;
pub(crate) use bench::{Bench, Ran, on_shared_bench, probe};
pub(crate) use breaking_store::BreakingStore;
pub(crate) use guests::guest;
pub(crate) use hand_written::{HandWritten, Manifest, Wit};
pub(crate) use odd_api::OddApi;
pub(crate) use sealed_store::SealedStore;
