//! Which requests a recorded one stands for.

#![allow(clippy::needless_pass_by_value, reason = "`json!` is written at the call")]

use serde_json::{Value, json};

use super::nango::against;
use crate::support::on_shared_bench;

/// Sends what its input says, and returns what it got.
const SENDS: &str = r"
import { createAction } from 'nango';
import * as z from 'zod';
export default createAction({
    description: 'Sends', version: '1.0.0', input: z.any(), output: z.any(),
    exec: async (nango, input) => {
        const seen = [];
        for (const { bytes, form, ...request } of input.requests) {
            if (bytes !== undefined) request.data = Buffer.from(bytes);
            if (form !== undefined) request.data = new URLSearchParams(form).toString();
            try {
                seen.push((await nango.proxy(request)).data);
            } catch (error) {
                seen.push(error.status ?? 'none');
            }
        }
        return seen;
    }
});";

/// A request, where it is recorded, with what (`request` of the exchange; `null` for none), and in what it differs.
type Case = (Value, &'static str, Value, Option<&'static str>);

fn file(requests: Value, method: &str, path: &str, exchanges: Value) -> Value {
    json!({ "input": { "requests": requests }, "api": { method: { path: exchanges } } })
}

fn get(endpoint: &str) -> Value {
    json!({ "endpoint": endpoint })
}

fn with(mut request: Value, fields: Value) -> Value {
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

fn post(data: Value) -> Value {
    json!({ "method": "POST", "endpoint": "/x", "data": data })
}

#[track_caller]
fn check(cases: Vec<Case>) {
    on_shared_bench(async |bench| {
        for (request, place, recorded, differs) in cases {
            let (method, path) = place.split_once(' ').unwrap();
            let mut exchange = json!({ "response": "yes" });
            if !recorded.is_null() {
                exchange["request"] = recorded.clone();
            }
            let trial = against(bench, SENDS, &file(json!([request]), method, path, exchange)).await;
            let found = trial.mismatches.iter().find(|it| it.kind == "request").map(|it| it.path.as_str());
            assert_eq!(found, differs, "{request} for {place} {recorded}: {:?} {:?}", trial.mismatches, trial.log);
        }
    });
}

#[test]
fn paths_are_compared_however_they_are_written() {
    check(vec![
        (get("/a b/c"), "get /a%20b/c", json!({}), None),
        (get("/a%20b/c"), "GET a b/c", json!({}), None),
        (get("a"), "Get /a/", json!({}), None),
        (get("/a/"), "get a", json!({}), None),
        (get("/caf%C3%A9/日本"), "get /café/%E6%97%A5%E6%9C%AC", json!({}), None),
        (get("/%7Bx%7D"), "get /{x}", json!({}), None),
        (get("/100%"), "get /100%", json!({}), None),
        (get("/a%252Fb"), "get /a%2Fb", json!({}), Some("path")),
        (get("/a?x=1&y=2"), "get /a?y=2&x=1", json!({}), None),
        (get("/a?x=1"), "get /a", json!({ "params": { "x": "1" } }), None),
        (get("/a?x=1"), "get /a?x=2", json!({}), Some("parameter x")),
        (get("/a?x=1"), "get /a?x=2", Value::Null, Some("parameter x")),
        (get("/a?x=1&y=2"), "get /a?x=1", Value::Null, None),
        (get("/b"), "get /a", json!({}), Some("path")),
        (get("/b/a"), "get /a", json!({}), Some("path")),
        (get("/"), "get /", json!({}), None),
        (get("/a#part"), "get /a", json!({}), None),
    ]);
}

#[test]
fn hosts_are_not_compared_and_base_urls_may_have_a_path() {
    let over = |base: &str| json!({ "endpoint": "/items", "baseUrlOverride": base });
    check(vec![
        (over("https://other.example"), "get /items", json!({}), None),
        (over("https://other.example/api/v2/"), "get /items", json!({}), None),
        (over("https://other.example/api/v2"), "get /api/v2/items", json!({}), None),
        (get("https://other.example/items?x=1"), "get /items", json!({ "params": { "x": 1 } }), None),
        (get("https://other.example/items"), "get https://this.example/items", json!({}), None),
        (over("https://other.example/my"), "get /y/items", json!({}), Some("path")),
        (json!({ "endpoint": "", "baseUrlOverride": "https://other.example/graphql" }), "get /", json!({}), None),
    ]);
}

#[test]
fn parameters_are_compared_as_they_are_sent() {
    let of = |params: Value| json!({ "endpoint": "/x", "params": params });
    let as_recorded = |params: Value| json!({ "params": params });
    let same = |came: Value, recorded: Value| (of(came), "get /x", as_recorded(recorded), None);
    let apart = |came: Value, recorded: Value, at| (of(came), "get /x", as_recorded(recorded), Some(at));
    check(vec![
        same(json!({ "a": 1, "b": true }), json!({ "b": "true", "a": "1" })),
        same(json!({ "a": "1" }), json!({ "a": 1 })),
        same(json!({ "a": "1" }), json!({ "a": 1.0 })),
        same(json!({ "a": [1, 2] }), json!({ "a": "1,2" })),
        same(json!({ "a": [1, 2] }), json!({ "a": ["1", "2"] })),
        same(json!({ "a": null }), json!({ "a": "null" })),
        same(json!({}), json!({ "a": null })),
        same(json!({}), json!({ "a": [] })),
        same(json!({ "a[b]": "1" }), json!({ "a": { "b": 1 } })),
        same(json!({ "a[b][c]": "1", "a[d]": 2 }), json!({ "a": { "b": { "c": 1 }, "d": 2 } })),
        same(json!({ "a": "" }), json!({ "a": "" })),
        same(json!("a=1&b=2"), json!({ "a": 1, "b": 2 })),
        same(json!("a=1&a=2"), json!({ "a": "2" })),
        same(json!("a=1&a=2"), json!({ "a": ["1", "2"] })),
        same(json!("a[]=1&a[]=2"), json!({ "a": [1, 2] })),
        same(json!("a[]=1&a[]=2"), json!({ "a[]": "2" })),
        same(json!({ "a": 1 }), json!("?a=1")),
        same(json!({ "a": "ä b&c" }), json!({ "a": "ä b&c" })),
        apart(json!({ "a": 1 }), json!({ "a": 2 }), "parameter a"),
        apart(json!({ "a": 1 }), json!({}), "parameter a"),
        apart(json!({}), json!({ "a": 1 }), "parameter a"),
        apart(json!({ "a": "" }), json!({ "a": 1 }), "parameter a"),
        apart(json!({ "a": [1, 2] }), json!({ "a": [2, 1] }), "parameter a"),
        apart(json!({ "a": 1, "b": 2 }), json!({ "a": 1 }), "parameter b"),
        apart(json!({ "a": "undefined" }), json!({}), "parameter a"),
        (of(json!({ "a": 1 })), "get /x", json!({ "headers": {} }), Some("parameter a")),
        (of(json!({ "a": 1 })), "get /x", Value::Null, None),
    ]);
}

#[test]
fn the_scripts_own_headers_are_compared_and_those_of_a_platform_only_where_both_have_them() {
    let of = |headers: Value| with(get("/x"), json!({ "headers": headers }));
    let as_recorded = |headers: Value| json!({ "headers": headers });
    let same = |came: Value, recorded: Value| (of(came), "get /x", as_recorded(recorded), None);
    let apart = |came: Value, recorded: Value, at| (of(came), "get /x", as_recorded(recorded), Some(at));
    check(vec![
        same(json!({ "X-Version": "2" }), json!({ "x-version": "2" })),
        same(json!({ "x-version": 2 }), json!({ "X-VERSION": 2 })),
        same(json!({ "x-list": "a, b" }), json!({ "x-list": ["a, b"] })),
        same(json!({ "nango-proxy-x-version": "2" }), json!({ "x-version": "2" })),
        same(json!({}), json!({ "Authorization": "Bearer of-the-platform" })),
        same(json!({ "authorization": "Basic own" }), json!({})),
        same(json!({ "accept": "application/json" }), json!({})),
        same(json!({}), json!({ "Accept": "application/json", "User-Agent": "x" })),
        same(
            json!({ "content-type": "application/json" }),
            json!({ "Content-Type": "application/json; charset=utf-8" }),
        ),
        apart(
            json!({ "authorization": "Basic own" }),
            json!({ "authorization": "Basic other" }),
            "header authorization",
        ),
        apart(json!({ "x-version": "2" }), json!({ "x-version": "3" }), "header x-version"),
        apart(json!({ "x-version": "2" }), json!({}), "header x-version"),
        apart(json!({}), json!({ "x-version": "2" }), "header x-version"),
        (of(json!({ "x-version": "2" })), "get /x", json!({}), Some("header x-version")),
        (of(json!({ "x-version": "2" })), "get /x", Value::Null, None),
    ]);
}

#[test]
fn bodies_are_compared_by_what_they_say() {
    let long = "x".repeat(1_200);
    let form = |form: Value| {
        let headers = json!({ "content-type": "application/x-www-form-urlencoded" });
        json!({ "method": "POST", "endpoint": "/x", "form": form, "headers": headers })
    };
    let bytes = json!({ "method": "POST", "endpoint": "/x", "bytes": [255, 0, 1] });
    let data = |data: Value| json!({ "data": data });
    check(vec![
        (post(json!({ "a": 1, "b": 2 })), "post /x", data(json!({ "b": 2, "a": 1.0 })), None),
        (post(json!({ "a": 1 })), "POST /x", data(json!("{\"a\":1}")), None),
        (post(json!("{\"a\": 1}")), "post /x", data(json!({ "a": 1 })), None),
        (post(json!("plain")), "post /x", data(json!("plain")), None),
        (post(json!("7")), "post /x", data(json!(7)), None),
        (post(json!({ "a": 1 })), "post /x", json!({}), None),
        (post(json!({ "a": null })), "post /x", data(json!({})), Some("body a")),
        (post(json!({ "a": 1 })), "post /x", data(Value::Null), Some("body")),
        (post(Value::Null), "post /x", data(Value::Null), None),
        (post(json!({ "a": { "b": [1] } })), "post /x", data(json!({ "a": { "b": [2] } })), Some("body a.b[0]")),
        (post(json!({ "a": 1, "b": 2 })), "post /x", data(json!({ "a": 1 })), Some("body b")),
        (form(json!({ "a": "1", "b": "x y" })), "post /x", data(json!("b=x+y&a=1")), None),
        (form(json!({ "a": "1", "b": "x y" })), "post /x", data(json!({ "a": 1, "b": "x y" })), None),
        (form(json!({ "a[b]": "1" })), "post /x", data(json!({ "a": { "b": 1 } })), None),
        (form(json!({ "a": "1" })), "post /x", data(json!("a=2")), Some("body a")),
        (bytes.clone(), "post /x", data(json!({ "type": "Buffer", "data": [255, 0, 1] })), None),
        (bytes.clone(), "post /x", data(json!("/wAB")), None),
        (bytes, "post /x", data(json!({ "type": "Buffer", "data": [255, 0, 2] })), Some("body")),
        // A recorder has no more than a hash of what is long.
        (
            post(json!({ "text": long })),
            "post /x",
            data(json!("sha1:f2e6d61e6aa2b0e0ac1fc3a1c0a9d64a9e39c2a4")),
            Some("body"),
        ),
        (post(json!(long)), "post /x", data(json!(LONG_HASH)), None),
    ]);
}

/// Of 1,200 times `x`.
const LONG_HASH: &str = "sha1:41230788700368a920fb440d94fc63f2bff90165";

#[test]
fn answers_are_as_recorded() {
    on_shared_bench(async |bench| {
        for (exchange, got) in [
            (json!({ "response": { "a": 1 } }), json!({ "a": 1 })),
            (json!({ "response": "text" }), json!("text")),
            (json!({ "response": "" }), json!("")),
            (json!({ "response": "7" }), json!("7")),
            (json!({}), json!("")),
            (json!({ "response": null }), json!(null)),
            (json!({ "response": null, "status": 204 }), json!("")),
            (json!({ "response": [1, 2] }), json!([1, 2])),
            (json!({ "response": false, "status": 404 }), json!(404)),
            (json!({ "response": {}, "headers": { "X-List": ["a", "b"], "content-length": 9 } }), json!({})),
        ] {
            let file = with(file(json!([get("/x")]), "get", "/x", exchange.clone()), json!({ "output": [got] }));
            let trial = against(bench, SENDS, &file).await;
            assert_eq!(trial.mismatches, [], "{exchange}: {:?}", trial.log);
        }
    });
}

#[test]
fn of_several_that_match_each_answers_once_in_their_order() {
    on_shared_bench(async |bench| {
        let (this, other) = ("https://this.example", "https://other.example");
        let asked = |base: &str| json!({ "endpoint": "/x", "baseUrlOverride": base });
        for (requests, api, output) in [
            (
                json!([get("/x"), get("/x"), get("/x")]),
                json!({ "/x": [{ "response": 1 }, { "response": 2 }] }),
                json!([1, 2, 2]),
            ),
            // The one that was recorded for just this request goes before the one that takes any.
            (
                json!([asked(this), asked(other)]),
                json!({ (format!("{this}/x")): { "response": "this" }, (format!("{other}/x")): { "response": "other" } }),
                json!(["this", "other"]),
            ),
            (
                json!([{ "endpoint": "/x", "baseUrlOverride": "https://this.example/v1" }]),
                json!({ "/v1/x": { "response": "with its path" }, "/x": { "response": "without" } }),
                json!(["with its path"]),
            ),
            (
                json!([{ "endpoint": "/x", "baseUrlOverride": "https://this.example/api/v1" }]),
                json!({ "/x": { "response": "without" }, "v1/x": { "response": "with some of it" } }),
                json!(["with some of it"]),
            ),
        ] {
            let file = json!({ "input": { "requests": requests }, "api": { "get": api }, "output": output });
            let trial = against(bench, SENDS, &file).await;
            let wrong: Vec<_> = trial.mismatches.iter().filter(|it| it.kind != "request-not-made").collect();
            assert!(wrong.is_empty(), "{wrong:?}");
        }
    });
}
