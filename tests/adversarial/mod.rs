//! What strangers do to Terapi, and what each gets: a case a test, by area. After each case the same must hold: see `ground`.
//!
//! Each area lists its cases in `CASES`: where a case is tested, or why it is not. When all tests are over, a line says of each area
//! how many there are, how many passed, and which were left out with the reason. `cargo test adversarial` runs only these.

mod api;
mod egress;
mod ground;
mod guest;
mod matrix;
mod sched;
mod store;
mod upload;

use self::ground::{Ground, case, library_case, prepared_case};
use self::matrix::{Case, Tested};
