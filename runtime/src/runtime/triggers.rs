//! Triggers that are sent again: with an idempotency key the same run is not asked for twice, and the answer is that of the
//! first time, for a day.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calls::{KEEP_CALLS_MS, known_key};
use super::syncs::document_key;
use super::{Asked, Once, Runtime, RuntimeError};
use crate::ids::{ConnectionName, SyncKey, Timestamp};
use crate::store::DocumentKind;

/// Where triggers are noted among calls.
pub(super) const PREFIX: &str = "trigger/";

/// What is noted of a trigger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) connection: ConnectionName,
    sync: String,
    allow_deletes: bool,
    pub(super) created_at: Timestamp,
    /// As it was answered, once it was.
    answer: Option<String>,
}

/// What came of a trigger.
#[derive(Debug, Clone)]
pub enum Triggering {
    /// It was asked for now.
    Now(Asked),
    /// It was asked for before, and answered so.
    Before(String),
}

impl Runtime {
    /// Asks for a run as [`Runtime::trigger`] does, unless that was done with this idempotency key before.
    pub async fn trigger_once(
        &self,
        key: &SyncKey,
        once: Once,
        wait: Duration,
        idempotency_key: &str,
    ) -> Result<Triggering, RuntimeError> {
        let place = known_key(PREFIX, idempotency_key)?;
        let now = self.shared.clock.now();
        let noted = Noted {
            connection: key.connection.clone(),
            sync: document_key(key),
            allow_deletes: once.allow_deletes,
            created_at: now,
            answer: None,
        };
        {
            // Held so that of two that come at once only one asks.
            let _changing = self.changing.lock().await;
            if let Some(before) = self.document::<Noted>(DocumentKind::ActionCall, &place).await?
                && now.since(before.created_at) < KEEP_CALLS_MS
            {
                if before.sync != noted.sync || before.allow_deletes != noted.allow_deletes {
                    return Err(RuntimeError::IdempotencyConflict);
                }
                return Ok(match before.answer {
                    Some(answer) => Triggering::Before(answer),
                    // It is waited for elsewhere, or the process ended meanwhile: a run was asked for all the same.
                    None => Triggering::Now(Asked::Pending { run: self.sync_status(key).await?.active_run }),
                });
            }
            // There is such a sync, or nothing is noted.
            self.sync_status(key).await?;
            self.put_document(DocumentKind::ActionCall, &place, &noted).await?;
        }
        match self.trigger(key, once, wait).await {
            Ok(asked) => Ok(Triggering::Now(asked)),
            Err(error) => {
                self.remove_document(DocumentKind::ActionCall, &place).await?;
                Err(error)
            }
        }
    }

    /// Notes how a trigger was answered, for who sends it again.
    pub async fn trigger_answered(&self, idempotency_key: &str, answer: String) -> Result<(), RuntimeError> {
        let place = known_key(PREFIX, idempotency_key)?;
        let _changing = self.changing.lock().await;
        match self.document::<Noted>(DocumentKind::ActionCall, &place).await? {
            Some(noted) if noted.answer.is_none() => {
                self.put_document(DocumentKind::ActionCall, &place, &Noted { answer: Some(answer), ..noted }).await
            }
            _ => Ok(()),
        }
    }
}
