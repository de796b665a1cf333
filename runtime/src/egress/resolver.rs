//! From a name to addresses that may be dialed.
//!
//! The connector dials just the addresses it gets from here, so what was checked is what is dialed, whatever the name
//! resolves to a moment later. If any address of an answer is out of bounds the whole answer is: a name that is both
//! public and private is an attack or a mistake, and neither should work now and then.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::address;
use super::error::Refused;

/// How many addresses of an answer are tried. Real ones have fewer; a thousand would be a thousand dials.
const MAX_ADDRESSES: usize = 16;

/// Lookups of one client at a time, so that who has nothing but slow names leaves room for others. A run has six requests
/// under way.
const MAX_LOOKUPS: usize = 8;

/// Asks for the addresses of a name.
pub(super) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The resolver of all clients whose policies have the same private networks.
pub(super) struct CheckedResolver {
    networks: Vec<IpNet>,
    lookup: Lookup,
    turns: Arc<Semaphore>,
}

impl CheckedResolver {
    pub(super) fn new(networks: &[IpNet], lookup: Lookup) -> Self {
        Self { networks: networks.to_vec(), lookup, turns: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let networks = self.networks.clone();
        let mut known = address::known_addresses(name.as_str());
        // Such a name was let through because one of its addresses is reachable.
        known.retain(|address| address::is_reachable(&networks, *address));
        if !known.is_empty() {
            return Box::pin(async move { Ok(dialable(known)) });
        }
        let answer = (self.lookup)(name.as_str().to_owned());
        let turns = Arc::clone(&self.turns);
        Box::pin(async move {
            let addresses = {
                // Never closed.
                let _turn = turns.acquire().await;
                answer.await?
            };
            if addresses.is_empty() {
                return Err(io::Error::other("the name has no addresses").into());
            }
            if let Some(address) = addresses.iter().find(|address| !address::is_reachable(&networks, **address)) {
                tracing::warn!(
                    name = name.as_str(),
                    %address,
                    rule = %format_args!("--allow-network {}", address::network_of(*address)),
                    "a request was denied: the name has an address that is not public"
                );
                return Err(Refused.into());
            }
            Ok(dialable(addresses))
        })
    }
}

/// With port 0, which the connector replaces by the URL's.
fn dialable(addresses: Vec<IpAddr>) -> Addrs {
    Box::new(addresses.into_iter().take(MAX_ADDRESSES).map(|address| SocketAddr::new(address, 0)))
}
