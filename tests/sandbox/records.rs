//! Records that are not acceptable: the batch is refused whole, the script is told which entry and why, and goes on.

use serde_json::json;

use crate::support::{on_shared_bench, probe};

/// JSON texts that no record may have, and a word of the reason.
fn bad_json() -> Vec<(String, &'static str)> {
    let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let own = |text: &str| text.to_owned();
    vec![
        (own(""), "empty"),
        (own("   "), "empty"),
        (own("{"), "too early"),
        (own(r#"{"a":"#), "too early"),
        (own(r#"{"a"}"#), "':'"),
        (own("{a:1}"), "key"),
        (own("{'a':1}"), "key"),
        (own(r#"{"a":1,}"#), "key"),
        (own(r#"{"a":1 "b":2}"#), "','"),
        (own("[]"), "object"),
        (own(r#"[{"a":1}]"#), "object"),
        (own("null"), "object"),
        (own("true"), "object"),
        (own(r#""text""#), "object"),
        (own("12"), "object"),
        (own("{} {}"), "follows"),
        (own("{}x"), "follows"),
        (own("{}\0"), "follows"),
        (own("\u{feff}{}"), "byte order mark"),
        (own(r#"{"a":NaN}"#), "NaN"),
        (own(r#"{"a":Infinity}"#), "Infinity"),
        (own(r#"{"a":-Infinity}"#), "Infinity"),
        (own(r#"{"a":01}"#), "zero"),
        (own(r#"{"a":+1}"#), "number"),
        (own(r#"{"a":.5}"#), "number"),
        (own(r#"{"a":1.}"#), "number"),
        (own(r#"{"a":1e}"#), "number"),
        (own(r#"{"a":0x10}"#), "','"),
        (own(r#"{"a":undefined}"#), "value"),
        (own(r#"{"a":True}"#), "value"),
        (own("{\"a\":\"\n\"}"), "control character"),
        (own("{\"a\":\"\u{1}\"}"), "control character"),
        (own(r#"{"a":"\x"}"#), "escape"),
        (own(r#"{"a":"\u12"}"#), "escape"),
        (own(r#"{"a":"\ud800"}"#), "surrogate"),
        (own(r#"{"a":"\udc00\ud800"}"#), "surrogate"),
        (own(r#"{"a":"\ud800x"}"#), "surrogate"),
        (own(r#"{"\ud800":1}"#), "surrogate"),
        (own(r#"{"a":1,"a":2}"#), "already"),
        (own(r#"{"a":1,"\u0061":2}"#), "already"),
        (own(r#"{"x":{"a":1,"b":2,"a":1}}"#), "already"),
        (own(r"{/* no */}"), "key"),
        (deep(65), "64 levels"),
        (deep(10_000), "64 levels"),
        (format!(r#"{{"a":{}}}"#, "9".repeat(1025)), "1,024"),
        (format!(r#"{{"a":{}}}"#, "9".repeat(900_000)), "1,024"),
        (own(r#"{"a":1e999}"#), "1.8e308"),
        (format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000)), "64 levels"),
    ]
}

#[test]
fn every_kind_of_bad_json_is_refused_with_its_reason_and_nothing_of_the_batch_is_stored() {
    on_shared_bench(async |bench| {
        let steps: Vec<_> = bad_json()
            .into_iter()
            .map(|(data, _)| json!({ "do": "save", "list": ["before", r#"{"x":1}"#, "bad", data, "after", r#"{"x":1}"#] }))
            .collect();
        let ran = bench.probe(json!(steps)).await.succeeded();
        let said = ran.said("save");
        assert_eq!(said.len(), bad_json().len());
        for ((data, reason), said) in bad_json().iter().zip(said) {
            let shown: String = data.chars().take(40).collect();
            assert!(said.starts_with("Permanent error: saving Thing: record `bad`: "), "{shown}: {said}");
            assert!(said.to_lowercase().contains(&reason.to_lowercase()), "{shown}: no {reason:?} in: {said}");
        }
        assert!(bench.things(ran.connection()).is_empty(), "nothing was stored");
        assert_eq!(ran.run.changes.added, 0);
    });
}

#[test]
fn json_at_the_edge_is_stored_as_it_is() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(64), "}".repeat(64));
    let good = [
        "{}".to_owned(),
        " {\t}\r\n".to_owned(),
        r#"{"":1,"\u0000":"\u0000"}"#.to_owned(),
        r#"{"a":9007199254740993,"b":1.0,"c":1e308,"d":-0,"e":1E+2}"#.to_owned(),
        r#"{"a":"\ud83d\ude00","b":"😀","c":"\uffff"}"#.to_owned(),
        format!(r#"{{"a":0.{}}}"#, "9".repeat(1022)),
        r#"{"id":7,"no":"conflict"}"#.to_owned(),
        r#"{"__proto__":1,"constructor":{}}"#.to_owned(),
        deep,
    ];
    on_shared_bench(async |bench| {
        let list: Vec<_> = good.iter().enumerate().flat_map(|(nth, data)| [nth.to_string(), data.clone()]).collect();
        let ran = bench.probe(json!([{ "do": "save", "list": list }])).await.succeeded();
        assert_eq!(ran.said("save"), [format!("+{} ~0 =0 x0", good.len())]);
        let stored: Vec<_> = bench.feed(ran.connection(), "Thing").into_iter().map(|it| it.data).collect();
        assert_eq!(stored, good);
    });
}

#[test]
fn an_id_has_one_to_512_bytes_of_anything() {
    on_shared_bench(async |bench| {
        let odd = [
            "\0",
            "/",
            "..",
            "../../etc/passwd",
            "%00",
            "a\nb",
            "\u{ffff}",
            "😀",
            "\u{202e}x",
            "é",
            "e\u{301}",
            " ",
            "\"",
            "<1x",
        ];
        let list: Vec<_> = odd.iter().flat_map(|id| [(*id).to_owned(), json!({ "was": id }).to_string()]).collect();
        let ran = bench
            .probe(json!([
                { "do": "save", "list": ["<0", "{}"] },
                { "do": "save", "list": ["ok", "{}", "<513", "{}"] },
                { "do": "save", "list": ["<512", "{}"] },
                { "do": "save", "list": list },
                { "do": "get", "list": odd },
                { "do": "delete", "list": ["\0", "😀", "<0"] },
            ]))
            .await
            .succeeded();
        let said = ran.said("save");
        assert!(said[0].contains("record ``") && said[0].contains("id"), "{}", said[0]);
        assert!(said[1].contains("513") && said[1].contains("512"), "{}", said[1]);
        assert_eq!(said[2], "+1 ~0 =0 x0");
        assert_eq!(said[3], format!("+{} ~0 =0 x0", odd.len()));
        let feed = bench.feed(ran.connection(), "Thing");
        let live: Vec<_> = feed.iter().filter(|it| it.deleted_at().is_none()).map(|it| it.id.as_str()).collect();
        assert_eq!(live[0].len(), 512);
        assert_eq!(live[1..], odd.iter().copied().filter(|id| !["\0", "😀"].contains(id)).collect::<Vec<_>>());
        for change in feed.iter().skip(1).filter(|it| it.id.len() < 512) {
            assert_eq!(change.data, json!({ "was": change.id }).to_string());
        }
    });
}

#[test]
fn an_unknown_model_is_refused() {
    on_shared_bench(async |bench| {
        let ran = bench.probe(json!([{ "do": "save-stranger" }])).await.succeeded();
        assert!(ran.said("save-stranger")[0].contains("no model `Stranger`"), "{:?}", ran.said("save-stranger"));
        assert!(bench.feed(ran.connection(), "Stranger").is_empty());
    });
}

#[test]
fn a_record_has_a_mebibyte_at_most() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save", "list": ["small", "{}", "large", format!("<{}", (1 << 20) + 1)] },
                { "do": "save", "list": ["just", format!("<{}", 1 << 20)] },
            ]))
            .await
            .succeeded();
        let said = ran.said("save");
        assert!(said[0].contains("record `large`") && said[0].contains("1048577"), "{}", said[0]);
        assert_eq!(said[1], "+1 ~0 =0 x0");
        assert_eq!(bench.feed(ran.connection(), "Thing").len(), 1);
    });
}

#[test]
fn an_update_that_would_make_a_record_too_large_or_bad_changes_nothing() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save", "list": ["a", format!("<{}", 1 << 20), "b", r#"{"x":1}"#] },
                { "do": "update", "list": ["b", r#"{"x":2}"#, "a", r#"{"one":"more"}"#] },
                { "do": "get", "list": ["b"] },
            ]))
            .await
            .succeeded();
        assert!(ran.said("update")[0].contains("record `a`"), "{:?}", ran.said("update"));
        assert_eq!(ran.said("get"), [r#"b={"x":1}"#]);
    });
}

#[test]
fn a_batch_has_a_thousand_entries_and_eight_mebibytes_at_most() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save-many", "n": 1000, "text": "k" },
                { "do": "save-many", "n": 1001, "text": "m" },
                // {"text":""} has 11 bytes, an id 2: eight of 1 MiB are just what goes.
                { "do": "save-many", "n": 8, "text": "x", "size": (1 << 20) - 13 },
                { "do": "save-many", "n": 8, "text": "y", "size": (1 << 20) - 12 },
                { "do": "save-many", "n": 0 },
            ]))
            .await
            .succeeded();
        let said = ran.said("save-many");
        assert!(said[0].contains("added: 1000"), "{}", said[0]);
        assert!(
            said[1].contains("BatchTooLarge") && said[1].contains("1001") && said[1].contains("smaller"),
            "{}",
            said[1]
        );
        assert!(said[2].contains("added: 8"), "{}", said[2]);
        assert!(said[3].contains("BatchTooLarge") && said[3].contains("smaller"), "{}", said[3]);
        assert!(said[4].contains("added: 0"), "{}", said[4]);
        assert_eq!(bench.feed(ran.connection(), "Thing").len(), 1008);
    });
}

#[test]
fn a_good_batch_stays_whatever_comes_after_it() {
    on_shared_bench(async |bench| {
        for end in ["panic", "abort", "unreachable", "exit", "divide", "recurse", "fail", "loop"] {
            let mut execution = bench
                .execution(
                    "probe",
                    probe(json!([
                        { "do": "save", "list": ["a", r#"{"x":1}"#] },
                        { "do": "save", "list": ["b", "{}", "c", "bad"] },
                        { "do": end },
                    ])),
                )
                .await;
            execution.limits.fuel = 50_000_000;
            let ran = bench.sync(execution).await;
            assert_ne!(ran.outcome().word(), "succeeded", "{end}");
            assert_eq!(bench.things(ran.connection()), [r#"a={"x":1}"#], "{end}");
            assert_eq!(ran.run.changes.added, 1, "{end}");
            let state = bench.runtime.store().sync_state(&ran.run.sync).unwrap();
            assert_eq!(state.last_sync_date, None, "{end}");
        }
    });
}
