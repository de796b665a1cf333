//! What is no script: other files, modules, other worlds, features that are off.

use super::{case, component, deployed, refused, with_fields};
use crate::support::{HandWritten, Wit, guest};

#[test]
fn nothing_is_no_component() {
    case("U01", async |ground| {
        refused(ground, Vec::new(), 400, "not-a-component").await;
        vec!["not-a-component"]
    });
}

#[test]
fn other_files_are_no_components() {
    case("U02", async |ground| {
        let before = deployed(ground).await;
        let files: [&[u8]; 7] = [
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
            b"PK\x03\x04\x14\0\0\0\x08\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"\0asm",
            b"\xff\xfe\0\0",
            &[0; 4096],
            b"\0\0\0\0",
        ];
        let mut limits = Vec::new();
        for file in files {
            let code = if file.starts_with(b"\0asm") { "invalid-binary" } else { "not-a-component" };
            refused(ground, file.to_vec(), 400, code).await;
            limits.push(code);
        }
        // What is text is read as a script, and is none.
        for (text, code) in [("hello", "load-failed"), ("<!DOCTYPE html><html></html>", "syntax-error")] {
            refused(ground, text.as_bytes().to_vec(), 422, code).await;
            limits.push(code);
        }
        assert_eq!(deployed(ground).await, before);
        limits
    });
}

#[test]
fn the_text_of_a_component_is_none() {
    case("U03", async |ground| {
        let problem = ground.client.upload_bytes(b"(component (core module))".to_vec(), "").await;
        assert_eq!(problem.status, 400, "{}", problem.text);
        assert_eq!(problem.json()["code"], "not-a-component");
        vec!["not-a-component"]
    });
}

#[test]
fn a_core_module_is_told_what_to_do() {
    case("U04", async |ground| {
        let detail = refused(ground, component("(module)"), 422, "core-module").await;
        assert!(detail.contains("wasm-tools component new"), "{detail}");
        vec!["core-module"]
    });
}

#[test]
fn a_command_is_no_script() {
    case("U08", async |ground| {
        let command = r#"(component
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (component $shim (import "f" (func $f (result (result)))) (export "run" (func $f)))
            (instance $cli (instantiate $shim (with "f" (func $run))))
            (export "wasi:cli/run@0.2.3" (instance $cli)))"#;
        let detail = refused(ground, component(command), 422, "missing-export").await;
        assert!(detail.contains("sync-script") && detail.contains("wasi:cli/run@0.2.3"), "{detail}");
        vec!["missing-export"]
    });
}

#[test]
fn an_export_of_another_type_is_named() {
    case("U09", async |ground| {
        let script = r#"(component
            (core module $m (func (export "describe")) (func (export "run")))
            (core instance $i (instantiate $m))
            (func $describe (canon lift (core func $i "describe")))
            (func $run (canon lift (core func $i "run")))
            (component $shim
                (import "d" (func $d)) (import "r" (func $r))
                (export "describe" (func $d)) (export "run" (func $r)))
            (instance $script (instantiate $shim (with "d" (func $describe)) (with "r" (func $run))))
            (export "terapi:sync/sync-script@0.1.0" (instance $script)))"#;
        let detail = refused(ground, component(script), 422, "type-mismatch").await;
        assert!(detail.contains("describe") || detail.contains("type"), "{detail}");
        vec!["type-mismatch"]
    });
}

#[test]
fn imports_that_nobody_gets_are_all_listed() {
    case("U10", async |ground| {
        let importing = |imports: &[&str]| {
            let imports: Vec<String> = imports.iter().map(|name| format!("(import \"{name}\" (instance))")).collect();
            component(&format!("(component {})", imports.concat()))
        };
        let names = ["evil:x/y", "wasi:nn/graph@0.2.0", "wasi:sockets/tcp@0.2.3", "wasi:http/outgoing-handler@0.2.3"];
        let detail = refused(ground, importing(&names), 422, "forbidden-import").await;
        for name in names {
            assert!(detail.contains(name), "{name} is not in {detail}");
        }
        vec!["forbidden-import"]
    });
}

#[test]
fn a_contract_of_the_future_is_named_with_what_is_spoken() {
    case("U11", async |ground| {
        let script =
            HandWritten { wit: Wit::Replaced(&[("terapi:sync@0.1.0", "terapi:sync@9.0.0")]), ..HandWritten::default() };
        let detail = refused(ground, script.bytes(), 422, "unsupported-version").await;
        assert!(detail.contains("@9.0.0") && detail.contains("terapi:sync@0.1"), "{detail}");
        vec!["unsupported-version"]
    });
}

#[test]
fn features_that_are_off_are_named_and_memory_is_checked_at_upload() {
    case("U21", async |ground| {
        let features = [
            ("(memory i64 1)", "64"),
            ("(memory 1 1 shared)", "thread"),
            ("(memory 1 (pagesize 1))", "page size"),
            ("(type (struct (field i32)))", "gc"),
            ("(tag)", "exception"),
            ("(type $f (func)) (type (cont $f))", "stack switching"),
        ];
        let mut limits = Vec::new();
        for (fields, named) in features {
            let bytes = component(&format!("(component (core module {fields}))"));
            let detail = refused(ground, bytes, 422, "feature-off").await;
            assert!(detail.to_lowercase().contains(named), "{fields}: {detail}");
            limits.push("feature-off");
        }
        for fields in ["(memory $other 65536)", "(memory $a 500) (memory $b 600)"] {
            let detail = refused(ground, with_fields(fields), 422, "memory-limit").await;
            assert!(detail.contains("64 MiB"), "{detail}");
            limits.push("memory-limit");
        }
        limits
    });
}

#[test]
fn names_are_letters_digits_and_hyphens() {
    case("U30", async |ground| {
        let before = deployed(ground).await;
        let long = "a".repeat(300);
        let names = ["../../etc/x", "a\0b", &long, "CON", "g\u{456}thub", "-a", "", "a/b", "a%2fb", "a b", "é"];
        for name in names {
            let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
            let answer = ground.client.upload_bytes(guest("mirror"), &format!("name={name}")).await;
            assert_eq!(answer.status, 400, "{name}: {}", answer.text);
        }
        assert_eq!(deployed(ground).await, before);
        Vec::new()
    });
}
