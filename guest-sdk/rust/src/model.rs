//! What a record is: a type with a name, an id, and a JSON form.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

/// A kind of record. Put [`#[model]`](macro@crate::model) on the struct; write it by hand only where the attribute cannot stand.
///
/// The JSON of a record is an object with a string `id`, the same as [`id`](Self::id).
pub trait Model {
    /// Such as `Issue`: 1 to 64 of `A-Z a-z 0-9 _ -`, a letter first.
    const NAME: &'static str;
    /// Top-level fields whose change alone is no change.
    const IGNORE: &'static [&'static str] = &[];

    /// The id: 1 to 512 bytes, compared byte by byte.
    fn id(&self) -> Cow<'_, str>;

    /// A JSON Schema (draft 2020-12) of the record's JSON, as JSON text.
    fn schema() -> String;

    /// Appends the record as JSON to `out`.
    fn write_json(&self, out: &mut Vec<u8>) -> Result<()>;
}

/// So that records may be saved by reference as well as by value.
impl<M: Model> Model for &M {
    const NAME: &'static str = M::NAME;
    const IGNORE: &'static [&'static str] = M::IGNORE;

    fn id(&self) -> Cow<'_, str> {
        M::id(self)
    }

    fn schema() -> String {
        M::schema()
    }

    fn write_json(&self, out: &mut Vec<u8>) -> Result<()> {
        M::write_json(self, out)
    }
}

/// What can be the id of a record: text or a whole number.
pub trait RecordId {
    /// The id as text; borrowed where it is text already.
    fn as_text(&self) -> Cow<'_, str>;
}

macro_rules! text_ids {
    ($($text:ty),+) => {$(
        impl RecordId for $text {
            fn as_text(&self) -> Cow<'_, str> {
                Cow::Borrowed(self)
            }
        }
    )+};
}
text_ids!(str, String, Cow<'_, str>, Box<str>);

macro_rules! number_ids {
    ($($number:ty),+) => {$(
        impl RecordId for $number {
            fn as_text(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }
        }
    )+};
}
number_ids!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl<I: RecordId + ?Sized> RecordId for &I {
    fn as_text(&self) -> Cow<'_, str> {
        I::as_text(self)
    }
}

/// Writes an id as a JSON string; `#[model]` puts it on the field `id`.
pub fn serialize_id<I: RecordId + ?Sized, S: Serializer>(id: &I, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&id.as_text())
}

/// Appends `record` as JSON; what [`Model::write_json`] does for most models.
pub fn write_json(record: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
    Ok(serde_json::to_writer(out, record)?)
}

/// Appends `record`, an object without a field `id`, with that field put first.
pub fn write_json_with_id(id: &str, record: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(b"{\"id\":");
    serde_json::to_writer(&mut *out, id)?;
    let start = out.len();
    serde_json::to_writer(&mut *out, record)?;
    let empty = out.get(start + 1) == Some(&b'}');
    match out.get_mut(start) {
        Some(brace @ b'{') if !empty => *brace = b',',
        Some(b'{') => drop(out.drain(start..=start)),
        _ => return Err(Error::permanent(format!("record `{id}`: its JSON is no object"))),
    }
    Ok(())
}

/// The schema of what `T` is written as.
#[must_use]
pub fn schema_out<T: JsonSchema>() -> String {
    schema::<T>(SchemaSettings::draft2020_12().for_serialize(), false)
}

/// The schema of what `T` is written as, with a string `id` beside its fields.
#[must_use]
pub fn schema_with_id<T: JsonSchema>() -> String {
    schema::<T>(SchemaSettings::draft2020_12().for_serialize(), true)
}

/// The schema of what `T` is read from.
#[must_use]
pub fn schema_in<T: JsonSchema>() -> String {
    schema::<T>(SchemaSettings::draft2020_12().for_deserialize(), false)
}

fn schema<T: JsonSchema>(settings: SchemaSettings, with_id: bool) -> String {
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    if with_id {
        let properties = schema.ensure_object().entry("properties").or_insert_with(|| serde_json::json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("id".to_owned(), serde_json::json!({"type": "string"}));
        }
        let required = schema.ensure_object().entry("required").or_insert_with(|| serde_json::json!([]));
        if let Some(required) = required.as_array_mut() {
            required.insert(0, "id".into());
        }
    }
    schema.as_value().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::value::RawValue;

    use super::*;

    #[crate::model]
    struct Member {
        id: u64,
        name: String,
    }

    /// An issue.
    #[crate::model(id = "number", name = "Issue", ignore = ["fetched_at"])]
    struct NumberedIssue<'a> {
        number: u32,
        title: &'a str,
        fetched_at: u8,
    }

    #[crate::model]
    #[serde(rename_all = "PascalCase")]
    struct Row<'a> {
        id: Cow<'a, str>,
        #[serde(borrow)]
        raw_payload: &'a RawValue,
    }

    #[crate::model(id = "key")]
    struct Bare {
        #[serde(skip)]
        key: String,
    }

    fn json(record: &impl Model) -> String {
        let mut out = Vec::new();
        record.write_json(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_number_as_id_is_written_as_a_string() {
        let member = Member { id: 7, name: "x".into() };
        assert_eq!(Member::NAME, "Member");
        assert_eq!(member.id(), "7");
        assert_eq!(json(&member), r#"{"id":"7","name":"x"}"#);
        let schema: serde_json::Value = serde_json::from_str(&Member::schema()).unwrap();
        assert_eq!(schema.pointer("/properties/id/type").unwrap(), "string");
        assert_eq!(schema.pointer("/$schema").unwrap(), "https://json-schema.org/draft/2020-12/schema");
    }

    #[test]
    fn an_id_in_another_field_is_added_as_the_field_id() {
        let issue = NumberedIssue { number: 5, title: "\"t\"", fetched_at: 1 };
        assert_eq!((NumberedIssue::NAME, NumberedIssue::IGNORE), ("Issue", ["fetched_at"].as_slice()));
        assert_eq!(json(&issue), r#"{"id":"5","number":5,"title":"\"t\"","fetched_at":1}"#);
        let schema: serde_json::Value = serde_json::from_str(&NumberedIssue::schema()).unwrap();
        assert_eq!(schema.pointer("/properties/id/type").unwrap(), "string");
        assert_eq!(schema.pointer("/required/0").unwrap(), "id");
        assert_eq!(schema.pointer("/description").unwrap(), "An issue.");
        assert_eq!(json(&Bare { key: "k".into() }), r#"{"id":"k"}"#);
    }

    #[test]
    fn a_borrowed_payload_passes_through_as_it_is_and_the_id_keeps_its_name() {
        let payload = serde_json::from_str(r#"{ "n": 9007199254740993 }"#).unwrap();
        let row = Row { id: "a".into(), raw_payload: payload };
        assert_eq!(json(&&row), r#"{"id":"a","RawPayload":{ "n": 9007199254740993 }}"#);
    }

    #[test]
    fn a_record_that_is_no_object_is_refused() {
        let mut out = Vec::new();
        assert!(write_json_with_id("x", &[1], &mut out).unwrap_err().message().contains("no object"));
    }
}
