//! Memory for what is no sync's run: actions and requests of the proxy.

use std::sync::Arc;

use super::{Dispatch, lock};

impl Dispatch {
    /// Waits until there is so much memory for what is no sync's run, an action or a request. In the order of asking.
    pub(in crate::runtime) async fn admit(self: &Arc<Self>, memory: u64) -> Admitted {
        let _turn = self.turn.lock().await;
        let waiting = Waiting(self);
        let mut ends = self.ends.subscribe();
        while !lock(&self.planner).take_memory(memory) {
            // The sender is ours.
            let _ = ends.changed().await;
        }
        drop(waiting);
        Admitted { scheduler: Arc::clone(self), memory }
    }
}

/// Memory of what is no sync's run, for as long as that takes.
pub(in crate::runtime) struct Admitted {
    scheduler: Arc<Dispatch>,
    memory: u64,
}

impl Admitted {
    /// Gives back what is beyond so much.
    pub(in crate::runtime) fn keep(&mut self, memory: u64) {
        let rest = self.memory.saturating_sub(memory);
        self.memory -= rest;
        lock(&self.scheduler.planner).give_memory(rest);
        self.scheduler.ends.send_modify(|count| *count += 1);
        self.scheduler.wake.notify_one();
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// Who waits for memory, also if it waits no more.
struct Waiting<'a>(&'a Dispatch);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.planner).yield_no_more();
        self.0.wake.notify_one();
    }
}
