//! Uploads, as `curl` makes them, and as they are kept.

use serde_json::{Value, json};
use terapi::api;
use terapi::keys::Scopes;
use terapi::runtime::{Options, Service, Upload};
use terapi::store::embedded::StoreOptions;
use tokio_util::sync::CancellationToken;

use super::{package, sync_that};

fn service(dir: &std::path::Path) -> Service {
    let store = StoreOptions { cache_bytes: 8 << 20, ..StoreOptions::default() };
    Service::open(dir, Options { secrets_file: dir.join("secrets.key"), store, ..Options::default() }).unwrap()
}

#[test]
fn a_text_is_uploaded_listed_changed_and_rolled_back() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let key = service.default_environment().create_key("test", Scopes::all(), None).await.unwrap();
        let listener = api::serve::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let bodies = api::BodyLimits { upload: 16 << 20, ..api::BodyLimits::default() };
        let router = api::router(service, std::sync::Arc::default(), stop.clone(), bodies);
        let served = api::serve::serve(
            listener,
            None,
            router,
            stop.clone(),
            std::time::Duration::from_secs(1),
            api::serve::Limits::default(),
        );
        let serving = tokio::spawn(served);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let post = async |path: &str, bytes: Vec<u8>| -> (u16, Value) {
            // What `curl --data-binary @x.ts` says it sends.
            let request = http.post(format!("{url}{path}")).bearer_auth(key.text.expose());
            let request = request.header("content-type", "application/x-www-form-urlencoded").body(bytes);
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
        };
        let (status, first) = post("/v1/scripts", sync_that("").into_bytes()).await;
        assert_eq!(status, 201, "{first}");
        assert_eq!((&first["name"], &first["version"]), (&json!("text"), &json!(1)));
        assert_eq!(first["manifest"]["kind"], "sync");
        let (_, same) = post("/v1/scripts", sync_that("").into_bytes()).await;
        assert_eq!(same["version"], 1, "the same again is no new version");
        let (_, described) = post("/v1/scripts/describe", sync_that("").into_bytes()).await;
        assert_eq!(described["name"], "text");
        let (_, second) = post("/v1/scripts", package(&[("x.ts", &sync_that("terapi.log('second')"))])).await;
        assert_eq!((&second["name"], &second["version"]), (&json!("text"), &json!(2)));
        let (_, back) = post("/v1/scripts/text/roll-back", Vec::new()).await;
        assert_eq!((&back["version"], &back["hash"]), (&json!(1), &first["hash"]));
        let (status, problem) = post("/v1/scripts", b"let a = ;".to_vec()).await;
        assert_eq!((status, &problem["code"]), (422, &json!("syntax-error")));
        assert!(problem["detail"].as_str().unwrap().contains("script.ts:1:9"), "{problem}");
        stop.cancel();
        serving.await.unwrap();
    });
}

#[test]
fn scripts_that_are_text_share_what_was_compiled() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let runtime = service(dir.path()).default_environment();
        for nth in 0..20 {
            let text = sync_that("").replace("'text'", &format!("'text-{nth}'"));
            runtime.deploy(text.into_bytes(), Upload::default()).await.unwrap();
        }
        assert_eq!(runtime.store().scripts().unwrap().len(), 20);
        let kept: Vec<_> = std::fs::read_dir(dir.path().join("artifacts")).unwrap().flatten().collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(kept[0].file_name().to_str().unwrap().starts_with(terapi::sandbox::engine_hash()));
    });
}
