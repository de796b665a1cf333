//! How long it takes to find out that a component is too much to compile.

use std::time::Instant;

use super::measure::{figure, median};

/// From bytes to a refusal, in milliseconds.
const GOAL: f64 = 50.0;

pub(super) fn bench(guest: &[u8]) {
    let scan = |name: &str, bytes: &[u8]| {
        let times: Vec<f64> = (0..20)
            .map(|_| {
                let start = Instant::now();
                terapi::fuzz::upload_scan(bytes);
                start.elapsed().as_secs_f64() * 1_000.0
            })
            .collect();
        figure(format!("sandbox/scan of {name}"), median(&times), "ms")
    };
    scan("a component that doubles with each of 25 levels", &doubling(25)).at_most(GOAL).print();
    scan("900,000 functions", &many_functions(900_000)).at_most(GOAL).print();
    scan("a script in Rust", guest).print();
    // Such as CPython's, the largest that there is.
    if let Ok(file) = std::env::var("TERAPI_BENCH_LANGUAGES_PYTHON") {
        scan("a script in Python", &std::fs::read(file).unwrap()).print();
    }
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let seven = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            out.push(seven);
            return out;
        }
        out.push(seven | 0x80);
    }
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id], &leb(body.len())[..], body].concat()
}

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Each component instantiates the one before twice: aliased from outside, then two instances of it.
fn doubling(levels: usize) -> Vec<u8> {
    let first = [COMPONENT, &section(1, MODULE), &section(2, b"\x01\0\0\0")].concat();
    let mut whole = [COMPONENT, &section(4, &first)].concat();
    for level in 0..levels {
        let alias = [b"\x01\x04\x02\x01", &leb(level)[..]].concat();
        let level = [COMPONENT, &section(6, &alias), &section(5, b"\x02\0\0\0\0\0\0")].concat();
        whole.extend(section(4, &level));
    }
    let last = [b"\x01\0", &leb(levels)[..], b"\0"].concat();
    whole.extend(section(5, &last));
    whole
}

fn many_functions(count: usize) -> Vec<u8> {
    // One type, `func`; each function is of it; each body has no locals and an `end`.
    let types = section(1, &[1, 0x60, 0, 0]);
    let functions = section(3, &[leb(count), vec![0; count]].concat());
    let code = section(10, &[leb(count), [2, 0, 0x0b].repeat(count)].concat());
    [COMPONENT, &section(1, &[MODULE, &types, &functions, &code].concat())].concat()
}
