//! Damaged, foreign and incomplete directories: what can be made whole is made whole, the rest is reported; nothing that
//! is wrong is served, and nothing that was there is thrown away in silence.

mod directory;
mod flips;
mod index;
mod log;
mod migration;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use terapi::ids::ScriptHash;
use terapi::run::{Level, LogLine, Run};
use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{Change, RunsQuery, Script, Store, StoreError, StreamInfo, SyncState};

use crate::store::writer::{THREADS, stream_of, write};
use crate::store::{Reader, begin, feed, now, setting, sync, sync_calls};

/// Opens a store that keeps its log in one file while it is small.
fn open_dir(dir: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(dir, &StoreOptions::default())
}

/// Everything that can be asked of a store.
#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    pub(super) streams: Vec<StreamInfo>,
    pub(super) feeds: Vec<Vec<Change>>,
    pub(super) records: Vec<BTreeMap<String, String>>,
    /// What follows each of some cursors that were given out before.
    pub(super) after: Vec<Vec<Change>>,
    pub(super) states: Vec<SyncState>,
    pub(super) runs: Vec<Run>,
    pub(super) logs: Vec<Vec<LogLine>>,
    pub(super) scripts: Vec<(Script, Option<Vec<u8>>)>,
    pub(super) metadata: String,
}

pub(super) fn picture(store: &dyn Store, cursors: &[Reader]) -> Picture {
    store.sync().unwrap();
    let streams = store.streams().unwrap();
    let runs = store.runs(&RunsQuery::newest(1_000)).unwrap().runs;
    let after = cursors.iter().map(|reader| reader.clone().catch_up(store, &stream_of(0), 50)).collect();
    Picture {
        feeds: streams.iter().map(|info| feed(store, &info.stream)).collect(),
        records: streams.iter().map(|info| crate::store::records(store, &info.stream)).collect(),
        after,
        states: (0..THREADS).map(|thread| store.sync_state(&sync(&format!("script{thread}"), "c")).unwrap()).collect(),
        logs: runs.iter().map(|run| store.log(run.id).unwrap()).collect(),
        scripts: store
            .scripts()
            .unwrap()
            .into_iter()
            .map(|script| (script.clone(), store.script_bytes(&script.hash).unwrap()))
            .collect(),
        metadata: store.metadata(&"c".parse().unwrap()).unwrap(),
        runs,
        streams,
    }
}

const STEPS: u64 = 120;

/// A store with some of everything, closed; readers somewhere in the feed of `stream_of(0)`; and the picture of it.
pub(super) fn filled(dir: &Path) -> (Vec<Reader>, Picture) {
    let store = open_dir(dir).unwrap();
    let mut cursors = vec![Reader::default()];
    for thread in 0..THREADS {
        let mut run = begin(&store, &sync(&format!("script{thread}"), "c"));
        for n in 1..=STEPS {
            write(&run, thread, n).unwrap();
            if n % 20 == 0 {
                run.checkpoint(&format!(r#"{{"n":{n}}}"#));
                let line = LogLine { at: now(), level: Level::Info, message: format!("step {n}"), fields: None };
                store.append_log(run.run.id, &[line]).unwrap();
                let mut reader = cursors[cursors.len() - 1].clone();
                reader.page(&store, &stream_of(0), 20);
                cursors.push(reader);
            }
            if n % 50 == 0 {
                run.succeed();
                run = begin(&store, &sync(&format!("script{thread}"), "c"));
            }
        }
        run.fail();
    }
    let bytes = b"the bytes of a script";
    let script = Script {
        name: "a-script".parse().unwrap(),
        version: 0,
        integration: None,
        hash: ScriptHash::of(bytes),
        size: bytes.len() as u64,
        added_at: now(),
        manifest: "{}".to_owned(),
        limits: "{}".to_owned(),
    };
    store.put_script(&script, bytes).unwrap();
    store.set_metadata(&"c".parse().unwrap(), r#"{"team":"x"}"#).unwrap();
    let picture = picture(&store, &cursors);
    (cursors, picture)
}

pub(super) fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    sync_calls::copy(dir, copy.path());
    copy
}

pub(super) fn logs(dir: &Path) -> Vec<PathBuf> {
    let mut files = sync_calls::files(&dir.join("log"));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "tlog"));
    files
}

pub(super) fn random(name: &str) -> StdRng {
    let seed = setting("TERAPI_STORE_SEED", rand::random());
    eprintln!("{name}: TERAPI_STORE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

pub(super) fn flip(file: &Path, at: u64, bit: u32) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

fn open_error(dir: &Path) -> StoreError {
    match open_dir(dir) {
        Err(error) => error,
        Ok(_) => panic!("{} opens", dir.display()),
    }
}
