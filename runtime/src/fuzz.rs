//! What fuzzers throw bytes at: each function takes any bytes, panics if a promise is broken, and returns otherwise.
//!
//! The targets of `cargo fuzz` in `fuzz/` call these, and so does a plain test, over the corpus in `fuzz/corpus` and over
//! mutants of it that follow from a seed. Only with the feature `fuzzing`; nothing of it is in the binary that is shipped.

mod cursor;
mod record_json;

pub use self::cursor::cursor;
pub use self::record_json::record_json;

/// An upload, up to where it would be compiled: whatever is sent, the answer is a script that may be compiled, or a refusal with a
/// code and a message of a size that a person reads.
///
/// # Panics
/// If that is not so.
pub fn upload_scan(bytes: &[u8]) {
    let limits = crate::script::ScanLimits::default();
    let looked_at = crate::script::check_header(bytes).and_then(|()| crate::script::scan(bytes, &limits));
    if let Err(error) = looked_at {
        assert!(!error.code().is_empty() && error.to_string().len() < 1_000, "{error}");
    }
}

/// What a script asks for and what an API redirects to: past the checks there is only what the policy allows.
pub fn url_and_policy(bytes: &[u8]) {
    crate::egress::fuzz::url_and_policy(bytes);
}

/// The headers and the body of an answer: nobody is made to wait for long, no secret comes back, no body is too large.
pub fn http_answer(bytes: &[u8]) {
    crate::egress::fuzz::http_answer(bytes);
}
