//! E22: TLS, on a process that trusts a certificate for `api.test`, with several servers behind that name. And HTTP/2, which
//! there is only over TLS.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::dns::Reply;
use super::server::{answer, blurting};
use super::{CANARIES, Ground, Scene, dns, get, on_egress, open_to};

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

/// The same, valid for the year 2000.
const EXPIRED: &str = "\
-----BEGIN CERTIFICATE-----
MIIBXzCCAQWgAwIBAgIBATAKBggqhkjOPQQDAjAWMRQwEgYDVQQDDAt0ZXJhcGkg
dGVzdDAeFw0wMDAxMDEwMDAwMDBaFw0wMTAxMDEwMDAwMDBaMBYxFDASBgNVBAMM
C3RlcmFwaSB0ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExstHmYHSAJCy
jvQa3k1AfC0x5QSOwex5RJScc/Ob/vegZVEv9IfBZO0sPtorcvUZo1ZQ3Nyy7FPT
561odSLo06NEMEIwEwYDVR0RBAwwCoIIYXBpLnRlc3QwDAYDVR0TAQH/BAIwADAd
BgNVHQ4EFgQU+LMNdaZAmQtKG0FTdE4tlzPhYt4wCgYIKoZIzj0EAwIDSAAwRQIg
Kkbi7IboUeXz0PjCE2TffOHrYXBouZ2f2mfIBdYjb6ACIQD3KVfkrvN+MJQihlvH
/8FjAIh+LJ1YfkVjSXWZMszbIg==
-----END CERTIFICATE-----
";

const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwoDgi9XPpIuF6eNE
cQEZm5FhlpGQLu6cKYso8pG/sqahRANCAATGy0eZgdIAkLKO9BreTUB8LTHlBI7B
7HlElJxz85v+96BlUS/0h8Fk7Sw+2ity9RmjVlDc3LLsU9PnrWh1IujT
-----END PRIVATE KEY-----
";

const PUBLIC: &[&str] = &["127.0.0.2/32"];

/// What a connection saw: its tokens.
type Shown = Arc<Mutex<BTreeMap<usize, BTreeSet<String>>>>;

fn acceptor(certificate: &str, http2: bool) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    if http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    TlsAcceptor::from(Arc::new(config))
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers every connection with these bytes, over TLS, and ends it without saying so.
async fn raw(certificate: &'static str, bytes: &'static [u8]) -> (u16, AbortOnDropHandle<()>) {
    let (listener, address) = listen().await;
    let acceptor = acceptor(certificate, false);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            // Below TLS: no `close_notify`.
            let _ = stream.get_mut().0.shutdown().await;
        }
    });
    (address.port(), AbortOnDropHandle::new(serving))
}

/// HTTP/2, or HTTP/1.1 where the client does not know it.
async fn http2() -> (u16, Shown, AbortOnDropHandle<()>) {
    let (listener, address) = listen().await;
    let (acceptor, shown) = (acceptor(CERTIFICATE, true), Shown::default());
    let seen = Arc::clone(&shown);
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        for nth in 0.. {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service =
                    hyper_util::service::TowerToHyperService::new(tower::service_fn(move |request: Request<_>| {
                        let token = request.headers()["authorization"].to_str().unwrap().to_owned();
                        let version = format!("{:?} {token}", request.version());
                        seen.lock().unwrap().entry(nth).or_default().insert(version);
                        async move { Ok::<_, Infallible>(Response::new(Body::from("over HTTP/2"))) }
                    }));
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address.port(), shown, AbortOnDropHandle::new(serving))
}

/// A `ServerHello` of this version with this cipher suite.
fn server_hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend(suite);
    hello.push(0);
    let mut message = vec![2, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![22, version[0], version[1], 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

async fn bearer(scene: &Scene<'_>, port: u16, tokens: &[&str]) -> Vec<String> {
    let mut integration = open_to(&[format!("https://api.test:{port}")], PUBLIC);
    integration["auth"] = json!({ "type": "bearer" });
    integration["credential_hosts"] = json!([format!("https://api.test:{port}")]);
    let name = super::new_name("api");
    scene.ground.client.put(&format!("/v1/integrations/{name}"), &integration).await.ok();
    let mut connections = Vec::new();
    for token in tokens {
        connections.push(scene.add(&name, json!({ "type": "bearer", "token": token })).await);
    }
    connections
}

#[test]
fn nothing_is_sent_to_whom_tls_does_not_vouch_for() {
    on_egress("E22", async |area| {
        // What the area's own server does not trust, it does not trust.
        let names = dns().await;
        for name in ["api.test", "other.test", "sub.api.test"] {
            names.always(name, Reply::of(&["127.0.0.2"]));
        }
        let (good, _good) = raw(CERTIFICATE, b"HTTP/1.1 200 X\r\ncontent-length: 8\r\n\r\nover TLS").await;
        let url = format!("https://api.test:{good}");
        let said = area.fetch(open_to(&[&url], PUBLIC), &[&url]).await;
        assert!(said[0].contains("tls: invalid peer certificate"), "{}", said[0]);

        let dir = tempfile::tempdir().unwrap();
        let trusted = dir.path().join("trusted.pem");
        std::fs::write(&trusted, [CERTIFICATE, EXPIRED].concat()).unwrap();
        let dns_server = names.address.to_string();
        let settings = [("SSL_CERT_FILE", trusted.to_str().unwrap()), ("TERAPI_NETWORK_DNS", &dns_server)];
        let own = Ground::start(&settings).await;
        super::warm_up(&own).await;
        own.check("E22", async |ground| {
            let scene = Scene::on(ground).await;
            let (expired, _expired) = raw(EXPIRED, b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n").await;
            let (cut, _cut) = raw(CERTIFICATE, b"HTTP/1.1 200 X\r\ncontent-length: 80\r\n\r\ncut").await;
            // Without a length only the end of the TLS session says that this is all.
            let (cut_off, _cut_off) = raw(CERTIFICATE, b"HTTP/1.1 200 X\r\n\r\n[1,2").await;
            let tls10 = blurting(server_hello([3, 1], [0, 0x2f])).await;
            let tls11 = blurting(server_hello([3, 2], [0, 0x2f])).await;
            let rc4 = blurting(server_hello([3, 3], [0, 5])).await;
            let null = blurting(server_hello([3, 3], [0, 1])).await;
            let ssl3 = blurting(server_hello([3, 0], [0, 0x2f])).await;
            let clear = blurting(answer(200, "", "clear text")).await;
            let alert = blurting(vec![21, 3, 3, 0, 2, 2, 40]).await;
            let noise = blurting(vec![22, 3, 3, 0xff, 0xff]).await;
            let bad = [
                ("other.test", good),
                ("sub.api.test", good),
                ("127.0.0.2", good),
                ("api.test", expired),
                ("api.test", cut),
                ("api.test", cut_off),
                ("api.test", tls10.0),
                ("api.test", tls11.0),
                ("api.test", ssl3.0),
                ("api.test", rc4.0),
                ("api.test", null.0),
                ("api.test", clear.0),
                ("api.test", alert.0),
                ("api.test", noise.0),
            ];
            for (host, port) in bad {
                let url = format!("https://{host}:{port}");
                let said = scene.fetch(open_to(&[&url], PUBLIC), &[&url]).await;
                assert!(said[0].starts_with("Error::Transport("), "{url}: {}", said[0]);
                let tls = port != cut && port != cut_off;
                assert!(!tls || said[0].contains("tls: "), "{url}: {}", said[0]);
            }
            let said = scene.fetch(open_to(&[&url], PUBLIC), &[&url]).await;
            assert_eq!(said, ["200 - 8 bytes: over TLS"]);

            // Over HTTP/2 one connection carries many requests, and still of one credential.
            let (port, shown, _serving) = http2().await;
            let connections = bearer(&scene, port, &["one", "two", "three"]).await;
            let url = format!("https://api.test:{port}/");
            for _ in 0..2 {
                let steps: Vec<Value> = vec![get(&url); 4];
                let runs = connections.iter().map(|connection| scene.run(connection, steps.clone()));
                for said in futures_util::future::join_all(runs).await {
                    assert_eq!(said.succeeded(4), ["200 - 11 bytes: over HTTP/2"; 4]);
                }
            }
            let shown = shown.lock().unwrap().clone();
            assert!(shown.values().all(|tokens| tokens.len() == 1), "{shown:?}");
            assert!(shown.values().flatten().all(|token| token.starts_with("HTTP/2.0 Bearer ")), "{shown:?}");
            assert_eq!(shown.values().flatten().collect::<BTreeSet<_>>().len(), 3, "{shown:?}");
            scene.leave().await;
            CANARIES.are_silent("E22");
            Vec::new()
        })
        .await;
        Vec::new()
    });
}
