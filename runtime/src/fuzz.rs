//! What fuzzers throw bytes at: each function takes any bytes, panics if a promise is broken, and returns otherwise.
//!
//! The targets of `cargo fuzz` in `fuzz/` call these, and so does a plain test, over the corpus in `fuzz/corpus` and over
//! mutants of it that follow from a seed. Only with the feature `fuzzing`; nothing of it is in the binary that is shipped.
