//! What a sync remembers between runs: the last sync date, a checkpoint, the connection's metadata. And what the operator
//! configured for the connection.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bindings::host::terapi::sync::state as host;
use crate::error::{self, Error, Result};
use crate::pointer::to_text;
use crate::time::Timestamp;

/// When the last *successful* run of this sync started; none on the first run and after a reset. Ask the API for what changed
/// since then.
#[must_use]
pub fn last_sync_date() -> Option<Timestamp> {
    host::last_sync_date().map(Timestamp::from_millis)
}

/// The checkpoint last saved; none at first, after a reset, and after [`clear_checkpoint`].
pub fn checkpoint<T: DeserializeOwned>() -> Result<Option<T>> {
    let Some(json) = host::checkpoint() else { return Ok(None) };
    serde_json::from_str(&json).map(Some).map_err(|error| {
        Error::from(error)
            .context("reading the checkpoint (was it saved by another version of this script? then reset the sync)")
    })
}

/// Saves progress: something whose JSON is an object of at most 64 KiB. When it returns, it and every batch saved before
/// it survive a power cut, so a run that dies later goes on from here.
pub fn save_checkpoint(progress: &impl Serialize) -> Result<()> {
    const DOING: &str = "saving the checkpoint";
    host::save_checkpoint(&to_text(DOING, progress)?).map_err(|error| error::from_state(DOING, error))
}

/// Forgets the checkpoint, at the end of a pass for example.
pub fn clear_checkpoint() -> Result<()> {
    host::clear_checkpoint().map_err(|error| error::from_state("clearing the checkpoint", error))
}

/// The connection's metadata: a JSON object, `{}` at first, shared by all scripts of the connection. Give the type's fields defaults, or
/// make them `Option`.
pub fn metadata<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_str(&host::metadata()).map_err(|error| {
        Error::from(error).context("reading the connection's metadata (set what this script needs on the connection)")
    })
}

/// Replaces the metadata by something whose JSON is an object of at most 256 KiB.
pub fn set_metadata(metadata: &impl Serialize) -> Result<()> {
    const DOING: &str = "saving the connection's metadata";
    host::set_metadata(&to_text(DOING, metadata)?).map_err(|error| error::from_state(DOING, error))
}

/// Replaces the given top-level fields of the metadata and keeps the others.
pub fn update_metadata(fields: &impl Serialize) -> Result<()> {
    const DOING: &str = "updating the connection's metadata";
    host::update_metadata(&to_text(DOING, fields)?).map_err(|error| error::from_state(DOING, error))
}

/// What the operator configured for the connection. The credential is never in it: requests carry it by themselves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Connection {
    /// Its name.
    pub id: String,
    /// The integration that it is an account at.
    #[serde(default)]
    pub integration: Option<String>,
    /// What is fixed about the account, such as its tenant or site.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// How the integration's lists are paged.
    #[serde(default)]
    pub pagination: Option<Map<String, Value>>,
}

/// What the operator configured for the connection.
pub fn connection() -> Result<Connection> {
    serde_json::from_str(&host::connection()).map_err(|error| Error::from(error).context("reading the connection"))
}
