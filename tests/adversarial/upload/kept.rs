//! What was compiled and is kept: by content, and only if nobody touched it.

use std::os::unix::fs::PermissionsExt as _;

use super::{Ground, artifacts, case, with_fields};
use crate::service::THREADS;
use crate::service::server::Process;
use crate::support::guest;

#[test]
fn the_same_bytes_are_compiled_once_and_are_one_version() {
    case("U29", async |ground| {
        let bytes = with_fields("(global i32 (i32.const 29))");
        let before = artifacts(ground).len();
        for _ in 0..1_000 {
            ground.client.upload_bytes(bytes.clone(), "name=often").await.ok();
        }
        assert_eq!(artifacts(ground).len(), before + 1);
        let versions = ground.client.get("/v1/scripts/often/versions").await.ok();
        assert_eq!(versions["items"].as_array().unwrap().len(), 1, "{versions}");
        Vec::new()
    });
}

/// Starts the server anew on what an attacker did to its compiled scripts, and sees that the canary still runs.
async fn after(ground: &Ground, what: &str, tamper: impl Fn(&mut Vec<u8>)) {
    for path in artifacts(ground) {
        let mut bytes = std::fs::read(&path).unwrap();
        tamper(&mut bytes);
        // As whoever has the folder would: another file of that name.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    }
    let path = artifacts(ground).into_iter().next().unwrap();
    let forged = std::fs::read(&path).unwrap();
    let process = Process::start(&ground.data, &[("TERAPI_LOG_FORMAT", "json")]);
    let client = crate::service::client::Client::unpooled(&process.url, &ground.client.key);
    let path_of_run = "/v1/syncs/canary/paged/base/trigger";
    let answer = client.post(path_of_run, &serde_json::json!({ "wait_seconds": 60 })).await.ok();
    assert_eq!(answer["run"]["outcome"]["status"], "succeeded", "{what}: {answer}");
    let log = std::fs::read_to_string(&process.log).unwrap();
    assert!(log.contains("is not what was kept; compiling it again"), "{what}: {log}");
    assert_ne!(std::fs::read(&path).unwrap(), forged, "{what}: it was not replaced");
    process.terminate();
    process.ended().await;
}

#[test]
fn machine_code_that_somebody_touched_is_compiled_again_and_never_loaded() {
    super::library_case("U28", || {
        THREADS.block_on(async {
            let mut ground = Ground::start(&[]).await;
            ground.stop().await;
            after(&ground, "a flipped bit", |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            })
            .await;
            after(&ground, "another MAC", |bytes| {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
            })
            .await;
            after(&ground, "cut short", |bytes| bytes.truncate(10)).await;
            after(&ground, "another version's, without the key", |bytes| {
                let at = bytes.windows(6).position(|window| window == b"48.0.8").unwrap_or(100);
                bytes[at] = b'9';
            })
            .await;
            // Another store's, whole and sealed, of the same script.
            let other = Ground::start(&[]).await;
            let theirs = std::fs::read(&artifacts(&other)[0]).unwrap();
            after(&ground, "another store's", |bytes| *bytes = theirs.clone()).await;
            let _ = guest("paged");
        });
    });
}

#[test]
fn machine_code_that_others_may_write_to_is_not_loaded() {
    super::library_case("U28-writable", || {
        THREADS.block_on(async {
            let mut ground = Ground::start(&[]).await;
            ground.stop().await;
            let path = artifacts(&ground).into_iter().next().unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
            let folder = std::fs::metadata(path.parent().unwrap()).unwrap();
            assert_eq!(folder.permissions().mode() & 0o777, 0o700);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
            let process = Process::start(&ground.data, &[("TERAPI_LOG_FORMAT", "json")]);
            let client = crate::service::client::Client::unpooled(&process.url, &ground.client.key);
            let body = serde_json::json!({ "wait_seconds": 60 });
            client.post("/v1/syncs/canary/paged/base/trigger", &body).await.ok();
            let log = std::fs::read_to_string(&process.log).unwrap();
            assert!(log.contains("is not what was kept; compiling it again"), "{log}");
        });
    });
}
