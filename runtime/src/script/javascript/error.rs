//! Why a text is no script.

use std::fmt;

/// Something that was found at a place in an author's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The module.
    pub file: String,
    /// From 1 on.
    pub line: u32,
    /// From 1 on, in UTF-16 units, as editors count.
    pub column: u32,
    /// What was found.
    pub message: String,
    /// The author's line, with a mark below the column.
    pub excerpt: String,
}

impl Finding {
    /// What was found at a byte of a module's source.
    pub(super) fn at(file: &str, source: &str, offset: usize, message: impl Into<String>) -> Self {
        let offset = source.floor_char_boundary(offset.min(source.len()));
        let before = source.get(..offset).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = u32::try_from(before.bytes().filter(|byte| *byte == b'\n').count() + 1).unwrap_or(u32::MAX);
        let column = before.get(start..).unwrap_or_default().encode_utf16().count() + 1;
        let column = u32::try_from(column).unwrap_or(u32::MAX);
        let excerpt = excerpt(source, line, column).unwrap_or_default();
        Self { file: file.to_owned(), line, column, message: message.into(), excerpt }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, excerpt } = self;
        write!(f, "{file}:{line}:{column}: {message}")?;
        if excerpt.is_empty() { Ok(()) } else { write!(f, "\n{excerpt}") }
    }
}

/// So much of a line is shown, around the place that is meant: lines of generated code may be megabytes.
const MAX_EXCERPT: usize = 120;

/// A line of a source with a mark below a column, both from 1 on; nothing if there is no such line.
pub(super) fn excerpt(source: &str, line: u32, column: u32) -> Option<String> {
    let text = source.split('\n').nth(usize::try_from(line).ok()?.checked_sub(1)?)?.trim_end();
    let column = usize::try_from(column).ok()?.saturating_sub(1);
    // In characters from here on, as a terminal shows them.
    let mut units = 0;
    let at = text.chars().take_while(|character| {
        units += character.len_utf16();
        units <= column
    });
    let at = at.count();
    let from = at.saturating_sub(MAX_EXCERPT / 2);
    let shown: String =
        text.chars().skip(from).take(MAX_EXCERPT).map(|it| if it.is_control() { ' ' } else { it }).collect();
    let number = line.to_string();
    let (margin, mark) = (" ".repeat(number.len()), " ".repeat(at - from));
    Some(format!("  {number} | {shown}\n  {margin} | {mark}^"))
}

/// Why a text is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A source package that is not as one has to be.
    #[error("this is not a source package: {0}")]
    BadPackage(String),
    /// More source than is taken.
    #[error("{what} has {size} bytes of source, over {limit}: leave out what it does not use, and fetch data instead")]
    TooLarge {
        /// The script, or one of its modules.
        what: String,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A module of more parts than the translator is given.
    #[error("{file} has {count} {what}, over {limit}: split it, and keep data in a .json file beside it")]
    TooIntricate {
        /// The module.
        file: String,
        /// `tokens` or `"<"`.
        what: &'static str,
        /// How many it has.
        count: usize,
        /// How many are taken.
        limit: usize,
    },
    /// It does not parse.
    #[error("{0}")]
    Syntax(Finding),
    /// It parses, but the engine does not know it.
    #[error("{0}")]
    Unsupported(Finding),
    /// An import leads nowhere.
    #[error("{0}")]
    UnresolvedImport(Finding),
    /// The engine does not load it.
    #[error("the script does not load: {0}")]
    Load(String),
    /// The translation failed, our fault.
    #[error("{0} could not be translated; please report it, with the file")]
    Broke(String),
}

impl SourceError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadPackage(_) => "bad-source-package",
            Self::TooLarge { .. } | Self::TooIntricate { .. } => "source-too-large",
            Self::Syntax(_) => "syntax-error",
            Self::Unsupported(_) => "unsupported-syntax",
            Self::UnresolvedImport(_) => "unresolved-import",
            Self::Load(_) => "load-failed",
            Self::Broke(_) => "build-failed",
        }
    }
}
