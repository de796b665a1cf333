//! Room for texts that nest deeply.
//!
//! Parser and translator call themselves for what nests, and so does a left-leaning chain such as `1+1+1…`; a hundred
//! thousand brackets would end the process. No level of nesting is made of less than one token, so tokens times what a level takes at
//! most are enough stack. A text gets a thread with so much; it is address space, and only what is really nested
//! becomes memory. What has more tokens than that is refused: it is no script that a person wrote. Large texts are
//! translated one after the other, so that of what nests as deeply as can be there is one at a time.

use std::sync::{Mutex, PoisonError};

use super::error::SourceError;

/// Held while a large text is translated.
static TURN: Mutex<()> = Mutex::new(());
/// Stack for what does not nest.
const BASE: usize = 1 << 20;
/// Stack of one level of nesting. Measured over fifty kinds of nesting: see the test
/// `whatever_nests_is_built_or_refused_and_never_ends_the_process`.
const LEVEL: usize = if cfg!(debug_assertions) { 16 << 10 } else { 4 << 10 };
/// Tokens of one module, counted generously: most of a megabyte of what people write.
const MAX_TOKENS: usize = 200_000;
/// `<` of one module. Each may begin the arguments of a type, and the parser looks far ahead to know: 4,000 in a chain take it
/// some seconds, and with their number it grows with the square.
const MAX_ANGLES: usize = 4_000;
/// Tokens of a text that waits for others of its kind.
const LARGE: usize = 20_000;

/// Works on a thread whose stack is enough for a text.
pub(super) fn with_room_for<T: Send>(
    name: &str,
    text: &str,
    work: impl FnOnce() -> Result<T, SourceError> + Send,
) -> Result<T, SourceError> {
    let tokens = tokens(text);
    let angles = text.bytes().filter(|byte| *byte == b'<').count();
    for (what, count, limit) in [("tokens", tokens, MAX_TOKENS), ("`<`", angles, MAX_ANGLES)] {
        if count > limit {
            return Err(SourceError::TooIntricate { file: name.to_owned(), what, count, limit });
        }
    }
    let _turn = (tokens > LARGE).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("translate".to_owned()).stack_size(BASE + tokens * LEVEL);
        let broke = |_| SourceError::Broke(name.to_owned());
        thread
            .spawn_scoped(scope, work)
            .map_err(broke)?
            .join()
            .unwrap_or_else(|_| Err(SourceError::Broke(name.to_owned())))
    })
}

/// No text has more tokens than this: runs of letters and digits, and every other character but a space.
fn tokens(text: &str) -> usize {
    let mut in_word = false;
    let mut count = 0;
    for byte in text.bytes() {
        let word = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
        let starts = if word { !in_word } else { !byte.is_ascii_whitespace() && !is_continuation(byte) };
        count += usize::from(starts);
        in_word = word;
    }
    count
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}
