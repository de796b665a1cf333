//! Keys of the index. One sled tree; the first byte says which kind. Names contain no zero byte, so zero ends them;
//! integers are big-endian, so that key order is number order.
//!
//! | key | value |
//! |---|---|
//! | `S` connection 0 model 0 variant | stream number: u32 |
//! | `h` stream | head: next sequence, next record number, live records |
//! | `i` stream id | index entry: sequence, block, record number, digests |
//! | `b` stream first-sequence | block row: place in the log, which entries are dead |
//! | `y` connection 0 script 0 variant | sync row: JSON |
//! | `t` connection 0 script 0 variant 0 model | account of deletes, saved with a checkpoint: roaring bitmap |
//! | `n` connection | metadata: JSON |
//! | `s` name | script: JSON |
//! | `r` run id | run: JSON |
//! | `a` run id | (empty) the run is active |
//! | `l` run id, u32 | lines of its log: JSON array |
//! | `p` | up to where sled has the log |

use crate::ids::{ConnectionName, RunId, ScriptName, StreamKey, SyncKey};

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
pub(super) const ALL_RUNS: (&[u8], &[u8]) = (b"r", b"s");
pub(super) const ACTIVE_RUNS: (&[u8], &[u8]) = (b"a", b"b");

pub(super) fn stream(key: &StreamKey) -> Vec<u8> {
    join(b'S', &[key.connection.as_str(), key.model.as_str(), key.variant.as_str()])
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

pub(super) fn index(stream: u32, id: &str) -> Vec<u8> {
    numbered(b'i', stream, id.as_bytes())
}

/// All index entries of a stream; the id starts at the sixth byte.
pub(super) fn index_range(stream: u32) -> (Vec<u8>, Vec<u8>) {
    (numbered(b'i', stream, &[]), after(numbered(b'i', stream, &[])))
}

/// The id of an index entry's key.
pub(super) fn index_id(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(5..)?).ok()
}

pub(super) fn block(stream: u32, first: u64) -> Vec<u8> {
    numbered(b'b', stream, &first.to_be_bytes())
}

/// All block rows of a stream.
pub(super) fn block_range(stream: u32) -> (Vec<u8>, Vec<u8>) {
    (numbered(b'b', stream, &[]), after(numbered(b'b', stream, &[])))
}

pub(super) fn block_first(key: &[u8]) -> Option<u64> {
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
