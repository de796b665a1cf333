//! Cursors: opaque places in a stream's feed.
//!
//! Inside, 29 bytes in base64url: version, the store's epoch, the stream's number, the sequence read up to, and a keyed
//! checksum over these and the stream's name. So a cursor of another stream, another store, or one with a flipped bit
//! is told from a good one, and one from before a restore (another epoch) from a damaged one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::StoreError;
use crate::ids::StreamKey;

const VERSION: u8 = 1;
const BODY_BYTES: usize = 21;

/// What it takes to make and check cursors: a store's secret and the epoch of its present history.
#[derive(Debug, Clone)]
pub struct CursorKey {
    /// Random, made once a store.
    pub secret: [u8; 32],
    /// Random, made anew whenever history is replaced.
    pub epoch: [u8; 8],
}

impl CursorKey {
    /// The cursor for having read `stream`, known to the engine as `number`, up to and including `sequence`.
    #[must_use]
    pub fn seal(&self, stream: &StreamKey, number: u32, sequence: u64) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + 8);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.epoch);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&sequence.to_be_bytes());
        let sum = self.sum(stream, &bytes);
        bytes.extend_from_slice(&sum);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The sequence that a cursor of `stream` stands for; `number` and `last` are the stream's number and last
    /// sequence now.
    pub fn open(&self, cursor: &str, stream: &StreamKey, number: u32, last: u64) -> Result<u64, StoreError> {
        let bad = || StoreError::BadCursor(Box::new(stream.clone()));
        // A good one has 39 characters: do not decode a megabyte to find out that it is none.
        if cursor.len() > 64 {
            return Err(bad());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
        let (body, sum) = bytes.split_at_checked(BODY_BYTES).ok_or_else(bad)?;
        if !bool::from(self.sum(stream, body).ct_eq(sum)) {
            return Err(bad());
        }
        let (version, rest) = body.split_first().ok_or_else(bad)?;
        let (epoch, rest) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        let (of, sequence) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        let sequence = u64::from_be_bytes(sequence.try_into().map_err(|_| bad())?);
        if *version != VERSION {
            return Err(bad());
        }
        // A stream that did not exist when it was read has number 0: its reader has seen nothing yet.
        if *epoch == self.epoch && *of == [0; 4] && sequence == 0 {
            return Ok(0);
        }
        // Ours, but of a history that is gone: an older epoch, a stream that was cleared and made anew, or a place
        // that this history has not reached.
        if *epoch != self.epoch || u32::from_be_bytes(*of) != number || sequence > last {
            return Err(StoreError::LostHistory(Box::new(stream.clone())));
        }
        Ok(sequence)
    }

    fn sum(&self, stream: &StreamKey, body: &[u8]) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for name in [stream.connection.as_str(), stream.model.as_str(), stream.variant.as_str()] {
            hasher.update(name.as_bytes()).update(&[0]);
        }
        let mut sum = [0; 8];
        hasher.update(body).finalize_xof().fill(&mut sum);
        sum
    }
}
