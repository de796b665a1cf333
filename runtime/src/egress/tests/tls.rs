//! TLS against a server with a certificate of its own.

use std::io::{Read, Write};
use std::net::TcpListener;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

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

/// A server that answers every connection's first request, where it gets so far.
fn serve(certificate: &str) -> u16 {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(&answer(200, "", "over TLS")).and_then(|()| stream.flush());
            }
        }
    });
    port
}

/// Trusts the certificate, or else what the system trusts. Every name is loopback.
fn egress(trusted: Option<&str>) -> Egress {
    let tls = match trusted {
        None => client::system_tls().unwrap(),
        Some(certificate) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth()
        }
    };
    let lookup: resolver::Lookup = Arc::new(|_| Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }));
    Egress::with(Clients::new(tls, lookup)).unwrap()
}

async fn send(egress: &Egress, host: &str, port: u16) -> Result<Response, EgressError> {
    let policy = loopback(&[&format!("{host}:{port}")]);
    egress.send(&policy, get(format!("https://{host}:{port}/")), &Budget::ample()).await
}

#[tokio::test]
async fn a_trusted_certificate_is_accepted_for_its_name_only() {
    let port = serve(CERTIFICATE);
    let egress = egress(Some(CERTIFICATE));
    assert_eq!(send(&egress, "api.test", port).await.unwrap().body, b"over TLS");
    for host in ["other.test", "sub.api.test", "127.0.0.1"] {
        let error = send(&egress, host, port).await.unwrap_err();
        assert_eq!(error.code(), "transport");
        assert!(error.to_string().contains("tls: invalid peer certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_nobody_trusts_is_refused() {
    let error = send(&egress(None), "api.test", serve(CERTIFICATE)).await.unwrap_err();
    assert_eq!(error.code(), "transport");
    assert!(error.to_string().contains("tls: invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let error = send(&egress(Some(EXPIRED)), "api.test", serve(EXPIRED)).await.unwrap_err();
    assert!(error.to_string().contains("tls: invalid peer certificate: certificate expired"), "{error}");
}

#[tokio::test]
async fn clear_text_where_tls_belongs_is_refused() {
    // What answers in clear text whatever it was sent.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clear = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&answer(200, "", "clear text"));
    });
    let error = send(&egress(None), "api.test", clear).await.unwrap_err();
    assert!(error.to_string().contains("tls: "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stalls_is_given_up_after_ten_seconds() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let start = tokio::time::Instant::now();
    let error = send(&egress(None), "api.test", listener.local_addr().unwrap().port()).await.unwrap_err();
    assert!(matches!(error, EgressError::TimedOut), "{error}");
    assert_eq!(start.elapsed().as_secs(), 10);
}
