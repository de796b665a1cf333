//! Scripts that are suspected to take the process down, or known to: who is run alone, and who not at all.
//!
//! What is held against a script the store keeps, by content ([`Suspicion`]); what follows from it is done here. A suspect is
//! run alone among suspects, of all environments, until it succeeds. A quarantined one is not run: its syncs are paused with
//! the reason, its actions refused. Another version of it is another script; the same one runs again once somebody says so.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Runtime, RuntimeError};
use crate::ids::{RunId, ScriptHash, ScriptName};
use crate::incident;
use crate::run::Outcome;
use crate::scheduler::{PausedBy, PlanState};
use crate::store::{DocumentKind, Offense, STOPPING, Script, Store, StoreError, Suspicion};

/// The stable code of a script that is not run any more.
pub(super) const QUARANTINED: &str = "script-quarantined";

/// One suspect at a time.
pub(super) struct Suspects(Arc<Semaphore>);

impl Default for Suspects {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// What is held against a script.
pub(super) fn suspicion(store: &dyn Store, script: &ScriptHash) -> Result<Option<Suspicion>, StoreError> {
    let text = store.document(DocumentKind::Suspect, &Suspicion::key(script))?;
    text.map(|text| super::parse(&text)).transpose()
}

/// Notes how a run ended that itself noticed it: a success clears its script, a lost lease is held against it.
pub(super) fn judge(
    store: &dyn Store,
    script: &ScriptHash,
    run: RunId,
    outcome: Option<&Outcome>,
    lease_lost: bool,
) -> Result<(), StoreError> {
    let before = suspicion(store, script)?;
    let key = Suspicion::key(script);
    match before {
        Some(_) if outcome == Some(&Outcome::Succeeded) => store.put_document(DocumentKind::Suspect, &key, None),
        before if lease_lost => {
            let after = super::json(&Suspicion::after(before, run, Offense::LeaseLost))?;
            store.put_document(DocumentKind::Suspect, &key, Some(&after))
        }
        _ => Ok(()),
    }
}

impl Runtime {
    /// What is held against a version of a script.
    pub async fn suspicion(&self, script: &ScriptHash) -> Result<Option<Suspicion>, RuntimeError> {
        let script = script.clone();
        self.blocking(move |store| suspicion(store, &script)).await
    }

    /// What is held against scripts, by their content.
    pub async fn suspicions(&self) -> Result<HashMap<String, Suspicion>, RuntimeError> {
        self.blocking(|store| {
            let prefix = Suspicion::PREFIX;
            let found = store.documents(DocumentKind::Suspect, prefix, None, usize::MAX)?;
            let by_hash = |(key, text): &(String, String)| {
                Ok((key.strip_prefix(prefix).unwrap_or_default().to_owned(), super::parse(text)?))
            };
            found.iter().map(by_hash).collect()
        })
        .await
    }

    /// Refuses a script that is quarantined.
    pub(super) async fn refuse_quarantined(&self, script: &Script) -> Result<Option<Suspicion>, RuntimeError> {
        let suspicion = self.suspicion(&script.hash).await?;
        match suspicion {
            Some(suspicion) if suspicion.is_quarantine() => Err(RuntimeError::Quarantined {
                name: script.name.clone(),
                version: script.version,
                strikes: suspicion.strikes,
                offense: suspicion.offense,
                run: suspicion.run,
            }),
            suspicion => Ok(suspicion),
        }
    }

    /// Waits until no other suspect runs, if this script is one, and refuses it if it is quarantined by then.
    pub(super) async fn admit_suspect(
        &self,
        script: &Script,
        cancel: &CancellationToken,
    ) -> Result<Option<OwnedSemaphorePermit>, RuntimeError> {
        if self.refuse_quarantined(script).await?.is_none() {
            return Ok(None);
        }
        let alone = tokio::select! {
            // Then it is not run at all.
            () = cancel.cancelled() => return Ok(None),
            alone = Arc::clone(&self.shared.suspects.0).acquire_owned() => alone.ok(),
        };
        self.refuse_quarantined(script).await?;
        Ok(alone)
    }

    /// Tells the scheduler who is suspected now, after something of this content ended or was released.
    pub(super) async fn suspicion_changed(&self, script: &ScriptHash) -> Result<(), RuntimeError> {
        let suspect = self.suspicion(script).await?.is_some();
        let names = self.names_of(script).await?;
        for sync in self.syncs(None, None, usize::MAX).await? {
            if names.contains(&sync.key.script) {
                self.shared.scheduler.set_suspect(self, &sync.key, suspect);
            }
        }
        Ok(())
    }

    async fn names_of(&self, hash: &ScriptHash) -> Result<Vec<ScriptName>, RuntimeError> {
        let scripts = self.blocking(|store| store.scripts()).await?;
        Ok(scripts.into_iter().filter(|script| script.hash == *hash).map(|script| script.name).collect())
    }

    /// Lets the active version of a script run again that is quarantined. It is on probation: run alone until it succeeds.
    pub async fn release_script(&self, name: &ScriptName) -> Result<Script, RuntimeError> {
        let row = self.script_row(name).await?;
        if let Some(suspicion) = self.suspicion(&row.hash).await?.filter(Suspicion::is_quarantine) {
            let key = Suspicion::key(&row.hash);
            self.put_document(DocumentKind::Suspect, &key, &suspicion.released()).await?;
            self.suspicion_changed(&row.hash).await?;
            for name in self.names_of(&row.hash).await? {
                self.start_after_quarantine(&name).await?;
            }
        }
        Ok(row)
    }

    /// Starts the syncs of a script that its quarantine has paused.
    pub(super) async fn start_after_quarantine(&self, name: &ScriptName) -> Result<(), RuntimeError> {
        for sync in self.syncs(None, None, usize::MAX).await? {
            if sync.key.script == *name
                && let PlanState::Paused { by: PausedBy::Failure, reason: Some(reason) } = &sync.plan.state
                && reason.starts_with(QUARANTINED)
            {
                self.start(&sync.key).await?;
            }
        }
        Ok(())
    }

    /// Tells the operator which scripts are quarantined.
    pub(super) async fn report_quarantines(&self) -> Result<(), RuntimeError> {
        for script in self.blocking(|store| store.scripts()).await? {
            if let Err(error @ RuntimeError::Quarantined { .. }) = self.refuse_quarantined(&script).await {
                let place = format_args!("script {} ({}) of {}", script.name, script.hash.short(), self.name());
                incident::report(QUARANTINED, place, error);
            }
        }
        Ok(())
    }

    /// Notes that the process stops because it was told to: what it does not end any more is held against nobody.
    pub(super) async fn note_stopping(&self) {
        let noted = self.blocking(|store| store.put_document(DocumentKind::Suspect, STOPPING, Some("{}"))).await;
        if let Err(error) = noted {
            tracing::warn!(%error, environment = %self.name(), "that the service stops could not be noted");
        }
    }
}
