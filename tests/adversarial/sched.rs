//! Scheduling: nobody starves, nothing runs twice, poison is set aside.

mod poison;

use super::{Case, Tested, library_case};

pub(super) const CASES: &[Case] = &[Case("S05", Tested::Here)];
