//! One bit of a closed store is flipped, anywhere in any of its files: nothing wrong is served, nothing panics, what
//! matters is found by `verify`, and `salvage` gets nearly all of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng as _;
use rand::rngs::StdRng;
use terapi::ids::{ScriptHash, StreamKey, Timestamp};
use terapi::store::embedded::{StoreOptions, Verification, salvage, verify};
use terapi::store::{Action, Change, ChangesQuery, RunsQuery, Script, Store, StoreError};

use super::{flip, random};
use crate::store::sync_calls::{self, SkipSyncs};
use crate::store::{begin, begin_refresh, entry, ids, open_dir, records, setting, stream, sync};

/// Of the records that are not at the flipped place, one of so many may be missing from what is salvaged.
const LOST_ONE_IN: usize = 100;
/// Records of 1 KB that a flip may take along: the entries of a block of 32 KiB, twice.
const RECORDS_A_PLACE: usize = 64;

/// What was written: the feed by id, and every content that each record ever had.
struct Written {
    stream: StreamKey,
    latest: BTreeMap<String, Change>,
    versions: BTreeMap<String, BTreeSet<String>>,
}

fn record(n: usize, version: usize, random: &mut StdRng) -> String {
    const WORDS: [&str; 8] = ["sync", "cursor", "\\\"quoted\\\"", "états", "label", "open", "closed", "0.1250"];
    let mut text = format!(r#"{{"number":{n},"version":{version},"body":""#);
    while text.len() < 1_000 {
        text.push_str(WORDS[random.random_range(0..WORDS.len())]);
        write!(text, " {:x} ", random.random::<u32>()).unwrap();
    }
    text.push_str("\"}");
    text
}

/// A closed store with updates, deletes and a refresh, most of what its files hold live.
fn fill(dir: &Path, count: usize, random: &mut StdRng) -> Written {
    let stream = stream("c", "Model");
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let store = open_dir(dir).unwrap();
    let mut contents = vec![String::new(); count];
    for version in 0..3 {
        let run = if version == 2 {
            begin_refresh(&store, &sync("script", "c"), &["Model"])
        } else {
            begin(&store, &sync("script", "c"))
        };
        for from in (0..count).step_by(200) {
            let mut batch = Vec::new();
            for (n, content) in contents.iter_mut().enumerate().skip(from).take(200) {
                // All, then a tenth of them, then nearly all unchanged: the refresh deletes the others.
                if version == 0 || (version == 1 && n % 10 == 3) || (version == 2 && n % 50 == 9) {
                    *content = record(n, version, random);
                }
                let saved = match version {
                    0 => true,
                    1 => n % 10 == 3,
                    _ => n % 40 != 7,
                };
                if saved {
                    versions.entry(n.to_string()).or_default().insert(content.clone());
                    batch.push(entry(&n.to_string(), content));
                }
            }
            run.try_save("Model", &batch).unwrap();
            if from % 4_000 == 0 {
                run.checkpoint(&format!(r#"{{"from":{from}}}"#));
            }
        }
        run.delete("Model", &ids(&["1", "2", "100"]).iter().map(String::as_str).collect::<Vec<_>>());
        run.succeed();
    }
    store.set_metadata(&"c".parse().unwrap(), r#"{"team":"x"}"#).unwrap();
    let (script, bytes) = script();
    store.put_script(&script, &bytes).unwrap();
    let latest = crate::store::feed(&store, &stream).into_iter().map(|change| (change.id.clone(), change)).collect();
    Written { stream, latest, versions }
}

fn script() -> (Script, Vec<u8>) {
    let bytes = vec![b's'; 5_000];
    let script = Script {
        name: "a-script".parse().unwrap(),
        version: 1,
        integration: None,
        hash: ScriptHash::of(&bytes),
        size: bytes.len() as u64,
        added_at: Timestamp(1),
        manifest: "{}".to_owned(),
        limits: "{}".to_owned(),
    };
    (script, bytes)
}

/// What became of a store after a flip.
#[derive(Debug, Default)]
struct Outcome {
    /// It was refused, or something of it.
    refused: Option<String>,
    /// Directories and files at the top that were not there before: something was set aside and made anew.
    set_aside: bool,
}

impl Outcome {
    fn note(&mut self, error: &StoreError) {
        // A flipped bit in the head may be one of the format's number.
        assert!(matches!(error.code(), "store-corrupt" | "store-newer-format"), "{error:?}");
        self.refused.get_or_insert_with(|| error.to_string());
    }
}

fn top(dir: &Path) -> BTreeSet<PathBuf> {
    // The head, the lock and the folders; what is in them is the engine's.
    fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect()
}

/// Opens the store, reads everything in every way, and writes: what is served must be what was written.
fn use_it(dir: &Path, written: &Written) -> Outcome {
    let mut outcome = Outcome::default();
    let before = top(dir);
    let store = match open_dir(dir) {
        Ok(store) => store,
        Err(error) => {
            outcome.note(&error);
            return outcome;
        }
    };
    read(&store, written, &mut outcome);
    // Merging reads what is stored, saving compares with it.
    let run = begin_or_note(&store, &mut outcome);
    if let Some(run) = run {
        for id in ["5", "1", "new"] {
            let batch = [entry(id, r#"{"merged":1}"#)];
            match store.update(&run.lease, &crate::store::rule("Model"), &batch, crate::store::now()) {
                Ok(_) => {}
                Err(error) => outcome.note(&error),
            }
            match store.get(&written.stream, None, &ids(&[id])) {
                Ok(found) => {
                    let live = written.latest.get(id).filter(|change| change.action != Action::Deleted);
                    let merged = live.map_or(r#"{"merged":1}"#.to_owned(), |live| {
                        format!("{},\"merged\":1}}", live.data.trim_end_matches('}'))
                    });
                    let before = live.map(|live| live.data.as_str());
                    let found = found.first().map(|entry| entry.data.as_str());
                    assert!(found == Some(&merged) || found == before, "{id} is {found:?}");
                }
                Err(error) => outcome.note(&error),
            }
        }
        if let Err(error) = run.finish(terapi::run::Outcome::Succeeded, &crate::store::UNGUARDED) {
            outcome.note(&error);
        }
    }
    drop(store);
    outcome.set_aside = top(dir) != before;
    outcome
}

fn begin_or_note<'a>(store: &'a dyn Store, outcome: &mut Outcome) -> Option<crate::store::ActiveRun<'a>> {
    let run = crate::store::a_run(&sync("script", "c"));
    let start = terapi::store::RunStart { run: run.clone(), lease_ms: 60_000, refreshes: Vec::new() };
    match store.begin_run(start) {
        Ok(lease) => Some(crate::store::ActiveRun { store, lease, run }),
        Err(error) => {
            outcome.note(&error);
            None
        }
    }
}

fn read(store: &dyn Store, written: &Written, outcome: &mut Outcome) {
    let right = |change: &Change| {
        let expected = written.latest.get(&change.id);
        assert!(expected == Some(change), "{change:?} is served, {expected:?} was written");
    };
    let mut query = ChangesQuery { limit: 1_000, ..ChangesQuery::default() };
    let mut served = 0;
    loop {
        match store.changes(&written.stream, &query) {
            Ok(page) => {
                page.changes.iter().for_each(right);
                served += page.changes.len();
                query.cursor = Some(page.cursor);
                if !page.more {
                    assert_eq!(served, written.latest.len(), "the feed has less, and says nothing");
                    break;
                }
            }
            Err(error) => break outcome.note(&error),
        }
    }
    let live = |id: &str, data: &str| {
        let change = written.latest.get(id).filter(|change| change.action != Action::Deleted);
        assert!(change.is_some_and(|change| change.data == data), "{id} is {data}, not {change:?}");
    };
    let all: Vec<_> = written.latest.keys().cloned().collect();
    for asked in all.chunks(500) {
        match store.get(&written.stream, None, asked) {
            Ok(found) => {
                for entry in &found {
                    live(&entry.id, &entry.data);
                }
                let expected = asked.iter().filter(|id| written.latest[*id].action != Action::Deleted).count();
                assert_eq!(found.len(), expected, "get has less, and says nothing");
            }
            Err(error) => outcome.note(&error),
        }
    }
    match store.list(&written.stream, None, None, 1_000, 1 << 20) {
        Ok(listing) => listing.entries.iter().for_each(|entry| live(&entry.id, &entry.data)),
        Err(error) => outcome.note(&error),
    }
    for result in [
        store.sync_state(&sync("script", "c")).map(|state| assert!(state.last_sync_date.is_some())),
        store.metadata(&"c".parse().unwrap()).map(|metadata| assert_eq!(metadata, r#"{"team":"x"}"#)),
        store.scripts().map(|scripts| assert_eq!(scripts, [script().0])),
        store.script_bytes(&script().0.hash).map(|bytes| assert_eq!(bytes, Some(script().1))),
        store.runs(&RunsQuery::newest(10)).map(|page| assert_eq!(page.runs.len(), 3)),
        store.streams().map(|streams| {
            let live = written.latest.values().filter(|change| change.action != Action::Deleted).count() as u64;
            assert_eq!((streams.len(), streams[0].live), (1, live));
        }),
    ] {
        if let Err(error) = result {
            outcome.note(&error);
        }
    }
}

fn verified(dir: &Path) -> Result<Verification, StoreError> {
    verify(dir, &StoreOptions::default(), &mut |_, _| {})
}

/// Checks what `salvage` made, and returns how many records it lacks. It is `whole` unless the bytes of a script are lost:
/// that there was one it still knows.
fn salvaged(dir: &Path, written: &Written, whole: bool) -> usize {
    let to = tempfile::tempdir().unwrap();
    let to = to.path().join("salvaged");
    salvage(dir, &to, &StoreOptions::default(), &mut |_, _| {}).unwrap_or_else(|error| panic!("salvage: {error}"));
    let store = open_dir(&to).unwrap();
    store.sync().unwrap();
    let found = records(&store, &written.stream);
    let (mut lost, mut stale) = (0, 0);
    for (id, data) in &found {
        let latest = written.latest.get(id);
        if latest.is_none_or(|latest| latest.action == Action::Deleted || latest.data != *data) {
            // The last version was at the flipped place; what was salvaged is one that was there before it.
            stale += 1;
            assert!(written.versions[id].contains(data), "salvaged: {id} was never {data}");
        }
    }
    for (id, latest) in &written.latest {
        lost += usize::from(latest.action != Action::Deleted && !found.contains_key(id));
    }
    assert!(stale <= RECORDS_A_PLACE, "{stale} salvaged records are not what was there last");
    // It is a store like any other.
    begin(&store, &sync("script", "c")).succeed();
    drop(store);
    if whole {
        assert_eq!(verified(&to).unwrap().problems.count(), 0, "what was salvaged has problems");
    }
    lost
}

/// `TERAPI_STORE_FLIPS` says how often, `TERAPI_STORE_FLIPPED_RECORDS` in how large a store.
#[test]
fn a_bit_flipped_anywhere_is_never_served_and_found_where_it_matters() {
    let _quick = SkipSyncs::new();
    let mut random = random("flips anywhere");
    let whole = tempfile::tempdir().unwrap();
    let count = usize::try_from(setting("TERAPI_STORE_FLIPPED_RECORDS", 2_000)).unwrap();
    let flips = setting("TERAPI_STORE_FLIPS", 60);
    let written = fill(whole.path(), count, &mut random);
    let clean = verified(whole.path()).unwrap();
    assert_eq!(clean.problems.count(), 0, "a store as it was closed has problems: {:?}", clean.problems);
    assert!(salvaged(whole.path(), &written, true) == 0, "of a store as it was closed not all was salvaged");

    let mut files = sync_calls::files(whole.path());
    files.retain(|file| file.file_name().is_some_and(|name| name != "LOCK"));
    let lengths: Vec<_> = files.iter().map(|file| fs::metadata(file).unwrap().len()).collect();
    let total: u64 = lengths.iter().sum();
    eprintln!("{} files, {total} bytes", files.len());
    let (mut matter, mut wrong) = (0, Vec::new());
    for number in 0..flips {
        // Every file has its turn, and the large ones as many more as they are larger.
        let (file, at) = if number % 4 == 0 {
            let file = random.random_range(0..files.len());
            (file, random.random_range(0..lengths[file].max(1)))
        } else {
            let mut at = random.random_range(0..total);
            let file = lengths
                .iter()
                .position(|length| {
                    *length > at || {
                        at -= length;
                        false
                    }
                })
                .unwrap();
            (file, at)
        };
        if lengths[file] == 0 {
            continue;
        }
        let inside = files[file].strip_prefix(whole.path()).unwrap();
        let bit = random.random_range(0..8);
        let what = format!("bit {bit} of byte {at} of {}", inside.display());
        let look = || {
            let dir = tempfile::tempdir().unwrap();
            sync_calls::copy(whole.path(), dir.path());
            flip(&dir.path().join(inside), at, bit);
            let before: Vec<_> = files_of(dir.path());
            // Without its head a store is of no epoch, and nothing of it can be told from another's.
            let head = inside == Path::new("META.json");
            let problems = match verified(dir.path()) {
                Ok(verification) => verification.problems.count(),
                Err(_) if head => 1,
                Err(error) => panic!("verify reports, and does not fail: {error}"),
            };
            assert!(before == files_of(dir.path()), "verify changed something");
            // Most flips hit what nothing refers to; of those a tenth will do.
            if !head && (problems > 0 || number % 10 == 0) {
                let lost = salvaged(dir.path(), &written, !inside.starts_with("scripts"));
                let allowed = RECORDS_A_PLACE + count / LOST_ONE_IN;
                assert!(lost <= allowed, "{lost} of {count} records were not salvaged");
            }
            let outcome = use_it(dir.path(), &written);
            let matters = outcome.refused.is_some() || outcome.set_aside;
            assert!(!matters || problems > 0, "verify found nothing, but: {outcome:?}");
            matters
        };
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)) {
            Ok(matters) => matter += u64::from(matters),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                wrong.push(format!("{what}: {:.600}", text.unwrap_or_default()));
            }
        }
    }
    eprintln!("{matter} of {flips} flips matter");
    assert!(wrong.is_empty(), "{} of {flips} went wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(matter > 0, "none of {flips} flips mattered: the test tests nothing");
}

fn files_of(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = sync_calls::files(dir).into_iter().filter(|file| file.file_name().is_some_and(|name| name != "LOCK"));
    files.map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}
