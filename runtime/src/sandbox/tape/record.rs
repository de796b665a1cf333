//! A recorder: writes a run's host calls down as they are answered.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::clocks::Which;
use super::format::{CassetteError, End, Header, LineOut, Readings, format};
use crate::ids::Timestamp;
use crate::run::Outcome;
use crate::sandbox::RunRequest;

/// More readings than this between two calls are written before the next: a script may look at the clock all day.
const MAX_READINGS: usize = 1_000;

/// Writes one run into one cassette. What goes wrong with the file ends no run; [`Recorder::finish`] says it.
pub struct Recorder {
    seed: [u8; 32],
    path: PathBuf,
    /// Without requests and readings of the clocks.
    only_effects: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    /// The first error; after it nothing more is written.
    failed: Option<io::Error>,
    calls: u64,
    readings: Readings,
}

impl Recorder {
    /// Records into a new file, in the place of one that is there. Its owner alone may read it: it holds what the API answered.
    pub fn create(path: &Path) -> Result<Arc<Self>, CassetteError> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let wrong = |source| CassetteError::Unwritable { path: path.to_owned(), source };
        let file = options.open(path).map_err(wrong)?;
        Self::to(path, Box::new(file)).map_err(wrong)
    }

    /// Records to anything that takes bytes; `path` is what errors name.
    pub fn to(path: &Path, out: Box<dyn Write + Send>) -> io::Result<Arc<Self>> {
        Self::new(path, out, false)
    }

    /// Records what a run does to the store and to its log, and what it reads there, but neither requests nor clocks: to see
    /// what it did, and not to replay it.
    pub fn of_effects(path: &Path, out: Box<dyn Write + Send>) -> io::Result<Arc<Self>> {
        Self::new(path, out, true)
    }

    fn new(path: &Path, out: Box<dyn Write + Send>, only_effects: bool) -> io::Result<Arc<Self>> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let inner = Inner { out, failed: None, calls: 0, readings: Readings::default() };
        Ok(Arc::new(Self { seed, path: path.to_owned(), only_effects, inner: Mutex::new(inner) }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the random numbers of the run follow from.
    pub(in crate::sandbox) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Writes the header.
    pub(in crate::sandbox) fn start(&self, request: &RunRequest, now: Timestamp) {
        let manifest = &request.script.manifest;
        let header = Header {
            format: format(),
            script: manifest.name.clone(),
            version: manifest.version.clone(),
            kind: manifest.kind,
            hash: request.script.hash.clone(),
            run: request.run,
            connection: request.connection.clone(),
            connection_facts: request.connection_facts.to_string(),
            variant: request.variant.clone(),
            config: request.config.clone(),
            input: request.input.clone(),
            last_sync_date: request.last_sync_date,
            checkpoint: request.checkpoint.clone(),
            limits: (&request.limits).into(),
            started_at: now,
            seed: self.seed.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}")),
        };
        self.inner().write(&header);
    }

    /// A call begins. What is dropped unanswered is written down as the call in which the run ended.
    pub(super) fn begin(self: &Arc<Self>, function: &'static str, arguments: Value) -> Pending {
        let written = self.only_effects && function.starts_with("http.");
        Pending { recorder: Arc::clone(self), function, arguments, written }
    }

    /// A clock was read.
    pub(super) fn reading(&self, which: Which, nanos: u64) {
        if self.only_effects {
            return;
        }
        let mut inner = self.inner();
        match which {
            Which::Wall => inner.readings.wall.push(nanos),
            Which::Monotonic => inner.readings.monotonic.push(nanos),
        }
        if inner.readings.len() >= MAX_READINGS {
            inner.line(LineOut::default());
        }
    }

    /// Writes the end.
    pub(in crate::sandbox) fn end(&self, outcome: &Outcome, output: Option<&str>) {
        let end = End { outcome: outcome.clone(), output: output.map(str::to_owned) };
        self.inner().line(LineOut { end: Some(&end), ..LineOut::default() });
    }

    /// How many calls were written down, or why not all of them could be.
    pub fn finish(&self) -> Result<u64, CassetteError> {
        let mut inner = self.inner();
        if inner.failed.is_none() {
            inner.failed = inner.out.flush().err();
        }
        match inner.failed.take() {
            None => Ok(inner.calls),
            Some(source) => Err(CassetteError::Unwritable { path: self.path.clone(), source }),
        }
    }
}

impl Inner {
    /// A line, with what was read of the clocks before.
    fn line(&mut self, mut line: LineOut<'_>) {
        line.clocks = std::mem::take(&mut self.readings);
        self.write(&line);
    }

    fn write(&mut self, line: &impl Serialize) {
        if self.failed.is_some() {
            return;
        }
        let written = serde_json::to_vec(line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            // At once and whole: what a process that is killed leaves behind can be read up to there.
            self.out.write_all(&bytes)
        });
        self.failed = written.err();
    }
}

/// A call under way.
pub(super) struct Pending {
    recorder: Arc<Recorder>,
    function: &'static str,
    arguments: Value,
    /// Or not to be written at all.
    written: bool,
}

impl Pending {
    pub(super) fn answered(mut self, answer: &Value) {
        if !self.written {
            self.write(Some(answer));
        }
    }

    fn write(&mut self, answer: Option<&Value>) {
        self.written = true;
        let mut inner = self.recorder.inner();
        inner.calls += 1;
        let n = Some(inner.calls);
        let (call, arguments) = (Some(self.function), Some(&self.arguments));
        inner.line(LineOut { n, call, arguments, answer, ..LineOut::default() });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.written {
            self.write(None);
        }
    }
}
