//! What a sync remembers, what it may know of its connection, and the run's log.

use rquickjs::{Ctx, Error, Object, Result, Value};

use super::add as function;
use crate::bindings::terapi::sync::types::Budget;
use crate::bindings::terapi::sync::{log, state};
use crate::engine::{self, Doing, or_null};
use crate::values::{Text, parse_json, throw};

pub fn add<'js>(host: &Object<'js>) -> Result<()> {
    function(host, "lastSyncDate", |ctx: Ctx<'js>| or_null(&ctx, state::last_sync_date().map(|ms| ms as f64)))?;
    function(host, "checkpoint", |ctx: Ctx<'js>| json_or_null(&ctx, state::checkpoint()))?;
    function(host, "saveCheckpoint", |ctx: Ctx<'js>, value: Text| {
        state::save_checkpoint(&value.0).map_err(|error| thrown(&ctx, error))
    })?;
    function(host, "clearCheckpoint", |ctx: Ctx<'js>| state::clear_checkpoint().map_err(|error| thrown(&ctx, error)))?;
    function(host, "metadata", |ctx: Ctx<'js>| parse_json(&ctx, state::metadata()))?;
    function(host, "setMetadata", |ctx: Ctx<'js>, value: Text| {
        state::set_metadata(&value.0).map_err(|error| thrown(&ctx, error))
    })?;
    function(host, "updateMetadata", |ctx: Ctx<'js>, fields: Text| {
        state::update_metadata(&fields.0).map_err(|error| thrown(&ctx, error))
    })?;
    function(host, "connection", |ctx: Ctx<'js>| parse_json(&ctx, state::connection()))?;
    function(host, "log", |level: Text, message: Text, fields: Option<Text>| {
        // A script is described by itself, with no log to write to.
        if engine::doing() == Doing::Describing {
            return;
        }
        let level = match level.0.as_str() {
            "debug" => log::Level::Debug,
            "warn" => log::Level::Warn,
            "error" => log::Level::Error,
            _ => log::Level::Info,
        };
        log::log(level, &message.0, fields.as_ref().map(|fields| fields.0.as_str()));
    })
}

fn json_or_null<'js>(ctx: &Ctx<'js>, json: Option<String>) -> Result<Value<'js>> {
    match json {
        Some(json) => parse_json(ctx, json),
        None => Ok(Value::new_null(ctx.clone())),
    }
}

fn thrown(ctx: &Ctx<'_>, error: state::Error) -> Error {
    match error {
        state::Error::Invalid(why) => throw(ctx, "invalid", &why),
        state::Error::Exhausted(budget) => throw(ctx, "exhausted", &exhausted(budget)),
        state::Error::NotAllowed(why) => throw(ctx, "not-allowed", &why),
        state::Error::LeaseLost => throw(ctx, "lease-lost", "another run took over this sync; this one must end"),
        state::Error::Storage(why) => throw(ctx, "storage", &why),
    }
}

/// What was used up, in words.
pub fn exhausted(budget: Budget) -> String {
    let what = match budget {
        Budget::HttpRequests => "requests",
        Budget::HttpBytes => "bytes of answers",
        Budget::Records => "records",
        Budget::RecordBytes => "bytes of records",
        Budget::LogBytes => "bytes of log lines",
        Budget::StateBytes => "bytes of checkpoints and metadata",
    };
    format!("this run has used up its budget of {what}")
}
