//! E06, E07, E31: names, at a DNS server that wants no good.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::canaries::silent_on;
use super::dns::Reply;
use super::server::{Server, Step, answer};
use super::{CANARIES, all_denied, get, on_egress, open_to};

/// Networks that stand for the public Internet.
const PUBLIC: &[&str] = &["127.0.0.2/32"];

#[test]
fn a_name_with_any_forbidden_address_is_denied_and_one_without_any_answer_ends_in_time() {
    on_egress("E06", async |scene| {
        let server = Server::always(answer(200, "connection: close\r\n", "hello")).await;
        let port = server.port();
        let dns = scene.dns;
        dns.always("good.e06.test", Reply::of(&["127.0.0.2"]));
        dns.always("private.e06.test", Reply::of(&["10.0.0.1"]));
        dns.always("loopback.e06.test", Reply::of(&["127.0.0.1"]));
        dns.always("mixed.e06.test", Reply::of(&["127.0.0.2", "10.0.0.1"]));
        dns.always("last.e06.test", Reply::of(&["127.0.0.2", "127.0.0.2", "169.254.169.254"]));
        dns.always("six.e06.test", Reply::of(&["127.0.0.2", "::1"]));
        dns.always("six-only.e06.test", Reply::of(&["fd00:ec2::254"]));
        dns.always("mapped.e06.test", Reply::of(&["::ffff:127.0.0.1"]));
        dns.always("nat64.e06.test", Reply::of(&["64:ff9b::7f00:1"]));
        dns.always("unspecified.e06.test", Reply::of(&["0.0.0.0"]));
        dns.always("alias.e06.test", Reply::Alias("loopback.e06.test", vec!["127.0.0.1".parse().unwrap()]));
        dns.always("alias-to-ask.e06.test", Reply::Alias("alias.e06.test", Vec::new()));
        dns.always("alias-to-good.e06.test", Reply::Alias("good.e06.test", Vec::new()));
        let many: Vec<String> = (0..999).map(|n| format!("127.9.{}.{}", n / 250, n % 250)).collect();
        let thousand: Vec<&str> = many.iter().map(String::as_str).chain(["10.0.0.1"]).collect();
        dns.always("thousand.e06.test", Reply::of(&thousand));
        dns.always("cut.e06.test", Reply::Cut(vec!["127.0.0.2".parse().unwrap()]));
        dns.always("cut-private.e06.test", Reply::Cut(vec!["10.0.0.1".parse().unwrap()]));
        let denied = [
            "private",
            "loopback",
            "mixed",
            "last",
            "six",
            "six-only",
            "mapped",
            "nat64",
            "unspecified",
            "alias",
            "alias-to-ask",
            "thousand",
            "cut-private",
        ];
        let url = |name: &&str| format!("http://{name}.e06.test:{port}/");
        let urls: Vec<String> = denied.iter().map(url).collect();
        let hosts = [format!("http://*.e06.test:{port}"), format!("http://*.e06.test:{}", CANARIES.port)];
        let said = scene.fetch(open_to(&hosts, &["127.0.0.2/32", "127.9.0.0/16"]), &urls).await;
        all_denied(&urls, &said);
        for said in &said {
            assert!(!said.contains("10.0.0") && !said.contains("127.") && !said.contains("169.254"), "{said}");
        }
        let canaries: Vec<_> = ["loopback", "alias", "mapped", "six", "unspecified"]
            .iter()
            .map(|name| format!("http://{name}.e06.test:{}/", CANARIES.port))
            .collect();
        let said = scene.fetch(open_to(&hosts, PUBLIC), &canaries).await;
        all_denied(&canaries, &said);
        assert_eq!(server.connections(), 0);

        let good: Vec<String> = ["good", "alias-to-good", "cut", "GOOD"].iter().map(url).collect();
        for said in scene.fetch(open_to(&hosts, PUBLIC), &good).await {
            assert_eq!(said, "200 - 5 bytes: hello");
        }

        // No answer, and no end of one. The other family's is used where there is one.
        dns.always("nobody.e06.test", Reply::NoName);
        dns.always("failing.e06.test", Reply::Failure);
        dns.always("empty.e06.test", Reply::of(&[]));
        dns.always("silent.e06.test", Reply::Silence);
        dns.always("drip.e06.test", Reply::Drip);
        dns.always("garbage.e06.test", Reply::Garbage(b"\x81\x80\0\x01\xff\xff\0\0\0\0nonsense"));
        dns.always("short.e06.test", Reply::Garbage(b""));
        dns.always("circle.e06.test", Reply::Alias("circle.e06.test", Vec::new()));
        dns.always("ring.e06.test", Reply::Alias("ring-too.e06.test", Vec::new()));
        dns.always("ring-too.e06.test", Reply::Alias("ring.e06.test", Vec::new()));
        dns.put("half.e06.test", |asked| if asked.v6 { Reply::Silence } else { Reply::of(&["127.0.0.2"]) });
        dns.put("half-failing.e06.test", |asked| if asked.v6 { Reply::Failure } else { Reply::of(&["127.0.0.2"]) });
        let bad = ["nobody", "failing", "empty", "silent", "drip", "garbage", "short", "circle"];
        let urls: Vec<String> = bad.iter().map(url).collect();
        let start = Instant::now();
        let said = scene.fetch(open_to(&hosts, PUBLIC), &urls).await;
        for (url, said) in urls.iter().zip(&said) {
            assert!(said.starts_with("Error::Transport(") && said.contains("does not resolve"), "{url}: {said}");
            assert!(!said.contains(&dns.address.to_string()), "{said}");
        }
        assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
        let urls: Vec<String> = ["ring", "half", "half-failing"].iter().map(url).collect();
        let said = scene.fetch(open_to(&hosts, PUBLIC), &urls).await;
        assert!(said[0].starts_with("Error::Transport("), "{}", said[0]);
        assert_eq!(said[1..], ["200 - 5 bytes: hello", "200 - 5 bytes: hello"]);

        // Of sixteen addresses each is tried, and of the seventeenth nobody hears.
        let last: SocketAddr = format!("127.0.1.17:{port}").parse().unwrap();
        let last = Server::on(last, |_, _| vec![Step::Send(answer(200, "connection: close\r\n", "last"))]).await;
        let sixteen: Vec<String> = (2..=17).map(|n| format!("127.0.1.{n}")).collect();
        let sixteen: Vec<&str> = sixteen.iter().map(String::as_str).collect();
        let seventeen: Vec<&str> = ["127.0.1.1"].into_iter().chain(sixteen.iter().copied()).collect();
        dns.always("sixteen.e06.test", Reply::of(&sixteen));
        dns.always("seventeen.e06.test", Reply::of(&seventeen));
        let urls: Vec<String> = ["seventeen", "sixteen"].iter().map(url).collect();
        let said = scene.fetch(open_to(&hosts, &["127.0.1.0/24"]), &urls).await;
        assert!(said[0].starts_with("Error::Transport(") && said[0].contains("no connection"), "{}", said[0]);
        assert_eq!((said[1].as_str(), last.connections()), ("200 - 4 bytes: last", 1));
        vec!["denied", "denied"]
    });
}

#[test]
fn just_the_checked_address_is_dialed_though_the_name_has_another_a_moment_later() {
    on_egress("E07", async |scene| {
        let server = Server::always(answer(200, "connection: close\r\n", "")).await;
        let port = server.port();
        let canary = silent_on(format!("127.0.0.1:{port}").parse().unwrap());
        // Each question has another answer; two of every two questions, one for each family.
        scene.dns.put("rebinding.e07.test", |asked| {
            if asked.nth % 2 == 0 { Reply::of(&["127.0.0.2"]) } else { Reply::of(&["127.0.0.1"]) }
        });
        scene.dns.put("late.e07.test", |asked| match asked.nth {
            0..5 => Reply::of(&["127.0.0.2"]),
            _ => Reply::of(&["127.0.0.1", "::1"]),
        });
        let hosts = [format!("http://*.e07.test:{port}")];
        let connection = scene.connect(open_to(&hosts, PUBLIC)).await;
        let asked = scene.dns.asked("rebinding.e07.test");
        for name in ["rebinding", "late"] {
            let steps = vec![get(format!("http://{name}.e07.test:{port}/")); 10];
            for (nth, said) in scene.run(&connection, steps).await.succeeded(10).iter().enumerate() {
                let bad = if name == "late" { nth >= 5 } else { nth % 2 == 1 };
                let expected = if bad { "Error::Denied(" } else { "200 " };
                assert!(said.starts_with(expected), "{name}, {nth}: {said}");
            }
        }
        assert_eq!(server.connections(), 10);
        assert!(canary.accept().is_err(), "the canary was dialed");
        // For each connection anew, both families: nothing was remembered.
        assert_eq!(scene.dns.asked("rebinding.e07.test") - asked, 20);
        vec!["denied", "denied"]
    });
}

#[test]
fn slow_names_of_one_connection_hold_up_nobody_else() {
    on_egress("E31", async |scene| {
        let server = Server::always(answer(200, "connection: close\r\n", "hello")).await;
        let port = server.port();
        for nth in 0..64 {
            scene.dns.always(&format!("slow-{nth}.e31.test"), Reply::Silence);
        }
        scene.dns.always("quick.e31.test", Reply::of(&["127.0.0.2"]));
        let hosts = [format!("http://*.e31.test:{port}")];
        let quick = scene.connect(open_to(&hosts, PUBLIC)).await;
        let mut slow = Vec::new();
        for _ in 0..8 {
            slow.push(scene.connect(open_to(&hosts, PUBLIC)).await);
        }
        let start = Instant::now();
        let asked = scene.dns.asked(".e31.test");
        let slow = slow.iter().enumerate().map(async |(run, connection)| {
            let steps = (0..2).map(|nth| {
                serde_json::json!({
                    "do": "fetch-all-raw", "n": 6,
                    "url": format!("http://slow-{}.e31.test:{port}/", run * 2 + nth),
                })
            });
            scene.run(connection, steps.collect()).await.succeeded(2)
        });
        let quick = async {
            crate::service::until("slow names are asked for", async || {
                (scene.dns.asked(".e31.test") - asked >= 16).then_some(())
            })
            .await;
            let start = Instant::now();
            let said = scene.run(&quick, vec![get(format!("http://quick.e31.test:{port}/")); 3]).await.succeeded(3);
            assert!(said.iter().all(|said| said == "200 - 5 bytes: hello"), "{said:?}");
            // A slow name takes five seconds.
            assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        };
        let (slow, ()) = futures_util::future::join(futures_util::future::join_all(slow), quick).await;
        for said in slow.iter().flatten() {
            assert!(said.contains("6 answers, 6 errors"), "{said}");
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
        Vec::new()
    });
}
