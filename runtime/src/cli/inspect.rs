//! `terapi inspect`

use std::process::ExitCode;

use clap::Args;

use super::args::read_script;
use super::{Context, Failed, output, script};
use crate::ids::ScriptHash;
use crate::sandbox::bytes;

/// Show what a script describes, imports and exports
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The script file
    file: String,
}

impl Inspect {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let file = read_script(&self.file)?;
        let (size, hash) = (file.len() as u64, ScriptHash::of(&file));
        // Looks at a file only; needs no data directory, but takes from one what is compiled already.
        let (surface, loaded) = context.workshop().runtime().inspect(file).await?;
        if context.json {
            let (manifest, refused) = match &loaded {
                Ok(script) => (Some(&script.manifest), None),
                Err(error) => (None, Some(serde_json::json!({ "code": error.code(), "message": error.to_string() }))),
            };
            output::json(&serde_json::json!({
                "hash": hash, "size": size, "imports": surface.imports, "exports": surface.exports, "modules": surface.modules,
                "manifest": manifest, "refused": refused,
            }))?;
        } else {
            if let Ok(script) = &loaded {
                script::show_manifest(&script.manifest)?;
            }
            anstream::println!("content      {hash} ({})", bytes(size));
            for (title, names) in
                [("imports", &surface.imports), ("exports", &surface.exports), ("modules", &surface.modules)]
            {
                for (i, name) in names.iter().enumerate() {
                    anstream::println!("{:<12} {name}", if i == 0 { title } else { "" });
                }
            }
        }
        match loaded {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(_) if context.json => Ok(ExitCode::FAILURE),
            Err(error) => Err(error.into()),
        }
    }
}
