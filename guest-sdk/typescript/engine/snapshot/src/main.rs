//! Takes the snapshot: runs the engine's `wizer-initialize` and writes the component as it is afterwards, compressed, and
//! the SHA-256 of the component beside it.
//!
//! Clocks stand still and randomness is a constant, so the same engine gives the same bytes.
//!
//! Usage: terapi-js-snapshot ENGINE.wasm FOLDER

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow};
use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Lift, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A clock that stands still.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(engine), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err(anyhow!("usage: terapi-js-snapshot ENGINE.wasm FOLDER"));
    };
    let unborn = fs::read(&engine).with_context(|| format!("reading {}", engine.display()))?;
    let component = snapshot(&unborn).await.map_err(|error| anyhow!("taking the snapshot: {error:#}"))?;

    let digest = Sha256::digest(&component).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let compressed = zstd::bulk::compress(&component, 19)?;
    fs::write(folder.join("terapi-js.wasm.zst"), &compressed)?;
    fs::write(folder.join("terapi-js.sha256"), format!("{digest}\n"))?;
    println!("{digest}  {} bytes, {} compressed", component.len(), compressed.len());
    Ok(())
}

async fn snapshot(unborn: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let wizer = Wizer::new();
    let unborn = with_own_core_name(unborn, wizer.get_init_func());
    let (context, instrumented) = wizer.instrument_component(&unborn)?;

    let engine = Engine::new(&Config::new())?;
    let component = Component::from_binary(&engine, &instrumented)?;
    let mut linker: Linker<Host> = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    // Terapi's own functions are not there yet: the SDK must not call them while it is loaded.
    for (name, item) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(functions) = item.ty else { continue };
        if !name.starts_with("terapi:") {
            continue;
        }
        let mut instance = linker.instance(name)?;
        for (function, item) in functions.exports(&engine) {
            if let ComponentItem::ComponentFunc(_) = item.ty {
                let what = format!("{name}#{function} was called before the snapshot");
                instance.func_new(function, move |_, _, _, _| Err(wasmtime::Error::msg(what.clone())))?;
            }
        }
    }
    let wasi = WasiCtx::builder()
        .inherit_stderr()
        .secure_random(Deterministic::new(vec![7]))
        .insecure_random(Deterministic::new(vec![7]))
        .insecure_random_seed(7)
        .wall_clock(Still)
        .monotonic_clock(Still)
        .build();
    let mut store = Store::new(&engine, Host { wasi, table: ResourceTable::new() });
    let instance = linker.instantiate_async(&mut store, &component).await?;
    instance.get_typed_func::<(), ()>(&mut store, wizer.get_init_func())?.call_async(&mut store, ()).await?;
    wizer.snapshot_component(&context, &mut Running { store, instance }).await
}

/// Wizer drops the component's export of that name, and the core module's too, which the component still lifts. So the
/// latter gets another name of the same length. The component's own export is written as an extern name (0, length, name)
/// of a function (1); a place that was taken for another makes a component that is not valid.
fn with_own_core_name(component: &[u8], name: &str) -> Vec<u8> {
    let mut core = name.to_owned();
    core.replace_range(..1, "x");
    let mut written = vec![0, u8::try_from(name.len()).expect("a short name")];
    written.extend(name.bytes());
    written.push(1);
    let mut renamed = component.to_vec();
    for place in 0..component.len().saturating_sub(name.len()) {
        let own = place.checked_sub(2).and_then(|start| component.get(start..start + written.len()));
        if component[place..].starts_with(name.as_bytes()) && own != Some(&written[..]) {
            renamed[place..place + core.len()].copy_from_slice(core.as_bytes());
        }
    }
    renamed
}

/// Lets the snapshot read what the engine left in its memory.
struct Running {
    store: Store<Host>,
    instance: Instance,
}

impl Running {
    async fn call<R: Lift + Send + Sync + 'static>(&mut self, instance: &str, function: &str) -> R {
        let read = async {
            let (_, outer) = self.instance.get_export(&mut self.store, None, instance)?;
            let (_, inner) = self.instance.get_export(&mut self.store, Some(&outer), function)?;
            let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, inner).ok()?;
            function.call_async(&mut self.store, ()).await.ok()
        };
        read.await.expect("the instrumented component exports what the snapshot asks for").0
    }
}

impl ComponentInstanceState for Running {
    async fn call_func_ret_list_u8(&mut self, instance: &str, function: &str, contents: impl FnOnce(&[u8]) + Send) {
        let list: wasmtime::component::WasmList<u8> = self.call(instance, function).await;
        contents(list.as_le_slice(&self.store));
    }
    async fn call_func_ret_s32(&mut self, instance: &str, function: &str) -> i32 {
        self.call(instance, function).await
    }
    async fn call_func_ret_s64(&mut self, instance: &str, function: &str) -> i64 {
        self.call(instance, function).await
    }
    async fn call_func_ret_f32(&mut self, instance: &str, function: &str) -> u32 {
        self.call::<f32>(instance, function).await.to_bits()
    }
    async fn call_func_ret_f64(&mut self, instance: &str, function: &str) -> u64 {
        self.call::<f64>(instance, function).await.to_bits()
    }
}
