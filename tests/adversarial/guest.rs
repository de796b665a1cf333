//! Running guests: whatever a guest does, the process and its neighbors live.

use super::Case;

pub(super) const CASES: &[Case] = &[];
