//! Black-box tests: everything through the doors that the command line and the apps use. One binary, a module a topic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod adversarial;
mod cli;
mod fuzz;
mod kill;
mod languages;
mod recorded;
mod sandbox;
mod service;
mod store;
mod support;
mod tapes;
mod typescript;
