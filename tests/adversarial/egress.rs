//! Egress: nothing leaves through a door that was not opened.

use super::Case;

pub(super) const CASES: &[Case] = &[];
