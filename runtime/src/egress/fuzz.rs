//! Doors for fuzzers: each takes any bytes and panics if a promise of egress is broken.

#![allow(clippy::panic, clippy::expect_used, clippy::missing_panics_doc, reason = "a broken promise is to be seen")]

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::Response as HttpResponse;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use url::{Host, Url};

use super::{
    Credential, Exhausted, HostPattern, Meter, Policy, Request, Scheme, body, header_map, headers, learned, redirect,
    request, retry,
};
use crate::clock::SystemClock;

/// What a body may have here.
const MAX_BODY: u64 = 64 << 10;
/// What nobody may read in an answer.
const SECRET: &str = "s3cr3t-key";

/// Lines: allowed hosts with spaces between them, what a script asks for, and what the API redirects to.
pub(crate) fn url_and_policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let (hosts, asked, place) = (lines.next(), lines.next(), lines.next());
    let allowed_hosts: Vec<HostPattern> =
        hosts.unwrap_or_default().split(' ').filter_map(|text| text.parse().ok()).collect();
    for pattern in &allowed_hosts {
        assert_eq!(pattern.to_string().parse().as_ref(), Ok(pattern), "a pattern reads back what it displays");
    }
    let policy = Policy {
        allowed_hosts,
        base_url: Url::parse("https://api.example.com/v1").ok(),
        private_networks: "10.0.0.0/8".parse().into_iter().collect(),
        ..Policy::default()
    };
    let asked = Request { method: "GET".to_owned(), url: asked.unwrap_or_default().to_owned(), ..Request::default() };
    let Ok(mut prepared) = request::prepare(&policy, asked) else { return };
    may_be_dialed(&policy, prepared.url());
    if let Ok(place) = HeaderValue::from_bytes(place.unwrap_or_default().as_bytes()) {
        let headers = HeaderMap::from_iter([(LOCATION, place)]);
        if redirect::follow(&policy, &mut prepared, StatusCode::FOUND, &headers).is_ok() {
            may_be_dialed(&policy, prepared.url());
        }
    }
}

/// What holds for every URL that gets past the checks, said in other words than the checks are.
fn may_be_dialed(policy: &Policy, url: &Url) {
    assert!(["http", "https"].contains(&url.scheme()), "{url}");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{url}");
    assert!(url.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
    assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(url), "it is read as it is written");
    assert!(policy.allowed_hosts.iter().any(|pattern| pattern.matches(url)), "{url}");
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            assert!(!name.is_empty() && name.parse::<IpAddr>().is_err(), "{url}");
            assert!(name != "localhost" && !name.ends_with(".localhost"), "{url}");
        }
        Some(Host::Ipv4(address)) => {
            let [first, second, ..] = address.octets();
            let special = address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_documentation()
                || first >= 224
                || (address.is_private() && first != 10)
                || (first == 100 && second & 0xc0 == 64);
            assert!(!special, "{url}");
        }
        Some(Host::Ipv6(address)) => {
            let special = Ipv6Addr::is_loopback(&address)
                || address.to_ipv4().is_some()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address.segments().first() == Some(&0x2002);
            assert!(!special, "{url}");
        }
        None => panic!("{url} has no host"),
    }
}

/// An answer: lines with a name, a colon and a value, an empty line, and a body.
pub(crate) fn http_answer(bytes: &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = bytes.split_at(end.unwrap_or(bytes.len()));
    let body = body.get(2..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let lines = head.split('\n').filter_map(|line| line.split_once(':'));
    let map: HeaderMap = lines
        .filter_map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?))
        })
        .collect();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for status in [200, 429, 503] {
        let wait = learned::closed_for(status, &map, now);
        assert!(wait.is_none_or(|wait| wait <= retry::MAX_RETRY_AFTER), "{wait:?}");
    }
    assert!(retry::retry_after(&map, now).is_none_or(|wait| wait <= retry::MAX_RETRY_AFTER));

    let scheme = Scheme::ApiKeyQuery { name: "key".to_owned(), value: SECRET.to_owned() };
    let credential = Credential::new(scheme, None, Vec::new(), None, Arc::new(SystemClock));
    if let Ok(mut shown) = headers(&map, "api.test") {
        credential.redact(&mut shown);
        assert!(!shown.iter().any(|(_, value)| value.contains(SECRET)), "{shown:?}");
        assert!(header_map(&shown).len() <= map.len());
    }

    let policy = Policy {
        allowed_hosts: ["api.test", "http://*.test"].iter().filter_map(|text| text.parse().ok()).collect(),
        ..Policy::default()
    };
    if let Ok(from) = Url::parse("https://api.test/from") {
        let mut asked = reqwest::Request::new(Method::GET, from);
        if redirect::follow(&policy, &mut asked, StatusCode::FOUND, &map).is_ok() {
            may_be_dialed(&policy, asked.url());
        }
    }

    let mut answer = HttpResponse::new(body.to_vec());
    *answer.headers_mut() = map;
    let threads = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let read = threads.block_on(body::read(answer.into(), "api.test", MAX_BODY, &Uncounted));
    if let Ok(read) = read {
        assert!(read.bytes.len() as u64 <= MAX_BODY);
        assert!(read.decoded || read.bytes == body, "what is not decoded is what was sent");
    }
}

struct Uncounted;

impl Meter for Uncounted {
    fn request(&self) -> Result<(), Exhausted> {
        Ok(())
    }

    fn received(&self, _: usize) -> Result<(), Exhausted> {
        Ok(())
    }

    fn released(&self, _: usize) {}
}
