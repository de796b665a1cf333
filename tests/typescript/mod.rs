//! Scripts that are text: TypeScript and JavaScript, without anything installed.

mod builds;
mod corpus;
mod engine;
mod refusals;
mod runs;
mod uploads;

use serde_json::{Value, json};
use terapi::runtime::Execution;

use crate::support::Bench;

/// A script of several files, itself first.
pub(crate) fn package(modules: &[(&str, &str)]) -> Vec<u8> {
    let modules: Vec<Value> = modules.iter().map(|(name, source)| json!({ "name": name, "source": source })).collect();
    // The key that says what it is stands first.
    format!(r#"{{"terapi":"source/1","modules":{}}}"#, Value::from(modules)).into_bytes()
}

/// A sync of things that does this.
pub(crate) fn sync_that(does: &str) -> String {
    format!(
        "import {{ createSync, z }} from 'terapi';\n\
         const Thing = z.object({{ id: z.string() }});\n\
         export default createSync({{ name: 'text', models: {{ Thing }}, exec: async (terapi) => {{\n{does}\n}} }});\n"
    )
}

/// A run of a script that is one file, on a connection of its own.
async fn execution(bench: &Bench, text: &str) -> Execution {
    bench.execution_of(bench.load(text.as_bytes().to_vec()).await, json!({}))
}
