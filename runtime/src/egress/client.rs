//! The HTTP clients.
//!
//! A pooled connection was dialed under the private networks of some policy. So that no policy uses a connection that
//! only another would have let through, policies share a client, and with it a pool, only if their networks are the same.
//! Nor do two credentials share a connection: some proxies and APIs take who authorized first for who comes after.
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
use tokio::time::Instant;

use super::error::EgressError;
use super::gate::Gate;
use super::policy::Account;
use super::resolver::{CheckedResolver, Lookup};

/// For name, TCP and TLS together. Who does not answer by then is down; the rest of the request's time is for a retry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections kept per host: some runs' worth of concurrency, and far below the usual limit of 1,024 descriptors.
const MAX_IDLE_PER_HOST: usize = 32;

/// What an answer's headers may add up to, names and values: several times what servers accept as a rule (8 to 32 KiB).
pub(super) const MAX_RESPONSE_HEADER_BYTES: u32 = 64 << 10;

/// Some APIs answer nobody who does not say who is asking.
const USER_AGENT: &str = concat!("terapi/", env!("CARGO_PKG_VERSION"));

/// How long a client is kept that nobody uses. Its idle connections are closed earlier, by themselves.
const MAX_UNUSED: Duration = Duration::from_mins(5);

/// Most clients. Each takes some dozen KiB besides its connections.
const MAX_CLIENTS: usize = 1024;

pub(super) struct Clients {
    tls: ClientConfig,
    lookup: Lookup,
    pools: Mutex<HashMap<Key, Pool>>,
}

/// What those who share a client have in common: networks, and if any, connection and credential.
type Key = (Vec<IpNet>, Option<(u64, Option<u64>)>);

struct Pool {
    client: Client,
    last_used: Instant,
}

impl Clients {
    pub(super) fn new(tls: ClientConfig, lookup: Lookup) -> Self {
        Self { tls, lookup, pools: Mutex::default() }
    }

    /// The client for policies with these private networks and this account.
    pub(super) fn get(&self, networks: &[IpNet], account: Option<&Account>) -> Result<Client, EgressError> {
        let now = Instant::now();
        let key = (networks.to_vec(), account.map(Account::pool));
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get_mut(&key) {
            pool.last_used = now;
            return Ok(pool.client.clone());
        }
        // Whoever still sends with a client that is dropped here has a clone.
        pools.retain(|_, pool| now.saturating_duration_since(pool.last_used) < MAX_UNUSED);
        if pools.len() >= MAX_CLIENTS
            && let Some(oldest) = pools.iter().min_by_key(|(_, pool)| pool.last_used).map(|(key, _)| key.clone())
        {
            pools.remove(&oldest);
        }
        let client = self.build(networks)?;
        pools.insert(key, Pool { client: client.clone(), last_used: now });
        Ok(client)
    }

    /// Lets go of the clients of a connection, and of what they keep open. Requests under way go on.
    pub(super) fn forget(&self, connection: &Gate) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(_, account), _| account.is_none_or(|(id, _)| id != connection.id()));
    }

    fn build(&self, networks: &[IpNet]) -> Result<Client, EgressError> {
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(CheckedResolver::new(networks, self.lookup.clone()))
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
pub(crate) fn system_tls() -> Result<ClientConfig, EgressError> {
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
    use crate::clock::SystemClock;
    use crate::egress::{Breaker, Credential, RateRules, Scheme};

    #[test]
    fn a_machine_without_a_trust_store_still_gets_a_client() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = tls(provider, Err(rustls::Error::General("no CA certificates".to_owned()))).unwrap();
        let clients = Clients::new(tls, crate::egress::names::lookup(&[]));
        assert!(clients.get(&[], None).is_ok());
    }

    #[test]
    fn policies_share_a_client_only_if_their_networks_are_the_same() {
        let clients = Clients::new(system_tls().unwrap(), crate::egress::names::lookup(&[]));
        let network: IpNet = "127.0.0.0/8".parse().unwrap();
        for networks in [&[][..], &[network], &[], &[network]] {
            clients.get(networks, None).unwrap();
        }
        assert_eq!(clients.pools.lock().unwrap().len(), 2);
    }

    fn account(credential: Option<Arc<Credential>>) -> Account {
        let gate = || Gate::new(&RateRules::default());
        Account { integration: gate(), connection: gate(), credential, breaker: Breaker::new() }
    }

    fn credential() -> Arc<Credential> {
        let scheme = Scheme::Bearer { token: "t".to_owned() };
        Arc::new(Credential::new(scheme, None, Vec::new(), None, Arc::new(SystemClock)))
    }

    #[test]
    fn no_two_connections_and_no_two_credentials_share_a_client() {
        let clients = Clients::new(system_tls().unwrap(), crate::egress::names::lookup(&[]));
        let one = account(Some(credential()));
        let replaced = Account { credential: Some(credential()), ..one.clone() };
        for account in [Some(&one), Some(&one.clone()), Some(&replaced), Some(&account(None)), None] {
            clients.get(&[], account).unwrap();
        }
        assert_eq!(clients.pools.lock().unwrap().len(), 4);
    }

    #[test]
    fn a_connection_that_is_gone_leaves_no_client_behind() {
        let clients = Clients::new(system_tls().unwrap(), crate::egress::names::lookup(&[]));
        let (gone, kept) = (account(None), account(Some(credential())));
        let replaced = Account { credential: Some(credential()), ..gone.clone() };
        for account in [Some(&gone), Some(&replaced), Some(&kept), None] {
            clients.get(&[], account).unwrap();
        }
        clients.forget(&gone.connection);
        let mut left: Vec<_> = clients.pools.lock().unwrap().keys().map(|(_, account)| *account).collect();
        left.sort_unstable();
        assert_eq!(left, [None, Some(kept.pool())]);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_are_dropped_when_nobody_uses_them_or_there_are_too_many() {
        let clients = Clients::new(system_tls().unwrap(), crate::egress::names::lookup(&[]));
        let (kept, left) = (account(None), account(None));
        clients.get(&[], Some(&left)).unwrap();
        for _ in 0..3 {
            clients.get(&[], Some(&kept)).unwrap();
            tokio::time::advance(MAX_UNUSED / 2).await;
        }
        clients.get(&[], None).unwrap();
        let has = |account: &Account| clients.pools.lock().unwrap().contains_key(&(Vec::new(), Some(account.pool())));
        assert_eq!((has(&kept), has(&left)), (true, false));

        // Clones of one client stand for the many.
        let client = clients.get(&[], None).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let count = clients.pools.lock().unwrap().len() as u64;
        for id in count..MAX_CLIENTS as u64 {
            let pool = Pool { client: client.clone(), last_used: Instant::now() };
            clients.pools.lock().unwrap().insert((Vec::new(), Some((u64::MAX - id, None))), pool);
        }
        clients.get(&[], Some(&left)).unwrap();
        let count = clients.pools.lock().unwrap().len();
        assert_eq!((count, has(&kept), has(&left)), (MAX_CLIENTS, false, true));
    }
}
