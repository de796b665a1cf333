//! Components that nobody wrote: made by a generator, made of good ones by mutation, and those that engines test themselves with.
//! None of them may panic or abort anything.
//!
//! `TERAPI_TEST_COMPONENTS=20000` takes so many instead of 500; `TERAPI_TEST_WASMTIME` names a checkout of wasmtime whose tests are
//! uploaded, too.

use std::path::{Path, PathBuf};

use arbitrary::Unstructured;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::support::{Bench, HandWritten, guest, on_shared_bench};

/// What an upload may be refused with.
const CODES: &[&str] = &[
    "not-a-component",
    "core-module",
    "invalid-binary",
    "feature-off",
    "too-complex",
    "memory-limit",
    "compile-limit",
    "forbidden-import",
    "unsupported-version",
    "missing-export",
    "type-mismatch",
    "describe-limit",
    "describe-failed",
    "bad-manifest",
];

/// Loads it, and runs it if it is a script, under small limits.
async fn try_out(bench: &Bench, what: &str, bytes: Vec<u8>) -> &'static str {
    match bench.runtime.look_at(bytes.into()).await {
        Err(error) => {
            let code = CODES.iter().find(|code| **code == error.code());
            let code = code.unwrap_or_else(|| panic!("{what}: {}: {error}", error.code()));
            assert!(!error.to_string().contains("gave up"), "{what}: the compiler panicked: {error}");
            code
        }
        Ok(script) => {
            let mut execution = bench.execution_of(script, json!({}));
            execution.limits.fuel = 10_000_000;
            execution.limits.memory = 4 << 20;
            execution.limits.timeout = std::time::Duration::from_secs(20);
            if execution.script.manifest.mode.is_some() {
                let ran = bench.sync(execution).await;
                assert_ne!(ran.outcome().code(), "internal", "{what}: {}", ran.outcome().message());
            }
            "accepted"
        }
    }
}

#[test]
fn generated_and_mutated_components_are_refused_or_run_within_limits() {
    super::library_case("U06-smith", || {
        on_shared_bench(async |bench| {
            let count = std::env::var("TERAPI_TEST_COMPONENTS").map_or(500, |count| count.parse().unwrap());
            let originals = [HandWritten::default().bytes(), guest("mirror"), guest("poster")];
            let mut random = rand::rngs::StdRng::seed_from_u64(6);
            let mut codes = std::collections::BTreeMap::<&str, u32>::new();
            for nth in 0..count {
                let bytes = match nth % 4 {
                    0 => generated(&mut random),
                    1 => wrapped(&mut random),
                    _ => Some(mutated(&mut random, &originals)),
                };
                let Some(bytes) = bytes else { continue };
                *codes.entry(try_out(bench, &format!("component {nth} of seed 6"), bytes).await).or_default() += 1;
            }
            let tried: u32 = codes.values().sum();
            assert!(tried > count * 9 / 10, "{tried} of {count} could be made");
            println!("{count} components: {codes:?}");
        });
    });
}

fn noise(random: &mut impl Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes
}

/// A component of a generator.
fn generated(random: &mut impl Rng) -> Option<Vec<u8>> {
    let noise = noise(random, 4_096);
    let component = wasm_smith::Component::new(wasm_smith::Config::default(), &mut Unstructured::new(&noise)).ok()?;
    Some(component.to_bytes())
}

/// A core module of a generator in a component that instantiates it, if it imports nothing.
fn wrapped(random: &mut impl Rng) -> Option<Vec<u8>> {
    let noise = noise(random, 4_096);
    let config = wasm_smith::Config { max_imports: 0, allow_start_export: true, ..wasm_smith::Config::default() };
    let module = wasm_smith::Module::new(config, &mut Unstructured::new(&noise)).ok()?.to_bytes();
    let text = "(component (core module $m) (core instance (instantiate $m)))";
    let whole = wat::parse_str(text).unwrap();
    // The module of nothing is eight bytes, its section two more; in their place goes the generated one.
    let at = whole.windows(8).rposition(|window| window == b"\0asm\x01\0\0\0").unwrap();
    let mut length = module.len();
    let mut section = vec![1];
    loop {
        let seven = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        if length == 0 {
            section.push(seven);
            break;
        }
        section.push(seven | 0x80);
    }
    Some([&whole[..at - 2], &section, &module, &whole[at + 8..]].concat())
}

/// A good component with some of its bytes changed, taken out, doubled, or put elsewhere.
fn mutated(random: &mut impl Rng, originals: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = originals[random.random_range(0..originals.len())].clone();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(8..bytes.len());
        let length = random.random_range(1..=64.min(bytes.len() - at));
        match random.random_range(0..5) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let copy = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let to = random.random_range(8..bytes.len() - length);
                bytes.copy_within(at..at + length, to);
            }
        }
    }
    bytes
}

#[test]
fn what_engines_test_themselves_with_is_refused_or_runs_within_limits() {
    super::library_case("U26", || {
        let Some(checkout) = std::env::var_os("TERAPI_TEST_WASMTIME") else {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"adversarial upload: U26 had no tests of wasmtime to upload: TERAPI_TEST_WASMTIME names no checkout\n",
            );
            return;
        };
        let mut files = Vec::new();
        wast_files(Path::new(&checkout), &mut files);
        assert!(files.len() > 100, "{} files", files.len());
        on_shared_bench(async |bench| {
            let mut codes = std::collections::BTreeMap::<&str, u32>::new();
            for file in files {
                let text = std::fs::read_to_string(&file).unwrap();
                for bytes in binaries(&text) {
                    *codes.entry(try_out(bench, &file.display().to_string(), bytes).await).or_default() += 1;
                }
            }
            println!("{codes:?}");
        });
    });
}

fn wast_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            wast_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "wast" || ending == "wat") {
            found.push(path);
        }
    }
}

/// Every module and component that stands in a text at the start of a parenthesis, as bytes where it parses. Modules are put into a component.
fn binaries(text: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for word in ["(component", "(module"] {
        for (at, _) in text.match_indices(word) {
            let Some(expression) = balanced(&text[at..]) else { continue };
            let core = expression.replacen("(module", "(core module", 1);
            let whole = if word == "(module" { format!("(component {core})") } else { expression.to_owned() };
            found.extend(wat::parse_str(&whole).ok());
        }
    }
    found
}

/// The text up to the parenthesis that closes the first.
fn balanced(text: &str) -> Option<&str> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return text.get(..=at);
                }
            }
            _ => {}
        }
    }
    None
}
