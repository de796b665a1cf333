//! Who has failed again and again is left alone. Time is paused.

use tokio::time::{Instant, advance};

use super::*;

/// A server that is down while the flag is set.
async fn unsteady() -> (Server, Arc<std::sync::atomic::AtomicBool>) {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let flag = down.clone();
    let server = Server::start(move |_, _| {
        vec![Step::Send(answer(if flag.load(Ordering::SeqCst) { 500 } else { 200 }, "", ""))]
    });
    (server.await, down)
}

fn policy(server: &Server, retries: u32) -> Policy {
    let retry = RetryRules { max: retries, ..RetryRules::default() };
    Policy { account: Some(account(None)), retry, ..to(server) }
}

async fn open_after(policy: &Policy, egress: &Egress, server: &Server, count: usize) -> Duration {
    for nth in 0..count {
        assert_eq!(egress.send(policy, get(server.url("/")), &Budget::ample()).await.unwrap().status, 500, "{nth}");
    }
    match egress.send(policy, get(server.url("/")), &Budget::ample()).await {
        Err(EgressError::CircuitOpen { retry_after, host }) if host == "127.0.0.1" => retry_after,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn ten_failures_open_it_probes_double_its_time_and_a_success_closes_it() {
    let (server, down) = unsteady().await;
    let (policy, egress) = (policy(&server, 0), Egress::new().unwrap());
    let near = |wait: Duration, seconds: u64| {
        assert!(
            Duration::from_secs(seconds).saturating_sub(wait) < Duration::from_millis(100),
            "{wait:?} of {seconds} s"
        );
    };
    near(open_after(&policy, &egress, &server, 10).await, 5);
    for (before, after) in [(5, 10), (10, 20), (20, 40), (40, 60), (60, 60)] {
        advance(Duration::from_secs(before)).await;
        near(open_after(&policy, &egress, &server, 1).await, after);
    }
    assert_eq!(server.requests().len(), 15);
    advance(Duration::from_mins(1)).await;
    down.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        egress.send(&policy, get(server.url("/")), &Budget::ample()).await.unwrap();
    }
    down.store(true, Ordering::SeqCst);
    near(open_after(&policy, &egress, &server, 10).await, 5);
}

#[tokio::test(start_paused = true)]
async fn what_the_script_did_wrong_is_no_failure_and_a_success_starts_anew() {
    let server = Server::start(|nth, _| vec![Step::Send(answer(if nth % 10 == 9 { 404 } else { 500 }, "", ""))]).await;
    let (policy, egress) = (policy(&server, 0), Egress::new().unwrap());
    for _ in 0..50 {
        egress.send(&policy, get(server.url("/")), &Budget::ample()).await.unwrap();
    }
    let closed = Canary::on("127.0.0.1:0");
    let gone = format!("http://127.0.0.1:{}", closed.port());
    drop(closed);
    let policy = Policy { allowed_hosts: vec![gone.parse().unwrap()], ..policy };
    for nth in 0..12 {
        let error = egress.send(&policy, get(&*gone), &Budget::ample()).await.unwrap_err();
        assert_eq!(error.code(), if nth < 10 { "transport" } else { "circuit-open" });
    }
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_one_probe_through_and_the_others_wait_for_its_outcome() {
    let (server, down) = unsteady().await;
    let (policy, egress) = (policy(&server, 0), Egress::new().unwrap());
    open_after(&policy, &egress, &server, 10).await;
    let breaker = &policy.account.as_ref().unwrap().breaker;
    assert!(breaker.admit().is_err());
    advance(Duration::from_secs(5)).await;
    let probe = breaker.admit().unwrap_or_else(|_| panic!("it is half-open"));
    assert!(breaker.admit().is_err());
    // A probe that says nothing is another's to make.
    drop(probe);
    let probe = breaker.admit().unwrap_or_else(|_| panic!("it is half-open"));
    let patient = Policy { retry: RetryRules { max: 1, ..RetryRules::default() }, ..policy.clone() };
    down.store(false, Ordering::SeqCst);
    let waiting = async {
        futures_util::future::join_all((0..20).map(|_| egress.send(&patient, get(server.url("/")), &*UNCOUNTED))).await
    };
    let telling = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(server.requests().len(), 10);
        probe.succeeded();
    };
    let (answers, ()) = tokio::join!(waiting, telling);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().status == 200));
}

#[tokio::test(start_paused = true)]
async fn who_has_retries_left_waits_for_the_half_open_moment() {
    let (server, down) = unsteady().await;
    let (hasty, egress) = (policy(&server, 0), Egress::new().unwrap());
    open_after(&hasty, &egress, &server, 10).await;
    down.store(false, Ordering::SeqCst);
    let patient = Policy { retry: RetryRules { max: 1, ..RetryRules::default() }, ..hasty };
    let start = Instant::now();
    assert_eq!(egress.send(&patient, get(server.url("/")), &Budget::ample()).await.unwrap().status, 200);
    assert!((4900..5100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(server.requests().len(), 11);
}

static UNCOUNTED: std::sync::LazyLock<Budget> = std::sync::LazyLock::new(Budget::ample);
