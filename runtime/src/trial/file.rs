//! The file: Nango's `NAME.test.json`.
//!
//! ```json
//! { "input": …?, "output": …?,
//!   "nango": { "batchSave": {"Model": […]}, "batchDelete": {"Model": […]}, "getConnection": {…}?, "getMetadata": {…}? },
//!   "api": { "get": { "/path": {"response": …, "status": 200, "headers": {…}, "request": {"params"?, "headers"?, "data"?}} } } }
//! ```
//!
//! Besides, under `nango`, is given to the script:
//!
//! | field | |
//! |---|---|
//! | `getCheckpoint` (or `checkpoint`), `lastSyncDate` | what the sync remembers at its start; none: nothing |
//! | `records` | `{Model: [row]}`, what the store has at the start |
//! | `now` | when the run begins, as ISO text or milliseconds since 1970; none: the time of day |
//!
//! and is compared, where it is there:
//!
//! | field | |
//! |---|---|
//! | `saveCheckpoint`, `setMetadata`, `updateMetadata` | the values of all calls, a list; or that of the last one |
//! | `clearCheckpoint` | how often |
//! | `batchUpdate` | like `batchSave` |
//! | `trackDeletesEnd` | `{Model: [id]}`, the ids that it found deleted |
//! | `log` | the messages |
//!
//! With `error` at the top the run has to fail: `message` is a text, or texts, that are in its message; `payload` is that of
//! an `ActionError`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value, json};

use super::leeway::Given;
use crate::ids::{ConnectionName, ModelName};
use crate::runtime::RuntimeError;
use crate::sandbox::Script;
use crate::store::Entry;

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
    /// The run could not begin.
    #[error(transparent)]
    Run(#[from] RuntimeError),
}

impl TrialError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Run(error) => error.code(),
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
    #[serde(default)]
    error: Option<WantedError>,
}

/// How the run has to fail.
#[derive(Deserialize)]
pub(super) struct WantedError {
    /// Texts in its message.
    #[serde(default)]
    message: Value,
    /// What goes with it.
    #[serde(default)]
    pub(super) payload: Option<Value>,
}

impl WantedError {
    pub(super) fn messages(&self) -> impl Iterator<Item = &str> {
        let one = self.message.as_str().into_iter();
        one.chain(self.message.as_array().into_iter().flatten().filter_map(Value::as_str))
    }
}

/// Exchanges by method and path.
type Paths = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// One request and its answer.
#[derive(Deserialize)]
pub(super) struct RecordedExchange {
    /// `None` where there is none, and not where it is `null`.
    #[serde(default, deserialize_with = "there")]
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
    /// None recorded is none sent.
    #[serde(default)]
    pub(super) params: Value,
    /// None recorded is none that the script sets.
    #[serde(default)]
    pub(super) headers: Option<Map<String, Value>>,
    /// None recorded is whatever comes: a recorder leaves out what it cannot show.
    #[serde(default, deserialize_with = "there")]
    pub(super) data: Option<Value>,
}

/// A field that is there, whatever it is.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl RecordedFile {
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TrialError> {
        let foreign = |reason: String| TrialError::Foreign { path: path.to_owned(), reason };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let file: Self = serde_json::from_slice(bytes).map_err(|error| foreign(error.to_string()))?;
        if file.api.is_none() && file.nango.is_none() && file.output.is_none() && file.error.is_none() {
            return Err(foreign("it has neither `api` nor `nango` nor `output`".to_owned()));
        }
        if let Some(now) = file.nango(&["now"])
            && time(now).is_none()
        {
            return Err(foreign(format!("`nango.now` is {now}, and no time, such as \"2026-11-23T04:00:00Z\"")));
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

    /// How the run has to fail, if it has to.
    pub(super) fn error(&self) -> Option<&WantedError> {
        self.error.as_ref()
    }

    /// When the run begins, in milliseconds since 1970.
    pub(super) fn now(&self) -> Option<u64> {
        time(self.nango(&["now"])?)
    }

    /// What the script is given before it asks for anything.
    pub(super) fn given(&self) -> Given {
        let mut given = Given::default();
        given.add(&self.input());
        let names =
            ["getCheckpoint", "checkpoint", "lastSyncDate", "getConnection", "getMetadata", "metadata", "records"];
        for value in names.iter().filter_map(|name| self.nango(&[name])) {
            given.add(&value.to_string());
        }
        given
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

    /// What was saved to, or deleted from, each model; `None` where the file does not say.
    pub(super) fn of_models(&self, name: &str) -> Option<BTreeMap<String, Vec<Value>>> {
        let models = self.nango(&[name])?.as_object()?;
        Some(models.iter().map(|(model, records)| (model.clone(), list(records))).collect())
    }

    /// What the store has at the start, or what is wrong with it.
    pub(super) fn stored(&self, script: &Script) -> Result<Vec<(ModelName, Vec<Entry>)>, String> {
        let models = self.of_models("records").unwrap_or_default().into_iter();
        let stored = models.map(|(name, rows)| {
            let model = script.manifest.models.iter().find(|model| model.name.as_str() == name);
            let model = model.ok_or_else(|| format!("nango.records.{name}: the script has no such model"))?;
            let entries = rows.into_iter().map(|mut row| {
                let id =
                    row.get("id").and_then(text).ok_or_else(|| format!("nango.records.{name}: a row has no id"))?;
                if let Some(given) = row.get_mut("id") {
                    *given = Value::from(id.clone());
                }
                Ok(Entry { id, data: row.to_string() })
            });
            Ok((model.name.clone(), entries.collect::<Result<_, String>>()?))
        });
        stored.collect()
    }

    /// How often a call was made.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.nango(&[name])?.as_u64()
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
        time(self.nango(&["lastSyncDate"])?)
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
        // What else the recorded platform said of it, a script may read.
        let mut facts = given.cloned().unwrap_or_default();
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

/// Milliseconds since 1970.
fn time(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let date: jiff::Timestamp = value.as_str()?.parse().ok()?;
        u64::try_from(date.as_millisecond()).ok()
    })
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

/// A parameter or a header as JavaScript writes it; lists join with a comma; what is null is not sent.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        Value::Number(number) => Some(number_text(number)),
        other => Some(other.to_string()),
    }
}

/// `1.0` is `1`.
fn number_text(number: &Number) -> String {
    let text = number.to_string();
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}
