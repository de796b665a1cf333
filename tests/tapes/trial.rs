//! Scripts against recorded files: retries, time, and what is compared.

#![allow(clippy::needless_pass_by_value, reason = "`json!` is written at the call")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use terapi::trial::Trial;

use super::nango::{against, tried};
use crate::support::{Bench, on_shared_bench};

fn action(body: &str) -> String {
    format!(
        "import {{ createAction, ActionError }} from 'nango';
        import * as z from 'zod';
        export default createAction({{
            description: '', version: '1.0.0', input: z.any(), output: z.any(),
            exec: async (nango, input) => {{ {body} }}
        }});"
    )
}

fn sync(body: &str) -> String {
    format!(
        "import {{ createSync }} from 'nango';
        import * as z from 'zod';
        export default createSync({{
            description: '', version: '1.0.0', frequency: 'every hour', autoStart: true,
            models: {{ Item: z.object({{ id: z.string() }}) }}, checkpoint: z.any(),
            exec: async (nango) => {{ {body} }}
        }});"
    )
}

#[track_caller]
fn same(trial: &Trial) {
    assert_eq!(trial.mismatches, [], "{:?} {:?}", trial.notes, trial.log);
}

/// The kinds of what differs.
fn kinds(trial: &Trial) -> Vec<&str> {
    trial.mismatches.iter().map(|it| it.kind.as_str()).collect()
}

fn status(status: u16) -> Value {
    json!({ "response": { "of": status }, "status": status })
}

const TRIES: &str = "
    const seen = [];
    for (const request of input) {
        try { seen.push((await nango.proxy(request)).status); } catch (error) { seen.push(-error.status); }
    }
    return seen;";

#[test]
fn a_recorded_failure_is_tried_again_as_a_live_one_where_an_answer_follows() {
    let get = |retries: u32| json!({ "endpoint": "/x", "retries": retries });
    let post = |retries: u32| json!({ "method": "POST", "endpoint": "/x", "retries": retries });
    let on_404 = json!({ "endpoint": "/x", "retries": 2, "retryOn": [404] });
    let limited = json!({ "status": 429, "headers": { "Retry-After": "90" }, "response": "" });
    let cases = [
        (json!([get(3)]), json!([status(500), status(503), status(200)]), json!([200]), 3, 3_000),
        (json!([get(3)]), json!([limited.clone(), status(200)]), json!([200]), 2, 90_000),
        // What is idempotent is tried again by the host itself, and what is not only if the script says so.
        (json!([get(0)]), json!([status(500), status(200)]), json!([200]), 2, 1_000),
        (json!([post(0), post(0)]), json!([status(500), status(200)]), json!([-500, 200]), 2, 0),
        (json!([post(1)]), json!([status(500), status(200)]), json!([200]), 2, 1_000),
        // Nothing else is there to come.
        (json!([get(10)]), json!(status(500)), json!([-500]), 1, 0),
        (json!([get(10)]), json!([status(500), status(502)]), json!([-502]), 2, 1_000),
        (json!([get(10)]), json!([limited]), json!([-429]), 1, 0),
        // A status that is an answer.
        (json!([get(10)]), json!([status(404), status(200)]), json!([-404]), 1, 0),
        (json!([on_404]), json!([status(404), status(200)]), json!([200]), 2, 1_000),
    ];
    on_shared_bench(async |bench| {
        let start = Instant::now();
        for (requests, exchanges, output, asked, waited_ms) in cases {
            let api = json!({ "get": { "/x": exchanges }, "post": { "/x": exchanges } });
            let file = json!({ "input": requests, "output": output, "api": api });
            let trial = against(bench, &action(TRIES), &file).await;
            let wrong: Vec<_> = trial.mismatches.iter().filter(|it| it.kind != "request-not-made").collect();
            assert!(wrong.is_empty(), "{requests} {exchanges}: {wrong:?}");
            assert_eq!(trial.requests, asked, "{requests} {exchanges}");
            let waited = trial.waited_ms;
            assert!((waited_ms..waited_ms + 1_000).contains(&waited), "{requests} {exchanges}: {waited} ms");
        }
        assert!(start.elapsed() < Duration::from_mins(1), "it really waited");
    });
}

#[test]
fn a_retry_gets_what_is_recorded_for_the_same_request_and_no_other() {
    on_shared_bench(async |bench| {
        let of = |page: u32, status: u16| json!({ "response": "", "status": status, "request": { "params": { "page": page } } });
        let file = json!({
            "input": [{ "endpoint": "/x", "params": { "page": 1 }, "retries": 9 }, { "endpoint": "/x", "params": { "page": 2 } }],
            "output": [-500, 200],
            "api": { "get": { "/x": [of(1, 500), of(2, 200)] } }
        });
        let trial = against(bench, &action(TRIES), &file).await;
        same(&trial);
        assert_eq!((trial.requests, trial.waited_ms), (2, 0));
        // One that answers anything is there for the other request.
        let any = json!({ "response": "", "status": 200 });
        let mut open = file.clone();
        open["api"]["get"]["/x"][1] = any;
        let trial = against(bench, &action(TRIES), &open).await;
        same(&trial);
        assert_eq!((trial.requests, trial.waited_ms), (2, 0));
        // The same request, written otherwise.
        let again = json!({ "response": "", "status": 200, "request": { "params": { "page": "1" }, "headers": {} } });
        let mut again_too = file.clone();
        again_too["api"]["get"]["/x"].as_array_mut().unwrap().push(again);
        again_too["output"] = json!([200, 200]);
        let trial = against(bench, &action(TRIES), &again_too).await;
        same(&trial);
        assert_eq!(trial.requests, 3);
    });
}

#[test]
fn nothing_waits_and_the_clock_moves_on() {
    on_shared_bench(async |bench| {
        let script = action(
            "const [start, started] = [Date.now(), performance.now()];
            for (let i = 0; i < 10; i++) {
                await new Promise((resolve) => setTimeout(resolve, 60_000));
                await nango.get({ endpoint: '/job' });
            }
            const order = [];
            const timer = (name, ms) => new Promise((resolve) => setTimeout(() => resolve(order.push(name)), ms));
            await Promise.all([timer('b', 20_000), timer('c', 30_000), timer('a', 10_000), nango.get({ endpoint: '/job' }).then(() => order.push('answer'))]);
            const later = Date.now();
            while (Date.now() < later + 20);
            return { wall: Math.round((Date.now() - start) / 1000), monotonic: Math.round((performance.now() - started) / 1000), order };",
        );
        let file = json!({
            "output": { "wall": 630, "monotonic": 630, "order": ["answer", "a", "b", "c"] },
            "api": { "get": { "/job": { "response": "busy" } } }
        });
        let start = Instant::now();
        let trial = against(bench, &script, &file).await;
        same(&trial);
        assert!((630_000..631_000).contains(&trial.waited_ms), "{} ms", trial.waited_ms);
        assert!(start.elapsed() < Duration::from_mins(1), "it really waited");
    });
}

#[test]
fn a_script_that_asks_for_ever_is_ended() {
    on_shared_bench(async |bench| {
        let script = action(
            "while ((await nango.get({ endpoint: '/job' })).data !== 'done') {
                await new Promise((resolve) => setTimeout(resolve, 5_000));
            }",
        );
        let file = json!({ "output": null, "api": { "get": { "/job": { "response": "busy" } } } });
        let trial = against(bench, &script, &file).await;
        assert_eq!(kinds(&trial), ["outcome"], "{:?}", trial.mismatches);
        assert!(trial.mismatches[0].came.contains("budget of requests"), "{:?}", trial.mismatches);
    });
}

#[test]
fn the_file_can_set_the_clock() {
    on_shared_bench(async |bench| {
        let script = action(
            "const now = new Date();
            await nango.get({ endpoint: '/x', params: { since: new Date(now.getTime() - 86_400_000).toISOString() } });
            return { now: now.toISOString(), day: now.toISOString().slice(0, 10), ms: Date.now() };",
        );
        let file = |now: Value| {
            let request = json!({ "params": { "since": "2025-02-28T10:00:00.000Z" } });
            json!({
                "nango": { "now": now },
                "output": { "now": "2025-03-01T10:00:00.000Z", "day": "2025-03-01", "ms": 1_740_823_200_000_u64 },
                "api": { "get": { "/x": { "response": "", "request": request } } }
            })
        };
        for now in [json!("2025-03-01T10:00:00Z"), json!(1_740_823_200_000_u64)] {
            let trial = against(bench, &script, &file(now)).await;
            same(&trial);
            assert!(trial.notes.is_empty(), "{:?}", trial.notes);
        }
        let trial = against(bench, &script, &file(json!("2025-03-01T10:00:01Z"))).await;
        assert_eq!(kinds(&trial), ["request", "outcome"], "{:?}", trial.mismatches);
        let error = tried(bench, &script, file(json!("soon")).to_string().as_bytes()).await.err().unwrap();
        assert!(error.to_string().contains("nango.now"), "{error}");
    });
}

#[test]
fn the_time_of_the_run_is_a_note_wherever_it_comes() {
    on_shared_bench(async |bench| {
        let script = sync(
            "const now = new Date();
            const since = new Date(now.getTime() - 30 * 86_400_000);
            const day = since.toISOString().slice(0, 10);
            const params = { since: since.toISOString(), to: Math.floor(now.getTime() / 1000), day };
            await nango.get({ endpoint: '/rows', params, headers: { 'if-modified-since': since.toUTCString() } });
            await nango.post({ endpoint: '/query', data: { query: `changed > '${now.toISOString()}'`, key: crypto.randomUUID() } });
            await nango.batchSave([{ id: '1', seen: now.toISOString() }, { id: '2', seen: now.toISOString() }], 'Item');
            await nango.saveCheckpoint({ at: now.getTime() });",
        );
        let recorded = "2025-02-03T10:11:12.131Z";
        let mut file = json!({
            "nango": {
                "batchSave": { "Item": [{ "id": "1", "seen": recorded }, { "id": "2", "seen": recorded }] },
                "saveCheckpoint": [{ "at": 1_738_577_472_131_u64 }]
            },
            "api": {
                "get": { "/rows": { "response": [], "request": {
                    "params": { "since": "2025-01-04T10:11:12.131Z", "to": "1738577472", "day": "2025-01-04" },
                    "headers": { "if-modified-since": "Sat, 04 Jan 2025 10:11:12 GMT" }
                } } },
                "post": { "/query": { "response": [], "request": { "data": {
                    "query": format!("changed > '{recorded}'"), "key": "936da01f-9abd-4d9d-80c7-02af85c822a8"
                } } } }
            }
        });
        let trial = against(bench, &script, &file).await;
        same(&trial);
        let notes = trial.notes.join("\n");
        for part in [
            "GET /rows parameter since is reckoned from the time of the run: ",
            "GET /rows parameter to is the time of the run: ",
            "GET /rows parameter day is reckoned from the day of the run: ",
            "GET /rows header if-modified-since is reckoned from the time of the run: ",
            "POST /query body query is the time of the run: ",
            "POST /query body key is random: ",
            "saved Item [].seen is the time of the run: ",
            ", 2 times",
            "saveCheckpoint [].at is the time of the run: ",
        ] {
            assert!(notes.contains(part), "no {part:?} in:\n{notes}");
        }
        // What is recorded was taken from an answer: the time of the run is wrong in its place.
        file["api"]["get"]["/rows"]["response"] = json!([{ "updated": recorded }]);
        let trial = against(bench, &script, &file).await;
        let found = trial.mismatches.first().map(|it| (it.kind.as_str(), it.path.as_str()));
        assert_eq!(found, Some(("request", "parameter to")), "{:?}", trial.mismatches);
    });
}

#[test]
fn to_read_less_and_come_to_the_same_is_a_note() {
    on_shared_bench(async |bench| {
        let script = sync("await nango.batchSave((await nango.get({ endpoint: '/a' })).data, 'Item');");
        let file = |more: &str, saved: Value| {
            let mut api = json!({ "get": { "/a": { "response": [{ "id": "1" }], "request": {} } } });
            api[more]["/b"] = json!({ "response": [], "request": {} });
            json!({ "nango": { "batchSave": { "Item": saved } }, "api": api })
        };
        let one = json!([{ "id": "1" }]);
        for more in ["get", "HEAD"] {
            let trial = against(bench, &script, &file(more, one.clone())).await;
            same(&trial);
            assert_eq!(trial.notes, [format!("{} /b was not asked for", more.to_uppercase())]);
        }
        for more in ["post", "put", "patch", "delete"] {
            let trial = against(bench, &script, &file(more, one.clone())).await;
            assert_eq!(kinds(&trial), ["request-not-made"], "{more}");
        }
        let trial = against(bench, &script, &file("get", json!([{ "id": "2" }]))).await;
        assert_eq!(kinds(&trial), ["saved", "request-not-made"], "something else differs");
        let nothing = sync("");
        let trial = against(bench, &nothing, &json!({ "api": { "get": { "/b": { "response": 1 } } } })).await;
        assert_eq!(kinds(&trial), ["request-not-made"], "{:?}", trial.notes);
    });
}

#[test]
fn to_go_on_without_what_is_not_recorded_and_come_to_the_same_is_a_note() {
    on_shared_bench(async |bench| {
        let script = action(
            "const rows = (await nango.get({ endpoint: '/a' })).data;
            try { await nango.proxy({ method: input.method, endpoint: '/more' }); } catch {}
            return rows;",
        );
        let file = |method: &str, output: &str, others: Value| {
            let mut get = json!({ "/a": { "response": "rows" } });
            get.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
            json!({ "input": { "method": method }, "output": output, "api": { "get": get } })
        };
        let trial = against(bench, &script, &file("GET", "rows", json!({}))).await;
        same(&trial);
        assert_eq!(trial.notes, ["GET /more is not recorded, and the script went on without an answer"]);
        let trial = against(bench, &script, &file("POST", "rows", json!({}))).await;
        assert_eq!(kinds(&trial), ["request"], "it may change something");
        let trial = against(bench, &script, &file("GET", "other", json!({}))).await;
        assert_eq!(kinds(&trial), ["request", "output"], "it came to something else");
        let trial = against(bench, &script, &file("GET", "rows", json!({ "/mroe": { "response": 1 } }))).await;
        assert_eq!(kinds(&trial), ["request", "request-not-made"], "in the place of another");
    });
}

/// Runs a script with a good file, then with each edit of it.
async fn with_edits(bench: &Bench, script: &str, good: &Value, edits: &[(&str, Value, &str, &str)]) {
    same(&against(bench, script, good).await);
    for (place, value, kind, path) in edits {
        let mut file = good.clone();
        *file.pointer_mut(place).unwrap() = value.clone();
        let trial = against(bench, script, &file).await;
        let found = trial.mismatches.first().map(|it| (it.kind.as_str(), it.path.as_str()));
        assert_eq!(found, Some((*kind, *path)), "{place}: {:?} {:?}", trial.mismatches, trial.log);
    }
}

#[test]
fn what_the_store_has_at_the_start_can_be_read_updated_and_found_deleted() {
    on_shared_bench(async |bench| {
        let script = sync(
            "await nango.trackDeletesStart('Item');
            const found = await nango.getRecordsByIds(['1', '9'], 'Item');
            const listed = [];
            for await (const row of nango.listRecords('Item')) listed.push(row.id);
            await nango.log(JSON.stringify([[...found.keys()], listed.sort()]));
            await nango.batchSave([{ id: '1', n: found.get('1').n + 1 }], 'Item');
            await nango.batchUpdate([{ id: '2', m: 7 }], 'Item');
            await nango.saveCheckpoint({ page: 1 });
            await nango.clearCheckpoint();
            await nango.log('done', { rows: 2 });
            await nango.trackDeletesEnd('Item');
            let again = 'nothing';
            try { await nango.trackDeletesEnd('Item'); } catch (error) { again = error.message; }
            await nango.log(/track-?deletes-?start/i.test(again) ? 'refused' : again);",
        );
        let good = json!({
            "nango": {
                "records": { "Item": [{ "id": "1", "n": 1 }, { "id": 2, "n": 2 }, { "id": "3" }] },
                "batchSave": { "Item": [{ "id": "1", "n": 2 }] },
                "batchUpdate": { "Item": [{ "id": "2", "m": 7 }] },
                "trackDeletesEnd": { "Item": ["3"] },
                "clearCheckpoint": 1,
                "log": ["[[\"1\"],[\"1\",\"2\",\"3\"]]", "done", "refused"]
            },
            "api": {}
        });
        let edits = [
            ("/nango/batchSave/Item/0/n", json!(3), "saved", "[0].n"),
            ("/nango/batchSave/Item/0", json!({ "id": "1", "n": 2, "m": null }), "saved", "[0].m"),
            ("/nango/batchUpdate/Item/0/m", json!(8), "updated", "[0].m"),
            ("/nango/trackDeletesEnd/Item", json!(["2"]), "found-deleted", "[0]"),
            ("/nango/clearCheckpoint", json!(2), "checkpoint", ""),
            ("/nango/log/1", json!("other"), "log", "[1]"),
        ];
        with_edits(bench, &script, &good, &edits).await;
        let mut other = good.clone();
        other["nango"]["records"] = json!({ "Other": [] });
        let error = tried(bench, &script, other.to_string().as_bytes()).await.err().unwrap();
        assert!(error.to_string().contains("nango.records.Other"), "{error}");
    });
}

#[test]
fn updates_that_a_recording_does_not_tell_from_saves_are_among_them() {
    on_shared_bench(async |bench| {
        let script =
            sync("await nango.batchSave([{ id: '1' }], 'Item'); await nango.batchUpdate([{ id: '2' }], 'Item');");
        let file = |saved: Value| json!({ "nango": { "batchSave": { "Item": saved } } });
        same(&against(bench, &script, &file(json!([{ "id": "1" }, { "id": "2" }]))).await);
        same(&against(bench, &script, &file(json!([{ "id": "1" }]))).await);
        let trial = against(bench, &script, &file(json!([{ "id": "1" }, { "id": "3" }]))).await;
        assert_eq!(kinds(&trial), ["saved"]);
    });
}

#[test]
fn a_recording_can_say_that_the_run_fails_and_how() {
    on_shared_bench(async |bench| {
        let script = action("await nango.log('before'); throw new ActionError({ message: 'no such team', code: 7 });");
        let good = json!({
            "error": { "message": ["no such", "team"], "payload": { "code": 7, "message": "no such team" } },
            "api": {}
        });
        let edits = [
            ("/error/message", json!("no such group"), "error", ""),
            ("/error/message/1", json!("group"), "error", ""),
            ("/error/payload/code", json!(8), "error", "code"),
            ("/error/payload", json!("no such team"), "error", ""),
        ];
        with_edits(bench, &script, &good, &edits).await;
        let trial = against(bench, &action("return 1;"), &good).await;
        assert_eq!(kinds(&trial), ["outcome"]);
        assert!(trial.mismatches[0].recorded.starts_with("failed with \"no such\""), "{:?}", trial.mismatches);
    });
}

#[test]
fn what_the_platform_said_of_the_connection_reaches_the_script() {
    on_shared_bench(async |bench| {
        let script = action(
            "const connection = await nango.getConnection();
            return [connection.provider, connection.connection_id, connection.tags.x, connection.connection_config.site];",
        );
        let connection = json!({ "provider": "org", "connectionId": "c1", "tags": { "x": 1 }, "connection_config": { "site": "s" } });
        let file = json!({ "nango": { "getConnection": connection }, "output": ["org", "c1", 1, "s"] });
        same(&against(bench, &script, &file).await);
    });
}
