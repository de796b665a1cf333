//! Uploads: bytes of strangers, refused with a clear error or run within limits.

use super::{Case, Tested, case};

pub(super) const CASES: &[Case] = &[Case("U01", Tested::Here)];

#[test]
fn nothing_is_no_component() {
    case("U01", async |ground| {
        ground.client.upload_bytes(Vec::new(), "").await.problem(422, "not-a-component");
        vec!["not-a-component"]
    });
}
