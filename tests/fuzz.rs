//! What fuzzers throw bytes at, as plain tests: over the corpus in `fuzz/corpus`, and over mutants of it that follow from a seed.
//! `TERAPI_TEST_MUTANTS` says how many of them, for a longer look.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::{Rng, SeedableRng};

use crate::support::{HandWritten, guest};

const MUTANTS: u32 = 2_000;

/// Runs the target on its corpus, on `more`, and on mutants of both.
fn fuzz(name: &str, target: impl Fn(&[u8]), more: Vec<Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    let mut corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    corpus.extend(more);
    assert!(!corpus.is_empty(), "{} is empty", folder.display());
    let run = |what: &str, bytes: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
            let kept = std::env::temp_dir().join(format!("terapi-fuzz-{name}"));
            std::fs::write(&kept, bytes).unwrap();
            panic!("{name} broke on {what}: {} ({} bytes: {:?})", kept.display(), bytes.len(), shown(bytes));
        }
    };
    run("nothing", b"");
    for (nth, bytes) in corpus.iter().enumerate() {
        run(&format!("item {nth} of the corpus"), bytes);
    }
    let count = std::env::var("TERAPI_TEST_MUTANTS").map_or(MUTANTS, |count| count.parse().unwrap());
    let mut random = rand::rngs::StdRng::seed_from_u64(2026);
    for nth in 0..count {
        let bytes = mutant(&mut random, &corpus);
        run(&format!("mutant {nth}"), &bytes);
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

/// Changes of the kind that fuzzers make: bits, bytes, interesting values, pieces taken out, doubled, or from another item.
fn mutant(random: &mut impl Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(1..=6) {
        if bytes.is_empty() {
            bytes.push(random.random());
        }
        let at = random.random_range(0..bytes.len());
        let length = random.random_range(1..=32.min(bytes.len() - at));
        match random.random_range(0..8) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = *b"\0\x7f\x80\xff\"\\{}[]%:/@#?.\r\n0-".get(random.random_range(0..20)).unwrap(),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let copy = bytes[at..at + length].repeat(random.random_range(1..4));
                bytes.splice(at..at, copy);
            }
            5 => bytes.truncate(at),
            6 => {
                let other = &corpus[random.random_range(0..corpus.len())];
                if !other.is_empty() {
                    let from = random.random_range(0..other.len());
                    let length = random.random_range(1..=64.min(other.len() - from));
                    bytes.splice(at..at, other[from..from + length].to_vec());
                }
            }
            _ => bytes.insert(at, random.random()),
        }
    }
    bytes
}

#[test]
fn fuzz_upload_scan() {
    fuzz("upload_scan", terapi::fuzz::upload_scan, vec![HandWritten::default().bytes(), guest("mirror")]);
}

#[test]
fn fuzz_url_and_policy() {
    fuzz("url_and_policy", terapi::fuzz::url_and_policy, Vec::new());
}

#[test]
fn fuzz_http_answer() {
    fuzz("http_answer", terapi::fuzz::http_answer, Vec::new());
}

#[test]
fn fuzz_cursor() {
    fuzz("cursor", terapi::fuzz::cursor, Vec::new());
}

#[test]
fn fuzz_record_json() {
    fuzz("record_json", terapi::fuzz::record_json, Vec::new());
}
