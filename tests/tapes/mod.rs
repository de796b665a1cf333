//! Cassettes, dry runs, and scripts against recorded files.

mod command;
mod dry_run;
mod matching;
mod nango;
mod record;
mod replay;
mod trial;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use terapi::run::Outcome;
use terapi::runtime::{Execution, Workshop};
use terapi::sandbox::{Cassette, CassetteError, LimitOverrides, Recorder, ReplayReport, Script};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, Ran, guest, probe};

/// A run that was recorded.
pub(crate) struct Recorded {
    pub(crate) ran: Ran,
    /// The cassette.
    pub(crate) bytes: Vec<u8>,
    pub(crate) script: Arc<Script>,
}

/// Does a sync and records it.
pub(crate) async fn record(bench: &Bench, mut execution: Execution) -> Recorded {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.cassette");
    let recorder = Recorder::create(&file).unwrap();
    execution.recorder = Some(Arc::clone(&recorder));
    let script = Arc::clone(&execution.script);
    let ran = bench.sync(execution).await;
    recorder.finish().unwrap();
    Recorded { ran, bytes: std::fs::read(&file).unwrap(), script }
}

/// Records a probe that does these steps.
pub(crate) async fn record_probe(bench: &Bench, steps: Value) -> Recorded {
    record(bench, bench.execution("probe", probe(steps)).await).await
}

pub(crate) fn cassette(bytes: &[u8]) -> Result<Cassette, CassetteError> {
    Cassette::of(Path::new("a.cassette"), bytes.to_vec())
}

/// Replays in a workshop, where there is neither a store nor a way out.
pub(crate) async fn replay(bench: &Bench, script: &Arc<Script>, bytes: &[u8]) -> ReplayReport {
    let tape = cassette(bytes).unwrap();
    let (limits, cancel) = (LimitOverrides::default(), CancellationToken::new());
    Workshop::beside(&bench.runtime).runtime().replay(Arc::clone(script), tape, limits, cancel).await.unwrap()
}

impl Recorded {
    /// The lines of the file.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The functions that were called.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.lines().into_iter().filter_map(|line| Some(line["call"].as_str()?.to_owned()));
        calls.filter(|call| call != "log.log").collect()
    }

    /// The file with the probe's steps changed: what a script does once it was changed.
    pub(crate) fn with_steps(&self, steps: Value) -> Vec<u8> {
        self.edited(|lines| lines[0]["config"] = probe(steps).to_string().into())
    }

    pub(crate) fn edited(&self, edit: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
        let mut lines = self.lines();
        edit(&mut lines);
        let texts = lines.iter().enumerate().map(|(at, line)| {
            let text = line.to_string();
            // The format is the first field.
            if at > 0 {
                return text + "\n";
            }
            let format = line["format"].as_str().unwrap_or_default();
            let rest = text.replacen(&format!(r#""format":"{format}","#), "", 1);
            format!("{{\"format\":\"{format}\",{}\n", &rest[1..])
        });
        texts.collect::<String>().into_bytes()
    }

    /// Replays it and asserts that nothing differs, to the log.
    #[track_caller]
    pub(crate) fn is_same(&self, report: &ReplayReport) {
        assert_eq!(report.difference, None);
        assert_eq!(Some(&report.outcome), self.ran.run.outcome.as_ref());
        let log = |lines: &[terapi::run::LogLine]| lines.iter().map(|it| it.message.clone()).collect::<Vec<_>>();
        assert_eq!(log(&report.log), log(&self.ran.log));
    }
}

/// A script whose bytes are others and which does the same.
pub(crate) async fn with_another_hash(bench: &Bench, name: &str) -> Arc<Script> {
    let mut bytes = guest(name);
    // A custom section with an empty name at the end.
    bytes.extend([0, 1, 0]);
    bench.load(bytes).await
}

pub(crate) fn succeeded(report: &ReplayReport) -> bool {
    report.outcome == Outcome::Succeeded
}

pub(crate) fn step(what: &str) -> Value {
    json!({ "do": what })
}
