//! A pass that may take several runs: GraphQL over `POST`, a checkpoint after every page, and at the end the deletion of what is
//! gone. A run that dies goes on from its last checkpoint in the next one.

use terapi_guest::prelude::*;

const QUERY: &str = "
                    query urlRedirects($first: Int!, $after: String) {
                        urlRedirects(first: $first, after: $after) {
                            nodes {
                                id
                                path
                                target
                            }
                            pageInfo {
                                hasNextPage
                                endCursor
                            }
                        }
                    }
                ";

/// A redirect from one path of the shop to another.
#[model]
#[derive(Deserialize)]
struct UrlRedirect {
    id: String,
    path: String,
    target: String,
}

/// How far the pass has come.
#[data]
struct Progress {
    after: String,
}

/// Keeps the URL redirects of a Shopify shop. The integration's base URL is the shop's, such as `https://example.myshopify.com`.
#[sync(mode = "incremental", models = [UrlRedirect], frequency = "every hour", hosts = ["*.myshopify.com"])]
fn shopify_redirects() -> Result<()> {
    // From here on Terapi notes what is saved. In a run that goes on from a checkpoint it goes on noting, too.
    track_deletes_start::<UrlRedirect>()?;
    let after = checkpoint()?.map(|progress: Progress| progress.after);
    let request = post("/admin/api/2026-07/graphql.json")
        .json(&Query { query: QUERY, variables: Variables { first: 250, after } })
        .retries(3);

    for page in request.pages(Cursor::in_body("/data/urlRedirects/pageInfo/endCursor").send_in_body("/variables/after"))
    {
        let Answer { data, errors } = page?.json()?;
        // GraphQL says "no" with status 200.
        let Some(data) = data else { return Err(refusal(&errors)) };
        batch_save(data.url_redirects.nodes)?;
        if let Some(after) = data.url_redirects.page_info.end_cursor {
            save_checkpoint(&Progress { after })?;
        }
    }
    clear_checkpoint()?;
    let gone = track_deletes_end::<UrlRedirect>()?;
    info!("{gone} redirects are gone");
    Ok(())
}

fn refusal(errors: &[GraphqlError]) -> Error {
    let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    let message = format!("Shopify refused the query: {}", messages.join("; "));
    // Shopify also counts what a query costs; that goes better later.
    if messages.contains(&"Throttled") { Error::transient(message) } else { Error::permanent(message) }
}

#[derive(Serialize)]
struct Query {
    query: &'static str,
    variables: Variables,
}

#[derive(Serialize)]
struct Variables {
    first: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

// What Shopify answers: https://shopify.dev/docs/api/admin-graphql/latest/queries/urlRedirects

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    #[serde(default)]
    errors: Vec<GraphqlError>,
}

#[derive(Deserialize)]
struct GraphqlError {
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    url_redirects: Redirects,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Redirects {
    nodes: Vec<UrlRedirect>,
    page_info: PageInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    end_cursor: Option<String>,
}
