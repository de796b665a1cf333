//! Keys of the catalog. One sled tree; the first byte says which kind. Names contain no zero byte, so zero ends them;
//! integers are big-endian, so that key order is number order. All but `b` and `p` stand in the log as they are here.
//!
//! | key | value |
//! |---|---|
//! | `S` connection 0 model 0 variant | stream row: the number of its generation, and of the one being built |
//! | `c` | the last stream number given out: u32 |
//! | `d` stream | never there: its removal in a frame says that this generation is gone, with all its extents |
//! | `h` stream | head: last sequence, next record number, live records |
//! | `x` stream | horizons: up to where retention pruned |
//! | `o` | retention: JSON |
//! | `g` | the number of the last group: u64 |
//! | `b` stream first-sequence | extent row: place in the log, which sequences are dead |
//! | `y` connection 0 script 0 variant | sync row: JSON |
//! | `t` connection 0 script 0 variant 0 model | account of deletes, saved with a checkpoint: roaring bitmap |
//! | `n` connection | metadata: JSON |
//! | `s` name | script, its active version: JSON |
//! | `v` name 0 u32 | script, a version: JSON |
//! | `D` kind key | document of the service: JSON |
//! | `r` run id | run: JSON |
//! | `a` run id | (empty) the run is active |
//! | `q` connection 0 script 0 variant 0 run id | (empty) a run of this sync or action |
//! | `e` run id | trace of its requests: JSON |
//! | `l` run id, u32 | lines of its log: JSON array |
//! | `p` | what the index stands for |

use super::places::Key;
use crate::ids::{ConnectionName, RunId, ScriptName, StreamKey, SyncKey};
use crate::store::DocumentKind;

fn join(kind: u8, parts: &[&str]) -> Vec<u8> {
    let mut key = vec![kind];
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            key.push(0);
        }
        key.extend_from_slice(part.as_bytes());
    }
    key
}

fn numbered(kind: u8, stream: u32, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(5 + rest.len());
    key.push(kind);
    key.extend_from_slice(&stream.to_be_bytes());
    key.extend_from_slice(rest);
    key
}

pub(super) const ALL_STREAMS: (&[u8], &[u8]) = (b"S", b"T");
pub(super) const ALL_SCRIPTS: (&[u8], &[u8]) = (b"s", b"t");
pub(super) const ALL_VERSIONS: (&[u8], &[u8]) = (b"v", b"w");
pub(super) const ALL_RUNS: (&[u8], &[u8]) = (b"r", b"s");
pub(super) const ACTIVE_RUNS: (&[u8], &[u8]) = (b"a", b"b");

pub(super) fn stream(key: &StreamKey) -> Vec<u8> {
    join(b'S', &[key.connection.as_str(), key.model.as_str(), key.variant.as_str()])
}

/// The streams of a connection.
pub(super) fn streams_of(connection: &ConnectionName) -> (Vec<u8>, Vec<u8>) {
    let prefix = join(b'S', &[connection.as_str(), ""]);
    (prefix.clone(), after(prefix))
}

/// The stream that a key of [`ALL_STREAMS`] names.
pub(super) fn parse_stream(key: &[u8]) -> Option<StreamKey> {
    let text = std::str::from_utf8(key.strip_prefix(b"S")?).ok()?;
    let mut parts = text.split('\0');
    Some(StreamKey {
        connection: parts.next()?.parse().ok()?,
        model: parts.next()?.parse().ok()?,
        variant: parts.next()?.parse().ok()?,
    })
}

pub(super) fn head(stream: u32) -> Vec<u8> {
    numbered(b'h', stream, &[])
}

pub(super) const STREAM_COUNTER: &[u8] = b"c";
pub(super) const RETENTION: &[u8] = b"o";
pub(super) const GROUP: &[u8] = b"g";
pub(super) const ALL_EXTENTS: (&[u8], &[u8]) = (b"b", b"c");

pub(super) fn dead_stream(stream: u32) -> Vec<u8> {
    numbered(b'd', stream, &[])
}

/// The generation that a row of a frame says is gone.
pub(super) fn parse_dead_stream(key: &[u8]) -> Option<u32> {
    if key.first() == Some(&b'd') && key.len() == 5 { number(key) } else { None }
}

pub(super) fn horizons(stream: u32) -> Vec<u8> {
    numbered(b'x', stream, &[])
}

/// The stream number after the first byte of a key.
pub(super) fn number(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*key.get(1..)?.first_chunk()?))
}

/// All places of a stream, the upper bound excluded.
pub(super) fn place_range(stream: u32) -> (Key, Option<Key>) {
    let first = |stream: u32| {
        let mut key = Key::default();
        key[..4].copy_from_slice(&stream.to_be_bytes());
        key
    };
    (first(stream), stream.checked_add(1).map(first))
}

/// The place of a listing by places, as text, and back: only one of this stream.
pub(super) fn place_token(key: &Key) -> String {
    key.iter().fold(String::with_capacity(2 * key.len()), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn parse_place_token(stream: u32, token: &str) -> Option<Key> {
    let mut key = Key::default();
    if token.len() != 2 * key.len() || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(token.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    key.starts_with(&stream.to_be_bytes()).then_some(key)
}

pub(super) fn extent(stream: u32, first: u64) -> Vec<u8> {
    numbered(b'b', stream, &first.to_be_bytes())
}

/// All extent rows of a stream.
pub(super) fn extent_range(stream: u32) -> (Vec<u8>, Vec<u8>) {
    (numbered(b'b', stream, &[]), after(numbered(b'b', stream, &[])))
}

pub(super) fn extent_first(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(5..)?.try_into().ok()?))
}

pub(super) fn sync(key: &SyncKey) -> Vec<u8> {
    join(b'y', &[key.connection.as_str(), key.script.as_str(), key.variant.as_str()])
}

pub(super) fn account(key: &SyncKey, model: &str) -> Vec<u8> {
    join(b't', &[key.connection.as_str(), key.script.as_str(), key.variant.as_str(), model])
}

/// All accounts of a sync; the model's name follows the lower bound.
pub(super) fn account_range(key: &SyncKey) -> (Vec<u8>, Vec<u8>) {
    (account(key, ""), after(account(key, "")))
}

pub(super) fn metadata(connection: &ConnectionName) -> Vec<u8> {
    join(b'n', &[connection.as_str()])
}

pub(super) fn script(name: &ScriptName) -> Vec<u8> {
    join(b's', &[name.as_str()])
}

pub(super) fn version(name: &ScriptName, version: u32) -> Vec<u8> {
    [&join(b'v', &[name.as_str(), ""])[..], &version.to_be_bytes()].concat()
}

/// Every version of a script.
pub(super) fn versions(name: &ScriptName) -> (Vec<u8>, Vec<u8>) {
    let prefix = join(b'v', &[name.as_str(), ""]);
    (prefix.clone(), after(prefix))
}

pub(super) fn document(kind: DocumentKind, key: &str) -> Vec<u8> {
    [&[b'D', kind.tag()], key.as_bytes()].concat()
}

/// The runs of a sync or an action, in order.
pub(super) fn runs_of(key: &SyncKey) -> (Vec<u8>, Vec<u8>) {
    let prefix = join(b'q', &[key.connection.as_str(), key.script.as_str(), key.variant.as_str(), ""]);
    (prefix.clone(), after(prefix))
}

/// The runs of a connection, in order within each sync or action.
pub(super) fn runs_of_connection(connection: &ConnectionName) -> (Vec<u8>, Vec<u8>) {
    let prefix = join(b'q', &[connection.as_str(), ""]);
    (prefix.clone(), after(prefix))
}

pub(super) fn run_of(key: &SyncKey, id: RunId) -> Vec<u8> {
    [&runs_of(key).0[..], id.as_bytes()].concat()
}

/// The run at the end of a key of [`runs_of`].
pub(super) fn parse_run_of(key: &[u8]) -> Option<RunId> {
    key.last_chunk::<16>().map(|bytes| RunId::from_bytes(*bytes))
}

pub(super) fn trace(id: RunId) -> Vec<u8> {
    [b"e", &id.as_bytes()[..]].concat()
}

/// What syncs of a connection remember.
pub(super) fn syncs_of(connection: &ConnectionName) -> (Vec<u8>, Vec<u8>) {
    let prefix = join(b'y', &[connection.as_str(), ""]);
    (prefix.clone(), after(prefix))
}

/// Accounts of a connection's syncs.
pub(super) fn accounts_of(connection: &ConnectionName) -> (Vec<u8>, Vec<u8>) {
    let prefix = join(b't', &[connection.as_str(), ""]);
    (prefix.clone(), after(prefix))
}

pub(super) fn run(id: RunId) -> Vec<u8> {
    [b"r", &id.as_bytes()[..]].concat()
}

pub(super) fn active(id: RunId) -> Vec<u8> {
    [b"a", &id.as_bytes()[..]].concat()
}

pub(super) fn log(id: RunId, chunk: u32) -> Vec<u8> {
    [b"l", &id.as_bytes()[..], &chunk.to_be_bytes()].concat()
}

/// The first key after all that begin with `prefix`. No prefix here ends in nothing but 255s.
pub(super) fn after(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            break;
        }
    }
    prefix
}
