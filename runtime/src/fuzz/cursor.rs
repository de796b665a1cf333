//! Cursors, and the queries that they come in.

use crate::ids::StreamKey;
use crate::store::cursor::CursorKey;

/// A cursor, and the query that it comes in.
///
/// Promises: a text is a cursor only if it is, to the letter, the one that the store would make for this stream and a place that
/// its history has reached; and a query is read or refused.
///
/// # Panics
///
/// If one of them is broken.
pub fn cursor(bytes: &[u8]) {
    const LAST: u64 = 1_000;
    let text = String::from_utf8_lossy(bytes);
    crate::api::read_query(&text);
    let key = CursorKey { secret: [7; 32], epoch: [1; 8] };
    let stream = |connection: &str, model: &str| -> Option<StreamKey> {
        let variant = crate::ids::Variant::default();
        Some(StreamKey { connection: connection.parse().ok()?, model: model.parse().ok()?, variant })
    };
    let (Some(own), Some(other)) = (stream("a", "Item"), stream("b", "Item")) else { return };
    let check = |text: &str| {
        if let Ok(sequence) = key.open(text, &own, 3, LAST) {
            let made = [3, 0].map(|number| key.seal(&own, number, sequence));
            assert!(
                sequence <= LAST && made.iter().any(|made| made == text),
                "{text:?} was taken for a cursor at {sequence}"
            );
        }
    };
    check(&text);
    // One that is good but for what the bytes do to it.
    let (head, rest) = bytes.split_at(bytes.len().min(12));
    let number = |range: std::ops::Range<usize>| {
        head.get(range).unwrap_or_default().iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (sequence, of) = (number(0..8), u32::try_from(number(8..12)).unwrap_or_default());
    for (key, stream) in [
        (&key, &own),
        (&key, &other),
        (&CursorKey { epoch: [2; 8], ..key.clone() }, &own),
        (&CursorKey { secret: [8; 32], ..key.clone() }, &own),
    ] {
        let mut made = key.seal(stream, of, sequence).into_bytes();
        check(&String::from_utf8_lossy(&made));
        for pair in rest.chunks_exact(2) {
            let &[at, with] = pair else { continue };
            let at = usize::from(at) % made.len().max(1);
            if let Some(byte) = made.get_mut(at) {
                *byte ^= with;
            }
        }
        check(&String::from_utf8_lossy(&made));
        made.truncate(rest.len());
        check(&String::from_utf8_lossy(&made));
    }
}
