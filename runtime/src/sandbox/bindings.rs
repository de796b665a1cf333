//! The contract as Rust types, generated from `wit/`. Both worlds share one set of host functions.

mod generated {
    pub(crate) mod sync {
        wasmtime::component::bindgen!({
            path: "../wit",
            world: "sync",
            imports: { default: async | trappable },
            exports: { default: async },
        });
    }

    pub(crate) mod action {
        wasmtime::component::bindgen!({
            path: "../wit",
            world: "action",
            imports: { default: async | trappable },
            exports: { default: async },
            with: {
                "terapi:sync/types": super::sync::terapi::sync::types,
                "terapi:sync/http": super::sync::terapi::sync::http,
                "terapi:sync/records": super::sync::terapi::sync::records,
                "terapi:sync/state": super::sync::terapi::sync::state,
                "terapi:sync/log": super::sync::terapi::sync::log,
            },
        });
    }
}

pub(super) use generated::action::{Action, ActionPre};
pub(super) use generated::sync::terapi::sync::{http, log, records, state, types};
pub(super) use generated::sync::{Sync, SyncPre};
