//! A full refresh that saves what its configuration lists, one batch a model, and may fail after that.

use terapi_guest::prelude::*;

/// A record of the first model.
#[model]
struct Thing {
    id: String,
    text: String,
}

/// A record of the second.
#[model]
struct Other {
    id: String,
}

#[data]
struct Config {
    /// Ids to save.
    #[serde(default)]
    things: Vec<String>,
    /// Their text.
    #[serde(default)]
    text: String,
    /// Ids of the second model.
    #[serde(default)]
    others: Vec<String>,
    /// How it ends: `ok`, `fail` or `trap`.
    #[serde(default)]
    end: String,
}

/// Saves what its configuration lists.
#[sync(mode = "full-refresh", models = [Thing, Other])]
fn mirror(run: &Run<Config>) -> Result<()> {
    let config = &run.config;
    batch_save(config.things.iter().map(|id| Thing { id: id.clone(), text: config.text.clone() }))?;
    batch_save(config.others.iter().map(|id| Other { id: id.clone() }))?;
    match config.end.as_str() {
        "fail" => bail!("as asked"),
        "trap" => std::process::abort(),
        _ => Ok(()),
    }
}
