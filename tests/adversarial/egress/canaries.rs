//! Listeners where nothing may connect. Each counts the connections that came, also those that nobody has accepted: the
//! kernel has put a connection into the queue before `connect` returns at the other end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::LazyLock;

/// On every forbidden address that this machine can listen on, all with one port.
pub(super) struct Canaries {
    listeners: Vec<TcpListener>,
    pub(super) port: u16,
}

pub(super) static CANARIES: LazyLock<Canaries> = LazyLock::new(Canaries::listen);

/// The address that this machine sends from, where it has any besides loopback.
pub(super) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

impl Canaries {
    fn listen() -> Self {
        // A port may be somebody else's on one of the addresses.
        let canaries = (0..100).find_map(|_| Self::try_listen().ok());
        canaries.expect("a port that is free on all addresses")
    }

    fn try_listen() -> std::io::Result<Self> {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let mut canaries = Self { listeners: vec![first], port };
        canaries.add(Ipv4Addr::new(127, 255, 255, 254).into())?;
        // Not on every machine; what cannot be listened on cannot be reached either.
        let more = [IpAddr::from(Ipv6Addr::LOCALHOST)].into_iter().chain(own_address());
        for address in more {
            if TcpListener::bind((address, 0)).is_ok() {
                canaries.add(address)?;
            }
        }
        for listener in &canaries.listeners {
            listener.set_nonblocking(true).unwrap();
        }
        Ok(canaries)
    }

    fn add(&mut self, address: IpAddr) -> std::io::Result<()> {
        self.listeners.push(TcpListener::bind((address, self.port))?);
        Ok(())
    }

    /// Panics if anybody has connected to any of them since the last time.
    #[track_caller]
    pub(super) fn are_silent(&self, what: &str) {
        for listener in &self.listeners {
            if let Ok((_, from)) = listener.accept() {
                panic!("{what}: {from} connected to {}", listener.local_addr().unwrap());
            }
        }
    }
}

/// A listener on this address alone, with a port that is free there.
pub(super) fn silent_on(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

#[test]
fn a_canary_hears_who_connects() {
    let canaries = Canaries::listen();
    canaries.are_silent("nobody");
    for listener in &canaries.listeners {
        let _here = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(std::panic::catch_unwind(|| canaries.are_silent("this test")).is_err());
    }
    // 0.0.0.0 leads to this machine.
    let _here = std::net::TcpStream::connect((Ipv4Addr::UNSPECIFIED, canaries.port)).unwrap();
    assert!(std::panic::catch_unwind(|| canaries.are_silent("this test")).is_err());
}
