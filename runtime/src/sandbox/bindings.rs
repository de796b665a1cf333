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

    /// What the engine of scripts that are text has besides.
    pub(crate) mod text {
        wasmtime::component::bindgen!({
            inline: "
                package terapi:host@0.1.0;
                world text-script {
                    import terapi:engine/source@0.1.0;
                    export terapi:engine/script@0.1.0;
                }
            ",
            path: ["../wit", "../guest-sdk/typescript/engine/wit"],
            world: "terapi:host/text-script",
            imports: { default: async | trappable },
            exports: { default: async },
        });
    }
}

pub(super) use generated::action::{Action, ActionPre};
pub(super) use generated::sync::terapi::sync::{http, log, records, state, types};
pub(super) use generated::sync::{Sync, SyncPre};
pub(super) use generated::text::TextScript;
pub(super) use generated::text::exports::terapi::engine::script::Kind as TextKind;
pub(super) use generated::text::terapi::engine::source;
