//! E01, E03–E05: addresses. That what lies just outside of a range is allowed is tested where the ranges are,
//! `runtime/src/egress/address.rs`: no test may dial it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{CANARIES, Scene, all_denied, canaries, on_egress, open_to};

/// Each host is allowed, in clear text and with TLS, and no network is.
async fn are_denied(scene: &Scene<'_>, hosts: &[impl AsRef<str>]) -> Vec<&'static str> {
    let port = CANARIES.port;
    let urls: Vec<String> = hosts
        .iter()
        .flat_map(|host| {
            let host = host.as_ref();
            [format!("http://{host}:{port}/"), format!("https://{host}:{port}/x?y"), format!("http://{host}/")]
        })
        .collect();
    let allowed: Vec<String> =
        urls.iter().map(|url| url::Url::parse(url).unwrap().origin().ascii_serialization()).collect();
    let start = Instant::now();
    let said = scene.fetch(open_to(&allowed, &[]), &urls).await;
    all_denied(&urls, &said);
    // Nothing that is not there is waited for: a dial of one of these would take ten seconds.
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    vec!["denied"]
}

#[test]
fn this_machine_is_not_reached_however_its_loopback_is_spelled() {
    on_egress("E01", async |scene| {
        are_denied(
            scene,
            &[
                "127.0.0.1",
                "127.0.0.1.",
                "127.1",
                "127.0.1",
                "127.255.255.254",
                "0x7f.1",
                "0X7F000001",
                "0x7f.0x0.0x0.0x1",
                "0177.0.0.1",
                "0177.0.0.01",
                "017700000001",
                "2130706433",
                "%31%32%37.0.0.1",
                "127%2e0%2e0%2e1",
                "１２７.0.0.1",
                "127。0。0。1",
                "127．0．0．1",
                "①②⑦.0.0.1",
                "0",
                "0.0.0.0",
                "0x0",
                "localhost",
                "LOCALHOST.",
                "ｌｏｃａｌｈｏｓｔ",
                "lo%63alhost",
                "foo.localhost",
                "a.b.LocalHost.",
                "[::]",
                "[::1]",
                "[0:0:0:0:0:0:0:1]",
                "[0000::0001]",
                "[::ffff:127.0.0.1]",
                "[::ffff:7f00:1]",
                "[::127.0.0.1]",
            ],
        )
        .await
    });
}

#[test]
fn no_address_of_a_special_range_is_reached() {
    on_egress("E03", async |scene| {
        let ranges = [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ];
        let mut hosts: Vec<String> = Vec::new();
        for range in ranges {
            let range: ipnet::Ipv4Net = range.parse().unwrap();
            hosts.extend([range.network().to_string(), range.broadcast().to_string()]);
        }
        // What listens on an address of the machine's own is none of a script's business either, public or not.
        hosts.extend(canaries::own_address().map(|own| match own {
            IpAddr::V4(own) => own.to_string(),
            IpAddr::V6(own) => format!("[{own}]"),
        }));
        are_denied(scene, &hosts).await
    });
}

#[test]
fn no_metadata_service_is_reached() {
    on_egress("E04", async |scene| {
        let asked = scene.dns.asked("google.internal");
        let limits = are_denied(
            scene,
            &[
                "169.254.169.254",
                "0xa9fea9fe",
                "2852039166",
                "0251.0376.0251.0376",
                "169.254.43518",
                "169.254.170.2",
                "169.254.170.23",
                "169.254.0.23",
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "[fd00:ec2::254]",
                "[fd00:ec2::23]",
                "[fd20:ce::254]",
                "[::ffff:169.254.169.254]",
                "metadata.google.internal",
                "METADATA.google.internal.",
                "metadata.goog",
            ],
        )
        .await;
        assert_eq!(scene.dns.asked("google.internal"), asked, "nobody is asked for them");
        limits
    });
}

#[test]
fn no_ipv6_address_that_is_special_or_carries_another_is_reached() {
    on_egress("E05", async |scene| {
        are_denied(
            scene,
            &[
                "[::ffff:0:127.0.0.1]",
                "[::ffff:8.8.8.8]",
                "[::8.8.8.8]",
                "[64:ff9b::a9fe:a9fe]",
                "[64:ff9b::808:808]",
                "[64:ff9b:1::1]",
                "[64:ff9b:1:ffff:ffff:ffff:ffff:ffff]",
                "[2002:7f00:1::]",
                "[2002:808:808::1]",
                "[2001::1]",
                "[2001:0:ffff:ffff:ffff:ffff:ffff:ffff]",
                "[2001:db8::1]",
                "[3fff::1]",
                "[fe80::1]",
                "[febf:ffff::1]",
                "[fec0::1]",
                "[fc00::1]",
                "[fdff:ffff::1]",
                "[ff02::1]",
                "[ff0e::1]",
                "[100::1]",
                "[5f00::1]",
                "[4000::1]",
            ],
        )
        .await
    });
}
