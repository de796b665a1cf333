//! Filtering early: what the API can leave out it never sends, and the script leaves out the rest before it is saved.
//!
//! It is a full refresh, so a customer who no longer passes the filters is deleted from the records by itself.

use terapi_guest::prelude::*;

/// A customer to write to.
#[model]
struct Contact {
    id: String,
    email: String,
    name: Option<String>,
    created: Timestamp,
}

#[data]
struct Config {
    /// How many days back a customer may have been created.
    days: u32,
    /// Domains, such as `example.com`, whose addresses are left out.
    #[serde(default)]
    without_domains: Vec<String>,
}

/// Keeps the Stripe customers of the last days who have an email address and owe nothing.
#[sync(mode = "full-refresh", models = [Contact], frequency = "every 6 hours", base_url = "https://api.stripe.com")]
fn filtered_contacts(run: &Run<Config>) -> Result<()> {
    let request = get("/v1/customers")
        .query("limit", 100)
        // The API's part. Stripe wants seconds: https://docs.stripe.com/api/customers/list
        .query("created[gte]", Timestamp::days_ago(run.config.days).as_seconds());
    // The next page begins after the last customer of this one: https://docs.stripe.com/api/pagination
    let paging = Cursor::of_last_item("/data", "/id").while_true("/has_more").send_as("starting_after");
    let mut left_out = 0;

    for page in request.pages(paging) {
        let customers: Vec<Customer> = page?.json_at("/data")?;
        let count = customers.len();
        // The script's part: what the API cannot filter by.
        let contacts: Vec<_> = customers.into_iter().filter_map(|customer| customer.contact(&run.config)).collect();
        left_out += count - contacts.len();
        batch_save(contacts)?;
    }
    info!("left out {left_out} customers");
    Ok(())
}

#[derive(Deserialize)]
struct Customer {
    id: String,
    created: u64,
    email: Option<String>,
    name: Option<String>,
    delinquent: Option<bool>,
}

impl Customer {
    /// The contact that this customer is, if it is one.
    fn contact(self, config: &Config) -> Option<Contact> {
        let email = self.email?;
        let (_, domain) = email.rsplit_once('@')?;
        if self.delinquent == Some(true)
            || config.without_domains.iter().any(|other| other.eq_ignore_ascii_case(domain))
        {
            return None;
        }
        Some(Contact { id: self.id, email, name: self.name, created: Timestamp::from_seconds(self.created) })
    }
}
