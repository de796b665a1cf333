//! Sizes, counts and times as people write them, in `terapi.toml`, in the environment and in options.

use std::fmt;
use std::time::Duration;

/// How a size is written.
pub const SIZE: &str = "a number with KiB, MiB or GiB, such as 64MiB";
/// How a count is written.
pub const COUNT: &str = "a number, with K, M or G if you like, such as 500M";
/// How a time is written.
pub const DURATION: &str = "a number with ms, s, m, h or d, such as 90s";

/// A number with a binary unit, in bytes. `kB`, `MB` and `GB` are taken as the binary units too.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let factor = |unit: &str| match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" | "kb" => Some(1 << 10),
        "m" | "mib" | "mb" => Some(1 << 20),
        "g" | "gib" | "gb" => Some(1 << 30),
        _ => None,
    };
    parse(text, factor, SIZE, "that is too much")
}

/// A number with a decimal unit. `_` and `,` may stand between its digits.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let plain: String = text.chars().filter(|c| *c != '_' && *c != ',').collect();
    let factor = |unit: &str| match unit {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    parse(&plain, factor, COUNT, "that is too much")
}

/// A number of milliseconds, seconds, minutes, hours or days. A number alone is not taken: of what?
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let factor = |unit: &str| match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    parse(text, factor, DURATION, "that is too long").map(Duration::from_millis)
}

fn parse(text: &str, factor: impl Fn(&str) -> Option<u64>, written: &str, too_much: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (Some(factor), false) = (factor(unit.trim()), number.is_empty()) else {
        return Err(format!("use {written}"));
    };
    // Digits alone: they cannot be read only if there are too many of them.
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| too_much.to_owned())
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// A number of things that are not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Count(pub u64);

impl fmt::Display for ByteSize {
    /// Exact, in the largest unit of which it is a whole number, such as `64MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests;
