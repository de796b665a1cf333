//! Syncs: scripts bound to connections, with their schedules.
//!
//! What is kept of a sync is one document, its scheduler's plan included; the plan that counts while the process runs is the
//! scheduler's, and is written here whenever it changes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::connections::Connection;
use super::{Runtime, RuntimeError, lock};
use crate::ids::{ConnectionName, ModelName, RunId, ScriptName, SyncKey, Time, Timestamp, Variant};
use crate::run::{Run, RunKind};
use crate::sandbox::{LimitOverrides, Limits};
use crate::scheduler::{PausedBy, Plan, PlanState, Schedule, ScheduleError};
use crate::script::Manifest;
use crate::store::{DocumentKind, Reset, Script, StreamInfo, canonical};

/// A frequency that means: only when somebody asks.
const NEVER: &str = "never";

/// What a sync is made of.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncSpec {
    /// Which script.
    pub script: ScriptName,
    /// On which connection.
    pub connection: ConnectionName,
    /// In which variant.
    #[serde(default)]
    pub variant: Variant,
    /// The script's configuration: a JSON object.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    /// How often, as for a change.
    #[schema(example = "every 5 minutes")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<String>,
    /// No run of the schedule before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Time>,
    /// Limits of its runs, where they differ from the script's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitOverrides>,
}

impl SyncSpec {
    fn into_parts(self) -> (SyncKey, SyncSettings) {
        let Self { script, connection, variant, config, frequency, start_at, limits } = self;
        let settings = SyncSettings { config, frequency: frequency.map(Some), start_at: start_at.map(Some), limits };
        (SyncKey { script, connection, variant }, settings)
    }
}

/// What can be set of a sync. What is left out stays as it is; `null` takes it back.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncSettings {
    /// The script's configuration: a JSON object.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    /// How often: `every 5 minutes`, `every day`, `cron 0 9 * * MON-FRI Europe/Berlin`, or `never` for only when somebody
    /// asks. The script's own frequency if it is not given.
    #[schema(value_type = Option<String>, example = "every 5 minutes")]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub frequency: Option<Option<String>>,
    /// No run of the schedule before this.
    #[schema(value_type = Option<Time>)]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub start_at: Option<Option<Time>>,
    /// Limits of its runs, where they differ from the script's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitOverrides>,
}

/// Tells `null` from nothing.
fn some<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A sync as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sync {
    /// Script, connection and variant.
    pub key: SyncKey,
    /// A JSON object for the script.
    pub config: String,
    /// How often, where the operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<String>,
    /// Limits of its runs, where they differ from the script's.
    #[serde(default)]
    pub limits: LimitOverrides,
    /// It was made since the script asks for it.
    #[serde(default)]
    pub auto: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// What the scheduler knows of it.
    #[serde(default)]
    pub plan: Plan,
}

/// A sync with what is going on.
#[derive(Debug, Clone)]
pub struct SyncStatus {
    /// What is kept of it, with the plan as it is now.
    pub sync: Sync,
    /// When the last successful run started.
    pub last_sync_date: Option<Timestamp>,
    /// Whether the script has saved progress.
    pub has_checkpoint: bool,
    /// The run under way.
    pub active_run: Option<RunId>,
    /// Its records.
    pub streams: Vec<StreamInfo>,
}

/// What becomes of a run that was asked for.
#[derive(Debug, Clone)]
pub enum Asked {
    /// It has ended.
    Ended(Box<Run>),
    /// It is under way, or will be.
    Pending {
        /// Its id, once it has one.
        run: Option<RunId>,
    },
}

pub(super) fn document_key(key: &SyncKey) -> String {
    format!("{}/{}/{}", key.connection, key.script, key.variant)
}

/// How often a sync runs: what the operator says, else what the script says.
fn schedule(frequency: Option<&str>, manifest: &Manifest) -> Result<Option<Schedule>, ScheduleError> {
    match frequency {
        Some(text) if text.trim().eq_ignore_ascii_case(NEVER) => Ok(None),
        Some(text) => text.parse().map(Some),
        // A script that asks for nonsense is refused at upload; one from before that runs only when asked for.
        None => Ok(manifest.frequency.as_deref().and_then(|text| text.parse().ok())),
    }
}

impl Runtime {
    /// Creates a sync.
    pub async fn create_sync(&self, spec: SyncSpec) -> Result<SyncStatus, RuntimeError> {
        let (key, settings) = spec.into_parts();
        let connection = self.connection(&key.connection).await?;
        let changing = self.changing.lock().await;
        if self.find_sync(&key).await?.is_some() {
            return Err(RuntimeError::Exists { what: "sync", name: key.to_string() });
        }
        let script = self.script_row(&key.script).await?;
        self.add_sync(&key, &connection, &script, settings, false).await?;
        drop(changing);
        self.sync_status(&key).await
    }

    async fn add_sync(
        &self,
        key: &SyncKey,
        connection: &Connection,
        script: &Script,
        settings: SyncSettings,
        auto: bool,
    ) -> Result<(), RuntimeError> {
        let manifest = manifest_of(script)?;
        if manifest.kind != RunKind::Sync {
            let name = key.script.clone();
            return Err(RuntimeError::WrongKind { name, is: "an action", needed: "a sync" });
        }
        if let Some(wanted) = script.integration.as_ref().filter(|wanted| **wanted != connection.integration) {
            let reason = format!(
                "script {} is for integration {wanted}, and connection {} is at {}",
                key.script, key.connection, connection.integration
            );
            return Err(RuntimeError::BadInput { what: "the sync", reason });
        }
        let now = self.shared.clock.now();
        let mut sync = Sync {
            key: key.clone(),
            config: "{}".to_owned(),
            frequency: None,
            limits: LimitOverrides::default(),
            auto,
            created_at: now,
            plan: Plan::default(),
        };
        apply(&mut sync, settings.clone())?;
        let start_at = settings.start_at.flatten().map(|time| time.0);
        sync.plan = Plan::new(schedule(sync.frequency.as_deref(), &manifest)?, start_at, now);
        self.put_document(DocumentKind::Sync, &document_key(key), &sync).await?;
        let placed = self.placed(script, &sync.limits).await?;
        self.shared.scheduler.insert(self, key, placed, sync.plan);
        match missing(&manifest, &sync.config) {
            // The operator is told what to set, and it begins when that is done.
            Some(missing) => self.shared.scheduler.pause(self, key, Some(missing)).await,
            None => Ok(()),
        }
    }

    /// Changes what can be set of a sync.
    pub async fn change_sync(&self, key: &SyncKey, settings: SyncSettings) -> Result<SyncStatus, RuntimeError> {
        let changing = self.changing.lock().await;
        let mut sync = self.sync_document(key).await?;
        let script = self.script_row(&key.script).await?;
        apply(&mut sync, settings.clone())?;
        let manifest = manifest_of(&script)?;
        let schedule = schedule(sync.frequency.as_deref(), &manifest)?;
        let start_at = settings.start_at.map_or(sync.plan.start_at, |given| given.map(|time| time.0));
        let placed = self.placed(&script, &sync.limits).await?;
        let changed = sync.clone();
        self.rewrite_sync(key, move |stored| *stored = Sync { plan: std::mem::take(&mut stored.plan), ..changed })
            .await?;
        self.shared.scheduler.set_schedule(self, key, placed, schedule, start_at).await?;
        // What waited for its configuration, or failed with another one, goes on.
        if settings.config.is_some() {
            let plan = self.shared.scheduler.plan(self, key);
            match missing(&manifest, &sync.config) {
                Some(missing) => self.shared.scheduler.pause(self, key, Some(missing)).await?,
                None if plan.is_some_and(|plan| waits_for_configuration(&plan)) => {
                    self.shared.scheduler.resume(self, key).await?;
                }
                None => {}
            }
        }
        drop(changing);
        self.sync_status(key).await
    }

    /// The limits of a sync's or an action's runs.
    pub(super) fn limits_of(&self, script: &Script, own: &LimitOverrides) -> Limits {
        let of_script: LimitOverrides = serde_json::from_str(&script.limits).unwrap_or_default();
        self.shared.options.limits.clone().with(&of_script).with(own)
    }

    /// What the planner has to know of a sync: the memory of its runs, and whether its script is a suspect.
    async fn placed(&self, script: &Script, own: &LimitOverrides) -> Result<(u64, bool), RuntimeError> {
        Ok((self.limits_of(script, own).memory, self.suspicion(&script.hash).await?.is_some()))
    }

    pub(crate) async fn find_sync(&self, key: &SyncKey) -> Result<Option<Sync>, RuntimeError> {
        self.document(DocumentKind::Sync, &document_key(key)).await
    }

    pub(crate) async fn sync_document(&self, key: &SyncKey) -> Result<Sync, RuntimeError> {
        self.find_sync(key).await?.ok_or_else(|| RuntimeError::unknown("sync", key))
    }

    /// Writes a sync's plan.
    pub(crate) async fn save_plan(&self, key: &SyncKey, plan: Plan) -> Result<(), RuntimeError> {
        self.rewrite_sync(key, |sync| sync.plan = plan).await
    }

    /// Changes a sync's document: settings and plan are written by different hands at any time, and neither may undo what
    /// the other wrote. One that was removed meanwhile stays so.
    async fn rewrite_sync(
        &self,
        key: &SyncKey,
        change: impl FnOnce(&mut Sync) + Send + 'static,
    ) -> Result<(), RuntimeError> {
        let (key, writing) = (document_key(key), std::sync::Arc::clone(&self.inner));
        self.blocking(move |store| {
            let _writing = lock(&writing.sync_documents);
            let Some(text) = store.document(DocumentKind::Sync, &key)? else { return Ok(()) };
            let mut sync: Sync = super::parse(&text)?;
            change(&mut sync);
            store.put_document(DocumentKind::Sync, &key, Some(&super::json(&sync)?))
        })
        .await
    }

    /// A sync with what is going on.
    pub async fn sync_status(&self, key: &SyncKey) -> Result<SyncStatus, RuntimeError> {
        let mut sync = self.sync_document(key).await?;
        if let Some(plan) = self.shared.scheduler.plan(self, key) {
            sync.plan = plan;
        }
        let models: Vec<ModelName> = match self.script_row(&key.script).await {
            Ok(script) => manifest_of(&script)?.models.into_iter().map(|model| model.name).collect(),
            Err(_) => Vec::new(),
        };
        let of = key.clone();
        let (state, mut streams) = self.blocking(move |store| Ok((store.sync_state(&of)?, store.streams()?))).await?;
        let own: Vec<_> = models.iter().map(|model| key.stream(model)).collect();
        streams.retain(|info| own.contains(&info.stream));
        Ok(SyncStatus {
            sync,
            last_sync_date: state.last_sync_date,
            has_checkpoint: state.checkpoint.is_some(),
            active_run: self.shared.scheduler.active_run(self, key),
            streams,
        })
    }

    /// Syncs by connection, script and variant, from behind `after` on, with their plans as they are now.
    pub async fn syncs(
        &self,
        connection: Option<&ConnectionName>,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Sync>, RuntimeError> {
        let prefix = connection.map_or_else(String::new, |connection| format!("{connection}/"));
        let mut syncs: Vec<Sync> = self.documents(DocumentKind::Sync, prefix, after, limit).await?;
        for sync in &mut syncs {
            if let Some(plan) = self.shared.scheduler.plan(self, &sync.key) {
                sync.plan = plan;
            }
        }
        Ok(syncs)
    }

    /// Removes a sync; its records stay. Its run is cancelled first.
    pub async fn delete_sync(&self, key: &SyncKey) -> Result<(), RuntimeError> {
        let _changing = self.changing.lock().await;
        self.sync_document(key).await?;
        self.remove_sync(key).await
    }

    async fn remove_sync(&self, key: &SyncKey) -> Result<(), RuntimeError> {
        self.shared.scheduler.remove(self, key).await;
        self.remove_document(DocumentKind::Sync, &document_key(key)).await
    }

    pub(super) async fn remove_syncs_of(&self, connection: &ConnectionName) -> Result<(), RuntimeError> {
        for sync in self.syncs(Some(connection), None, usize::MAX).await? {
            self.remove_sync(&sync.key).await?;
        }
        Ok(())
    }

    /// Creates the syncs that scripts want for a new connection.
    pub(super) async fn start_wanted_syncs(&self, connection: &Connection) -> Result<(), RuntimeError> {
        for script in self.blocking(|store| store.scripts()).await? {
            if script.integration.as_ref() == Some(&connection.integration) {
                self.start_wanted_sync(connection, &script).await?;
            }
        }
        Ok(())
    }

    /// Creates a sync if the script wants one for each connection.
    pub(super) async fn start_wanted_sync(&self, connection: &Connection, script: &Script) -> Result<(), RuntimeError> {
        let manifest = manifest_of(script)?;
        let (script_name, variant) = (script.name.clone(), Variant::default());
        let key = SyncKey { script: script_name, connection: connection.name.clone(), variant };
        let _changing = self.changing.lock().await;
        if manifest.kind != RunKind::Sync || !manifest.auto_start || self.find_sync(&key).await?.is_some() {
            return Ok(());
        }
        self.add_sync(&key, connection, script, SyncSettings::default(), true).await
    }

    /// Plans anew the syncs of a script whose frequency or limits may have changed.
    pub(super) async fn plan_syncs_of(&self, script: &Script) -> Result<(), RuntimeError> {
        let manifest = manifest_of(script)?;
        for sync in self.syncs(None, None, usize::MAX).await? {
            if sync.key.script == script.name {
                let schedule = schedule(sync.frequency.as_deref(), &manifest)?;
                let placed = self.placed(script, &sync.limits).await?;
                let start_at = sync.plan.start_at;
                self.shared.scheduler.set_schedule(self, &sync.key, placed, schedule, start_at).await?;
            }
        }
        // Another version than the one that is quarantined.
        if self.refuse_quarantined(script).await.is_ok() {
            self.start_after_quarantine(&script.name).await?;
        }
        Ok(())
    }

    /// Forgets what a sync remembers, so that its next run fetches everything. With `empty`, what it saves from then on
    /// takes the place of the old records when a run succeeds.
    pub async fn reset_sync(&self, key: &SyncKey, empty: bool) -> Result<(), RuntimeError> {
        self.sync_document(key).await?;
        let models = manifest_of(&self.script_row(&key.script).await?)?.models;
        let models = models.into_iter().map(|model| model.name).collect();
        let mode = if empty { Reset::Empty { models } } else { Reset::Refetch };
        self.reset(key.clone(), mode).await
    }
}

/// What a configuration lacks of what the script's schema requires, as a sentence.
fn missing(manifest: &Manifest, config: &str) -> Option<String> {
    let required = manifest.config_schema.as_ref()?.get("required")?.as_array()?;
    let given: serde_json::Map<String, serde_json::Value> = serde_json::from_str(config).unwrap_or_default();
    let lacks = |name: &&str| !given.contains_key(*name);
    let names: Vec<_> = required.iter().filter_map(|name| name.as_str()).filter(lacks).collect();
    (!names.is_empty()).then(|| format!("{NEEDS}{}", names.join(", ")))
}

/// How the reason begins why a sync without its configuration is paused.
const NEEDS: &str = "the script needs to be configured: set ";

fn waits_for_configuration(plan: &Plan) -> bool {
    match &plan.state {
        PlanState::Active => false,
        PlanState::Paused { by: PausedBy::Failure, .. } => true,
        PlanState::Paused { by: PausedBy::Operator, reason } => {
            reason.as_ref().is_some_and(|reason| reason.starts_with(NEEDS))
        }
    }
}

fn apply(sync: &mut Sync, settings: SyncSettings) -> Result<(), RuntimeError> {
    let bad = |reason: String| RuntimeError::BadInput { what: "the configuration", reason };
    if let Some(config) = settings.config {
        let text = serde_json::Value::Object(config).to_string();
        canonical::validate_object(&text).map_err(|error| bad(error.to_string()))?;
        sync.config = text;
    }
    if let Some(frequency) = settings.frequency {
        sync.frequency = frequency;
    }
    if let Some(limits) = settings.limits {
        limits.check().map_err(|reason| RuntimeError::BadInput { what: "the limits", reason })?;
        sync.limits = limits;
    }
    Ok(())
}

pub(super) fn manifest_of(script: &Script) -> Result<Manifest, RuntimeError> {
    Ok(super::parse(&script.manifest)?)
}
