//! Which addresses a script may reach.
//!
//! An address is public if the global Internet routes it to whoever owns it, and nothing else. Everything special is
//! refused, whole ranges at a time: private networks, the machine itself, test ranges, and every prefix that carries an
//! IPv4 address inside an IPv6 one, since what such an address reaches depends on a translator that nobody here sees.
//!
//! Sources: the IANA registries "IPv4 Special-Purpose Address Space", "IPv6 Special-Purpose Address Space" and "IPv6
//! Global Unicast Address Assignments". Where the registry calls a small block inside a special range globally reachable
//! (PCP, TURN, AS112, AMT anycast), it is refused all the same: no API is served there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 ranges that are not public.
const SPECIAL_V4: &[Ipv4Net] = &[
    v4([0, 0, 0, 0], 8),        // "this network", RFC 791
    v4([10, 0, 0, 0], 8),       // private, RFC 1918
    v4([100, 64, 0, 0], 10),    // carrier-grade NAT, RFC 6598; holds Alibaba's metadata service
    v4([127, 0, 0, 0], 8),      // loopback, RFC 1122
    v4([168, 63, 129, 16], 32), // Azure's host agent: routed as public, answers as metadata service
    v4([169, 254, 0, 0], 16),   // link-local, RFC 3927; holds the metadata services of most clouds
    v4([172, 16, 0, 0], 12),    // private, RFC 1918
    v4([192, 0, 0, 0], 24),     // IETF protocol assignments, RFC 6890; holds Oracle's metadata service
    v4([192, 0, 2, 0], 24),     // documentation, RFC 5737
    v4([192, 31, 196, 0], 24),  // AS112, RFC 7535
    v4([192, 52, 193, 0], 24),  // AMT relays, RFC 7450
    v4([192, 88, 99, 0], 24),   // 6to4 relays, RFC 7526
    v4([192, 168, 0, 0], 16),   // private, RFC 1918
    v4([192, 175, 48, 0], 24),  // AS112, RFC 7534
    v4([198, 18, 0, 0], 15),    // benchmarks, RFC 2544
    v4([198, 51, 100, 0], 24),  // documentation, RFC 5737
    v4([203, 0, 113, 0], 24),   // documentation, RFC 5737
    v4([224, 0, 0, 0], 4),      // multicast, RFC 5771
    v4([240, 0, 0, 0], 4),      // reserved, RFC 1112, with the broadcast address, RFC 919
];

/// The only IPv6 space from which global unicast addresses are assigned, RFC 4291. All that is special by a leading
/// prefix lies outside: loopback, IPv4-compatible, -mapped and -translated, NAT64 (RFC 6052, RFC 8215), discard
/// (RFC 6666, RFC 9780), segment routing (RFC 9602), unique local (RFC 4193), link- and site-local, multicast.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// IPv6 ranges inside [`GLOBAL_V6`] that are not public.
const SPECIAL_V6: &[Ipv6Net] = &[
    v6([0x2001, 0, 0, 0], 23), // IETF protocol assignments, RFC 2928: Teredo, ORCHID, benchmarks, DRIP …
    v6([0x2001, 0xdb8, 0, 0], 32), // documentation, RFC 3849
    v6([0x2002, 0, 0, 0], 16), // 6to4, RFC 3056
    v6([0x2620, 0x4f, 0x8000, 0], 48), // AS112, RFC 7534
    v6([0x3ffe, 0, 0, 0], 16), // 6bone, returned, RFC 3701
    v6([0x3fff, 0, 0, 0], 20), // documentation, RFC 9637
];

/// Names that mean an address of [`SPECIAL_V4`] wherever they resolve at all, so that they are refused also where they
/// do not, and before a resolver is asked.
const METADATA_NAMES: &[&str] = &["metadata.google.internal", "metadata.goog"];

/// The address behind [`METADATA_NAMES`].
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(head: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = head;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

/// Whether the Internet, and only the Internet, is behind the address.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|range| range.contains(&address)),
        IpAddr::V6(address) => GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|range| range.contains(&address)),
    }
}

/// Whether a policy lets requests through to the address: it is public and not this machine's own, or one of the
/// operator's networks covers it.
pub(super) fn is_reachable(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address)) || (is_public(address) && !is_own(address))
}

/// Whether the address is one of this machine's, so that a script with a public address of the server in hand does not
/// reach what listens there. Connecting a UDP socket sends nothing: the kernel only picks the address it would send
/// from, and for an address of its own that is the address itself.
fn is_own(address: IpAddr) -> bool {
    let unspecified: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0))?;
        // Any port but 0 will do; 9 is "discard".
        socket.connect(SocketAddr::new(address, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    route().is_ok_and(|source| source == address)
}

/// The addresses that a name has by definition, without any resolver: loopback for `localhost` and all below it
/// (RFC 6761), link-local for the names of metadata services. Empty for every other name.
pub(super) fn known_addresses(name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last_label = name.rsplit('.').next().unwrap_or(name);
    if last_label.eq_ignore_ascii_case("localhost") {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else if METADATA_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        vec![METADATA.into()]
    } else {
        Vec::new()
    }
}

/// The network to name in a denial of this address: all of loopback, since it is one machine anyhow, otherwise the
/// single address.
pub(super) fn network_of(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(address) if address.is_loopback() => v4([127, 0, 0, 0], 8).into(),
        _ => address.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn public(address: &str) -> bool {
        is_public(address.parse().unwrap())
    }

    fn before(address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(a) => u32::from(a).checked_sub(1).map(|n| Ipv4Addr::from(n).into()),
            IpAddr::V6(a) => u128::from(a).checked_sub(1).map(|n| Ipv6Addr::from(n).into()),
        }
    }

    fn after(address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(a) => u32::from(a).checked_add(1).map(|n| Ipv4Addr::from(n).into()),
            IpAddr::V6(a) => u128::from(a).checked_add(1).map(|n| Ipv6Addr::from(n).into()),
        }
    }

    /// Every range, written out apart from the tables above, with its neighbors that are special as well.
    #[test]
    fn every_special_range_is_refused_from_its_first_to_its_last_address_and_no_further() {
        let ranges = [
            // (range, the address before is public, the address after is public)
            ("0.0.0.0/8", false, true),
            ("10.0.0.0/8", true, true),
            ("100.64.0.0/10", true, true),
            ("127.0.0.0/8", true, true),
            ("168.63.129.16/32", true, true),
            ("169.254.0.0/16", true, true),
            ("172.16.0.0/12", true, true),
            ("192.0.0.0/24", true, true),
            ("192.0.2.0/24", true, true),
            ("192.31.196.0/24", true, true),
            ("192.52.193.0/24", true, true),
            ("192.88.99.0/24", true, true),
            ("192.168.0.0/16", true, true),
            ("192.175.48.0/24", true, true),
            ("198.18.0.0/15", true, true),
            ("198.51.100.0/24", true, true),
            ("203.0.113.0/24", true, true),
            ("224.0.0.0/4", true, false),
            ("240.0.0.0/4", false, false),
            ("255.255.255.255/32", false, false),
            ("::/128", false, false),
            ("::1/128", false, false),
            ("::/96", false, false),
            ("::ffff:0:0/96", false, false),
            ("::ffff:0:0:0/96", false, false),
            ("64:ff9b::/96", false, false),
            ("64:ff9b:1::/48", false, false),
            ("100::/64", false, false),
            ("100:0:0:1::/64", false, false),
            ("::/3", false, true),
            ("2001::/23", true, true),
            ("2001::/32", true, false),
            ("2001:1::1/128", false, false),
            ("2001:2::/48", false, false),
            ("2001:4:112::/48", false, false),
            ("2001:10::/28", false, false),
            ("2001:20::/28", false, false),
            ("2001:30::/28", false, false),
            ("2001:db8::/32", true, true),
            ("2002::/16", true, true),
            ("2620:4f:8000::/48", true, true),
            ("3ffe::/16", true, false),
            ("3fff::/20", false, true),
            ("4000::/2", true, false),
            ("5f00::/16", false, false),
            ("8000::/1", false, false),
            ("fc00::/7", false, false),
            ("fe80::/10", false, false),
            ("fec0::/10", false, false),
            ("ff00::/8", false, false),
        ];
        for (range, public_before, public_after) in ranges {
            let range: IpNet = range.parse().unwrap();
            let (first, last) = (range.network(), range.broadcast());
            assert!(!is_public(first), "{first}, the first of {range}");
            assert!(!is_public(last), "{last}, the last of {range}");
            assert_eq!(before(first).is_some_and(is_public), public_before, "before {range}");
            assert_eq!(after(last).is_some_and(is_public), public_after, "after {range}");
        }
    }

    #[test]
    fn metadata_services_are_refused_also_where_their_address_looks_public() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_refused_whatever_it_is() {
        for address in [
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::808:808",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2001:0:808:808::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn ordinary_addresses_are_public() {
        for address in
            ["1.1.1.1", "8.8.8.8", "140.82.121.6", "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860::8888"]
        {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn an_address_of_this_machine_is_known_as_its_own() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 1).into()));
        // The address that this machine would send from, where it has any besides loopback.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(is_own(socket.local_addr().unwrap().ip()));
        }
    }

    #[test]
    fn localhost_and_all_below_it_mean_loopback() {
        for name in ["localhost", "LOCALHOST", "localhost.", "foo.localhost", "a.b.localhost."] {
            assert_eq!(known_addresses(name).len(), 2, "{name}");
        }
        for name in ["metadata.google.internal", "Metadata.Google.Internal.", "metadata.goog"] {
            assert_eq!(known_addresses(name), [IpAddr::from(METADATA)], "{name}");
        }
        for name in ["localhost.example.com", "notlocalhost", "example.com", ""] {
            assert!(known_addresses(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn a_network_of_the_operator_opens_just_itself() {
        let networks = ["10.1.0.0/16".parse().unwrap()];
        assert!(is_reachable(&networks, "10.1.255.255".parse().unwrap()));
        assert!(!is_reachable(&networks, "10.2.0.0".parse().unwrap()));
        assert!(!is_reachable(&networks, "::ffff:10.1.0.1".parse().unwrap()));
        assert!(is_reachable(&networks, "8.8.8.8".parse().unwrap()));
        assert!(!is_reachable(&[], "10.1.0.1".parse().unwrap()));
    }
}
