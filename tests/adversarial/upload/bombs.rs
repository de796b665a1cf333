//! Small files that are much to compile or to start.

use std::fmt::Write as _;

use super::{Ground, case, component, refused, with_fields};
use crate::service::{THREADS, until};

/// A component that instantiates itself two to the power of `levels` times.
pub(super) fn doubling_bomb(levels: usize) -> Vec<u8> {
    let mut text = "(component (component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    for level in 1..=levels {
        let inner = level - 1;
        let _ = write!(
            text,
            "(component $c{level} (alias outer 1 {inner} (component $x)) (instance (instantiate $x)) (instance (instantiate $x)))"
        );
    }
    let _ = write!(text, "(instance (instantiate $c{levels})))");
    component(&text)
}

/// A component of so many functions that do nothing.
pub(super) fn many_functions(count: usize) -> Vec<u8> {
    let leb = |mut value: usize| {
        let mut out = Vec::new();
        loop {
            let seven = u8::try_from(value & 0x7f).unwrap();
            value >>= 7;
            if value == 0 {
                out.push(seven);
                return out;
            }
            out.push(seven | 0x80);
        }
    };
    let section = |id: u8, body: Vec<u8>| [vec![id], leb(body.len()), body].concat();
    // One type, `func`; each function is of it; each body has no locals and an `end`.
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 0, 0]),
        section(3, [leb(count), vec![0; count]].concat()),
        section(10, [leb(count), [2, 0, 0x0b].repeat(count)].concat()),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module)].concat()
}

#[test]
fn a_component_that_doubles_with_each_level_is_refused_by_its_count() {
    case("U14", async |ground| {
        let bomb = doubling_bomb(25);
        assert!(bomb.len() < 2_000, "{} bytes", bomb.len());
        let detail = refused(ground, bomb, 422, "too-complex").await;
        assert!(detail.contains("instances=33554432 limit=1000 (at offset 0x"), "{detail}");
        vec!["too-complex"]
    });
}

#[test]
fn nine_hundred_thousand_functions_are_refused_by_their_count() {
    case("U16", async |ground| {
        let detail = refused(ground, many_functions(900_000), 422, "too-complex").await;
        assert!(detail.contains("functions=900000 limit=50000"), "{detail}");
        vec!["too-complex"]
    });
}

/// What the scan would refuse, with the scan as good as off: the process that compiles it dies, and nothing else does.
fn unscanned(id: &'static str, bytes: Vec<u8>) {
    super::library_case(id, || {
        THREADS.block_on(async {
            let settings = [
                ("TERAPI_UPLOADS_FUNCTIONS", "1000G"),
                ("TERAPI_UPLOADS_INSTANCES", "1000G"),
                ("TERAPI_UPLOADS_COMPILE_TIME", "10s"),
                ("TERAPI_UPLOADS_COMPILE_MEMORY", "512MiB"),
            ];
            let ground = Ground::start(&settings).await;
            ground
                .check(id, async |ground| {
                    let before = ground.memory().await;
                    let detail = refused(ground, bytes, 422, "compile-limit").await;
                    assert!(detail.contains("512 MiB of memory") || detail.contains("10 s of CPU time"), "{detail}");
                    let grown = ground.memory().await.saturating_sub(before);
                    assert!(grown <= 64 << 20, "the host grew by {grown} bytes");
                    vec!["compile-limit"]
                })
                .await;
        });
    });
}

#[test]
fn the_doubling_component_ends_only_its_compiler_if_it_is_not_scanned() {
    unscanned("U14-unscanned", doubling_bomb(25));
}

#[test]
fn nine_hundred_thousand_functions_end_only_their_compiler_if_they_are_not_scanned() {
    unscanned("U16-unscanned", many_functions(900_000));
}

#[test]
fn functions_that_are_much_to_compile_are_refused_or_compiled_within_limits() {
    case("U17", async |ground| {
        let large = format!("(func {})", "(drop (i32.const 1))".repeat(1_600_000));
        let locals = format!("(func (local {}))", "i64 ".repeat(10_001)).repeat(3);
        let targets = format!("(func (block (br_table {} (i32.const 0))))", "0 ".repeat(65_522));
        let nested = format!("(func {} {})", "(block ".repeat(10_001), ")".repeat(10_001));
        let mut limits = Vec::new();
        for (fields, what) in [
            (large, "bytes of a function"),
            (locals, "locals of a function"),
            (targets, "br_table targets of a function"),
            (nested, "blocks within blocks"),
        ] {
            let detail = refused(ground, with_fields(&fields), 422, "too-complex").await;
            assert!(detail.contains(what), "{detail}");
            limits.push("too-complex");
        }
        // Just within: it is compiled, or the compiler says that it is too much.
        let tables = format!("(func {})", "(block (br_table 0 0 0 0 0 0 0 0 0 0 (i32.const 0)))".repeat(7_000));
        let nested = format!("(func {} {})", "(block ".repeat(9_990), ")".repeat(9_990));
        for fields in [tables, nested] {
            let answer = ground.client.upload_bytes(with_fields(&fields), "name=heavy").await;
            if answer.status != 201 {
                answer.problem(422, "compile-limit");
                limits.push("compile-limit");
            }
        }
        limits
    });
}

#[test]
fn what_fills_memory_again_and_again_is_refused_before_it_starts() {
    case("U23", async |ground| {
        // A megabyte of data, put to the same place by each of two hundred instances.
        let data = "x".repeat(1 << 20);
        let instances = "(core instance (instantiate $m))".repeat(200);
        let bytes =
            component(&format!("(component (core module $m (memory 17) (data (i32.const 0) \"{data}\")) {instances})"));
        let answer = ground.client.upload_bytes(bytes, "").await;
        assert_eq!(answer.status, 422, "{}", answer.text);
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        assert!(["memory-limit", "too-complex"].contains(&code.as_str()), "{code}");
        let first = if code == "memory-limit" { "memory-limit" } else { "too-complex" };
        // The same without a memory of their own.
        let bytes = component(&format!(
            "(component
                (core module $h (memory (export \"m\") 17))
                (core instance $h (instantiate $h))
                (core module $m (import \"h\" \"m\" (memory 1)) (data (i32.const 0) \"{data}\"))
                {})",
            "(core instance (instantiate $m (with \"h\" (instance $h))))".repeat(200)
        ));
        let detail = refused(ground, bytes, 422, "too-complex").await;
        assert!(detail.contains("bytes of data"), "{detail}");
        vec![first, "too-complex"]
    });
}

#[test]
fn modules_and_components_are_not_passed_along() {
    case("U-passing", async |ground| {
        let texts = [
            r#"(component (import "m" (core module)))"#,
            r#"(component (import "c" (component)))"#,
            r#"(component (core module $m) (export "m" (core module $m)))"#,
            r#"(component
                (component $holder (core module $m) (export "m" (core module $m)))
                (instance $i (instantiate $holder))
                (alias export $i "m" (core module)))"#,
        ];
        let mut limits = Vec::new();
        for text in texts {
            refused(ground, component(text), 422, "too-complex").await;
            limits.push("too-complex");
        }
        limits
    });
}

#[test]
fn components_within_components_have_an_end() {
    case("U-deep", async |ground| {
        let nested = |depth: usize| component(&format!("{}{}", "(component ".repeat(depth), ")".repeat(depth)));
        let detail = refused(ground, nested(40), 422, "too-complex").await;
        assert!(detail.contains("components within components"), "{detail}");
        vec!["too-complex"]
    });
}

#[test]
fn what_compiles_and_has_no_place_among_instances_is_refused_and_not_our_fault() {
    case("U-place", async |ground| {
        // The state of an instance with so many globals is larger than any that is kept for one.
        let globals = "(global (mut i64) (i64.const 1))".repeat(200_000);
        let answer = ground.client.upload_bytes(with_fields(&globals), "").await;
        answer.problem(400, "invalid-binary");
        let memories = "(memory 1)".repeat(4);
        let detail = refused(ground, with_fields(&memories), 422, "too-complex").await;
        assert!(detail.contains("memories=5 limit=4"), "{detail}");
        vec!["invalid-binary", "too-complex"]
    });
}

#[test]
fn a_refusal_is_read_by_a_person_whatever_names_a_stranger_chose() {
    case("U-names", async |ground| {
        let name = |nth: usize| format!("(import \"evil{nth}:x/{}\" (instance))", "y".repeat(500));
        let imports: Vec<String> = (0..900).map(name).collect();
        let detail =
            refused(ground, component(&format!("(component {})", imports.concat())), 422, "forbidden-import").await;
        assert!(detail.len() < 8_000 && detail.contains("and 850 more"), "{} bytes", detail.len());
        vec!["forbidden-import"]
    });
}

/// Waits until the process has as many children that compile as that.
pub(super) async fn until_compilers(ground: &Ground, what: &str, holds: impl Fn(usize) -> bool) -> Vec<u32> {
    until(what, async || {
        let children = super::children::compilers(ground);
        holds(children.len()).then_some(children)
    })
    .await
}
