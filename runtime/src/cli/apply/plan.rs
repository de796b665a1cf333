//! What is to be done so that what is there becomes what is wanted.
//!
//! What an API never shows cannot be compared: of a credential only its kind is, of a client's secret only that there is one.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::super::Failed;
use super::super::client::Client;
use super::file::{ConnectionPart, SyncPart, Wanted};
use crate::api::views::{ConnectionView, IntegrationView, SyncState, SyncView};
use crate::ids::{ConnectionName, IntegrationName};
use crate::runtime::{Auth, ConnectionSpec, IntegrationSpec};
use crate::scheduler::Schedule;

/// What there is to do, in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

/// What is done to one thing.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) name: String,
    pub(super) action: Action,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<Difference>,
    #[serde(skip)]
    pub(super) calls: Vec<Call>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Action {
    Create,
    Change,
    Unchanged,
}

/// A field that is to be another. Never a secret.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Difference {
    pub(in crate::cli) field: String,
    pub(in crate::cli) from: Value,
    pub(in crate::cli) to: Value,
}

/// A request that does it.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    /// May have secrets.
    pub(super) body: Option<String>,
    /// Instead, if there is one of that name meanwhile.
    pub(super) if_exists: Option<Box<Call>>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Call {
    fn new(method: Method, path: impl Into<String>, body: &impl Serialize) -> Result<Self, Failed> {
        let body = serde_json::to_string(body).map_err(|error| Failed::new(error.to_string()))?;
        Ok(Self { method, path: path.into(), body: Some(body), if_exists: None })
    }

    fn empty(path: String) -> Self {
        Self { method: Method::POST, path, body: None, if_exists: None }
    }
}

impl Step {
    fn create(what: &'static str, name: String, calls: Vec<Call>) -> Self {
        Self { what, name, action: Action::Create, fields: Vec::new(), calls }
    }

    /// A change, or none if no field differs.
    fn change(what: &'static str, name: String, fields: Vec<Difference>, calls: Vec<Call>) -> Self {
        let action = if fields.is_empty() { Action::Unchanged } else { Action::Change };
        Self { what, name, action, fields, calls }
    }
}

/// Compares.
pub(super) async fn plan(client: &Client, wanted: Wanted, credentials: bool) -> Result<Plan, Failed> {
    let mut plan = Plan::default();
    for (name, spec) in &wanted.integrations {
        plan.steps.push(integration(client, name, spec, credentials).await?);
    }
    for (name, part) in &wanted.connections {
        if !wanted.integrations.contains_key(&part.integration) {
            let path = format!("/v1/integrations/{}", part.integration);
            client.get::<IgnoredAny>(&path).await.map_err(at(format!("connections.{name}")))?;
        }
        plan.steps.push(connection(client, name, part, credentials).await?);
    }
    for part in &wanted.syncs {
        plan.steps.push(sync(client, part, &wanted.connections).await?);
    }
    Ok(plan)
}

/// Says of which part of the file an error is.
fn at(place: String) -> impl FnOnce(Failed) -> Failed {
    move |failed| Failed { message: format!("{place}: {}", failed.message), ..failed }
}

fn value(of: &impl Serialize) -> Result<Value, Failed> {
    serde_json::to_value(of).map_err(|error| Failed::new(error.to_string()))
}

async fn integration(
    client: &Client,
    name: &IntegrationName,
    spec: &IntegrationSpec,
    secrets: bool,
) -> Result<Step, Failed> {
    let path = format!("/v1/integrations/{name}");
    let put = Call::new(Method::PUT, &path, spec)?;
    let Some(there) = client.find::<IntegrationView>(&path).await? else {
        return Ok(Step::create("integration", name.to_string(), vec![put]));
    };
    let mut shown = spec.clone();
    let secret = match &mut shown.auth {
        Auth::Oauth2ClientCredentials(client) | Auth::Oauth2RefreshToken(client) => client.client_secret.take(),
        _ => None,
    };
    let mut fields = differences(&value(&there.spec)?, &value(&shown)?);
    if secret.is_some() && (secrets || !there.has_client_secret) {
        let from = if there.has_client_secret { json!("(hidden)") } else { Value::Null };
        fields.push(Difference { field: "auth.client_secret".to_owned(), from, to: json!("(hidden)") });
    }
    let calls = if fields.is_empty() { Vec::new() } else { vec![put] };
    Ok(Step::change("integration", name.to_string(), fields, calls))
}

async fn connection(
    client: &Client,
    name: &ConnectionName,
    part: &ConnectionPart,
    credentials: bool,
) -> Result<Step, Failed> {
    let path = format!("/v1/connections/{name}");
    let Some(there) = client.find::<ConnectionView>(&path).await? else {
        let spec = ConnectionSpec {
            name: name.clone(),
            integration: part.integration.clone(),
            base_url: part.base_url.clone(),
            config: part.config.clone(),
            credential: part.credential.clone().unwrap_or_default(),
            metadata: part.metadata.clone(),
        };
        let create = Call::new(Method::POST, "/v1/connections", &spec)?;
        return Ok(Step::create("connection", name.to_string(), vec![create]));
    };
    let fixed = |field: &str, from: &str, to: &str| {
        let message = format!(
            "connections.{name}: its {field} cannot be changed from {from} to {to}: take another name, or delete it first"
        );
        Err(Failed::coded("bad-file", message))
    };
    if there.integration != part.integration {
        return fixed("integration", there.integration.as_str(), part.integration.as_str());
    }
    if let Some(url) = &part.base_url
        && there.base_url.as_deref() != Some(url.as_str())
    {
        return fixed("base_url", there.base_url.as_deref().unwrap_or("nothing"), url.as_str());
    }
    let (mut fields, mut calls) = (Vec::new(), Vec::new());
    if let Some(credential) = &part.credential
        && (credentials || there.refused.is_some() || there.credential != credential.kind())
    {
        let refused = if there.refused.is_some() { ", refused" } else { "" };
        let from = json!(format!("{}{refused}", there.credential));
        fields.push(Difference { field: "credential".to_owned(), from, to: json!(credential.kind()) });
        calls.push(Call::new(Method::PUT, format!("{path}/credential"), credential)?);
    }
    if let Some(config) = &part.config
        && there.config.as_ref() != Some(config)
    {
        let from = there.config.clone().map_or(Value::Null, Value::Object);
        let differences = differences(&from, &Value::Object(config.clone()));
        let named = |it: Difference| Difference { field: format!("config.{}", it.field), ..it };
        fields.extend(differences.into_iter().map(named));
        calls.push(Call::new(Method::PUT, format!("{path}/config"), config)?);
    }
    if let Some(metadata) = &part.metadata {
        let path = format!("{path}/metadata");
        let there: Map<String, Value> = client.get(&path).await?;
        // Scripts write metadata, too: only what the file names is the file's.
        let changed: Map<String, Value> =
            metadata.iter().filter(|(name, value)| there.get(*name) != Some(value)).map(own).collect();
        for (name, to) in &changed {
            let from = there.get(name).cloned().unwrap_or_default();
            fields.push(Difference { field: format!("metadata.{name}"), from, to: to.clone() });
        }
        if !changed.is_empty() {
            calls.push(Call::new(Method::PATCH, path, &changed)?);
        }
    }
    Ok(Step::change("connection", name.to_string(), fields, calls))
}

fn own((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

async fn sync(
    client: &Client,
    part: &SyncPart,
    connections: &BTreeMap<ConnectionName, ConnectionPart>,
) -> Result<Step, Failed> {
    let SyncPart { script, connection, variant, .. } = part;
    let name = format!("{script} on {connection}{}", super::super::output::variant(variant));
    let place = || at(format!("sync {name}"));
    client.get::<IgnoredAny>(&format!("/v1/scripts/{script}")).await.map_err(place())?;
    if !connections.contains_key(connection) {
        client.get::<IgnoredAny>(&format!("/v1/connections/{connection}")).await.map_err(place())?;
    }
    let frequency = part.frequency.as_deref().map(canonical).transpose().map_err(place())?;
    let path = format!("/v1/syncs/{connection}/{script}/{variant}");
    let mut settings = Map::new();
    if let Some(config) = &part.config {
        settings.insert("config".to_owned(), Value::Object(config.clone()));
    }
    if let Some(frequency) = &frequency {
        settings.insert("frequency".to_owned(), json!(frequency));
    }
    let Some(there) = client.find::<SyncView>(&path).await? else {
        let calls = create_sync(part, &path, &settings)?;
        return Ok(Step::create("sync", name, calls));
    };
    let (mut fields, mut calls) = (Vec::new(), Vec::new());
    if let Some(config) = &part.config {
        for mut difference in differences(&there.config, &Value::Object(config.clone())) {
            difference.field = format!("config.{}", difference.field);
            fields.push(difference);
        }
    }
    if let Some(to) = &frequency {
        let from = there.frequency.as_deref().unwrap_or("never");
        if from != to || !there.frequency_is_set {
            let own = if there.frequency_is_set { "" } else { " (the script's own)" };
            let from = json!(format!("{from}{own}"));
            fields.push(Difference { field: "frequency".to_owned(), from, to: json!(to) });
        }
    }
    if !fields.is_empty() {
        calls.push(Call::new(Method::PATCH, &path, &settings)?);
    }
    let is_paused = there.state == SyncState::Paused;
    // While a run is under way it is not shown whether no other will follow: then it is said again, which does no harm.
    if let Some(paused) = part.paused.filter(|paused| *paused != is_paused) {
        fields.push(Difference { field: "paused".to_owned(), from: json!(is_paused), to: json!(paused) });
        calls.push(Call::empty(format!("{path}/{}", if paused { "pause" } else { "start" })));
    }
    Ok(Step::change("sync", name, fields, calls))
}

/// One that is to be paused from the start must not be due before it is: it gets its frequency when it is paused.
fn create_sync(part: &SyncPart, path: &str, settings: &Map<String, Value>) -> Result<Vec<Call>, Failed> {
    let paused = part.paused == Some(true);
    let mut fields = settings.clone();
    fields.insert("connection".to_owned(), json!(part.connection));
    fields.insert("script".to_owned(), json!(part.script));
    fields.insert("variant".to_owned(), json!(part.variant));
    if paused {
        fields.insert("frequency".to_owned(), json!("never"));
    }
    let mut create = Call::new(Method::POST, "/v1/syncs", &fields)?;
    create.if_exists = Some(Box::new(Call::new(Method::PATCH, path, settings)?));
    let mut calls = vec![create];
    if paused {
        calls.push(Call::empty(format!("{path}/pause")));
        let frequency = settings.get("frequency").cloned().unwrap_or_default();
        calls.push(Call::new(Method::PATCH, path, &json!({ "frequency": frequency }))?);
    }
    Ok(calls)
}

/// A frequency as answers show it.
fn canonical(frequency: &str) -> Result<String, Failed> {
    let text = frequency.trim();
    if text.eq_ignore_ascii_case("never") {
        return Ok("never".to_owned());
    }
    Ok(text.parse::<Schedule>()?.to_string())
}

/// Where two values differ, field by field; lists are compared as a whole.
pub(in crate::cli) fn differences(from: &Value, to: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), from, to, &mut found);
    found
}

fn compare(field: String, from: &Value, to: &Value, found: &mut Vec<Difference>) {
    if from == to {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (from, to) {
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        for name in new.keys().chain(gone) {
            let field = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
            let of = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
            compare(field, &of(old), &of(new), found);
        }
        return;
    }
    found.push(Difference { field, from: from.clone(), to: to.clone() });
}
