//! The HTTP API under attack.

use super::Case;

pub(super) const CASES: &[Case] = &[];
