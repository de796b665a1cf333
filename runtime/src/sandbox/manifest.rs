//! From what `describe` returns to a manifest that is acceptable.

use std::collections::HashSet;

use super::bindings::types;
use crate::run::RunKind;
use crate::scheduler::Schedule;
use crate::script::{Manifest, Model, ScriptError, SyncMode};
use crate::store::canonical;

/// A manifest is read by people.
const MAX_MANIFEST_BYTES: usize = 1 << 20;

pub(super) fn from_sync(manifest: types::SyncManifest) -> Result<Manifest, ScriptError> {
    let mode = match manifest.mode {
        types::SyncMode::FullRefresh => SyncMode::FullRefresh,
        types::SyncMode::Incremental => SyncMode::Incremental,
    };
    if manifest.models.is_empty() {
        return Err(ScriptError::Manifest("a sync needs at least one model to save".to_owned()));
    }
    check(Manifest {
        kind: RunKind::Sync,
        name: name(&manifest.name)?,
        version: manifest.version,
        description: manifest.description,
        mode: Some(mode),
        models: models(manifest.models)?,
        frequency: frequency(manifest.frequency)?,
        auto_start: manifest.auto_start,
        base_url: base_url(manifest.base_url)?,
        hosts: hosts(manifest.hosts)?,
        config_schema: schema("config-schema", manifest.config_schema)?,
        metadata_schema: schema("metadata-schema", manifest.metadata_schema)?,
        input_schema: None,
        output_schema: None,
    })
}

pub(super) fn from_action(manifest: types::ActionManifest) -> Result<Manifest, ScriptError> {
    check(Manifest {
        kind: RunKind::Action,
        name: name(&manifest.name)?,
        version: manifest.version,
        description: manifest.description,
        mode: None,
        models: models(manifest.models)?,
        frequency: None,
        auto_start: false,
        base_url: base_url(manifest.base_url)?,
        hosts: hosts(manifest.hosts)?,
        config_schema: schema("config-schema", manifest.config_schema)?,
        metadata_schema: schema("metadata-schema", manifest.metadata_schema)?,
        input_schema: schema("input-schema", manifest.input_schema)?,
        output_schema: schema("output-schema", manifest.output_schema)?,
    })
}

fn check(manifest: Manifest) -> Result<Manifest, ScriptError> {
    let size = serde_json::to_vec(&manifest).map_or(usize::MAX, |bytes| bytes.len());
    if size > MAX_MANIFEST_BYTES {
        return Err(ScriptError::Manifest(format!("it has {size} bytes, over {MAX_MANIFEST_BYTES}")));
    }
    Ok(manifest)
}

/// Fields that a model may leave out of its comparison, and bytes of the name of each.
const MAX_IGNORED: usize = 64;
const MAX_IGNORED_BYTES: usize = 256;

fn name(text: &str) -> Result<crate::ids::ScriptName, ScriptError> {
    text.parse().map_err(|error| ScriptError::Manifest(format!("{error}")))
}

fn models(given: Vec<types::Model>) -> Result<Vec<Model>, ScriptError> {
    let mut models: Vec<Model> = Vec::with_capacity(given.len());
    let mut names = HashSet::with_capacity(given.len());
    for model in given {
        let name: crate::ids::ModelName =
            model.name.parse().map_err(|error| ScriptError::Manifest(format!("{error}")))?;
        if !names.insert(name.clone()) {
            return Err(ScriptError::Manifest(format!("model {name} is there twice")));
        }
        let schema = parse_schema(&format!("the schema of model {name}"), &model.schema)?;
        // Each is compared with each field of each record.
        if model.ignore.len() > MAX_IGNORED || model.ignore.iter().any(|name| name.len() > MAX_IGNORED_BYTES) {
            return Err(ScriptError::Manifest(format!(
                "model {name} ignores more than {MAX_IGNORED} fields, or one whose name is longer than {MAX_IGNORED_BYTES} bytes"
            )));
        }
        models.push(Model { name, schema, ignore: model.ignore });
    }
    Ok(models)
}

fn frequency(given: Option<String>) -> Result<Option<String>, ScriptError> {
    if let Some(Err(error)) = given.as_deref().map(str::parse::<Schedule>) {
        return Err(ScriptError::Manifest(format!("its frequency: {error}")));
    }
    Ok(given)
}

fn hosts(given: Vec<String>) -> Result<Vec<String>, ScriptError> {
    for host in &given {
        if let Err(error) = host.parse::<crate::egress::HostPattern>() {
            return Err(ScriptError::Manifest(format!("hosts: {error}")));
        }
    }
    Ok(given)
}

fn base_url(given: Option<String>) -> Result<Option<String>, ScriptError> {
    if let Some(text) = &given
        && !url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        return Err(ScriptError::Manifest(format!(
            "base-url {:?} is not an http or https URL",
            text.chars().take(200).collect::<String>()
        )));
    }
    Ok(given)
}

fn schema(what: &str, given: Option<String>) -> Result<Option<serde_json::Value>, ScriptError> {
    given.map(|text| parse_schema(what, &text)).transpose()
}

fn parse_schema(what: &str, text: &str) -> Result<serde_json::Value, ScriptError> {
    let refuse = |reason: String| ScriptError::Manifest(format!("{what}: {reason}"));
    // As a tree it takes twenty times its text.
    if text.len() > MAX_MANIFEST_BYTES {
        return Err(refuse(format!("it has {} bytes, over {MAX_MANIFEST_BYTES}", text.len())));
    }
    canonical::validate_object(text).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| refuse(error.to_string()))
}
