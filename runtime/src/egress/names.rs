//! Looking up names, without the C library: that one blocks a thread for each lookup, of the same pool that the store works
//! on, so that a script with slow names could hold up everybody.
//!
//! # Order
//! 1. a name in `/etc/hosts` has the addresses from there and no others
//! 2. the DNS servers of the settings, or else those of `/etc/resolv.conf`: `A` and `AAAA` together, over UDP, and over TCP
//!    where an answer is cut; aliases are followed
//!
//! A name with a dot is taken as it stands. Search domains are for names without one, which only an operator can allow
//! (`http://gitea:3000`): that `api.example.com` is never `api.example.com.corp.example` is worth more than what a search
//! list could add, and no name costs one question for each domain.
//!
//! # Invariants
//! - Nothing is remembered: each connection asks anew, and what was answered is checked and dialed at once. Both files are
//!   read anew when they change.
//! - A lookup has [`TIME`] and then is over, whatever a server sends. Each has sockets and tasks of its own, which end with
//!   it: no slow name is in the way of another.
//! - At most [`MAX_LOOKUPS`] are under way.
//! - No error names an address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::{self, Either};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup as Answers;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, Resolver};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::resolver::Lookup;

/// How long a lookup may take, both address families, all servers and attempts together.
const TIME: Duration = Duration::from_secs(5);

/// How long one server may take for one question, unless `resolv.conf` says less: two attempts fit into [`TIME`].
const SERVER_TIME: Duration = Duration::from_secs(2);

/// Questions that are repeated, unless `resolv.conf` says less.
const MAX_ATTEMPTS: usize = 2;

/// How long an address family is waited for once the other one has addresses: some servers never answer for `AAAA`.
const OTHER_FAMILY: Duration = Duration::from_secs(1);

/// Servers that are asked; the C library knows three.
const MAX_SERVERS: usize = 3;

/// Lookups under way in the process. With two families and two servers each they have a few hundred sockets.
const MAX_LOOKUPS: usize = 128;

static UNDER_WAY: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Asks these servers, or if there are none, those of this machine.
pub(super) fn lookup(servers: &[SocketAddr]) -> Lookup {
    let names = Arc::new(Names::new(servers, "/etc/resolv.conf", "/etc/hosts"));
    Arc::new(move |name| {
        let names = Arc::clone(&names);
        Box::pin(async move {
            // Never closed.
            let _turn = UNDER_WAY.acquire().await;
            timeout(TIME, names.look_up(&name)).await.unwrap_or_else(|_| Err(failed(TOO_SLOW)))
        })
    })
}

const TOO_SLOW: &str = "no name server answered in time";
const NO_SERVERS: &str = "this machine has no name servers: the operator names some with `[network] dns`";

fn failed(why: &'static str) -> io::Error {
    io::Error::other(why)
}

struct Names {
    /// Those of the settings.
    servers: Option<ResolverConfig>,
    resolv_conf: Watched<Option<Servers>>,
    hosts: Watched<Arc<Hosts>>,
}

type Servers = (ResolverConfig, ResolverOpts);

impl Names {
    fn new(servers: &[SocketAddr], resolv_conf: impl Into<PathBuf>, hosts: impl Into<PathBuf>) -> Self {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            // An error of a server that the operator named is the answer; there is no other to ask.
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let servers: Vec<_> = servers.take(MAX_SERVERS).collect();
        Self {
            servers: (!servers.is_empty()).then(|| ResolverConfig::from_name_servers(servers)),
            resolv_conf: Watched::new(resolv_conf),
            hosts: Watched::new(hosts),
        }
    }

    async fn look_up(&self, text: &str) -> io::Result<Vec<IpAddr>> {
        let mut name = Name::from_ascii(text).map_err(|_| failed("it is not a name that DNS can hold"))?;
        if name.num_labels() > 1 {
            name.set_fqdn(true);
        }
        let hosts = self.hosts.get(|bytes| {
            let mut hosts = Hosts::default();
            if let Err(error) = hosts.read_hosts_conf(bytes.unwrap_or_default()) {
                tracing::warn!(%error, "/etc/hosts is read only up to a line that is no text");
            }
            Arc::new(hosts)
        });
        let known = [RecordType::A, RecordType::AAAA].map(|family| {
            let found = hosts.lookup_static_host(&Query::query(name.clone(), family));
            found.iter().flat_map(Answers::answers).filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        });
        let known = known.concat();
        if !known.is_empty() {
            return Ok(known);
        }

        let (config, options) = self.config().ok_or_else(|| failed(NO_SERVERS))?;
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        let resolver = resolver.build().map_err(|error| reason(&error))?;
        let ask = async |family| -> Result<Vec<IpAddr>, NetError> {
            let found = resolver.lookup(name.clone(), family).await?;
            Ok(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
        };
        let (v4, v6) = (Box::pin(ask(RecordType::A)), Box::pin(ask(RecordType::AAAA)));
        let (first, is_v4, other) = match future::select(v4, v6).await {
            Either::Left((first, other)) => (first, true, Either::Left(other)),
            Either::Right((first, other)) => (first, false, Either::Right(other)),
        };
        let second = match &first {
            Ok(found) if !found.is_empty() => timeout(OTHER_FAMILY, other).await.unwrap_or(Err(NetError::Timeout)),
            _ => other.await,
        };
        let (v4, v6) = if is_v4 { (first, second) } else { (second, first) };
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok([v4, v6].concat()),
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => Ok(found),
            (Err(error), _) | (_, Err(error)) => Err(reason(&error)),
        }
    }

    fn config(&self) -> Option<Servers> {
        let (config, mut options) = match &self.servers {
            Some(config) => (config.clone(), ResolverOpts::default()),
            None => self.resolv_conf.get(|bytes| {
                let (mut config, options) = parse_resolv_conf(bytes?).ok()?;
                config.name_servers.truncate(MAX_SERVERS);
                Some((config, options))
            })?,
        };
        options.timeout = options.timeout.clamp(Duration::from_millis(100), SERVER_TIME);
        options.attempts = options.attempts.min(MAX_ATTEMPTS);
        options.cache_size = 0;
        options.ndots = 1;
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        Some((config, options))
    }
}

/// What a lookup failed of. Of what the library says some is about servers and addresses, which are nobody's business.
fn reason(error: &NetError) -> io::Error {
    failed(match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) if error.is_nx_domain() => "there is no such name",
        NetError::Dns(DnsError::NoRecordsFound(_)) => "the name has no addresses",
        NetError::Timeout => TOO_SLOW,
        _ => "no name server gave an answer that is of use",
    })
}

/// What a small file says, read anew when it changes. A file that cannot be read is none.
struct Watched<T> {
    path: PathBuf,
    read: Mutex<Option<(Version, T)>>,
}

/// When it was changed, and how long it is; nothing if it is not there.
type Version = Option<(Option<SystemTime>, u64)>;

impl<T: Clone> Watched<T> {
    fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read: Mutex::new(None) }
    }

    fn get(&self, parse: impl FnOnce(Option<&[u8]>) -> T) -> T {
        let version = version(&self.path);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((known, value)) if *known == version => value.clone(),
            _ => {
                let value = parse(std::fs::read(&self.path).ok().as_deref());
                *read = Some((version, value.clone()));
                value
            }
        }
    }
}

fn version(path: &Path) -> Version {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok(), about.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    /// A machine with these files, where they are given.
    fn machine(dir: &Path, resolv_conf: Option<&str>, hosts: Option<&str>) -> Names {
        for (file, text) in [("resolv.conf", resolv_conf), ("hosts", hosts)] {
            if let Some(text) = text {
                std::fs::write(dir.join(file), text).unwrap();
            }
        }
        Names::new(&[], dir.join("resolv.conf"), dir.join("hosts"))
    }

    async fn look_up(names: &Names, name: &str) -> Result<Vec<String>, String> {
        let found = names.look_up(name).await.map_err(|error| error.to_string())?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn what_the_hosts_file_says_counts_and_is_read_anew_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let names = machine(dir.path(), None, Some("10.0.0.7 Api.Test other.test # and more\n::7 api.test\nnonsense"));
        assert_eq!(look_up(&names, "api.test").await.unwrap(), ["10.0.0.7", "::7"]);
        assert_eq!(look_up(&names, "OTHER.test").await.unwrap(), ["10.0.0.7"]);
        std::fs::write(dir.path().join("hosts"), "10.0.0.8 api.test name").unwrap();
        assert_eq!(look_up(&names, "api.test").await.unwrap(), ["10.0.0.8"]);
        assert_eq!(look_up(&names, "name").await.unwrap(), ["10.0.0.8"]);
        // It is asked elsewhere, and there is no elsewhere.
        assert_eq!(look_up(&names, "other.test").await.unwrap_err(), NO_SERVERS);
    }

    #[tokio::test]
    async fn a_machine_without_name_servers_says_so_at_the_lookup_and_one_that_gets_them_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let names = machine(dir.path(), None, None);
        assert_eq!(look_up(&names, "api.test").await.unwrap_err(), NO_SERVERS);
        for nonsense in ["", "# nameserver 127.0.0.9\n", "nameserver nobody\n", "\0\u{1}"] {
            std::fs::write(dir.path().join("resolv.conf"), nonsense).unwrap();
            assert_eq!(look_up(&names, "api.test").await.unwrap_err(), NO_SERVERS, "{nonsense:?}");
        }
        let many = "nameserver 127.0.0.9\nnameserver ::1\nnameserver 127.0.0.10\nnameserver 127.0.0.11\n\
            search corp.test\noptions timeout:30 attempts:9 ndots:15\n";
        std::fs::write(dir.path().join("resolv.conf"), many).unwrap();
        let (config, options) = names.config().unwrap();
        assert_eq!(config.name_servers.len(), 3);
        assert_eq!((options.timeout, options.attempts, options.cache_size), (Duration::from_secs(2), 2, 0));
        // A name with a dot is never looked for below a search domain, whatever the file says.
        assert_eq!(options.ndots, 1);
        std::fs::remove_file(dir.path().join("resolv.conf")).unwrap();
        assert_eq!(look_up(&names, "api.test").await.unwrap_err(), NO_SERVERS);
    }

    #[tokio::test]
    async fn what_is_no_name_is_asked_of_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let names = machine(dir.path(), None, None);
        for name in [&"x".repeat(64), &"x.".repeat(130), "a..b"] {
            assert!(look_up(&names, name).await.unwrap_err().contains("not a name"), "{name}");
        }
    }
}
