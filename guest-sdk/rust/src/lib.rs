//! Write Terapi scripts in Rust.
//!
//! A script pulls records out of an external API (a *sync*) or does one thing there (an *action*). It is one function:
//!
//! ```no_run
//! use terapi_guest::prelude::*;
//!
//! /// A member of the workspace.
//! #[model]
//! struct Member<'a> {
//!     id: &'a str,
//!     name: &'a str,
//! }
//!
//! /// Keeps the members of a Slack workspace.
//! #[sync(mode = "full-refresh", models = [Member], frequency = "every hour", base_url = "https://slack.com/api")]
//! fn members() -> Result<()> {
//!     let paging = Cursor::in_body("/response_metadata/next_cursor").send_as("cursor");
//!     for page in get("/users.list").query("limit", 200).pages(paging) {
//!         let page = page?;
//!         batch_save(page.json_at::<Vec<User>>("/members")?.iter().map(|user| Member { id: user.id, name: user.name }))?;
//!     }
//!     Ok(())
//! }
//!
//! #[derive(Deserialize)]
//! struct User<'a> {
//!     id: &'a str,
//!     name: &'a str,
//! }
//! # fn main() {}
//! ```
//!
//! Built with `cargo build --release --target wasm32-wasip2` as a `cdylib`, that is a component ready to upload.
//!
//! | Where | What |
//! |---|---|
//! | [`#[sync]`](macro@sync), [`#[action]`](macro@action) | make a function a script; [`Run`] is its configuration |
//! | [`#[model]`](macro@model), [`#[data]`](macro@data) | make a struct a record, or a configuration, input, output; see [`Model`] |
//! | [`http`] | [`get`](http::get) … [`delete`](http::delete), answers, several requests at a time |
//! | [`Link`], [`Cursor`], [`Offset`], [`PageNumber`] | pagination, for [`Request::pages`](http::Request::pages) |
//! | [`records`] | [`batch_save`](records::batch_save) and its like |
//! | [`state`] | [`last_sync_date`](state::last_sync_date), the checkpoint, the connection's metadata and configuration |
//! | [`Timestamp`] | points in time |
//! | [`log`] | `info!` and its like |
//! | [`Error`], [`Context`], [`bail!`] | giving up, and how |
//!
//! Everything that the host offers is a function; there is no object to hand around. The host is there only in a component: a
//! native test of a script can call its mapping, but none of these functions.

#[cfg(test)]
extern crate self as terapi_guest;

#[expect(missing_docs, clippy::pedantic, reason = "generated; the contract documents itself")]
mod bindings;
mod error;
pub mod http;
pub mod log;
mod model;
mod pages;
mod pointer;
pub mod records;
mod run;
mod script;
pub mod state;
mod time;

pub use error::{Context, Error, Kind, Result};
pub use model::{Model, RecordId};
pub use pages::{Cursor, Link, Offset, PageNumber, Paging};
pub use run::{NoConfig, Run};
pub use terapi_guest_macros::{action, data, model, sync};
pub use time::{NotATimestamp, Timestamp};

/// What nearly every script uses: `use terapi_guest::prelude::*;`.
pub mod prelude {
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::value::RawValue;

    pub use crate::http::{Request, Response, Ticket, delete, encode, fetch_all, get, patch, post, put, start, wait};
    pub use crate::records::{
        Record, Saved, batch_delete, batch_save, batch_save_raw, batch_update, get_by_ids, list, track_deletes_end,
        track_deletes_start, unseen,
    };
    pub use crate::state::{
        checkpoint, clear_checkpoint, last_sync_date, metadata, save_checkpoint, set_metadata, update_metadata,
    };
    pub use crate::{Context, Cursor, Error, Link, Model, Offset, PageNumber, Paging, Result, Run, Timestamp};
    pub use crate::{action, bail, data, debug, error, info, model, sync, warn};
}

/// What the attributes expand to. Not for authors: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use schemars;
    pub use serde;

    pub use crate::bindings::{action as action_world, sync as sync_world};
    pub use crate::model::{schema_in, schema_out, schema_with_id, serialize_id, write_json, write_json_with_id};
    pub use crate::script::*;
}
