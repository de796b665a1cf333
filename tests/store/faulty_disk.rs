//! A model of a disk that is full or broken.
//!
//! This binary brings its own `write` and the other calls that change what is on a disk, which the linker prefers to the
//! C library's. For files under a directory for which there is a [`FaultyDisk`] the n-th of these calls fails; for all
//! others they do what they always do. sled and the standard library both come through here.

#![allow(unsafe_code, clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `ENOSPC`, and nothing was written. What gives space back works.
    NoSpace,
    /// The call writes a part and says so; the next one gets `ENOSPC`. So does a disk that is nearly full.
    Short,
    /// `EIO`, after a part was written. Nothing works.
    Broken,
}

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    Once,
    UntilRepaired,
}

/// A directory on such a disk. Dropping it repairs the disk.
pub(crate) struct FaultyDisk(Arc<Disk>);

struct Disk {
    dir: PathBuf,
    fault: Fault,
    lasting: Lasting,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many calls there were that could have failed.
    calls: u64,
    /// Which of them fails, counted from 1; 0 for none.
    failing: u64,
    failed: u64,
    repaired: bool,
    /// The next call meets the end of the space.
    at_the_end: bool,
    /// What failed first.
    first: Option<String>,
}

static DISKS: RwLock<Vec<Arc<Disk>>> = RwLock::new(Vec::new());
/// How many there are: with none, a call costs one load more than it would.
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl FaultyDisk {
    /// Lets the `failing`-th call fail; with 0 it only counts.
    pub(crate) fn new(dir: &Path, fault: Fault, lasting: Lasting, failing: u64) -> Self {
        let state = Mutex::new(State { failing, ..State::default() });
        let disk = Arc::new(Disk { dir: dir.canonicalize().unwrap(), fault, lasting, state });
        DISKS.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&disk));
        COUNT.fetch_add(1, Ordering::SeqCst);
        Self(disk)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is room again, or the cable is back.
    pub(crate) fn repair(&self) {
        self.state().repaired = true;
    }

    /// The next call fails.
    pub(crate) fn fail_from_now_on(&self) {
        let mut state = self.state();
        state.repaired = false;
        state.failing = state.calls + 1;
    }

    /// Whether it fails now and goes on to.
    pub(crate) fn lasts(&self) -> bool {
        let state = self.state();
        self.0.lasting == Lasting::UntilRepaired && state.failed > 0 && !state.repaired
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many calls failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.state().failed
    }

    /// Which call failed first.
    pub(crate) fn first_failed(&self) -> Option<String> {
        self.state().first.clone()
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        DISKS.write().unwrap_or_else(PoisonError::into_inner).retain(|disk| !Arc::ptr_eq(disk, &self.0));
        COUNT.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// Takes space.
    Write,
    /// Takes space, but has no bytes of which a part could be written.
    Make,
    /// Gives space back.
    Free,
}

enum Verdict {
    Works,
    /// Writes a part, and says so.
    WritesPart,
    Fails {
        errno: libc::c_int,
        writes_part: bool,
    },
}

/// What becomes of a call.
fn judge(path: &Path, call: Call, name: &str) -> Verdict {
    let disks = DISKS.read().unwrap_or_else(PoisonError::into_inner);
    let Some(disk) = disks.iter().find(|disk| path.starts_with(&disk.dir)) else { return Verdict::Works };
    if call == Call::Free && disk.fault != Fault::Broken {
        return Verdict::Works;
    }
    let mut state = disk.state.lock().unwrap_or_else(PoisonError::into_inner);
    state.calls += 1;
    let due = state.failing > 0
        && !state.repaired
        && match disk.lasting {
            Lasting::Once => state.calls == state.failing,
            Lasting::UntilRepaired => state.calls >= state.failing,
        };
    if !due && !std::mem::take(&mut state.at_the_end) {
        return Verdict::Works;
    }
    if state.failed == 0 {
        let inside = path.strip_prefix(&disk.dir).unwrap_or(path);
        state.first = Some(format!("{name} of {}", inside.display()));
    }
    state.failed += 1;
    match disk.fault {
        Fault::Broken => Verdict::Fails { errno: libc::EIO, writes_part: true },
        Fault::Short if state.failed == 1 && call == Call::Write => {
            state.at_the_end = true;
            Verdict::WritesPart
        }
        Fault::Short | Fault::NoSpace => Verdict::Fails { errno: libc::ENOSPC, writes_part: false },
    }
}

fn judge_fd(fd: libc::c_int, call: Call, name: &str) -> Verdict {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return Verdict::Works;
    }
    match std::fs::read_link(format!("/proc/self/fd/{fd}")) {
        Ok(path) => judge(&path, call, name),
        Err(_) => Verdict::Works,
    }
}

/// # Safety
///
/// `path` ends with a zero byte.
unsafe fn judge_path(path: *const libc::c_char, call: Call, name: &str) -> Verdict {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return Verdict::Works;
    }
    // SAFETY: as the caller promises.
    let path = unsafe { CStr::from_ptr(path) };
    judge(Path::new(OsStr::from_bytes(path.to_bytes())), call, name)
}

fn fail(errno: libc::c_int) -> libc::c_int {
    // SAFETY: the address of this thread's errno, as errno(3) says.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// A call that writes `count` bytes by `work`, whole or in part.
fn writing(fd: libc::c_int, count: usize, name: &str, work: impl Fn(usize) -> libc::ssize_t) -> libc::ssize_t {
    match judge_fd(fd, Call::Write, name) {
        Verdict::Works => work(count),
        // Of one byte there is no part, and 0 would mean something else.
        Verdict::WritesPart => work(count.div_ceil(2)),
        Verdict::Fails { errno, writes_part } => {
            if writes_part {
                work(count / 2);
            }
            fail(errno) as libc::ssize_t
        }
    }
}

fn whole(verdict: &Verdict, work: impl FnOnce() -> libc::c_int) -> libc::c_int {
    match verdict {
        Verdict::Works | Verdict::WritesPart => work(),
        Verdict::Fails { errno, .. } => fail(*errno),
    }
}

// SAFETY, here and below: the C library's name and signature; the call goes on to the kernel with what the caller gave,
// or with a smaller count.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: libc::c_int, bytes: *const libc::c_void, count: usize) -> libc::ssize_t {
    // SAFETY: as above.
    writing(fd, count, "write", |count| unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) as libc::ssize_t })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    fd: libc::c_int,
    bytes: *const libc::c_void,
    count: usize,
    at: libc::off64_t,
) -> libc::ssize_t {
    // SAFETY: as above.
    writing(fd, count, "pwrite", |count| unsafe {
        libc::syscall(libc::SYS_pwrite64, fd, bytes, count, at) as libc::ssize_t
    })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: libc::c_int, parts: *const libc::iovec, count: libc::c_int) -> libc::ssize_t {
    // A part here is some of the vectors; of a single one it is all, and the error comes with the next call.
    writing(fd, count as usize, "writev", |count| {
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) as libc::ssize_t }
    })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: libc::c_int,
    from_at: *mut libc::off64_t,
    to: libc::c_int,
    to_at: *mut libc::off64_t,
    count: usize,
    flags: libc::c_uint,
) -> libc::ssize_t {
    writing(to, count, "copy_file_range", |count| {
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_copy_file_range, from, from_at, to, to_at, count, flags) as libc::ssize_t }
    })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: libc::c_int, length: libc::off64_t) -> libc::c_int {
    let shrinks = || {
        let length_now = std::fs::metadata(format!("/proc/self/fd/{fd}")).map_or(0, |metadata| metadata.len());
        length as u64 <= length_now
    };
    let call = if COUNT.load(Ordering::Relaxed) > 0 && shrinks() { Call::Free } else { Call::Make };
    // SAFETY: as above.
    whole(&judge_fd(fd, call, "ftruncate"), || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as libc::c_int })
}

// SAFETY: as above. The C library takes the mode as a variadic argument, which the ABIs of Linux pass as any other.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const libc::c_char, flags: libc::c_int, mode: libc::mode_t) -> libc::c_int {
    let makes = flags & libc::O_CREAT != 0 && COUNT.load(Ordering::Relaxed) > 0 && {
        // SAFETY: open's path ends with a zero byte.
        let path = unsafe { CStr::from_ptr(path) };
        !Path::new(OsStr::from_bytes(path.to_bytes())).exists()
    };
    // SAFETY: as above.
    let verdict = if makes { unsafe { judge_path(path, Call::Make, "creation") } } else { Verdict::Works };
    // SAFETY: as above.
    whole(&verdict, || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as libc::c_int })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const libc::c_char, mode: libc::mode_t) -> libc::c_int {
    // SAFETY: as above.
    let verdict = unsafe { judge_path(path, Call::Make, "mkdir") };
    // SAFETY: as above.
    whole(&verdict, || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) as libc::c_int })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const libc::c_char, to: *const libc::c_char) -> libc::c_int {
    // SAFETY: as above.
    let verdict = unsafe { judge_path(from, Call::Make, "rename") };
    let here = libc::AT_FDCWD;
    // SAFETY: as above.
    whole(&verdict, || unsafe { libc::syscall(libc::SYS_renameat2, here, from, here, to, 0) as libc::c_int })
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const libc::c_char) -> libc::c_int {
    // SAFETY: as above.
    let verdict = unsafe { judge_path(path, Call::Free, "unlink") };
    // SAFETY: as above.
    whole(&verdict, || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as libc::c_int })
}

/// Without it the tests of a full disk would test nothing.
#[test]
fn writing_to_a_faulty_disk_fails_as_it_was_told_to_and_elsewhere_works() {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::FileExt as _;

    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("file");
    fs::write(&path, b"").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let content = || fs::read(&path).unwrap();

    let disk = FaultyDisk::new(dir.path(), Fault::NoSpace, Lasting::UntilRepaired, 2);
    file.write_all_at(b"1234", 0).unwrap();
    assert_eq!(file.write_all_at(b"5678", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(fs::write(dir.path().join("new"), b"").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(fs::create_dir(dir.path().join("new")).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(fs::rename(&path, dir.path().join("new")).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.set_len(9).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(fs::copy(&path, dir.path().join("new")).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(content(), b"1234");
    file.set_len(3).unwrap();
    fs::write(elsewhere.path().join("file"), b"1").unwrap();
    assert_eq!((disk.calls(), disk.failed()), (7, 6));
    disk.repair();
    file.write_all_at(b"5678", 0).unwrap();
    drop(disk);

    let disk = FaultyDisk::new(dir.path(), Fault::Broken, Lasting::Once, 1);
    assert_eq!(file.write_all_at(b"abcd", 0).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(content(), b"ab78");
    file.write_all_at(b"abcd", 0).unwrap();
    drop(disk);

    let disk = FaultyDisk::new(dir.path(), Fault::Short, Lasting::Once, 1);
    assert_eq!(file.write_at(b"ABCD", 0).unwrap(), 2);
    assert_eq!(file.write_at(b"ABCD", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(b"XYZW", 0).unwrap(), 4);
    assert_eq!(disk.first_failed().as_deref(), Some("pwrite of file"));
}
