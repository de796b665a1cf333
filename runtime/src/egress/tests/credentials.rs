//! Credentials that stay the same: where they go, and where they never do.

use super::*;

const SENTINEL: &str = "s3ntinel/+ =&x";

fn schemes() -> Vec<(Scheme, &'static str)> {
    let secret = || SENTINEL.to_owned();
    vec![
        (Scheme::ApiKeyHeader { name: "X-Key".to_owned(), value: secret() }, "x-key: s3ntinel/+ =&x\r\n"),
        (Scheme::ApiKeyQuery { name: "api key".to_owned(), value: secret() }, "api%20key=s3ntinel%2F%2B%20%3D%26x"),
        (Scheme::Bearer { token: secret() }, "authorization: Bearer s3ntinel/+ =&x\r\n"),
        (
            Scheme::Basic { username: "u".to_owned(), password: secret() },
            "authorization: Basic dTpzM250aW5lbC8rID0meA==\r\n",
        ),
    ]
}

async fn send(policy: &Policy, request: Request) -> Result<Response, EgressError> {
    Egress::new().unwrap().send(policy, request, &Budget::ample()).await
}

fn with(policy: Policy, credential: Credential) -> Policy {
    Policy { account: Some(account(Some(credential))), ..policy }
}

#[tokio::test]
async fn every_scheme_is_attached_to_its_hosts_and_to_no_other() {
    for (scheme, attached) in schemes() {
        let (own, other) = (Server::always(answer(200, "", "")).await, Server::always(answer(200, "", "")).await);
        let policy = with(loopback(&[&own.url(""), &other.url("")]), credential(scheme.clone(), &[own.url("")]));
        send(&policy, get(own.url("/x?a=1"))).await.unwrap();
        send(&policy, get(other.url("/x?a=1"))).await.unwrap();
        assert!(own.requests()[0].contains(attached), "{scheme:?}: {}", own.requests()[0]);
        let expected = if matches!(scheme, Scheme::ApiKeyQuery { .. }) {
            format!("GET /x?a=1&{attached} ")
        } else {
            "GET /x?a=1 ".to_owned()
        };
        assert!(own.requests()[0].starts_with(&expected), "{}", own.requests()[0]);
        let sent = other.requests().remove(0);
        assert!(
            sent.starts_with("GET /x?a=1 ") && !sent.contains(attached) && !sent.contains("authorization"),
            "{sent}"
        );
    }
}

#[tokio::test]
async fn a_redirect_leaves_it_behind_and_a_way_back_has_it_again() {
    for (scheme, attached) in schemes() {
        let other_url = Arc::new(Mutex::new(String::new()));
        let own = {
            let other_url = other_url.clone();
            Server::start(move |nth, request| {
                // An API that repeats the query, credential and all, in where it points to.
                let query = request.split([' ', '?']).nth(2).filter(|query| query.contains('='));
                let query = query.map_or_else(String::new, |query| format!("?{query}"));
                let to = match nth {
                    0 => format!("/near{query}"),
                    1 => format!("{}/far{query}", other_url.lock().unwrap()),
                    _ => return vec![Step::Send(answer(200, "", "home"))],
                };
                vec![Step::Send(answer(307, &format!("location: {to}\r\n"), ""))]
            })
            .await
        };
        let back = answer(307, &format!("location: {}\r\n", own.url("/home")), "");
        let other = Server::always(back).await;
        *other_url.lock().unwrap() = other.url("");
        let policy = with(loopback(&[&own.url(""), &other.url("")]), credential(scheme, &[own.url("")]));
        let response = send(&policy, Request { redirects: 5, ..get(own.url("/start")) }).await.unwrap();
        assert_eq!(response.body, b"home");
        let sent = own.requests();
        assert_eq!(sent.len(), 3);
        for request in &sent {
            assert_eq!(request.matches(attached).count(), 1, "{request}");
        }
        let sent = other.requests().remove(0);
        assert!(!sent.contains(attached) && !sent.contains("authorization") && !sent.contains("s3ntinel"), "{sent}");
    }
}

#[tokio::test]
async fn a_script_cannot_set_what_the_host_attaches() {
    let server = Server::always(answer(200, "", "")).await;
    let other = Server::always(answer(200, "", "")).await;
    let both = || loopback(&[&server.url(""), &other.url("")]);
    for (scheme, _) in schemes() {
        let own = match &scheme {
            Scheme::ApiKeyHeader { .. } => header("x-KEY", "mine"),
            Scheme::ApiKeyQuery { .. } | Scheme::Basic { .. } => header("AUTHORIZATION", "mine"),
            _ => header("cookie", "mine"),
        };
        let policy = with(both(), credential(scheme.clone(), &[server.url("")]));
        let request = |url: String| Request { headers: vec![own.clone()], ..get(url) };
        let error = send(&policy, request(server.url("/"))).await.unwrap_err();
        assert_eq!(error.code(), "invalid-request");
        assert!(error.to_string().contains("attached by the host"), "{error}");
        send(&policy, request(other.url("/"))).await.unwrap();
        if matches!(scheme, Scheme::ApiKeyQuery { .. }) {
            for url in ["/?api%20key=mine", "/?a=1&API+KEY"] {
                assert_eq!(send(&policy, get(server.url(url))).await.unwrap_err().code(), "invalid-request");
            }
            let query = vec![header("api key", "mine")];
            let error = send(&policy, Request { query, ..get(server.url("/")) }).await.unwrap_err();
            assert_eq!(error.code(), "invalid-request");
        }
    }
    assert_eq!((server.requests().len(), other.requests().len()), (0, 4));
    // Without a credential it is the script's.
    send(&to(&server), Request { headers: vec![header("authorization", "mine")], ..get(server.url("/")) })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_key_in_the_query_does_not_come_back_in_headers() {
    for link in ["/?page=2&api%20key=s3ntinel%2F%2B%20%3D%26x", "/?api%20key=s3ntinel%2F%2B+%3D%26x&page=2"] {
        let server =
            Server::always(answer(302, &format!("link: <{link}>; rel=next\r\nlocation: {link}\r\n"), "")).await;
        let scheme = Scheme::ApiKeyQuery { name: "api key".to_owned(), value: SENTINEL.to_owned() };
        let policy = with(to(&server), credential(scheme, &[server.url("")]));
        let response = send(&policy, get(server.url("/"))).await.unwrap();
        assert!(!response.headers.iter().any(|(_, value)| value.contains("s3ntinel")), "{:?}", response.headers);
    }
    let server = Server::always(answer(200, "link: </?page=2&k=s3ntinel>; rel=next\r\n", "")).await;
    let scheme = Scheme::ApiKeyQuery { name: "k".to_owned(), value: "s3ntinel".to_owned() };
    let policy = with(to(&server), credential(scheme, &[server.url("")]));
    let response = send(&policy, get(server.url("/"))).await.unwrap();
    assert_eq!(value(&response, "link"), Some("</?page=2>; rel=next"));
}

#[test]
fn nothing_that_displays_a_credential_shows_it() {
    let url = || format!("https://a.test/{SENTINEL}").parse().unwrap();
    let secret = || SENTINEL.to_owned();
    let parameters = || [("audience".to_owned(), secret())].into();
    let mut schemes: Vec<Scheme> = schemes().into_iter().map(|(scheme, _)| scheme).collect();
    schemes.push(Scheme::Oauth2ClientCredentials {
        token_url: url(),
        client_id: secret(),
        client_secret: secret(),
        scopes: vec![secret()],
        client_auth: ClientAuth::Body,
        parameters: parameters(),
    });
    schemes.push(Scheme::Oauth2RefreshToken {
        token_url: url(),
        client_id: secret(),
        client_secret: Some(secret()),
        scopes: vec![secret()],
        client_auth: ClientAuth::Basic,
        parameters: parameters(),
    });
    let tokens = Tokens { access_token: secret(), refresh_token: Some(secret()), expires_at: None };
    for scheme in schemes {
        let sealed = serde_json::to_string(&scheme).unwrap();
        assert!(sealed.contains("s3ntinel") && sealed.contains(&format!(r#""type":"{}""#, scheme.kind())), "{sealed}");
        assert_eq!(serde_json::from_str::<Scheme>(&sealed).unwrap(), scheme);
        assert!(scheme.check().is_ok());
        let credential = Credential::new(scheme.clone(), Some(tokens.clone()), Vec::new(), None, Arc::new(SystemClock));
        let policy = Policy { account: Some(account(Some(credential))), ..Policy::default() };
        let shown = format!("{scheme:?} {scheme:#?} {tokens:?} {policy:?} {policy:#?}");
        assert!(!shown.contains("s3ntinel") && shown.contains(scheme.kind()), "{shown}");
    }
}

#[tokio::test]
async fn a_credential_that_cannot_be_sent_is_refused_without_its_value() {
    let server = Server::always(answer(200, "", "")).await;
    for scheme in [
        Scheme::Bearer { token: "s3ntinel\r\nX-A: b".to_owned() },
        Scheme::ApiKeyHeader { name: "Host".to_owned(), value: "s3ntinel".to_owned() },
        Scheme::ApiKeyHeader { name: "s3ntinel\n".to_owned(), value: "x".to_owned() },
    ] {
        assert!(scheme.check().is_err());
        let policy = with(to(&server), credential(scheme, &[server.url("")]));
        let error = send(&policy, get(server.url("/"))).await.unwrap_err();
        assert_eq!(error.code(), "credential-refused");
        assert!(
            !format!("{error} {error:?}").contains("s3ntinel") && error.to_string().contains("reconnect"),
            "{error}"
        );
    }
    assert_eq!(server.requests().len(), 0);
}
