//! API keys of an environment.

use std::collections::HashMap;

use super::{Runtime, RuntimeError, lock};
use crate::ids::Timestamp;
use crate::keys::{ApiKey, KeyError, NewKeyText, PresentedKey, Principal, Scopes};
use crate::store::DocumentKind;

/// That a key was used is written down at most so often.
const NOTE_USE_MS: u64 = 60_000;

/// Keys as they were read, so that a request asks the store for none.
pub(super) type Seen = HashMap<String, ApiKey>;

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// Its text, which nobody can be shown again.
    pub text: NewKeyText,
    /// What is kept of it.
    pub key: ApiKey,
}

impl Runtime {
    /// Makes a key.
    pub async fn create_key(
        &self,
        name: &str,
        scopes: Scopes,
        expires_at: Option<Timestamp>,
    ) -> Result<NewKey, RuntimeError> {
        let (text, mut key) = ApiKey::generate(&self.name, name, scopes, self.shared.clock.now())?;
        key.expires_at = expires_at;
        self.put_document(DocumentKind::Key, &key.id, &key).await?;
        Ok(NewKey { text, key })
    }

    /// Keys by id, from behind `after` on. None of them can be told as text.
    pub async fn keys(&self, after: Option<String>, limit: usize) -> Result<Vec<ApiKey>, RuntimeError> {
        self.documents(DocumentKind::Key, String::new(), after, limit).await
    }

    /// Takes a key away; from then on it opens nothing.
    pub async fn delete_key(&self, id: &str) -> Result<(), RuntimeError> {
        let _changing = self.changing.lock().await;
        if self.document::<ApiKey>(DocumentKind::Key, id).await?.is_none() {
            return Err(RuntimeError::unknown("key", id));
        }
        self.remove_document(DocumentKind::Key, id).await?;
        lock(&self.keys).remove(id);
        Ok(())
    }

    /// Whether a key that was found good is so still: what is answered for longer asks again and again.
    pub async fn is_still_good(&self, id: &str) -> Result<bool, RuntimeError> {
        let seen = lock(&self.keys).get(id).cloned();
        let key = match seen {
            Some(key) => Some(key),
            None => self.document::<ApiKey>(DocumentKind::Key, id).await?,
        };
        Ok(key.is_some_and(|key| key.expires_at.is_none_or(|at| at > self.shared.clock.now())))
    }

    /// What a key may do here.
    pub async fn authenticate(&self, presented: &PresentedKey) -> Result<Principal, RuntimeError> {
        let seen = lock(&self.keys).get(presented.id()).cloned();
        let mut key = match seen {
            Some(key) => key,
            None => self.document(DocumentKind::Key, presented.id()).await?.ok_or(KeyError::Unknown)?,
        };
        let now = self.shared.clock.now();
        let principal = key.verify(presented, now)?;
        if key.last_used_at.is_none_or(|at| now.since(at) >= NOTE_USE_MS) {
            let _changing = self.changing.lock().await;
            // Not if it was taken away meanwhile.
            if self.document::<ApiKey>(DocumentKind::Key, &key.id).await?.is_none() {
                return Err(KeyError::Unknown.into());
            }
            key.last_used_at = Some(now);
            self.store.put_document(DocumentKind::Key, &key.id, Some(&super::json(&key)?))?;
            lock(&self.keys).insert(key.id.clone(), key);
        }
        Ok(principal)
    }
}
