//! What the attributes `#[sync]` and `#[action]` expand to calls of: between the contract's types and the author's.

use std::any::TypeId;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::sync::terapi::sync::types;
use crate::error::{Error, Result};
use crate::model::{Model, schema_in};
use crate::pointer::to_text;
use crate::run::{NoConfig, Run};

pub use types::{ActionManifest, Context, Failure, SyncManifest, SyncMode};

/// A model for the manifest.
#[must_use]
pub fn model<M: Model>() -> types::Model {
    types::Model {
        name: M::NAME.to_owned(),
        schema: M::schema(),
        ignore: M::IGNORE.iter().map(|field| (*field).to_owned()).collect(),
    }
}

/// Texts for the manifest.
#[must_use]
pub fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The schema of the configuration of a sync's function.
#[must_use]
pub fn sync_config_schema<C: JsonSchema + 'static>(_: fn(&Run<C>) -> Result<(), Failure>) -> Option<String> {
    config_schema::<C>()
}

/// The schema of the configuration of an action's function.
#[must_use]
pub fn action_config_schema<C: JsonSchema + 'static, I, O>(_: fn(&Run<C>, I) -> Result<O, Failure>) -> Option<String> {
    config_schema::<C>()
}

/// The schema of the input of an action's function.
#[must_use]
pub fn input_schema<C, I: JsonSchema, O>(_: fn(&Run<C>, I) -> Result<O, Failure>) -> Option<String> {
    Some(schema_in::<I>())
}

/// The schema of the output of an action's function.
#[must_use]
pub fn output_schema<C, I, O: JsonSchema>(_: fn(&Run<C>, I) -> Result<O, Failure>) -> Option<String> {
    Some(crate::model::schema_out::<O>())
}

/// Runs a sync's function.
pub fn run_sync<C: DeserializeOwned>(
    context: Context,
    script: fn(&Run<C>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    script(&run(context)?)
}

/// Runs an action's function.
pub fn run_action<C: DeserializeOwned, I: DeserializeOwned, O: Serialize>(
    context: Context,
    input: &str,
    script: fn(&Run<C>, I) -> Result<O, Failure>,
) -> Result<String, Failure> {
    let run = run(context)?;
    let input =
        serde_json::from_str(input).map_err(|error| Error::from(error).context("the input does not fit its schema"))?;
    let output = script(&run, input)?;
    Ok(to_text("writing the output", &output)?)
}

/// The error of a script's function as the contract wants it.
pub fn failure(error: impl Into<Error>) -> Failure {
    error.into().into()
}

fn config_schema<C: JsonSchema + 'static>() -> Option<String> {
    (TypeId::of::<C>() != TypeId::of::<NoConfig>()).then(schema_in::<C>)
}

fn run<C: DeserializeOwned>(context: Context) -> Result<Run<C>> {
    let config = serde_json::from_str(&context.config).map_err(|error| {
        Error::from(error).context("the configuration of this sync does not fit the script's schema")
    })?;
    Ok(Run { id: context.run_id, connection: context.connection, variant: context.variant, config })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[crate::data]
    struct Config {
        repository: String,
    }

    fn context(config: &str) -> Context {
        Context { run_id: "r".into(), connection: "c".into(), variant: "base".into(), config: config.into() }
    }

    #[test]
    fn a_configuration_that_does_not_fit_ends_the_run_with_the_reason() {
        let failure = run_sync(context("{}"), |_: &Run<Config>| Ok(())).unwrap_err();
        assert!(failure.message.contains("missing field `repository`"), "{}", failure.message);
    }

    #[test]
    fn a_script_without_configuration_has_no_schema_of_it_and_ignores_what_is_set() {
        assert_eq!(sync_config_schema(|_: &Run| Ok(())), None);
        assert!(sync_config_schema(|_: &Run<Config>| Ok(())).unwrap().contains("repository"));
        assert!(run_sync(context(r#"{"x":1}"#), |_: &Run| Ok(())).is_ok());
    }

    #[test]
    fn an_action_reads_its_input_and_writes_its_output() {
        let doubled = run_action(context("{}"), "21", |_: &Run, input: u32| Ok(input * 2));
        assert_eq!(doubled.unwrap(), "42");
        let unfit = run_action(context("{}"), "{}", |_: &Run, input: u32| Ok(input)).unwrap_err();
        assert!(unfit.message.starts_with("the input does not fit its schema"), "{}", unfit.message);
        let busy = run_action(context("{}"), "1", |_: &Run, _: u32| Err::<u32, _>(failure(Error::transient("busy"))));
        assert!(matches!(busy.unwrap_err().kind, types::FailureKind::Transient));
    }
}
