//! `terapi componentize`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Failed, output};
use crate::componentize::{CoreModule, componentize};

/// Make a script of a core Wasm module, as C compilers emit it
#[derive(Debug, Args)]
#[command(
    after_help = "The module targets WASI preview 1 and exports what the bindings in guest-sdk/c make it export.\n\nExample:\n  \
                  clang --target=wasm32-wasi -mexec-model=reactor … -o script.core.wasm\n  terapi componentize script.core.wasm -o script.wasm"
)]
pub(super) struct Componentize {
    /// The module
    module: PathBuf,
    /// Where to write the component
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Componentize {
    pub(super) fn run(self, json: bool) -> Result<ExitCode, Failed> {
        let shown = self.module.display();
        let module = std::fs::read(&self.module).map_err(Failed::io(format_args!("read the module {shown}")))?;
        let component = componentize(CoreModule(module))
            .map_err(|error| Failed::coded(error.code(), format!("{shown}: {error}")))?;
        let to = self.output.display();
        std::fs::write(&self.output, &component).map_err(Failed::io(format_args!("write the component {to}")))?;
        if json {
            output::json(&serde_json::json!({ "file": self.output, "size": component.len() }))?;
        } else {
            anstream::println!("{to}  {}", crate::sandbox::bytes(component.len() as u64));
        }
        Ok(ExitCode::SUCCESS)
    }
}
