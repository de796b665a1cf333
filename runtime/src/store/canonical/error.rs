//! Why a text was refused.

/// Why a text was refused, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid JSON at byte {offset}: {reason}")]
pub struct JsonError {
    /// Bytes from the start of the text to what is wrong.
    pub offset: usize,
    /// What is wrong.
    pub reason: JsonReason,
}

impl JsonError {
    /// The stable name of this error: `invalid-json`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid-json"
    }
}

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonReason {
    /// Longer than [`MAX_TEXT`](super::MAX_TEXT).
    #[error("the text is longer than 64 MiB; split it")]
    TextTooLong,
    /// Nothing, or white space only.
    #[error("the text is empty; an object such as {{}} belongs here")]
    Empty,
    /// The text begins with U+FEFF.
    #[error("the text begins with a byte order mark; leave it out")]
    ByteOrderMark,
    /// The top level is an array, a string, a number or a literal.
    #[error("the top level must be an object, {{…}}")]
    NotAnObject,
    /// Something stands behind the object.
    #[error("the object is complete, but more text follows it")]
    TrailingText,
    /// The text ends inside a value.
    #[error("the text ends too early; was it cut off?")]
    Truncated,
    /// More than [`MAX_DEPTH`](super::MAX_DEPTH) levels.
    #[error("nested deeper than 64 levels; store the inner part as a string, or flatten it")]
    TooDeep,
    /// A key that the same object has already.
    #[error("this object already has a member with this key; keep one of them")]
    DuplicateKey,
    /// A text that only a library may use.
    #[error("`$serde_json::private::` is in it, which is kept for the library that reads it")]
    ReservedKey,
    /// Something else where a key belongs.
    #[error("expected a key in double quotes here")]
    ExpectedKey,
    /// Something else behind a key.
    #[error("expected ':' after the key")]
    ExpectedColon,
    /// Something else behind a value.
    #[error("expected ',' or the closing bracket here")]
    ExpectedComma,
    /// Something else where a value belongs.
    #[error("expected a value here: an object, array, string, number, true, false or null")]
    ExpectedValue,
    /// `NaN` or `Infinity`.
    #[error("JSON has no NaN and no Infinity; write null or a string")]
    NotFinite,
    /// A number with a zero too many at its start.
    #[error("a number must not begin with zeros it does not need")]
    LeadingZero,
    /// `+1`, `.5`, `1.`, `1e` and the like.
    #[error("not a JSON number: write digits before and after the point, no '+' in front")]
    Number,
    /// Longer than [`MAX_NUMBER`](super::MAX_NUMBER).
    #[error("a number of more than 1,024 bytes; store it as a string")]
    NumberTooLong,
    /// A number that readers which make floats of numbers cannot read.
    #[error("a number beyond 1.8e308, which most readers of JSON refuse or make infinite; store it as a string")]
    NumberTooLarge,
    /// A byte below 0x20 inside a string.
    #[error("a control character inside a string; write it as \\u00XX, \\n, \\t …")]
    ControlCharacter,
    /// A backslash with something else behind it than JSON knows.
    #[error("unknown escape; after a backslash come \" \\ / b f n r t or u and four hex digits")]
    Escape,
    /// Half of a UTF-16 pair.
    #[error("a lone surrogate, half of a character; was a string cut in the middle of one?")]
    LoneSurrogate,
}
