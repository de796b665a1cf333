//! What scripts find in the engine: its globals, the SDK's calls, and how deep they may go.

use serde_json::{Value, json};
use terapi::run::Outcome;

use super::{execution, sync_that};
use crate::support::on_shared_bench;

const GLOBALS: &str = include_str!("engine/globals.ts");
const CALLS: &str = include_str!("engine/calls.ts");

#[test]
fn the_globals_do_what_they_do_elsewhere() {
    on_shared_bench(async |bench| {
        let script = bench.load(GLOBALS.as_bytes().to_vec()).await;
        let (run, output) = bench.runtime.action(bench.execution_of(script, json!({})), "{}".to_owned()).await.unwrap();
        assert_eq!(run.outcome, Some(Outcome::Succeeded));
        let said: Value = serde_json::from_str(&output.unwrap()).unwrap();
        assert_eq!(said["failed"], json!([]));
        assert!(said["passed"].as_u64() > Some(100), "{said}");
    });
}

#[test]
fn each_call_does_what_it_says_and_fails_as_it_says() {
    on_shared_bench(async |bench| {
        let script = bench.load(CALLS.as_bytes().to_vec()).await;
        let config = json!({ "odd": bench.odd.url(""), "api": bench.api.url() });
        bench.sync(bench.execution_of(script, config)).await.succeeded();
    });
}

#[test]
fn a_recursion_of_five_thousand_calls_is_fine() {
    on_shared_bench(async |bench| {
        let does = "const sum = (n: number): number => (n === 0 ? 0 : n + sum(n - 1));\n\
                    const nested = JSON.stringify(Array.from({ length: 5_000 }).reduce((inner) => [inner], []));\n\
                    if (sum(5_000) !== 12_502_500 || JSON.stringify(JSON.parse(nested)) !== nested) throw new Error('wrong');\n\
                    let tree: any = {};\n\
                    for (let i = 0; i < 1_000; i++) tree = { children: [tree] };\n\
                    const depth = (node: any): number => 1 + Math.max(0, ...(node.children ?? []).map(depth));\n\
                    if (depth(structuredClone(tree)) !== 1_001) throw new Error('not so deep');";
        bench.sync(execution(bench, &sync_that(does)).await).await.succeeded();
    });
}

/// Each goes deeper than anything may.
const DEEP: [&str; 16] = [
    "const f = (): number => 1 + f(); f()",
    "const f = (x: any): any => [x].map(f); f(1)",
    "function f(this: any): any { return f.apply(this, [1, 2] as any) } f()",
    "const f = () => ''.replace(/^/, f as any); f()",
    "const o = { get a(): any { return this.a } }; o.a",
    "const f = async (): Promise<void> => { await f() }; await f()",
    "let p: any = {}; for (let i = 0; i < 200_000; i++) p = new Proxy(p, {}); Object.keys(p)",
    "JSON.parse('['.repeat(1_000_000))",
    "let d: any = 1; for (let i = 0; i < 100_000; i++) d = { d }; JSON.stringify(d)",
    "let d: any = 1; for (let i = 0; i < 100_000; i++) d = { d }; await terapi.batchSave([{ id: '1', d }], 'Thing')",
    "let d: any = 1; for (let i = 0; i < 100_000; i++) d = [d]; structuredClone(d)",
    "let d: any = 1; for (let i = 0; i < 100_000; i++) d = [d]; String(d)",
    "let d: any = 1; for (let i = 0; i < 100_000; i++) d = [d]; d.flat(Infinity)",
    "let d: any = {}; for (let i = 0; i < 100_000; i++) d = { d }; const Deep: any = z.lazy(() => z.object({ d: Deep.optional() })); Deep.parse(d)",
    "new RegExp('(?:'.repeat(200_000) + 'x' + ')'.repeat(200_000))",
    "new RegExp('(?='.repeat(200_000) + 'x' + ')'.repeat(200_000))",
];

#[test]
fn what_goes_too_deep_is_an_error_in_the_author_s_line_and_never_a_trap() {
    on_shared_bench(async |bench| {
        for does in DEEP {
            let mut deep = execution(bench, &sync_that(does)).await;
            deep.limits.fuel = 20_000_000_000;
            let ran = bench.sync(deep).await;
            let Outcome::Failed(failure) = ran.outcome() else { panic!("{does}: {:?}", ran.outcome()) };
            let told = failure.message.contains("RangeError: Maximum call stack")
                || failure.message.contains("SyntaxError: stack overflow");
            // Of these the ten frames that are kept are zod's, or of no file.
            let place =
                does.contains("z.lazy") || does.contains("String(d)") || failure.message.contains("script.ts:4:");
            assert!(told && place, "{does}: {}", failure.message);
        }
    });
}

#[test]
fn source_that_nests_too_deeply_is_refused_with_its_place() {
    on_shared_bench(async |bench| {
        for (open, middle, close) in [("f(", "1", ")"), ("`${", "1", "}`")] {
            let nested = |depth: usize| {
                sync_that(&format!(
                    "const f = (x: any) => x;\nconst deep = {}{middle}{};",
                    open.repeat(depth),
                    close.repeat(depth)
                ))
            };
            bench.sync(execution(bench, &nested(100)).await).await.succeeded();
            let error = bench.runtime.load(nested(5_000).into_bytes()).await.err().expect("refused");
            assert!(
                error.to_string().contains("nests too deeply") && error.to_string().contains("script.ts:5:"),
                "{open}: {error}"
            );
        }
    });
}

#[test]
fn options_that_are_none_are_refused_at_upload_with_their_place() {
    on_shared_bench(async |bench| {
        for (options, said) in [
            ("models: { Row: 42 } as any", "the option models.Row wants a zod model"),
            ("models: { get Row() { throw new Error('no schema'); } } as any", "no schema"),
            (
                "models: { Row: z.object({ id: z.string() }) }, frequency: 5 as any",
                "the option frequency wants a text, and is 5",
            ),
            ("models: { Row: z.looseObject({ get id(): any { throw new Error('no field'); } }) }", "no field"),
        ] {
            let text = format!(
                "import {{ createSync, z }} from 'terapi';\nexport default createSync({{ name: 'odd', {options}, exec: async () => {{}} }});"
            );
            let error = bench.runtime.load(text.into_bytes()).await.err().expect("refused");
            assert_eq!(error.code(), "load-failed", "{error}");
            assert!(
                error.to_string().contains(said) && error.to_string().contains("script.ts:2:"),
                "{options}: {error}"
            );
        }
    });
}
