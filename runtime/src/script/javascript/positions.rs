//! Back from places in what was built to the author's source.

use std::fmt::Write as _;
use std::sync::Arc;

use oxc_sourcemap::Token;

use super::build::Built;
use super::error::{Finding, excerpt};
use super::resolve::join;

/// A module as the engine is given it, and where what came from.
#[derive(Debug)]
pub(super) struct BuiltModule {
    pub(super) name: String,
    pub(super) code: String,
    pub(super) source: Arc<str>,
    /// In the order of the code.
    pub(super) places: Vec<Place>,
    pub(super) named: Vec<Named>,
}

/// A name that a module wants of another.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    /// The specifier as it was built: exact.
    pub(super) from: String,
    /// Where in the source.
    pub(super) offset: usize,
}

impl Named {
    /// The module that it is wanted of, by its name, for the one that wants it.
    pub(super) fn module(&self, wanted_by: &str) -> String {
        if self.from.starts_with('.') { join(wanted_by, &self.from).unwrap_or_default() } else { self.from.clone() }
    }
}

/// Where a place of the code comes from; lines and columns from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    code: (u32, u32),
    source: (u32, u32),
}

impl From<Token> for Place {
    fn from(token: Token) -> Self {
        Self { code: (token.get_dst_line(), token.get_dst_col()), source: (token.get_src_line(), token.get_src_col()) }
    }
}

impl BuiltModule {
    /// Line and column of the source, from 1 on, for those of the code. Without a column, the first of the line.
    fn source_of(&self, line: u32, column: Option<u32>) -> Option<(u32, u32)> {
        let wanted = (line.checked_sub(1)?, column.unwrap_or(1).saturating_sub(1));
        let behind = self.places.partition_point(|place| place.code <= wanted);
        let before = behind.checked_sub(1).and_then(|at| self.places.get(at)).filter(|it| it.code.0 == wanted.0);
        // A place before the first of its line belongs to that.
        let place = before.or_else(|| self.places.get(behind).filter(|it| it.code.0 == wanted.0))?;
        Some((place.source.0 + 1, place.source.1 + 1))
    }
}

/// A place of a module that a text names: `FILE:LINE` or `FILE:LINE:COLUMN`.
struct Mention<'a> {
    module: &'a BuiltModule,
    /// Behind the file's name, its colon included.
    start: usize,
    end: usize,
    line: u32,
    column: Option<u32>,
}

impl Built {
    /// A text with the places in it as the author knows them.
    pub(crate) fn places(&self, text: &str) -> String {
        self.map(text, false)
    }

    /// The same, with the author's line below that of the first place.
    pub(crate) fn explain(&self, text: &str) -> String {
        self.map(text, true)
    }

    /// Why the engine does not load the script. What it cannot place, a name that a module does not export, is placed here.
    pub(crate) fn explain_load(&self, text: &str) -> String {
        self.missing_export(text).map_or_else(|| self.explain(text), |finding| finding.to_string())
    }

    fn missing_export(&self, text: &str) -> Option<Finding> {
        let (name, rest) = text.split_once("export '")?.1.split_once("' in module '")?;
        let (module, _) = rest.split_once('\'')?;
        let ours = self.modules.iter().any(|it| it.name == module);
        self.modules.iter().find_map(|by| {
            let wanted = by.named.iter().find(|named| {
                let from = named.module(&by.name);
                named.name == name && if ours { from == module } else { !named.from.starts_with('.') }
            })?;
            let what = if ours { module } else { &wanted.from };
            let message = format!("'{what}' exports no {name}");
            Some(Finding::at(&by.name, &by.source, wanted.offset, message))
        })
    }

    fn map(&self, text: &str, show: bool) -> String {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        let mut shown: Option<String> = None;
        let mut looking = show;
        while let Some(mention) = self.mention(text, done) {
            let between = text.get(done..mention.start).unwrap_or_default();
            push(&mut out, between, &mut shown);
            let place = mention.module.source_of(mention.line, mention.column);
            let (line, column) = place.unwrap_or((mention.line, mention.column.unwrap_or(1)));
            let _ = write!(out, ":{line}");
            if mention.column.is_some() {
                let _ = write!(out, ":{column}");
            }
            if looking && place.is_some() {
                shown = excerpt(&mention.module.source, line, column);
                looking = shown.is_none();
            }
            done = mention.end;
        }
        push(&mut out, text.get(done..).unwrap_or_default(), &mut shown);
        if let Some(excerpt) = shown {
            out.push('\n');
            out.push_str(&excerpt);
        }
        out
    }

    /// The first place that a text names from a byte on. Each colon is looked at once, whatever the text: it is a stranger's.
    fn mention<'a>(&'a self, text: &str, from: usize) -> Option<Mention<'a>> {
        text.get(from..)?.match_indices(':').find_map(|(at, _)| {
            let start = from + at;
            let (line, behind_line) = number(text, start)?;
            let name = text.get(from..start)?.rsplit(BETWEEN).next()?;
            let name = name.strip_prefix("./").unwrap_or(name);
            let module = self.modules.iter().find(|module| module.name == name)?;
            let (column, end) =
                number(text, behind_line).map_or((None, behind_line), |(column, end)| (Some(column), end));
            Some(Mention { module, start, end, line, column })
        })
    }
}

/// What stands before the name of a file in a text.
const BETWEEN: [char; 11] = [' ', '\t', '\n', '(', '[', '{', '"', '\'', '`', '<', ':'];

/// Copies a text; what is to be shown goes in at the end of the first line.
fn push(out: &mut String, text: &str, shown: &mut Option<String>) {
    let Some((line, rest)) = text.split_once('\n') else { return out.push_str(text) };
    let Some(excerpt) = shown.take() else { return out.push_str(text) };
    out.push_str(line);
    out.push('\n');
    out.push_str(&excerpt);
    out.push('\n');
    out.push_str(rest);
}

/// A colon and a number, and where they end.
fn number(text: &str, at: usize) -> Option<(u32, usize)> {
    let rest = text.get(at..)?.strip_prefix(':')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((rest.get(..digits)?.parse().ok()?, at + 1 + digits))
}
