//! Writing.

use std::io::Write as _;

use rquickjs::{Ctx, Error, Result, Value, qjs};

use super::{DEEPEST, Stop, stretch};

type Written = std::result::Result<(), Stop>;

/// How many names of fields are known at a time.
const NAMES: usize = 256;

/// Bytes of written names after which they are forgotten: of rows whose names are all different none comes again.
const MOST_WRITTEN: usize = 64 << 10;

/// QuickJS's numbers of the classes of plain objects and arrays.
const PLAIN_OBJECT: qjs::JSClassID = 1;
const PLAIN_ARRAY: qjs::JSClassID = 2;

/// Writes rows, and knows the names of their fields.
pub struct Writer<'js> {
    ctx: Ctx<'js>,
    to_json: qjs::JSAtom,
    /// An atom, which is owned here, and where it stands in `written` as `"name":`; by its number.
    names: Vec<(qjs::JSAtom, usize, usize)>,
    written: Vec<u8>,
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.forget();
        // SAFETY: the atom is owned, and the context lives.
        unsafe { qjs::JS_FreeAtom(self.ctx.as_raw().as_ptr(), self.to_json) }
    }
}

/// A value that is owned for as long as this lives.
struct Owned(*mut qjs::JSContext, qjs::JSValue);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: owned, see above.
        unsafe { qjs::JS_FreeValue(self.0, self.1) }
    }
}

impl<'js> Writer<'js> {
    pub fn new(ctx: &Ctx<'js>) -> Self {
        // SAFETY: a name that ends with a zero byte; no atom (0) is a name that nothing has.
        let to_json = unsafe { qjs::JS_NewAtomLen(ctx.as_raw().as_ptr(), c"toJSON".as_ptr(), 6) };
        Self { ctx: ctx.clone(), to_json, names: vec![(0, 0, 0); NAMES], written: Vec::new() }
    }

    fn forget(&mut self) {
        for (atom, ..) in &mut self.names {
            // SAFETY: the atom is owned, and the context lives; no atom (0) is never freed.
            unsafe { qjs::JS_FreeAtom(self.ctx.as_raw().as_ptr(), std::mem::take(atom)) }
        }
        self.written.clear();
    }

    /// What `JSON.stringify` makes of a value; none if QuickJS is to do it. A getter may have been asked then.
    pub fn write(&mut self, value: &Value<'js>) -> Option<Result<String>> {
        let mut out = Vec::with_capacity(512);
        match self.value(value.as_raw(), &mut out, 0) {
            // Not UTF-8 is a text with a lone surrogate.
            Ok(()) => String::from_utf8(out).ok().map(Ok),
            Err(Stop::NotPlain) => None,
            Err(Stop::Thrown) => Some(Err(Error::Exception)),
        }
    }

    fn get(&self, object: qjs::JSValue, name: qjs::JSAtom) -> std::result::Result<Owned, Stop> {
        let ctx = self.ctx.as_raw().as_ptr();
        // SAFETY: the object lives, and what comes back is owned.
        let value = Owned(ctx, unsafe { qjs::JS_GetProperty(ctx, object, name) });
        if unsafe { qjs::JS_IsException(value.1) } { Err(Stop::Thrown) } else { Ok(value) }
    }

    /// The value lives for as long as this takes.
    fn value(&mut self, value: qjs::JSValue, out: &mut Vec<u8>, depth: usize) -> Written {
        // SAFETY: its tag says what it is.
        match unsafe { qjs::JS_VALUE_GET_NORM_TAG(value) } {
            qjs::JS_TAG_STRING => self.string(value, out)?,
            qjs::JS_TAG_INT => write!(out, "{}", unsafe { qjs::JS_VALUE_GET_INT(value) }).map_err(|_| Stop::NotPlain)?,
            qjs::JS_TAG_NULL => out.extend_from_slice(b"null"),
            qjs::JS_TAG_BOOL => out.extend_from_slice(if unsafe { qjs::JS_VALUE_GET_BOOL(value) } { b"true" } else { b"false" }),
            qjs::JS_TAG_FLOAT64 => {
                let number = unsafe { qjs::JS_VALUE_GET_FLOAT64(value) };
                let size = number.abs();
                if !number.is_finite() {
                    out.extend_from_slice(b"null");
                } else if number == 0.0 {
                    out.push(b'0');
                } else if (1e-6..1e21).contains(&size) {
                    // Here JavaScript writes no exponent either, and both write the shortest that is the number.
                    write!(out, "{number}").map_err(|_| Stop::NotPlain)?;
                } else {
                    return Err(Stop::NotPlain);
                }
            }
            qjs::JS_TAG_OBJECT if depth < DEEPEST => self.object(value, out, depth)?,
            _ => return Err(Stop::NotPlain),
        }
        Ok(())
    }

    fn object(&mut self, object: qjs::JSValue, out: &mut Vec<u8>, depth: usize) -> Written {
        // SAFETY: the object lives.
        let class = unsafe { qjs::JS_GetClassID(object) };
        if class != PLAIN_OBJECT && class != PLAIN_ARRAY {
            return Err(Stop::NotPlain);
        }
        let own = self.get(object, self.to_json)?;
        if !unsafe { qjs::JS_IsUndefined(own.1) } {
            return Err(Stop::NotPlain);
        }
        if class == PLAIN_ARRAY { self.array(object, out, depth) } else { self.fields(object, out, depth) }
    }

    fn array(&mut self, array: qjs::JSValue, out: &mut Vec<u8>, depth: usize) -> Written {
        let ctx = self.ctx.as_raw().as_ptr();
        let mut length = 0;
        // SAFETY: the array lives.
        if unsafe { qjs::JS_GetLength(ctx, array, &raw mut length) } < 0 {
            return Err(Stop::Thrown);
        }
        out.push(b'[');
        for index in 0..u32::try_from(length).map_err(|_| Stop::NotPlain)? {
            if index > 0 {
                out.push(b',');
            }
            // SAFETY: the array lives, and what comes back is owned.
            let element = Owned(ctx, unsafe { qjs::JS_GetPropertyUint32(ctx, array, index) });
            if unsafe { qjs::JS_IsException(element.1) } {
                return Err(Stop::Thrown);
            }
            if unsafe { qjs::JS_IsUndefined(element.1) } {
                out.extend_from_slice(b"null");
            } else {
                self.value(element.1, out, depth + 1)?;
            }
        }
        out.push(b']');
        Ok(())
    }

    fn fields(&mut self, object: qjs::JSValue, out: &mut Vec<u8>, depth: usize) -> Written {
        let names = Names::of(&self.ctx, object)?;
        out.push(b'{');
        let empty = out.len();
        for index in 0..names.count as usize {
            // SAFETY: so many stand there.
            let name = unsafe { (*names.first.add(index)).atom };
            let value = self.get(object, name)?;
            if unsafe { qjs::JS_IsUndefined(value.1) } {
                continue;
            }
            if out.len() > empty {
                out.push(b',');
            }
            self.name(name, out)?;
            self.value(value.1, out, depth + 1)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn name(&mut self, name: qjs::JSAtom, out: &mut Vec<u8>) -> Written {
        let slot = name as usize % NAMES;
        let (known, start, end) = self.names[slot];
        if known == name && name != 0 {
            out.extend_from_slice(&self.written[start..end]);
            return Ok(());
        }
        if self.written.len() > MOST_WRITTEN {
            self.forget();
        }
        let ctx = self.ctx.as_raw().as_ptr();
        // SAFETY: the atom lives, and what comes back is owned.
        let text = Owned(ctx, unsafe { qjs::JS_AtomToString(ctx, name) });
        if unsafe { qjs::JS_IsException(text.1) } {
            return Err(Stop::Thrown);
        }
        let start = self.written.len();
        let mut written = std::mem::take(&mut self.written);
        let done = self.string(text.1, &mut written);
        written.push(b':');
        self.written = written;
        done?;
        out.extend_from_slice(&self.written[start..]);
        // SAFETY: the new one becomes owned, so that its number stays its own; the one before is owned and let go of.
        let kept = unsafe { qjs::JS_DupAtom(ctx, name) };
        let before = std::mem::replace(&mut self.names[slot], (kept, start, self.written.len()));
        unsafe { qjs::JS_FreeAtom(ctx, before.0) };
        Ok(())
    }

    fn string(&self, text: qjs::JSValue, out: &mut Vec<u8>) -> Written {
        let ctx = self.ctx.as_raw().as_ptr();
        let mut length = 0;
        // SAFETY: the text lives, and QuickJS returns null (an exception is pending) or `length` bytes until freed.
        unsafe {
            let start = qjs::JS_ToCStringLen2(ctx, &raw mut length, text, false);
            if start.is_null() {
                return Err(Stop::Thrown);
            }
            quote(std::slice::from_raw_parts(start.cast::<u8>(), length as usize), out);
            qjs::JS_FreeCString(ctx, start);
        }
        Ok(())
    }
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut at = 0;
    loop {
        let end = stretch(text, at);
        out.extend_from_slice(&text[at..end]);
        let Some(byte) = text.get(end) else { break };
        at = end + 1;
        let short = match byte {
            b'"' | b'\\' => *byte,
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            control => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digit = |place: u8| DIGITS[usize::from(place & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(control >> 4), digit(*control)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
}

/// The names of an object's own fields that are counted.
struct Names {
    ctx: *mut qjs::JSContext,
    first: *mut qjs::JSPropertyEnum,
    count: u32,
}

impl Names {
    fn of(ctx: &Ctx<'_>, object: qjs::JSValue) -> std::result::Result<Self, Stop> {
        let ctx = ctx.as_raw().as_ptr();
        let mut names = Self { ctx, first: std::ptr::null_mut(), count: 0 };
        let flags = qjs::JS_GPN_STRING_MASK | qjs::JS_GPN_ENUM_ONLY;
        // SAFETY: the object lives; the list is freed below.
        let failed =
            unsafe { qjs::JS_GetOwnPropertyNames(ctx, &raw mut names.first, &raw mut names.count, object, flags as _) } < 0;
        if failed { Err(Stop::Thrown) } else { Ok(names) }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: QuickJS made the list, of so many names.
            unsafe { qjs::JS_FreePropertyEnum(self.ctx, self.first, self.count) }
        }
    }
}
