//! Each kind of difference is found and named, and a file that is none is refused with its code.

use serde_json::json;
use terapi::sandbox::LimitOverrides;
use tokio_util::sync::CancellationToken;

use super::{Recorded, cassette, record_probe, replay, step, succeeded};
use crate::support::{Bench, guest, on_shared_bench};

async fn recorded(bench: &Bench) -> Recorded {
    record_probe(
        bench,
        json!([
            { "do": "fetch", "url": "/users.list?limit=1" },
            { "do": "save", "list": ["a", r#"{"title":"one","n":1}"#, "b", r#"{"title":"two"}"#] },
            { "do": "save-checkpoint", "text": r#"{"page":1}"# },
        ]),
    )
    .await
}

#[test]
fn the_first_difference_is_named_with_its_call_and_its_path() {
    on_shared_bench(async |bench| {
        let recorded = recorded(bench).await;
        let fetch = json!({ "do": "fetch", "url": "/users.list?limit=1" });
        let save = json!({ "do": "save", "list": ["a", r#"{"title":"one","n":1}"#, "b", r#"{"title":"two"}"#] });
        let keep = json!({ "do": "save-checkpoint", "text": r#"{"page":1}"# });
        let calls = recorded.calls();
        assert_eq!(calls, ["http.fetch", "records.batch-save", "state.save-checkpoint"]);
        let same = replay(bench, &recorded.script, &recorded.with_steps(json!([fetch, save, keep]))).await;
        assert_eq!(same.difference, None);
        for (steps, kind, path, recorded_has, came) in [
            (
                json!([{ "do": "fetch", "url": "/users.list?limit=2" }]),
                "arguments",
                "request.url",
                "limit=1",
                "limit=2",
            ),
            (
                json!([save]),
                "other-call",
                "",
                "http.fetch GET /users.list?limit=1",
                "records.batch-save Thing, 2 entries",
            ),
            (
                json!([fetch, { "do": "save", "list": ["a", r#"{"title":"one","n":2}"#, "b", r#"{"title":"two"}"#] }]),
                "arguments",
                "entries[0].data.n",
                "1",
                "2",
            ),
            (
                json!([fetch, { "do": "save", "list": ["a", r#"{"title":"one","n":1}"#] }]),
                "arguments",
                "entries[1]",
                r#""id":"b""#,
                "nothing",
            ),
            (
                json!([fetch, save, { "do": "save-checkpoint", "text": r#"{"page":2}"# }]),
                "arguments",
                "value.page",
                "1",
                "2",
            ),
            (json!([fetch, save]), "call-less", "", "state.save-checkpoint", "the end: succeeded"),
            (json!([fetch, save, keep, keep]), "call-more", "", "the end: succeeded", "state.save-checkpoint"),
            (json!([fetch, save, keep, { "do": "fail", "text": "no more" }]), "outcome", "", "succeeded", "no more"),
        ] {
            let report = replay(bench, &recorded.script, &recorded.with_steps(steps.clone())).await;
            let difference = report.difference.clone().unwrap_or_else(|| panic!("no difference: {steps}"));
            assert_eq!((difference.kind, difference.path.as_str()), (kind, path), "{steps}: {difference:?}");
            assert!(difference.recorded.contains(recorded_has), "{difference:?}");
            assert!(difference.came.contains(came), "{difference:?}");
            assert!(kind == "outcome" || kind == "call-less" || !succeeded(&report), "{steps}");
        }
    });
}

#[test]
fn a_failure_with_another_message_and_a_stop_are_differences_too() {
    on_shared_bench(async |bench| {
        let recorded = record_probe(bench, json!([{ "do": "fail", "text": "one" }])).await;
        recorded.is_same(&replay(bench, &recorded.script, &recorded.bytes).await);
        let other =
            replay(bench, &recorded.script, &recorded.with_steps(json!([{ "do": "fail", "text": "two" }]))).await;
        let difference = other.difference.unwrap();
        assert_eq!((difference.kind, difference.path.as_str()), ("failure", "message"));
        let trap = replay(bench, &recorded.script, &recorded.with_steps(json!([step("no such step")]))).await;
        let difference = trap.difference.unwrap();
        assert_eq!(difference.kind, "outcome");
        assert!(difference.came.contains("stopped with trapped"), "{difference:?}");
    });
}

#[test]
fn a_script_that_no_longer_ends_is_a_difference_and_not_an_end_of_the_recording() {
    on_shared_bench(async |bench| {
        let recorded = recorded(bench).await;
        let endless = recorded.edited(|lines| {
            lines[0]["config"] = json!({ "steps": [{ "do": "hold-forever", "size": 1_000_000 }] }).to_string().into();
        });
        let report = replay(bench, &recorded.script, &endless).await;
        let difference = report.difference.unwrap();
        assert_eq!((difference.kind, difference.call), ("outcome", Some(1)));
        assert!(difference.came.contains("out-of-memory"), "{difference:?}");
    });
}

#[test]
fn a_file_that_is_no_cassette_or_no_whole_one_is_refused_with_its_code() {
    on_shared_bench(async |bench| {
        let recorded = recorded(bench).await;
        let whole = recorded.bytes.clone();
        let code = |bytes: &[u8]| cassette(bytes).err().map(|error| error.code());
        assert_eq!(code(&whole), None);
        for foreign in [&b""[..], b"{}", b"hello", &[0; 100], b"{\"api\":{}}", &guest("probe")] {
            assert_eq!(code(foreign), Some("cassette-foreign"));
        }
        let newer = String::from_utf8(whole.clone()).unwrap().replacen("terapi-cassette/1", "terapi-cassette/2", 1);
        assert_eq!(code(newer.as_bytes()), Some("cassette-version"));
        assert!(cassette(newer.as_bytes()).err().unwrap().to_string().contains("terapi-cassette/2"));
        // Cut anywhere: behind the header's beginning it is a cassette that was cut.
        let beginning = r#"{"format":"terapi-cassette/1""#.len();
        for length in (beginning..whole.len() - 1).step_by(97) {
            assert_eq!(code(&whole[..length]), Some("cassette-cut"), "at {length}");
        }
        let lines = String::from_utf8(whole.clone()).unwrap();
        let first: String = lines.split_inclusive('\n').take(2).collect();
        assert!(cassette(first.as_bytes()).err().unwrap().to_string().contains("after call 1"));
        let without_a_line: String =
            lines.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
        assert_eq!(code(without_a_line.as_bytes()), Some("cassette-damaged"));
        let torn = lines.replacen("\"call\":", "\"call:", 1);
        assert_eq!(code(torn.as_bytes()), Some("cassette-damaged"));
        let twice = [&whole[..], &whole[..]].concat();
        assert_eq!(code(&twice), Some("cassette-damaged"));
    });
}

#[test]
fn a_recording_of_an_action_is_none_of_a_sync() {
    on_shared_bench(async |bench| {
        let recorded = recorded(bench).await;
        let action = bench.load(guest("doer")).await;
        let tape = cassette(&recorded.bytes).unwrap();
        let replayed = bench.runtime.replay(action, tape, LimitOverrides::default(), CancellationToken::new()).await;
        assert_eq!(replayed.err().unwrap().code(), "cassette-other-kind");
    });
}
