//! JSON texts: what is accepted, and when two of them say the same.
//!
//! Whether a record changed is decided by the [`Digest`] of its canonical form, so this module is on the way of every
//! record that a script saves. It reads a text once, keeps no tree of it, and with a [`Scratch`] that is used again it
//! does not allocate.
//!
//! Two texts have the same canonical form exactly if they differ in nothing but white space, the order of keys and the
//! spelling of strings (`"\u0041"` is `"A"`, `"\/"` is `"/"`). Arrays keep their order and numbers their text: `1.0` is
//! not `1`, and `9007199254740993` is nobody's float. The form is a byte string:
//!
//! ```text
//! value  = '"' string 0xFF | number 0xFF | 't' | 'f' | 'n' | '[' value* ']' | '{' ( '"' string 0xFF value )* '}'
//! ```
//!
//! A string is its unescaped UTF-8, in which the byte 0xFF never occurs, and the first byte of a value tells its kind:
//! the form can be read back, so different values never share one. The members of an object are sorted by the bytes of
//! their keys. Digests are stored: changing the form makes every stored record look changed once.
//!
//! Order of checks: length of the text, then RFC 8259 from the first byte to the last, with these refused beyond it: a
//! top level that is no object, more than [`MAX_DEPTH`] levels, a number longer than [`MAX_NUMBER`] bytes or beyond what readers
//! hold, lone surrogates, and last, at the end of each object, a key that it has twice.

mod error;
mod parser;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use error::{JsonError, JsonReason};
use parser::{Member, Parser};

/// Levels of objects and arrays, the top-level object being the first. The contract says so (`types.wit`); it also
/// bounds the recursion here.
pub const MAX_DEPTH: usize = 64;

/// Bytes of one number. Far beyond every number that means something, and short enough that no reader of a record
/// meets a number which takes it seconds to parse.
pub const MAX_NUMBER: usize = 1024;

/// Bytes of one text, so that positions fit into 32 bits and the scratch stays bounded. The limits on records and
/// batches are much lower and are checked elsewhere, before.
pub const MAX_TEXT: usize = 64 << 20;

/// Bytes that each part of a [`Scratch`] holds on to between texts: twice the default limit of a record, since sorting
/// puts a second copy behind the first. A larger record allocates for itself.
const KEPT_SCRATCH: usize = 2 << 20;

/// The first 16 bytes of the BLAKE3 hash of a record's canonical form.
///
/// Half of the hash, because it is stored with every record: two different records of one id share it with a
/// probability of 2⁻¹²⁸, and a script that makes a pair on purpose (2⁶⁴ work) hides a change from its own user only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Digest(pub [u8; 16]);

/// Memory for [`digest`], to be used again for the next record; empty in between.
#[derive(Default, Debug)]
pub struct Scratch {
    form: Vec<u8>,
    members: Vec<Member>,
}

impl Scratch {
    fn clear(&mut self) {
        self.form.clear();
        self.form.shrink_to(KEPT_SCRATCH);
        self.members.clear();
        self.members.shrink_to(KEPT_SCRATCH / size_of::<Member>());
    }
}

/// The digest of `record`, without its top-level fields named in `ignore` (which must be valid all the same).
pub fn digest(record: &str, ignore: &[String], scratch: &mut Scratch) -> Result<Digest, JsonError> {
    let hash = Parser::new(record, scratch).and_then(|mut parser| {
        parser.top_level(ignore)?;
        Ok(blake3::hash(parser.form))
    });
    scratch.clear();
    let hash: [u8; 32] = hash?.into();
    let (half, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
    Ok(Digest(*half))
}

/// Whether `text` is an object that this module accepts: for checkpoints, metadata and configurations.
pub fn validate_object(text: &str) -> Result<(), JsonError> {
    let mut scratch = Scratch::default();
    Parser::new(text, &mut scratch)?.top_level(&[])?;
    refuse_reserved(text, &scratch)
}

/// `serde_json` takes objects with keys of its own for something else than objects: their texts are read again, as deep as they
/// like. What is read into its trees later has none.
fn refuse_reserved(text: &str, scratch: &Scratch) -> Result<(), JsonError> {
    const RESERVED: &[u8] = b"$serde_json::private::";
    if scratch.form.windows(RESERVED.len()).any(|found| found == RESERVED) {
        return Err(JsonError { offset: text.len(), reason: JsonReason::ReservedKey });
    }
    Ok(())
}

/// Whether `text` is one value of any kind that this module accepts: for what actions take and return.
pub fn validate_value(text: &str) -> Result<(), JsonError> {
    let mut scratch = Scratch::default();
    Parser::new(text, &mut scratch)?.any()?;
    refuse_reserved(text, &scratch)
}

/// `base` with its top-level fields replaced, in their places, by those of `fields`; new ones follow in the order of
/// `fields`. Values are copied as they are written. An error of `base` comes before one of `fields`.
pub fn merge(base: &str, fields: &str) -> Result<String, JsonError> {
    let (base_members, field_members) = (top_level_members(base)?, top_level_members(fields)?);
    let mut news: HashMap<&[u8], &str> = field_members.iter().map(|field| (&*field.key, field.value)).collect();
    let mut merged = String::with_capacity(base.len() + fields.len());
    let mut separator = '{';
    let mut push = |name: &str, value: &str| {
        merged.push(separator);
        separator = ',';
        merged.push_str(name);
        merged.push(':');
        merged.push_str(value);
    };
    for member in &base_members {
        push(member.name, news.remove(&*member.key).unwrap_or(member.value));
    }
    for field in &field_members {
        if let Some(value) = news.remove(&*field.key) {
            push(field.name, value);
        }
    }
    if separator == '{' {
        merged.push('{');
    }
    merged.push('}');
    Ok(merged)
}

/// A member of a top-level object, for [`merge`].
struct Field<'a> {
    /// The unescaped key.
    key: Vec<u8>,
    /// The key as written, quotes included.
    name: &'a str,
    /// The value as written.
    value: &'a str,
}

/// The members of the object `text`, in their order.
fn top_level_members(text: &str) -> Result<Vec<Field<'_>>, JsonError> {
    let mut scratch = Scratch::default();
    let mut parser = Parser::new(text, &mut scratch)?;
    parser.top_level_start()?;
    let ascending = parser.members(1)?;
    parser.top_level_end()?;
    let raw = |from: u32, to: u32| text.get(from as usize..to as usize).unwrap_or_default().trim_ascii_end();
    let fields = parser.members.iter().map(|member| Field {
        key: member.key(parser.form).to_vec(),
        // From the key's quote to the value, less the colon and the white space around it.
        name: raw(member.source, member.source_value).trim_end_matches(':').trim_ascii_end(),
        value: raw(member.source_value, member.source_end),
    });
    let fields = fields.collect();
    parser.close(0, 0, ascending, &[])?;
    Ok(fields)
}
