//! Scripts against recorded files in Nango's format.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use terapi::runtime::Workshop;
use terapi::sandbox::{LimitOverrides, Script};
use terapi::trial::{self, Trial, TrialError};

use crate::support::{Bench, on_shared_bench};

const SYNC: &str = r"
import { createSync } from 'nango';
import * as z from 'zod';

export default createSync({
    description: 'Items', version: '1.0.0', frequency: 'every hour', autoStart: true,
    models: { Item: z.object({ id: z.string(), name: z.string() }) },
    exec: async (nango) => {
        const metadata = await nango.getMetadata();
        let page = 1;
        while (true) {
            const res = await nango.get({ endpoint: `/teams/${encodeURIComponent(metadata.team)}/items`, params: { page }, headers: { 'x-version': '2' } });
            if (res.data.items.length === 0) break;
            await nango.batchSave(res.data.items.map((item) => ({ id: String(item.id), name: item.name })), 'Item');
            page += 1;
        }
        const gone = await nango.post({ endpoint: '/gone', data: { since: 'ever', limit: 10 } });
        await nango.batchDelete(gone.data.map((id) => ({ id })), 'Item');
    }
});
";

const ACTION: &str = r"
import { createAction } from 'nango';
import * as z from 'zod';

export default createAction({
    description: 'Uploads', version: '1.0.0',
    input: z.object({ name: z.string() }), output: z.object({ id: z.string(), size: z.number() }),
    exec: async (nango, input) => {
        const connection = await nango.getConnection();
        const file = await nango.get({ endpoint: '/files/' + input.name, responseType: 'arraybuffer' });
        const body = new URLSearchParams({ tenant: connection.connection_config.tenant, name: input.name });
        const res = await nango.post({
            baseUrlOverride: 'https://elsewhere.example/api/v2', endpoint: '/uploads', data: body.toString(),
            headers: { 'content-type': 'application/x-www-form-urlencoded' }
        });
        return { id: res.data.id, size: file.data.byteLength };
    }
});
";

fn of_sync() -> Value {
    let page = |items: Value, page: &str| {
        json!({ "response": { "items": items }, "status": 200, "headers": {},
                "request": { "params": { "page": page }, "headers": { "X-Version": "2" } } })
    };
    json!({
        "nango": {
            "getMetadata": { "team": "a b/c" },
            "batchSave": { "Item": [{ "id": "1", "name": "one" }, { "id": "2", "name": "two" }, { "id": "3", "name": "three" }] },
            "batchDelete": { "Item": [{ "id": "9" }] }
        },
        "api": {
            "get": { "teams/a%20b%2Fc/items": [
                page(json!([]), "3"),
                page(json!([{ "id": 1, "name": "one" }, { "id": 2, "name": "two" }]), "1"),
                page(json!([{ "name": "three", "id": 3 }]), "2"),
            ] },
            "post": { "/gone": { "response": ["9"], "request": { "data": { "limit": 10, "since": "ever" } } } }
        }
    })
}

fn of_action() -> Value {
    json!({
        "input": { "name": "x.bin" },
        "output": { "id": "u1", "size": 4 },
        "nango": { "getConnection": { "connection_id": "c", "connection_config": { "tenant": "t 1" }, "metadata": {} } },
        "api": {
            "get": { "/files/x.bin": { "response": { "type": "Buffer", "data": [255, 0, 254, 1] } } },
            "post": { "/uploads": { "response": { "id": "u1" }, "status": 201,
                "request": { "data": "tenant=t+1&name=x.bin", "headers": { "content-type": "application/x-www-form-urlencoded" } } } }
        }
    })
}

async fn load(bench: &Bench, text: &str) -> Arc<Script> {
    bench.load(text.as_bytes().to_vec()).await
}

pub(super) async fn against(bench: &Bench, text: &str, file: &Value) -> Trial {
    tried(bench, text, file.to_string().as_bytes()).await.unwrap_or_else(|error| panic!("{error}"))
}

pub(super) async fn tried(bench: &Bench, text: &str, file: &[u8]) -> Result<Trial, TrialError> {
    let workshop = Workshop::beside(&bench.runtime);
    trial::against(&workshop, &load(bench, text).await, Path::new("x.test.json"), file, &LimitOverrides::default())
        .await
}

#[test]
fn a_good_recording_of_a_sync_passes() {
    on_shared_bench(async |bench| {
        let trial = against(bench, SYNC, &of_sync()).await;
        assert_eq!(trial.mismatches, [], "{:?}", trial.log);
        assert_eq!((trial.requests, trial.saved, trial.deleted), (4, 3, 1));
    });
}

#[test]
fn a_good_recording_of_an_action_passes() {
    on_shared_bench(async |bench| {
        let trial = against(bench, ACTION, &of_action()).await;
        assert_eq!(trial.mismatches, [], "{:?}", trial.log);
        assert_eq!(trial.requests, 2);
    });
}

#[test]
fn what_is_not_as_recorded_is_named() {
    on_shared_bench(async |bench| {
        type Edit = fn(&mut Value);
        let cases: [(Edit, &str, &str, &str, &str); 6] = [
            (|file| file["nango"]["batchSave"]["Item"][1]["name"] = "zwei".into(), "saved", "[1].name", "zwei", "two"),
            (|file| file["nango"]["batchSave"]["Item"][2] = json!(null), "saved", "[2]", "null", "three"),
            (|file| file["nango"]["batchDelete"] = json!({ "Item": [{ "id": "8" }] }), "deleted", "[0]", "8", "9"),
            (
                |file| file["nango"]["batchSave"]["Other"] = json!([{ "id": "1" }]),
                "saved",
                "",
                "1 records",
                "0 records",
            ),
            (
                |file| file["api"]["post"]["/gone"]["request"]["data"]["since"] = "never".into(),
                "request",
                "body since",
                "never",
                "ever",
            ),
            (
                |file| file["api"]["put"] = json!({ "/more": { "response": {}, "request": {} } }),
                "request-not-made",
                "",
                "PUT /more",
                "no such request",
            ),
        ];
        for (edit, kind, path, recorded, came) in cases {
            let mut file = of_sync();
            edit(&mut file);
            let trial = against(bench, SYNC, &file).await;
            let found = trial.mismatches.iter().find(|it| it.kind == kind);
            let found = found.unwrap_or_else(|| panic!("no {kind}: {:?}", trial.mismatches));
            assert_eq!(found.path, path, "{found:?}");
            assert!(found.recorded.contains(recorded), "{found:?}");
            assert!(found.came.contains(came), "{found:?}");
        }
    });
}

#[test]
fn a_request_that_nothing_is_recorded_for_fails_the_script_and_names_the_nearest() {
    on_shared_bench(async |bench| {
        let mut file = of_sync();
        file["api"]["get"]["teams/a%20b%2Fc/items"][2]["request"]["headers"]["X-Version"] = "1".into();
        let trial = against(bench, SYNC, &file).await;
        let request = &trial.mismatches[0];
        assert_eq!((request.kind.as_str(), request.path.as_str()), ("request", "header x-version"));
        assert_eq!(request.what, "GET /teams/a b/c/items?page=2");
        assert!(request.recorded.starts_with("nearest is GET /teams/a b/c/items?page=2: 1"), "{request:?}");
        assert!(trial.mismatches.iter().any(|it| it.kind == "outcome"), "{:?}", trial.mismatches);
        let mut file = of_action();
        file["output"]["size"] = 5.into();
        let trial = against(bench, ACTION, &file).await;
        assert_eq!((trial.mismatches[0].kind.as_str(), trial.mismatches[0].path.as_str()), ("output", "size"));
    });
}

#[test]
fn another_order_of_the_same_records_is_a_note() {
    on_shared_bench(async |bench| {
        let mut file = of_sync();
        file["nango"]["batchSave"]["Item"].as_array_mut().unwrap().reverse();
        let trial = against(bench, SYNC, &file).await;
        assert_eq!(trial.mismatches, []);
        assert_eq!(trial.notes, ["saved Item: the same 3 records in another order"]);
        // Of one that differs its id says more than its place.
        file["nango"]["batchSave"]["Item"][2]["name"] = "eins".into();
        let trial = against(bench, SYNC, &file).await;
        assert_eq!(trial.mismatches[0].path, "name of the record 1", "{:?}", trial.mismatches);
    });
}

#[test]
fn the_same_request_again_gets_the_next_answer_and_at_last_the_last() {
    on_shared_bench(async |bench| {
        let script = r"
            import { createAction } from 'nango';
            import * as z from 'zod';
            export default createAction({
                description: '', version: '1.0.0', input: z.any(), output: z.any(),
                exec: async (nango) => {
                    const seen = [];
                    for (let i = 0; i < 4; i++) seen.push((await nango.get({ endpoint: 'job' })).data);
                    return seen;
                }
            });";
        let answer = |state: &str| json!({ "response": { "state": state } });
        let file = json!({
            "output": [{ "state": "new" }, { "state": "busy" }, { "state": "done" }, { "state": "done" }],
            "api": { "get": { "/job": [answer("new"), answer("busy"), answer("done")] } }
        });
        assert_eq!(against(bench, script, &file).await.mismatches, []);
    });
}

#[test]
fn a_checkpoint_is_given_and_the_saved_ones_are_compared() {
    on_shared_bench(async |bench| {
        let script = r"
            import { createSync } from 'nango';
            import * as z from 'zod';
            export default createSync({
                description: '', version: '1.0.0', frequency: 'every hour', autoStart: true,
                models: { Item: z.object({ id: z.string() }) }, checkpoint: z.object({ page: z.number() }),
                exec: async (nango) => {
                    const checkpoint = await nango.getCheckpoint();
                    await nango.saveCheckpoint({ page: (checkpoint?.page ?? 0) + 1 });
                }
            });";
        let file =
            |page: u32| json!({ "nango": { "getCheckpoint": { "page": 4 }, "saveCheckpoint": { "page": page } } });
        assert_eq!(against(bench, script, &file(5)).await.mismatches, []);
        let trial = against(bench, script, &file(6)).await;
        assert_eq!((trial.mismatches[0].kind.as_str(), trial.mismatches[0].path.as_str()), ("checkpoint", "[0].page"));
    });
}

#[test]
fn a_file_of_another_kind_is_refused() {
    on_shared_bench(async |bench| {
        for bytes in [&b"hello"[..], b"[]", b"{}", br#"{"api":{"get":{"/x":7}}}"#] {
            let refused = tried(bench, ACTION, bytes).await.err().unwrap();
            assert_eq!(refused.code(), "recorded-foreign", "{refused}");
        }
    });
}
