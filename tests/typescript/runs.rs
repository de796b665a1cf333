//! What such scripts do, and what stops them: as any script.

use std::time::Duration;

use serde_json::json;
use terapi::run::{Outcome, StopReason};

use super::{execution, package, sync_that};
use crate::support::{Bench, Ran, on_shared_bench};

const ISSUES: &str = "import { createSync, z } from 'terapi';
import { toIssue } from './lib/map.js';
import type { ApiIssue } from './types';
import { Repository, Unused } from './types.js';

enum State { Open = 'open', Closed = 'closed' }

const Issue = z.object({ id: z.string(), number: z.number(), title: z.string(), state: z.enum([State.Open, State.Closed]) });

export default createSync({
    description: 'Keeps the issues of a repository.',
    frequency: 'every hour',
    models: { Issue },
    exec: async (terapi) => {
        const repository: Repository = 'octo/demo';
        const { data } = await terapi.get<ApiIssue[]>({ endpoint: `/repos/${repository}/issues`, params: { state: 'all', per_page: 100 } });
        await terapi.batchSave(data.map(toIssue), 'Issue');
    },
});
";
const TYPES: &str = "export interface ApiIssue { id: number; number: number; title: string; state: string }\n\
                     export type Repository = `${string}/${string}`;\n";
const MAP: &str = "import type { ApiIssue } from '../types.js';\n\
                   export const toIssue = ({ id, number, title, state }: ApiIssue) => ({ id: String(id), number, title, state });\n";

pub(super) fn issues() -> Vec<u8> {
    package(&[("github-issues.ts", ISSUES), ("lib/map.ts", MAP), ("types.ts", TYPES)])
}

#[test]
fn a_sync_of_several_files_fetches_maps_and_saves() {
    on_shared_bench(async |bench| {
        let script = bench.load(issues()).await;
        assert_eq!(script.modules(), ["github-issues.ts", "lib/map.ts", "types.ts"]);
        let manifest = &script.manifest;
        assert_eq!(manifest.name.as_str(), "github-issues", "its file's name");
        assert_eq!(manifest.frequency.as_deref(), Some("every hour"));
        assert_eq!(manifest.models[0].schema["properties"]["state"]["enum"], json!(["open", "closed"]));
        let ran = bench.sync(bench.execution_of(script, json!({}))).await.succeeded();
        assert_eq!(ran.run.changes.added, 100);
        assert_eq!(ran.usage().http_requests, 1);
        assert_eq!(bench.feed(ran.connection(), "Issue").len(), 100);
    });
}

#[test]
fn an_action_answers_its_input() {
    on_shared_bench(async |bench| {
        let text = "import { createAction, z } from 'terapi';\n\
                    export default createAction({ name: 'double', input: z.object({ n: z.number() }), output: z.object({ n: z.number() }),\n\
                    exec: async (terapi, input) => ({ n: input.n * 2 }) });";
        let execution = execution(bench, text).await;
        assert_eq!(execution.script.manifest.input_schema.as_ref().unwrap()["type"], "object");
        let (run, output) = bench.runtime.action(execution, r#"{"n":21}"#.to_owned()).await.unwrap();
        assert_eq!(run.outcome, Some(Outcome::Succeeded));
        assert_eq!(output.as_deref(), Some(r#"{"n":42}"#));
    });
}

fn failed(ran: &Ran) -> &str {
    let Outcome::Failed(failure) = ran.outcome() else { panic!("{:?}", ran.outcome()) };
    assert_eq!(failure.code, "script-permanent");
    &failure.message
}

#[test]
fn an_error_shows_the_author_s_file_line_and_column_and_the_line() {
    on_shared_bench(async |bench| {
        let lib = "type Row = { deep?: { er: string } };\n\ninterface Longer {\n  line: number;\n}\n\
                   export function dig(row: Row): string {\n  return (row as any).deep.er;\n}\n";
        let entry = "import { dig } from './lib/dig.js';\nimport type { X } from './lib/dig.js';\nimport { createSync } from 'terapi';\n\
                     export default createSync({ name: 'digger', models: { Thing: {} as any }, exec: async () => {\n\
                     const x: X | null = null;\n    dig({});\n} });";
        let script = bench.load(package(&[("digger.ts", entry), ("lib/dig.ts", lib)])).await;
        let ran = bench.sync(bench.execution_of(script, json!({}))).await;
        let message = failed(&ran);
        assert!(message.contains("lib/dig.ts:7:"), "{message}");
        assert!(message.contains("  7 |   return (row as any).deep.er;\n    |"), "{message}");
        assert!(message.contains("digger.ts:6:"), "{message}");
    });
}

#[test]
fn what_is_thrown_or_rejected_is_the_run_s_failure() {
    on_shared_bench(async |bench| {
        for (does, parts) in [
            ("throw 'a text'", vec!["a text"]),
            ("await Promise.reject(new TypeError('late'))", vec!["late", "script.ts:4:"]),
            ("const f = () => f(); f()", vec!["script.ts:4:"]),
            ("(null as any).x", vec!["script.ts:4:", "(null as any).x"]),
        ] {
            let ran = bench.sync(execution(bench, &sync_that(does)).await).await;
            let message = failed(&ran);
            for part in parts {
                assert!(message.contains(part), "{does}: no {part:?} in: {message}");
            }
        }
    });
}

#[test]
fn places_in_the_log_are_the_author_s() {
    on_shared_bench(async |bench| {
        let does = "interface A { x: 1 }\n\n    console.error(new Error('logged').stack)";
        let ran = bench.sync(execution(bench, &sync_that(does)).await).await.succeeded();
        assert!(ran.log.iter().any(|line| line.message.contains("script.ts:6:")), "{:?}", ran.log);
    });
}

#[test]
fn each_of_the_four_stops_ends_it_and_the_next_run_is_unaffected() {
    on_shared_bench(async |bench| {
        let mut endless = execution(bench, &sync_that("for (;;) {}")).await;
        endless.limits.fuel = 200_000_000;
        let ran = bench.sync(endless).await.stopped(StopReason::OutOfFuel, &["fuel limit"]);
        let Outcome::Stopped(stopped) = ran.outcome() else { unreachable!() };
        assert_eq!(stopped.backtrace, Vec::<String>::new(), "the engine's functions are not the author's");

        let mut promises = execution(bench, &sync_that("for (;;) await null")).await;
        promises.limits.fuel = 200_000_000;
        bench.sync(promises).await.stopped(StopReason::OutOfFuel, &["fuel limit"]);

        let mut large =
            execution(bench, &sync_that("const all = []; for (;;) all.push('x'.repeat(1 << 20) + all.length)")).await;
        large.limits.memory = 32 << 20;
        bench.sync(large).await.stopped(StopReason::OutOfMemory, &["memory limit of 32 MiB"]);

        let mut late = execution(bench, &sync_that("await new Promise(() => setTimeout(() => {}, 1e8))")).await;
        late.limits.timeout = Duration::from_millis(100);
        bench.sync(late).await.stopped(StopReason::TimedOut, &["time limit"]);

        let cancelled = execution(bench, &sync_that("for (;;) {}")).await;
        let cancel = cancelled.cancel.clone();
        let mut started = cancelled.started.subscribe();
        let (ran, ()) = tokio::join!(bench.sync(cancelled), async {
            started.wait_for(Option::is_some).await.unwrap();
            cancel.cancel();
        });
        ran.stopped(StopReason::Cancelled, &["cancelled"]);

        let next = execution(bench, &sync_that("await terapi.batchSave([{ id: '1' }], 'Thing')")).await;
        assert_eq!(bench.sync(next).await.succeeded().run.changes.added, 1);
    });
}

#[test]
fn a_script_gets_nothing_of_what_another_left() {
    on_shared_bench(async |bench| {
        let first =
            "(globalThis as any).left = 1; (Object.prototype as any).left = 1; (Array.prototype as any).map = null;";
        bench.sync(execution(bench, &sync_that(first)).await).await.succeeded();
        let second = "if ((globalThis as any).left || ({} as any).left || ![].map) throw new Error('left')";
        bench.sync(execution(bench, &sync_that(second)).await).await.succeeded();
        let same = execution(
            bench,
            &sync_that("if ((globalThis as any).n) throw new Error('again'); (globalThis as any).n = 1"),
        )
        .await;
        let script = std::sync::Arc::clone(&same.script);
        bench.sync(same).await.succeeded();
        bench.sync(bench.execution_of(script, json!({}))).await.succeeded();
        let _ = Bench::connection();
    });
}
