//! What is to be done when all tests are over.

use std::sync::{Mutex, Once};

static TO_DO: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

/// Has it done when the process of the tests ends by itself. What panics is not done to its end.
#[expect(unsafe_code, reason = "the one way to be asked when the tests are over")]
pub(crate) fn at_exit(done: fn()) {
    extern "C" fn all() {
        for done in TO_DO.lock().map(|mut to_do| std::mem::take(&mut *to_do)).unwrap_or_default() {
            let _ = std::panic::catch_unwind(done);
        }
    }
    static ASKED: Once = Once::new();
    TO_DO.lock().unwrap().push(done);
    ASKED.call_once(|| {
        // SAFETY: the function takes nothing, returns, and does not unwind.
        assert_eq!(unsafe { libc::atexit(all) }, 0);
    });
}
