//! The same component in bare wasmtime: no fuel, no limits, no WASI, no host functions.

use wasmtime::component::{Component, Linker, Val};

pub(crate) struct Bare {
    engine: wasmtime::Engine,
    pre: wasmtime::component::InstancePre<()>,
    run: wasmtime::component::ComponentExportIndex,
}

impl Bare {
    pub(crate) fn new(guest: &[u8]) -> Self {
        let mut config = wasmtime::Config::new();
        config.allocation_strategy(wasmtime::InstanceAllocationStrategy::pooling());
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, guest).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let pre = linker.instantiate_pre(&component).unwrap();
        let interface = component.get_export_index(None, "terapi:sync/sync-script@0.1.0").unwrap();
        let run = component.get_export_index(Some(&interface), "run").unwrap();
        Self { engine, pre, run }
    }

    pub(crate) fn instantiate(&mut self) {
        let mut store = wasmtime::Store::new(&self.engine, ());
        self.pre.instantiate(&mut store).unwrap();
    }

    pub(crate) fn run(&mut self, config: &str) {
        let mut store = wasmtime::Store::new(&self.engine, ());
        let instance = self.pre.instantiate(&mut store).unwrap();
        let run = instance.get_func(&mut store, self.run).unwrap();
        let field = |name: &str, value: &str| (name.to_owned(), Val::String(value.to_owned()));
        let context = Val::Record(vec![
            field("run-id", "01a203fb-d268-7708-9e29-c56a5a274e20"),
            field("connection", "bench"),
            field("variant", "base"),
            field("config", config),
        ]);
        let mut result = [Val::Bool(false)];
        run.call(&mut store, &[context], &mut result).unwrap();
        assert!(matches!(result[0], Val::Result(Ok(_))));
    }
}
