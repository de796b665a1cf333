#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::package::Module;
use super::{Source, SourceError, build, imports, is_text};

fn source(modules: &[(&str, &str)]) -> Source {
    let modules = modules.iter().map(|(name, source)| Module { name: (*name).into(), source: (*source).into() });
    Source { modules: modules.collect() }
}

fn built(modules: &[(&str, &str)]) -> Vec<(String, String)> {
    let built = build(&source(modules)).unwrap_or_else(|error| panic!("{error}"));
    built.modules().map(|(name, code)| (name.to_owned(), code.to_owned())).collect()
}

fn code(text: &str) -> String {
    built(&[("script.ts", text)]).remove(0).1
}

fn refused(modules: &[(&str, &str)]) -> SourceError {
    build(&source(modules)).expect_err("it is refused")
}

#[test]
fn types_go_and_imports_that_only_they_used() {
    let text = "import { z } from 'zod';\nimport { NangoSync, Issue } from 'nango';\nimport type { X } from 'nowhere';\n\
                export default async function f(n: NangoSync, i?: Issue): Promise<void> { z.object({}); }\n";
    let code = code(text);
    assert_eq!(code, "import { z } from \"zod\";\nexport default async function f(n, i) {\nz.object({});\n}\n");
}

#[test]
fn enums_namespaces_and_parameter_properties_become_javascript() {
    let code = code(
        "export enum A { B = 1, C }\nexport namespace N { export const x = A.C }\nexport class P { constructor(private y: number) {} }\n\
         export const s = <const T,>(t: T) => t satisfies unknown as any;",
    );
    for part in ["A[A[\"B\"] = 1]", "N.x = ", "this.y = y", "(t) => t"] {
        assert!(code.contains(part), "no {part} in:\n{code}");
    }
}

#[test]
fn imports_name_files_as_people_write_them() {
    let modules = built(&[
        (
            "syncs/issues.ts",
            "import a from './a.js'; import b from '../lib/b'; import c from '../lib'; import d from './d.json' with { type: 'json' };\n\
             export * from './a.ts'; export { x } from '../lib/b.js'; import './side.js';\nawait import('../lib/b.js'); a(b, c, d);",
        ),
        ("syncs/a.ts", "export default 1"),
        (
            "lib/b.ts",
            "import self from './b.js'; import { z } from 'zod/v4'; export const x = [self, z]; export default x",
        ),
        ("lib/index.ts", "export { default } from './b.js'"),
        ("syncs/d.json", "{\"__proto__\": [1, \"\u{2028}</script>\"]}"),
        ("syncs/side.js", "globalThis.x = 1"),
    ]);
    let first = &modules[0].1;
    for part in [
        "import a from \"./a.ts\"",
        "import b from \"../lib/b.ts\"",
        "import c from \"../lib/index.ts\"",
        "import d from \"./d.json\";",
        "export * from \"./a.ts\"",
        "from \"../lib/b.ts\"",
        "import \"./side.js\"",
        "import(\"../lib/b.ts\")",
    ] {
        assert!(first.contains(part), "no {part} in:\n{first}");
    }
    assert!(modules[2].1.contains("from \"./b.ts\"") && modules[2].1.contains("from \"zod\""), "{}", modules[2].1);
    assert!(modules[4].1.starts_with("export default JSON.parse(\"{"), "{}", modules[4].1);
}

#[test]
fn a_syntax_error_shows_file_line_column_and_the_line() {
    let error = refused(&[("a.ts", "import './b.js'"), ("b.ts", "const ä = 1;\r\n\tconst x = { a b };\r\n")]);
    assert_eq!(error.code(), "syntax-error");
    let text = error.to_string();
    assert!(text.starts_with("b.ts:2:16: "), "{text}");
    assert!(text.ends_with("\n  2 |  const x = { a b };\n    |                ^"), "{text}");
    let error = refused(&[("a.ts", "let a = 1;\nlet a = 2;")]);
    assert_eq!(error.code(), "syntax-error", "{error}");
    let error = refused(&[("a.ts", "import x from './d.json'; x()"), ("d.json", "{\n  \"a\": x\n}")]);
    assert!(error.to_string().starts_with("d.json:2:"), "{error}");
}

#[test]
fn an_import_that_leads_nowhere_is_named_with_what_to_do() {
    for (specifier, part) in [
        ("lodash", "bundle it into one file"),
        ("node:fs", "no files"),
        ("node:util", "crypto, buffer and url"),
        ("axios", "terapi.get"),
        ("zod/mini", "from 'zod'"),
        ("./gone.js", "given as one file"),
        ("../up.js", "leads out"),
        ("/etc/passwd", "relative paths"),
        ("https://x.test/a.js", "relative paths"),
        ("\u{202e}x", "\\u{202e}"),
    ] {
        let error = refused(&[("a.ts", &format!("\n import x from '{specifier}';\nx()"))]);
        assert_eq!(error.code(), "unresolved-import", "{error}");
        let text = error.to_string();
        assert!(text.starts_with("a.ts:2:16: ") && text.contains(part), "{specifier}: {text}");
    }
    let error = refused(&[("a.ts", "import x from './gone.js';\nx()"), ("b.ts", "")]);
    assert!(error.to_string().contains("no file of the script has this name"), "{error}");
    let error = refused(&[("a.ts", "await import('left-pad')")]);
    assert_eq!(error.code(), "unresolved-import", "{error}");
}

#[test]
fn what_the_engine_does_not_know_is_refused() {
    for text in ["@a class A {}", "class A { @a m() {} }", "export = 1", "import x = require('x'); x()"] {
        let error = refused(&[("a.ts", text)]);
        assert!(["unsupported-syntax", "syntax-error"].contains(&error.code()), "{text}: {error}");
    }
}

#[test]
fn a_file_that_says_javascript_is_javascript_and_typescript_if_that_fails() {
    let modules =
        built(&[("a.js", "import './b.js'; x = a < b > (c);"), ("b.js", "const x: number = 1; export { x }")]);
    assert!(modules[0].1.contains("a < b > c"), "{}", modules[0].1);
    assert!(modules[1].1.contains("const x = 1"), "{}", modules[1].1);
    let error = refused(&[("a.js", "const x: = 1")]);
    assert!(error.to_string().starts_with("a.js:1:7"), "{error}");
}

#[test]
fn a_package_is_read_and_written() {
    let source = source(&[("syncs/a.ts", "1"), ("lib/b.ts", "2")]);
    let package = String::from_utf8(source.to_package()).unwrap();
    assert_eq!(
        package,
        r#"{"terapi":"source/1","modules":[{"name":"syncs/a.ts","source":"1"},{"name":"lib/b.ts","source":"2"}]}"#
    );
    assert_eq!(Source::read(&package).unwrap(), source);
    assert_eq!(Source::read("\u{feff}x").unwrap().modules[0].source, "x");
    assert_eq!(Source::read("{ terapi: 1 }").unwrap().entry(), "script.ts");
    for (package, part) in [
        (r#"{"terapi":"source/2","modules":[]}"#, "source/2"),
        (r#"{"terapi":"source/1","modules":[]}"#, "no modules"),
        (r#"{"terapi":"source/1"}"#, "modules"),
        (r#"{"terapi":"source/1","modules":[{"name":"a.ts","source":"#, "EOF"),
        (r#"{"terapi":"source/1","modules":[{"name":"a.json","source":"1"}]}"#, "is JSON"),
        (r#"{"terapi":"source/1","modules":[{"name":"a.ts","source":""},{"name":"a.ts","source":""}]}"#, "twice"),
        (r#"{"terapi":"source/1","modules":[{"name":"a.ts","source":"\u0000"}]}"#, "NUL"),
        (r#"{"terapi":"source/1","modules":[{"name":"a.ts","source":"","x":1}]}"#, "unknown field"),
    ] {
        let error = Source::read(package).unwrap_err();
        assert_eq!(error.code(), "bad-source-package");
        assert!(error.to_string().contains(part), "{error}");
    }
    for name in
        ["", "a", "../a.ts", "/a.ts", "a//b.ts", "./a.ts", "a\\b.ts", "a:1.ts", "a.tsx", ".ts", "x/.ts", "a\n.ts"]
    {
        let error = refused(&[(name, "")]);
        assert_eq!(error.code(), "bad-source-package", "{name:?}: {error}");
    }
    let many: Vec<(String, &str)> = (0..257).map(|nth| (format!("m{nth}.ts"), "")).collect();
    let many: Vec<_> = many.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    assert_eq!(refused(&many).code(), "bad-source-package");
    assert_eq!(built(&many[..256]).len(), 256);
    let large = " ".repeat(4 << 20);
    assert_eq!(built(&[("a.ts", &large)]).len(), 1);
    assert_eq!(refused(&[("a.ts", &large), ("b.ts", " ")]).code(), "source-too-large");
}

#[test]
fn only_text_is_taken_for_text() {
    assert!(is_text(b"x") && is_text("ü".as_bytes()));
    for bytes in [b"".as_slice(), b" \n", b"a\0", b"\xff", b"\xc3"] {
        assert!(!is_text(bytes), "{bytes:?}");
    }
}

#[test]
fn a_module_s_own_imports_are_known_once_its_types_are_gone() {
    let text = "import { T } from './types.js'; import { a, type B } from './a.js'; export * from './a.js'; import z from 'zod';\n\
                import('./late.js'); export const x: T = a(z);";
    assert_eq!(imports("x.ts", text).unwrap(), ["./a.js", "zod", "./late.js"]);
}

#[test]
fn places_in_what_was_built_are_found_in_the_source_with_the_line() {
    let text = "interface A {\n  x: number;\n}\n\nexport enum E { A }\nexport function boom(a: A): never {\n  const y: number = a.x;\n  \
                throw new Error(`no ${y}`);\n}\n";
    let built =
        build(&source(&[("lib/boom.ts", text), ("boom.ts", "type T = 1;\nlet x = null as any; x.y.z;")])).unwrap();
    let code = built.modules().next().unwrap().1.to_owned();
    let line = code.lines().position(|line| line.contains("throw")).unwrap() + 1;
    let column = code.lines().nth(line - 1).unwrap().find("new Error").unwrap() + 1;
    let message = format!(
        "Error: no 1\n    at boom (lib/boom.ts:{line}:{column})\n    at <anonymous> (boom.ts:2:1)\n    at native"
    );
    assert_eq!(
        built.explain(&message),
        "Error: no 1\n    at boom (lib/boom.ts:8:9)\n  8 |   throw new Error(`no ${y}`);\n    |         ^\n    at <anonymous> (boom.ts:2:22)\n    at native"
    );
    // What is no place of ours stays, and so does a place that the code does not have.
    for text in [
        "x.ts:1:1",
        "lib/boom.ts",
        "lib/boom.ts:",
        "boom.ts:x",
        "boom.ts:99:1",
        "xboom.ts:1:1",
        "boom.ts:99999999999:1",
        "",
    ] {
        assert_eq!(built.explain(text), text);
    }
    assert_eq!(built.places("./boom.ts:2:1"), "./boom.ts:2:22");
}

#[test]
fn a_name_that_a_module_does_not_export_is_told_where_it_is_imported() {
    let modules = [
        (
            "a/main.ts",
            "import { z } from 'zod';\nimport { x } from 'terapi';\nimport two, { one } from '../b.js';\nz; x; one; two;",
        ),
        ("b.ts", "export { one } from './c.js';"),
        ("c.ts", "export const three = 3;"),
    ];
    let built = build(&source(&modules)).unwrap();
    let told = |text: &str| built.explain_load(text);
    let of_sdk = told("SyntaxError: Could not find export 'x' in module 'terapi:sdk/terapi.js'\n    at native");
    assert_eq!(of_sdk, "a/main.ts:2:10: 'terapi' exports no x\n  2 | import { x } from 'terapi';\n    |          ^");
    assert!(
        told("Could not find export 'default' in module 'b.ts'")
            .starts_with("a/main.ts:3:8: 'b.ts' exports no default")
    );
    assert!(told("Could not find export 'one' in module 'c.ts'").starts_with("b.ts:1:10: 'c.ts' exports no one"));
    for other in ["Could not find export 'y' in module 'c.ts'", "export '", "export 'one' in module '"] {
        assert_eq!(told(other), other);
    }
}

#[test]
fn types_that_are_passed_on_like_values_do_no_harm() {
    let modules = [
        (
            "main.ts",
            "import { Issue, State, make, Both } from './all.js';\nexport const x: Issue = make(State.Open); Both;",
        ),
        (
            "all.ts",
            "export { Issue, State, Both } from './types.js';\nimport { Row } from './types.js';\nexport { Row };\nexport * from './make.js';",
        ),
        (
            "types.ts",
            "export interface Issue { a: 1 }\nexport enum State { Open }\ntype Row = 1;\nexport { Row };\nexport type Both = 1;\n\
             export const { Both } = { Both: 1 };",
        ),
        ("make.ts", "import type { Issue } from './types.js'; export const make = (x: unknown) => x as Issue;"),
    ];
    let built = build(&source(&modules)).unwrap();
    let code: Vec<&str> = built.modules().map(|(_, code)| code).collect();
    assert!(!code[0].contains("Issue") && !code[3].contains("import"), "{code:?}");
    let types = code[2];
    assert!(types.contains(" as Issue }") && types.contains(" as Row }"), "{types}");
    assert!(!types.contains(" as Both }") && !types.contains(" as State }"), "{types}");
}

#[test]
fn what_cannot_be_known_before_it_runs_is_refused_with_its_place() {
    let error = refused(&[("a.ts", "const name = './b.js';\nawait import(name);")]);
    assert_eq!(error.code(), "unsupported-syntax", "{error}");
    assert!(error.to_string().starts_with("a.ts:2:7: an import names its module by a text"), "{error}");
    let error = refused(&[("a.ts", "x;\n/(unclosed/.test('')")]);
    assert_eq!(error.code(), "syntax-error", "{error}");
    assert!(error.to_string().starts_with("a.ts:2:"), "{error}");
    for nested in ["(", "(?=", "(?:"] {
        let text = format!("/{}{}/", nested.repeat(40_000), ")".repeat(40_000));
        build(&source(&[("a.ts", &text)])).unwrap();
    }
    build(&source(&[("a.ts", &format!("/{}{}/v", "[".repeat(40_000), "]".repeat(40_000)))])).unwrap();
}

/// Kinds of nesting: what opens, what stands in the middle, what closes.
const NESTING: &[(&str, &str, &str)] = &[
    ("(", "1", ")"),
    ("(", "", ""),
    ("[", "", "]"),
    ("[", "", ""),
    ("{", "", "}"),
    ("{a:", "1", "}"),
    ("{", "", ""),
    ("x={a:", "1", "}"),
    ("!", "1", ""),
    ("- ", "1", ""),
    ("typeof ", "1", ""),
    ("new ", "A", ""),
    ("await ", "1", ""),
    ("a=>", "1", ""),
    ("(a)=>", "1", ""),
    ("(a=", "1", ")=>1"),
    ("a?b:", "1", ""),
    ("a?", "1", ":b"),
    ("a?(", "1", "):b=>c"),
    ("x=", "1", ""),
    ("if(a)", ";", ""),
    ("if(a);else ", ";", ""),
    ("for(;;)", ";", ""),
    ("do ", ";", ""),
    ("1+", "1", ""),
    ("1**", "1", ""),
    ("a&&", "1", ""),
    ("a??", "1", ""),
    ("a.", "a", ""),
    ("", "a", ".a"),
    ("", "a", "?.a"),
    ("", "a", "()"),
    ("", "a", "!"),
    ("", "a", " as b"),
    ("", "a", "``"),
    ("`${", "1", "}`"),
    ("`${", "", ""),
    ("function f(){", "", "}"),
    ("x=class{a=", "1", "}"),
    ("class A{m(){", "", "}}"),
    ("x=()=>{", "", "}"),
    ("(()=>{", "", "})()"),
    ("switch(a){case 1:", "", "}"),
    ("try{", "", "}catch{}"),
    ("let [", "a", "]=1"),
    ("type X=(", "1", ")"),
    ("type X={a:", "1", "}"),
    ("type X=[", "1", "]"),
    ("type X=A extends B?C:", "1", ""),
    ("type X=keyof ", "1", ""),
    ("type X=()=>", "1", ""),
    ("type X=A<", "1", ">"),
    ("<A>", "1", ""),
    ("namespace a{", "", "}"),
    ("@a ", "class A{}", ""),
    ("/*", "", ""),
    ("\"", "", ""),
    ("\\", "", ""),
    ("\u{2028}(", "", ""),
    ("é(", "", ""),
];

#[test]
fn whatever_nests_is_built_or_refused_and_never_ends_the_process() {
    for (open, middle, close) in NESTING {
        // The first word of a statement stands there once.
        let (first, open) =
            ["type X=", "let ", "x="].iter().find_map(|it| Some((*it, open.strip_prefix(it)?))).unwrap_or(("", open));
        for count in [1_000, 60_000] {
            let count = if open.contains('<') { count.min(3_900) } else { count };
            let prefix = if first.is_empty() && middle.is_empty() { "" } else { first };
            let text = format!("{prefix}{}{middle}{}", open.repeat(count), close.repeat(count));
            let _ = build(&source(&[("a.ts", &text)]));
            let text = format!("x={}{middle}{}", open.repeat(count), close.repeat(count));
            let _ = build(&source(&[("a.js", &text)]));
        }
    }
    let error = refused(&[("a.ts", &"(".repeat(200_001))]);
    assert_eq!(error.code(), "source-too-large", "{error}");
    let error = refused(&[("a.ts", &"(".repeat(200_000))]);
    assert_eq!(error.code(), "syntax-error", "{error}");
    let error = refused(&[("a.ts", &"a<".repeat(4_001))]);
    assert_eq!(error.code(), "source-too-large", "{error}");
}

#[test]
fn random_bytes_and_mangled_scripts_are_built_or_refused() {
    use rand::{Rng as _, SeedableRng as _};
    let whole = "import { z } from 'zod';\nexport enum E { A = 'x', B }\nexport default class<T> { constructor(private a: T, b = `${1 + (2 as any)}`) {} \
                 static #p = /a[/]b/gu; async *m?(): AsyncGenerator<T> { for await (const { x, ...y } of z) yield* x ?? y; } }\n";
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    let pieces: Vec<char> = "(){}[]<>`'\"/\\*=>?:;,.#@!$ \n\u{0}\u{2028}aé0".chars().collect();
    for _ in 0..400 {
        let mut text: Vec<char> = whole.chars().collect();
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..=text.len().saturating_sub(1));
            if text.is_empty() {
                break;
            }
            match random.random_range(0..3) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, pieces[random.random_range(0..pieces.len())]),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = build(&source(&[("a.ts", &text)])) {
            assert!(error.code() != "build-failed", "{error}\n{text}");
            assert!(error.to_string().len() < 4_000, "{error}");
        }
    }
}
