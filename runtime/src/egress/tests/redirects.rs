//! Every hop is a new request to the policy.

use super::*;

fn redirect(status: u16, location: &str) -> Vec<u8> {
    answer(status, &format!("location: {location}\r\n"), "")
}

/// A server whose `/` redirects to `location` and all else answers 200.
async fn redirecting(status: u16, location: &str) -> Server {
    let first = redirect(status, location);
    let last = answer(200, "", "there");
    Server::start(move |_, request| {
        vec![Step::Send(if request.split(' ').nth(1) == Some("/") { first.clone() } else { last.clone() })]
    })
    .await
}

fn following(url: String) -> Request {
    Request { redirects: 5, ..get(url) }
}

async fn send(policy: &Policy, request: Request) -> Result<Response, EgressError> {
    let budget = Budget::ample();
    let result = Egress::new().unwrap().send(policy, request, &budget).await;
    assert_eq!(budget.held(), result.as_ref().map_or(0, |response| response.body.len()));
    result
}

#[tokio::test]
async fn without_redirects_the_answer_is_the_redirect_itself() {
    let server = redirecting(302, "/there").await;
    let response = send(&to(&server), get(server.url("/"))).await.unwrap();
    assert_eq!((response.status, value(&response, "location")), (302, Some("/there")));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn methods_and_bodies_change_as_the_fetch_standard_says() {
    for (status, method, then) in [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (302, "PATCH", "PATCH"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ] {
        let server = redirecting(status, "/there?x=1#f").await;
        let request = Request {
            method: method.to_owned(),
            headers: vec![header("content-type", "text/plain"), header("authorization", "secret")],
            body: (method != "HEAD").then(|| b"body".to_vec()),
            query: Vec::new(),
            ..following(server.url("/"))
        };
        let response = send(&to(&server), request).await.unwrap();
        assert_eq!(response.status, 200);
        let sent = server.requests();
        assert!(sent[1].starts_with(&format!("{then} /there?x=1 HTTP/1.1\r\n")), "{status} {method}: {}", sent[1]);
        let kept = then == method && method != "HEAD";
        assert_eq!(sent[1].ends_with("\r\n\r\nbody"), kept, "{status} {method}: {}", sent[1]);
        assert_eq!(sent[1].contains("content-type"), then == method, "{status} {method}: {}", sent[1]);
        assert!(sent[1].contains("authorization: secret"), "the same origin keeps it: {}", sent[1]);
    }
}

#[tokio::test]
async fn what_authorizes_at_one_origin_is_not_sent_to_another() {
    let other = Server::always(answer(200, "", "")).await;
    let server = redirecting(307, &other.url("/x")).await;
    let policy = loopback(&[&server.url(""), &other.url("")]);
    let headers = vec![header("Authorization", "secret"), header("Cookie", "secret"), header("X-Kept", "yes")];
    send(&policy, Request { headers, ..following(server.url("/")) }).await.unwrap();
    assert!(server.requests()[0].contains("secret"));
    let sent = other.requests().remove(0);
    assert!(!sent.contains("secret") && sent.contains("x-kept: yes"), "{sent}");
}

#[tokio::test]
async fn a_redirect_goes_only_where_a_request_may_go() {
    let canary = Canary::on("127.0.0.1:0");
    let port = canary.port();
    for location in [
        format!("http://127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "https://api.example.com/".to_owned(),
    ] {
        let server = redirecting(302, &location).await;
        let error = send(&to(&server), following(server.url("/"))).await.unwrap_err();
        assert_eq!(error.code(), "denied", "{location}: {error}");
        canary.assert_silent(&location);
    }
    // Allowed as a host, still no network.
    let server = redirecting(302, "http://10.0.0.1/").await;
    let error = send(&loopback(&[&server.url(""), "http://10.0.0.1"]), following(server.url("/"))).await.unwrap_err();
    assert!(matches!(error, EgressError::Denied { rule: Rule::Network(_), .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_to_what_is_no_web_address_is_a_transport_error() {
    let long = format!("/{}", "x".repeat(20_000));
    for location in
        ["file:///etc/passwd", "gopher://127.0.0.1/", "data:text/plain,x", "http://", "http://u:p@127.0.0.1/", &long]
    {
        let server = redirecting(302, location).await;
        let error = send(&to(&server), following(server.url("/"))).await.unwrap_err();
        assert_eq!(error.code(), "transport", "{location}: {error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_loop_ends_after_as_many_redirects_as_were_asked_for_and_never_more_than_five() {
    for (asked, sent) in [(1, 2), (3, 4), (5, 6), (6, 6), (u32::MAX, 6)] {
        for location in ["/", "", "?"] {
            let server = Server::always(redirect(302, location)).await;
            let budget = Budget::ample();
            let request = Request { redirects: asked, retries: 3, ..get(server.url("/")) };
            let error = Egress::new().unwrap().send(&to(&server), request, &budget).await.unwrap_err();
            assert_eq!(error.code(), "transport");
            assert_eq!((server.requests().len(), budget.sent()), (sent, sent), "{asked} {location:?}");
        }
    }
}

#[tokio::test]
async fn a_redirect_without_a_location_is_an_answer() {
    let server = Server::always(answer(302, "", "stay")).await;
    let response = send(&to(&server), following(server.url("/"))).await.unwrap();
    assert_eq!((response.status, &*response.body), (302, &b"stay"[..]));
    let server = Server::always(redirect(304, "/there")).await;
    assert_eq!(send(&to(&server), following(server.url("/"))).await.unwrap().status, 304);
}
