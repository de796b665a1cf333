//! What a component would cost to compile and to start, found out in one pass over its bytes, before anything is done with
//! them that could cost more.
//!
//! A component of 1.3 KB can instantiate itself two to the power of 24 times, and one of 5 MB can make a compiler take
//! gigabytes. Here nothing is validated and nothing is built: sections are counted, each component's cost is the sum of what
//! it instantiates, and everything is compared with limits. The parser is the one that the compiler has, so the two do not
//! read the same bytes differently.
//!
//! Order of checks: structure, section by section, each limit as soon as it is passed → what instantiations multiply →
//! the functions' own bodies.
//!
//! A component's cost is known when its definition ends, as all that it can instantiate is defined before. That holds as long
//! as modules and components are not passed along as values (imported, or taken out of an instance), which no toolchain
//! does and which is refused.

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, Encoding,
    FunctionBody, Instance, Operator, Parser, Payload,
};

use super::ScriptError;

/// What a component may be made of. The settable ones are settings of the section `uploads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// Functions. `CPython` has 13,400, the largest of 427 kB.
    pub functions: u64,
    /// Bytes of one function.
    pub function_bytes: u64,
    /// Core instances that it starts with, however they nest. `CPython` has 25.
    pub instances: u64,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self { functions: 50_000, function_bytes: 1 << 20, instances: 1_000 }
    }
}

/// Locals of one function. What compilers without optimization emit has some thousand.
const MAX_LOCALS: u64 = 10_000;
/// Targets of all `br_table` of one function: interpreters have one of some hundred for each instruction's end. The compiler
/// takes no more in one.
const MAX_BRANCH_TARGETS: u64 = 65_520;
/// Blocks within blocks. A `switch` of so many cases is as many blocks.
const MAX_BLOCK_DEPTH: u64 = 10_000;
/// Components within components, which C and Rust compilers do not have and composed ones a handful.
const MAX_NESTING: usize = 32;
/// Entries of all other sections together: types, imports, exports, globals, elements, aliases, canonical functions. An
/// entry is some hundred bytes in the host for as long as the script is loaded.
const MAX_DEFINITIONS: u64 = 250_000;
/// Definitions for each instance that there may be, once every instantiation has made its own, which is what the compiler
/// works through.
const DEFINITIONS_AN_INSTANCE: u64 = 1_000;
/// Bytes of types of components, which are trees: what they take in the host follows from it.
const MAX_TYPE_BYTES: u64 = 2 << 20;
/// Bytes of memory, and of data to fill it with, at the start: what `describe` may have.
const MAX_START_MEMORY: u64 = 64 << 20;
/// Memories, and tables, of all instances together: a script's own, and those of adapters and bundled libraries.
pub(crate) const MAX_MEMORIES: u32 = 4;
/// Table elements at the start.
const MAX_START_ELEMENTS: u64 = 100_000;
/// Bytes of what tables are filled with, for every instance.
const MAX_ELEMENT_BYTES: u64 = 4 << 20;

/// What one instantiation makes.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    instances: u64,
    definitions: u64,
    memories: u64,
    memory: u64,
    tables: u64,
    table_elements: u64,
    data: u64,
    elements: u64,
}

impl Cost {
    fn add(&mut self, other: &Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.definitions = self.definitions.saturating_add(other.definitions);
        self.memories = self.memories.saturating_add(other.memories);
        self.memory = self.memory.saturating_add(other.memory);
        self.tables = self.tables.saturating_add(other.tables);
        self.table_elements = self.table_elements.saturating_add(other.table_elements);
        self.data = self.data.saturating_add(other.data);
        self.elements = self.elements.saturating_add(other.elements);
    }
}

/// A module or component whose definition has begun.
struct Scope {
    is_module: bool,
    cost: Cost,
    /// Of a component: what its modules and components cost, by index.
    modules: Vec<Cost>,
    components: Vec<Cost>,
}

struct Scan<'l> {
    limits: &'l ScanLimits,
    scopes: Vec<Scope>,
    functions: u64,
    definitions: u64,
    type_bytes: u64,
}

/// Refuses what is over a limit. What is let through may still be invalid.
pub(crate) fn scan(bytes: &[u8], limits: &ScanLimits) -> Result<(), ScriptError> {
    let mut scan = Scan { limits, scopes: Vec::new(), functions: 0, definitions: 0, type_bytes: 0 };
    for payload in Parser::new(0).parse_all(bytes) {
        scan.payload(payload.map_err(invalid)?)?;
    }
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::CodeSectionEntry(body) = payload.map_err(invalid)? {
            check_body(&body)?;
        }
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn invalid(error: BinaryReaderError) -> ScriptError {
    ScriptError::InvalidBinary(format!("{} (at offset {:#x})", error.message(), error.offset()))
}

fn within(what: &'static str, count: u64, limit: u64, offset: usize) -> Result<(), ScriptError> {
    if count > limit { Err(ScriptError::TooComplex { what, count, limit, offset }) } else { Ok(()) }
}

impl Scan<'_> {
    /// Definitions begin and end, and the sections of modules.
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), ScriptError> {
        match payload {
            Payload::Version { encoding, range, .. } => {
                within("components within components", self.scopes.len() as u64, MAX_NESTING as u64, range.start)?;
                let is_module = encoding == Encoding::Module;
                // A module's own start counts as one instance wherever it is instantiated.
                let cost = Cost { instances: u64::from(is_module), ..Cost::default() };
                self.scopes.push(Scope { is_module, cost, modules: Vec::new(), components: Vec::new() });
            }
            Payload::End(offset) => self.end(offset)?,

            Payload::TypeSection(section) => {
                let range = section.range();
                self.types((range.end - range.start) as u64, range.start)?;
                self.define(section.count(), range.start)?;
            }
            Payload::ImportSection(section) => self.define(section.count(), section.range().start)?,
            Payload::TagSection(section) => self.define(section.count(), section.range().start)?,
            Payload::GlobalSection(section) => self.define(section.count(), section.range().start)?,
            Payload::ExportSection(section) => self.define(section.count(), section.range().start)?,
            Payload::FunctionSection(section) => {
                self.functions = self.functions.saturating_add(section.count().into());
                within("functions", self.functions, self.limits.functions, section.range().start)?;
            }
            Payload::TableSection(section) => {
                self.define(section.count(), section.range().start)?;
                for table in section {
                    let elements = table.map_err(invalid)?.ty.initial;
                    self.cost(|cost| {
                        cost.tables = cost.tables.saturating_add(1);
                        cost.table_elements = cost.table_elements.saturating_add(elements);
                    });
                }
            }
            Payload::MemorySection(section) => {
                self.define(section.count(), section.range().start)?;
                for memory in section {
                    let memory = memory.map_err(invalid)?;
                    let page = memory.page_size_log2.unwrap_or(16).min(63);
                    let bytes = memory.initial.saturating_mul(1 << page);
                    self.cost(|cost| {
                        cost.memories = cost.memories.saturating_add(1);
                        cost.memory = cost.memory.saturating_add(bytes);
                    });
                }
            }
            Payload::ElementSection(section) => {
                let (range, count) = (section.range(), section.count());
                self.define(count, range.start)?;
                // An element is a byte or more.
                let most = (range.end - range.start) as u64;
                self.cost(|cost| cost.elements = cost.elements.saturating_add(most));
            }
            Payload::DataSection(section) => {
                let range = section.range();
                self.define(section.count(), range.start)?;
                let bytes = (range.end - range.start) as u64;
                self.cost(|cost| cost.data = cost.data.saturating_add(bytes));
            }
            Payload::CodeSectionStart { count, range, .. } => {
                within("functions", count.into(), self.limits.functions, range.start)?;
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                let bytes = (range.end - range.start) as u64;
                within("bytes of a function", bytes, self.limits.function_bytes, range.start)?;
            }
            Payload::StartSection { .. } | Payload::DataCountSection { .. } | Payload::CustomSection(_) => {}
            of_component => self.component_section(of_component)?,
        }
        Ok(())
    }

    fn component_section(&mut self, payload: Payload<'_>) -> Result<(), ScriptError> {
        match payload {
            Payload::CoreTypeSection(section) => {
                let range = section.range();
                self.types((range.end - range.start) as u64, range.start)?;
                self.define(section.count(), range.start)?;
            }
            Payload::ComponentTypeSection(section) => {
                let range = section.range();
                self.types((range.end - range.start) as u64, range.start)?;
                self.define(section.count(), range.start)?;
            }
            Payload::ComponentCanonicalSection(section) => self.define(section.count(), section.range().start)?,
            Payload::InstanceSection(section) => {
                self.define(section.count(), section.range().start)?;
                for item in section.into_iter_with_offsets() {
                    let (offset, instance) = item.map_err(invalid)?;
                    match instance {
                        Instance::Instantiate { module_index, args } => {
                            self.define_more(args.len(), offset)?;
                            self.instantiate(|scope| &scope.modules, module_index, "module", offset)?;
                        }
                        Instance::FromExports(exports) => self.define_more(exports.len(), offset)?,
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                self.define(section.count(), section.range().start)?;
                for item in section.into_iter_with_offsets() {
                    let (offset, instance) = item.map_err(invalid)?;
                    match instance {
                        ComponentInstance::Instantiate { component_index, args } => {
                            self.define_more(args.len(), offset)?;
                            self.instantiate(|scope| &scope.components, component_index, "component", offset)?;
                        }
                        ComponentInstance::FromExports(exports) => self.define_more(exports.len(), offset)?,
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                self.define(section.count(), section.range().start)?;
                for item in section.into_iter_with_offsets() {
                    let (offset, alias) = item.map_err(invalid)?;
                    self.alias(&alias, offset)?;
                }
            }
            Payload::ComponentImportSection(section) => {
                self.define(section.count(), section.range().start)?;
                for item in section.into_iter_with_offsets() {
                    let (offset, import) = item.map_err(invalid)?;
                    refuse_passing(import.ty.kind(), offset)?;
                }
            }
            Payload::ComponentExportSection(section) => {
                self.define(section.count(), section.range().start)?;
                for item in section.into_iter_with_offsets() {
                    let (offset, export) = item.map_err(invalid)?;
                    // An export is a definition of its own, which can be instantiated again.
                    refuse_passing(export.kind, offset)?;
                }
            }
            // What is in the two comes next. A start function of a component needs a feature that is off.
            Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. }
            | Payload::ComponentStartSection { .. } => {}
            Payload::UnknownSection { id, range, .. } => {
                let message = format!("unknown section {id} (at offset {:#x})", range.start);
                return Err(ScriptError::InvalidBinary(message));
            }
            other => {
                return Err(ScriptError::InvalidBinary(format!("it has {other:?}, which nobody here knows")));
            }
        }
        Ok(())
    }

    /// A definition ends: what it costs is known to the one around it.
    fn end(&mut self, offset: usize) -> Result<(), ScriptError> {
        let Some(scope) = self.scopes.pop() else { return Ok(()) };
        let cost = scope.cost;
        match self.scopes.last_mut() {
            Some(around) if scope.is_module => around.modules.push(cost),
            Some(around) => around.components.push(cost),
            None => {
                within("instances", cost.instances, self.limits.instances, offset)?;
                let most = self.limits.instances.saturating_mul(DEFINITIONS_AN_INSTANCE);
                within("definitions with those of instances", cost.definitions, most, offset)?;
                if cost.memory > MAX_START_MEMORY {
                    return Err(ScriptError::StartMemory { bytes: cost.memory, limit: MAX_START_MEMORY });
                }
                within("memories", cost.memories, MAX_MEMORIES.into(), offset)?;
                within("tables", cost.tables, MAX_MEMORIES.into(), offset)?;
                within("table elements at the start", cost.table_elements, MAX_START_ELEMENTS, offset)?;
                within("bytes of data, for every instance", cost.data, MAX_START_MEMORY, offset)?;
                within("bytes of elements, for every instance", cost.elements, MAX_ELEMENT_BYTES, offset)?;
            }
        }
        Ok(())
    }

    fn cost(&mut self, change: impl FnOnce(&mut Cost)) {
        if let Some(scope) = self.scopes.last_mut() {
            change(&mut scope.cost);
        }
    }

    fn define(&mut self, count: u32, offset: usize) -> Result<(), ScriptError> {
        self.define_more(count as usize, offset)
    }

    fn define_more(&mut self, count: usize, offset: usize) -> Result<(), ScriptError> {
        self.definitions = self.definitions.saturating_add(count as u64);
        within("definitions", self.definitions, MAX_DEFINITIONS, offset)?;
        self.cost(|cost| cost.definitions = cost.definitions.saturating_add(count as u64));
        Ok(())
    }

    fn types(&mut self, bytes: u64, offset: usize) -> Result<(), ScriptError> {
        self.type_bytes = self.type_bytes.saturating_add(bytes);
        within("bytes of types", self.type_bytes, MAX_TYPE_BYTES, offset)
    }

    fn instantiate(
        &mut self,
        among: impl Fn(&Scope) -> &Vec<Cost>,
        index: u32,
        what: &str,
        offset: usize,
    ) -> Result<(), ScriptError> {
        let found = self.scopes.last().and_then(|scope| among(scope).get(index as usize).copied());
        let cost = found.ok_or_else(|| {
            ScriptError::InvalidBinary(format!("unknown {what} {index} is instantiated (at offset {offset:#x})"))
        })?;
        self.cost(|sum| sum.add(&cost));
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>, offset: usize) -> Result<(), ScriptError> {
        match *alias {
            ComponentAlias::InstanceExport { kind, .. } => refuse_passing(kind, offset),
            ComponentAlias::CoreInstanceExport { .. } => Ok(()),
            ComponentAlias::Outer { kind, count, index } => {
                let of_module = match kind {
                    ComponentOuterAliasKind::CoreModule => true,
                    ComponentOuterAliasKind::Component => false,
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => return Ok(()),
                };
                let place = self.scopes.len().checked_sub(1 + count as usize);
                let outer = place.and_then(|place| self.scopes.get(place));
                let found = outer.and_then(|outer| {
                    let among = if of_module { &outer.modules } else { &outer.components };
                    among.get(index as usize).copied()
                });
                let unknown = || ScriptError::InvalidBinary(format!("unknown outer alias (at offset {offset:#x})"));
                let cost = found.ok_or_else(unknown)?;
                if let Some(scope) = self.scopes.last_mut() {
                    if of_module { &mut scope.modules } else { &mut scope.components }.push(cost);
                }
                Ok(())
            }
        }
    }
}

/// What such a value costs once it is instantiated would be known to nobody before.
fn refuse_passing(kind: ComponentExternalKind, offset: usize) -> Result<(), ScriptError> {
    let what = match kind {
        ComponentExternalKind::Module => "modules",
        ComponentExternalKind::Component => "components",
        ComponentExternalKind::Func
        | ComponentExternalKind::Value
        | ComponentExternalKind::Type
        | ComponentExternalKind::Instance => return Ok(()),
    };
    Err(ScriptError::PassesAlong { what, offset })
}

fn check_body(body: &FunctionBody<'_>) -> Result<(), ScriptError> {
    let start = body.range().start;
    let mut locals = 0_u64;
    for run in body.get_locals_reader().map_err(invalid)? {
        let (count, _) = run.map_err(invalid)?;
        locals = locals.saturating_add(count.into());
        within("locals of a function", locals, MAX_LOCALS, start)?;
    }
    let (mut targets, mut depth) = (0_u64, 0_u64);
    let mut operators = body.get_operators_reader().map_err(invalid)?;
    while !operators.eof() {
        let offset = operators.original_position();
        match operators.read().map_err(invalid)? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                depth += 1;
                within("blocks within blocks", depth, MAX_BLOCK_DEPTH, offset)?;
            }
            Operator::End => depth = depth.saturating_sub(1),
            Operator::BrTable { targets: table } => {
                targets = targets.saturating_add(table.len().into());
                within("br_table targets of a function", targets, MAX_BRANCH_TARGETS, offset)?;
            }
            _ => {}
        }
    }
    Ok(())
}
