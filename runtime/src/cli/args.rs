//! Values of options that several commands share.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::Failed;
use crate::sandbox::{LimitOverrides, MAX_MEMORY};

/// Limits of a script or a run.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct LimitArgs {
    /// Memory that the script may use, such as 64MiB
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory_limit: Option<u64>,
    /// Fuel that it may use: about one unit an instruction, such as 500000000 or 5G
    #[arg(long, value_name = "UNITS", value_parser = parse_count)]
    fuel: Option<u64>,
    /// How long it may take, waits included, such as 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl LimitArgs {
    /// Those given here, in place of `base`'s.
    pub(super) fn over(&self, base: &LimitOverrides) -> LimitOverrides {
        LimitOverrides {
            fuel: self.fuel.or(base.fuel),
            memory: self.memory_limit.or(base.memory),
            timeout_ms: self
                .timeout
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
                .or(base.timeout_ms),
        }
    }
}

/// A JSON object given as text, or as a file's name.
pub(super) fn json_or_file(what: &str, given: &str) -> Result<String, Failed> {
    if given.trim_start().starts_with(['{', '[', '"']) {
        return Ok(given.to_owned());
    }
    std::fs::read_to_string(given).map_err(Failed::io(format_args!("read {what} from the file {given}")))
}

/// A script is meant as a file if it looks like a path or there is such a file.
pub(super) fn looks_like_file(given: &str) -> bool {
    given.contains(['/', '.', '\\']) || Path::new(given).is_file()
}

pub(super) fn read_script(path: &str) -> Result<Vec<u8>, Failed> {
    std::fs::read(path).map_err(Failed::io(format_args!("read the script {path}")))
}

/// A number with a binary unit.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" | "kb" => 1 << 10,
        "m" | "mib" | "mb" => 1 << 20,
        "g" | "gib" | "gb" => 1 << 30,
        _ => return Err("use a number with KiB, MiB or GiB, such as 64MiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "use a number with KiB, MiB or GiB, such as 64MiB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "that is too much".to_owned())
}

fn parse_memory(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if size == 0 || size > MAX_MEMORY {
        return Err(format!("a memory limit is from 64KiB to {}", crate::sandbox::bytes(MAX_MEMORY)));
    }
    Ok(size)
}

/// A number with a decimal unit.
fn parse_count(text: &str) -> Result<u64, String> {
    let plain: String = text.chars().filter(|c| *c != '_' && *c != ',').collect();
    let digits = plain.find(|c: char| !c.is_ascii_digit()).unwrap_or(plain.len());
    let (number, unit) = plain.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err("use a number, with K, M or G if you like, such as 500M".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "use a number, with K, M or G if you like, such as 500M".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "that is too much".to_owned())
}

/// A number of milliseconds, seconds, minutes, hours or days.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "use a number with ms, s, m, h or d, such as 90s".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(|| "that is too long".to_owned())
}
