//! What a trace says of a request.

use super::*;

#[derive(Default)]
struct Trace(Mutex<Vec<Exchange>>);

impl Meter for Trace {
    fn request(&self) -> Result<(), Exhausted> {
        Ok(())
    }

    fn received(&self, _: usize) -> Result<(), Exhausted> {
        Ok(())
    }

    fn released(&self, _: usize) {}

    fn exchanged(&self, exchange: Exchange) {
        self.0.lock().unwrap().push(exchange);
    }
}

#[tokio::test(start_paused = true)]
async fn each_exchange_is_told_once_without_a_secret() {
    let server = Server::start(|nth, _| match nth {
        0 => vec![Step::Send(answer(503, "retry-after: 7\r\n", ""))],
        1 => vec![Step::Send(answer(307, "location: /there?token=s3ntinel\r\n", ""))],
        2 => vec![Step::Send(b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\ncut".to_vec()), Step::Close],
        3 => vec![Step::Send(answer(200, "", "12345"))],
        _ => vec![Step::Hang],
    })
    .await;
    let scheme = Scheme::ApiKeyQuery { name: "k".to_owned(), value: "s3ntinel".to_owned() };
    let policy = Policy {
        account: Some(account(Some(credential(scheme, &[server.url("")])))),
        retry: RetryRules::default(),
        ..to(&server)
    };
    let (trace, egress) = (Trace::default(), Egress::new().unwrap());
    let request = || Request { redirects: 1, ..get(server.url("/?page=1&access_token=s3ntinel")) };
    egress.send(&policy, request(), &trace).await.unwrap();
    // A run that ends meanwhile.
    {
        let hanging = egress.send(&policy, get(server.url("/")), &trace);
        tokio::select! { _ = hanging => panic!("it hangs"), () = until(|| server.requests().len() == 5) => {} }
    }
    let told = trace.0.lock().unwrap();
    let first = format!("{}?page=1&access_token=…", server.url("/"));
    let shown: Vec<_> =
        told.iter().map(|e| (&*e.url, e.status, e.error.as_deref(), e.bytes, e.waited_ms / 1000)).collect();
    assert_eq!(
        shown,
        [
            (&*first, Some(503), None, 0, 0),
            (&*first, Some(307), None, 0, 7),
            (&*server.url("/there?token=…"), Some(200), Some("transport"), 0, 0),
            (&*first, Some(200), None, 5, shown[3].4),
            (&*server.url("/"), None, Some("cancelled"), 0, 0),
        ]
    );
    let json = serde_json::to_string(&*told).unwrap();
    assert!(
        !json.contains("s3ntinel") && json.contains(r#""took_ms":"#) && json.contains(r#""waited_ms":7"#),
        "{json}"
    );
    assert_eq!(serde_json::from_str::<Vec<Exchange>>(&json).unwrap(), *told);
}
