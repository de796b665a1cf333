//! What egress refuses a run, told to the operator: once for each code, however often the script asks.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::egress::EgressError;
use crate::ids::{ConnectionName, RunId};
use crate::incident;

/// What was told of one run.
pub(in crate::sandbox) struct Refusals {
    place: String,
    told: Mutex<BTreeSet<&'static str>>,
}

impl Refusals {
    pub(in crate::sandbox) fn new(run: RunId, connection: &ConnectionName) -> Self {
        Self { place: format!("run {run} of connection {connection}"), told: Mutex::default() }
    }

    /// Tells of an error that is a limit's, unless another of its code was told before.
    pub(super) fn tell(&self, error: &EgressError) {
        let Some(limit) = error.limit() else { return };
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(limit) {
            incident::report(limit, &self.place, error);
        }
    }
}
