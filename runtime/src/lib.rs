//! Terapi, a sync runtime. Somebody else's HTTP API is on one side, the user's own app on the other. A *sync script*,
//! compiled to a WebAssembly component, pulls pages from the API and saves records; Terapi runs it in a sandbox limited in
//! fuel and memory, keeps the records, works out what really changed, and serves the app just those changes.
//!
//! ```text
//! external API ──http──► script (sandbox) ──batch-save──► store ──changes since cursor──► the user's app
//!                           ▲  last-sync-date, checkpoint ◄──┘
//! ```
//!
//! A map, in the direction in which things flow:
//!
//! | module | what is behind its door |
//! |---|---|
//! | [`cli`] | the command line: a client of the API, a server's or one in its own process |
//! | [`api`] | the HTTP API: routes, keys and scopes, errors as answers, its own description, listening |
//! | [`runtime`] | the façade: everything that API and command line can ask for, an environment at a time |
//! | [`scheduler`] | when which sync runs: schedules, backoff, fairness, admission; knows nothing of running |
//! | [`config`], [`keys`], [`secrets`] | settings, API keys, sealing of credentials |
//! | [`script`] | what a script says of itself, and why one is refused |
//! | [`componentize`] | a component of a core module, for what C compilers emit |
//! | [`sandbox`] | `Sandbox::load` and `Sandbox::run`: where scripts of strangers run, and the host functions they call |
//! | [`egress`] | `Egress::send`: the one way out, deny by default |
//! | [`store`] | `Store`: records, changes, cursors, runs; knows nothing of Wasm |
//! | [`trial`] | scripts against recorded files: what `terapi test` does |
//! | [`run`], [`ids`], [`clock`] | values that all of them share |
//! | `incident` | limits that strangers ran into, in the log |
//! | [`demo`] | a local API and the example scripts, for `terapi demo`, tests and benches |
//!
//! The contract with scripts is not here but in `wit/`; what a script's author uses is in `guest-sdk/`.

pub mod api;
pub mod cli;
pub mod clock;
pub mod componentize;
pub mod config;
pub mod demo;
pub mod egress;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
pub mod ids;
mod incident;
pub mod keys;
pub mod run;
pub mod runtime;
pub mod sandbox;
pub mod scheduler;
pub mod script;
pub mod secrets;
pub mod store;
pub mod trial;
