//! Does single things, so that they can be measured alone: nothing, host calls, or moving pages and batches over the
//! boundary without looking into them.

use terapi_guest::prelude::*;

#[model]
#[derive(Clone)]
struct Issue {
    id: String,
    text: String,
}

#[data]
struct Config {
    /// How many of the cheapest host calls to make.
    #[serde(default)]
    calls: u32,
    /// Of which repository to fetch all pages, unparsed, and save `records` of `record_bytes` for each.
    #[serde(default)]
    repository: Option<String>,
    #[serde(default)]
    records: u32,
    #[serde(default)]
    record_bytes: usize,
}

/// Does what the configuration says.
#[sync(mode = "incremental", models = [Issue], base_url = "https://api.github.com")]
fn bench_guest(run: &Run<Config>) -> Result<()> {
    for _ in 0..run.config.calls {
        std::hint::black_box(last_sync_date());
    }
    if let Some(repository) = &run.config.repository {
        let text = "x".repeat(run.config.record_bytes);
        let batch: Vec<Issue> =
            (0..run.config.records).map(|i| Issue { id: i.to_string(), text: text.clone() }).collect();
        let list = get(format!("/repos/{repository}/issues")).query("state", "all").query("per_page", 100);
        for page in list.pages(Link::in_header()) {
            std::hint::black_box(page?.bytes().len());
            batch_save(&batch)?;
        }
    }
    Ok(())
}
