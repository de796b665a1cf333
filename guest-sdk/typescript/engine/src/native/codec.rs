//! Between text and bytes: UTF-8, UTF-16, Latin-1, Base64, hexadecimal; and JSON, which is parsed here.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rquickjs::{Ctx, IntoJs, Object, Result, TypedArray, Value, qjs};

use super::add as function;
use crate::engine::or_null;
use crate::values::{Text, array, bytes, parse_json, units};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT.with_encode_padding(false));

pub fn add<'js>(host: &Object<'js>) -> Result<()> {
    function(host, "parseJson", |ctx: Ctx<'js>, text: Text| parse_json(&ctx, text.0))?;
    function(host, "encodeUtf8", |ctx: Ctx<'js>, text: Text| array(&ctx, text.0.into_bytes()))?;
    function(host, "decodeUtf8", |ctx: Ctx<'js>, data: TypedArray<'js, u8>, fatal: bool| {
        let text = match String::from_utf8(bytes(&data)) {
            Ok(text) => Some(text),
            Err(_) if fatal => None,
            Err(error) => Some(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        };
        or_null(&ctx, text)
    })?;
    // The first bytes of a text that may be cut in a character: how many are whole.
    function(host, "wholeUtf8", |data: TypedArray<'js, u8>| {
        let data = bytes(&data);
        match std::str::from_utf8(&data) {
            Err(error) if error.error_len().is_none() => error.valid_up_to() as f64,
            // An error before the end is for the decoder to report; a cut one may still stand at the end.
            Err(_) => (data.len() - cut(&data)) as f64,
            Ok(_) => data.len() as f64,
        }
    })?;
    function(host, "encodeUtf16", |ctx: Ctx<'js>, text: Value<'js>| array(&ctx, units(&ctx, &text)?.into_iter().flat_map(u16::to_le_bytes).collect()))?;
    function(host, "decodeUtf16", |ctx: Ctx<'js>, data: TypedArray<'js, u8>| {
        let units: Vec<u16> = bytes(&data).chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        string(&ctx, &units)
    })?;
    // The low byte of each code unit, as Node does.
    function(host, "encodeLatin1", |ctx: Ctx<'js>, text: Value<'js>| array(&ctx, units(&ctx, &text)?.into_iter().map(|unit| unit as u8).collect()))?;
    function(host, "decodeLatin1", |ctx: Ctx<'js>, data: TypedArray<'js, u8>| {
        bytes(&data).into_iter().map(char::from).collect::<String>().into_js(&ctx)
    })?;
    function(host, "encodeBase64", |data: TypedArray<'js, u8>, url: bool| {
        if url { URL_SAFE.encode(bytes(&data)) } else { STANDARD.encode(bytes(&data)) }
    })?;
    // Both alphabets; with `strict` as atob does (null for what is none), else as Node does: what is no letter is skipped.
    function(host, "decodeBase64", |ctx: Ctx<'js>, text: Text, strict: bool| {
        or_null(&ctx, decode_base64(&text.0, strict).map(|data| array(&ctx, data)).transpose()?)
    })?;
    function(host, "encodeHex", |data: TypedArray<'js, u8>| {
        bytes(&data).iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    })?;
    // As Node does: up to the first pair that is none.
    function(host, "decodeHex", |ctx: Ctx<'js>, text: Text| {
        let digits: Vec<u32> = text.0.chars().map_while(|digit| digit.to_digit(16)).collect();
        array(&ctx, digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
    })
}

/// How many bytes at the end are the beginning of a character.
fn cut(data: &[u8]) -> usize {
    for back in 1..=data.len().min(3) {
        let tail = &data[data.len() - back..];
        if tail[0] >= 0xC0 {
            return match std::str::from_utf8(tail) {
                Err(error) if error.error_len().is_none() => back,
                _ => 0,
            };
        }
    }
    0
}

fn decode_base64(text: &str, strict: bool) -> Option<Vec<u8>> {
    if strict {
        let letters: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0C)).collect();
        let padding = letters.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && !letters.len().is_multiple_of(4)) {
            return None;
        }
        return STANDARD.decode(&letters[..letters.len() - padding]).ok();
    }
    let mut letters: Vec<u8> = text
        .bytes()
        .take_while(|byte| *byte != b'=')
        .filter_map(|byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'+' | b'/' => Some(byte),
            byte if byte.is_ascii_alphanumeric() => Some(byte),
            _ => None,
        })
        .collect();
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    STANDARD.decode(letters).ok()
}

fn string<'js>(ctx: &Ctx<'js>, units: &[u16]) -> Result<Value<'js>> {
    // SAFETY: QuickJS copies `units.len()` units; what it returns is owned here.
    unsafe {
        let text = qjs::JS_NewStringUTF16(ctx.as_raw().as_ptr(), units.as_ptr(), units.len() as _);
        if qjs::JS_IsException(text) {
            return Err(rquickjs::Error::Exception);
        }
        Ok(Value::from_raw(ctx.clone(), text))
    }
}
