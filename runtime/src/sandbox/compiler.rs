//! Compiling what strangers sent, in a process of its own.
//!
//! The compiler is large, and nobody has shown that it ends in time and memory for every component, or at all without
//! aborting. So it works in a child: this same program with [`COMMAND`], under limits of the system for CPU time and address
//! space, with an empty environment. It gets the component on standard input and writes machine code to a file; whatever
//! else it does (dies, stalls, says what is wrong) becomes an error here, and this process goes on.
//!
//! Two children at most are at work, more uploads wait their turn for a while, and beyond a number of those that wait
//! the next is sent away. A deployed script that has to be compiled again, since this is another version of Terapi, waits as long as
//! it takes.
//!
//! Without a program to start, as in tests of the library, compiling happens in this process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmparser::{Validator, WasmFeatures};

use super::limits::bytes;
use crate::script::{MAX_SCRIPT_BYTES, ScriptError};

/// The word on the command line that makes this program a compiler.
pub(crate) const COMMAND: &str = "compile-component";

/// Children at work. Each has two threads.
const AT_ONCE: usize = 2;
const THREADS: &str = "2";
/// Uploads that may wait for their turn. Each is in memory as long.
const MAX_WAITING: usize = 16;
/// How long a child may take by the clock, in multiples of its CPU time: on a busy machine it waits, and a stopped one never ends.
const PATIENCE: u32 = 4;
/// What a child says besides, on standard error, is not read to its end.
const MAX_SAID: u64 = 16 << 10;
/// Files that a child may have open: standard ones, and what reading the machine's CPUs takes.
const MAX_FILES: u64 = 16;
/// The exit code of a child that says what is wrong with the component.
const REFUSED: u8 = 3;

/// What compiling one script may take, and waiting for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time of the child.
    pub cpu: Duration,
    /// Its address space, in bytes.
    pub memory: u64,
    /// How long an upload waits for its turn.
    pub wait: Duration,
}

impl Default for CompileLimits {
    /// `CPython`, the largest script that is known, takes 17 seconds and, of memory that is really used, 400 MiB.
    fn default() -> Self {
        Self { cpu: Duration::from_mins(1), memory: 3 << 30, wait: Duration::from_secs(30) }
    }
}

/// For whom is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Somebody who uploads: sent away if it takes too long to begin.
    Upload,
    /// A script that is deployed: its turn comes.
    Deployed,
}

/// Starts children, and holds them to their limits.
pub(super) struct Compiler {
    program: Option<PathBuf>,
    limits: CompileLimits,
    turns: Semaphore,
    waiting: AtomicUsize,
}

/// What the child says of a component that it refuses.
#[derive(Serialize, Deserialize)]
struct Refusal {
    feature_off: bool,
    message: String,
}

/// Counts one that waits.
struct Waiting<'c>(&'c AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Compiler {
    pub(super) fn new(program: Option<PathBuf>, limits: CompileLimits) -> Self {
        Self { program, limits, turns: Semaphore::new(AT_ONCE), waiting: AtomicUsize::new(0) }
    }

    /// Whether it starts children.
    pub(super) fn is_apart(&self) -> bool {
        self.program.is_some()
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self, patience: Patience) -> Result<SemaphorePermit<'_>, ScriptError> {
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        let turn = self.turns.acquire();
        let turn = match patience {
            Patience::Deployed => turn.await,
            Patience::Upload if waiting >= MAX_WAITING => return Err(ScriptError::CompileBusy { waiting }),
            Patience::Upload => match tokio::time::timeout(self.limits.wait, turn).await {
                Ok(turn) => turn,
                Err(_) => return Err(ScriptError::CompileBusy { waiting }),
            },
        };
        turn.map_err(|error| ScriptError::CompileInterrupted(error.to_string()))
    }

    /// Has a child compile into `out`. Dropped meanwhile, the child is killed.
    pub(super) async fn compile(&self, component: &[u8], out: File) -> Result<(), ScriptError> {
        let interrupted =
            |what: &str, error: std::io::Error| ScriptError::CompileInterrupted(format!("{what}: {error}"));
        let program = self.program.clone().unwrap_or_default();
        let mut child = tokio::process::Command::new(program)
            .arg(COMMAND)
            .arg(self.limits.cpu.as_secs().max(1).to_string())
            .arg(self.limits.memory.to_string())
            .env_clear()
            .env("RAYON_NUM_THREADS", THREADS)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| interrupted("it could not be started", error))?;
        let (input, said) = (child.stdin.take(), child.stderr.take());
        let work = async {
            let feed = async {
                if let Some(mut input) = input {
                    // Who does not listen to the end has said why, or died.
                    let _ = input.write_all(component).await;
                }
            };
            let listen = async {
                let mut text = Vec::new();
                if let Some(said) = said {
                    let _ = said.take(MAX_SAID).read_to_end(&mut text).await;
                }
                text
            };
            tokio::join!(child.wait(), feed, listen)
        };
        let ended = tokio::time::timeout(self.limits.cpu.saturating_mul(PATIENCE), work).await;
        match ended {
            Ok((Ok(status), (), said)) => self.judge(status, &said),
            Ok((Err(error), ..)) => Err(interrupted("its end could not be waited for", error)),
            Err(_) => {
                // Reaped here, and not whenever the runtime gets to it.
                let _ = child.kill().await;
                Err(ScriptError::CompileInterrupted("it stood still".to_owned()))
            }
        }
    }

    fn judge(&self, status: ExitStatus, said: &[u8]) -> Result<(), ScriptError> {
        use std::os::unix::process::ExitStatusExt as _;
        if status.success() {
            return Ok(());
        }
        if status.code() == Some(REFUSED.into())
            && let Ok(refusal) = serde_json::from_slice::<Refusal>(said)
        {
            return Err(refusal.into());
        }
        let is = |signal: Signal| status.signal() == Some(signal.as_raw());
        if is(Signal::XCPU) {
            return Err(ScriptError::CompileLimit { limit: format!("{} s of CPU time", self.limits.cpu.as_secs()) });
        }
        // What asks for memory and gets none aborts; so does a stack that is used up.
        if is(Signal::ABORT) || is(Signal::SEGV) || is(Signal::BUS) {
            return Err(ScriptError::CompileLimit { limit: format!("{} of memory", bytes(self.limits.memory)) });
        }
        if let Some(signal) = status.signal() {
            return Err(ScriptError::CompileInterrupted(format!("signal {signal}")));
        }
        tracing::error!(%status, said = %String::from_utf8_lossy(said), "the compiler broke; please report it");
        Err(ScriptError::InvalidBinary("the compiler gave up on it".to_owned()))
    }
}

impl From<Refusal> for ScriptError {
    fn from(refusal: Refusal) -> Self {
        if refusal.feature_off { Self::FeatureOff(refusal.message) } else { Self::InvalidBinary(refusal.message) }
    }
}

/// Features that the engine has off and that a newer toolchain may use.
const OFF: WasmFeatures = WasmFeatures::THREADS
    .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::LEGACY_EXCEPTIONS)
    .union(WasmFeatures::STACK_SWITCHING)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::WIDE_ARITHMETIC)
    .union(WasmFeatures::CM_ASYNC)
    .union(WasmFeatures::CM_THREADING)
    .union(WasmFeatures::CM_ERROR_CONTEXT);

/// Why a component does not compile. It is of a feature that is off if it is valid with every feature there is, and is not
/// without those.
pub(super) fn refusal(component: &[u8], error: &wasmtime::Error) -> ScriptError {
    why(component, error).into()
}

fn why(component: &[u8], error: &wasmtime::Error) -> Refusal {
    let valid = |features| Validator::new_with_features(features).validate_all(component).is_ok();
    let feature_off = valid(WasmFeatures::all()) && !valid(WasmFeatures::all().difference(OFF));
    Refusal { feature_off, message: super::outcome::cut(format!("{error:#}")) }
}

/// What the child does: limits itself to so many seconds of CPU time and bytes of address space, compiles what standard
/// input has, and writes it to standard output.
pub(crate) fn compile_component(cpu_seconds: u64, memory: u64) -> ExitCode {
    let limit = |resource, most: u64| {
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    };
    // At the soft limit it is told by a signal of its own, by which the other side knows.
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(cpu_seconds), maximum: Some(cpu_seconds + 2) });
    limit(Resource::As, memory);
    limit(Resource::Core, 0);
    // It has what it needs open already.
    limit(Resource::Nofile, MAX_FILES);
    // Machine code is a few times the component.
    limit(Resource::Fsize, memory);
    let mut component = Vec::new();
    let read = std::io::stdin().take(MAX_SCRIPT_BYTES as u64 + 1).read_to_end(&mut component);
    let compiled =
        read.map_err(wasmtime::Error::from).and_then(|_| super::engine::compiling_engine()).and_then(|engine| {
            // Text is none, whatever the compiler's features.
            engine.precompile_component(&component)
        });
    let (code, text) = match compiled {
        Ok(code) => {
            let mut out = std::io::stdout();
            match out.write_all(&code).and_then(|()| out.flush()) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => (ExitCode::FAILURE, format!("the machine code could not be written: {error}")),
            }
        }
        Err(error) => (ExitCode::from(REFUSED), serde_json::to_string(&why(&component, &error)).unwrap_or_default()),
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
    code
}
