//! A sync as an author writes it: pages through `/items?page=N`, saves each page and how far it is. It does nothing about
//! limits, failures or tokens. How a run ends, a page can say.

use terapi_guest::prelude::*;

/// What the API has.
#[model]
#[derive(Deserialize)]
struct Item {
    id: String,
    text: String,
}

/// The next page to fetch.
#[derive(Serialize, Deserialize)]
struct Place {
    page: u64,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    #[serde(default)]
    deleted: Vec<String>,
    more: bool,
    /// `trap` or `fail`, after this page was saved.
    #[serde(default)]
    then: String,
}

#[data]
struct Config {
    /// Forget how far it is.
    #[serde(default)]
    without_checkpoint: bool,
}

/// Keeps the items of an account.
#[sync(mode = "incremental", models = [Item], frequency = "every hour")]
fn paged(run: &Run<Config>) -> Result<()> {
    let mut place = checkpoint::<Place>()?.unwrap_or(Place { page: 1 });
    loop {
        let mut request = get("/items").query("page", place.page);
        if let Some(date) = last_sync_date() {
            request = request.query("since", date);
        }
        let page: Page = request.send()?.json()?;
        info!("page {}", place.page);
        batch_save(page.items)?;
        if !page.deleted.is_empty() {
            batch_delete::<Item>(page.deleted)?;
        }
        match page.then.as_str() {
            "trap" => std::process::abort(),
            "fail" => return Err(Error::permanent("the account is closed")),
            _ => {}
        }
        if !page.more {
            break;
        }
        place.page += 1;
        if !run.config.without_checkpoint {
            save_checkpoint(&place)?;
        }
    }
    if !run.config.without_checkpoint {
        clear_checkpoint()?;
    }
    Ok(())
}
