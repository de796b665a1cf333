//! `terapi store`, and what else keeps or forgets data.

use std::fs;
use std::path::{Path, PathBuf};

use terapi::store::embedded::{EmbeddedStore, StoreOptions};

use super::{DemoApiOptions, Desk, json, stderr, stdout, terapi};

/// A desk with a data directory in which a full refresh left twelve members.
fn desk() -> Desk {
    let desk = Desk::new(DemoApiOptions { members: 12, ..Default::default() });
    let run = desk.run(&[&desk.file("slack-members.wasm"), "--connection", "acme"]);
    assert!(run.status.success(), "{run:?}");
    desk
}

fn data(desk: &Desk) -> PathBuf {
    desk.dir.path().join("data")
}

fn log(data: &Path) -> PathBuf {
    data.join("log/0000000001.tlog")
}

fn members(data: &Path) -> usize {
    let page = json(&terapi(data, &["records", "Member", "--connection", "acme", "--json"]));
    page["records"].as_array().unwrap().len()
}

#[test]
fn a_data_directory_in_use_is_backed_up_and_the_backup_restored() {
    let desk = desk();
    let (backup, restored) = (desk.file("backup"), desk.dir.path().join("restored"));
    let store = EmbeddedStore::open(&data(&desk), &StoreOptions::default()).unwrap();
    let done = desk.terapi(&["store", "backup", &backup]);
    assert!(done.status.success(), "{done:?}");
    assert!(stdout(&done).starts_with(&format!("backed up  {backup}\n  log       ")), "{}", stdout(&done));
    assert!(stderr(&done).is_empty(), "a pipe gets no progress bar: {}", stderr(&done));
    let locked = desk.terapi(&["store", "verify"]);
    assert_eq!(locked.status.code(), Some(1));
    let says = format!("in use by process {}", std::process::id());
    assert!(stderr(&locked).contains("error[store-locked]") && stderr(&locked).contains(&says), "{}", stderr(&locked));
    assert!(stderr(&locked).contains("add --server URL"), "{}", stderr(&locked));
    drop(store);

    let again = desk.terapi(&["store", "backup", &backup]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("is not empty; move it away"), "{}", stderr(&again));
    let done = terapi(&restored, &["store", "restore", &backup, "--json"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(json(&done)["files"], 1);
    assert_eq!(members(&restored), 12);
    assert!(stdout(&terapi(&restored, &["store", "verify"])).starts_with("whole  "));

    // An app that read more than the backup has is not left to miss something.
    let page = json(&desk.terapi(&["records", "Member", "--connection", "acme", "--json"]));
    let cursor = page["cursor"].as_str().unwrap();
    let late = terapi(&restored, &["records", "Member", "--connection", "acme", "--cursor", cursor]);
    assert!(stderr(&late).contains("error[cursor-from-lost-history]"), "{}", stderr(&late));
}

#[test]
fn damage_is_found_and_what_is_readable_rescued() {
    let desk = desk();
    let whole = desk.terapi(&["store", "verify", "--json"]);
    assert!(whole.status.success(), "{whole:?}");
    assert_eq!(json(&whole)["records"], 12);
    assert_eq!(json(&whole)["problems"], serde_json::json!([]));

    // At the end of the log now stands what is no record.
    assert!(desk.terapi(&["store", "retention", "--payloads", "90d"]).status.success());
    let mut bytes = fs::read(log(&data(&desk))).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(log(&data(&desk)), bytes).unwrap();
    let found = desk.terapi(&["store", "verify"]);
    assert_eq!(found.status.code(), Some(1));
    assert!(stdout(&found).starts_with("damaged  "), "{}", stdout(&found));
    assert!(stdout(&found).contains("log/0000000001.tlog byte "), "{}", stdout(&found));
    assert!(stderr(&found).contains("error[store-corrupt]: one problem was found"), "{}", stderr(&found));
    let found = desk.terapi(&["store", "verify", "--json"]);
    assert_eq!(found.status.code(), Some(1));
    assert_eq!(json(&found)["problems"].as_array().unwrap().len(), 1);
    let refused = desk.terapi(&["store", "backup", &desk.file("backup")]);
    assert!(stderr(&refused).contains("error[store-corrupt]"), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("terapi store salvage"), "{}", stderr(&refused));

    let rescued = desk.dir.path().join("rescued");
    let done = desk.terapi(&["store", "salvage", "--to", &desk.file("rescued")]);
    assert!(done.status.success(), "{done:?}");
    assert!(stdout(&done).contains("  kept      12 records in 1 stream, 1 run"), "{}", stdout(&done));
    assert_eq!(members(&rescued), 12);
    assert!(terapi(&rescued, &["store", "verify"]).status.success());
}

#[test]
fn stats_retention_and_prune_say_what_is_kept() {
    let desk = desk();
    let stats = stdout(&desk.terapi(&["store", "stats"]));
    assert!(stats.starts_with("log        ") && stats.contains("acme/Member       12       12"), "{stats}");
    assert_eq!(json(&desk.terapi(&["store", "stats", "--json"]))["streams"][0]["live"], 12);

    let shown = stdout(&desk.terapi(&["store", "retention"]));
    assert_eq!(shown, "payloads     kept for ever\ntombstones   kept for ever\nruns         kept for ever\n");
    let set = stdout(&desk.terapi(&["store", "retention", "--payloads", "90d", "--tombstones", "36h"]));
    assert_eq!(set, "payloads     kept for 90d\ntombstones   kept for 36h\nruns         kept for ever\n");
    let set = json(&desk.terapi(&["store", "retention", "--payloads", "off", "--json"]));
    assert_eq!(set, serde_json::json!({ "tombstones_ms": 129_600_000 }));
    let wrong = desk.terapi(&["store", "retention", "--payloads", "soon"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("90d or off"), "{}", stderr(&wrong));

    let id = desk.api.member_ids()[4].clone();
    assert!(desk.api.remove_member(&id));
    assert!(desk.run(&[&desk.file("slack-members.wasm"), "--connection", "acme"]).status.success());
    assert_eq!(members(&data(&desk)), 12);
    assert!(desk.terapi(&["store", "retention", "--tombstones", "0s"]).status.success());
    let pruned = json(&desk.terapi(&["store", "prune", "--json"]));
    assert_eq!(pruned, serde_json::json!({ "records": 0, "tombstones": 1, "runs": 0 }));
    assert_eq!(members(&data(&desk)), 11);
}

#[test]
fn a_reset_with_empty_collects_the_records_anew() {
    let desk = desk();
    let cursor = json(&desk.terapi(&["records", "Member", "--connection", "acme", "--json"]))["cursor"].clone();
    let file = desk.file("slack-members.wasm");
    let alone = desk.run(&[&file, "--connection", "acme", "--empty"]);
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
    let kept = stdout(&desk.run(&[&file, "--connection", "acme", "--reset"]));
    assert!(kept.contains("0 added, 0 updated, 0 deleted, 12 unchanged"), "{kept}");
    let anew = stdout(&desk.run(&[&file, "--connection", "acme", "--reset", "--empty"]));
    assert!(anew.contains("12 added, 0 updated, 0 deleted, 0 unchanged"), "{anew}");
    let args = ["records", "Member", "--connection", "acme", "--cursor", cursor.as_str().unwrap()];
    let late = desk.terapi(&args);
    assert!(stderr(&late).contains("error[cursor-from-lost-history]"), "{}", stderr(&late));
    assert_eq!(members(&data(&desk)), 12);
}
