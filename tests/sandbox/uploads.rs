//! Uploads of strangers: each is refused with a stable code and a message that names what is wrong, or runs within the
//! limits; nothing of a refused one is stored.

use rand::{Rng, SeedableRng};
use serde_json::json;
use terapi::demo;
use terapi::runtime::Upload;

use crate::support::{Bench, HandWritten, Manifest, Wit, guest, on_shared_bench};

/// Deploys it, expects this code, and returns the message.
pub(super) async fn refused(bench: &Bench, bytes: Vec<u8>, code: &str) -> String {
    let hash = terapi::ids::ScriptHash::of(&bytes);
    let error = match bench.runtime.deploy(bytes, Upload::default()).await {
        Ok(script) => panic!("{} was accepted, {code} was expected", script.name),
        Err(error) => error,
    };
    assert_eq!(error.code(), code, "{error}");
    let kept = bench.runtime.store().scripts().unwrap();
    assert!(kept.iter().all(|script| script.hash != hash), "nothing of it is kept");
    let message = error.to_string();
    assert!(message.len() < 4_000, "{} bytes of message", message.len());
    message
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[test]
fn what_is_no_component_is_named_as_such() {
    on_shared_bench(async |bench| {
        let text = "(component)";
        for bytes in [
            b"".as_slice(),
            b"\0",
            b"\0as",
            text.as_bytes(),
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
            b"PK\x03\x04\x14\0\0\0\x08\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            &[0; 1000],
            &[0xff; 1000],
        ] {
            let message = refused(bench, bytes.to_vec(), "not-a-component").await;
            assert!(
                message.starts_with("this is not a WebAssembly component, nor a script in TypeScript or JavaScript: "),
                "{message}"
            );
        }
    });
}

#[test]
fn a_core_module_is_refused_with_what_to_do() {
    on_shared_bench(async |bench| {
        for module in [component("(module)"), HandWritten::default().module()] {
            let message = refused(bench, module, "core-module").await;
            assert!(message.contains("wasm-tools component new") && message.contains("wasm32-wasip2"), "{message}");
        }
    });
}

#[test]
fn a_script_over_32_mebibytes_is_refused_and_one_of_just_so_many_is_looked_at() {
    on_shared_bench(async |bench| {
        // A custom section of zeros, as long as it takes: id 0, its length in LEB128, a name of no bytes.
        let padded = |total: usize| {
            let mut bytes = HandWritten::default().bytes();
            let room = total - bytes.len() - 1 - 5;
            bytes.push(0);
            bytes.extend((0..5).map(|nth| {
                let seven = u8::try_from(room >> (7 * nth) & 0x7f).unwrap();
                if nth < 4 { seven | 0x80 } else { seven }
            }));
            bytes.resize(total, 0);
            bytes
        };
        let message = refused(bench, padded((32 << 20) + 1), "script-too-large").await;
        assert!(message.contains("33554433") && message.contains("33554432"), "{message}");
        bench.runtime.load(padded(32 << 20)).await.unwrap();
    });
}

#[test]
fn a_header_of_another_version_or_cut_within_it_is_invalid() {
    on_shared_bench(async |bench| {
        for rest in [b"".as_slice(), b"\x0d", b"\x0d\0\x01", b"\x02\0\0\0", b"\x0d\0\x02\0", b"\xff\xff\xff\xff"] {
            let bytes = [b"\0asm".as_slice(), rest].concat();
            refused(bench, bytes, "invalid-binary").await;
        }
    });
}

#[test]
fn a_component_that_is_cut_off_anywhere_is_refused() {
    on_shared_bench(async |bench| {
        let whole = HandWritten::default().bytes();
        bench.runtime.load(whole.clone()).await.unwrap();
        // Every length of a small one, and some of a large one, with those around its ends.
        for length in 8..whole.len() {
            let error = bench.runtime.load(whole[..length].to_vec()).await.err();
            // Custom sections at the end describe and do nothing.
            let Some(error) = error else { continue };
            assert!(
                ["invalid-binary", "missing-export"].contains(&error.code()),
                "{length}: {}: {error}",
                error.code()
            );
        }
        let whole = guest("mirror");
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        for length in (0..60).map(|_| random.random_range(8..whole.len() / 2)) {
            let error = bench.runtime.load(whole[..length].to_vec()).await.err().expect("refused");
            assert_eq!(error.code(), "invalid-binary", "{length}: {error}");
        }
    });
}

#[test]
fn a_component_with_flipped_bits_is_refused_or_runs_within_limits() {
    on_shared_bench(async |bench| {
        let whole = HandWritten {
            imports: r#"
                (import "terapi:sync/records@0.1.0" "batch-save" (func $save (param i32 i32 i32 i32 i32)))
                (import "terapi:sync/log@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32 i32)))
                (import "terapi:sync/state@0.1.0" "checkpoint" (func $checkpoint (param i32)))"#
                .to_owned(),
            fields: r#"
                (table $t 4 funcref) (type $f (func)) (func $g) (elem (table $t) (i32.const 0) func $g $g)
                (global $counter (mut i32) (i32.const 0))
                (data (i32.const 1024) "Thing") (data (i32.const 1032) "a{}")
                (data (i32.const 1040) "\08\04\00\00\01\00\00\00\09\04\00\00\02\00\00\00")"#
                .to_owned(),
            ..HandWritten::run(
                "(call $checkpoint (i32.const 600))
                (call $save (i32.const 1024) (i32.const 5) (i32.const 1040) (i32.const 1) (i32.const 512))
                (loop $again
                    (call_indirect $t (type $f) (i32.and (local.get $i) (i32.const 1)))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (i32.const 50))))
                (call $log (i32.const 1) (i32.const 1024) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 0))",
            )
        }
        .bytes();
        let script = bench.load(whole.clone()).await;
        let ran = bench.sync(bench.execution_of(script, json!({}))).await.succeeded();
        assert_eq!(bench.things(ran.connection()), ["a={}"]);

        let seed = std::env::var("TERAPI_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let (mut accepted, mut codes) = (0, std::collections::BTreeMap::<String, u32>::new());
        for _ in 0..500 {
            let mut bytes = whole.clone();
            for _ in 0..random.random_range(1..=8) {
                let at = random.random_range(8..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
            }
            match bench.runtime.load(bytes).await {
                Err(error) => {
                    assert!(!error.to_string().contains("gave up"), "the compiler panicked, seed {seed}: {error}");
                    *codes.entry(error.code().to_owned()).or_default() += 1;
                }
                Ok(script) => {
                    accepted += 1;
                    let mut execution = bench.execution_of(script, json!({}));
                    execution.limits.fuel = 10_000_000;
                    execution.limits.memory = 4 << 20;
                    let ran = bench.sync(execution).await;
                    assert_ne!(ran.outcome().code(), "internal", "seed {seed}: {}", ran.outcome().message());
                }
            }
        }
        assert!(codes["invalid-binary"] > 50 && accepted > 5, "{accepted} accepted, {codes:?}, seed {seed}");
    });
}

#[test]
fn a_component_that_exports_no_script_is_told_what_it_exports() {
    on_shared_bench(async |bench| {
        let nothing = refused(bench, component("(component)"), "missing-export").await;
        assert!(nothing.contains("terapi:sync/sync-script") && nothing.contains("exports nothing"), "{nothing}");
        let command = component(
            r#"(component
                (core module $m (func (export "run") (result i32) (i32.const 0)))
                (core instance $i (instantiate $m))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $r (export "run" (func $run)))
                (export "wasi:cli/run@0.2.0" (instance $r)))"#,
        );
        let message = refused(bench, command, "missing-export").await;
        assert!(message.contains("it exports wasi:cli/run@0.2.0"), "{message}");
    });
}

#[test]
fn an_export_that_is_no_instance_or_lacks_its_functions_or_has_others_does_not_fit() {
    on_shared_bench(async |bench| {
        for text in [
            // Not an instance.
            r#"(component
                (core module $m (func (export "f")))
                (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f")))
                (export "terapi:sync/sync-script@0.1.0" (func $f)))"#,
            // An empty one.
            r#"(component (instance $i) (export "terapi:sync/sync-script@0.1.0" (instance $i)))"#,
            r#"(component (instance $i) (export "terapi:sync/action-script@0.1.0" (instance $i)))"#,
            // Functions of other types.
            r#"(component
                (core module $m (func (export "f")))
                (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f")))
                (instance $s (export "describe" (func $f)) (export "run" (func $f)))
                (export "terapi:sync/sync-script@0.1.0" (instance $s)))"#,
        ] {
            refused(bench, component(text), "type-mismatch").await;
        }
        let other_run = HandWritten {
            wit: Wit::Replaced(&[(
                "run: func(context: context) -> result<_, failure>;",
                "run: func(context: context) -> result<_, context>;",
            )]),
            ..HandWritten::default()
        };
        let message = refused(bench, other_run.bytes(), "type-mismatch").await;
        assert!(message.contains("run"), "{message}");
        let other_manifest = HandWritten {
            wit: Wit::Replaced(&[("frequency: option<string>,", "frequency: option<u64>,")]),
            ..HandWritten::default()
        };
        let message = refused(bench, other_manifest.bytes(), "type-mismatch").await;
        assert!(message.contains("describe"), "{message}");
    });
}

#[test]
fn an_import_of_the_contract_with_another_type_does_not_fit() {
    on_shared_bench(async |bench| {
        let text = r#"(component
            (import "terapi:sync/state@0.1.0" (instance (export "last-sync-date" (func (result string))))))"#;
        // It has no export either, but what it has is looked at first.
        let message = refused(bench, component(text), "missing-export").await;
        assert!(message.contains("sync-script"), "{message}");
        let script = HandWritten {
            wit: Wit::Replaced(&[(
                "last-sync-date: func() -> option<timestamp>;",
                "last-sync-date: func() -> timestamp;",
            )]),
            imports: r#"(import "terapi:sync/state@0.1.0" "last-sync-date" (func (result i64)))"#.to_owned(),
            ..HandWritten::default()
        };
        let message = refused(bench, script.bytes(), "type-mismatch").await;
        assert!(message.contains("terapi:sync/state") && message.contains("last-sync-date"), "{message}");
        let script = HandWritten {
            wit: Wit::Replaced(&[("last-sync-date: func()", "next-sync-date: func()")]),
            imports: r#"(import "terapi:sync/state@0.1.0" "next-sync-date" (func (param i32)))"#.to_owned(),
            ..HandWritten::default()
        };
        let message = refused(bench, script.bytes(), "type-mismatch").await;
        assert!(message.contains("next-sync-date"), "{message}");
    });
}

#[test]
fn forbidden_imports_are_all_named() {
    on_shared_bench(async |bench| {
        let text = r#"(component
            (import "evil:x/y" (instance))
            (import "evil:x/z@1.0.0" (instance))
            (import "wasi:sockets/tcp@0.2.0" (instance))
            (import "wasi:http/outgoing-handler@0.2.0" (instance))
            (import "wasi:nn/tensor@0.2.0" (instance))
            (import "wasi:cli/environment@0.3.0" (instance))
            (import "wasi:cli/environment" (instance))
            (import "wasi:clocks/wall-clock@0.2.0" (instance))
            (import "terapi:sync/secrets@0.1.0" (instance))
            (import "terapi:sync/http@0.1.0" (instance))
            (import "plain" (func)))"#;
        let message = refused(bench, component(text), "forbidden-import").await;
        for named in [
            "evil:x/y",
            "evil:x/z@1.0.0",
            "wasi:sockets/tcp@0.2.0",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:nn/tensor@0.2.0",
            "wasi:cli/environment@0.3.0",
            "terapi:sync/secrets@0.1.0",
            "plain",
        ] {
            assert!(message.contains(named), "{named}: {message}");
        }
        assert!(!message.contains("wall-clock") && !message.contains("terapi:sync/http@0.1.0"), "{message}");
    });
}

#[test]
fn a_contract_of_the_future_is_named_with_what_is_spoken_here() {
    on_shared_bench(async |bench| {
        for (text, named) in [
            (r#"(component (import "terapi:sync/http@9.0.0" (instance)))"#, "terapi:sync/http@9.0.0"),
            (r#"(component (import "terapi:sync/http@0.2.0" (instance)))"#, "terapi:sync/http@0.2.0"),
            (
                r#"(component (instance $i) (export "terapi:sync/sync-script@9.0.0" (instance $i)))"#,
                "terapi:sync/sync-script@9.0.0",
            ),
        ] {
            let message = refused(bench, component(text), "unsupported-version").await;
            assert!(message.contains(named) && message.contains("speaks terapi:sync@0.1"), "{message}");
        }
        let whole =
            HandWritten { wit: Wit::Replaced(&[("terapi:sync@0.1.0", "terapi:sync@9.0.0")]), ..HandWritten::default() };
        refused(bench, whole.bytes(), "unsupported-version").await;
    });
}

#[test]
fn a_contract_of_a_later_patch_is_spoken() {
    on_shared_bench(async |bench| {
        let script =
            HandWritten { wit: Wit::Replaced(&[("terapi:sync@0.1.0", "terapi:sync@0.1.7")]), ..HandWritten::default() };
        let script = bench.load(script.bytes()).await;
        bench.sync(bench.execution_of(script, json!({}))).await.succeeded();
    });
}

#[test]
fn features_that_are_off_are_named() {
    on_shared_bench(async |bench| {
        for (what, module, named) in [
            ("threads", "(module (memory 1 1 shared))", "thread"),
            ("memory64", "(module (memory i64 1))", "64"),
            ("gc", "(module (type (struct (field i32))))", "gc"),
            ("exceptions", "(module (tag))", "exception"),
            ("custom page sizes", "(module (memory 1 (pagesize 1)))", "page size"),
            (
                "wide arithmetic",
                "(module (func (drop (drop (i64.mul_wide_u (i64.const 1) (i64.const 1))))))",
                "wide arithmetic",
            ),
            ("stack switching", "(module (type $f (func)) (type (cont $f)))", "stack switching"),
        ] {
            let module = module.replacen("(module", "(core module", 1);
            let message = refused(bench, component(&format!("(component {module})")), "feature-off").await;
            assert!(message.to_lowercase().contains(named), "{what}: {message}");
        }
    });
}

#[test]
fn a_memory_or_table_that_is_too_large_from_the_start_is_refused() {
    on_shared_bench(async |bench| {
        // `describe` has 64 MiB; a script that begins with more can never run.
        let large = |pages| HandWritten { pages, ..HandWritten::default() }.bytes();
        bench.runtime.load(large(1_000)).await.unwrap();
        let message = refused(bench, large(1_025), "memory-limit").await;
        assert!(message.contains("64 MiB"), "{message}");
        let fields = |fields: &str| HandWritten { fields: fields.to_owned(), ..HandWritten::default() }.bytes();
        refused(bench, fields("(memory $other 1023)"), "memory-limit").await;
        bench.runtime.load(fields("(memory 1) (memory 1) (memory 1)")).await.unwrap();
        // Of what the engine has no place for, the engine says so.
        for (fields_, code) in [
            ("(memory 65536)", "memory-limit"),
            ("(memory 1) (memory 1) (memory 1) (memory 1)", "too-complex"),
            ("(table 100001 funcref)", "too-complex"),
            ("(table 60000 funcref) (table 60000 funcref)", "too-complex"),
        ] {
            let message = refused(bench, fields(fields_), code).await;
            assert!(message.contains("limit") || message.contains("exceed"), "{message}");
        }
    });
}

#[test]
fn a_script_that_misbehaves_only_when_it_runs_is_accepted_and_then_stopped() {
    on_shared_bench(async |bench| {
        let script = bench.load(HandWritten::run("(loop $again (br $again))").bytes()).await;
        for _ in 0..2 {
            let mut execution = bench.execution_of(script.clone(), json!({}));
            execution.limits.fuel = 1_000_000;
            assert_eq!(bench.sync(execution).await.outcome().code(), "out-of-fuel");
        }
    });
}

#[test]
fn the_memory_of_one_run_is_not_seen_by_the_next() {
    on_shared_bench(async |bench| {
        // It traps if a byte that it writes at its end is there at its start, or if what it grows is not zero.
        let script = HandWritten {
            fields: "(table $t 2 funcref) (global $g (mut i32) (i32.const 0)) (func $f) (elem declare func $f)"
                .to_owned(),
            ..HandWritten::run(
                "(if (i32.load (i32.const 600)) (then unreachable))
                (if (global.get $g) (then unreachable))
                (if (i32.eqz (ref.is_null (table.get $t (i32.const 1)))) (then unreachable))
                (local.set $i (i32.mul (memory.grow (i32.const 64)) (i32.const 65536)))
                (loop $again
                    (if (i32.load (local.get $i)) (then unreachable))
                    (i32.store (local.get $i) (i32.const -1))
                    (local.set $i (i32.add (local.get $i) (i32.const 4096)))
                    (local.set $j (i32.add (local.get $j) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $j) (i32.const 1024))))
                (i32.store (i32.const 600) (i32.const 1))
                (global.set $g (i32.const 1))
                (table.set $t (i32.const 1) (ref.func $f))",
            )
        };
        let script = bench.load(script.bytes()).await;
        for _ in 0..40 {
            bench.sync(bench.execution_of(script.clone(), json!({}))).await.succeeded();
        }
    });
}

#[test]
fn every_example_script_is_accepted_and_deployed_under_its_name() {
    on_shared_bench(async |bench| {
        for (name, bytes) in demo::SCRIPTS {
            let script = bench.runtime.deploy(bytes.to_vec(), Upload::default()).await.unwrap();
            assert_eq!(script.name.as_str(), *name);
            let (loaded, _) = bench.runtime.deployed(&script.name).await.unwrap();
            assert_eq!(loaded.hash, script.hash);
            bench.runtime.store().remove_script(&script.name).unwrap();
        }
    });
}

#[test]
fn uploads_at_once_do_not_mix_up() {
    on_shared_bench(async |bench| {
        let scripts = (0..12).map(|nth| {
            let name = format!("script-{nth}");
            let manifest = Manifest { name: name.clone().into_bytes(), ..Manifest::default() };
            let bytes = HandWritten { manifest, ..HandWritten::default() }.bytes();
            async move { (name, bench.runtime.load(bytes).await.unwrap()) }
        });
        for (name, script) in futures_util::future::join_all(scripts).await {
            assert_eq!(script.manifest.name.as_str(), name);
        }
    });
}
