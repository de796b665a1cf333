//! API keys: who may call the service, and for what.
//!
//! A key's text is `terapi_<environment>_<id>_<secret><checksum>`, such as `terapi_default_k3v…_…`:
//!
//! - Names of environments have no `_`, so there is one way to read it. A scanner for leaked secrets finds it with
//!   `terapi_[a-z0-9-]{1,63}_[a-z2-7]{12}_[a-z2-7]{58}`.
//! - The id names the row; it is not secret and may be logged.
//! - The secret is 256 random bits.
//! - The checksum tells a typing error from a key that is unknown, without a look at the store. It keeps nobody out.
//!
//! Stored is the SHA-256 of all but the checksum. Slow hashes are for passwords, which can be guessed; nobody guesses 256
//! random bits, so a fast hash protects them just as well and every request can afford it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

use crate::ids::{EnvironmentName, Timestamp};

const PREFIX: &str = "terapi";
/// 60 random bits: ids of one environment do not meet.
const ID_CHARS: usize = 12;
/// 32 bytes in base32.
const SECRET_CHARS: usize = 52;
/// 30 bits: of a billion typing errors one looks like a key.
const CHECKSUM_CHARS: usize = 6;
/// The longest text that can be a key, with a name of 63.
pub const MAX_KEY_CHARS: usize = PREFIX.len() + 1 + 63 + 1 + ID_CHARS + 1 + SECRET_CHARS + CHECKSUM_CHARS;
/// Letters of the names that people give keys.
const MAX_NAME_CHARS: usize = 100;
/// RFC 4648's base32, in lower case: a double click selects it whole, and none of its digits looks like a letter of it.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why there is no key, or why it opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not a key at all.
    #[error(
        "this is not an API key: one looks like terapi_<environment>_<id>_<secret>, as it was shown when it was made"
    )]
    Malformed,
    /// The text looks like a key, and its checksum is wrong.
    #[error("this API key has a typing error or is cut short: copy it again as it was shown when it was made")]
    Mistyped,
    /// The key is not this one. Says nothing of what is different.
    #[error("this API key is unknown here: it was deleted, or belongs to another environment or server")]
    Unknown,
    /// It is the right key and its time is over.
    #[error("this API key expired at {at}: make a new one")]
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// The name that it should get is not acceptable.
    #[error("a key's name has 1 to {MAX_NAME_CHARS} letters and no control characters: say what the key is for")]
    BadName,
    /// It would open nothing.
    #[error("a key without scopes opens nothing: give it one of {}", Scopes::all())]
    NoScopes,
    /// A text that is not a scope.
    #[error("`{0}` is not a scope: there are {all}, and `all`", all = Scopes::all())]
    BadScope(String),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes, so no key can be made: {0}")]
    Random(String),
}

impl KeyError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "key-malformed",
            Self::Mistyped => "key-mistyped",
            Self::Unknown => "key-unknown",
            Self::Expired { .. } => "key-expired",
            Self::BadName => "key-bad-name",
            Self::NoScopes => "key-no-scopes",
            Self::BadScope(_) => "key-bad-scope",
            Self::Random(_) => "key-no-randomness",
        }
    }
}

/// What a key may be for. None includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Read records and their changes.
    ReadRecords,
    /// Run actions and start syncs.
    RunActions,
    /// Change integrations, connections, syncs and keys.
    Manage,
    /// Upload scripts.
    Deploy,
}

impl Scope {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::ReadRecords, Self::RunActions, Self::Manage, Self::Deploy];

    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadRecords => "read-records",
            Self::RunActions => "run-actions",
            Self::Manage => "manage",
            Self::Deploy => "deploy",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| KeyError::BadScope(text.chars().take(40).collect()))
    }
}

/// A set of scopes. As text they stand with commas between them; `all` is read as every scope of today.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Every scope there is.
    #[must_use]
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether the scope is one of them.
    #[must_use]
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Whether every scope of `others` is one of these: a key may be made only by one that has its scopes.
    #[must_use]
    pub fn includes(&self, others: &Self) -> bool {
        self.0.is_superset(&others.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes, in a steady order.
    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.iter().map(Scope::as_str).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Scopes {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.trim() == "all" {
            return Ok(Self::all());
        }
        text.split(',').map(str::trim).filter(|scope| !scope.is_empty()).map(str::parse).collect()
    }
}

/// A key as the store keeps it: everything but the secret. Serialized it has the hash, so show a view of it and not this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The part of the key's text that names it. Not secret.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The one environment in which it opens something.
    pub environment: EnvironmentName,
    /// What it opens.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, as far as that was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// From when on it opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What the secret is compared with.
    pub hash: KeyHash,
}

impl ApiKey {
    /// A new key: its text, which is shown once, and the row to store. Set `expires_at` on the row if it should end.
    pub fn generate(
        environment: &EnvironmentName,
        name: &str,
        scopes: Scopes,
        now: Timestamp,
    ) -> Result<(NewKeyText, Self), KeyError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(KeyError::BadName);
        }
        if scopes.is_empty() {
            return Err(KeyError::NoScopes);
        }
        let mut random = [0; 8 + 32];
        getrandom::fill(&mut random).map_err(|error| KeyError::Random(error.to_string()))?;
        let (id, secret) = random.split_at(8);
        let id: String = base32(id).take(ID_CHARS).collect();
        let mut text = format!("{PREFIX}_{environment}_{id}_");
        text.extend(base32(secret));
        let hash = KeyHash::of(&text);
        text.push_str(&checksum(&text));
        let row = Self {
            id,
            name: name.to_owned(),
            environment: environment.clone(),
            scopes,
            created_at: now,
            last_used_at: None,
            expires_at: None,
            hash,
        };
        Ok((NewKeyText(text), row))
    }

    /// What the presented key may do, if it is this one and its time is not over. How long the comparison takes does not
    /// depend on the secret.
    pub fn verify(&self, presented: &PresentedKey, now: Timestamp) -> Result<Principal, KeyError> {
        // The id and the environment are hashed as well: with equal hashes they are equal, in a row that is whole.
        let same = self.hash.0.ct_eq(&presented.hash.0);
        if !bool::from(same) || self.id != presented.id || self.environment != presented.environment {
            return Err(KeyError::Unknown);
        }
        match self.expires_at {
            // Only whoever has the secret gets to know that.
            Some(at) if at <= now => Err(KeyError::Expired { at }),
            _ => Ok(Principal {
                environment: self.environment.clone(),
                key_id: self.id.clone(),
                scopes: self.scopes.clone(),
            }),
        }
    }
}

/// The SHA-256 of a key's text without its checksum. Hexadecimal in JSON; compared in constant time.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    fn of(text: &str) -> Self {
        Self(sha2::Sha256::digest(text).into())
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        blake3::Hash::from_bytes(hash.0).to_hex().to_string()
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hash = blake3::Hash::from_hex(&text).map_err(|_| "a key's hash has 64 hexadecimal digits")?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// The text of a new key, which nobody can read again later. Not shown by `Debug`.
#[derive(Clone)]
pub struct NewKeyText(String);

impl NewKeyText {
    /// The text, to be shown to whoever asked for the key.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NewKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// A key that somebody presented: well-formed, not yet known to be good. It holds the hash and no longer the secret.
#[derive(Debug, Clone)]
pub struct PresentedKey {
    environment: EnvironmentName,
    id: String,
    hash: KeyHash,
}

impl PresentedKey {
    /// In whose keys to look.
    #[must_use]
    pub fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    /// Which row to look up.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl FromStr for PresentedKey {
    type Err = KeyError;

    /// The order of the checks: length, shape, alphabet, checksum. Text of any length takes no longer than a key.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_KEY_CHARS {
            return Err(KeyError::Malformed);
        }
        let mut parts = text.split('_');
        let (Some(PREFIX), Some(environment), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError::Malformed);
        };
        let environment = environment.parse().map_err(|_| KeyError::Malformed)?;
        let in_alphabet = |text: &str| text.bytes().all(|byte| ALPHABET.contains(&byte));
        let is_whole = id.len() == ID_CHARS && secret.len() == SECRET_CHARS + CHECKSUM_CHARS;
        if !is_whole || !in_alphabet(id) || !in_alphabet(secret) {
            return Err(KeyError::Mistyped);
        }
        let (body, check) = text.split_at_checked(text.len() - CHECKSUM_CHARS).ok_or(KeyError::Malformed)?;
        if checksum(body) != check {
            return Err(KeyError::Mistyped);
        }
        Ok(Self { environment, id: id.to_owned(), hash: KeyHash::of(body) })
    }
}

/// Who is calling: what is left of a key once it was found to be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Where it may do something.
    pub environment: EnvironmentName,
    /// By which key.
    pub key_id: String,
    /// What it may do.
    pub scopes: Scopes,
}

impl Principal {
    /// Whether it may do what takes this scope.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }
}

/// By another hash function than the stored one, so that the two have nothing in common.
fn checksum(body: &str) -> String {
    base32(blake3::hash(body.as_bytes()).as_bytes()).take(CHECKSUM_CHARS).collect()
}

/// The bytes in base32 without padding, five bits a letter.
fn base32(bytes: &[u8]) -> impl Iterator<Item = char> {
    (0..bytes.len() * 8).step_by(5).map(|bit| {
        let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or(0));
        let pair = byte(bit / 8) << 8 | byte(bit / 8 + 1);
        let five = (pair >> (11 - bit % 8)) & 31;
        ALPHABET.get(usize::from(five)).map_or('a', |letter| char::from(*letter))
    })
}

#[cfg(test)]
mod tests;
