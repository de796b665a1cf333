//! The four stops, through the service: each is told, and the next run and the neighbors feel nothing of it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::service::api::Do;
use crate::service::until;

/// No run and no answer takes so long beside guests that loop, on however busy a machine.
const RESPONSIVE: Duration = Duration::from_secs(20);

#[test]
fn guests_that_loop_run_out_of_fuel_and_their_neighbors_get_their_turns() {
    case("G01", async |ground| {
        let names = ["g01-a", "g01-b", "g01-c", "g01-d"];
        for name in names {
            probe(ground, name, "fuel=4000000000", json!([{ "do": "loop" }])).await;
        }
        let loops = futures_util::future::join_all(names.map(|name| ground.run(name, name)));
        let neighbors = async {
            for _ in 0..3 {
                let took = ground.canary().await;
                assert!(took < RESPONSIVE, "{took:?} beside guests that loop");
            }
        };
        let (runs, ()) = tokio::join!(loops, neighbors);
        for run in &runs {
            ran(run, "out-of-fuel");
            assert!(run["usage"]["fuel"].as_u64().unwrap() >= 3_999_000_000, "{run:#}");
        }
        for name in names {
            forget(ground, name).await;
        }
        vec!["out-of-fuel"; 4]
    });
}

#[test]
fn an_endless_recursion_ends_at_the_guests_own_stack() {
    case("G02", async |ground| {
        for name in ["g02", "g02-again"] {
            let run = steps(ground, name, "", json!([{ "do": "recurse" }])).await;
            ran(&run, "trapped");
            assert!(run["outcome"]["message"].as_str().unwrap().contains("stack overflow"), "{run:#}");
        }
        // Without a stack of its own in memory, what ends it is the engine's.
        let deep = HandWritten {
            fields: "(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (i64.const 1)))"
                .to_owned(),
            ..HandWritten::run("(drop (call $deep (i64.const 1)))")
        };
        let run = once(ground, "g02-deep", &deep, "").await;
        ran(&run, "trapped");
        assert!(run["outcome"]["message"].as_str().unwrap().contains("stack overflow"), "{run:#}");
        vec!["trapped"; 3]
    });
}

#[test]
fn memory_that_grows_by_steps_at_once_or_in_several_memories_ends_at_the_limit_of_all_together() {
    case("G04", async |ground| {
        let by_steps = steps(ground, "g04-steps", "", json!([{ "do": "grow", "n": 65_536, "size": 1 }])).await;
        let at_once = steps(ground, "g04-once", "", json!([{ "do": "grow", "n": 1, "size": 65_000 }])).await;
        let held = steps(ground, "g04-held", "", json!([{ "do": "hold-forever", "size": 1 << 20 }])).await;
        for run in [&by_steps, &at_once, &held] {
            ran(run, "out-of-memory");
            assert!(run["usage"]["peak_memory"].as_u64().unwrap() <= 64 << 20, "{run:#}");
            assert!(run["outcome"]["message"].as_str().unwrap().contains("save page by page"), "{run:#}");
        }
        vec!["out-of-memory"; 3]
    });
}

#[test]
fn a_table_that_grows_without_end_or_is_filled_without_end_is_stopped() {
    case("G06", async |ground| {
        let table = |run: &str| HandWritten { fields: "(table $t 90000 funcref)".to_owned(), ..HandWritten::run(run) };
        let grown = table("(drop (table.grow $t (ref.null func) (i32.const 10000000)))");
        ran(&once(ground, "g06-grow", &grown, "").await, "out-of-memory");
        let filled = "(loop $again (table.fill $t (i32.const 0) (ref.null func) (i32.const 90000)) (br $again))";
        ran(&once(ground, "g06-fill", &table(filled), "fuel=1000000000").await, "out-of-fuel");
        vec!["out-of-memory", "out-of-fuel"]
    });
}

#[test]
fn a_deadline_comes_while_a_guest_computes_waits_for_an_answer_or_saves() {
    case("G20", async |ground| {
        ground.api.rule(|seen| if seen.account == "held" { Do::Hold } else { Do::Serve });
        let save = json!({ "do": "save", "list": ["a", "{}"] });
        for (name, last) in [
            ("g20-computes", json!({ "do": "loop" })),
            ("g20-waits", json!({ "do": "fetch", "url": ground.api.url("/held/items") })),
            ("g20-saves", json!({ "do": "save-for-ever", "n": 5, "text": "id" })),
        ] {
            sync_of_items(ground, name, json!({ "steps": [save, last] })).await;
            let start = Instant::now();
            let run = ground.run(name, name).await;
            ran(&run, "timed-out");
            assert!(start.elapsed() < RESPONSIVE && run["usage"]["wall_ms"].as_u64().unwrap() >= 1_000, "{run:#}");
            let sync = ground.client.get(&format!("/v1/syncs/{name}/{name}/base")).await.ok();
            let records = sync["streams"].as_array().unwrap().iter().find(|it| it["model"] == "Thing").unwrap();
            let records = records["records"].as_u64().unwrap();
            assert_eq!(records % 5, 1, "half a batch, or what was saved before is gone: {records}");
            forget(ground, name).await;
        }
        ground.api.no_rule();
        ground.api.open();
        until("nobody waits any more", async || {
            ground.api.seen().iter().any(|seen| seen.account == "held").then_some(())
        })
        .await;
        vec!["timed-out"; 3]
    });
}

/// A sync of the probe that may reach the API, for one second.
async fn sync_of_items(ground: &Ground, name: &str, config: serde_json::Value) {
    sync(ground, name, guest("probe"), "fuel=1000000000000&timeout_ms=1000", config).await;
}

#[test]
fn a_trap_in_run_in_realloc_or_in_post_return_ends_the_run_with_where_it_was() {
    case("G22", async |ground| {
        let post = |body: &str| HandWritten {
            fields: format!(
                r#"(func $late (export "cabi_post_terapi:sync/sync-script@0.1.0#run") (param i32) {body})"#
            ),
            ..HandWritten::default()
        };
        let realloc = |body: &str| HandWritten { realloc: Some(body.to_owned()), ..HandWritten::default() };
        let looping = "(loop $again (br $again))";
        let mut limits = Vec::new();
        for (name, script, code) in [
            ("g22-run", HandWritten::run("unreachable"), "trapped"),
            ("g22-zero", HandWritten::run("(drop (i32.div_s (i32.const 1) (local.get $i)))"), "trapped"),
            ("g22-realloc", realloc("unreachable"), "trapped"),
            ("g22-realloc-far", realloc("(i32.const -16)"), "trapped"),
            ("g22-realloc-loop", realloc(&format!("{looping} unreachable")), "out-of-fuel"),
            ("g22-post", post("unreachable"), "trapped"),
            ("g22-post-bounds", post("(drop (i32.load (i32.const -4)))"), "trapped"),
            ("g22-post-loop", post(looping), "out-of-fuel"),
        ] {
            let run = once(ground, name, &script, "fuel=10000000").await;
            ran(&run, code);
            assert!(run["outcome"]["backtrace"].as_array().is_none_or(|frames| frames.len() <= 20), "{run:#}");
            limits.push(code);
        }
        limits
    });
}
