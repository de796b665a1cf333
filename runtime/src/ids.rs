//! Names and ids, each its own type, so that none is taken for another.
//!
//! Every name that comes from outside is checked once, here, when it is parsed; past this module a name is known to be
//! good. No name is ever part of a file path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moments between `earlier` and this one, in milliseconds; 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(time) => write!(f, "{time:.3}"),
            None => write!(f, "{} ms after 1970", self.0),
        }
    }
}

/// A moment as people and other programs write it: RFC 3339, such as `2026-01-02T03:04:05.678Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Time(pub Timestamp);

impl FromStr for Time {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let moment = text.parse::<jiff::Timestamp>().ok();
        let ms = moment.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
        ms.map(|ms| Self(Timestamp(ms))).ok_or_else(|| BadName {
            kind: "time",
            given: text.chars().take(80).collect(),
            rule: "use RFC 3339 from 1970 on, such as 2026-01-02T03:04:05Z",
        })
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A name that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {given:?} is not acceptable: {rule}")]
pub struct BadName {
    kind: &'static str,
    given: String,
    rule: &'static str,
}

impl BadName {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "bad-name"
    }
}

/// Lower-case names: `[a-z0-9][a-z0-9-]{0,62}`, the host-name label's alphabet, so that they fit URLs and file names.
fn is_label(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.is_empty()
}

/// Names of other people's things (accounts, workspaces), which come in many spellings: `[A-Za-z0-9._@+-]{1,128}`.
fn is_account(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b))
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

/// Model names: `[A-Za-z][A-Za-z0-9_-]{0,63}`, what GraphQL, JSON Schema and TypeScript all take as a type's name.
fn is_model(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:path, $pattern:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[schema(value_type = String, pattern = $pattern)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    let given = text.chars().take(80).collect();
                    Err(BadName { kind: $kind, given, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of an environment: integrations, connections, scripts, records and keys of one know nothing of another's.
    EnvironmentName,
    "environment name",
    is_label,
    "^[a-z0-9][a-z0-9-]{0,62}$",
    "use 1 to 63 of a-z, 0-9 and -, a letter or digit first"
);
name!(
    /// The name of an integration: one external API as the operator configured it.
    IntegrationName,
    "integration name",
    is_label,
    "^[a-z0-9][a-z0-9-]{0,62}$",
    "use 1 to 63 of a-z, 0-9 and -, a letter or digit first"
);
name!(
    /// The name under which a script is deployed.
    ScriptName,
    "script name",
    is_label,
    "^[a-z0-9][a-z0-9-]{0,62}$",
    "use 1 to 63 of a-z, 0-9 and -, a letter or digit first"
);
name!(
    /// The name of a connection: one account at an external system.
    ConnectionName,
    "connection name",
    is_account,
    "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$",
    "use 1 to 128 of A-Z, a-z, 0-9 and . _ @ + -"
);
name!(
    /// Which of several syncs of one script on one connection.
    Variant,
    "variant",
    is_label,
    "^[a-z0-9][a-z0-9-]{0,62}$",
    "use 1 to 63 of a-z, 0-9 and -, a letter or digit first"
);
name!(
    /// The name of a model.
    ModelName,
    "model name",
    is_model,
    "^[A-Za-z][A-Za-z0-9_-]{0,63}$",
    "use 1 to 64 of A-Z, a-z, 0-9, _ and -, a letter first"
);

impl Default for EnvironmentName {
    /// `default`: the one environment that every data directory has.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl Default for Variant {
    /// `base`: the one variant that every sync has unless the operator makes more.
    fn default() -> Self {
        Self("base".to_owned())
    }
}

/// The SHA-256 of a script's bytes, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScriptHash(String);

impl ScriptHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use std::fmt::Write as _;

        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// A hash that is known, of 64 hexadecimal digits.
    pub(crate) fn known(text: &str) -> Option<Self> {
        let is_digest = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_digest.then(|| Self(text.to_owned()))
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, enough for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ScriptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One run. A UUID version 7 (RFC 9562), so ids sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = "uuid")]
pub struct RunId(uuid::Uuid);

impl RunId {
    /// A new id for a run that starts at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let nanos = u32::try_from((now.0 % 1_000) * 1_000_000).unwrap_or(0);
        Self(uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, now.0 / 1_000, nanos)))
    }

    /// The run with these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// An id that sorts before those of all runs that start at `time` or later.
    #[must_use]
    pub fn first_at(time: Timestamp) -> Self {
        let mut bytes = [0; 16];
        let (head, _) = bytes.split_at_mut(6);
        head.copy_from_slice(&time.0.to_be_bytes()[2..]);
        Self::from_bytes(bytes)
    }

    /// The 16 bytes, which sort by time.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl FromStr for RunId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        uuid::Uuid::parse_str(text).map(Self).map_err(|_| BadName {
            kind: "run id",
            given: text.chars().take(80).collect(),
            rule: "a run id is a UUID, as `terapi runs` prints it",
        })
    }
}

/// The records of one (connection, model, variant).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamKey {
    /// Whose records.
    pub connection: ConnectionName,
    /// Which kind.
    pub model: ModelName,
    /// Of which variant.
    pub variant: Variant,
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.connection, self.model)?;
        if self.variant == Variant::default() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// A sync: a script bound to a connection and a variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SyncKey {
    /// Which script.
    pub script: ScriptName,
    /// On which connection.
    pub connection: ConnectionName,
    /// In which variant.
    pub variant: Variant,
}

impl SyncKey {
    /// The stream of a model that this sync writes to.
    #[must_use]
    pub fn stream(&self, model: &ModelName) -> StreamKey {
        StreamKey { connection: self.connection.clone(), model: model.clone(), variant: self.variant.clone() }
    }
}

impl fmt::Display for SyncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.script, self.connection)?;
        if self.variant == Variant::default() { Ok(()) } else { write!(f, " ({})", self.variant) }
    }
}
