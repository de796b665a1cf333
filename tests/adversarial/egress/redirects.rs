//! E09, E10, E32: where an API sends a script next.

use serde_json::json;

use super::server::{Server, Step, answer, redirect};
use super::{CANARIES, follow, get, on_egress, open_to};

const PUBLIC: &[&str] = &["127.0.0.2/32"];

/// Answers `/{status}/{n}` with a redirect to the n-th of these places, and everything else with "there".
async fn redirecting(places: Vec<String>) -> Server {
    Server::start(move |_, request| {
        let path = request.split(' ').nth(1).unwrap();
        let mut parts = path.split('/').skip(1);
        let place = (|| Some((parts.next()?.parse().ok()?, parts.next()?.parse::<usize>().ok()?)))();
        vec![Step::Send(match place {
            Some((status, nth)) => redirect(status, &places[nth]),
            None => answer(200, "", "there"),
        })]
    })
    .await
}

#[test]
fn each_hop_of_a_redirect_is_checked_like_a_request() {
    on_egress("E09", async |scene| {
        let other = Server::always(answer(200, "", "other")).await;
        scene.dns.always("private.e09.test", super::dns::Reply::of(&["127.0.0.1"]));
        scene.dns.always("good.e09.test", super::dns::Reply::of(&["127.0.0.2"]));
        let canary = CANARIES.port;
        let denied = [
            format!("http://127.0.0.1:{canary}/"),
            format!("//127.0.0.1:{canary}/"),
            format!("\\\\127.0.0.1:{canary}\\"),
            format!("/\\127.1:{canary}/"),
            format!("http:\\\\2130706433:{canary}/"),
            format!("http://[::1]:{canary}/"),
            format!("http://[::ffff:7f00:1]:{canary}/"),
            format!("http://private.e09.test:{canary}/"),
            format!("http://localhost:{canary}/"),
            format!("ht\ttp://127.0.0.1:{canary}/"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "http://metadata.google.internal/".to_owned(),
            "https://127.0.0.1/".to_owned(),
            other.url("/"),
            "http://not-allowed.e09.test/".to_owned(),
        ];
        let unusable = [
            "file:///etc/passwd".to_owned(),
            "gopher://127.0.0.1/".to_owned(),
            "ftp://127.0.0.1/".to_owned(),
            "data:text/plain,x".to_owned(),
            "javascript:x".to_owned(),
            "unix:/run/docker.sock".to_owned(),
            format!("http://user:secret@127.0.0.1:{canary}/"),
            "http://".to_owned(),
            "http://127.0.0.1:99999/".to_owned(),
            "https://a b/".to_owned(),
        ];
        let places: Vec<String> = denied.iter().chain(&unusable).cloned().chain(["/there".to_owned()]).collect();
        let last = places.len() - 1;
        let server = redirecting(places.clone()).await;
        let hosts = [
            server.url(""),
            format!("http://good.e09.test:{}", server.port()),
            // What may be asked for by name is not thereby reachable.
            format!("http://127.0.0.1:{canary}"),
            format!("http://[::1]:{canary}"),
            format!("http://[::ffff:7f00:1]:{canary}"),
            format!("http://private.e09.test:{canary}"),
            format!("http://localhost:{canary}"),
            "http://169.254.169.254".to_owned(),
            "http://metadata.google.internal".to_owned(),
        ];
        let connection = scene.connect(open_to(&hosts, PUBLIC)).await;
        let steps = |redirects: u64| {
            let statuses = [301, 302, 303, 307, 308].into_iter();
            let urls = statuses.flat_map(|status| (0..=last).map(move |nth| format!("/{status}/{nth}")));
            urls.map(|path| follow(server.url(&path), redirects)).collect::<Vec<_>>()
        };
        let said = scene.run(&connection, steps(5)).await.succeeded(5 * places.len());
        for (said, place) in said.iter().zip(places.iter().cycle()) {
            if place == "/there" {
                assert_eq!(said, "200 - 5 bytes: there");
            } else if unusable.contains(place) {
                assert!(said.starts_with("Error::Transport(") && !said.contains("secret"), "{place}: {said}");
            } else {
                assert!(said.starts_with("Error::Denied("), "{place}: {said}");
            }
        }
        assert_eq!(other.connections(), 0);

        // From https, or by name to a name with another address, it is the same. And unless the script asks for it, nothing
        // is followed.
        let said = scene.run(&connection, steps(0)).await.succeeded(5 * places.len());
        assert!(said.iter().all(|said| said.starts_with('3')), "{said:?}");
        vec!["denied"]
    });
}

#[test]
fn a_redirect_that_leads_nowhere_ends_after_five_hops() {
    on_egress("E10", async |scene| {
        let server = Server::start(|_, request| {
            let path = request.split([' ', '?']).nth(1).unwrap();
            let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
            vec![Step::Send(match path {
                "/self" => redirect(302, "/self"),
                "/empty" => redirect(302, ""),
                "/fragment" => redirect(302, "#x"),
                "/query" => redirect(302, "?x"),
                "/ping" => redirect(307, "/pong"),
                "/pong" => redirect(308, "/ping"),
                "/long" => redirect(302, &format!("/{}", "x".repeat(1 << 20))),
                "/rather-long" => redirect(302, &format!("/{}", "x".repeat(20 << 10))),
                "/growing" => redirect(302, "growing/x/../../growing"),
                "/split" => redirect(302, "/there\r\nx-evil: 1\r\nset-cookie: a=b"),
                "/encoded" => redirect(302, "/there%0d%0ax-evil:%201"),
                "/nul" => redirect(302, "/there\0"),
                "/latin" => answer(302, "location: /th\u{e9}re\r\n", ""),
                "/two" => answer(302, "location: /there\r\nlocation: /self\r\n", ""),
                "/relative" => redirect(302, "there/../there?y"),
                "/none" => answer(302, "", "no place"),
                _ => match number("/chain/") {
                    Some(nth) if nth < 1000 => redirect(302, &format!("/chain/{}", nth + 1)),
                    _ => answer(200, "", "there"),
                },
            })]
        })
        .await;
        let connection = scene.connect(open_to(&[server.url("")], PUBLIC)).await;
        let endless = ["/self", "/empty", "/fragment", "/query", "/ping", "/chain/0", "/growing"];
        let steps = endless.map(|path| follow(server.url(path), 1_000_000));
        for (said, path) in scene.run(&connection, steps.into()).await.succeeded(endless.len()).iter().zip(endless) {
            assert!(said.starts_with("Error::Transport(") && said.contains("after 5 redirects"), "{path}: {said}");
        }
        assert_eq!(server.requests().len(), 6 * endless.len());

        let bad = ["/long", "/rather-long", "/nul"];
        let steps = bad.map(|path| follow(server.url(path), 5));
        for (said, path) in scene.run(&connection, steps.into()).await.succeeded(bad.len()).iter().zip(bad) {
            assert!(said.starts_with("Error::Transport("), "{path}: {said}");
        }
        let before = server.requests().len();
        let good = ["/split", "/encoded", "/latin", "/two", "/relative"];
        let steps = good.map(|path| follow(server.url(path), 1));
        for (said, path) in scene.run(&connection, steps.into()).await.succeeded(good.len()).iter().zip(good) {
            assert_eq!(said, "200 - 5 bytes: there", "{path}");
        }
        for request in &server.requests()[before..] {
            let head = request.split("\r\n\r\n").next().unwrap().to_lowercase();
            assert!(!head.contains("\nx-evil") && !head.contains("cookie"), "{request}");
        }
        let said = scene.run(&connection, vec![follow(server.url("/none"), 5)]).await.succeeded(1);
        assert_eq!(said, ["302 - 8 bytes: no place"]);
        Vec::new()
    });
}

#[test]
fn a_link_to_the_next_page_goes_no_further_than_a_request() {
    on_egress("E32", async |scene| {
        let canary = CANARIES.port;
        let places = [
            format!("http://127.0.0.1:{canary}/"),
            format!("//127.0.0.1:{canary}/"),
            format!("/\\[::1]:{canary}/"),
            "http://169.254.169.254/".to_owned(),
            "http://not-allowed.test/".to_owned(),
            "file:///etc/passwd".to_owned(),
            format!("http://u:p@127.0.0.1:{canary}/"),
        ];
        let links = places.clone();
        let server = Server::start(move |_, request| {
            let nth: usize = request.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            vec![Step::Send(answer(200, &format!("link: <{}>; rel=\"next\"\r\n", links[nth]), "[1]"))]
        })
        .await;
        let hosts = [
            server.url(""),
            format!("http://127.0.0.1:{canary}"),
            format!("http://[::1]:{canary}"),
            "http://169.254.169.254".to_owned(),
        ];
        let connection = scene.connect(open_to(&hosts, PUBLIC)).await;
        let steps = (0..places.len()).flat_map(|nth| {
            [
                json!({ "do": "start-pages", "text": "link", "n": 2, "url": server.url(&format!("/{nth}")) }),
                json!({ "do": "take-pages", "n": 3, "size": nth + 1 }),
            ]
        });
        let said = scene.run(&connection, steps.collect()).await.succeeded(2 * places.len());
        for (place, said) in places.iter().zip(said.iter().skip(1).step_by(2)) {
            assert!(said.starts_with("200 [1] | Error::"), "{place}: {said}");
            let expected =
                if place.contains("u:p@") || place.starts_with("file") { "InvalidRequest" } else { "Denied" };
            assert!(said.contains(expected) && said.ends_with(" | none"), "{place}: {said}");
        }
        assert_eq!(server.requests().len(), places.len());

        // To another origin nothing goes along that authorized at the first.
        let elsewhere = Server::always(answer(200, "", "[]")).await;
        let link = elsewhere.url("/");
        let server = Server::start(move |_, _| {
            vec![Step::Send(answer(200, &format!("link: <{link}>; rel=\"next\"\r\n"), "[1]"))]
        })
        .await;
        let connection = scene.connect(open_to(&[server.url(""), elsewhere.url("")], PUBLIC)).await;
        let list = ["Authorization", "script-secret", "Cookie", "script-secret", "X-Kept", "yes"];
        let steps = vec![
            json!({ "do": "start-pages-with", "text": "link", "n": 0, "url": server.url("/"), "list": list }),
            json!({ "do": "take-pages", "n": 3, "size": 1 }),
            get(server.url("/")),
        ];
        scene.run(&connection, steps).await.succeeded(3);
        assert!(server.requests()[0].contains("script-secret"));
        let [request] = &elsewhere.requests()[..] else { panic!("{:?}", elsewhere.requests()) };
        assert!(!request.contains("script-secret") && request.contains("yes"), "{request}");
        vec!["denied", "invalid-request"]
    });
}
