//! Limits and retries toward an API. Time is paused where waits are long: it moves on only when all wait for it.

use tokio::time::Instant;

use super::*;
use crate::egress::gate::Permit;

fn rules(requests: u32, per_ms: u64) -> RateRules {
    RateRules { limits: vec![RateLimit { requests, per_ms }], concurrency: None }
}

/// The most arrivals in any window.
fn busiest(arrivals: &[Instant], window: Duration) -> usize {
    let mut arrivals = arrivals.to_vec();
    arrivals.sort();
    (0..arrivals.len())
        .map(|n| arrivals[n..].iter().take_while(|at| **at - arrivals[n] < window).count())
        .max()
        .unwrap()
}

/// Sends so many requests in so many tasks; every other takes `travel` to arrive, and is answered after twice that, and
/// the ones between take no time.
async fn run(gates: [Arc<Gate>; 2], tasks: usize, each: usize, travel: Duration) -> (Vec<Instant>, Duration) {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (gates, arrivals) = (gates.clone(), arrivals.clone());
            tokio::spawn(async move {
                for nth in 0..each {
                    let travel = if nth % 2 == 0 { travel } else { Duration::ZERO };
                    let mut permits = [gates[0].enter().await, gates[1].enter().await];
                    permits.iter_mut().for_each(Permit::sent);
                    tokio::time::sleep(travel).await;
                    arrivals.lock().unwrap().push(Instant::now());
                    tokio::time::sleep(travel).await;
                    permits.iter().for_each(Permit::answered);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let arrivals = arrivals.lock().unwrap().clone();
    (arrivals, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn twenty_tasks_never_exceed_a_limit_in_any_window_and_lose_no_tenth_of_it() {
    for (requests, per_ms, tasks, each) in [
        (10, 1000, 20, 20),
        (10, 1000, 1, 300),
        (1, 100, 20, 5),
        (1, 100, 1, 100),
        (100, 10_000, 20, 50),
        (500, 60_000, 20, 100),
    ] {
        let per = Duration::from_millis(per_ms);
        for travel in [0, 5, 25, 50].map(Duration::from_millis).into_iter().filter(|travel| *travel <= per / 20) {
            let (open, limited) = (Gate::new(&RateRules::default()), Gate::new(&rules(requests, per_ms)));
            let (arrivals, took) = run([open, limited], tasks, each, travel).await;
            let all = tasks * each;
            assert_eq!(arrivals.len(), all);
            assert!(
                busiest(&arrivals, per) <= requests as usize,
                "{requests} per {per:?}, {travel:?}: {}",
                busiest(&arrivals, per)
            );
            let ideal = per.mul_f64(f64::from(u32::try_from(all).unwrap()) / f64::from(requests));
            // Of the travel, the part that is answered earlier than it may take is not waited for.
            let loss = (2.0 * travel.as_secs_f64() / per.as_secs_f64()).min(0.05);
            assert!(took <= ideal.mul_f64(1.02 + loss), "{requests} per {per:?}, {travel:?}: {took:?} of {ideal:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn both_gates_hold_though_a_request_waits_between_them() {
    // At the first a request waits for nothing, and then long at the second.
    let (connection, integration) = (Gate::new(&rules(1, 100)), Gate::new(&rules(2, 1000)));
    let other = integration.clone();
    let busy = tokio::spawn(async move { run([Gate::new(&RateRules::default()), other], 2, 10, Duration::ZERO).await });
    let (arrivals, _) = run([connection, integration], 5, 4, Duration::ZERO).await;
    assert!(busiest(&arrivals, Duration::from_millis(100)) <= 1);
    let (others, _) = busy.await.unwrap();
    assert!(busiest(&[arrivals, others].concat(), Duration::from_secs(1)) <= 2);
}

#[tokio::test(start_paused = true)]
async fn all_limits_hold_and_new_rules_count_what_was_sent_before() {
    let gate = Gate::new(&RateRules {
        limits: vec![RateLimit { requests: 5, per_ms: 1000 }, RateLimit { requests: 20, per_ms: 10_000 }],
        concurrency: None,
    });
    let open = Gate::new(&RateRules::default());
    let (mut arrivals, _) = run([open.clone(), gate.clone()], 3, 13, Duration::ZERO).await;
    assert!(busiest(&arrivals, Duration::from_secs(1)) <= 5 && busiest(&arrivals, Duration::from_secs(10)) <= 20);
    gate.set_rules(&rules(3, 8000));
    arrivals.extend(run([open, gate], 3, 3, Duration::ZERO).await.0);
    let late = &arrivals[36..];
    assert!(busiest(late, Duration::from_secs(8)) <= 3, "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_limit_does_not_grow_with_its_requests() {
    let gate = Gate::new(&rules(1_000_000, 60_000));
    for _ in 0..20_000 {
        gate.enter().await.sent();
        tokio::time::advance(Duration::from_millis(3)).await;
    }
    assert!(gate.remembered() <= 80, "{}", gate.remembered());
}

#[tokio::test(start_paused = true)]
async fn who_comes_first_is_served_first_and_who_leaves_takes_nothing() {
    for gate in [Gate::new(&rules(1, 1000)), Gate::new(&RateRules { concurrency: Some(1), ..RateRules::default() })] {
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        let mut held = gate.enter().await;
        held.sent();
        for nth in 0..6 {
            let (gate, served) = (gate.clone(), served.clone());
            tasks.push(tokio::spawn(async move {
                let mut permit = gate.enter().await;
                permit.sent();
                served.lock().unwrap().push(nth);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }));
            tokio::task::yield_now().await;
        }
        // The first of the queue and one in the middle.
        tasks[0].abort();
        tasks[3].abort();
        drop(held);
        for task in tasks {
            let _ = task.await;
        }
        assert_eq!(*served.lock().unwrap(), [1, 2, 4, 5]);
        // Let in and never sent: as if it had not been there.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let start = Instant::now();
        for _ in 0..10 {
            drop(gate.enter().await);
        }
        gate.enter().await.sent();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_may_be_until_their_bodies_are_read() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = {
        let (now, most) = (now.clone(), most.clone());
        Server::start(move |_, _| {
            let under_way = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(under_way, Ordering::SeqCst);
            let head = b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\na".to_vec();
            vec![Step::Send(head), Step::Pause(Duration::from_millis(5)), Step::Send(b"b".to_vec())]
        })
        .await
    };
    for of_integration in [true, false] {
        let account = account(None);
        let gate = if of_integration { &account.integration } else { &account.connection };
        gate.set_rules(&RateRules { concurrency: Some(3), ..RateRules::default() });
        let policy = Policy { account: Some(account), ..to(&server) };
        let egress = Egress::new().unwrap();
        let sends = (0..20).map(|_| async {
            egress.send(&policy, get(server.url("/")), &Budget::ample()).await.unwrap();
            now.fetch_sub(1, Ordering::SeqCst);
        });
        futures_util::future::join_all(sends).await;
        assert_eq!(most.swap(0, Ordering::SeqCst), 3);
    }
}

/// A policy with an account and five retries.
fn mannered(server: &Server) -> Policy {
    Policy { account: Some(account(None)), retry: RetryRules::default(), ..to(server) }
}

async fn send(policy: &Policy, request: Request) -> Result<Response, EgressError> {
    Egress::new().unwrap().send(policy, request, &Budget::ample()).await
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_an_api_tells_makes_all_of_the_connection_wait() {
    let reset =
        (std::time::SystemTime::now() + Duration::from_secs(100)).duration_since(std::time::UNIX_EPOCH).unwrap();
    let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    for (status, headers, least, most) in [
        (429, "retry-after: 30\r\n".to_owned(), 30, 30),
        (503, "retry-after: 30\r\n".to_owned(), 30, 30),
        (429, format!("retry-after: {date}\r\n"), 90, 100),
        (200, "ratelimit: \"default\";r=0;t=30\r\n".to_owned(), 30, 30),
        (200, "ratelimit-limit: 9\r\nratelimit-remaining: 0\r\nratelimit-reset: 30\r\n".to_owned(), 30, 30),
        (200, format!("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: {}\r\n", reset.as_secs()), 90, 100),
        (200, format!("x-rate-limit-remaining: 0\r\nx-rate-limit-reset: {}\r\n", reset.as_millis()), 90, 100),
        (429, "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 30\r\n".to_owned(), 30, 30),
        (200, "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 3600\r\n".to_owned(), 600, 600),
        (200, "x-ratelimit-remaining: 1\r\nx-ratelimit-reset: 3600\r\n".to_owned(), 0, 0),
    ] {
        let told = answer(status, &headers, "");
        let server =
            Server::start(move |nth, _| vec![Step::Send(if nth == 0 { told.clone() } else { answer(200, "", "") })])
                .await;
        let policy = mannered(&server);
        let start = Instant::now();
        let first = async {
            send(&policy, get(server.url("/"))).await.unwrap();
        };
        let others = async {
            until(|| server.requests().len() == 1).await;
            // The answer is there with the next breath of the runtime.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let sends = (0..10).map(|_| send(&policy, get(server.url("/"))));
            assert!(
                futures_util::future::join_all(sends).await.iter().all(|answer| answer.as_ref().unwrap().status == 200)
            );
        };
        tokio::join!(first, others);
        let waited = start.elapsed().as_secs();
        assert!((least..=most).contains(&waited), "{status} {headers}: {waited}");
        assert_eq!(server.requests().len(), if status == 200 { 11 } else { 12 }, "nobody else was told so");
        // Another connection is not concerned.
        let start = Instant::now();
        send(&mannered(&server), get(server.url("/"))).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn bursts_and_cut_bodies_end_well_without_a_word_of_the_script_and_posts_are_sent_once() {
    let burst = |nth: usize, _: &str| match nth {
        0 => vec![Step::Send(answer(500, "", ""))],
        1 => vec![Step::Send(answer(503, "retry-after: 2\r\n", ""))],
        2 => vec![Step::Send(b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\ncut".to_vec()), Step::Close],
        3 => vec![Step::Send(answer(200, "content-encoding: gzip\r\n", "no gzip at all, but long"))],
        4 => vec![Step::Close],
        _ => vec![Step::Send(answer(200, "", "done"))],
    };
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let server = Server::start(burst).await;
        let response =
            send(&mannered(&server), Request { method: method.to_owned(), ..get(server.url("/")) }).await.unwrap();
        assert_eq!((&*response.body, server.requests().len()), (&b"done"[..], 6), "{method}");
    }
    for method in ["POST", "PATCH"] {
        let server = Server::start(burst).await;
        let request = |retries| Request { method: method.to_owned(), retries, ..get(server.url("/")) };
        assert_eq!((send(&mannered(&server), request(0)).await.unwrap().status, server.requests().len()), (500, 1));
        assert_eq!(send(&mannered(&server), request(4)).await.unwrap().status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn the_policy_names_statuses_and_waits() {
    let server = Server::start(|nth, _| vec![Step::Send(answer(if nth < 3 { 409 } else { 200 }, "", ""))]).await;
    let retry = RetryRules { statuses: vec![409], first_wait_ms: 100, max_wait_ms: 150, ..RetryRules::default() };
    let start = Instant::now();
    assert_eq!(send(&Policy { retry, ..mannered(&server) }, get(server.url("/"))).await.unwrap().status, 200);
    assert!((200..=420).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn waiting_does_not_count_as_the_requests_time_and_all_its_hops_do() {
    for (pause, ends_well) in [(2, true), (3, false)] {
        let server = Server::start(move |nth, _| {
            let (status, headers) = if nth == 0 { (302, "location: /there\r\n") } else { (200, "") };
            vec![Step::Pause(Duration::from_secs(pause)), Step::Send(answer(status, headers, ""))]
        })
        .await;
        let retry = RetryRules { max: 0, ..RetryRules::default() };
        let policy = Policy { timeout: Duration::from_secs(5), retry, ..mannered(&server) };
        let gate = &policy.account.as_ref().unwrap().connection;
        gate.close_for(Duration::from_mins(1));
        gate.set_rules(&rules(1, 60_000));
        let start = Instant::now();
        match send(&policy, Request { redirects: 1, ..get(server.url("/")) }).await {
            Ok(response) => assert!(ends_well && response.status == 200),
            Err(error) => assert!(!ends_well && error.code() == "timed-out", "{error}"),
        }
        assert!(start.elapsed() > Duration::from_mins(2));
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_runs_together_keep_to_the_limit_as_the_server_sees_it() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let server = {
        let arrivals = arrivals.clone();
        Server::start(move |nth, _| {
            arrivals.lock().unwrap().push(Instant::now());
            // Some fail on the way, and what is tried again counts as well.
            let status = if nth % 7 == 3 { 500 } else { 200 };
            vec![Step::Pause(Duration::from_millis(20)), Step::Send(answer(status, "", ""))]
        })
        .await
    };
    // Short, so that at the end no run is left waiting for its last retry alone.
    let retry = RetryRules { first_wait_ms: 10, max_wait_ms: 50, ..RetryRules::default() };
    let policy = Policy { retry, ..mannered(&server) };
    policy.account.as_ref().unwrap().integration.set_rules(&rules(10, 1000));
    let egress = Egress::new().unwrap();
    let start = Instant::now();
    let run = async || {
        // Each run is another connection of the integration.
        let of_integration = policy.account.clone().unwrap();
        let of_run = Account { connection: Gate::new(&RateRules::default()), ..of_integration };
        let policy = Policy { account: Some(of_run), ..policy.clone() };
        for _ in 0..10 {
            assert_eq!(egress.send(&policy, get(server.url("/")), &Budget::ample()).await.unwrap().status, 200);
        }
    };
    futures_util::future::join_all((0..20).map(|_| run())).await;
    let arrivals = arrivals.lock().unwrap();
    assert!(busiest(&arrivals, Duration::from_secs(1)) <= 10, "{}", busiest(&arrivals, Duration::from_secs(1)));
    let ideal = Duration::from_millis(100) * u32::try_from(arrivals.len()).unwrap();
    assert!(start.elapsed() <= ideal.mul_f64(1.1), "{:?} of {ideal:?}", start.elapsed());
}
