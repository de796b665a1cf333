//! `terapi componentize`: what a C compiler emits becomes a script.

use terapi::componentize::{ComponentizeError, CoreModule, componentize};

use crate::support::{HandWritten, on_shared_bench};

#[test]
fn a_core_module_that_exports_the_contract_becomes_a_script() {
    let module = HandWritten::run("").module();
    let component = componentize(CoreModule(module.clone())).unwrap();
    assert_eq!(component, componentize(CoreModule(module)).unwrap(), "the same module, the same component");
    on_shared_bench(async |bench| {
        let script = bench.load(component).await;
        assert_eq!(script.manifest.name.as_str(), "hand-written");
        bench.sync(bench.execution_of(script, serde_json::json!({}))).await.succeeded();
    });
}

#[test]
fn what_is_no_such_module_is_refused_with_a_reason() {
    let refused = |bytes: Vec<u8>| componentize(CoreModule(bytes)).unwrap_err();
    let component = HandWritten::run("").bytes();
    assert!(matches!(refused(component), ComponentizeError::NotAModule));
    assert!(matches!(refused(b"export default 1".to_vec()), ComponentizeError::NotAModule));
    assert!(matches!(refused(wat::parse_str("(module)").unwrap()), ComponentizeError::NoScript));
    let foreign = r#"(module
        (import "env" "dlopen" (func (param i32) (result i32)))
        (func (export "terapi:sync/sync-script@0.1.0#run")))"#;
    let error = refused(wat::parse_str(foreign).unwrap());
    assert_eq!(error.code(), "type-mismatch");
}
