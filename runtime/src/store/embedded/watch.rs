//! Who waits for changes of a stream is told when there may be some.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::watch;

use super::lock;
use crate::ids::StreamKey;

/// Streams for which nobody waits any more are looked for when there are so many.
const TIDY_AT: usize = 1_024;

#[derive(Default)]
pub(super) struct Watched {
    streams: Mutex<HashMap<StreamKey, watch::Sender<u64>>>,
}

impl Watched {
    pub(super) fn watch(&self, stream: &StreamKey) -> watch::Receiver<u64> {
        let mut streams = lock(&self.streams);
        if streams.len() >= TIDY_AT {
            streams.retain(|_, sender| sender.receiver_count() > 0);
        }
        streams.entry(stream.clone()).or_default().subscribe()
    }

    /// Called after what changed can be read.
    pub(super) fn tell<'a>(&self, changed: impl Iterator<Item = &'a StreamKey>) {
        let streams = lock(&self.streams);
        if streams.is_empty() {
            return;
        }
        for sender in changed.filter_map(|stream| streams.get(stream)) {
            sender.send_modify(|version| *version += 1);
        }
    }
}
