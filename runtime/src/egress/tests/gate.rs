//! Who gets out and who does not.

use url::Url;

use super::*;

/// A policy that allows just the URL's host, without any network.
fn to_host_of(url: &str) -> Policy {
    let url = Url::parse(url).unwrap();
    allowing(&[&url.origin().ascii_serialization()])
}

async fn denied(egress: &Egress, policy: &Policy, url: &str) -> String {
    let budget = Budget::ample();
    let error = egress.send(policy, get(url), &budget).await.expect_err(url);
    assert_eq!(error.code(), "denied", "{url}: {error}");
    error.to_string()
}

#[tokio::test]
async fn loopback_is_never_dialed_however_it_is_spelled() {
    let (egress, asked) = with_names(&[]);
    let canary = Canary::on("127.0.0.1:0");
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.255.255.254",
        "0x7f.1",
        "0X7F000001",
        "0177.0.0.1",
        "2130706433",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST.",
        "foo.localhost",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ] {
        let url = format!("http://{host}:{}/", canary.port());
        let message = denied(&egress, &to_host_of(&url), &url).await;
        assert!(message.contains("`--allow-network "), "{message}");
        canary.assert_silent(&url);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "no name was resolved");
}

#[tokio::test]
async fn special_addresses_are_denied_although_their_host_is_allowed() {
    let (egress, _) = with_names(&[]);
    for host in [
        "10.0.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.100.100.200",
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "192.0.0.192",
        "255.255.255.255",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[ff02::1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[2001:db8::1]",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}/");
            denied(&egress, &to_host_of(&url), &url).await;
        }
    }
}

#[tokio::test]
async fn a_denial_names_the_missing_rule_and_with_both_rules_the_request_goes_out() {
    let server = Server::always(answer(200, "", "hello")).await;
    let egress = Egress::new().unwrap();
    let (host, port) = (server.url(""), server.address.port());

    let message = denied(&egress, &Policy::default(), &server.url("/x")).await;
    assert!(message.contains(&format!("`--allow-host {host}`")), "{message}");
    let message = denied(&egress, &loopback(&[]), &server.url("/x")).await;
    assert!(message.contains(&format!("`--allow-host {host}`")), "{message}");
    let message = denied(&egress, &allowing(&[&host]), &server.url("/x")).await;
    assert!(message.contains("`--allow-network 127.0.0.0/8`"), "{message}");
    let message = denied(&egress, &allowing(&["http://10.1.2.3"]), "http://10.1.2.3/").await;
    assert!(message.contains("`--allow-network 10.1.2.3/32`"), "{message}");
    let message =
        denied(&egress, &allowing(&[&format!("http://localhost:{port}")]), &format!("http://localhost:{port}/")).await;
    assert!(message.contains("`--allow-network 127.0.0.0/8`"), "{message}");
    assert_eq!(server.connections(), 0);

    let response = egress.send(&to(&server), get(server.url("/x")), &Budget::ample()).await.unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"hello"[..]));
    let policy = loopback(&[&format!("http://localhost:{port}")]);
    let response = egress.send(&policy, get(format!("http://localhost:{port}/")), &Budget::ample()).await.unwrap();
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn a_name_with_any_private_address_is_denied_whole() {
    let canary = Canary::on("127.0.0.1:0");
    let many: Vec<String> =
        (0..1000).map(|n| format!("127.8.{}.{}", n / 250, n % 250)).chain(["10.0.0.1".to_owned()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (egress, _) = with_names(&[
        ("private.test", &[&["10.0.0.1"]]),
        ("loopback.test", &[&["127.0.0.1"]]),
        ("mixed.test", &[&["127.0.0.1", "10.0.0.1"]]),
        ("mixed6.test", &[&["::1", "127.0.0.1"]]),
        ("mapped.test", &[&["::ffff:127.0.0.1"]]),
        ("many.test", &[&many]),
    ]);
    let port = canary.port();
    // 127.0.0.0/8 stands for the public addresses here, which no test may dial; without it, loopback is private, too.
    let mut policy = loopback(&[&format!("http://*.test:{port}")]);
    for name in ["private", "mixed", "mixed6", "mapped", "many"] {
        let message = denied(&egress, &policy, &format!("http://{name}.test:{port}/")).await;
        assert!(message.contains("`--allow-network <"), "{message}");
        assert!(!message.contains("10.0.0.1") && !message.contains("127."), "{message}");
        canary.assert_silent(name);
    }
    policy.private_networks.clear();
    denied(&egress, &policy, &format!("http://loopback.test:{port}/")).await;
    canary.assert_silent("loopback");
}

#[tokio::test]
async fn just_the_checked_address_is_dialed_even_if_the_name_changes() {
    let server =
        Server::start_on("127.0.0.2:0", |_, _| vec![Step::Send(answer(200, "connection: close\r\n", ""))]).await;
    let port = server.address.port();
    let canary = Canary::on(&format!("127.0.0.1:{port}"));
    let (egress, asked) = with_names(&[("api.test", &[&["127.0.0.2"], &["127.0.0.1"]])]);
    let policy = Policy {
        private_networks: vec!["127.0.0.2/32".parse().unwrap()],
        ..allowing(&[&format!("http://api.test:{port}")])
    };
    let url = format!("http://api.test:{port}/");

    let response = egress.send(&policy, get(&*url), &Budget::ample()).await.unwrap();
    assert_eq!((response.status, asked.load(Ordering::SeqCst)), (200, 1));
    server.closed.acquire().await.unwrap().forget();
    denied(&egress, &policy, &url).await;
    canary.assert_silent("rebound");
}

#[tokio::test]
async fn at_most_sixteen_addresses_of_a_name_are_dialed() {
    // Nothing listens on these; the 17th address would answer.
    let server = Server::start_on("127.0.1.17:0", |_, _| vec![Step::Send(answer(200, "", ""))]).await;
    let port = server.address.port();
    let addresses: Vec<String> = (1..=17).map(|n| format!("127.0.1.{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let (egress, _) = with_names(&[("all.test", &[&addresses]), ("last.test", &[&addresses[1..]])]);
    let policy = loopback(&[&format!("http://*.test:{port}")]);
    let error = egress.send(&policy, get(format!("http://all.test:{port}/")), &Budget::ample()).await.unwrap_err();
    assert_eq!(error.code(), "transport");
    let last = egress.send(&policy, get(format!("http://last.test:{port}/")), &Budget::ample()).await;
    assert_eq!(last.unwrap().status, 200);
}

#[tokio::test]
async fn a_pooled_connection_does_not_serve_a_policy_that_would_not_have_dialed_it() {
    let server = Server::always(answer(200, "", "")).await;
    let port = server.address.port();
    let (egress, _) = with_names(&[("api.test", &[&["127.0.0.1"]])]);
    let host = format!("http://api.test:{port}");
    egress.send(&loopback(&[&host]), get(&*host), &Budget::ample()).await.unwrap();
    denied(&egress, &allowing(&[&host]), &host).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn checks_come_in_order_and_a_request_that_fails_one_costs_nothing() {
    let canary = Canary::on("127.0.0.1:0");
    let url = format!("http://127.0.0.1:{}/", canary.port());
    let (egress, asked) = with_names(&[]);
    let bad_header = vec![header("Host", "x")];
    let send = async |policy: &Policy, request: Request| {
        let budget = Budget::ample();
        let error = egress.send(policy, Request { headers: bad_header.clone(), ..request }, &budget).await.unwrap_err();
        assert_eq!(budget.sent(), 0);
        canary.assert_silent(&error.to_string());
        error
    };
    let policy = allowing(&[&url[..url.len() - 1]]);
    let method = send(&policy, Request { method: "TRACE".to_owned(), ..get("nonsense") }).await;
    assert!(method.to_string().contains("method"), "{method}");
    let parsed = send(&policy, get(format!("{url}\n"))).await;
    assert_eq!(parsed.code(), "invalid-request", "{parsed}");
    let host = send(&Policy::default(), get(&*url)).await;
    assert!(matches!(host, EgressError::Denied { rule: Rule::Host(_), .. }), "{host}");
    let literal = send(&policy, get(&*url)).await;
    assert!(matches!(literal, EgressError::Denied { rule: Rule::Network(_), .. }), "{literal}");
    let headers = send(&allowing(&["http://unknown.test"]), get("http://unknown.test")).await;
    assert_eq!(headers.code(), "invalid-request", "{headers}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_beyond_the_budget_is_not_sent() {
    let server = Server::always(answer(200, "", "")).await;
    let budget = Budget::new(1, usize::MAX);
    let egress = Egress::new().unwrap();
    egress.send(&to(&server), get(server.url("/")), &budget).await.unwrap();
    let error = egress.send(&to(&server), get(server.url("/")), &budget).await.unwrap_err();
    assert!(matches!(error, EgressError::Exhausted(Exhausted::HttpRequests)), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_is_sent_is_the_request_and_what_the_host_adds() {
    let server = Server::always(answer(200, "", "")).await;
    let policy = Policy { base_url: Some(server.url("/v1").parse().unwrap()), ..to(&server) };
    let request = Request {
        method: "post".to_owned(),
        headers: vec![header("X-A", "1"), header("x-a", "2"), header("Content-Type", "text/plain")],
        query: vec![header("q", "a b\r\nX-B: c")],
        body: Some(b"body".to_vec()),
        ..get("/items?x=1#f")
    };
    Egress::new().unwrap().send(&policy, request, &Budget::ample()).await.unwrap();
    let sent = server.requests();
    assert_eq!(sent.len(), 1);
    let (head, body) = sent[0].split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /v1/items?x=1&q=a%20b%0D%0AX-B%3A%20c HTTP/1.1");
    lines.sort_unstable();
    let (agent, host) =
        (format!("user-agent: terapi/{}", env!("CARGO_PKG_VERSION")), format!("host: {}", server.address));
    assert_eq!(
        lines,
        [
            "accept-encoding: gzip, br, zstd, deflate",
            "accept: */*",
            "content-length: 4",
            "content-type: text/plain",
            &host,
            &agent,
            "x-a: 1",
            "x-a: 2",
        ]
    );
    assert_eq!(body, "body");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_and_a_port_that_is_closed_are_transport_errors_without_addresses() {
    let (egress, _) = with_names(&[("api.test", &[&["127.0.0.1"]])]);
    let closed = Canary::on("127.0.0.1:0");
    let port = closed.port();
    drop(closed);
    let policy = loopback(&[&format!("http://*.test:{port}")]);
    for (name, text) in [("api.test", "no connection"), ("unknown.test", "does not resolve")] {
        let error =
            egress.send(&policy, get(format!("http://{name}:{port}/?key=secret")), &Budget::ample()).await.unwrap_err();
        let message = error.to_string();
        assert_eq!(error.code(), "transport");
        assert!(message.contains(text) && message.contains(name), "{message}");
        assert!(!message.contains("127.0.0.1") && !message.contains("secret"), "{message}");
    }
}
