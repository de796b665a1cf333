//! The file: Nango's `NAME.test.json`.
//!
//! ```json
//! { "input": …?, "output": …?,
//!   "nango": { "batchSave": {"Model": […]}, "batchDelete": {"Model": […]}, "getConnection": {…}?, "getMetadata": {…}? },
//!   "api": { "get": { "/path": {"response": …, "status": 200, "headers": {…}, "request": {"params"?, "headers"?, "data"?}} } } }
//! ```
//!
//! Besides, under `nango`: `getCheckpoint` (or `checkpoint`) and `lastSyncDate` are what the sync remembers at its start;
//! `saveCheckpoint`, `setMetadata` and `updateMetadata` are calls that have to come, a list of values or the last one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::ids::ConnectionName;

/// Why a recorded file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// It cannot be read.
    #[error("could not read the recorded file {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is of another format.
    #[error("{path} is no recorded run: {reason}; it should be a cassette, or JSON with `api` and `nango`")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl TrialError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "recorded-unreadable",
            Self::Foreign { .. } => "recorded-foreign",
        }
    }
}

/// The file. What goes to the script keeps its text: the order of keys is something that scripts can see.
#[derive(Deserialize)]
pub(super) struct RecordedFile {
    #[serde(default)]
    input: Option<Box<RawValue>>,
    #[serde(default)]
    output: Option<Value>,
    #[serde(default)]
    nango: Option<Map<String, Value>>,
    #[serde(default)]
    api: Option<Paths>,
}

/// Exchanges by method and path.
type Paths = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// One request and its answer.
#[derive(Deserialize)]
pub(super) struct RecordedExchange {
    #[serde(default)]
    pub(super) response: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) headers: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) request: Option<RecordedRequest>,
}

/// What is known of a request. `None` of it all is whatever comes.
#[derive(Deserialize, Clone, PartialEq)]
pub(super) struct RecordedRequest {
    #[serde(default)]
    pub(super) params: Value,
    #[serde(default)]
    pub(super) headers: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) data: Value,
}

impl RecordedFile {
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TrialError> {
        let foreign = |reason: String| TrialError::Foreign { path: path.to_owned(), reason };
        let file: Self = serde_json::from_slice(bytes).map_err(|error| foreign(error.to_string()))?;
        if file.api.is_none() && file.nango.is_none() && file.output.is_none() {
            return Err(foreign("it has neither `api` nor `nango` nor `output`".to_owned()));
        }
        Ok(file)
    }

    /// An action's input, as JSON.
    pub(super) fn input(&self) -> String {
        self.input.as_ref().map_or_else(|| "{}".to_owned(), |input| input.get().to_owned())
    }

    pub(super) fn output(&self) -> Option<Value> {
        self.output.clone()
    }

    /// A field under `nango`, by the first of these names that is there.
    fn nango(&self, names: &[&str]) -> Option<&Value> {
        let nango = self.nango.as_ref()?;
        names.iter().find_map(|name| nango.get(*name)).filter(|value| !value.is_null())
    }

    /// The exchanges, by method and path.
    pub(super) fn api(&self) -> impl Iterator<Item = (&str, &str, &RawValue)> {
        let methods = self.api.iter().flatten();
        methods.flat_map(|(method, paths)| paths.iter().map(move |(path, it)| (method.as_str(), path.as_str(), &**it)))
    }

    /// What was saved to, or deleted from, each model.
    pub(super) fn of_models(&self, name: &str) -> BTreeMap<String, Vec<Value>> {
        let models = self.nango(&[name]).and_then(Value::as_object);
        let lists = models.into_iter().flatten().map(|(model, records)| (model.clone(), list(records)));
        lists.collect()
    }

    /// Values that calls of this name were made with: all of them, or `false` and the last one.
    pub(super) fn calls(&self, names: &[&str]) -> Option<(bool, Vec<Value>)> {
        self.nango(names).map(|value| (value.is_array(), list(value)))
    }

    pub(super) fn checkpoint_at_start(&self) -> Option<String> {
        self.nango(&["getCheckpoint", "checkpoint"]).filter(|value| value.is_object()).map(Value::to_string)
    }

    /// In milliseconds since 1970.
    pub(super) fn last_sync_date(&self) -> Option<u64> {
        let value = self.nango(&["lastSyncDate"])?;
        value.as_u64().or_else(|| {
            let date: jiff::Timestamp = value.as_str()?.parse().ok()?;
            u64::try_from(date.as_millisecond()).ok()
        })
    }

    pub(super) fn metadata(&self) -> Option<String> {
        let of_connection = || self.nango(&["getConnection"])?.get("metadata");
        let metadata = self.nango(&["getMetadata", "metadata"]).or_else(of_connection);
        metadata.filter(|value| value.is_object()).map(Value::to_string)
    }

    /// What the script may know of its connection. Here, and only here, credentials are among it: a recorded test brings its own.
    pub(super) fn connection_facts(&self, connection: &ConnectionName) -> String {
        let given = self.nango(&["getConnection"]).and_then(Value::as_object);
        let field = |names: &[&str]| {
            let found = names.iter().find_map(|name| given?.get(*name)).cloned();
            found.unwrap_or_default()
        };
        let mut facts = Map::new();
        let id = field(&["connection_id", "connectionId", "id"]);
        facts.insert("id".to_owned(), if id.is_string() { id } else { json!(connection) });
        let fields = [
            ("integration", field(&["provider_config_key", "integration"])),
            ("config", field(&["connection_config", "connectionConfig", "config"])),
            ("pagination", field(&["pagination"])),
            ("metadata", field(&["metadata"])),
            ("credentials", field(&["credentials"])),
        ];
        facts.extend(fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, it)| (name.to_owned(), it)));
        Value::Object(facts).to_string()
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

/// The bytes of `{"type":"Buffer","data":[…]}`, if that is what it is. The data may also be in base64.
pub(super) fn buffer(value: &Value) -> Option<Vec<u8>> {
    let object = value.as_object().filter(|object| object.get("type").and_then(Value::as_str) == Some("Buffer"))?;
    match object.get("data")? {
        Value::Array(bytes) => bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect(),
        Value::String(text) => base64::engine::general_purpose::STANDARD.decode(text).ok(),
        _ => None,
    }
}

/// A parameter or a header as it is sent: lists join with a comma; what is null is not sent.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}
