//! What a file for `terapi apply` says.
//!
//! Checked in this order: TOML or JSON, the sections, then each entry: values that are elsewhere (`{ env = … }`,
//! `{ file = … }`) are fetched, and the entry is read as what it is to be. Messages never repeat what may be a secret.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use strsim::damerau_levenshtein;
use url::Url;

use super::super::Failed;
use crate::ids::{ConnectionName, IntegrationName, ScriptName, Variant};
use crate::runtime::{CredentialSpec, IntegrationSpec};

/// What is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) integrations: BTreeMap<IntegrationName, IntegrationSpec>,
    pub(super) connections: BTreeMap<ConnectionName, ConnectionPart>,
    pub(super) syncs: Vec<SyncPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    #[serde(default)]
    integrations: Map<String, Value>,
    #[serde(default)]
    connections: Map<String, Value>,
    #[serde(default)]
    syncs: Vec<Value>,
}

/// A connection that is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionPart {
    pub(super) integration: IntegrationName,
    #[serde(default)]
    pub(super) base_url: Option<Url>,
    #[serde(default)]
    pub(super) config: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) metadata: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) credential: Option<CredentialSpec>,
}

/// A sync that is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SyncPart {
    pub(super) script: ScriptName,
    pub(super) connection: ConnectionName,
    #[serde(default)]
    pub(super) variant: Variant,
    #[serde(default)]
    pub(super) config: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) frequency: Option<String>,
    #[serde(default)]
    pub(super) paused: Option<bool>,
}

fn bad(message: String) -> Failed {
    Failed::coded("bad-file", message)
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Wanted, Failed> {
    let text = std::fs::read_to_string(path).map_err(Failed::io(format_args!("read {}", path.display())))?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let value = if is_json {
        serde_json::from_str(&text).map_err(|error| bad(format!("{}: {error}", path.display())))?
    } else {
        let table = text.parse::<toml::Table>().map_err(|error| {
            // The parser's own text shows the line, and that may have a secret.
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
            bad(format!("{}, line {line}: {}", path.display(), error.message()))
        })?;
        json(toml::Value::Table(table))
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let sections: Sections = part(&path.display().to_string(), value, false)?;
    let mut wanted = Wanted { integrations: BTreeMap::new(), connections: BTreeMap::new(), syncs: Vec::new() };
    for (name, mut value) in sections.integrations {
        let place = format!("integrations.{name}");
        if let Some(auth) = value.get_mut("auth") {
            resolve(&place, auth, folder)?;
        }
        let secret = value.pointer("/auth/client_secret").is_some();
        wanted.integrations.insert(name.parse()?, part(&place, value, secret)?);
    }
    for (name, mut value) in sections.connections {
        let place = format!("connections.{name}");
        let credential = match value.get_mut("credential") {
            Some(credential) => {
                resolve(&place, credential, folder)?;
                Some(part::<CredentialSpec>(&format!("{place}.credential"), credential.take(), true)?)
            }
            None => None,
        };
        if let (Some(fields), true) = (value.as_object_mut(), credential.is_some()) {
            fields.remove("credential");
        }
        let mut connection: ConnectionPart = part(&place, value, false)?;
        connection.credential = credential;
        wanted.connections.insert(name.parse()?, connection);
    }
    for (at, value) in sections.syncs.into_iter().enumerate() {
        wanted.syncs.push(part(&format!("syncs[{at}]"), value, false)?);
    }
    Ok(wanted)
}

/// TOML has times, which JSON does not.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(fields) => Value::Object(fields.into_iter().map(|(name, it)| (name, json(it))).collect()),
    }
}

/// Puts in place of `{ env = "VAR" }` and `{ file = "PATH" }` what is there. Paths begin at the file's folder.
fn resolve(place: &str, value: &mut Value, folder: &Path) -> Result<(), Failed> {
    let Some(fields) = value.as_object_mut() else { return Ok(()) };
    let source = match fields.iter().next() {
        Some((kind, Value::String(name))) if fields.len() == 1 => Some((kind.clone(), name.clone())),
        _ => None,
    };
    match source {
        Some((kind, name)) if kind == "env" => {
            let found = std::env::var(&name).ok().filter(|text| !text.is_empty());
            let text = found.ok_or_else(|| bad(format!("{place}: the environment variable {name} is not set")))?;
            *value = Value::String(text);
        }
        Some((kind, name)) if kind == "file" => {
            let text = std::fs::read_to_string(folder.join(&name));
            let text = text.map_err(|error| bad(format!("{place}: the file {name} could not be read: {error}")))?;
            *value = Value::String(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        _ => {
            for field in fields.values_mut() {
                resolve(place, field, folder)?;
            }
        }
    }
    Ok(())
}

/// Reads a part of the file as what it is to be.
fn part<T: DeserializeOwned>(place: &str, value: Value, secret: bool) -> Result<T, Failed> {
    serde_json::from_value(value).map_err(|error| {
        let message = error.to_string();
        let names = message.starts_with("unknown ") || message.starts_with("missing field");
        bad(match explained(&message) {
            Some(explained) => format!("{place}: {explained}"),
            // What it quotes may be the secret.
            None if secret && !names => format!("{place}: a value is of the wrong kind: secrets are texts"),
            None => format!("{place}: {message}"),
        })
    })
}

/// A better text for ``unknown field `nmae`, expected one of `name`, `prefix` ``.
fn explained(message: &str) -> Option<String> {
    let what = match message {
        _ if message.starts_with("unknown field") => "key",
        _ if message.starts_with("unknown variant") => "kind",
        _ => return None,
    };
    let mut quoted = message.split('`').skip(1).step_by(2);
    let given = quoted.next()?;
    let there: Vec<&str> = quoted.collect();
    let short: String = given.chars().take(64).collect();
    // A mistake in every three letters at most.
    let near = there.iter().map(|name| (damerau_levenshtein(&short, name), *name));
    let near = near.filter(|(distance, name)| distance * 3 <= name.len()).min();
    let hint = match near {
        Some((_, name)) => format!("did you mean {name}?"),
        None if there.is_empty() => "none belongs there".to_owned(),
        None => format!("there are {}", there.join(", ")),
    };
    Some(format!("there is no {what} {short}; {hint}"))
}
