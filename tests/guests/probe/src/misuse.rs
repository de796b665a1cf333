//! What a script should not do.

use std::hint::black_box;
use std::io::{Read, Write};

use crate::{Step, raw, text};

pub(crate) const STEPS: &[&str] = &[
    "loop",
    "spin",
    "recurse",
    "grow",
    "calls",
    "clock",
    "lines",
    "print",
    "eprint",
    "exit",
    "panic",
    "unreachable",
    "abort",
    "files",
    "environment",
    "stdin",
    "sleep",
    "divide",
];

pub(crate) fn step(step: &Step) -> String {
    match step.r#do.as_str() {
        "loop" => loop {
            black_box(0);
        },
        "spin" => {
            let mut sum = 0_u64;
            for nth in 0..step.n {
                sum = black_box(sum.wrapping_add(nth));
            }
            sum.to_string()
        }
        "recurse" => recurse(0).to_string(),
        // Pages of 64 KiB, `size` at a time.
        "grow" => {
            let mut last = 0;
            for _ in 0..step.n {
                last = core::arch::wasm32::memory_grow(0, step.size);
            }
            format!("{last}")
        }
        // The cheapest call there is; for ever if n is 0.
        "calls" => {
            let mut made = 0;
            while step.n == 0 || made < step.n {
                black_box(raw::terapi::sync::state::last_sync_date());
                made += 1;
            }
            format!("{made}")
        }
        "clock" => loop {
            black_box(std::time::Instant::now());
        },
        "lines" => loop {
            let _ = std::io::stdout().write_all(&[b'\n'; 4096]);
        },
        "print" => {
            print!("{}", text(step));
            std::io::stdout().flush().map_or_else(|error| error.to_string(), |()| "ok".to_owned())
        }
        "eprint" => {
            eprint!("{}", text(step));
            "ok".to_owned()
        }
        "exit" => std::process::exit(i32::try_from(step.n).unwrap_or(i32::MAX)),
        "panic" => panic!("{}", text(step)),
        "abort" => std::process::abort(),
        "unreachable" => core::arch::wasm32::unreachable(),
        "divide" => (black_box(1_u64) / black_box(step.n)).to_string(),
        "files" => {
            let mut seen = Vec::new();
            for path in ["/", ".", "/etc", "/proc/self/environ", "/etc/passwd", "Cargo.toml", "/dev/null"] {
                seen.push(format!("{} {}", std::fs::read_dir(path).is_ok(), std::fs::read(path).is_ok()));
                seen.push(format!("{}", std::fs::write(format!("{path}/x"), "x").is_ok()));
            }
            seen.push(format!("{}", std::env::current_dir().is_ok_and(|dir| dir.join("..").exists())));
            if seen.iter().any(|it| it.contains("true")) { format!("sees {seen:?}") } else { "nothing".to_owned() }
        }
        "environment" => {
            let (variables, arguments) = (std::env::vars_os().count(), std::env::args_os().count());
            format!("{variables} variables, {arguments} arguments")
        }
        "stdin" => {
            let mut read = Vec::new();
            format!("{} {}", std::io::stdin().read_to_end(&mut read).is_ok(), read.len())
        }
        "sleep" => {
            std::thread::sleep(std::time::Duration::from_millis(step.n));
            "woke".to_owned()
        }
        other => other.to_owned(),
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { 0 } else { recurse(depth + 1) + 1 }
}
