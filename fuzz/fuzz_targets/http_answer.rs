#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| terapi::fuzz::http_answer(bytes));
