//! The `terapi` binary: sets up the async runtime, and hands over to [`terapi::cli`].

use std::process::ExitCode;

use clap::Parser as _;

/// Threads that wait for the disk. Each that works has some of the allocator's memory for itself, and a few cores with a disk have
/// no use for the 512 that there are by default.
const BLOCKING_THREADS: usize = 128;

/// A thousand runs at once took 190 MB for good with the C library's allocator, and 80 MB with this one.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<ExitCode> {
    // What a test lets break in this process.
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    let cli = terapi::cli::Cli::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING_THREADS).enable_all().build()?;
    Ok(runtime.block_on(cli.run()))
}
