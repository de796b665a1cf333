//! Which specifier names which module.
//!
//! The SDK's own modules are named `terapi:…` and see each other; a script sees the public ones, by the names below, and
//! its own modules by relative paths, which the host has made exact: what `./x.js` names is its to know.

use std::cell::RefCell;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Error, Exception, Module, Result};

use crate::bindings::terapi::engine::source;
use crate::engine;

/// What a script can import besides its own modules.
const PUBLIC: [(&str, &str); 10] = [
    ("terapi", "terapi:sdk/terapi.js"),
    ("nango", "terapi:sdk/nango.js"),
    ("zod", "terapi:zod.js"),
    ("zod/v4", "terapi:zod.js"),
    ("crypto", "terapi:sdk/node/crypto.js"),
    ("node:crypto", "terapi:sdk/node/crypto.js"),
    ("buffer", "terapi:sdk/node/buffer.js"),
    ("node:buffer", "terapi:sdk/node/buffer.js"),
    ("url", "terapi:sdk/node/url.js"),
    ("node:url", "terapi:sdk/node/url.js"),
];

include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

thread_local! {
    static SCRIPT: RefCell<Vec<source::Module>> = const { RefCell::new(Vec::new()) };
}

/// Asks the host for the script's modules and returns name and code of the entry.
pub fn fetch_script() -> Option<(String, String)> {
    let modules = source::modules();
    let entry = modules.first().map(|module| (module.name.clone(), module.code.clone()));
    SCRIPT.set(modules);
    entry
}

/// The code of a module of the SDK.
pub fn sdk(name: &str) -> Option<&'static str> {
    SDK.iter().find(|(known, _)| *known == name).map(|(_, code)| *code)
}

pub struct Names;

impl Resolver for Names {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        let inside = base.starts_with("terapi:");
        if inside && name.starts_with("terapi:") {
            return Ok(name.to_owned());
        }
        if let Some((_, module)) = PUBLIC.iter().find(|(public, _)| *public == name) {
            return Ok((*module).to_owned());
        }
        if name.starts_with("./") || name.starts_with("../") || name == "." || name == ".." {
            if let Some(path) = join(base, name) {
                if inside {
                    return Ok(path);
                }
                if SCRIPT.with_borrow(|modules| modules.iter().any(|module| module.name == path)) {
                    return Ok(path);
                }
            }
            return Err(Exception::throw_reference(ctx, &format!("{base} imports {name:?}, which is not in the script")));
        }
        Err(Exception::throw_reference(
            ctx,
            &format!(
                "{base} imports {name:?}, which Terapi does not have: a script can import its own files, 'terapi', \
                 'nango', 'zod' and, of Node's modules, 'crypto', 'buffer' and 'url'"
            ),
        ))
    }
}

/// A path relative to the folder of `base`; none where it leads out of the script.
fn join(base: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

pub struct Sources;

impl Loader for Sources {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        if let Some(code) = sdk(name) {
            return Module::declare(ctx.clone(), name, code);
        }
        let code = SCRIPT
            .with_borrow(|modules| modules.iter().find(|module| module.name == name).map(|module| module.code.clone()));
        match code {
            Some(code) => declare(ctx, name, code),
            None => Err(Error::new_loading(name)),
        }
    }
}

/// Compiles a module of the script.
pub fn declare<'js>(ctx: &Ctx<'js>, name: &str, code: String) -> Result<Module<'js, Declared>> {
    let declared = engine::parsing(ctx, || Module::declare(ctx.clone(), name, code));
    let Err(Error::Exception) = declared else { return declared };
    let thrown = ctx.catch();
    let too_deep = thrown.as_object().is_some_and(|error| {
        error.get::<_, String>("name").is_ok_and(|name| name == "RangeError") && error.get("stack").is_ok_and(|stack: String| stack.is_empty())
    });
    if too_deep {
        let (line, column) = SCRIPT
            .with_borrow(|modules| modules.iter().find(|module| module.name == name).map(|module| deepest(&module.code)))
            .unwrap_or((1, 1));
        let message = format!("{name} nests too deeply: about a thousand brackets in brackets can be\n    at {name}:{line}:{column}");
        return Err(Exception::throw_syntax(ctx, &message));
    }
    Err(ctx.throw(thrown))
}

/// Line and column of the bracket with the most around it. Those in texts count like others: it is where to look.
fn deepest(code: &str) -> (usize, usize) {
    let (mut depth, mut most, mut at) = (0_usize, 0, (1, 1));
    let (mut line, mut start) = (1, 0);
    for (place, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                if depth > most {
                    (most, at) = (depth, (line, place - start + 1));
                }
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'\n' => (line, start) = (line + 1, place + 1),
            _ => {}
        }
    }
    at
}
