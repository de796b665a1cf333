//! E24, E25: what connections share, and what not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::server::{Server, answer};
use super::{get, new_name, on_egress, open_to};
use crate::service::api::{Do, ItemsApi};

const PUBLIC: &[&str] = &["127.0.0.2/32"];

#[test]
fn no_connection_to_an_api_ever_serves_two_credentials() {
    on_egress("E24", async |scene| {
        let server = Server::always(answer(200, "", "hello")).await;
        let mut integration = open_to(&[server.url("")], PUBLIC);
        integration["base_url"] = json!(server.url(""));
        integration["auth"] = json!({ "type": "bearer" });
        let name = new_name("api");
        scene.ground.client.put(&format!("/v1/integrations/{name}"), &integration).await.ok();
        let credential = |nth: usize| json!({ "type": "bearer", "token": format!("token-{nth}") });
        let mut connections = Vec::new();
        for nth in 0..4 {
            connections.push(scene.add(&name, credential(nth)).await);
        }
        for round in 0..3 {
            let runs = connections.iter().map(|connection| scene.run(connection, vec![get(server.url("/")); 5]));
            for ran in join_all(runs).await {
                ran.succeeded(5);
            }
            // A new credential of the same connection is another one.
            let path = format!("/v1/connections/{}/credential", connections[0]);
            scene.ground.client.put(&path, &credential(10 + round)).await.ok();
            let path = format!("/v1/connections/{}/proxy/x", connections[1]);
            scene.ground.client.get(&path).await;
        }
        let mut shown: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (connection, request) in server.connections_of_requests() {
            let token = request.lines().find(|line| line.starts_with("authorization: ")).expect("a token").to_owned();
            shown.entry(connection).or_default().insert(token);
        }
        assert!(shown.values().all(|tokens| tokens.len() == 1), "{shown:?}");
        let all: BTreeSet<&String> = shown.values().flatten().collect();
        assert_eq!(all.len(), 6, "{all:?}");
        // They are kept, too: 63 requests did not need as many connections.
        assert!(shown.len() < 30, "{} connections", shown.len());
        Vec::new()
    });
}

#[test]
fn an_api_is_asked_no_faster_than_it_and_the_operator_allow() {
    on_egress("E25", async |scene| {
        let api = ItemsApi::start().await;
        let most = Arc::new(AtomicUsize::new(0));
        let seen_most = Arc::clone(&most);
        api.rule(move |seen| {
            seen_most.fetch_max(seen.all_inside, Ordering::SeqCst);
            Do::Wait(Duration::from_millis(5))
        });
        let mut integration = open_to(&[api.url("")], &["127.0.0.1/32"]);
        integration["rate"] = json!({ "concurrency": 3 });
        let name = new_name("api");
        scene.ground.client.put(&format!("/v1/integrations/{name}"), &integration).await.ok();
        let mut connections = Vec::new();
        for _ in 0..3 {
            connections.push(scene.add(&name, json!({ "type": "none" })).await);
        }
        let flood = |url: String| vec![json!({ "do": "fetch-all-raw", "n": 32, "url": url }); 5];
        let runs = connections.iter().map(|connection| scene.run(connection, flood(api.url("/a/items"))));
        for said in join_all(runs).await.into_iter().flat_map(|ran| ran.succeeded(5)) {
            assert_eq!(said, "32 answers, 0 errors, last Some(Ok(404))");
        }
        assert_eq!(api.seen().len(), 3 * 5 * 32);
        assert_eq!(most.load(Ordering::SeqCst), 3, "under way at once");

        // By itself a run has no more than six under way.
        most.store(0, Ordering::SeqCst);
        let connection = scene.connect(open_to(&[api.url("")], &["127.0.0.1/32"])).await;
        scene.run(&connection, flood(api.url("/a/items"))).await.succeeded(5);
        assert!(most.load(Ordering::SeqCst) <= 6);

        // What an API asks for is heeded, for all requests of the connection.
        api.forget_seen();
        api.rule(|seen| match seen.path.as_str() {
            "slow" => Do::Answer(429, vec![("retry-after", "1".to_owned())], String::new()),
            _ => Do::Serve,
        });
        let steps: Vec<Value> = vec![get(api.url("/a/slow")), get(api.url("/a/items"))];
        scene.run(&connection, steps).await.succeeded(2);
        let seen = api.seen();
        assert!(seen[1].at - seen[0].at >= Duration::from_millis(950), "{:?}", seen[1].at - seen[0].at);
        Vec::new()
    });
}
