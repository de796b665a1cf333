//! Scripts: uploaded, checked, compiled, and kept in versions.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::syncs::manifest_of;
use super::{Runtime, RuntimeError, lock};
use crate::ids::{IntegrationName, ScriptHash, ScriptName};
use crate::incident;
use crate::sandbox::{self, LimitOverrides, Patience};
use crate::script::ScriptError;
use crate::store::{Script, StoreError};

/// What an upload is besides its bytes. What is not given is as the version before has it.
#[derive(Debug, Clone, Default)]
pub struct Upload {
    /// To deploy it under; its own name if not given.
    pub name: Option<ScriptName>,
    /// The API that it is for.
    pub integration: Option<IntegrationName>,
    /// Limits of its runs.
    pub limits: Option<LimitOverrides>,
}

/// Scripts that are ready to run, by content. Of those that nobody runs the ones that were longest not asked for go, once there
/// are too many: they come back from what was kept of them.
#[derive(Default)]
pub(super) struct Loaded {
    scripts: HashMap<ScriptHash, (Arc<sandbox::Script>, u64)>,
    /// Counts what was asked for.
    asked: u64,
    bytes: usize,
}

/// Bytes of scripts that stay ready: a hundred small components and two with an interpreter in them, or thousands of texts. What a
/// component takes in memory is a few times its size, mapped, and less of it used.
const MAX_LOADED_BYTES: usize = 64 << 20;
const MAX_LOADED: usize = 4_096;

impl Loaded {
    fn get(&mut self, hash: &ScriptHash) -> Option<Arc<sandbox::Script>> {
        self.asked += 1;
        let (script, asked) = self.scripts.get_mut(hash)?;
        *asked = self.asked;
        Some(Arc::clone(script))
    }

    /// Keeps a script and returns it, or the same one that came first.
    fn keep(&mut self, hash: &ScriptHash, script: Arc<sandbox::Script>) -> Arc<sandbox::Script> {
        if let Some(first) = self.get(hash) {
            return first;
        }
        while self.bytes + script.size > MAX_LOADED_BYTES || self.scripts.len() >= MAX_LOADED {
            let idle = self.scripts.iter().filter(|(_, (script, _))| Arc::strong_count(script) == 1);
            let Some(oldest) = idle.min_by_key(|(_, (_, asked))| asked).map(|(hash, _)| hash.clone()) else { break };
            if let Some((gone, _)) = self.scripts.remove(&oldest) {
                self.bytes -= gone.size;
            }
        }
        self.bytes += script.size;
        self.scripts.insert(hash.clone(), (Arc::clone(&script), self.asked));
        script
    }
}

fn report_refusal(hash: &ScriptHash, error: &ScriptError) {
    incident::report(error.code(), format_args!("upload {}", hash.short()), error);
}

impl Runtime {
    /// Checks, compiles and links a script, and asks it to describe itself.
    pub async fn load(&self, bytes: impl Into<Bytes>) -> Result<Arc<sandbox::Script>, RuntimeError> {
        self.load_for(bytes.into(), Patience::Upload).await
    }

    async fn load_for(&self, bytes: Bytes, patience: Patience) -> Result<Arc<sandbox::Script>, RuntimeError> {
        let hash = ScriptHash::of(&bytes);
        if let Some(script) = self.loaded(&hash) {
            return Ok(script);
        }
        let script = self.shared.sandbox()?.load(bytes, patience).await;
        let script = script
            .inspect_err(|error| incident::report(error.code(), format_args!("upload {}", hash.short()), error))?;
        Ok(lock(&self.shared.loaded).keep(&hash, script))
    }

    /// The same, for somebody who only looks: nothing of it stays in memory.
    pub async fn look_at(&self, bytes: Bytes) -> Result<Arc<sandbox::Script>, RuntimeError> {
        let hash = ScriptHash::of(&bytes);
        let loaded = self.shared.sandbox()?.load(bytes, Patience::Upload).await;
        Ok(loaded.inspect_err(|error| report_refusal(&hash, error))?)
    }

    /// What a component imports and exports, also if it is none that could run here, and the script it makes or why not.
    pub async fn inspect(
        &self,
        bytes: impl Into<Bytes>,
    ) -> Result<(sandbox::Surface, Result<Arc<sandbox::Script>, ScriptError>), RuntimeError> {
        Ok(self.shared.sandbox()?.inspect(bytes.into()).await?)
    }

    fn loaded(&self, hash: &ScriptHash) -> Option<Arc<sandbox::Script>> {
        lock(&self.shared.loaded).get(hash)
    }

    /// Deploys a script, and creates the syncs that it wants for the connections of its integration.
    pub async fn deploy(&self, bytes: impl Into<Bytes>, upload: Upload) -> Result<Script, RuntimeError> {
        let bytes = bytes.into();
        let checked = upload.limits.as_ref().map_or(Ok(()), LimitOverrides::check);
        checked.map_err(|reason| RuntimeError::BadInput { what: "the limits", reason })?;
        let loaded = self.load(bytes.clone()).await?;
        let encode = |error: serde_json::Error| StoreError::Storage { doing: "encode a script", source: error.into() };
        let name = upload.name.unwrap_or_else(|| loaded.manifest.name.clone());
        let key = name.clone();
        let before = self.blocking(move |store| store.script(&key)).await?;
        let integration = upload.integration.or_else(|| before.as_ref().and_then(|before| before.integration.clone()));
        if let Some(integration) = &integration {
            self.integration(integration).await?;
        }
        let limits = match (&upload.limits, before) {
            (None, Some(before)) => before.limits,
            (limits, _) => serde_json::to_string(&limits.clone().unwrap_or_default()).map_err(encode)?,
        };
        let script = Script {
            name,
            version: 0,
            integration,
            hash: loaded.hash.clone(),
            size: loaded.size as u64,
            added_at: self.shared.clock.now(),
            manifest: serde_json::to_string(&loaded.manifest).map_err(encode)?,
            limits,
        };
        let script = self.blocking(move |store| store.put_script(&script, &bytes)).await?;
        self.script_changed(&script).await?;
        Ok(script)
    }

    async fn script_changed(&self, script: &Script) -> Result<(), RuntimeError> {
        self.plan_syncs_of(script).await?;
        if let Some(integration) = &script.integration {
            for connection in self.connections(None, usize::MAX).await? {
                if connection.integration == *integration {
                    self.start_wanted_sync(&connection, script).await?;
                }
            }
        }
        Ok(())
    }

    /// A deployed script's row: its active version.
    pub async fn script_row(&self, name: &ScriptName) -> Result<Script, RuntimeError> {
        let key = name.clone();
        let row = self.blocking(move |store| store.script(&key)).await?;
        row.ok_or_else(|| RuntimeError::UnknownScript(name.clone()))
    }

    /// Every version of a script that is kept, the newest first.
    pub async fn script_versions(&self, name: &ScriptName) -> Result<Vec<Script>, RuntimeError> {
        self.script_row(name).await?;
        let name = name.clone();
        self.blocking(move |store| store.script_versions(&name)).await
    }

    /// Makes a version the active one.
    pub async fn activate_script(&self, name: &ScriptName, version: u32) -> Result<Script, RuntimeError> {
        self.script_row(name).await?;
        let key = name.clone();
        let script = self.blocking(move |store| store.activate_script(&key, version)).await?;
        let script = script.ok_or_else(|| RuntimeError::unknown("version", &format!("{version} of script {name}")))?;
        self.script_changed(&script).await?;
        Ok(script)
    }

    /// Makes the version before the active one the active one.
    pub async fn roll_back_script(&self, name: &ScriptName) -> Result<Script, RuntimeError> {
        let active = self.script_row(name).await?.version;
        let versions = self.script_versions(name).await?;
        let before = versions.iter().map(|script| script.version).filter(|version| *version < active).max();
        let before =
            before.ok_or_else(|| RuntimeError::unknown("version", &format!("before {active} of script {name}")))?;
        self.activate_script(name, before).await
    }

    /// Sets the limits of a script's runs, or the integration that it is for.
    pub async fn change_script(
        &self,
        name: &ScriptName,
        limits: Option<LimitOverrides>,
        integration: Option<IntegrationName>,
    ) -> Result<Script, RuntimeError> {
        let row = self.script_row(name).await?;
        let hash = row.hash.clone();
        let bytes = self.blocking(move |store| store.script_bytes(&hash)).await?;
        let bytes = bytes.ok_or_else(|| RuntimeError::UnknownScript(name.clone()))?;
        self.deploy(bytes, Upload { name: Some(name.clone()), integration, limits }).await
    }

    /// Takes a script away; its records stay. Refused while syncs have it.
    pub async fn remove_script(&self, name: &ScriptName) -> Result<(), RuntimeError> {
        let _changing = self.changing.lock().await;
        self.script_row(name).await?;
        let syncs = self.syncs(None, None, usize::MAX).await?;
        if let Some(user) = syncs.iter().find(|sync| sync.key.script == *name) {
            let by = format!("the sync of {}", user.key.connection);
            return Err(RuntimeError::InUse { what: "script", name: name.to_string(), by });
        }
        let name = name.clone();
        self.blocking(move |store| store.remove_script(&name)).await.map(drop)
    }

    /// A deployed script, ready to run, and its row.
    pub async fn deployed(&self, name: &ScriptName) -> Result<(Arc<sandbox::Script>, Script), RuntimeError> {
        let row = self.script_row(name).await?;
        if let Some(script) = self.loaded(&row.hash) {
            return Ok((script, row));
        }
        let hash = row.hash.clone();
        let bytes = self.blocking(move |store| store.script_bytes(&hash)).await?;
        let bytes = bytes.ok_or_else(|| RuntimeError::UnknownScript(name.clone()))?;
        Ok((self.load_for(bytes.into(), Patience::Deployed).await?, row))
    }

    /// What a script says of itself.
    pub fn manifest(&self, script: &Script) -> Result<crate::script::Manifest, RuntimeError> {
        manifest_of(script)
    }
}
