//! A DNS server that answers what a test wants, over UDP and TCP.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::OnceCell;

/// What is answered.
#[derive(Clone)]
pub(super) enum Reply {
    /// These addresses, of the family that was asked for.
    Addresses(Vec<IpAddr>),
    /// An alias and the addresses of what it stands for, where they are given.
    Alias(&'static str, Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// An error of the server's.
    Failure,
    /// Nothing.
    Silence,
    /// Over UDP an answer that is cut, over TCP these addresses.
    Cut(Vec<IpAddr>),
    /// Over UDP an answer that is cut, over TCP the length of an answer and then a byte of it now and then, for ever.
    Drip,
    /// These bytes behind the number of the question.
    Garbage(&'static [u8]),
}

impl Reply {
    pub(super) fn of(addresses: &[&str]) -> Self {
        Self::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

/// A question that came.
#[derive(Clone, Copy)]
pub(super) struct Question {
    /// Whether it is for IPv6 addresses.
    pub(super) v6: bool,
    /// How many came for the name and family before it.
    pub(super) nth: usize,
}

type Rule = Arc<dyn Fn(Question) -> Reply + Send + Sync>;

/// The server. Names that it was not told of do not exist.
pub(super) struct Dns {
    pub(super) address: SocketAddr,
    rules: Mutex<HashMap<String, Rule>>,
    asked: Mutex<BTreeMap<(String, bool), usize>>,
}

/// The one of this area.
pub(super) async fn dns() -> &'static Dns {
    static DNS: OnceCell<&'static Dns> = OnceCell::const_new();
    DNS.get_or_init(async || Box::leak(Box::new(Dns::bind().await)).serve().await).await
}

impl Dns {
    async fn bind() -> (UdpSocket, TcpListener, Self) {
        let (udp, tcp, address) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = udp.local_addr().unwrap();
            // The port may be somebody else's over TCP.
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp, address);
            }
        };
        (udp, tcp, Self { address, rules: Mutex::default(), asked: Mutex::default() })
    }

    /// Lets this be answered for a name.
    pub(super) fn put(&self, name: &str, rule: impl Fn(Question) -> Reply + Send + Sync + 'static) {
        self.rules.lock().unwrap().insert(name.to_owned(), Arc::new(rule));
    }

    /// The same for every question.
    pub(super) fn always(&self, name: &str, reply: Reply) {
        self.put(name, move |_| reply.clone());
    }

    /// How many questions came for names that end so.
    pub(super) fn asked(&self, end: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|((name, _), _)| name.ends_with(end)).map(|(_, count)| count).sum()
    }

    /// The question, and what is to be answered.
    fn look_up(&self, question: &Message) -> Option<Reply> {
        let query = question.queries.first()?;
        let v6 = match query.query_type() {
            RecordType::A => false,
            RecordType::AAAA => true,
            _ => return Some(Reply::NoName),
        };
        let name = query.name().to_ascii().to_lowercase();
        let name = name.trim_end_matches('.').to_owned();
        let nth = {
            let mut asked = self.asked.lock().unwrap();
            let count = asked.entry((name.clone(), v6)).or_default();
            *count += 1;
            *count - 1
        };
        let rule = self.rules.lock().unwrap().get(&name).cloned();
        Some(rule.map_or(Reply::NoName, |rule| rule(Question { v6, nth })))
    }
}

/// An answer's bytes; nothing if there is to be none.
fn answer(question: &Message, reply: Reply, tcp: bool) -> Option<Vec<u8>> {
    let query = question.queries.first()?.clone();
    let wants_v6 = query.query_type() == RecordType::AAAA;
    let mut message = Message::response(question.metadata.id, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    let mut add = |name: &Name, addresses: Vec<IpAddr>| {
        for address in addresses.into_iter().filter(|address| address.is_ipv6() == wants_v6) {
            message.answers.push(Record::from_rdata(name.clone(), 0, RData::from(address)));
        }
    };
    match reply {
        Reply::Addresses(addresses) => add(query.name(), addresses),
        Reply::Alias(target, addresses) => {
            let target = Name::from_ascii(target).unwrap();
            add(&target, addresses);
            message.answers.insert(0, Record::from_rdata(query.name().clone(), 0, RData::CNAME(CNAME(target))));
        }
        Reply::NoName => message.metadata.response_code = ResponseCode::NXDomain,
        Reply::Failure => message.metadata.response_code = ResponseCode::ServFail,
        Reply::Silence => return None,
        Reply::Cut(addresses) if tcp => add(query.name(), addresses),
        Reply::Cut(_) | Reply::Drip => message.metadata.truncation = true,
        Reply::Garbage(bytes) => return Some([&question.metadata.id.to_be_bytes(), bytes].concat()),
    }
    message.queries.push(query);
    let bytes = message.to_vec().unwrap();
    // What does not fit is cut, as a server does it.
    if !tcp && bytes.len() > 1232 {
        message.answers.clear();
        message.metadata.truncation = true;
        return Some(message.to_vec().unwrap());
    }
    Some(bytes)
}

trait Serve {
    async fn serve(&'static self) -> &'static Dns;
}

impl Serve for (UdpSocket, TcpListener, Dns) {
    /// For as long as the process lives.
    async fn serve(&'static self) -> &'static Dns {
        let (udp, tcp, dns) = self;
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let Ok((count, from)) = udp.recv_from(&mut buffer).await else { continue };
                let Ok(question) = Message::from_vec(&buffer[..count]) else { continue };
                if let Some(bytes) = dns.look_up(&question).and_then(|reply| answer(&question, reply, false)) {
                    let _ = udp.send_to(&bytes, from).await;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(over_tcp(dns, stream));
            }
        });
        dns
    }
}

async fn over_tcp(dns: &Dns, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut bytes = vec![0; length.into()];
        stream.read_exact(&mut bytes).await?;
        let Ok(question) = Message::from_vec(&bytes) else { return Ok(()) };
        match dns.look_up(&question) {
            Some(Reply::Drip) => {
                stream.write_u16(60_000).await?;
                loop {
                    stream.write_u8(0).await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            reply => {
                let Some(bytes) = reply.and_then(|reply| answer(&question, reply, true)) else { continue };
                stream.write_u16(bytes.len().try_into().unwrap()).await?;
                stream.write_all(&bytes).await?;
            }
        }
    }
}
