//! The component's exports on top of the engine.

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

impl script::Guest for Component {
    fn load() -> std::result::Result<script::Kind, String> {
        engine::load().map(|kind| match kind {
            Kind::Sync => script::Kind::Sync,
            Kind::Action => script::Kind::Action,
        })
    }
}

impl sync_script::Guest for Component {
    fn describe() -> types::SyncManifest {
        described(|manifest| {
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
        })
    }

    fn run(context: types::Context) -> std::result::Result<(), types::Failure> {
        engine::run(call(context, None), Kind::Sync).map(drop).map_err(failure)
    }
}

impl action_script::Guest for Component {
    fn describe() -> types::ActionManifest {
        described(|manifest| {
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
        })
    }

    fn run(context: types::Context, input: String) -> std::result::Result<String, types::Failure> {
        engine::run(call(context, Some(input)), Kind::Action).map_err(failure)
    }
}

/// `describe` has no error to return: the host asks `load` first, and who does not reads this in the trap's output.
fn described<R>(read: impl for<'js> FnOnce(&Object<'js>) -> Result<R>) -> R {
    match engine::describe(read) {
        Ok(manifest) => manifest,
        Err(error) => panic!("{error}"),
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
