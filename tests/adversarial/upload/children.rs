//! The processes that compile: how many there are, and what becomes of an upload whose compiler is killed or stopped.

use std::process::Command;

use super::bombs::until_compilers;
use super::{Ground, case, with_fields};
use crate::service::THREADS;

/// The processes that this server has compile.
pub(super) fn compilers(ground: &Ground) -> Vec<u32> {
    let parent = ground.process.pid();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
        // Behind the name, which may have anything in it: the state, and the parent.
        let mut fields = stat.rsplit(')').next().unwrap().split_ascii_whitespace();
        let (state, its_parent) = (fields.next(), fields.next());
        state != Some("Z") && its_parent == Some(&parent.to_string())
    })
    .collect()
}

fn signal(process: u32, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A script that takes some CPU seconds to compile. Each number makes another one.
fn slow(number: usize) -> Vec<u8> {
    let body = "(local.set $i (i32.add (local.get $i) (i32.mul (local.get $i) (local.get $j))))".repeat(40);
    let function = format!("(func (param $i i32) (param $j i32) (result i32) {body} (local.get $i))");
    with_fields(&format!("(global i32 (i32.const {number})) {}", function.repeat(4_000)))
}

#[test]
fn an_upload_whose_compiler_is_killed_or_stopped_may_come_again_and_the_next_is_not_stuck() {
    super::library_case("U18", || {
        THREADS.block_on(async {
            let ground = Ground::start(&[("TERAPI_UPLOADS_COMPILE_TIME", "4s")]).await;
            ground
                .check("U18", async |ground| {
                    for (nth, name) in ["KILL", "STOP"].into_iter().enumerate() {
                        let upload = ground.client.upload_bytes(slow(nth), "name=slow");
                        let disturb = async {
                            let compilers = until_compilers(ground, "it compiles", |count| count == 1).await;
                            signal(compilers[0], name);
                        };
                        let mut upload = std::pin::pin!(upload);
                        tokio::select! {
                            answer = &mut upload => panic!("it was done before its compiler was seen: {}", answer.text),
                            () = disturb => {}
                        }
                        upload.await.problem(503, "compile-interrupted");
                        until_compilers(ground, "the compiler is gone", |count| count == 0).await;
                    }
                    // Two places, of which none is lost.
                    let (first, second) = tokio::join!(
                        ground.client.upload_bytes(with_fields("(global i32 (i32.const 1))"), "name=first"),
                        ground.client.upload_bytes(with_fields("(global i32 (i32.const 2))"), "name=second"),
                    );
                    first.ok();
                    second.ok();
                    vec!["compile-interrupted", "compile-interrupted"]
                })
                .await;
        });
    });
}

#[test]
fn two_compile_at_a_time_and_others_wait_and_are_sent_away() {
    super::library_case("U19", || {
        THREADS.block_on(async {
            let settings = [("TERAPI_UPLOADS_COMPILE_TIME", "3s"), ("TERAPI_UPLOADS_COMPILE_WAIT", "1s")];
            let ground = Ground::start(&settings).await;
            ground
                .check("U19", async |ground| {
                    let uploads = (0..16).map(|nth| {
                        let client = ground.client.clone();
                        tokio::spawn(
                            async move { client.upload_bytes(slow(100 + nth), &format!("name=slow-{nth}")).await },
                        )
                    });
                    let uploads: Vec<_> = uploads.collect();
                    let (mut most, mut limits) = (0, Vec::new());
                    let watch = async {
                        while !uploads.iter().all(tokio::task::JoinHandle::is_finished) {
                            most = most.max(compilers(ground).len());
                            // Meanwhile others are served.
                            ground.canary().await;
                        }
                    };
                    watch.await;
                    for upload in uploads {
                        let answer = upload.await.unwrap();
                        match answer.status {
                            201 => {}
                            429 => {
                                answer.problem(429, "compile-busy");
                                limits.push("compile-busy");
                            }
                            _ => {
                                answer.problem(422, "compile-limit");
                                limits.push("compile-limit");
                            }
                        }
                    }
                    assert!((1..=2).contains(&most), "{most} compiled at a time");
                    assert!(limits.contains(&"compile-busy"), "{limits:?}");
                    limits
                })
                .await;
        });
    });
}

#[test]
fn an_upload_that_is_given_up_ends_its_compiler() {
    case("U18-gone", async |ground| {
        let upload = ground.client.upload_bytes(slow(900), "name=gone");
        let leave = async {
            // It will not come to an end by itself.
            let compilers = until_compilers(ground, "it compiles", |count| count == 1).await;
            signal(compilers[0], "STOP");
        };
        tokio::select! {
            answer = upload => panic!("it was done before anybody left: {}", answer.text),
            () = leave => {}
        }
        until_compilers(ground, "the compiler is gone", |count| count == 0).await;
        Vec::new()
    });
}
