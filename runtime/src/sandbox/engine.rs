//! The one place where the engine is configured.

use std::num::NonZeroUsize;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::limits::{MAX_INSTANCES, MAX_TABLE_ELEMENTS};
use super::outcome::MAX_FRAMES;
use crate::script::MAX_MEMORIES;

/// The largest memory limit that an operator can set: slots of the pool are reserved, not used, at this size.
pub const MAX_MEMORY: u64 = 1 << 30;
/// Bytes of a guest's stack: what recursions of some thousand calls take in an interpreter. They are reserved, and no memory
/// before they are used. `STACK` in the JavaScript engine goes with it.
const GUEST_STACK: usize = 12 << 20;
/// Bytes more that the fiber has for host functions, which run on it.
const HOST_STACK: usize = 1 << 20;
/// Bytes at the top of a fiber's stack that stay mapped between runs, which every run uses. The rest is given back to the
/// system, so that one deep recursion costs no memory after its run.
const KEPT_STACK: usize = 16 << 10;

/// An engine with slots for `runs` runs at once. Where so much address space cannot be reserved (a container with a
/// limit on it), instances are allocated one by one: slower to start, otherwise the same.
pub(super) fn engine(runs: u32) -> wasmtime::Result<Engine> {
    let pooled = Engine::new(&config(Some(pool(runs))));
    match pooled {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(%error, "no room for a pool of instances; allocating them one by one");
            Engine::new(&config(None))
        }
    }
}

/// An engine that only compiles, for the engine above: what it emits does not depend on how instances are allocated.
pub(super) fn compiling_engine() -> wasmtime::Result<Engine> {
    Engine::new(&config(None))
}

fn config(pool: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    // What is metered: every instruction, in a way that a guest cannot opt out of and that yields the thread.
    config.consume_fuel(true);
    config.max_wasm_stack(GUEST_STACK);
    config.async_stack_size(GUEST_STACK + HOST_STACK);
    config.async_stack_zeroing(true);
    // What a guest may be made of: what language toolchains emit today. Everything else is surface without a user.
    config.wasm_component_model(true);
    config.wasm_memory64(false);
    config.wasm_tail_call(true);
    config.wasm_custom_page_sizes(false);
    config.wasm_wide_arithmetic(false);
    // Authors are told where it went wrong, in their function names.
    config.wasm_backtrace_max_frames(NonZeroUsize::new(MAX_FRAMES));
    config.cranelift_opt_level(OptLevel::Speed);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

fn pool(runs: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let instances = u32::try_from(MAX_INSTANCES).unwrap_or(u32::MAX);
    pool.total_component_instances(runs);
    pool.total_core_instances(runs.saturating_mul(instances));
    pool.max_core_instances_per_component(instances);
    pool.total_memories(runs.saturating_mul(MAX_MEMORIES));
    pool.max_memories_per_component(MAX_MEMORIES);
    pool.max_memories_per_module(MAX_MEMORIES);
    pool.total_tables(runs.saturating_mul(MAX_MEMORIES));
    pool.max_tables_per_component(MAX_MEMORIES);
    pool.max_tables_per_module(MAX_MEMORIES);
    pool.table_elements(MAX_TABLE_ELEMENTS);
    pool.max_memory_size(usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX));
    pool.total_stacks(runs);
    pool.async_stack_keep_resident(KEPT_STACK);
    // A page of JSON and what is made of it stay mapped between runs; the rest is given back to the system.
    pool.linear_memory_keep_resident(2 << 20);
    // Where the kernel can tell which pages a run wrote, those are reset, and not the lowest: measured with the JavaScript
    // engine, whose stack is at the bottom, half the page faults of a run and a fifth of a millisecond of its start.
    pool.pagemap_scan(Enabled::Auto);
    pool.table_keep_resident(64 << 10);
    pool
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    use super::*;

    #[test]
    fn what_the_compiler_process_emits_is_what_a_pool_of_instances_takes() {
        let hash = |engine: &Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let pooled = Engine::new(&config(Some(pool(2)))).unwrap();
        assert_eq!(hash(&pooled), hash(&compiling_engine().unwrap()));
    }
}
