//! What not to do, and what happens then: the run is stopped at its limit, the reason says what to do, and whatever was
//! saved before stays as it was. Run it with `--config '{"repository": "owner/name", "mistake": "hoards"}'`.

use terapi_guest::prelude::*;

#[model]
#[derive(Deserialize)]
struct Issue {
    id: u64,
    title: String,
}

#[data]
struct Config {
    /// The repository as `owner/name`.
    repository: String,
    /// `hoards` keeps every page in memory; `loops` never ends.
    mistake: String,
}

/// Makes one of two common mistakes, to show the limits.
#[sync(mode = "incremental", models = [Issue], base_url = "https://api.github.com")]
fn misbehaving(run: &Run<Config>) -> Result<()> {
    let list = get(format!("/repos/{}/issues", run.config.repository)).query("state", "all").query("per_page", 100);
    let mut hoard: Vec<Response> = Vec::new();
    for page in list.pages(Link::in_header()) {
        let page = page?;
        batch_save(page.json::<Vec<Issue>>()?)?;
        // A page that was saved is done with. Letting go of it here is what keeps memory flat; keeping it does not.
        hoard.push(page);
        if run.config.mistake == "loops" {
            looking_for_the_last_digit_of_pi();
        }
    }
    info!("held {} pages at once", hoard.len());
    Ok(())
}

#[inline(never)]
fn looking_for_the_last_digit_of_pi() {
    let mut digit = 3_u64;
    while std::hint::black_box(digit) != 10 {
        digit = digit.wrapping_mul(7) % 10;
    }
}
