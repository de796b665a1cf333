//! A model of a power cut.
//!
//! This binary brings its own `fsync` and `fdatasync`, which the linker prefers to the C library's. In a process that
//! is told to by the environment they copy the file to a *shadow* before they do their work: what is in the shadow is
//! on the disk for sure, of the rest the disk has any part. [`cut`] makes a directory of what such a disk may hold.
//!
//! A directory is a file of names: what was made, renamed or removed in it since it was last synced may or may not have
//! happened. A rename is one thing, as in every file system with a journal.

#![allow(unsafe_code, clippy::cast_possible_truncation)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use rand::Rng;

/// Where to keep the shadow, and of which directory.
pub(crate) const SHADOW: &str = "TERAPI_STORE_SHADOW";
pub(crate) const SHADOWED: &str = "TERAPI_STORE_SHADOWED";

/// Which `fdatasync` of a file of the log fails, counted from 1.
pub(crate) const FAILING: &str = "TERAPI_STORE_FAILING_SYNC";

/// What a process only believes to have synced: `log`, its files of the log; `everything`.
pub(crate) const UNSYNCED: &str = "TERAPI_STORE_UNSYNCED";

const PAGE: usize = 4096;

/// How many tests that run now do without the disk.
static SKIPPERS: AtomicUsize = AtomicUsize::new(0);

/// While it lives nothing waits for the disk: for tests that open hundreds of stores, in whose process no power is cut.
pub(crate) struct SkipSyncs(());

impl SkipSyncs {
    pub(crate) fn new() -> Self {
        SKIPPERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for SkipSyncs {
    fn drop(&mut self) {
        SKIPPERS.fetch_sub(1, Ordering::Relaxed);
    }
}

// SAFETY: the C library's signature; the call goes on to the kernel.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: libc::c_int) -> libc::c_int {
    if SKIPPERS.load(Ordering::Relaxed) > 0 {
        return 0;
    }
    if fails(fd) {
        // SAFETY: the address of this thread's errno, as errno(3) says.
        unsafe { *libc::__errno_location() = libc::EIO };
        return -1;
    }
    note(fd);
    // SAFETY: fdatasync(2) takes a number and touches no memory.
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as libc::c_int }
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: libc::c_int) -> libc::c_int {
    if SKIPPERS.load(Ordering::Relaxed) > 0 {
        return 0;
    }
    note(fd);
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_fsync, fd) as libc::c_int }
}

/// Whether this is the call that the environment wants to fail, once.
fn fails(fd: libc::c_int) -> bool {
    static LEFT: OnceLock<AtomicU64> = OnceLock::new();
    let left = LEFT.get_or_init(|| AtomicU64::new(crate::store::setting(FAILING, 0)));
    let of_the_log = || fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|path| is_of_the_log(&path));
    left.load(Ordering::SeqCst) > 0 && of_the_log() && left.fetch_sub(1, Ordering::SeqCst) == 1
}

fn note(fd: libc::c_int) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let (Some(shadow), Some(dir)) = (std::env::var_os(SHADOW), std::env::var_os(SHADOWED)) else { return };
    let _guard = ONE_AT_A_TIME.lock();
    let Ok(path) = fs::read_link(format!("/proc/self/fd/{fd}")) else { return };
    if !path.starts_with(&dir) {
        return;
    }
    match std::env::var(UNSYNCED).as_deref() {
        Ok("everything") => return,
        Ok("log") if is_of_the_log(&path) => return,
        _ => {}
    }
    if path.is_file() {
        keep(&path, Path::new(&shadow)).unwrap();
    } else if path.is_dir() {
        keep_names(&path, Path::new(&shadow)).unwrap();
    }
}

fn is_of_the_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tlog")
}

/// A file keeps its content when it is renamed, so the shadow knows it by its inode; and since inodes are used again, by
/// its birth.
fn identity(file: &Path) -> io::Result<String> {
    let metadata = fs::metadata(file)?;
    let born = metadata.created()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{}-{}", metadata.ino(), born.as_nanos()))
}

/// Begins a shadow: everything that is in the directory is on the disk.
pub(crate) fn begin(dir: &Path, shadow: &Path) {
    let _ = fs::remove_dir_all(shadow);
    fs::create_dir_all(shadow).unwrap();
    fs::create_dir_all(dir).unwrap();
    for file in files(dir) {
        fs::copy(&file, shadow.join(identity(&file).unwrap())).unwrap();
        keep_link(&file, shadow).unwrap();
    }
    for folder in folders(dir) {
        keep_names(&folder, shadow).unwrap();
    }
}

/// Brings the copy up to date, whole or not at all.
fn keep(file: &Path, shadow: &Path) -> io::Result<()> {
    keep_link(file, shadow)?;
    let copy = shadow.join(identity(file)?);
    if is_of_the_log(file) {
        // It only grows: its length says it all, and a copy of it every few milliseconds would be all that is done.
        let temporary = copy.with_extension("new-length");
        fs::write(&temporary, fs::metadata(file)?.len().to_string())?;
        return fs::rename(&temporary, copy.with_extension("length"));
    }
    let temporary = copy.with_extension("new-copy");
    fs::copy(file, &temporary)?;
    fs::rename(&temporary, copy)
}

/// A file that is removed may be there again after the cut.
fn keep_link(file: &Path, shadow: &Path) -> io::Result<()> {
    let link = shadow.join(identity(file)?).with_extension("link");
    match fs::hard_link(file, link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Names, and of what.
type Names = BTreeMap<String, String>;

fn names(folder: &Path) -> io::Result<Names> {
    let mut names = Names::new();
    for item in fs::read_dir(folder)? {
        let item = item?;
        // It may be gone by now.
        if let Ok(identity) = identity(&item.path()) {
            names.insert(item.file_name().into_string().unwrap(), identity);
        }
    }
    Ok(names)
}

fn keep_names(folder: &Path, shadow: &Path) -> io::Result<()> {
    let listing = shadow.join(identity(folder)?);
    let lines: Vec<_> = names(folder)?.into_iter().map(|(name, identity)| format!("{identity} {name}")).collect();
    let temporary = listing.with_extension("new-names");
    fs::write(&temporary, lines.join("\n"))?;
    fs::rename(&temporary, listing.with_extension("names"))
}

/// Makes `to` what is left of `dir` after a power cut, of which `shadow` was on the disk for sure.
pub(crate) fn cut(dir: &Path, shadow: &Path, to: &Path, random: &mut impl Rng) {
    let there = files(dir).into_iter().chain(folders(dir));
    let there: BTreeMap<_, _> = there.map(|path| (identity(&path).unwrap(), path)).collect();
    cut_folder(&identity(dir).unwrap(), &there, shadow, to, random);
}

fn cut_folder(folder: &str, there: &BTreeMap<String, PathBuf>, shadow: &Path, to: &Path, random: &mut impl Rng) {
    fs::create_dir_all(to).unwrap();
    let now = there.get(folder).map(|path| names(path).unwrap()).unwrap_or_default();
    let sure = fs::read_to_string(shadow.join(folder).with_extension("names")).unwrap_or_default();
    let sure: Names = sure
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(of, name)| (name.to_owned(), of.to_owned()))
        .collect();
    for (name, identity) in torn_names(&sure, &now, random) {
        let target = to.join(name);
        let names_of = shadow.join(&identity).with_extension("names");
        if there.get(&identity).is_some_and(|path| path.is_dir()) || names_of.exists() {
            cut_folder(&identity, there, shadow, &target, random);
            continue;
        }
        let copy = shadow.join(&identity);
        let now = there.get(&identity).cloned().unwrap_or_else(|| copy.with_extension("link"));
        let now = fs::read(now).unwrap_or_default();
        let sure = match fs::read_to_string(copy.with_extension("length")) {
            Ok(length) => now[..now.len().min(length.parse().unwrap())].to_vec(),
            Err(_) => fs::read(&copy).unwrap_or_default(),
        };
        fs::write(&target, torn(&sure, &now, random)).unwrap();
    }
}

/// `sure`, with any of what was done to it since.
fn torn_names(sure: &Names, now: &Names, random: &mut impl Rng) -> Names {
    let likely = [0.0, 0.5, 1.0, 1.0][random.random_range(0..4)];
    let mut left = now.clone();
    let mut decided = BTreeSet::new();
    for name in sure.keys().chain(now.keys()) {
        if sure.get(name) == now.get(name) || decided.contains(name) {
            continue;
        }
        // With a name goes what it is renamed from or to, and what that replaced.
        let mut together = BTreeSet::from([name.clone()]);
        loop {
            let of: BTreeSet<_> = together.iter().flat_map(|name| [sure.get(name), now.get(name)]).flatten().collect();
            let all = sure.iter().chain(now).filter(|(_, identity)| of.contains(identity));
            let all: BTreeSet<_> = all.map(|(name, _)| name.clone()).chain(together.iter().cloned()).collect();
            if all == together {
                break;
            }
            together = all;
        }
        if !random.random_bool(likely) {
            for name in &together {
                match sure.get(name) {
                    Some(identity) => left.insert(name.clone(), identity.clone()),
                    None => left.remove(name),
                };
            }
        }
        decided.extend(together);
    }
    left
}

/// `sure`, with any of the pages of `now` written over it, and any length in between.
fn torn(sure: &[u8], now: &[u8], random: &mut impl Rng) -> Vec<u8> {
    if sure == now {
        return now.to_vec();
    }
    let (short, long) = (sure.len().min(now.len()), sure.len().max(now.len()));
    let length = match random.random_range(0..3) {
        0 => sure.len(),
        1 => now.len(),
        _ => random.random_range(short..=long),
    };
    // Sometimes nearly all got there, sometimes nearly nothing.
    let likely = [0.0, 0.05, 0.5, 0.95, 1.0][random.random_range(0..5)];
    let mut left = sure.to_vec();
    left.resize(length, 0);
    for start in (0..length).step_by(PAGE) {
        let end = (start + PAGE).min(length).min(now.len());
        if end > start && random.random_bool(likely) {
            left[start..end].copy_from_slice(&now[start..end]);
        }
    }
    left
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(items) = fs::read_dir(dir) else { return found };
    for item in items {
        let path = item.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort_unstable();
    found
}

/// A directory and every one below it.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.extend(folders(&path));
        }
    }
    found
}

/// Copies a directory. What goes away meanwhile (the store looks for room by writing a file) is left out.
pub(crate) fn copy(dir: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files(dir) {
        let target = to.join(file.strip_prefix(dir).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        match fs::copy(&file, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
}

/// Without it the store would be durable in these tests only by chance.
#[test]
fn syncing_a_file_goes_through_this_module() {
    let (dir, shadow) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("file");
    fs::write(&path, b"1").unwrap();
    let file = fs::File::open(&path).unwrap();
    // The environment belongs to the whole process, so another one is asked.
    if std::env::var_os(SHADOW).is_none() {
        let (_, module) = module_path!().split_once("::").unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::syncing_a_file_goes_through_this_module")])
            .env(SHADOW, shadow.path())
            .env(SHADOWED, std::env::temp_dir())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let copy = Path::new(&std::env::var_os(SHADOW).unwrap()).join(identity(&path).unwrap());
    file.sync_data().unwrap();
    assert_eq!(fs::read(&copy).unwrap(), b"1");
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"2", 0).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), b"1");
    file.sync_all().unwrap();
    assert_eq!(fs::read(&copy).unwrap(), b"2");
}
