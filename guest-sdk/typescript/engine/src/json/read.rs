//! Reading.

use rquickjs::{Ctx, Error, Result, Value, qjs};

use super::{DEEPEST, Stop, stretch};

type Read<T> = std::result::Result<T, Stop>;

/// The value of a JSON text; none if QuickJS is to parse it.
pub fn read<'js>(ctx: &Ctx<'js>, text: &str) -> Option<Result<Value<'js>>> {
    let mut reader = Reader {
        ctx: ctx.as_raw().as_ptr(),
        text,
        at: 0,
        depth: 0,
        values: Vec::new(),
        names: [(0, 0, 0); NAMES],
        atoms: Vec::new(),
        unescaped: Vec::new(),
        units: Vec::new(),
    };
    let read = reader.value().and_then(|value| {
        reader.values.push(value);
        reader.space();
        if reader.at == text.len() { Ok(reader.values.pop()) } else { Err(Stop::NotPlain) }
    });
    match read {
        // SAFETY: the value is owned here.
        Ok(value) => value.map(|value| Ok(unsafe { Value::from_raw(ctx.clone(), value) })),
        Err(Stop::NotPlain) => None,
        Err(Stop::Thrown) => Some(Err(Error::Exception)),
    }
}

/// How many names of fields are known at a time.
const NAMES: usize = 256;

struct Reader<'a> {
    ctx: *mut qjs::JSContext,
    text: &'a str,
    at: usize,
    depth: usize,
    /// Objects and elements under construction, which are owned here.
    values: Vec<qjs::JSValue>,
    /// Where a name stands in the text (start, length), and its atom; by a hash.
    names: [(usize, usize, qjs::JSAtom); NAMES],
    /// All atoms, owned.
    atoms: Vec<qjs::JSAtom>,
    /// Room for a string with escapes.
    unescaped: Vec<u8>,
    /// Room for a string in UTF-16.
    units: Vec<u16>,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // SAFETY: both lists own what is in them, and the context lives.
        unsafe {
            for value in self.values.drain(..) {
                qjs::JS_FreeValue(self.ctx, value);
            }
            for atom in self.atoms.drain(..) {
                qjs::JS_FreeAtom(self.ctx, atom);
            }
        }
    }
}

fn made(value: qjs::JSValue) -> Read<qjs::JSValue> {
    // SAFETY: only its tag is looked at.
    if unsafe { qjs::JS_IsException(value) } { Err(Stop::Thrown) } else { Ok(value) }
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> Read<()> {
        if self.peek() != Some(wanted) {
            return Err(Stop::NotPlain);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, value: qjs::JSValue) -> Read<qjs::JSValue> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Stop::NotPlain);
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self) -> Read<qjs::JSValue> {
        self.space();
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", qjs::JS_TRUE),
            Some(b'f') => self.word("false", qjs::JS_FALSE),
            Some(b'n') => self.word("null", qjs::JS_NULL),
            _ => Err(Stop::NotPlain),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Read<qjs::JSValue>) -> Read<qjs::JSValue> {
        if self.depth == DEEPEST {
            return Err(Stop::NotPlain);
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Read<qjs::JSValue> {
        // SAFETY: the context lives; the object is owned by the list until it is done.
        let object = made(unsafe { qjs::JS_NewObject(self.ctx) })?;
        self.values.push(object);
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.space();
                let name = self.name()?;
                self.space();
                self.take(b':')?;
                let value = self.value()?;
                // SAFETY: object and atom are owned by the lists; the value is given away, also where this fails.
                if unsafe { qjs::JS_DefinePropertyValue(self.ctx, object, name, value, qjs::JS_PROP_C_W_E as _) } < 0 {
                    return Err(Stop::Thrown);
                }
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
            self.take(b'}')?;
        }
        self.values.pop().ok_or(Stop::NotPlain)
    }

    fn array(&mut self) -> Read<qjs::JSValue> {
        let first = self.values.len();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                let value = self.value()?;
                self.values.push(value);
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
            self.take(b']')?;
        }
        let elements = &self.values[first..];
        let count = i32::try_from(elements.len()).map_err(|_| Stop::NotPlain)?;
        // SAFETY: so many values stand there, and are given away, also where this fails.
        let array = unsafe { qjs::JS_NewArrayFrom(self.ctx, count, elements.as_ptr()) };
        self.values.truncate(first);
        made(array)
    }

    /// A field's name as an atom, which the list owns.
    fn name(&mut self) -> Read<qjs::JSAtom> {
        self.take(b'"')?;
        let start = self.at;
        let text = self.text.as_bytes();
        let end = stretch(text, start);
        // One with an escape is rare.
        if text.get(end) != Some(&b'"') {
            return Err(Stop::NotPlain);
        }
        self.at = end + 1;
        let name = &text[start..end];
        let slot = slot(name);
        let (known, length, atom) = self.names[slot];
        if length == name.len() && atom != 0 && &text[known..known + length] == name {
            return Ok(atom);
        }
        // SAFETY: so many bytes stand there.
        let atom = unsafe { qjs::JS_NewAtomLen(self.ctx, name.as_ptr().cast(), name.len() as _) };
        if atom == 0 {
            return Err(Stop::Thrown);
        }
        self.atoms.push(atom);
        self.names[slot] = (start, name.len(), atom);
        Ok(atom)
    }

    fn string(&mut self) -> Read<qjs::JSValue> {
        self.at += 1;
        let text = self.text.as_bytes();
        let start = self.at;
        let end = stretch(text, start);
        if text.get(end) == Some(&b'"') {
            self.at = end + 1;
            return self.made_of(&text[start..end]);
        }
        self.at = end;
        let mut unescaped = std::mem::take(&mut self.unescaped);
        unescaped.clear();
        unescaped.extend_from_slice(&text[start..end]);
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut unescaped)?,
                _ => return Err(Stop::NotPlain),
            }
            let end = stretch(text, self.at);
            unescaped.extend_from_slice(&text[self.at..end]);
            self.at = end;
        }
        self.at += 1;
        let value = self.made_of(&unescaped);
        self.unescaped = unescaped;
        value
    }

    fn made_of(&mut self, text: &[u8]) -> Read<qjs::JSValue> {
        if !text.is_ascii()
            && let Ok(text) = std::str::from_utf8(text)
        {
            self.units.clear();
            self.units.extend(text.encode_utf16());
            if self.units.iter().any(|unit| *unit > 0xFF) {
                // SAFETY: so many units stand there, which QuickJS copies. Made of UTF-8 it would decode the text twice.
                return made(unsafe { qjs::JS_NewStringUTF16(self.ctx, self.units.as_ptr(), self.units.len() as _) });
            }
        }
        // SAFETY: so many bytes stand there, which QuickJS copies.
        made(unsafe { qjs::JS_NewStringLen(self.ctx, text.as_ptr().cast(), text.len() as _) })
    }

    fn escape(&mut self, into: &mut Vec<u8>) -> Read<()> {
        let escaped = self.text.as_bytes().get(self.at + 1).copied();
        self.at += 2;
        into.push(match escaped {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let mut unit = self.unit()?;
                if (0xD800..0xDC00).contains(&unit) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.unit()?;
                    if !(0xDC00..0xE000).contains(&low) {
                        return Err(Stop::NotPlain);
                    }
                    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                }
                // A lone surrogate is no character.
                let character = char::from_u32(unit).ok_or(Stop::NotPlain)?;
                into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Stop::NotPlain),
        });
        Ok(())
    }

    fn unit(&mut self) -> Read<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(Stop::NotPlain)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| {
            char::from(*digit).to_digit(16).map(|digit| unit * 16 + digit).ok_or(Stop::NotPlain)
        })
    }

    fn number(&mut self) -> Read<qjs::JSValue> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let (mut whole, first) = (0_i64, self.at);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            whole = whole.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - first;
        if digits == 0 || (digits > 1 && self.text.as_bytes()[first] == b'0') {
            return Err(Stop::NotPlain);
        }
        if !matches!(self.peek(), Some(b'.' | b'e' | b'E')) && digits <= 9 && !(negative && whole == 0) {
            #[expect(clippy::cast_possible_truncation, reason = "nine digits")]
            let whole = if negative { -whole } else { whole } as i32;
            return Ok(qjs::JS_MKVAL(qjs::JS_TAG_INT, whole));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let number: f64 = self.text[start..self.at].parse().map_err(|_| Stop::NotPlain)?;
        // SAFETY: a number is made.
        made(unsafe { qjs::JS_NewNumber(self.ctx, number) })
    }

    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(Stop::NotPlain) } else { Ok(()) }
    }
}

/// Where a name is looked for: by its length and both its ends, which tell the names of one object apart.
fn slot(name: &[u8]) -> usize {
    let end = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let ends = match name.len() {
        0..4 => name.iter().fold(0, |hash, byte| (hash << 8) | u32::from(*byte)),
        _ => end(name.first_chunk()).wrapping_mul(31).wrapping_add(end(name.last_chunk())),
    };
    let hash = (ends.wrapping_add(name.len() as u32)).wrapping_mul(0x9E37_79B1);
    (hash >> 24) as usize % NAMES
}
