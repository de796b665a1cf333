//! What the benches share: how CPU, memory and disk are measured, and how figures are printed.

#![allow(dead_code, unreachable_pub, reason = "each bench includes this file and uses its part of it")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A figure on its way out: one JSON object on a line of its own.
#[derive(Serialize)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    beside: Option<Beside>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
}

/// The baseline in the same run, and the value as a multiple of its.
#[derive(Serialize)]
struct Beside {
    baseline: String,
    baseline_value: f64,
    ratio: f64,
}

#[derive(Serialize)]
struct Goal {
    goal: String,
    met: bool,
}

/// A figure; see [`Figure::print`].
pub fn figure(name: impl Into<String>, value: f64, unit: &'static str) -> Figure {
    Figure { name: name.into(), value, unit, beside: None, goal: None }
}

impl Figure {
    /// What the baseline came to.
    #[must_use]
    pub fn against(mut self, baseline: &str, value: f64) -> Self {
        self.beside = Some(Beside { baseline: baseline.to_owned(), baseline_value: value, ratio: self.value / value });
        self
    }

    /// What the value is to reach.
    #[must_use]
    pub fn at_least(self, goal: f64) -> Self {
        let met = self.value >= goal;
        self.goal("value >=", goal, met)
    }

    /// What the value is not to pass.
    #[must_use]
    pub fn at_most(self, goal: f64) -> Self {
        let met = self.value <= goal;
        self.goal("value <=", goal, met)
    }

    /// What the ratio is to reach.
    #[must_use]
    pub fn ratio_at_least(self, goal: f64) -> Self {
        let met = self.ratio() >= goal;
        self.goal("ratio >=", goal, met)
    }

    /// What the ratio is not to pass.
    #[must_use]
    pub fn ratio_at_most(self, goal: f64) -> Self {
        let met = self.ratio() <= goal;
        self.goal("ratio <=", goal, met)
    }

    fn ratio(&self) -> f64 {
        self.beside.as_ref().map_or(f64::NAN, |beside| beside.ratio)
    }

    fn goal(mut self, relation: &str, goal: f64, met: bool) -> Self {
        self.goal = Some(Goal { goal: format!("{relation} {}", round(goal)), met });
        self
    }

    /// Prints it, rounded.
    pub fn print(mut self) {
        self.value = round(self.value);
        if let Some(beside) = &mut self.beside {
            (beside.baseline_value, beside.ratio) = (round(beside.baseline_value), round(beside.ratio));
        }
        println!("{}", serde_json::to_string(&self).unwrap());
        let _ = std::io::stdout().flush();
    }
}

/// Says in a figure's place why there is none.
pub fn skipped(name: &str, why: &str) {
    eprintln!("skipped: {name}: {why}");
    println!("{}", serde_json::json!({ "name": name, "skipped": why }));
}

/// A word for whoever watches.
pub fn progress(what: &str) {
    eprintln!("  {what}");
}

fn round(value: f64) -> f64 {
    let digits = if value.abs() >= 100.0 { 1.0 } else { 1_000.0 };
    (value * digits).round() / digits
}

/// `TERAPI_BENCH_RECORDS`, or what is usual.
pub fn records_asked(usual: u64) -> u64 {
    std::env::var("TERAPI_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// CPU of this process so far, user and system, all threads.
pub fn cpu() -> Duration {
    cpu_of(libc::RUSAGE_SELF)
}

/// CPU of the calling thread so far.
pub fn thread_cpu() -> Duration {
    cpu_of(libc::RUSAGE_THREAD)
}

fn cpu_of(who: libc::c_int) -> Duration {
    let mut usage = no_usage();
    // SAFETY: `usage` is a rusage that the call may fill.
    #[expect(unsafe_code, reason = "the standard library does not tell CPU time")]
    let done = unsafe { libc::getrusage(who, &raw mut usage) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    spent(&usage)
}

/// What a child process used in its life.
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// User and system, all threads.
    pub cpu: Duration,
    /// The most it had in memory, in bytes.
    pub peak_rss: u64,
}

/// Waits for a child process to end. Takes it whole, since nobody can wait for it again.
#[expect(clippy::needless_pass_by_value, reason = "see above")]
pub fn wait(child: Child) -> Ended {
    use std::os::unix::process::ExitStatusExt as _;
    let pid = libc::pid_t::try_from(child.id()).unwrap_or(-1);
    let (mut status, mut usage) = (0, no_usage());
    // SAFETY: both are there to be filled, and this child was not waited for yet.
    #[expect(unsafe_code, reason = "the standard library does not tell what a child used")]
    let ended = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert_eq!(ended, pid, "{}", std::io::Error::last_os_error());
    let peak_rss = u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10;
    Ended { status: ExitStatus::from_raw(status), cpu: spent(&usage), peak_rss }
}

fn no_usage() -> libc::rusage {
    // SAFETY: a rusage is a struct of integers, for which all zeros is a value.
    #[expect(unsafe_code, reason = "it has no other constructor")]
    unsafe {
        std::mem::zeroed()
    }
}

fn spent(usage: &libc::rusage) -> Duration {
    let time = |time: libc::timeval| {
        let micros = u64::try_from(time.tv_usec).unwrap_or(0);
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0)) + Duration::from_micros(micros)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The most that this process had in memory, in bytes.
pub fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Bytes of all files below a folder.
pub fn disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// CPU of the process and wall time, less what the bench itself needed in between.
pub struct Watch {
    cpu: Duration,
    wall: Instant,
    own_cpu: Duration,
    own_wall: Duration,
}

impl Watch {
    /// Starts.
    pub fn start() -> Self {
        Self { cpu: cpu(), wall: Instant::now(), own_cpu: Duration::ZERO, own_wall: Duration::ZERO }
    }

    /// Does the bench's own work, such as making records. Only this thread's CPU is taken off: what other threads do
    /// meanwhile belongs to what is measured.
    pub fn own<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (thread_cpu(), Instant::now());
        let made = work();
        self.own_cpu += thread_cpu().saturating_sub(cpu);
        self.own_wall += wall.elapsed();
        made
    }

    /// CPU and wall so far, in seconds.
    pub fn read(&self) -> (f64, f64) {
        let cpu = cpu().saturating_sub(self.cpu + self.own_cpu);
        (cpu.as_secs_f64(), self.wall.elapsed().saturating_sub(self.own_wall).as_secs_f64())
    }
}

/// Sorted, for [`at`].
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The value at a quantile of sorted values.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
pub fn at(sorted: &[f64], quantile: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * quantile).round() as usize]
}

/// The one in the middle.
pub fn median(values: &[f64]) -> f64 {
    at(&sorted(values.to_vec()), 0.5)
}
