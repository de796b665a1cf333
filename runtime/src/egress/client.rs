//! The HTTP clients.
//!
//! A pooled connection was dialed under the private networks of some policy. So that no policy uses a connection that
//! only another would have let through, policies share a client, and with it a pool, only if their networks are the same.
//!
//! TLS is rustls with *ring*, which is in the binary. Certificates are verified against the system's trust store, since
//! that is where companies put the authorities of their own (`SSL_CERT_FILE` and `SSL_CERT_DIR` work too); where the
//! system has none, as in an image with nothing but the binary, against Mozilla's, which is in the binary as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Client;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::error::EgressError;
use super::resolver::{CheckedResolver, Lookup};

/// For name, TCP and TLS together. Who does not answer by then is down; the rest of the request's time is for a retry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections kept per host: some runs' worth of concurrency, and far below the usual limit of 1,024 descriptors.
const MAX_IDLE_PER_HOST: usize = 32;

/// What an answer's headers may add up to, names and values: several times what servers accept as a rule (8 to 32 KiB).
pub(super) const MAX_RESPONSE_HEADER_BYTES: u32 = 64 << 10;

/// Some APIs answer nobody who does not say who is asking.
const USER_AGENT: &str = concat!("terapi/", env!("CARGO_PKG_VERSION"));

pub(super) struct Clients {
    tls: ClientConfig,
    lookup: Lookup,
    /// Grows with the different lists of networks that the operator writes, which are few. A connection's credential,
    /// once there is one, belongs into the key: no two may share a connection.
    by_networks: Mutex<HashMap<Vec<IpNet>, Client>>,
}

impl Clients {
    pub(super) fn new(tls: ClientConfig, lookup: Lookup) -> Self {
        Self { tls, lookup, by_networks: Mutex::default() }
    }

    /// The client for policies with these private networks.
    pub(super) fn get(&self, networks: &[IpNet]) -> Result<Client, EgressError> {
        let mut clients = self.by_networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(networks) {
            return Ok(client.clone());
        }
        let client = self.build(networks)?;
        clients.insert(networks.to_vec(), client.clone());
        Ok(client)
    }

    fn build(&self, networks: &[IpNet]) -> Result<Client, EgressError> {
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(CheckedResolver { networks: networks.to_vec(), lookup: self.lookup.clone() })
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .http2_max_header_list_size(MAX_RESPONSE_HEADER_BYTES)
            .build()
            .map_err(|error| EgressError::Setup(error.to_string()))
    }
}

/// The TLS settings of this machine.
pub(super) fn system_tls() -> Result<ClientConfig, EgressError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let system = Verifier::new(provider.clone());
    tls(provider, system)
}

/// TLS settings with the system's trust store if it could be read, otherwise with the one in the binary.
fn tls(provider: Arc<CryptoProvider>, system: Result<Verifier, rustls::Error>) -> Result<ClientConfig, EgressError> {
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EgressError::Setup(error.to_string()))?;
    let mut config = match system {
        Ok(verifier) => config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)),
        Err(error) => {
            tracing::warn!(%error, "the system has no trust store: certificates are verified with the built-in one");
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            config.with_root_certificates(roots)
        }
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_machine_without_a_trust_store_still_gets_a_client() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = tls(provider, Err(rustls::Error::General("no CA certificates".to_owned()))).unwrap();
        let clients = Clients::new(tls, crate::egress::resolver::system_lookup());
        assert!(clients.get(&[]).is_ok());
    }

    #[test]
    fn policies_share_a_client_only_if_their_networks_are_the_same() {
        let clients = Clients::new(system_tls().unwrap(), crate::egress::resolver::system_lookup());
        let network: IpNet = "127.0.0.0/8".parse().unwrap();
        for networks in [&[][..], &[network], &[], &[network]] {
            clients.get(networks).unwrap();
        }
        assert_eq!(clients.by_networks.lock().unwrap().len(), 2);
    }
}
