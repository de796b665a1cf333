#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

#[test]
fn sizes_have_binary_units() {
    for (text, bytes) in [
        ("0", 0),
        ("1024", 1024),
        ("3b", 3),
        ("64KiB", 65_536),
        ("64 mib", 67_108_864),
        ("2GB", 2_147_483_648),
        ("1k", 1024),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for text in ["", "MiB", "-1", "1.5GiB", "64MiBs", "1 2", "0x10", "6٤"] {
        assert_eq!(parse_size(text), Err(format!("use {SIZE}")), "{text}");
    }
    for text in ["18446744073709551616", "17179869184GiB"] {
        assert_eq!(parse_size(text), Err("that is too much".to_owned()), "{text}");
    }
}

#[test]
fn counts_have_decimal_units() {
    for (text, count) in
        [("7", 7), ("1_000", 1000), ("1,000,000", 1_000_000), ("500M", 500_000_000), ("5G", 5_000_000_000)]
    {
        assert_eq!(parse_count(text), Ok(count), "{text}");
    }
    for text in ["", "G", "5g", "5T", "five"] {
        assert_eq!(parse_count(text), Err(format!("use {COUNT}")), "{text}");
    }
}

#[test]
fn times_have_a_unit() {
    for (text, ms) in [
        ("0s", 0),
        ("500ms", 500),
        ("90s", 90_000),
        ("10m", 600_000),
        ("10 min", 600_000),
        ("2h", 7_200_000),
        ("30d", 2_592_000_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
    }
    for text in ["", "60", "s", "1w", "1h30m", "-1s", "1.5h"] {
        assert_eq!(parse_duration(text), Err(format!("use {DURATION}")), "{text}");
    }
    assert_eq!(parse_duration("99999999999999999999d"), Err("that is too long".to_owned()));
}

#[test]
fn a_size_is_shown_as_it_is_read() {
    for text in ["0", "1023", "1KiB", "1536KiB", "64MiB", "2GiB"] {
        assert_eq!(ByteSize(parse_size(text).unwrap()).to_string(), text);
    }
}
