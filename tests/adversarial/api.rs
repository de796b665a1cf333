//! The HTTP API under attack.
//!
//! | module | who attacks |
//! |---|---|
//! | `access` | who has no key, a wrong one, or one that was good until just now |
//! | `bodies` | bodies that are too large, too many, or JSON that is not what it seems |
//! | `framing` | requests of HTTP/1 that can be read in two ways |
//! | `http2` | floods of HTTP/2, in frames written by hand |
//! | `reading` | forged cursors, names, methods, lists |
//! | `slow` | slow and idle clients, and too many of them |
//! | `raw` | what they have in common |

mod access;
mod bodies;
mod framing;
mod http2;
mod raw;
mod reading;
mod slow;

use super::{Case, Tested};

pub(super) const CASES: &[Case] = &[
    Case("A01", Tested::Here),
    Case("A02", Tested::Here),
    Case("A03", Tested::Here),
    Case(
        "A04",
        Tested::Elsewhere(&[
            ("tests/service/isolation.rs", "a_key_of_another_environment_sees_nothing_and_changes_nothing"),
            ("tests/service/isolation.rs", "a_key_without_the_scope_is_refused_and_one_with_it_is_not"),
        ]),
    ),
    Case("A06", Tested::Here),
    Case("A07", Tested::Here),
    Case("A09", Tested::Here),
    Case("A10", Tested::Here),
    Case("A11", Tested::Here),
    Case("A12", Tested::Here),
    Case("A13", Tested::Here),
    Case("A16", Tested::Here),
    Case("A18", Tested::Here),
    Case("A19", Tested::Here),
];
