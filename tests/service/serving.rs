//! Listening, TLS, limits of what is read, and stopping.

use std::time::Duration;

use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::api::Account;
use super::server::{Process, init, terapi};
use super::*;

/// Self-signed for `api.test`, valid from 2000 to 2125. The key below protects nothing.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBYjCCAQegAwIBAgIBATAKBggqhkjOPQQDAjAWMRQwEgYDVQQDDAt0ZXJhcGkg
dGVzdDAgFw0wMDAxMDEwMDAwMDBaGA8yMTI1MDEwMTAwMDAwMFowFjEUMBIGA1UE
AwwLdGVyYXBpIHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATGy0eZgdIA
kLKO9BreTUB8LTHlBI7B7HlElJxz85v+96BlUS/0h8Fk7Sw+2ity9RmjVlDc3LLs
U9PnrWh1IujTo0QwQjATBgNVHREEDDAKgghhcGkudGVzdDAMBgNVHRMBAf8EAjAA
MB0GA1UdDgQWBBT4sw11pkCZC0obQVN0Ti2XM+Fi3jAKBggqhkjOPQQDAgNJADBG
AiEAn/tcB72+OTkxAxk368/5oii0REYHH5URUBc+SgIrJ0MCIQDmnrO759b7JoKB
TazZjjTWNPnmQtlD840adfiflOQSUw==
-----END CERTIFICATE-----
";

const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwoDgi9XPpIuF6eNE
cQEZm5FhlpGQLu6cKYso8pG/sqahRANCAATGy0eZgdIAkLKO9BreTUB8LTHlBI7B
7HlElJxz85v+96BlUS/0h8Fk7Sw+2ity9RmjVlDc3LLsU9PnrWh1IujT
-----END PRIVATE KEY-----
";

#[test]
fn nobody_beyond_this_machine_is_served_in_clear_text_unless_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    init(&data);
    for (variable, address) in [
        ("TERAPI_SERVER_LISTEN", "0.0.0.0:0"),
        ("TERAPI_SERVER_LISTEN", "[::]:0"),
        ("TERAPI_SERVER_LISTEN", "192.0.2.1:80"),
        ("TERAPI_SERVER_METRICS_LISTEN", "0.0.0.0:0"),
    ] {
        let refused = terapi(&data, &[(variable, address)]).arg("serve").output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{address}: {said}");
        assert!(said.contains("bad-config") && said.contains("allow_plaintext"), "{address}: {said}");
    }
    let process =
        Process::start(&data, &[("TERAPI_SERVER_LISTEN", "0.0.0.0:0"), ("TERAPI_SERVER_ALLOW_PLAINTEXT", "true")]);
    assert!(process.url.starts_with("http://0.0.0.0:"), "{}", process.url);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_served_with_the_certificate_of_the_configuration_and_clear_text_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let key = init(&data);
    let (cert_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert_file, CERTIFICATE).unwrap();
    std::fs::write(&key_file, KEY).unwrap();
    let tls = [
        ("TERAPI_SERVER_LISTEN", "0.0.0.0:0"),
        ("TERAPI_SERVER_TLS_CERT", cert_file.to_str().unwrap()),
        ("TERAPI_SERVER_TLS_KEY", key_file.to_str().unwrap()),
    ];
    let process = Process::start(&data, &tls);
    let port: u16 = process.url.strip_prefix("https://0.0.0.0:").unwrap().parse().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let http = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(config);
    let http = http.resolve("api.test", ([127, 0, 0, 1], port).into()).build().unwrap();
    let url = format!("https://api.test:{port}/v1/key");
    let answer = http.get(&url).bearer_auth(&key).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let clear = super::client::http().get(format!("http://127.0.0.1:{port}/v1/health")).send().await;
    assert!(clear.is_err(), "{clear:?}");

    // One without the other, and what is no certificate.
    std::fs::write(&cert_file, "no certificate").unwrap();
    for (settings, code) in [(&tls[..], "bad-tls"), (&tls[..2], "bad-config")] {
        let refused = terapi(&data.with_extension("other"), settings).arg("serve").output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(code), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_changes_is_answered_when_the_service_stops() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), options(dir.path()), PATIENCE).await;
    let client = server.client().await;
    let api = ItemsApi::start().await;
    api.put("alpha", Account::of("a", 2, 10));
    set_up(&client, &api, &["alpha"]).await;
    run(&client, "alpha").await;
    let path = "/v1/connections/alpha/records/Item";
    let cursor = client.get(path).await.ok()["cursor"].as_str().unwrap().to_owned();
    let waiting_path = format!("{path}?cursor={cursor}&wait=60s");
    let mut waiting = Box::pin(client.get(&waiting_path));
    let events = client.request(Method::GET, &format!("{path}?cursor={cursor}")).header("accept", "text/event-stream");
    let mut events = events.send().await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    server.begin_to_stop();
    let answer = waiting.await.ok();
    assert_eq!((&answer["records"], &answer["more"]), (&json!([]), &json!(false)));
    assert!(answer["cursor"].is_string());
    let rest = tokio::time::timeout(PATIENCE, events.chunk()).await.expect("the events end");
    assert!(matches!(rest, Ok(None)), "{rest:?}");
    server.stop().await;
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    on_service(async |world| {
        let Env { client, .. } = &world;
        let address = client.url.strip_prefix("http://").unwrap();
        for (path, length) in [("/v1/connections", (3 << 20) + 1), ("/v1/scripts", (16 << 20) + 1)] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\nconnection: close\r\n\r\n",
                client.key
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
            read.expect("an answer, though no body was sent").unwrap();
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            assert!(
                answer.contains("application/problem+json") && answer.contains(r#""code":"body-too-large""#),
                "{answer}"
            );
        }
        // One that does not say how large it is.
        let chunks = (0..80).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 << 10]));
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        let request = client.request(Method::POST, "/v1/connections").header("content-type", "application/json");
        // The connection may be closed while the rest is sent.
        if let Ok(answer) = client.try_send(request.body(body)).await {
            answer.problem(413, "body-too-large");
        }
        client.get("/v1/key").await.ok();
    });
}

#[test]
fn who_asks_with_headers_beyond_measure_harms_nobody() {
    on_service(async |world| {
        let Env { client, .. } = &world;
        let address = client.url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("GET /v1/key HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(200 << 10));
        // It may be closed while this is written.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it ends");
        let answer = String::from_utf8_lossy(&answer);
        assert!(read.is_err() || answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        client.get("/v1/key").await.ok();
    });
}
