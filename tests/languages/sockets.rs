//! A language runtime that brings along its whole C library imports `wasi:sockets`, used or not. It gets them, dead.

use serde_json::json;

use crate::support::Bench;

/// Where `.ci/languages` built `scripts/dialer.py`.
const BUILT: &str = "TERAPI_DIALER_PYTHON";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_with_sockets_in_it_gets_none() {
    let Some(file) = std::env::var_os(BUILT) else {
        eprintln!("not run: {BUILT} is not set (see .ci/languages)");
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let bench = Bench::open().await;
    let script = bench.load(std::fs::read(file).unwrap()).await;
    let mut execution = bench.execution_of(script, json!({ "port": listener.local_addr().unwrap().port() }));
    // What the operator allows is for requests through Terapi.
    execution.policy.private_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let ran = bench.sync(execution).await.succeeded();
    for way in ["connect: ", "send: ", "listen: ", "look_up: "] {
        assert!(ran.log.iter().any(|line| line.message.starts_with(way)), "{way}{:?}", ran.log);
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
