//! Scripts written by hand: a core module as text, made a component with the contract's own WIT. What no compiler would
//! emit is written here.

use std::fmt::Write as _;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A sync in WebAssembly text. Every part has a default that works; a test replaces the part that it is about.
pub(crate) struct HandWritten {
    /// What `describe` returns.
    pub(crate) manifest: Manifest,
    /// Instructions of `describe` before it returns the manifest.
    pub(crate) describe: String,
    /// Instructions of `run` before it returns ok.
    pub(crate) run: String,
    /// What `run` returns: the address of a result. 0 is an ok.
    pub(crate) result: String,
    /// Imports, functions, tables, memories, data.
    pub(crate) fields: String,
    /// Fields that must come before the others: imports.
    pub(crate) imports: String,
    /// Pages of the memory at first.
    pub(crate) pages: u32,
    /// Instructions of `cabi_realloc`, which has the wanted size in `$size`; none for one that gives what is free.
    pub(crate) realloc: Option<String>,
    /// The contract to be built against.
    pub(crate) wit: Wit,
}

/// The contract that a component is built against.
pub(crate) enum Wit {
    /// The real one.
    Ours,
    /// The real one with some words replaced.
    Replaced(&'static [(&'static str, &'static str)]),
    /// The real one, and an interface of another package.
    Importing {
        /// Their WIT, in the order of their dependence.
        packages: &'static [&'static str],
        /// Such as `evil:x/y@1.0.0`.
        import: &'static str,
    },
}

/// A manifest as it lies in the guest's memory.
#[derive(Clone)]
pub(crate) struct Manifest {
    pub(crate) name: Vec<u8>,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) mode: u8,
    /// Names and schemas.
    pub(crate) models: Vec<(String, String)>,
    pub(crate) auto_start: bool,
    pub(crate) base_url: Option<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) config_schema: Option<String>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            name: b"hand-written".to_vec(),
            version: "1.0.0".to_owned(),
            description: "Written by hand.".to_owned(),
            mode: 1,
            models: vec![("Thing".to_owned(), "{}".to_owned())],
            auto_start: false,
            base_url: None,
            hosts: Vec::new(),
            config_schema: None,
        }
    }
}

impl Default for HandWritten {
    fn default() -> Self {
        Self {
            manifest: Manifest::default(),
            describe: String::new(),
            run: String::new(),
            result: "(i32.const 0)".to_owned(),
            fields: String::new(),
            imports: String::new(),
            pages: 2,
            realloc: None,
            wit: Wit::Ours,
        }
    }
}

/// Where the manifest lies. Below is room for a test's own data; the first 64 bytes stay zero.
const MANIFEST: u32 = 4096;

impl HandWritten {
    /// A sync that does this and succeeds.
    pub(crate) fn run(run: &str) -> Self {
        Self { run: run.to_owned(), ..Self::default() }
    }

    /// The component.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut module = self.module();
        let resolve = self.wit.resolve();
        let package = resolve.packages.iter().find(|(_, package)| package.name.name == "sync").unwrap().0;
        let world = resolve.select_world(&[package], Some("sync")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
    }

    /// The core module.
    pub(crate) fn module(&self) -> Vec<u8> {
        let mut image = Image::default();
        image.manifest(&self.manifest);
        let heap = (MANIFEST as usize + image.bytes.len()).next_multiple_of(16);
        let pages = self.pages.max(u32::try_from(heap / 65536).unwrap() + 2);
        let mut data = String::with_capacity(image.bytes.len() * 3);
        for byte in &image.bytes {
            let _ = write!(data, "\\{byte:02x}");
        }
        let free = "(local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
            (global.set $heap (i32.add (local.get $at) (local.get $size)))
            (local.get $at)";
        let version = self.wit.version();
        let text = format!(
            r#"(module
                {imports}
                (memory $memory (export "memory") {pages})
                (global $heap (mut i32) (i32.const {heap}))
                {fields}
                (func $realloc (export "cabi_realloc")
                    (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
                    (local $at i32)
                    {realloc})
                (func (export "terapi:sync/sync-script@{version}#describe") (result i32)
                    (local $i i32) (local $j i32)
                    {describe}
                    (i32.const {MANIFEST}))
                (func (export "terapi:sync/sync-script@{version}#run")
                    (param $id i32) (param i32) (param $connection i32) (param i32)
                    (param $variant i32) (param i32) (param $config i32) (param i32) (result i32)
                    (local $i i32) (local $j i32)
                    {run}
                    {result})
                (data (i32.const {MANIFEST}) "{data}"))"#,
            imports = self.imports,
            fields = self.fields,
            realloc = self.realloc.as_deref().unwrap_or(free),
            describe = self.describe,
            run = self.run,
            result = self.result,
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

impl Wit {
    fn version(&self) -> &str {
        let Self::Replaced(words) = self else { return "0.1.0" };
        words
            .iter()
            .find(|(old, _)| *old == "terapi:sync@0.1.0")
            .map_or("0.1.0", |(_, new)| new.split_once('@').unwrap().1)
    }

    fn resolve(&self) -> Resolve {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let mut resolve = Resolve::default();
        let words: Vec<(&str, String)> = match self {
            Self::Ours => Vec::new(),
            Self::Replaced(words) => words.iter().map(|(old, new)| (*old, (*new).to_owned())).collect(),
            Self::Importing { packages, import } => {
                for (nth, package) in packages.iter().enumerate() {
                    resolve.push_str(format!("{nth}.wit"), package).unwrap();
                }
                vec![("world sync {", format!("world sync {{ import {import};"))]
            }
        };
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(&folder).unwrap().flatten() {
            let mut text = std::fs::read_to_string(file.path()).unwrap();
            for (old, new) in &words {
                text = text.replace(old, new);
            }
            std::fs::write(copy.path().join(file.file_name()), text).unwrap();
        }
        resolve.push_dir(copy.path()).unwrap();
        resolve
    }
}

/// Bytes from [`MANIFEST`] on, with addresses of what lies behind them.
#[derive(Default)]
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn manifest(&mut self, manifest: &Manifest) {
        // Its own 96 bytes first; what it points to follows.
        self.bytes.resize(96, 0);
        let name = self.put(&manifest.name);
        let version = self.put(manifest.version.as_bytes());
        let description = self.put(manifest.description.as_bytes());
        let models = manifest.models.clone();
        let models: Vec<[u32; 6]> = models
            .iter()
            .map(|(name, schema)| {
                let (name, schema) = (self.put(name.as_bytes()), self.put(schema.as_bytes()));
                [name.0, name.1, schema.0, schema.1, 0, 0]
            })
            .collect();
        let models = self.put_words(&models.concat(), 6);
        let hosts: Vec<[u32; 2]> = manifest.hosts.iter().map(|host| self.put(host.as_bytes()).into()).collect();
        let hosts = self.put_words(&hosts.concat(), 2);
        let base_url = self.put_option(manifest.base_url.as_deref());
        let config = self.put_option(manifest.config_schema.as_deref());
        let words = [
            name.0,
            name.1,
            version.0,
            version.1,
            description.0,
            description.1,
            u32::from(manifest.mode),
            models.0,
            models.1,
            0,
            0,
            0,
            u32::from(manifest.auto_start),
            base_url[0],
            base_url[1],
            base_url[2],
            hosts.0,
            hosts.1,
            config[0],
            config[1],
            config[2],
            0,
            0,
            0,
        ];
        for (at, word) in words.iter().enumerate() {
            self.bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) -> (u32, u32) {
        let at = MANIFEST + u32::try_from(self.bytes.len()).unwrap();
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        (at, u32::try_from(bytes.len()).unwrap())
    }

    /// A list whose elements have so many words.
    fn put_words(&mut self, words: &[u32], an_element: usize) -> (u32, u32) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        (self.put(&bytes).0, u32::try_from(words.len() / an_element).unwrap())
    }

    fn put_option(&mut self, text: Option<&str>) -> [u32; 3] {
        text.map_or([0; 3], |text| {
            let (at, length) = self.put(text.as_bytes());
            [1, at, length]
        })
    }
}
