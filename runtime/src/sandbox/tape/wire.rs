//! The values of host calls as JSON, as a cassette has them.
//!
//! Names are those of `wit/`. A record is an object without the fields that are none; a variant is its name, or an object with
//! its name and payload; a result is `{"ok": …}` or `{"error": …}`; a body is a text, or `{"base64": …}` where it is not UTF-8.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::sandbox::bindings::{http, log, records, state, types};

/// A value of the contract that can be written down and read again.
pub(super) trait Wire: Sized {
    fn to_json(&self) -> Value;

    /// `None` if that is not such a value.
    fn from_json(value: Value) -> Option<Self>;

    /// The bytes of an answer that count as the run's memory while it is handed over.
    fn weight(&self) -> u64 {
        0
    }

    /// About how many bytes it is to carry it between guest and host, for the fee of the call.
    fn carried(&self) -> u64 {
        0
    }
}

/// What an element of a list is to carry besides its content.
const ELEMENT_BYTES: u64 = 16;

/// An object of these fields, without those that are none.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Takes a field out of an object; one that is not there is none.
fn field<T: Wire>(map: &mut Map<String, Value>, name: &str) -> Option<T> {
    T::from_json(map.remove(name).unwrap_or_default())
}

impl Wire for () {
    fn to_json(&self) -> Value {
        Value::Null
    }

    fn from_json(value: Value) -> Option<Self> {
        value.is_null().then_some(())
    }
}

impl Wire for String {
    fn to_json(&self) -> Value {
        Value::String(self.clone())
    }

    fn from_json(value: Value) -> Option<Self> {
        if let Value::String(text) = value { Some(text) } else { None }
    }

    fn carried(&self) -> u64 {
        self.len() as u64
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(impl Wire for $type {
            fn to_json(&self) -> Value {
                Value::from(*self)
            }

            fn from_json(value: Value) -> Option<Self> {
                value.as_u64()?.try_into().ok()
            }
        })*
    };
}

numbers!(u16 u32 u64);

impl<T: Wire> Wire for Option<T> {
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, Wire::to_json)
    }

    fn from_json(value: Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_json(value).map(Some) }
    }

    fn weight(&self) -> u64 {
        self.as_ref().map_or(0, Wire::weight)
    }

    fn carried(&self) -> u64 {
        self.as_ref().map_or(0, Wire::carried)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn to_json(&self) -> Value {
        self.iter().map(Wire::to_json).collect()
    }

    fn from_json(value: Value) -> Option<Self> {
        let Value::Array(items) = value else { return None };
        items.into_iter().map(T::from_json).collect()
    }

    fn weight(&self) -> u64 {
        self.iter().map(Wire::weight).sum()
    }

    fn carried(&self) -> u64 {
        self.iter().map(|element| ELEMENT_BYTES + element.carried()).sum()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn to_json(&self) -> Value {
        Value::Array(vec![self.0.to_json(), self.1.to_json()])
    }

    fn from_json(value: Value) -> Option<Self> {
        let Value::Array(items) = value else { return None };
        let [first, second] = <[Value; 2]>::try_from(items).ok()?;
        Some((A::from_json(first)?, B::from_json(second)?))
    }

    fn weight(&self) -> u64 {
        self.0.weight() + self.1.weight()
    }

    fn carried(&self) -> u64 {
        self.0.carried() + self.1.carried()
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn to_json(&self) -> Value {
        let (name, value) = match self {
            Ok(value) => ("ok", value.to_json()),
            Err(error) => ("error", error.to_json()),
        };
        Value::Object(Map::from_iter([(name.to_owned(), value)]))
    }

    fn from_json(value: Value) -> Option<Self> {
        let Value::Object(mut map) = value else { return None };
        match (map.remove("ok"), map.remove("error")) {
            (Some(value), None) => T::from_json(value).map(Ok),
            (None, Some(error)) => E::from_json(error).map(Err),
            _ => None,
        }
    }

    fn weight(&self) -> u64 {
        self.as_ref().map_or(0, Wire::weight)
    }

    fn carried(&self) -> u64 {
        match self {
            Ok(value) => value.carried(),
            Err(error) => error.carried(),
        }
    }
}

/// A body: `Vec<u8>` has the form of a list otherwise.
struct Body(Vec<u8>);

impl Wire for Body {
    fn to_json(&self) -> Value {
        bytes_to_json(&self.0)
    }

    fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self(text.into_bytes())),
            Value::Object(map) => STANDARD.decode(map.get("base64")?.as_str()?).ok().map(Self),
            _ => None,
        }
    }
}

fn bytes_to_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => object([("base64", STANDARD.encode(bytes).into())]),
    }
}

impl Wire for http::Request {
    fn to_json(&self) -> Value {
        object([
            ("method", self.method.to_json()),
            ("url", self.url.to_json()),
            ("headers", self.headers.to_json()),
            ("query", self.query.to_json()),
            ("body", self.body.as_deref().map_or(Value::Null, bytes_to_json)),
            ("timeout-ms", self.timeout_ms.to_json()),
            ("retries", self.retries.to_json()),
            ("retry-on", self.retry_on.to_json()),
            ("redirects", self.redirects.to_json()),
        ])
    }

    fn from_json(value: Value) -> Option<Self> {
        let Value::Object(mut map) = value else { return None };
        Some(Self {
            method: field(&mut map, "method")?,
            url: field(&mut map, "url")?,
            headers: field(&mut map, "headers")?,
            query: field(&mut map, "query")?,
            body: field::<Option<Body>>(&mut map, "body")?.map(|body| body.0),
            timeout_ms: field(&mut map, "timeout-ms")?,
            retries: field(&mut map, "retries")?,
            retry_on: field(&mut map, "retry-on")?,
            redirects: field(&mut map, "redirects")?,
        })
    }

    fn carried(&self) -> u64 {
        let texts = self.method.carried() + self.url.carried() + self.retry_on.carried();
        let body = self.body.as_ref().map_or(0, |body| body.len() as u64);
        texts + self.headers.carried() + self.query.carried() + body
    }
}

impl Wire for http::Response {
    fn to_json(&self) -> Value {
        object([
            ("status", self.status.to_json()),
            ("headers", self.headers.to_json()),
            ("body", bytes_to_json(&self.body)),
        ])
    }

    fn from_json(value: Value) -> Option<Self> {
        let Value::Object(mut map) = value else { return None };
        Some(Self {
            status: field(&mut map, "status")?,
            headers: field(&mut map, "headers")?,
            body: field::<Body>(&mut map, "body")?.0,
        })
    }

    fn weight(&self) -> u64 {
        self.body.len() as u64
    }

    fn carried(&self) -> u64 {
        self.headers.carried() + self.body.len() as u64
    }
}

macro_rules! record {
    ($type:ty { $($field:ident as $name:literal),* }) => {
        impl Wire for $type {
            fn to_json(&self) -> Value {
                object([$(($name, self.$field.to_json())),*])
            }

            fn from_json(value: Value) -> Option<Self> {
                let Value::Object(mut map) = value else { return None };
                Some(Self { $($field: field(&mut map, $name)?),* })
            }

            fn carried(&self) -> u64 {
                0 $(+ self.$field.carried())*
            }
        }
    };
}

record!(http::Counter { parameter as "parameter", first as "first", step as "step" });
record!(records::SaveSummary {
    added as "added", updated as "updated", unchanged as "unchanged", repeated as "repeated"
});

impl Wire for records::UnseenIds {
    fn to_json(&self) -> Value {
        object([("ids", self.ids.to_json()), ("next", self.next.to_json())])
    }

    fn from_json(value: Value) -> Option<Self> {
        let Value::Object(mut map) = value else { return None };
        Some(Self { ids: field(&mut map, "ids")?, next: field(&mut map, "next")? })
    }

    fn weight(&self) -> u64 {
        self.ids.iter().map(|id| id.len() as u64).sum()
    }

    fn carried(&self) -> u64 {
        self.ids.carried() + self.next.carried()
    }
}

impl Wire for records::Entry {
    fn to_json(&self) -> Value {
        object([("id", self.id.to_json()), ("data", self.data.to_json())])
    }

    fn from_json(value: Value) -> Option<Self> {
        let Value::Object(mut map) = value else { return None };
        Some(Self { id: field(&mut map, "id")?, data: field(&mut map, "data")? })
    }

    fn weight(&self) -> u64 {
        (self.id.len() + self.data.len()) as u64
    }

    fn carried(&self) -> u64 {
        self.weight()
    }
}

impl Wire for records::Listing {
    fn to_json(&self) -> Value {
        object([("entries", self.entries.to_json()), ("next", self.next.to_json())])
    }

    fn from_json(value: Value) -> Option<Self> {
        let Value::Object(mut map) = value else { return None };
        Some(Self { entries: field(&mut map, "entries")?, next: field(&mut map, "next")? })
    }

    fn weight(&self) -> u64 {
        self.entries.weight()
    }

    fn carried(&self) -> u64 {
        self.entries.carried() + self.next.carried()
    }
}

/// Cases without a payload, then those with one.
macro_rules! variant {
    ($type:ty { $($case:ident as $name:literal),* ; $($with:ident as $with_name:literal),* }) => {
        impl Wire for $type {
            fn to_json(&self) -> Value {
                match self {
                    $(Self::$case => Value::from($name),)*
                    $(Self::$with(value) => {
                        Value::Object(Map::from_iter([($with_name.to_owned(), value.to_json())]))
                    })*
                }
            }

            fn from_json(value: Value) -> Option<Self> {
                match value {
                    Value::String(name) => match name.as_str() {
                        $($name => Some(Self::$case),)*
                        _ => None,
                    },
                    Value::Object(map) => {
                        let (name, value) = map.into_iter().next()?;
                        let _ = &value;
                        match name.as_str() {
                            $($with_name => Wire::from_json(value).map(Self::$with),)*
                            _ => None,
                        }
                    }
                    _ => None,
                }
            }

            fn carried(&self) -> u64 {
                match self {
                    $(Self::$case => 0,)*
                    $(Self::$with(value) => Wire::carried(value),)*
                }
            }
        }
    };
}

variant!(types::Budget {
    HttpRequests as "http-requests", HttpBytes as "http-bytes", Records as "records", RecordBytes as "record-bytes",
    LogBytes as "log-bytes", StateBytes as "state-bytes";
});
variant!(log::Level { Debug as "debug", Info as "info", Warn as "warn", Error as "error"; });
variant!(http::NextPage { Link as "link"; Count as "count" });
variant!(http::Error {
    TimedOut as "timed-out";
    InvalidRequest as "invalid-request", Denied as "denied", BodyTooLarge as "body-too-large",
    Transport as "transport", Exhausted as "exhausted"
});
variant!(records::Error {
    LeaseLost as "lease-lost";
    UnknownModel as "unknown-model", Invalid as "invalid", BatchTooLarge as "batch-too-large",
    Exhausted as "exhausted", NotAllowed as "not-allowed", DeleteGuard as "delete-guard", Storage as "storage"
});
variant!(state::Error {
    LeaseLost as "lease-lost";
    Invalid as "invalid", Exhausted as "exhausted", NotAllowed as "not-allowed", Storage as "storage"
});

impl Wire for http::Waited {
    fn to_json(&self) -> Value {
        match self {
            Self::Done(done) => Value::Object(Map::from_iter([("done".to_owned(), done.to_json())])),
            Self::TimedOut => Value::from("timed-out"),
        }
    }

    fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::String(name) if name == "timed-out" => Some(Self::TimedOut),
            Value::Object(mut map) => Some(Self::Done(field(&mut map, "done")?)),
            _ => None,
        }
    }

    fn weight(&self) -> u64 {
        if let Self::Done(done) = self { done.weight() } else { 0 }
    }

    fn carried(&self) -> u64 {
        if let Self::Done(done) = self { done.carried() } else { 0 }
    }
}
