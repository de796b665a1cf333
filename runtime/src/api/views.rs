//! What answers look like. The shapes are the API's own, so that what is kept can change without them.

mod runs;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::runs::{ExchangeView, LogView, OutcomeView, RunView};

use crate::ids::{
    ConnectionName, EnvironmentName, IntegrationName, ModelName, RunId, ScriptName, Time, Timestamp, Variant,
};
use crate::keys::ApiKey;
use crate::runtime::{Call, CallState, Connection, Integration, IntegrationSpec, Sync, SyncStatus};
use crate::sandbox::LimitOverrides;
use crate::scheduler::{PausedBy, Plan, PlanState};
use crate::store::{Offense, Script, Suspicion};

fn time(at: Option<Timestamp>) -> Option<Time> {
    at.map(Time)
}

/// A JSON text as a value, for answers.
fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}

macro_rules! page {
    ($name:ident, $item:ty, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Serialize, Deserialize, ToSchema)]
        pub(crate) struct $name {
            pub(crate) items: Vec<$item>,
            /// Hand this back as `after` for the next ones; absent at the end.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) next: Option<String>,
        }

        #[allow(dead_code, reason = "some pages know their next by other means")]
        impl $name {
            /// A page of at most `limit`; `key` is what to go on behind.
            pub(crate) fn of(items: Vec<$item>, limit: usize, key: impl Fn(&$item) -> String) -> Self {
                let next = items.last().filter(|_| items.len() == limit).map(key);
                Self { items, next }
            }
        }
    };
}

page!(IntegrationPage, IntegrationView, "Integrations, by name.");
page!(ConnectionPage, ConnectionView, "Connections, by name.");
page!(ScriptPage, ScriptView, "Scripts.");
page!(SyncPage, SyncView, "Syncs, by connection, script and variant.");
page!(RunPage, RunView, "Runs, the newest first.");
page!(LogPage, LogView, "Lines of a log, in order.");
page!(KeyPage, KeyView, "Keys.");
page!(EnvironmentPage, EnvironmentView, "Environments, by name.");
page!(StreamPage, StreamView, "Streams, by name.");

/// An external API.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct IntegrationView {
    pub(crate) name: IntegrationName,
    #[serde(flatten)]
    pub(crate) spec: IntegrationSpec,
    /// Whether the OAuth client's secret is kept.
    pub(crate) has_client_secret: bool,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
}

impl From<Integration> for IntegrationView {
    fn from(it: Integration) -> Self {
        let has_client_secret = it.has_client_secret();
        let (created_at, updated_at) = (Time(it.created_at), Time(it.updated_at));
        Self { name: it.name, spec: it.spec, has_client_secret, created_at, updated_at }
    }
}

/// An account at an integration. Its credential is never shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConnectionView {
    pub(crate) name: ConnectionName,
    pub(crate) integration: IntegrationName,
    /// The account's own base URL.
    #[schema(format = "uri")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base_url: Option<String>,
    /// What is fixed about the account, for its scripts to read.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<serde_json::Map<String, serde_json::Value>>,
    /// What its credential is called: `none`, `api-key`, `bearer`, `basic`, `oauth2-client-credentials`, `oauth2-refresh-token`.
    pub(crate) credential: String,
    /// Why the API refuses the credential; the account has to be connected anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
}

impl From<Connection> for ConnectionView {
    fn from(it: Connection) -> Self {
        Self {
            name: it.name,
            integration: it.integration,
            base_url: it.base_url.map(String::from),
            config: it.config,
            credential: it.credential,
            refused: it.refused,
            created_at: Time(it.created_at),
            updated_at: Time(it.updated_at),
        }
    }
}

/// A version of a script.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ScriptView {
    pub(crate) name: ScriptName,
    /// Which upload under this name it is, from 1 on.
    pub(crate) version: u32,
    /// The API that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) integration: Option<IntegrationName>,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub(crate) hash: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    pub(crate) added_at: Time,
    /// Limits of its runs, where they differ from the operator's.
    pub(crate) limits: LimitOverrides,
    /// What it says of itself.
    #[schema(value_type = Object)]
    pub(crate) manifest: serde_json::Value,
    /// What is held against this version, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suspicion: Option<SuspicionView>,
}

/// Runs of a script's version, in a row and without a success between, that were under way when the process died, or that
/// gave no sign of life. While there is one, its runs take turns with those of other suspects.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct SuspicionView {
    /// How many runs.
    pub(crate) strikes: u32,
    /// Whether it is not run any more, until it is released or another version is deployed.
    pub(crate) quarantined: bool,
    /// The last of these runs.
    pub(crate) run: RunId,
    /// What that run did.
    pub(crate) offense: Offense,
}

impl ScriptView {
    /// With what is held against it.
    pub(crate) fn with(self, suspicion: Option<Suspicion>) -> Self {
        let view = |it: Suspicion| SuspicionView {
            strikes: it.strikes,
            quarantined: it.is_quarantine(),
            run: it.run,
            offense: it.offense,
        };
        Self { suspicion: suspicion.map(view), ..self }
    }
}

impl From<Script> for ScriptView {
    fn from(it: Script) -> Self {
        Self {
            name: it.name,
            version: it.version,
            integration: it.integration,
            hash: it.hash.to_string(),
            size: it.size,
            added_at: Time(it.added_at),
            limits: serde_json::from_str(&it.limits).unwrap_or_default(),
            manifest: value(&it.manifest),
            suspicion: None,
        }
    }
}

/// What a sync is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SyncState {
    /// A run is under way.
    Running,
    /// It is due and waits for a free slot.
    Waiting,
    /// Its next run is planned.
    Scheduled,
    /// It runs only when somebody asks.
    Manual,
    /// The operator paused it.
    Paused,
    /// A failure that trying again does not mend paused it.
    Failed,
    /// Runs take place and nothing comes of them.
    Stalled,
}

impl SyncState {
    fn of(plan: &Plan, now: Timestamp) -> Self {
        match &plan.state {
            _ if plan.running.is_some() => Self::Running,
            PlanState::Paused { by: PausedBy::Operator, .. } => Self::Paused,
            PlanState::Paused { by: PausedBy::Failure, .. } => Self::Failed,
            PlanState::Active if plan.stalled => Self::Stalled,
            PlanState::Active => match plan.next_run_at {
                Some(at) if at <= now => Self::Waiting,
                Some(_) => Self::Scheduled,
                // The scheduler has not seen it yet.
                None if plan.schedule.is_some() => Self::Waiting,
                None => Self::Manual,
            },
        }
    }

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Manual => "manual",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Stalled => "stalled",
        }
    }
}

/// A script on a connection, with its schedule.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct SyncView {
    pub(crate) script: ScriptName,
    pub(crate) connection: ConnectionName,
    pub(crate) variant: Variant,
    /// The script's configuration.
    #[schema(value_type = Object)]
    pub(crate) config: serde_json::Value,
    /// How often it runs; absent if only when somebody asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frequency: Option<String>,
    /// Whether the operator set the frequency; else it is the script's own.
    pub(crate) frequency_is_set: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_at: Option<Time>,
    /// Limits of its runs, where they differ from the script's.
    pub(crate) limits: LimitOverrides,
    /// It was made since the script asks for it.
    pub(crate) auto: bool,
    pub(crate) state: SyncState,
    /// Why it is in that state, where there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_run_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_started_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_ended_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_success_at: Option<Time>,
    /// How the last run ended: `succeeded`, or the code of the failure or stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_outcome: Option<String>,
    /// Failures in a row.
    pub(crate) failures: u32,
    pub(crate) created_at: Time,
    /// When the last successful run started: what the script asks the API for since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_sync_date: Option<Time>,
    /// Whether the script has saved progress. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) has_checkpoint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active_run: Option<RunId>,
    /// Its records. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) streams: Option<Vec<StreamView>>,
}

impl SyncView {
    pub(crate) fn of(sync: Sync, now: Timestamp) -> Self {
        let plan = sync.plan;
        let reason = match &plan.state {
            PlanState::Paused { reason, .. } => reason.clone(),
            PlanState::Active => plan.last_message.clone(),
        };
        Self {
            state: SyncState::of(&plan, now),
            script: sync.key.script,
            connection: sync.key.connection,
            variant: sync.key.variant,
            config: value(&sync.config),
            frequency: plan.schedule.map(|schedule| schedule.to_string()),
            frequency_is_set: sync.frequency.is_some(),
            start_at: time(plan.start_at),
            limits: sync.limits,
            auto: sync.auto,
            reason,
            next_run_at: time(plan.next_run_at),
            last_started_at: time(plan.last_started_at),
            last_ended_at: time(plan.last_ended_at),
            last_success_at: time(plan.last_success_at),
            last_outcome: plan.last_outcome,
            failures: plan.failures,
            created_at: Time(sync.created_at),
            last_sync_date: None,
            has_checkpoint: None,
            active_run: None,
            streams: None,
        }
    }

    pub(crate) fn with_status(status: SyncStatus, now: Timestamp) -> Self {
        Self {
            last_sync_date: time(status.last_sync_date),
            has_checkpoint: Some(status.has_checkpoint),
            active_run: status.active_run,
            streams: Some(status.streams.into_iter().map(StreamView::from).collect()),
            ..Self::of(status.sync, now)
        }
    }
}

/// The records of one connection, model and variant.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct StreamView {
    pub(crate) connection: ConnectionName,
    pub(crate) model: ModelName,
    pub(crate) variant: Variant,
    /// Records that exist.
    pub(crate) records: u64,
    /// Changes so far.
    pub(crate) changes: u64,
}

impl From<crate::store::StreamInfo> for StreamView {
    fn from(info: crate::store::StreamInfo) -> Self {
        let crate::ids::StreamKey { connection, model, variant } = info.stream;
        Self { connection, model, variant, records: info.live, changes: info.changes }
    }
}

/// A key, without what opens anything.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct KeyView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) environment: EnvironmentName,
    /// What it may do.
    pub(crate) scopes: Vec<ScopeView>,
    pub(crate) created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_used_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Time>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScopeView {
    /// Read records.
    ReadRecords,
    /// Call actions and use the proxy.
    RunActions,
    /// Manage integrations, connections, syncs and keys.
    Manage,
    /// Upload scripts.
    Deploy,
}

impl From<crate::keys::Scope> for ScopeView {
    fn from(scope: crate::keys::Scope) -> Self {
        match scope {
            crate::keys::Scope::ReadRecords => Self::ReadRecords,
            crate::keys::Scope::RunActions => Self::RunActions,
            crate::keys::Scope::Manage => Self::Manage,
            crate::keys::Scope::Deploy => Self::Deploy,
        }
    }
}

impl From<ScopeView> for crate::keys::Scope {
    fn from(scope: ScopeView) -> Self {
        match scope {
            ScopeView::ReadRecords => Self::ReadRecords,
            ScopeView::RunActions => Self::RunActions,
            ScopeView::Manage => Self::Manage,
            ScopeView::Deploy => Self::Deploy,
        }
    }
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            environment: key.environment,
            scopes: key.scopes.iter().map(ScopeView::from).collect(),
            created_at: Time(key.created_at),
            last_used_at: time(key.last_used_at),
            expires_at: time(key.expires_at),
        }
    }
}

/// A key that was just made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct NewKeyView {
    #[serde(flatten)]
    pub(crate) key: KeyView,
    /// Its text. It is shown this once.
    pub(crate) text: String,
}

/// An environment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct EnvironmentView {
    pub(crate) name: EnvironmentName,
}

/// A call of an action.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CallView {
    pub(crate) id: RunId,
    pub(crate) script: ScriptName,
    pub(crate) connection: ConnectionName,
    pub(crate) state: CallState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunId>,
    /// What the action returned.
    #[schema(value_type = Option<serde_json::Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Box<serde_json::value::RawValue>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<CallError>,
    pub(crate) created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at: Option<Time>,
}

/// Why a call failed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CallError {
    /// The stable code.
    pub(crate) code: String,
    pub(crate) message: String,
    /// What the action gave with its error.
    #[schema(value_type = Option<serde_json::Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<Box<serde_json::value::RawValue>>,
}

impl From<&Call> for CallView {
    fn from(call: &Call) -> Self {
        let raw =
            |text: &Option<String>| text.clone().and_then(|text| serde_json::value::RawValue::from_string(text).ok());
        Self {
            id: call.id,
            script: call.script.clone(),
            connection: call.connection.clone(),
            state: call.state,
            run: call.run,
            output: raw(&call.output),
            error: call.code.clone().map(|code| CallError {
                code,
                message: call.message.clone().unwrap_or_default(),
                details: raw(&call.details),
            }),
            created_at: Time(call.created_at),
            ended_at: time(call.ended_at),
        }
    }
}
