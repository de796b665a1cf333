//! E11, E12, E33, E34: credentials, and the other ways out: token endpoints and the proxy.

use serde_json::{Value, json};

use super::server::{Server, Step, answer, blurting, redirect};
use super::{CANARIES, Scene, follow, get, on_egress, open_to};
use crate::adversarial::library_case;
use crate::service::api::ItemsApi;
use crate::service::server as service;
use crate::service::{PATIENCE, THREADS};

const PUBLIC: &[&str] = &["127.0.0.2/31"];
const SECRET: &str = "egress-secret-51c2";

/// How connections may show who they are, and what of it must be seen on the wire.
fn schemes() -> [(Value, Value, &'static str); 4] {
    let key = json!({ "type": "api-key", "key": SECRET });
    [
        (json!({ "type": "api-key-header", "name": "x-api-key" }), key.clone(), "x-api-key: egress-secret-51c2"),
        (json!({ "type": "api-key-query", "name": "key" }), key, "key=egress-secret-51c2"),
        (
            json!({ "type": "bearer" }),
            json!({ "type": "bearer", "token": SECRET }),
            "authorization: Bearer egress-secret-51c2",
        ),
        (
            json!({ "type": "basic" }),
            json!({ "type": "basic", "username": "me", "password": SECRET }),
            "authorization: Basic bWU6ZWdyZXNzLXNlY3JldC01MWMy",
        ),
    ]
}

fn is_secret(text: &str) -> bool {
    text.contains(SECRET) || text.contains("bWU6ZWdyZXNzLXNlY3JldC01MWMy")
}

#[test]
fn a_redirect_takes_the_credential_to_no_host_but_its_own() {
    on_egress("E11", async |scene| {
        for (auth, credential, shown) in schemes() {
            // Answers `/to/{n}` with a redirect to the n-th place, and sets a cookie every time.
            let places = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
            let known = places.clone();
            let home = Server::start(move |_, request| {
                let path = request.split([' ', '?']).nth(1).unwrap();
                let nth = path.strip_prefix("/to/").and_then(|nth| nth.parse::<usize>().ok());
                let mut bytes = match nth {
                    Some(nth) => redirect(307, &known.lock().unwrap()[nth]),
                    None => answer(200, "", "home"),
                };
                let status_end = bytes.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
                bytes.splice(status_end..status_end, *b"set-cookie: session=cookie-7; path=/\r\n");
                vec![Step::Send(bytes)]
            })
            .await;
            let port = home.port();
            let (clear, _clear) = blurting(answer(200, "", "clear text")).await;
            let back = home.url("/back");
            let elsewhere = {
                let back = back.clone();
                move |_: usize, request: &str| {
                    let leads_back = request.starts_with("GET /and-back");
                    vec![Step::Send(if leads_back { redirect(302, &back) } else { answer(200, "", "elsewhere") })]
                }
            };
            let other_port = Server::start(elsewhere.clone()).await;
            let other_host = Server::on(format!("127.0.0.3:{port}").parse().unwrap(), elsewhere).await;
            scene.dns.always("home.e11.test", super::dns::Reply::of(&["127.0.0.2"]));
            scene.dns.always("sub.home.e11.test", super::dns::Reply::of(&["127.0.0.3"]));
            *places.lock().unwrap() = vec![
                other_port.url("/"),
                other_host.url("/"),
                format!("http://sub.home.e11.test:{port}/"),
                other_host.url("/and-back"),
                other_port.url("/and-back?page=2"),
                // The API itself has put it there.
                other_host.url(&format!("/?key={SECRET}")),
                other_host.url(&format!("/?KEY=x&key={SECRET}&page=2")),
                format!("https://127.0.0.2:{clear}/"),
            ];
            let hosts = [
                home.url(""),
                other_port.url(""),
                other_host.url(""),
                format!("http://sub.home.e11.test:{port}"),
                format!("https://127.0.0.2:{clear}"),
            ];
            let mut integration = open_to(&hosts, PUBLIC);
            integration["auth"] = auth.clone();
            integration["credential_hosts"] = json!([home.url("")]);
            let connection = scene.connect_as(integration, credential).await;
            let steps: Vec<Value> = (0..8).map(|nth| follow(home.url(&format!("/to/{nth}")), 3)).collect();
            let said = scene.run(&connection, steps).await.succeeded(8);
            for (nth, expected) in [(0, "elsewhere"), (1, "elsewhere"), (2, "elsewhere"), (3, "home"), (4, "home")] {
                assert!(said[nth].ends_with(expected), "{auth} {nth}: {}", said[nth]);
            }
            assert!(said[7].starts_with("Error::Transport(tls") || said[7].contains("tls: "), "{}", said[7]);
            assert!(!said.iter().any(|said| is_secret(said)), "{said:?}");
            for request in home.requests() {
                assert!(request.contains(shown), "{auth}: {request}");
                assert!(!request.contains("cookie-7"), "{auth}: {request}");
            }
            let strange = [other_port.requests(), other_host.requests()].concat();
            assert!(strange.len() >= 7, "{strange:?}");
            for request in strange {
                let by_the_api = request.contains(&format!("key={SECRET}"));
                let is_query = auth["type"] == "api-key-query";
                assert!(!is_secret(&request) || (by_the_api && !is_query), "{auth}: {request}");
                assert!(!request.contains("cookie-7") && !request.to_lowercase().contains("referer"), "{request}");
            }
        }
        Vec::new()
    });
}

#[test]
fn a_credential_goes_to_its_hosts_and_a_script_can_bring_none_there() {
    on_egress("E12", async |scene| {
        for (auth, credential, shown) in schemes() {
            // It says what it was sent, as some APIs do.
            let echo = |_: usize, request: &str| {
                let sent: Vec<&str> = request.lines().collect();
                vec![Step::Send(answer(200, &format!("location: /echo{}\r\n", sent.join(";")), ""))]
            };
            let home = Server::start(echo).await;
            let other = Server::start(echo).await;
            let mut integration = open_to(&[home.url(""), other.url("")], PUBLIC);
            integration["auth"] = auth.clone();
            integration["credential_hosts"] = json!([home.url("")]);
            let connection = scene.connect_as(integration, credential).await;
            let with = |server: &Server, path: &str, headers: &[&str]| json!({ "do": "request", "url": server.url(path), "list": headers });
            let steps = vec![
                get(home.url("/")),
                get(other.url("/")),
                with(&other, "/", &["Authorization", "the script's own"]),
                with(&home, "/", &["Authorization", "the script's own"]),
                with(&home, "/", &["AUTHORIZATION", ""]),
                with(&home, "/", &["Cookie", "a=b"]),
            ];
            let said = scene.run(&connection, steps).await.succeeded(6);
            for said in &said[..3] {
                assert!(said.starts_with("200 /echo"), "{auth}: {said}");
            }
            for said in &said[3..] {
                assert!(said.starts_with("Error::InvalidRequest("), "{auth}: {said}");
            }
            assert!(!said.iter().any(|said| is_secret(said)));
            assert!(home.requests().len() == 1 && home.requests()[0].contains(shown), "{:?}", home.requests());
            assert_eq!(other.requests().len(), 2);
            assert!(!other.requests().iter().any(|request| is_secret(request)), "{:?}", other.requests());
        }
        vec!["invalid-request"; 4]
    });
}

/// The problem that a request through the proxy brings.
async fn proxied(scene: &Scene<'_>, connection: &str, status: u16, code: &str) {
    let answer = scene.ground.client.get(&format!("/v1/connections/{connection}/proxy/x")).await;
    assert!(!answer.text.contains(SECRET), "{}", answer.text);
    answer.problem(status, code);
}

#[test]
fn token_endpoints_and_the_proxy_are_behind_the_same_door() {
    on_egress("E33", async |scene| {
        let api = Server::always(answer(200, "", "hello")).await;
        let canary = CANARIES.port;
        scene.dns.always("private.e33.test", super::dns::Reply::of(&["127.0.0.1"]));
        let endless = Server::start(|_, _| {
            let head = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n{\"access_token\":\"".to_vec();
            vec![Step::Send(head), Step::Flood(vec![b'x'; 65_536], std::time::Duration::ZERO)]
        })
        .await;
        let leading_away = Server::always(redirect(307, &format!("http://127.0.0.1:{canary}/token"))).await;
        let limits = |times: usize| vec!["denied"; times];
        // Two for each that is denied: of the run, and of the proxy.
        let endpoints = [
            (format!("http://127.0.0.1:{canary}/token"), "denied"),
            (format!("http://2130706433:{canary}/token"), "denied"),
            (format!("http://[::1]:{canary}/token"), "denied"),
            (format!("http://localhost:{canary}/token"), "denied"),
            (format!("http://private.e33.test:{canary}/token"), "denied"),
            ("http://169.254.169.254/token".to_owned(), "denied"),
            (endless.url("/token"), "credential-unavailable"),
            (leading_away.url("/token"), "credential-unavailable"),
        ];
        for (token_url, code) in &endpoints {
            let mut integration = open_to(&[api.url("")], PUBLIC);
            integration["base_url"] = json!(api.url(""));
            integration["auth"] = json!({
                "type": "oauth2-client-credentials", "token_url": token_url, "client_id": "me", "client_secret": SECRET,
            });
            let connection = scene.connect_as(integration, json!({ "type": "oauth2-client-credentials" })).await;
            let said = scene.run(&connection, vec![get(api.url("/"))]).await.succeeded(1);
            let expected = if *code == "denied" { "Error::Denied(" } else { "Error::Transport(" };
            assert!(said[0].starts_with(expected) && !said[0].contains(SECRET), "{token_url}: {}", said[0]);
            proxied(scene, &connection, if *code == "denied" { 403 } else { 502 }, code).await;
        }
        assert_eq!(api.connections(), 0);
        assert!(endless.flooded() < 64 << 20, "{} bytes were taken", endless.flooded());

        // The proxy itself: an API on a forbidden address, and one that leads there.
        let mut integration = open_to(&[format!("http://127.0.0.1:{canary}")], &[]);
        integration["base_url"] = json!(format!("http://127.0.0.1:{canary}"));
        let connection = scene.connect(integration).await;
        proxied(scene, &connection, 403, "denied").await;
        let mut integration = open_to(&[leading_away.url(""), format!("http://127.0.0.1:{canary}")], PUBLIC);
        integration["base_url"] = json!(leading_away.url(""));
        let connection = scene.connect(integration).await;
        proxied(scene, &connection, 403, "denied").await;
        for path in ["/evil.test/x", "%2f/evil.test", "..%2f..%2f..%2f", "..;/..;/"] {
            let path = format!("/v1/connections/{connection}/proxy/{path}");
            scene.ground.client.get(&path).await;
        }
        for request in leading_away.requests() {
            assert!(request.contains(&format!("host: {}", leading_away.address)), "{request}");
        }
        // `//evil.test` is no path on the base URL; the others are, and lead away as all do.
        let mut expected = limits(12 + 2 + 3);
        expected.push("invalid-request");
        expected
    });
}

#[test]
fn a_network_that_the_configuration_ceases_to_allow_is_no_longer_reached() {
    library_case("E34", || {
        THREADS.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let api = ItemsApi::start().await;
            let server = service::Server::start(dir.path(), service::options(dir.path()), PATIENCE).await;
            let client = server.client().await;
            client.put("/v1/integrations/items", &crate::service::integration(&api)).await.ok();
            let connection = json!({ "name": "one", "integration": "items", "credential": { "type": "none" } });
            client.post("/v1/connections", &connection).await.ok();
            let path = "/v1/connections/one/proxy/one/items";
            assert_eq!(client.get(path).await.headers["terapi-proxied"], "true");
            server.stop().await;
            api.forget_seen();

            let options = service::options(dir.path());
            let options = terapi::runtime::Options { networks: vec!["10.0.0.0/8".parse().unwrap()], ..options };
            let server = service::Server::start(dir.path(), options, PATIENCE).await;
            server.client().await.get(path).await.problem(403, "denied");
            assert!(api.seen().is_empty());
            server.stop().await;
        });
    });
}
