//! Instances that wait for an answer: how many there can be, and what each weighs.

use std::io::{BufRead as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use terapi::clock::SystemClock;
use terapi::egress::Egress;
use terapi::sandbox::{Patience, Sandbox};
use terapi::store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::asked;
use crate::full_sync::{NullStore, request};
use crate::measure::{figure, progress};
use crate::server::Server;

/// Of a Rust guest that waits for an answer, in MiB.
const GOAL: f64 = 0.5;
const MIB: f64 = 1_048_576.0;

/// The peer, in a process of its own: takes connections, answers nothing, and tells how many there are when it is asked.
pub(crate) fn serve() {
    more_descriptors();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.extend(stream.ok());
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    for _ in std::io::stdin().lock().lines() {
        println!("{}", count.load(Ordering::SeqCst));
        let _ = std::io::stdout().flush();
    }
}

/// As many descriptors as the system lets this process have.
fn more_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is an rlimit that the calls may fill and read.
    #[expect(unsafe_code, reason = "the standard library does not set limits")]
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

fn rss() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) * 1_024.0
}

pub(crate) async fn bench(guest: &[u8]) {
    more_descriptors();
    let most = asked("TERAPI_BENCH_ASLEEP", 5_000);
    let mut server = Server::start();
    let policy = server.policy();
    let sandbox = Sandbox::new(u32::try_from(most).unwrap() + 8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(guest.to_vec(), Patience::Upload).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(NullStore);
    let cancel = CancellationToken::new();
    let mut runs = JoinSet::new();
    let before = rss();
    let mut asleep = 0;
    for count in [100, 1_000, 5_000].into_iter().filter(|count| *count <= most) {
        progress(&format!("{count} instances asleep in fetch"));
        let start = Instant::now();
        while asleep < count {
            // A client of its own for some: accounts do not share connections.
            let egress = Egress::new().unwrap();
            for _ in 0..100 {
                let mut request = request(&script, &store, &egress, r#"{"repository": "a/b"}"#, policy.clone());
                request.cancel = cancel.clone();
                let sandbox = sandbox.clone();
                runs.spawn(async move { sandbox.run(request).await });
                asleep += 1;
            }
        }
        while server.tell("how many").parse::<usize>().unwrap() < count {
            assert!(start.elapsed() < Duration::from_mins(2), "they do not fall asleep");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let each = (rss() - before) / count as f64 / MIB;
        figure(format!("sandbox/memory of each of {count} asleep"), each, "MiB").at_most(GOAL).print();
        figure(format!("sandbox/time until {count} are asleep"), start.elapsed().as_secs_f64(), "s").print();
    }
    let start = Instant::now();
    cancel.cancel();
    while runs.join_next().await.is_some() {}
    figure("sandbox/time until all are cancelled", start.elapsed().as_secs_f64(), "s").print();
}
