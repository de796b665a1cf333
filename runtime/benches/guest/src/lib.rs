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
    /// How often to read a page of records from JSON and write it again.
    #[serde(default)]
    json_rounds: u32,
}

/// A page as an API has it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Row {
    id: u64,
    title: String,
    labels: Vec<String>,
    score: f64,
    open: bool,
    body: Option<String>,
}

fn json(rounds: u32) -> Result<()> {
    let row = |id: u64| Row {
        id,
        title: format!("issue {id} \u{e9} \"quoted\""),
        labels: vec!["bug".to_owned(), "good first issue".to_owned()],
        score: 0.25,
        open: id.is_multiple_of(2),
        body: Some("some text that is neither long nor short; ".repeat(8)),
    };
    let mut text = serde_json::to_string(&(0..100).map(row).collect::<Vec<_>>())?;
    for _ in 0..rounds {
        let rows: Vec<Row> = serde_json::from_str(&text)?;
        text = std::hint::black_box(serde_json::to_string(&rows)?);
    }
    Ok(())
}

/// Does what the configuration says.
#[sync(mode = "incremental", models = [Issue], base_url = "https://api.github.com")]
fn bench_guest(run: &Run<Config>) -> Result<()> {
    for _ in 0..run.config.calls {
        std::hint::black_box(last_sync_date());
    }
    json(run.config.json_rounds)?;
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
