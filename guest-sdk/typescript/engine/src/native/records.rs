//! Records: rows become JSON once, here, and go out in batches that the host takes.

use rquickjs::{Array, Ctx, Error, Exception, Object, Result, Value};

use super::add as function;
use crate::bindings::terapi::sync::records::{self, Entry, SaveSummary};
use crate::json::Writer;
use crate::values::{Text, parse_json, text_field, texts, throw, to_json};

/// What the host takes in one call.
const MOST_ENTRIES: usize = 1000;
/// Half of what the host takes in bytes: no fuller batch is faster, and memory stays flat.
const MOST_BYTES: usize = 4 << 20;

pub fn add<'js>(host: &Object<'js>) -> Result<()> {
    function(host, "batchSave", |ctx: Ctx<'js>, model: Text, rows: Array<'js>| save(&ctx, &model.0, &rows, records::batch_save))?;
    function(host, "batchUpdate", |ctx: Ctx<'js>, model: Text, rows: Array<'js>| {
        save(&ctx, &model.0, &rows, records::batch_update)
    })?;
    function(host, "batchDelete", |ctx: Ctx<'js>, model: Text, ids: Value<'js>| {
        let mut deleted = 0.0;
        for ids in texts(&ctx, ids)?.chunks(MOST_ENTRIES) {
            deleted += f64::from(records::batch_delete(&model.0, ids).map_err(|error| thrown(&ctx, error, 0))?);
        }
        Ok::<_, Error>(deleted)
    })?;
    function(host, "getByIds", |ctx: Ctx<'js>, model: Text, ids: Value<'js>| get_by_ids(ctx, &model.0, ids))?;
    function(host, "list", |ctx: Ctx<'js>, model: Text, after: Option<Text>, limit: f64| list(ctx, &model.0, after, limit))?;
    function(host, "trackDeletesStart", |ctx: Ctx<'js>, model: Text| {
        records::track_deletes_start(&model.0).map_err(|error| thrown(&ctx, error, 0))
    })?;
    function(host, "trackDeletesEnd", |ctx: Ctx<'js>, model: Text| {
        records::track_deletes_end(&model.0).map(|count| count as f64).map_err(|error| thrown(&ctx, error, 0))
    })?;
    function(host, "unseen", |ctx: Ctx<'js>, model: Text, after: Option<Text>| unseen(ctx, &model.0, after))
}

type Save = fn(&str, &[Entry]) -> std::result::Result<SaveSummary, records::Error>;

fn save<'js>(ctx: &Ctx<'js>, model: &str, rows: &Array<'js>, write: Save) -> Result<Object<'js>> {
    let mut total = SaveSummary { added: 0, updated: 0, unchanged: 0, repeated: 0 };
    let mut batch: Vec<Entry> = Vec::new();
    let mut writer = Writer::new(ctx);
    let mut bytes = 0;
    let mut written = 0;
    let mut flush = |batch: &mut Vec<Entry>, written: &mut usize| {
        let summary = write(model, batch).map_err(|error| thrown(ctx, error, *written))?;
        total.added += summary.added;
        total.updated += summary.updated;
        total.unchanged += summary.unchanged;
        total.repeated += summary.repeated;
        *written += batch.len();
        batch.clear();
        Ok::<_, Error>(())
    };
    for index in 0..rows.len() {
        let row: Value = rows.get(index)?;
        let Some(object) = row.as_object() else {
            return Err(Exception::throw_type(ctx, &format!("row {index} for the model {model} is not an object")));
        };
        let Some(id) = text_field(object, "id")? else {
            return Err(Exception::throw_type(ctx, &format!("row {index} for the model {model} has no id")));
        };
        let data = match writer.write(&row) {
            Some(data) => Some(data?),
            None => to_json(&row)?,
        };
        let Some(data) = data else {
            return Err(Exception::throw_type(ctx, &format!("row {index} for the model {model} is no JSON")));
        };
        let size = id.len() + data.len();
        if !batch.is_empty() && (batch.len() == MOST_ENTRIES || bytes + size > MOST_BYTES) {
            flush(&mut batch, &mut written)?;
            bytes = 0;
        }
        bytes += size;
        batch.push(Entry { id, data });
    }
    if !batch.is_empty() {
        flush(&mut batch, &mut written)?;
    }
    let summary = Object::new(ctx.clone())?;
    summary.set("added", total.added)?;
    summary.set("updated", total.updated)?;
    summary.set("unchanged", total.unchanged)?;
    summary.set("repeated", total.repeated)?;
    Ok(summary)
}

/// Records as a flat array: id, record, id, record.
fn flat<'js>(ctx: &Ctx<'js>, into: &Array<'js>, entries: Vec<Entry>) -> Result<()> {
    for entry in entries {
        into.set(into.len(), entry.id)?;
        into.set(into.len(), parse_json(ctx, entry.data)?)?;
    }
    Ok(())
}

fn get_by_ids<'js>(ctx: Ctx<'js>, model: &str, ids: Value<'js>) -> Result<Array<'js>> {
    let found = Array::new(ctx.clone())?;
    for ids in texts(&ctx, ids)?.chunks(MOST_ENTRIES) {
        flat(&ctx, &found, records::get_by_ids(model, ids).map_err(|error| thrown(&ctx, error, 0))?)?;
    }
    Ok(found)
}

fn list<'js>(ctx: Ctx<'js>, model: &str, after: Option<Text>, limit: f64) -> Result<Object<'js>> {
    let after = after.map(|after| after.0);
    let listing =
        records::list(model, after.as_deref(), limit as u32).map_err(|error| thrown(&ctx, error, 0))?;
    let entries = Array::new(ctx.clone())?;
    flat(&ctx, &entries, listing.entries)?;
    let page = Object::new(ctx)?;
    page.set("entries", entries)?;
    page.set("next", listing.next)?;
    Ok(page)
}

fn unseen<'js>(ctx: Ctx<'js>, model: &str, after: Option<Text>) -> Result<Object<'js>> {
    let after = after.map(|after| after.0);
    let unseen = records::unseen(model, after.as_deref(), 1000).map_err(|error| thrown(&ctx, error, 0))?;
    let page = Object::new(ctx)?;
    page.set("ids", unseen.ids)?;
    page.set("next", unseen.next)?;
    Ok(page)
}

/// The host's error as an exception. `before`: how many rows of the same call were in batches before this one.
fn thrown(ctx: &Ctx<'_>, error: records::Error, before: usize) -> Error {
    match error {
        records::Error::UnknownModel(name) => throw(
            ctx,
            "unknown-model",
            &format!("there is no model {name:?}: the script's option `models` must have it"),
        ),
        records::Error::Invalid((index, why)) => {
            throw(ctx, "invalid", &format!("row {} was refused: {why}", before + index as usize))
        }
        records::Error::BatchTooLarge(why) => throw(ctx, "batch-too-large", &why),
        records::Error::Exhausted(budget) => throw(ctx, "exhausted", &super::state::exhausted(budget)),
        records::Error::NotAllowed(why) => throw(ctx, "not-allowed", &why),
        records::Error::DeleteGuard(why) => throw(ctx, "delete-guard", &why),
        records::Error::LeaseLost => throw(ctx, "lease-lost", "another run took over this sync; this one must end"),
        records::Error::Storage(why) => throw(ctx, "storage", &why),
    }
}
