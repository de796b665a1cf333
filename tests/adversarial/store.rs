//! Store and durability: what must hold whatever the disk, the power and other processes do.

use super::Case;

pub(super) const CASES: &[Case] = &[];
