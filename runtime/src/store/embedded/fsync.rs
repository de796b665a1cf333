//! Makes sled's flush mean what it says.
//!
//! sled 0.34.7 ends a flush on Linux with `sync_file_range`, which writes neither metadata nor the disk's own cache and
//! so promises nothing after a power cut. This binary brings its own `sync_file_range`, which the linker prefers to the
//! C library's, and it is `fdatasync`. [`calls`] lets the store check at every start that it is really the one called.

use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);

/// How often sled has synced through us since the process started.
pub(super) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// `fdatasync` under the name that sled calls.
#[expect(unsafe_code, reason = "the one symbol through which sled can be made durable; see the module's text")]
// SAFETY: same name, arguments and result as sync_file_range(2); it touches no memory, and any fd is a valid argument.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: libc::c_int, _: libc::off64_t, _: libc::off64_t, _: libc::c_uint) -> libc::c_int {
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: fdatasync(2) reads nothing but the number.
    unsafe { libc::fdatasync(fd) }
}
