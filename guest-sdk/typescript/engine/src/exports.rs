//! The component's exports on top of the engine.

use std::cell::RefCell;

use rquickjs::{Array, Object, Result};

use crate::bindings::exports::terapi::engine::script;
use crate::bindings::exports::terapi::sync::{action_script, sync_script};
use crate::bindings::terapi::sync::types;
use crate::engine::{self, Call, Failed, Kind};
use crate::values::{text_field, texts};
use crate::{Component, bindings};

impl bindings::Guest for Component {
    fn wizer_initialize() {
        engine::boot();
    }
}

/// What `describe` answers. It has no error to return, so `load`, which has, makes it.
enum Manifest {
    Sync(types::SyncManifest),
    Action(types::ActionManifest),
}

thread_local! {
    static DESCRIBED: RefCell<Option<Manifest>> = const { RefCell::new(None) };
}

impl script::Guest for Component {
    fn load() -> std::result::Result<script::Kind, String> {
        let kind = engine::load()?;
        DESCRIBED.set(Some(manifest(kind)?));
        Ok(match kind {
            Kind::Sync => script::Kind::Sync,
            Kind::Action => script::Kind::Action,
        })
    }
}

fn manifest(kind: Kind) -> std::result::Result<Manifest, String> {
    match kind {
        Kind::Sync => engine::describe(sync_manifest).map(Manifest::Sync),
        Kind::Action => engine::describe(action_manifest).map(Manifest::Action),
    }
}

/// What was described when the script was loaded. Who did not ask `load` first, and then for the other kind, reads of an
/// error in the trap's output.
fn described() -> Manifest {
    let described = DESCRIBED.take().map_or_else(|| manifest(engine::load()?), Ok);
    described.unwrap_or_else(|error: String| panic!("{error}"))
}

fn sync_manifest(manifest: &Object<'_>) -> Result<types::SyncManifest> {
    Ok(types::SyncManifest {
        name: required(manifest, "name")?,
        version: required(manifest, "version")?,
        description: required(manifest, "description")?,
        mode: match required(manifest, "mode")?.as_str() {
            "full-refresh" => types::SyncMode::FullRefresh,
            _ => types::SyncMode::Incremental,
        },
        models: models(manifest)?,
        frequency: text_field(manifest, "frequency")?,
        auto_start: manifest.get("autoStart")?,
        base_url: text_field(manifest, "baseUrl")?,
        hosts: texts(manifest.ctx(), manifest.get("hosts")?)?,
        config_schema: text_field(manifest, "configSchema")?,
        metadata_schema: text_field(manifest, "metadataSchema")?,
    })
}

fn action_manifest(manifest: &Object<'_>) -> Result<types::ActionManifest> {
    Ok(types::ActionManifest {
        name: required(manifest, "name")?,
        version: required(manifest, "version")?,
        description: required(manifest, "description")?,
        input_schema: text_field(manifest, "inputSchema")?,
        output_schema: text_field(manifest, "outputSchema")?,
        models: models(manifest)?,
        base_url: text_field(manifest, "baseUrl")?,
        hosts: texts(manifest.ctx(), manifest.get("hosts")?)?,
        config_schema: text_field(manifest, "configSchema")?,
        metadata_schema: text_field(manifest, "metadataSchema")?,
    })
}

impl sync_script::Guest for Component {
    fn describe() -> types::SyncManifest {
        match described() {
            Manifest::Sync(manifest) => manifest,
            Manifest::Action(_) => panic!("this script is an action and was described as a sync"),
        }
    }

    fn run(context: types::Context) -> std::result::Result<(), types::Failure> {
        engine::run(call(context, None), Kind::Sync).map(drop).map_err(failure)
    }
}

impl action_script::Guest for Component {
    fn describe() -> types::ActionManifest {
        match described() {
            Manifest::Action(manifest) => manifest,
            Manifest::Sync(_) => panic!("this script is a sync and was described as an action"),
        }
    }

    fn run(context: types::Context, input: String) -> std::result::Result<String, types::Failure> {
        engine::run(call(context, Some(input)), Kind::Action).map_err(failure)
    }
}

fn required(manifest: &Object<'_>, name: &str) -> Result<String> {
    Ok(text_field(manifest, name)?.unwrap_or_default())
}

fn models(manifest: &Object<'_>) -> Result<Vec<types::Model>> {
    let list: Array = manifest.get("models")?;
    let mut models = Vec::new();
    for model in list.iter::<Object>() {
        let model = model?;
        models.push(types::Model {
            name: required(&model, "name")?,
            schema: required(&model, "schema")?,
            ignore: texts(model.ctx(), model.get("ignore")?)?,
        });
    }
    Ok(models)
}

fn call(context: types::Context, input: Option<String>) -> Call {
    Call {
        run_id: context.run_id,
        connection: context.connection,
        variant: context.variant,
        config: context.config,
        input,
    }
}

fn failure(failed: Failed) -> types::Failure {
    types::Failure {
        kind: if failed.permanent { types::FailureKind::Permanent } else { types::FailureKind::Transient },
        message: failed.message,
        details: failed.details,
        retry_after_ms: failed.retry_after_ms,
    }
}
