//! `/v1/customers`, as Stripe answers it: the newest first, `has_more`, and pages that start after an id.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{Shared, json, json_string, mix, pick, words};

/// Stripe's, and its cap.
const DEFAULT_LIMIT: u64 = 10;
const MAX_LIMIT: u64 = 100;

/// Between two customers.
const SPACING_S: u64 = 7_200;

/// Answers a page. Customer 1 is the oldest.
pub(super) async fn list(State(shared): State<Arc<Shared>>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let count = u64::from(shared.options.customers);
    let created = |number: u64| (shared.start_ms / 1000).saturating_sub((count + 1 - number) * SPACING_S);
    let mut bounds = Vec::new();
    for (name, value) in &query {
        let Some(operator) = name.strip_prefix("created") else { continue };
        let Ok(seconds) = value.parse::<u64>() else { return invalid(name, "", "Invalid integer") };
        match operator {
            "[gte]" => bounds.push((seconds, u64::MAX)),
            "[gt]" => bounds.push((seconds.saturating_add(1), u64::MAX)),
            "[lte]" => bounds.push((0, seconds)),
            "[lt]" => bounds.push((0, seconds.saturating_sub(1))),
            "" => bounds.push((seconds, seconds)),
            _ => return invalid(name, "parameter_unknown", "Received unknown parameter"),
        }
    }
    let limit = match query.get("limit").map(|limit| limit.parse()) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit @ 1..=MAX_LIMIT)) => limit,
        Some(_) => return invalid("limit", "", "This value must be between 1 and 100"),
    };
    let before = match query.get("starting_after") {
        None => count + 1,
        Some(id) => match number_of(id).filter(|number| (1..=count).contains(number)) {
            Some(number) => number,
            None => return invalid("starting_after", "resource_missing", "No such customer"),
        },
    };
    let selected = |number: &u64| bounds.iter().all(|(from, to)| (*from..=*to).contains(&created(*number)));
    let mut numbers = (1..before).rev().filter(selected);
    let data: Vec<_> = numbers
        .by_ref()
        .take(usize::try_from(limit).unwrap_or(0))
        .map(|number| customer(&shared, number, created(number)))
        .collect();
    let answer = serde_json::json!({
        "object": "list", "url": "/v1/customers", "has_more": numbers.next().is_some(), "data": data,
    });
    json(StatusCode::OK, answer.to_string())
}

fn customer(shared: &Shared, number: u64, created: u64) -> serde_json::Value {
    let dice = mix(shared.options.seed ^ 0x6375_7374, number);
    let name = format!("{} {}", words::first_name(dice), words::last_name(dice));
    serde_json::json!({
        "id": id_of(number), "object": "customer", "address": null, "balance": 0, "created": created,
        "currency": pick(&["eur", "usd", "jpy"], dice >> 16), "default_source": null,
        "delinquent": dice.is_multiple_of(9), "description": null, "discount": null,
        "email": format!("{}@example.com", words::login(number)), "invoice_prefix": format!("DEMO{number:04}"),
        "invoice_settings": {"custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null},
        "livemode": false, "metadata": {"plan": pick(&["free", "team", "enterprise"], dice >> 24)}, "name": name,
        "next_invoice_sequence": 1, "phone": null, "preferred_locales": [], "shipping": null, "tax_exempt": "none",
        "test_clock": null,
    })
}

fn id_of(number: u64) -> String {
    format!("cus_Demo{number:08}")
}

fn number_of(id: &str) -> Option<u64> {
    id.strip_prefix("cus_Demo")?.parse().ok().filter(|number| id_of(*number) == id)
}

fn invalid(parameter: &str, code: &str, message: &str) -> Response {
    let (parameter, message) = (json_string(parameter), json_string(message));
    let code = if code.is_empty() { "null".to_owned() } else { json_string(code) };
    let text = format!(
        r#"{{"error":{{"code":{code},"message":{message},"param":{parameter},"type":"invalid_request_error"}}}}"#
    );
    json(StatusCode::BAD_REQUEST, text)
}
