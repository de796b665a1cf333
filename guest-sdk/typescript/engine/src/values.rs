//! Between JavaScript values and Rust's.

use crate::json;
use rquickjs::{Array, Ctx, Error, Exception, FromJs, Object, Result, TypedArray, Value, qjs};

/// A string as UTF-8; a lone surrogate becomes U+FFFD.
pub struct Text(pub String);

impl<'js> FromJs<'js> for Text {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        if value.type_of() == rquickjs::Type::Symbol {
            return Err(Exception::throw_type(ctx, "a symbol is no text"));
        }
        // What is no string becomes one now, so that both looks below see the same text.
        let value = if value.is_string() { value } else { text_of(ctx, &value)? };
        let mut length = 0;
        // SAFETY: the value lives, and QuickJS returns null (an exception is pending) or `length` bytes until freed.
        let text = unsafe {
            let start = qjs::JS_ToCStringLen2(ctx.as_raw().as_ptr(), &raw mut length, value.as_raw(), false);
            if start.is_null() {
                return Err(Error::Exception);
            }
            let bytes = std::slice::from_raw_parts(start.cast::<u8>(), length as usize);
            let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
            qjs::JS_FreeCString(ctx.as_raw().as_ptr(), start);
            text
        };
        match text {
            Some(text) => Ok(Self(text)),
            None => Ok(Self(String::from_utf16_lossy(&units(ctx, &value)?))),
        }
    }
}

fn text_of<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<Value<'js>> {
    // SAFETY: the value lives, and what comes back is owned here.
    unsafe {
        let text = qjs::JS_ToString(ctx.as_raw().as_ptr(), value.as_raw());
        if qjs::JS_IsException(text) {
            return Err(Error::Exception);
        }
        Ok(Value::from_raw(ctx.clone(), text))
    }
}

/// The code units of a string, lone surrogates and all.
pub fn units<'js>(ctx: &Ctx<'js>, text: &Value<'js>) -> Result<Vec<u16>> {
    if !text.is_string() {
        return units(ctx, &text_of(ctx, text)?);
    }
    let mut length = 0;
    // SAFETY: the value is a string that lives; QuickJS returns null (an exception is pending) or `length` units.
    unsafe {
        let start = qjs::JS_ToCStringLenUTF16(ctx.as_raw().as_ptr(), &raw mut length, text.as_raw());
        if start.is_null() {
            return Err(Error::Exception);
        }
        let units = std::slice::from_raw_parts(start, length as usize).to_vec();
        qjs::JS_FreeCStringUTF16(ctx.as_raw().as_ptr(), start);
        Ok(units)
    }
}

/// The bytes of a typed array of bytes, copied.
pub fn bytes(array: &TypedArray<'_, u8>) -> Vec<u8> {
    // SAFETY: no JavaScript runs while the slice is copied.
    unsafe { array.as_bytes() }.map(<[u8]>::to_vec).unwrap_or_default()
}

/// New bytes for JavaScript.
pub fn array<'js>(ctx: &Ctx<'js>, bytes: Vec<u8>) -> Result<TypedArray<'js, u8>> {
    TypedArray::new(ctx.clone(), bytes)
}

/// A field that is a text; none if it is undefined or null.
pub fn text_field(object: &Object<'_>, name: &str) -> Result<Option<String>> {
    let value: Value = object.get(name)?;
    if value.is_undefined() || value.is_null() {
        return Ok(None);
    }
    Text::from_js(object.ctx(), value).map(|text| Some(text.0))
}

/// A list of texts; empty if it is undefined or null.
pub fn texts<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Vec<String>> {
    if value.is_undefined() || value.is_null() {
        return Ok(Vec::new());
    }
    let list = Array::from_js(ctx, value)?;
    list.iter::<Text>().map(|text| text.map(|text| text.0)).collect()
}

/// A list of pairs that JavaScript keeps flat: name, value, name, value.
pub fn pairs<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Vec<(String, String)>> {
    let flat = texts(ctx, value)?;
    let mut flat = flat.into_iter();
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Parses a JSON text as `JSON.parse` does, without making a JavaScript string of it first.
pub fn parse_json<'js>(ctx: &Ctx<'js>, mut text: String) -> Result<Value<'js>> {
    parse_json_of(ctx, &mut text)
}

/// The same of a text that is wanted afterwards, whatever came of it.
pub fn parse_json_of<'js>(ctx: &Ctx<'js>, text: &mut String) -> Result<Value<'js>> {
    if let Some(read) = json::read(ctx, text) {
        return read;
    }
    let length = text.len();
    // Not `push` alone, which would make it twice as large, elsewhere.
    text.reserve_exact(1);
    text.push('\0');
    // SAFETY: the text ends with a zero byte, as QuickJS wants it, and outlives the call.
    let value = unsafe {
        let value = qjs::JS_ParseJSON(ctx.as_raw().as_ptr(), text.as_ptr().cast(), length as _, c"<input>".as_ptr());
        if qjs::JS_IsException(value) { Err(Error::Exception) } else { Ok(Value::from_raw(ctx.clone(), value)) }
    };
    text.pop();
    value
}

/// What `JSON.stringify` makes of a value; none where it makes undefined.
pub fn to_json(value: &Value<'_>) -> Result<Option<String>> {
    let ctx = value.ctx();
    // SAFETY: the value lives through the call, and what comes back is owned here.
    let text = unsafe {
        let text =
            qjs::JS_JSONStringify(ctx.as_raw().as_ptr(), value.as_raw(), qjs::JS_UNDEFINED, qjs::JS_UNDEFINED);
        if qjs::JS_IsException(text) {
            return Err(Error::Exception);
        }
        Value::from_raw(ctx.clone(), text)
    };
    if text.is_undefined() {
        return Ok(None);
    }
    Text::from_js(ctx, text).map(|text| Some(text.0))
}

/// Throws an error with the property `kind`, by which the SDK tells the host's errors apart.
pub fn throw(ctx: &Ctx<'_>, kind: &str, message: &str) -> Error {
    match Exception::from_message(ctx.clone(), message) {
        Ok(exception) => {
            let _ = exception.set("kind", kind);
            exception.throw()
        }
        Err(error) => error,
    }
}
