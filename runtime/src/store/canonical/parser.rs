//! Reads a text once, from left to right, and writes its canonical form as it goes.
//!
//! The members of an object are written in the text's order and put in theirs when the object ends, so each level of
//! nesting may copy what it holds once more: at most 64 times, measured 4 ms for a record of 1 MiB made for it.

use std::cmp::Ordering;

use super::{JsonError, JsonReason, MAX_DEPTH, MAX_NUMBER, MAX_TEXT, Scratch};

/// A number without an exponent and of no more bytes is none beyond what a float holds, 1.8·10³⁰⁸.
const MAX_DIGITS: usize = 308;

/// Ends strings and numbers in the canonical form: a byte that UTF-8 does not use.
const END: u8 = 0xFF;

/// Where a member of an object that is being read stands, in the canonical form and in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// The first bytes of the key, as a number that orders as they do: most comparisons need no more.
    prefix: u64,
    /// The tag of the key, in the form.
    start: u32,
    /// The tag of the value, in the form.
    value: u32,
    /// One past the value, in the form.
    end: u32,
    /// The key's opening quote, in the text.
    pub(super) source: u32,
    /// The value, in the text.
    pub(super) source_value: u32,
    /// One past the value, in the text.
    pub(super) source_end: u32,
}

impl Member {
    fn order(&self, other: &Member, form: &[u8]) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| self.key(form).cmp(other.key(form)))
    }

    /// The unescaped key, without tag and end.
    pub(super) fn key<'a>(&self, form: &'a [u8]) -> &'a [u8] {
        form.get(self.start as usize + 1..self.value as usize - 1).unwrap_or_default()
    }
}

/// The first eight bytes of `key`, with zeros behind a shorter one.
fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    match key.first_chunk() {
        Some(chunk) => first = *chunk,
        None => first.iter_mut().zip(key).for_each(|(to, from)| *to = *from),
    }
    u64::from_be_bytes(first)
}

/// One reading of one text.
pub(super) struct Parser<'a> {
    text: &'a [u8],
    /// The next byte of `text`.
    at: usize,
    /// The canonical form so far; where the objects that are still open will be sorted, their members in the text's order.
    pub(super) form: &'a mut Vec<u8>,
    /// The members of the objects that are still open, a stack.
    pub(super) members: &'a mut Vec<Member>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, scratch: &'a mut Scratch) -> Result<Self, JsonError> {
        if text.len() > MAX_TEXT {
            return Err(JsonError { offset: MAX_TEXT, reason: JsonReason::TextTooLong });
        }
        // The form is never longer than the text: an end stands where a quote, a comma or a bracket stood.
        scratch.form.reserve(text.len());
        Ok(Parser { text: text.as_bytes(), at: 0, form: &mut scratch.form, members: &mut scratch.members })
    }

    pub(super) fn top_level(&mut self, ignore: &[String]) -> Result<(), JsonError> {
        self.top_level_start()?;
        let ascending = self.members(1)?;
        self.top_level_end()?;
        self.close(0, 0, ascending, ignore)
    }

    /// One value of any kind.
    pub(super) fn any(&mut self) -> Result<(), JsonError> {
        match self.top_level_start() {
            Err(JsonError { reason: JsonReason::NotAnObject, .. }) | Ok(()) => {
                self.value(0)?;
                self.top_level_end()
            }
            error => error,
        }
    }

    pub(super) fn top_level_start(&mut self) -> Result<(), JsonError> {
        if self.text.starts_with("\u{feff}".as_bytes()) {
            return self.refuse(JsonReason::ByteOrderMark);
        }
        match self.next_token() {
            b'{' => Ok(()),
            _ if self.at == self.text.len() => self.refuse(JsonReason::Empty),
            _ => self.refuse(JsonReason::NotAnObject),
        }
    }

    pub(super) fn top_level_end(&mut self) -> Result<(), JsonError> {
        self.next_token();
        if self.at == self.text.len() { Ok(()) } else { self.refuse(JsonReason::TrailingText) }
    }

    /// The byte at `at`, or 0 at the end: a byte that is valid nowhere in JSON.
    #[inline]
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Skips white space and returns what [`Parser::peek`] does.
    #[inline]
    fn next_token(&mut self) -> u8 {
        loop {
            match self.peek() {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return byte,
            }
        }
    }

    #[cold]
    fn refuse<T>(&self, reason: JsonReason) -> Result<T, JsonError> {
        Err(JsonError { offset: self.at, reason })
    }

    /// Refuses what stands at `at`: with `reason`, or as truncated if nothing stands there.
    #[cold]
    fn refuse_byte<T>(&self, reason: JsonReason) -> Result<T, JsonError> {
        if self.at == self.text.len() { self.refuse_end() } else { self.refuse(reason) }
    }

    #[cold]
    fn refuse_end<T>(&self) -> Result<T, JsonError> {
        Err(JsonError { offset: self.text.len(), reason: JsonReason::Truncated })
    }

    /// Reads the value at `at`, inside of `depth` levels.
    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b'{' | b'[' if depth == MAX_DEPTH => self.refuse(JsonReason::TooDeep),
            b'{' => {
                let (start, first) = (self.form.len(), self.members.len());
                let ascending = self.members(depth + 1)?;
                self.close(start, first, ascending, &[])
            }
            b'[' => self.array(depth + 1),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.refuse_value(),
        }
    }

    #[cold]
    fn refuse_value(&self) -> Result<(), JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let rest = rest.strip_prefix(b"-").unwrap_or(rest);
        match rest.first() {
            _ if rest.starts_with(b"NaN") || rest.starts_with(b"Infinity") => self.refuse(JsonReason::NotFinite),
            Some(b'+' | b'.') => self.refuse(JsonReason::Number),
            _ => self.refuse_byte(JsonReason::ExpectedValue),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        for expected in word {
            if self.peek() != *expected {
                return self.refuse_byte(JsonReason::ExpectedValue);
            }
            self.at += 1;
        }
        self.form.extend(word.first());
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonError> {
        self.at += 1;
        self.form.push(b'[');
        if self.next_token() == b']' {
            self.at += 1;
        } else {
            loop {
                self.value(depth)?;
                let after = self.next_token();
                match after {
                    b',' => self.at += 1,
                    b']' => break self.at += 1,
                    _ => return self.refuse_byte(JsonReason::ExpectedComma),
                }
                self.next_token();
            }
        }
        self.form.push(b']');
        Ok(())
    }

    /// Reads the object at `at`, which is at level `depth`, and leaves its members on the stack. Returns whether each
    /// key is greater than the one before, so that there is nothing to sort. [`Parser::close`] does the rest.
    pub(super) fn members(&mut self, depth: usize) -> Result<bool, JsonError> {
        self.at += 1;
        self.form.push(b'{');
        let mut ascending = true;
        let mut last: Option<Member> = None;
        let mut token = self.next_token();
        if token == b'}' {
            self.at += 1;
            return Ok(ascending);
        }
        loop {
            if token != b'"' {
                return self.refuse_byte(JsonReason::ExpectedKey);
            }
            let mut member = Member {
                start: position(self.form.len()),
                prefix: 0,
                value: 0,
                end: 0,
                source: position(self.at),
                source_value: 0,
                source_end: 0,
            };
            self.string()?;
            member.value = position(self.form.len());
            member.prefix = prefix(member.key(self.form));
            ascending = ascending && last.is_none_or(|last| last.order(&member, self.form).is_lt());
            if self.next_token() != b':' {
                return self.refuse_byte(JsonReason::ExpectedColon);
            }
            self.at += 1;
            self.next_token();
            member.source_value = position(self.at);
            self.value(depth)?;
            member.end = position(self.form.len());
            member.source_end = position(self.at);
            self.members.push(member);
            last = Some(member);
            match self.next_token() {
                b',' => self.at += 1,
                b'}' => break self.at += 1,
                _ => return self.refuse_byte(JsonReason::ExpectedComma),
            }
            token = self.next_token();
        }
        Ok(ascending)
    }

    /// Ends the object whose form begins at `start` and whose members are those from `first` on: sorts it, unless it is
    /// `ascending`, refuses duplicate keys, and leaves out the members whose key is in `ignore`.
    pub(super) fn close(
        &mut self,
        start: usize,
        first: usize,
        ascending: bool,
        ignore: &[String],
    ) -> Result<(), JsonError> {
        let form = &mut *self.form;
        if !ascending || !ignore.is_empty() {
            let members = self.members.get_mut(first..).unwrap_or_default();
            if !ascending {
                members.sort_unstable_by(|a, b| a.order(b, form).then(a.source.cmp(&b.source)));
                let twice = |pair: &[Member; 2]| {
                    let [a, b] = pair;
                    if a.order(b, form).is_eq() { Some(b.source) } else { None }
                };
                if let Some(source) = members.array_windows().filter_map(twice).min() {
                    return Err(JsonError { offset: source as usize, reason: JsonReason::DuplicateKey });
                }
            }
            // In their order, behind what is there; then what is there goes.
            let unsorted = form.len();
            for member in members {
                if !ignore.iter().any(|name| name.as_bytes() == member.key(form)) {
                    form.extend_from_within(member.start as usize..member.end as usize);
                }
            }
            form.drain(start + 1..unsorted);
        }
        form.push(b'}');
        self.members.truncate(first);
        Ok(())
    }

    /// Reads the string at `at`.
    fn string(&mut self) -> Result<(), JsonError> {
        self.form.push(b'"');
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let plain = plain_length(rest);
            let (copied, special) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
            self.form.extend_from_slice(copied);
            self.at += plain;
            match special.first() {
                Some(b'"') => break self.at += 1,
                Some(b'\\') => self.escape()?,
                _ => return self.refuse_byte(JsonReason::ControlCharacter),
            }
        }
        self.form.push(END);
        Ok(())
    }

    /// Reads the escape whose backslash is at `at`.
    fn escape(&mut self) -> Result<(), JsonError> {
        let rest = self.text.get(self.at + 1..).unwrap_or_default();
        let byte = match rest.first() {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(),
            Some(_) => return self.refuse(JsonReason::Escape),
            None => return self.refuse_end(),
        };
        self.form.push(byte);
        self.at += 2;
        Ok(())
    }

    /// Reads `\uXXXX`, and the one behind it if the two are a pair.
    fn unicode_escape(&mut self) -> Result<(), JsonError> {
        let Some(unit) = self.code_unit(self.at) else {
            let digits = self.text.get(self.at + 2..).unwrap_or_default();
            let cut_off = digits.iter().all(u8::is_ascii_hexdigit);
            return if cut_off { self.refuse_end() } else { self.refuse(JsonReason::Escape) };
        };
        let pair = match unit {
            0xD800..0xDC00 => match self.code_unit(self.at + 6) {
                Some(low @ 0xDC00..0xE000) => Some(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)),
                _ => None,
            },
            _ => None,
        };
        // Only a surrogate is no character.
        let Some(character) = char::from_u32(pair.unwrap_or(unit)) else {
            return self.refuse(JsonReason::LoneSurrogate);
        };
        self.form.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += if pair.is_some() { 12 } else { 6 };
        Ok(())
    }

    /// The number in the `\uXXXX` at `at`, if there is one.
    fn code_unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    }

    /// Reads the number at `at`.
    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let mut is_scaled = false;
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
            if self.peek().is_ascii_digit() {
                self.at = start;
                return self.refuse(JsonReason::LeadingZero);
            }
        } else if self.digits() == 0 {
            self.at = start;
            return if self.text.len() == start + 1 { self.refuse_end() } else { self.refuse_value() };
        }
        if self.peek() == b'.' {
            self.at += 1;
            if self.digits() == 0 {
                return self.refuse_byte(JsonReason::Number);
            }
        }
        if let b'e' | b'E' = self.peek() {
            is_scaled = true;
            self.at += 1;
            if let b'+' | b'-' = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.refuse_byte(JsonReason::Number);
            }
        }
        let number = self.text.get(start..self.at).unwrap_or_default();
        if number.len() > MAX_NUMBER {
            self.at = start;
            return self.refuse(JsonReason::NumberTooLong);
        }
        if (is_scaled || number.len() > MAX_DIGITS) && !is_finite(number) {
            self.at = start;
            return self.refuse(JsonReason::NumberTooLarge);
        }
        self.form.extend_from_slice(number);
        self.form.push(END);
        Ok(())
    }

    /// Skips digits and returns how many there were.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at - start
    }
}

/// Whether a reader that makes floats of numbers gets one of this.
#[cold]
fn is_finite(number: &[u8]) -> bool {
    std::str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok()).is_some_and(f64::is_finite)
}

/// A position in a text or a form, neither of which is longer than [`MAX_TEXT`].
#[expect(clippy::cast_possible_truncation, reason = "`Parser::new` refuses longer texts")]
#[inline]
fn position(at: usize) -> u32 {
    at as u32
}

/// How many bytes at the start of `text` stand for themselves inside a string.
#[inline]
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // Eight bytes at a time. A byte's top bit is set if it is `"`, `\` or below 0x20; a subtraction may set it wrongly in
    // a byte above one that is right, so only the lowest counts.
    let (words, tail) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let special = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let special = special & (ONES << 7);
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + tail.iter().position(is_special).unwrap_or(tail.len())
}
