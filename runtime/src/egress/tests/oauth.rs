//! OAuth 2: tokens are had once, kept before they are used, renewed in time, and never shown.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;

use super::*;
use crate::clock::SimulatedClock;
use crate::ids::Timestamp;

const START: u64 = 1_700_000_000_000;

/// What the keeper was told, and what it says.
#[derive(Default)]
struct Keeper {
    kept: Mutex<Vec<Tokens>>,
    refused: Mutex<Vec<String>>,
    failures: AtomicUsize,
}

impl TokenKeeper for Keeper {
    fn keep(&self, tokens: &Tokens) -> BoxFuture<'_, Result<(), String>> {
        let tokens = tokens.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.failures.load(Ordering::SeqCst) > 0 {
                self.failures.fetch_sub(1, Ordering::SeqCst);
                return Err("the disk is full".to_owned());
            }
            self.kept.lock().unwrap().push(tokens);
            Ok(())
        })
    }

    fn refused(&self, reason: &str) -> BoxFuture<'_, ()> {
        self.refused.lock().unwrap().push(reason.to_owned());
        Box::pin(async {})
    }
}

/// An account with OAuth between an API and a token endpoint.
struct Oauth {
    api: Server,
    endpoint: Server,
    keeper: Arc<Keeper>,
    clock: Arc<SimulatedClock>,
    policy: Policy,
    egress: Egress,
}

fn json(status: u16, body: &str) -> Vec<Step> {
    vec![Step::Send(answer(status, "content-type: application/json\r\n", body))]
}

/// The n-th token, of a minute's life with half of it leeway.
fn nth_token(nth: usize) -> Vec<Step> {
    json(
        200,
        &format!(
            r#"{{"access_token":"s3ntinel-a{nth}","token_type":"bearer","expires_in":3600,"refresh_token":"s3ntinel-r{nth}"}}"#
        ),
    )
}

impl Oauth {
    async fn new(
        refresh_token: Option<&str>,
        api: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
        endpoint: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let (api, endpoint) = (Server::start(api).await, Server::start(endpoint).await);
        let token_url = endpoint.url("/token").parse().unwrap();
        let (client_id, client_secret) = ("i:d".to_owned(), "s3ntinel-c".to_owned());
        let (scopes, parameters) =
            (vec!["a".to_owned(), "b".to_owned()], BTreeMap::from([("audience".to_owned(), "x".to_owned())]));
        let (scheme, tokens) = match refresh_token {
            None => (
                Scheme::Oauth2ClientCredentials {
                    token_url,
                    client_id,
                    client_secret,
                    scopes,
                    client_auth: ClientAuth::Basic,
                    parameters,
                },
                None,
            ),
            Some(token) => (
                Scheme::Oauth2RefreshToken {
                    token_url,
                    client_id,
                    client_secret: Some(client_secret),
                    scopes,
                    client_auth: ClientAuth::Body,
                    parameters,
                },
                Some(Tokens { access_token: String::new(), refresh_token: Some(token.to_owned()), expires_at: None }),
            ),
        };
        let keeper = Arc::new(Keeper::default());
        let clock = Arc::new(SimulatedClock::new(Timestamp(START)));
        let hosts = vec![api.url("").parse().unwrap()];
        let credential = Credential::new(scheme, tokens, hosts, Some(keeper.clone()), clock.clone());
        let policy = Policy { account: Some(account(Some(credential))), ..to(&api) };
        Self { api, endpoint, keeper, clock, policy, egress: Egress::new().unwrap() }
    }

    async fn send(&self, request: Request) -> Result<Response, EgressError> {
        let result = self.egress.send(&self.policy, request, &Budget::ample()).await;
        if let Err(error) = &result {
            assert!(!format!("{error} {error:?}").contains("s3ntinel"), "{error}");
        }
        result
    }

    async fn get(&self) -> Result<Response, EgressError> {
        self.send(get(self.api.url("/"))).await
    }

    fn asked(&self) -> usize {
        self.endpoint.requests().len()
    }
}

fn ok(_: usize, _: &str) -> Vec<Step> {
    vec![Step::Send(answer(200, "", "ok"))]
}

#[tokio::test]
async fn fifty_tasks_ask_for_one_token() {
    let oauth = Arc::new(Oauth::new(None, ok, |nth, _| nth_token(nth)).await);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            tokio::spawn({
                let oauth = oauth.clone();
                async move { oauth.get().await.unwrap() }
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().status, 200);
    }
    assert_eq!((oauth.asked(), oauth.api.requests().len()), (1, 50));
    assert!(oauth.api.requests().iter().all(|request| request.contains("authorization: Bearer s3ntinel-a0\r\n")));
    let asked = oauth.endpoint.requests().remove(0);
    assert!(asked.starts_with("POST /token "), "{asked}");
    // i%3Ad:s3ntinel-c
    assert!(asked.contains("authorization: Basic aSUzQWQ6czNudGluZWwtYw==\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\naudience=x&grant_type=client_credentials&scope=a+b"), "{asked}");
}

#[tokio::test]
async fn a_token_is_renewed_a_minute_before_it_ends_and_the_rotated_refresh_token_is_used() {
    let oauth = Oauth::new(Some("s3ntinel-first"), ok, |nth, _| nth_token(nth)).await;
    for (after_ms, asked) in [(0, 1), (3_539_999, 1), (1, 2), (3_539_999, 2), (1, 3)] {
        oauth.clock.advance_ms(after_ms);
        oauth.get().await.unwrap();
        assert_eq!(oauth.asked(), asked, "{after_ms}");
    }
    let asked = oauth.endpoint.requests();
    for (request, refresh) in asked.iter().zip(["first", "r0", "r1"]) {
        assert!(request.ends_with(&format!(
            "\r\n\r\naudience=x&client_id=i%3Ad&client_secret=s3ntinel-c&grant_type=refresh_token&refresh_token=s3ntinel-{refresh}&scope=a+b"
        )), "{request}");
        assert!(!request.contains("authorization"), "{request}");
    }
    let kept = oauth.keeper.kept.lock().unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[0].expires_at, Some(Timestamp(START + 3_600_000)));
    assert_eq!(kept[2].refresh_token.as_deref(), Some("s3ntinel-r2"));
}

#[tokio::test]
async fn the_leeway_is_at_most_half_of_the_tokens_life_and_an_answer_may_leave_things_out() {
    for (body, lives_ms) in [
        (r#"{"access_token":"t","expires_in":20}"#, Some(10_000)),
        (r#"{"access_token":"t","expires_in":"20"}"#, Some(10_000)),
        (r#"{"access_token":"t","expires_in":20.0}"#, Some(10_000)),
        (r#"{"access_token":"t"}"#, None),
        (r#"{"access_token":"t","expires_in":0}"#, None),
        (r#"{"access_token":"t","expires_in":null,"refresh_token":""}"#, None),
    ] {
        let oauth = Oauth::new(Some("s3ntinel-first"), ok, move |_, _| json(200, body)).await;
        oauth.get().await.unwrap();
        oauth.clock.advance_ms(lives_ms.map_or(1 << 40, |ms| ms - 1));
        oauth.get().await.unwrap();
        assert_eq!(oauth.asked(), 1, "{body}");
        if lives_ms.is_some() {
            oauth.clock.advance_ms(1);
            oauth.get().await.unwrap();
            assert_eq!(oauth.asked(), 2, "{body}");
        }
        let kept = oauth.keeper.kept.lock().unwrap();
        assert_eq!(kept[0].refresh_token.as_deref(), Some("s3ntinel-first"), "the old one stays");
    }
}

#[tokio::test]
async fn a_401_renews_the_token_once_for_all_and_sends_the_request_again_whatever_its_method() {
    let api = |_: usize, request: &str| {
        vec![Step::Send(answer(if request.contains("s3ntinel-a0") { 401 } else { 200 }, "", ""))]
    };
    let oauth = Arc::new(Oauth::new(None, api, |nth, _| nth_token(nth)).await);
    oauth
        .send(Request { method: "POST".to_owned(), body: Some(b"body".to_vec()), ..get(oauth.api.url("/")) })
        .await
        .unwrap();
    let sent = oauth.api.requests();
    assert_eq!((sent.len(), oauth.asked()), (2, 2));
    assert!(sent[0].contains("s3ntinel-a0") && sent[1].contains("s3ntinel-a1"));
    assert!(sent.iter().all(|request| request.starts_with("POST ") && request.ends_with("body")));

    // Together: all are turned away with the same token.
    let oauth = Arc::new(Oauth::new(None, api, |nth, _| nth_token(nth)).await);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let oauth = oauth.clone();
                async move { oauth.get().await.unwrap().status }
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(oauth.asked(), 2);
}

#[tokio::test]
async fn a_second_401_is_an_answer() {
    let oauth = Oauth::new(None, |_, _| vec![Step::Send(answer(401, "", "no"))], |nth, _| nth_token(nth)).await;
    let response = oauth.get().await.unwrap();
    assert_eq!((response.status, &*response.body), (401, &b"no"[..]));
    assert_eq!((oauth.api.requests().len(), oauth.asked()), (2, 2));
}

#[tokio::test]
async fn a_token_is_kept_before_it_is_used_and_is_not_lost_where_that_fails() {
    let oauth = Oauth::new(Some("s3ntinel-first"), ok, |nth, _| nth_token(nth)).await;
    oauth.keeper.failures.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(oauth.get().await.unwrap_err().code(), "credential-unavailable");
        assert_eq!((oauth.api.requests().len(), oauth.asked()), (0, 1));
    }
    oauth.get().await.unwrap();
    assert_eq!((oauth.api.requests().len(), oauth.asked()), (1, 1));
    assert_eq!(oauth.keeper.kept.lock().unwrap()[0].refresh_token.as_deref(), Some("s3ntinel-r0"));
}

#[tokio::test]
async fn a_run_that_ends_while_a_token_is_asked_for_does_not_lose_it() {
    let slow = |nth: usize, _: &str| {
        [vec![Step::Pause(Duration::from_millis(50))], nth_token(nth)].into_iter().flatten().collect()
    };
    let oauth = Arc::new(Oauth::new(Some("s3ntinel-first"), ok, slow).await);
    let task = tokio::spawn({
        let oauth = oauth.clone();
        async move { oauth.get().await }
    });
    until(|| oauth.asked() == 1).await;
    task.abort();
    until(|| oauth.keeper.kept.lock().unwrap().len() == 1).await;
    oauth.get().await.unwrap();
    assert_eq!(oauth.asked(), 1);
}

#[tokio::test]
async fn after_a_refusal_for_good_nobody_asks_again() {
    for (status, body) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"the token s3ntinel-first\r\nor (s3ntinel-fi, s3ntinel-c) has ended"}"#,
        ),
        (401, r#"{"error":"invalid_client"}"#),
        (403, r#"{"error":"invalid_grant"}"#),
        (400, "s3ntinel-c"),
        (200, r#"{"error":"bad_refresh_token","access_token":"s3ntinel-x"}"#),
    ] {
        let oauth = Oauth::new(Some("s3ntinel-first"), ok, move |_, _| json(status, body)).await;
        let mut policy = oauth.policy.clone();
        policy.retry.max = 5;
        for _ in 0..3 {
            let error = oauth.egress.send(&policy, get(oauth.api.url("/")), &Budget::ample()).await.unwrap_err();
            assert_eq!(error.code(), "credential-refused");
            assert!(
                !error.to_string().contains("s3ntinel") && error.to_string().contains("reconnect the account"),
                "{error}"
            );
            if body.contains("ended") {
                assert!(error.to_string().contains("invalid_grant: the token …"), "{error}");
                assert!(error.to_string().contains("has ended"), "{error}");
            }
        }
        assert_eq!((oauth.asked(), oauth.api.requests().len()), (1, 0), "{body}");
        let refused = oauth.keeper.refused.lock().unwrap();
        assert!(refused.len() == 1 && !refused[0].contains("s3ntinel"), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_at_the_token_endpoint_passes() {
    let endpoint = |nth: usize, _: &str| match nth {
        0 => json(503, ""),
        1 => vec![Step::Close],
        _ => nth_token(nth),
    };
    let oauth = Oauth::new(None, ok, endpoint).await;
    oauth.get().await.unwrap();
    assert_eq!(oauth.asked(), 3);

    for status in [200, 302, 403, 404, 429, 500] {
        let oauth =
            Oauth::new(None, ok, move |_, _| vec![Step::Send(answer(status, "location: /there\r\n", "s3ntinel {"))])
                .await;
        let error = oauth.get().await.unwrap_err();
        assert_eq!(error.code(), "credential-unavailable", "{status}");
        assert_eq!(oauth.asked(), if status == 429 || status == 500 { 3 } else { 1 }, "{status}");
        assert!(oauth.keeper.refused.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn who_waited_for_a_token_that_was_not_had_does_not_ask_again() {
    let oauth = Arc::new(
        Oauth::new(None, ok, |_, _| vec![Step::Pause(Duration::from_millis(50)), Step::Send(answer(404, "", ""))])
            .await,
    );
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let oauth = oauth.clone();
                async move { oauth.get().await.unwrap_err() }
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().code(), "credential-unavailable");
    }
    assert_eq!(oauth.asked(), 1);
}

#[tokio::test]
async fn the_token_endpoint_is_reached_only_on_networks_that_the_policy_has() {
    let oauth = Oauth::new(None, ok, |nth, _| nth_token(nth)).await;
    let api = Server::start_on("127.0.0.2:0", ok).await;
    let endpoint = oauth.endpoint.url("/token").parse().unwrap();
    let scheme = Scheme::Oauth2ClientCredentials {
        token_url: endpoint,
        client_id: String::new(),
        client_secret: "s".to_owned(),
        scopes: Vec::new(),
        client_auth: ClientAuth::Basic,
        parameters: BTreeMap::new(),
    };
    let policy = Policy {
        private_networks: vec!["127.0.0.2/32".parse().unwrap()],
        account: Some(account(Some(credential(scheme, &[api.url("")])))),
        ..allowing(&[&api.url("")])
    };
    let error = oauth.egress.send(&policy, get(api.url("/")), &Budget::ample()).await.unwrap_err();
    assert_eq!((error.code(), oauth.endpoint.connections()), ("denied", 0));
}

#[tokio::test]
async fn a_token_goes_to_the_credentials_hosts_alone_and_is_not_even_asked_for_others() {
    let oauth = Oauth::new(None, ok, |nth, _| nth_token(nth)).await;
    let other = Server::always(answer(307, &format!("location: {}\r\n", oauth.api.url("/home")), "")).await;
    let mut policy = oauth.policy.clone();
    policy.allowed_hosts.push(other.url("").parse().unwrap());
    let egress = &oauth.egress;
    egress.send(&policy, get(other.url("/")), &Budget::ample()).await.unwrap();
    assert_eq!(oauth.asked(), 0);
    egress.send(&policy, Request { redirects: 1, ..get(other.url("/")) }, &Budget::ample()).await.unwrap();
    assert_eq!((oauth.asked(), oauth.api.requests().len()), (1, 1));
    assert!(oauth.api.requests()[0].contains("authorization: Bearer s3ntinel-a0\r\n"));
    assert!(other.requests().iter().all(|request| !request.contains("s3ntinel") && !request.contains("authorization")));
}
