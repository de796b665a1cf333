//! E14, E16–E18, E27: what a script asks for.

use serde_json::{Value, json};

use super::canaries::silent_on;
use super::dns::Reply;
use super::server::{Server, answer, blurting};
use super::{CANARIES, Ground, all_denied, dns, get, on_egress, open_to};

const PUBLIC: &[&str] = &["127.0.0.2/32"];

#[test]
fn a_request_is_one_request_on_the_wire_with_nothing_that_the_script_smuggled_in() {
    on_egress("E14", async |scene| {
        let server = Server::always(answer(200, "", "")).await;
        let connection = scene.connect(open_to(&[server.url("")], PUBLIC)).await;
        let with = |method: &str, path: &str, headers: &[&str]| json!({ "do": "request", "text": method, "url": server.url(path), "list": headers });
        let many: Vec<String> =
            (0..300).map(|nth| if nth % 2 == 0 { format!("x-{nth}") } else { "v".to_owned() }).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let long = "v".repeat(40 << 10);
        let mut bad = vec![
            with("GET\r\nX-A: b", "/", &[]),
            with("GET / HTTP/1.1\r\nHost: evil\r\n\r\nGET", "/", &[]),
            with("GET ", "/", &[]),
            with("CONNECT", "/", &[]),
            with("TRACE", "/", &[]),
            with("GE\0T", "/", &[]),
            with("GET", "/a\r\nx-evil: 1", &[]),
            with("GET", "/a HTTP/1.1\r\n\r\n", &[]),
            with("GET", "/a\0", &[]),
            with("GET", "/a\tb", &[]),
            with("GET", "/a\u{85}b", &[]),
            with("GET", "/a\\b", &[]),
            with("GET", "/", &["x-a", "b\r\nx-evil: 1"]),
            with("GET", "/", &["x-a", "b\nx-evil: 1"]),
            with("GET", "/", &["x-a", "b\rx-evil: 1"]),
            with("GET", "/", &["x-a", "b\0"]),
            with("GET", "/", &["x-a\r\nx-evil", "1"]),
            with("GET", "/", &["x-a: 1\r\nx-evil", "1"]),
            with("GET", "/", &["x a", "1"]),
            with("GET", "/", &["", "1"]),
            with("GET", "/", &[":authority", "evil"]),
            with("GET", "/", &["x-é", "1"]),
            with("GET", "/", &["x-long", &long]),
            with("GET", "/", &many),
            with("GET", &format!("/{}", "x".repeat(17 << 10)), &[]),
        ];
        let owned = [
            "Host",
            "HOST",
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Keep-Alive",
            "Proxy-Authorization",
            "Proxy-Connection",
            "Proxy-Anything",
            "HTTP2-Settings",
        ];
        bad.extend(owned.map(|name| with("POST", "/", &[name, "x"])));
        let count = bad.len();
        for (said, step) in scene.run(&connection, bad.clone()).await.succeeded(count).iter().zip(&bad) {
            assert!(said.starts_with("Error::InvalidRequest("), "{step}: {said}");
            assert!(!said.contains("evil"), "{said}");
        }
        assert_eq!(server.connections(), 0);

        let good = json!({
            "do": "request", "text": "post", "url": server.url("/a%0d%0ab?c=%00#d"), "size": 3,
            "list": ["X-A", "1", "x-a", "ü", "Content-Type", "text/plain"],
        });
        scene.run(&connection, vec![good]).await.succeeded(1);
        let requests = server.requests();
        assert_eq!(requests.len(), 1);
        let mut lines: Vec<&str> = requests[0].split("\r\n").collect();
        assert_eq!(lines.remove(0), "POST /a%0d%0ab?c=%00 HTTP/1.1");
        assert_eq!(lines.split_off(lines.len() - 2), ["", "xxx"]);
        lines.sort_unstable();
        let host = format!("host: {}", server.address);
        let agent = format!("user-agent: terapi/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            lines,
            [
                "accept-encoding: gzip, br, zstd, deflate",
                "accept: */*",
                "content-length: 3",
                "content-type: text/plain",
                &host,
                &agent,
                "x-a: 1",
                "x-a: ü",
            ]
        );
        vec!["invalid-request"]
    });
}

#[test]
fn what_is_no_web_address_is_no_request() {
    on_egress("E16", async |scene| {
        let port = CANARIES.port;
        let bad = [
            "file:///etc/passwd".to_owned(),
            "FILE:///etc/passwd".to_owned(),
            "ftp://127.0.0.1/".to_owned(),
            "gopher://127.0.0.1:70/_x".to_owned(),
            "data:text/plain,x".to_owned(),
            "unix:/run/docker.sock".to_owned(),
            "http+unix://%2frun%2fdocker.sock/".to_owned(),
            format!("ws://127.0.0.1:{port}/"),
            "wss://127.0.0.1/".to_owned(),
            "javascript:alert(1)".to_owned(),
            "about:blank".to_owned(),
            "blob:http://127.0.0.1/x".to_owned(),
            format!("view-source:http://127.0.0.1:{port}/"),
            format!("//127.0.0.1:{port}/"),
            format!("///127.0.0.1:{port}/"),
            format!("\\\\127.0.0.1:{port}\\"),
            format!("http:127.0.0.1:{port}"),
            format!("http:/127.0.0.1:{port}/"),
            format!("http:///127.0.0.1:{port}/"),
            format!("http:\\\\127.0.0.1:{port}\\"),
            format!("http://127.0.0.1\\@127.0.0.2:{port}/"),
            format!("http://127.0.0.2:{port}@127.0.0.1:{port}/"),
            format!("http://127.0.0.2%40127.0.0.1:{port}/"),
            format!("http://@127.0.0.1:{port}/"),
            format!("http://:@127.0.0.1:{port}/"),
            format!("http://127.0.0.2:80:{port}/"),
            format!("http://127.0.0.2 127.0.0.1:{port}/"),
            format!("http://127.0.0.2\t.127.0.0.1:{port}/"),
            format!("ht\ntp://127.0.0.1:{port}/"),
            format!(" http://127.0.0.1:{port}/"),
            format!("http://127.0.0.1:{port}/ "),
            format!("\u{feff}http://127.0.0.1:{port}/"),
            format!("http://[fe80::1%25eth0]:{port}/"),
            format!("http://[fe80::1%eth0]:{port}/"),
            format!("http://[::1:{port}/"),
            format!("http://127.0.0.1:{port}:80/"),
            format!("http://127.0.0.1.5.6:{port}/"),
            format!("http://256.0.0.1:{port}/"),
            format!("http://0x100000000:{port}/"),
            format!("http://1.2.3.09:{port}/"),
            format!("http://127.0.0.1%00.test:{port}/"),
            format!("http://127.0.0.1%2f:{port}/"),
            format!("http://exa<mple:{port}/"),
            "http://xn--/".to_owned(),
            "http://\u{200b}/".to_owned(),
            "http://\u{ad}/".to_owned(),
            "https://".to_owned(),
            "https://?x".to_owned(),
            "https:".to_owned(),
            String::new(),
            "#x".to_owned(),
            "?x".to_owned(),
            "127.0.0.1".to_owned(),
            "/path/without/a/base".to_owned(),
        ];
        let connection =
            scene.connect(open_to(&[format!("http://127.0.0.1:{port}"), "http://*.test".to_owned()], &[])).await;
        let said = scene.run(&connection, bad.iter().map(get).collect()).await.succeeded(bad.len());
        for (said, url) in said.iter().zip(&bad) {
            assert!(said.starts_with("Error::InvalidRequest("), "{url:?}: {said}");
        }
        vec!["invalid-request"]
    });
}

#[test]
fn only_the_ports_that_are_allowed_are_reached_and_none_of_the_services_own() {
    on_egress("E17", async |scene| {
        let server = Server::always(answer(200, "", "hello")).await;
        let other = silent_on("127.0.0.2:0".parse().unwrap());
        let mut urls: Vec<String> = [22, 25, 53, 80, 443, 2375, 3306, 5432, 6379, 11211, 0]
            .iter()
            .map(|port| format!("http://127.0.0.2:{port}/"))
            .chain([other.local_addr().unwrap().port()].map(|port| format!("http://127.0.0.2:{port}/")))
            .collect();
        urls.extend([
            "http://127.0.0.2/".to_owned(),
            format!("https://{}/", server.address),
            "https://127.0.0.2/".to_owned(),
        ]);
        let said = scene.fetch(open_to(&[server.url("")], PUBLIC), &urls).await;
        all_denied(&urls, &said);
        for (port, url) in [("65536", ""), ("-1", ""), ("80x", ""), ("٨٠", "")] {
            let url = [format!("http://127.0.0.2:{port}/{url}")];
            let said = scene.fetch(open_to(&[server.url("")], PUBLIC), &url).await;
            assert!(said[0].starts_with("Error::InvalidRequest("), "{port}: {}", said[0]);
        }
        assert_eq!(server.connections(), 0);
        assert!(other.accept().is_err());

        // The service's own ports, whose hosts are allowed and whose network is not.
        let dns_server = format!("http://{}", scene.dns.address);
        let own = [scene.ground.client.url.clone(), dns_server];
        let said = scene.fetch(open_to(&own, PUBLIC), &own).await;
        all_denied(&own, &said);
        vec!["denied", "denied", "invalid-request", "invalid-request", "invalid-request", "invalid-request"]
    });
}

#[test]
fn a_proxy_of_the_environment_hears_of_no_request() {
    on_egress("E18", async |_| {
        let proxy = format!("http://127.0.0.1:{}", CANARIES.port);
        let dns_server = dns().await.address.to_string();
        let names =
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "TERAPI_NETWORK_DNS"];
        let mut settings: Vec<(&str, &str)> = names.iter().map(|name| (*name, proxy.as_str())).collect();
        settings.last_mut().unwrap().1 = &dns_server;
        settings.extend([("NO_PROXY", ""), ("no_proxy", "")]);
        let own = Ground::start(&settings).await;
        super::warm_up(&own).await;
        own.check("E18", async |ground| {
            let scene = super::Scene::on(ground).await;
            scene.dns.always("api.e18.test", Reply::of(&["127.0.0.2"]));
            let server = Server::always(answer(200, "", "hello")).await;
            let named = format!("http://api.e18.test:{}", server.port());
            let (port, _clear) = blurting(answer(200, "", "clear text")).await;
            let tls = format!("https://127.0.0.2:{port}");
            let said = scene
                .fetch(open_to(&[server.url(""), named.clone(), tls.clone()], PUBLIC), &[server.url(""), named, tls])
                .await;
            assert_eq!(said[..2], ["200 - 5 bytes: hello", "200 - 5 bytes: hello"]);
            assert!(said[2].contains("tls: "), "{}", said[2]);
            scene.leave().await;
            Vec::new()
        })
        .await;
        Vec::new()
    });
}

#[test]
fn a_denial_tells_nothing_of_what_it_would_have_reached() {
    on_egress("E27", async |scene| {
        let open = CANARIES.port;
        let closed = silent_on("127.0.0.1:0".parse().unwrap());
        let closed_port = closed.local_addr().unwrap().port();
        drop(closed);
        scene.dns.always("open.e27.test", Reply::of(&["127.0.0.1"]));
        scene.dns.always("shut.e27.test", Reply::of(&["127.0.0.1"]));
        scene.dns.always("void.e27.test", Reply::of(&["10.255.255.1"]));
        let urls = [
            format!("http://127.0.0.1:{open}/"),
            format!("http://127.0.0.1:{closed_port}/"),
            format!("http://open.e27.test:{open}/"),
            format!("http://shut.e27.test:{closed_port}/"),
            format!("http://void.e27.test:{closed_port}/"),
        ];
        let said = scene.fetch(open_to(&urls, &[]), &urls).await;
        all_denied(&urls, &said);
        assert_eq!(said[0], said[1]);
        let texts: Vec<String> =
            said[2..].iter().map(|said| said.replace("open", "shut").replace("void", "shut")).collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
        assert!(texts.iter().all(|text| !text.contains("127.") && !text.contains("10.255")), "{texts:?}");
        // What was tried is in no trace of the run either.
        let answer: Value = scene.ground.client.get("/v1/runs?limit=1").await.ok();
        let id = answer["items"][0]["id"].as_str().unwrap();
        let text = scene.ground.client.get(&format!("/v1/runs/{id}")).await.text;
        assert!(!text.contains("10.255.255.1"), "{text}");

        // Nor does an answer that was had say where it came from: a port that nobody listens on, a name without an address.
        scene.dns.always("gone.e27.test", Reply::of(&["127.0.0.2"]));
        let free = silent_on("127.0.0.2:0".parse().unwrap());
        let port = free.local_addr().unwrap().port();
        drop(free);
        let urls = [format!("http://gone.e27.test:{port}/"), format!("http://none.e27.test:{port}/")];
        let said = scene.fetch(open_to(&urls, PUBLIC), &urls).await;
        for said in said {
            assert!(said.starts_with("Error::Transport(") && !said.contains("127."), "{said}");
            assert!(!said.contains(&scene.dns.address.port().to_string()), "{said}");
        }
        vec!["denied"]
    });
}
