//! The file: its header, its lines, and what can be wrong with it.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{ConnectionName, RunId, ScriptHash, ScriptName, Timestamp, Variant};
use crate::run::{Outcome, RunKind};
use crate::sandbox::Limits;

/// The format of the file, without its version.
const FORMAT: &str = "terapi-cassette";
/// Its version. What only adds fields does not raise it.
const VERSION: u32 = 1;
/// A line begins with this if it is a header.
const BEGIN: &str = r#"{"format":"terapi-cassette/"#;

/// The format as a header says it.
pub(super) fn format() -> String {
    format!("{FORMAT}/{VERSION}")
}

/// What a run began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    /// `terapi-cassette/1`. The first field, so that a file of another kind is known at once.
    pub(super) format: String,
    /// The script's name.
    pub script: ScriptName,
    /// The script's own version.
    pub version: String,
    /// Sync or action.
    pub kind: RunKind,
    /// The exact script.
    pub hash: ScriptHash,
    /// The run's id.
    pub run: RunId,
    /// The connection.
    pub connection: ConnectionName,
    /// What the script might know of it: JSON as text.
    pub connection_facts: String,
    /// The variant.
    pub variant: Variant,
    /// The script's configuration: JSON as text.
    pub config: String,
    /// An action's input: JSON as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What the sync remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_date: Option<Timestamp>,
    /// What the sync remembered: JSON as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// What it might use.
    pub(super) limits: LimitsForm,
    /// When it began.
    pub started_at: Timestamp,
    /// Its random numbers follow from this: 32 bytes in hexadecimal.
    pub(super) seed: String,
}

/// [`Limits`], as the header has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LimitsForm {
    fuel: u64,
    memory: u64,
    timeout_ms: u64,
    http_requests: u64,
    http_bytes: u64,
    records: u64,
    record_bytes: u64,
    log_bytes: u64,
    state_bytes: u64,
}

impl From<&Limits> for LimitsForm {
    fn from(limits: &Limits) -> Self {
        Self {
            fuel: limits.fuel,
            memory: limits.memory,
            timeout_ms: u64::try_from(limits.timeout.as_millis()).unwrap_or(u64::MAX),
            http_requests: limits.http_requests,
            http_bytes: limits.http_bytes,
            records: limits.records,
            record_bytes: limits.record_bytes,
            log_bytes: limits.log_bytes,
            state_bytes: limits.state_bytes,
        }
    }
}

impl Header {
    /// What the run might use.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let limits = &self.limits;
        Limits {
            fuel: limits.fuel,
            // What the pool has room for, whatever somebody wrote there.
            memory: limits.memory.min(crate::sandbox::MAX_MEMORY),
            timeout: Duration::from_millis(limits.timeout_ms),
            http_requests: limits.http_requests,
            http_bytes: limits.http_bytes,
            records: limits.records,
            record_bytes: limits.record_bytes,
            log_bytes: limits.log_bytes,
            state_bytes: limits.state_bytes,
        }
    }

    pub(in crate::sandbox) fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        for (byte, digits) in seed.iter_mut().zip(self.seed.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(digits).ok().and_then(|it| u8::from_str_radix(it, 16).ok()).unwrap_or_default();
        }
        seed
    }
}

/// Readings of the clocks between two calls, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Readings {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) wall: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) monotonic: Vec<u64>,
}

impl Readings {
    pub(super) fn is_empty(&self) -> bool {
        self.wall.is_empty() && self.monotonic.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.wall.len() + self.monotonic.len()
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
}

/// A line after the header, as it is written. One of: a call, readings alone where there were many, the end.
#[derive(Default, Serialize)]
pub(super) struct LineOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<&'a serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<&'a End>,
    #[serde(skip_serializing_if = "Readings::is_empty")]
    pub(super) clocks: Readings,
}

/// The same, as it is read.
#[derive(Deserialize)]
pub(super) struct Line {
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    call: Option<String>,
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
    /// `null` is an answer, too.
    #[serde(default, deserialize_with = "some")]
    answer: Option<Box<RawValue>>,
    #[serde(default)]
    end: Option<End>,
    #[serde(default)]
    clocks: Readings,
}

fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// What a line says.
pub(super) enum Said {
    Call(RecordedCall),
    Readings,
    End(End),
}

/// A host call as it was recorded.
#[derive(Debug, Clone)]
pub struct RecordedCall {
    /// Its number, from 1 on.
    pub n: u64,
    /// The function, such as `http.fetch`.
    pub function: String,
    /// An object of its arguments, as JSON.
    pub arguments: Box<RawValue>,
    /// What it was answered, as JSON; `None` where the run ended in it.
    pub answer: Option<Box<RawValue>>,
}

/// Why a cassette cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CassetteError {
    /// The file cannot be read.
    #[error("could not read the cassette {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("could not write the cassette {path}: {source}")]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no cassette.
    #[error(
        "{path} is no cassette: it does not begin with a header of the format {}; record one with `terapi run SCRIPT --record FILE`",
        format()
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A later version of the format.
    #[error(
        "the cassette {path} has the format {found}, this Terapi reads {}: use a newer Terapi, or record it anew",
        format()
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: String,
    },
    /// A line is not what was written.
    #[error("the cassette {path} is damaged in line {line}: {reason}; record it anew")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// From 1 on.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// Its end is missing.
    #[error("the cassette {path} was cut off after call {calls}: how the run ended is missing; record it anew")]
    Cut {
        /// Which file.
        path: PathBuf,
        /// Calls that are whole.
        calls: u64,
    },
    /// It is of a script of the other kind.
    #[error("the cassette {path} is of {recorded}, and the script is {script}: take a recording of this script")]
    OtherKind {
        /// Which file.
        path: PathBuf,
        /// `a sync` or `an action`.
        recorded: &'static str,
        /// `a sync` or `an action`.
        script: &'static str,
    },
}

impl CassetteError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "cassette-unreadable",
            Self::Unwritable { .. } => "cassette-unwritable",
            Self::Foreign { .. } => "cassette-foreign",
            Self::Version { .. } => "cassette-version",
            Self::Damaged { .. } => "cassette-damaged",
            Self::Cut { .. } => "cassette-cut",
            Self::OtherKind { .. } => "cassette-other-kind",
        }
    }
}

/// Where the bytes are.
#[derive(Clone)]
enum Source {
    File,
    Memory(Arc<[u8]>),
}

/// A recorded run, whole and readable.
#[derive(Clone)]
pub struct Cassette {
    /// What the run began with.
    pub header: Header,
    pub(super) end: End,
    /// How many host calls there are.
    pub calls: u64,
    pub(super) path: PathBuf,
    source: Source,
}

impl Cassette {
    /// Opens a file and reads it through once, so that what is wrong with it is known before a script runs.
    pub fn open(path: &Path) -> Result<Self, CassetteError> {
        Self::check(path.to_owned(), Source::File)
    }

    /// The same of bytes that some `path` is named for.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, CassetteError> {
        Self::check(path.to_owned(), Source::Memory(bytes.into()))
    }

    /// Whether a file begins as a cassette does.
    #[must_use]
    pub fn is_one(beginning: &[u8]) -> bool {
        beginning.starts_with(BEGIN.as_bytes())
    }

    fn check(path: PathBuf, source: Source) -> Result<Self, CassetteError> {
        let mut lines = Lines::open(&path, &source)?;
        let header = lines.header()?;
        let mut calls = 0;
        let end = loop {
            match lines.next()? {
                Some((Said::Call(call), _)) => {
                    if call.n != calls + 1 {
                        return Err(lines.damaged(format!("call {} stands where {} should", call.n, calls + 1)));
                    }
                    calls = call.n;
                }
                Some((Said::Readings, _)) => {}
                Some((Said::End(end), _)) => break end,
                None => return Err(CassetteError::Cut { path, calls }),
            }
        };
        if !lines.text()?.is_empty() {
            return Err(lines.damaged("something follows the end".to_owned()));
        }
        Ok(Self { header, end, calls, path, source })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the run ended.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.end.outcome
    }

    /// An action's output, as JSON.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        self.end.output.as_deref()
    }

    pub(super) fn lines(&self) -> Result<Lines, CassetteError> {
        let mut lines = Lines::open(&self.path, &self.source)?;
        lines.header()?;
        Ok(lines)
    }

    /// Every host call, in order.
    pub fn each_call(&self, mut visit: impl FnMut(RecordedCall)) -> Result<(), CassetteError> {
        let mut lines = self.lines()?;
        while let Some((said, _)) = lines.next()? {
            match said {
                Said::Call(call) => visit(call),
                Said::Readings => {}
                Said::End(_) => break,
            }
        }
        Ok(())
    }
}

/// The lines of a cassette, read one at a time.
pub(super) struct Lines {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    line: u64,
}

impl Lines {
    fn open(path: &Path, source: &Source) -> Result<Self, CassetteError> {
        let input: Box<dyn BufRead + Send> = match source {
            Source::Memory(bytes) => Box::new(Cursor::new(Arc::clone(bytes))),
            Source::File => {
                let file =
                    File::open(path).map_err(|source| CassetteError::Unreadable { path: path.to_owned(), source })?;
                Box::new(BufReader::new(file))
            }
        };
        Ok(Self { path: path.to_owned(), input, line: 0 })
    }

    pub(super) fn damaged(&self, reason: String) -> CassetteError {
        CassetteError::Damaged { path: self.path.clone(), line: self.line, reason }
    }

    fn unreadable(&self, source: std::io::Error) -> CassetteError {
        CassetteError::Unreadable { path: self.path.clone(), source }
    }

    /// The next line with its end; empty at the end of the file.
    fn text(&mut self) -> Result<Vec<u8>, CassetteError> {
        let mut text = Vec::new();
        self.input.read_until(b'\n', &mut text).map_err(|error| self.unreadable(error))?;
        self.line += 1;
        Ok(text)
    }

    fn header(&mut self) -> Result<Header, CassetteError> {
        // Some other file may be one line of a gigabyte.
        let mut beginning = Vec::new();
        let mut first = (&mut self.input).take(BEGIN.len() as u64);
        first.read_to_end(&mut beginning).map_err(|error| self.unreadable(error))?;
        if !Cassette::is_one(&beginning) {
            return Err(CassetteError::Foreign { path: self.path.clone() });
        }
        let mut text = beginning;
        text.extend(self.text()?);
        let ours = format!("{BEGIN}{VERSION}\"");
        if !text.starts_with(ours.as_bytes()) {
            let version = text.get(BEGIN.len()..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
            let version: String = version.take(10).map(|byte| char::from(*byte)).collect();
            return Err(CassetteError::Version { path: self.path.clone(), found: format!("{FORMAT}/{version}") });
        }
        if !text.ends_with(b"\n") {
            return Err(CassetteError::Cut { path: self.path.clone(), calls: 0 });
        }
        serde_json::from_slice(&text).map_err(|error| self.damaged(format!("the header cannot be read: {error}")))
    }

    /// The next line; `None` where the file ends, or was cut.
    pub(super) fn next(&mut self) -> Result<Option<(Said, Readings)>, CassetteError> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        let line: Line = match serde_json::from_slice(&text) {
            Ok(line) => line,
            Err(_) if !text.ends_with(b"\n") => return Ok(None),
            Err(error) => return Err(self.damaged(error.to_string())),
        };
        let said = match line {
            Line { n: Some(n), call: Some(function), arguments: Some(arguments), answer, end: None, .. } => {
                Said::Call(RecordedCall { n, function, arguments, answer })
            }
            Line { n: None, call: None, end: Some(end), .. } => Said::End(end),
            Line { n: None, call: None, arguments: None, answer: None, end: None, .. } => Said::Readings,
            _ => return Err(self.damaged("it is neither a call nor the end".to_owned())),
        };
        Ok(Some((said, line.clocks)))
    }
}
