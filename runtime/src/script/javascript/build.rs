//! TypeScript to JavaScript, a module at a time.
//!
//! Types go, and imports with them that only types used; enums, namespaces and parameter properties become JavaScript; all
//! else stays, for the engine knows it. Specifiers become exact names, so that how `./x.js` names `x.ts` is known in one place only.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    Declaration, Decorator, ExportAllDeclaration, ExportFromDeclaration, Expression, ImportDeclaration,
    ImportDeclarationSpecifier, ImportExpression, Program, Statement, StringLiteral, TSExportAssignment,
    TSImportEqualsDeclaration,
};
use oxc_ast_visit::{VisitMut, walk_mut};
use oxc_codegen::{Codegen, CodegenOptions, CommentOptions};
use oxc_diagnostics::{Diagnostics, OxcDiagnostic};
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::SemanticBuilder;
use oxc_span::{SourceType, Span};
use oxc_transformer::{TransformOptions, Transformer};

use super::error::{Finding, SourceError};
use super::package::{Module, Source, is_json};
use super::positions::{BuiltModule, Named, Place};
use super::resolve::{self, Import};
use super::stack;

/// A script as the engine is given it.
#[derive(Debug)]
pub(crate) struct Built {
    /// The script first.
    pub(super) modules: Vec<BuiltModule>,
}

impl Built {
    /// Names and JavaScript, the script first.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&str, &str)> {
        self.modules.iter().map(|module| (module.name.as_str(), module.code.as_str()))
    }
}

/// Builds a script. Takes milliseconds, on a thread that may block.
pub(crate) fn build(source: &Source) -> Result<Built, SourceError> {
    source.check()?;
    let names: Vec<&str> = source.modules.iter().map(|module| module.name.as_str()).collect();
    let build = |module: &Module| {
        let Translated { code, places, named, types } = if is_json(&module.name) {
            Translated { code: json(module)?, ..Translated::default() }
        } else {
            stack::with_room_for(&module.name, &module.source, || {
                let mut exact = |specifier: &str| match resolve::external(specifier) {
                    Import::Engine(name) => Ok(name.to_owned()),
                    Import::Path => resolve::module(&module.name, specifier, &names)
                        .map(|target| resolve::relative(&module.name, target)),
                    Import::Unknown(why) => Err(why),
                };
                translate(module, &mut exact)
            })?
        };
        let (name, source) = (module.name.clone(), Arc::from(module.source.as_str()));
        Ok((BuiltModule { name, code, source, places, named }, types))
    };
    let built: Vec<_> = source.modules.iter().map(build).collect::<Result<_, _>>()?;
    let (mut modules, types): (Vec<_>, Vec<_>) = built.into_iter().unzip();
    stand_in_for_types(&mut modules, &types);
    Ok(Built { modules })
}

/// Puts something in the place of types that other modules pass on as if they were values (`export { Issue } from
/// './types.js'`): a module by itself does not tell, and bundlers let it be.
fn stand_in_for_types(modules: &mut [BuiltModule], types: &[HashSet<String>]) {
    let wanted: HashSet<(String, String)> = modules
        .iter()
        .flat_map(|module| module.named.iter().map(|named| (named.module(&module.name), named.name.clone())))
        .collect();
    for (module, types) in modules.iter_mut().zip(types) {
        let mut missing: Vec<_> =
            types.iter().filter(|name| wanted.contains(&(module.name.clone(), (*name).clone()))).collect();
        missing.sort();
        for (nth, name) in missing.into_iter().enumerate() {
            let _ = write!(
                module.code,
                "\nconst __terapi_type_{nth} = undefined; export {{ __terapi_type_{nth} as {name} }};"
            );
        }
    }
}

/// What a module imports once its types are gone, as it stands there, each once.
pub(crate) fn imports(name: &str, text: &str) -> Result<Vec<String>, SourceError> {
    let module = Module { name: name.to_owned(), source: text.to_owned() };
    if is_json(name) {
        return json(&module).map(|_| Vec::new());
    }
    stack::with_room_for(name, text, || {
        let mut found: Vec<String> = Vec::new();
        let mut note = |specifier: &str| {
            if !found.iter().any(|known| known == specifier) {
                found.push(specifier.to_owned());
            }
            Ok(specifier.to_owned())
        };
        translate(&module, &mut note)?;
        Ok(found)
    })
}

/// A JSON file as a module. Parsed when it runs, so that a key `__proto__` stays a key.
fn json(module: &Module) -> Result<String, SourceError> {
    let text = module.source.strip_prefix('\u{feff}').unwrap_or(&module.source);
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let line_start = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
        let offset = line_start + error.column().saturating_sub(1);
        let finding = Finding::at(&module.name, text, offset, format!("this is not JSON: {error}"));
        return Err(SourceError::Syntax(finding));
    }
    let literal = serde_json::to_string(text).map_err(|_| SourceError::Broke(module.name.clone()))?;
    Ok(format!("export default JSON.parse({literal});\n"))
}

/// Gives the exact name for a specifier, or says what is wrong with it.
type Exact<'e> = dyn FnMut(&str) -> Result<String, String> + 'e;

/// A module's JavaScript, and what is known of it.
#[derive(Default)]
struct Translated {
    code: String,
    places: Vec<Place>,
    /// What it imports or passes on by name.
    named: Vec<Named>,
    /// Exports that were types, and so are gone.
    types: HashSet<String>,
}

fn translate(module: &Module, exact: &mut Exact<'_>) -> Result<Translated, SourceError> {
    let is_javascript = [".js", ".mjs", ".cjs"].iter().any(|extension| module.name.ends_with(extension));
    if is_javascript {
        // Some write types into files that say JavaScript.
        let error = match translate_as(SourceType::mjs(), module, exact) {
            Err(error @ SourceError::Syntax(_)) => error,
            other => return other,
        };
        return translate_as(SourceType::ts(), module, exact).map_err(|_| error);
    }
    translate_as(SourceType::ts(), module, exact)
}

fn translate_as(kind: SourceType, module: &Module, exact: &mut Exact<'_>) -> Result<Translated, SourceError> {
    let Module { name, source } = module;
    let allocator = Allocator::default();
    let options = ParseOptions { parse_regular_expression: true, ..ParseOptions::default() };
    let parsed = Parser::new(&allocator, source, kind).with_options(options).parse();
    syntax(module, &parsed.diagnostics)?;
    let mut program = parsed.program;
    let checked = SemanticBuilder::new()
        .with_check_syntax_error(true)
        .with_enum_eval(true)
        .with_excess_capacity(1.0)
        .build(&program);
    syntax(module, &checked.diagnostics)?;
    let scoping = checked.semantic.into_scoping();
    let mut refusal = Refusal { module, found: None };
    refusal.visit_program(&mut program);
    let exports = exported(&program);
    let mut types: HashSet<String> =
        exports.filter(|export| export.may_be_type).map(|export| export.name.to_owned()).collect();
    if let Some(found) = refusal.found {
        return Err(SourceError::Unsupported(found));
    }
    let options = TransformOptions::default();
    let transformed = Transformer::new(&allocator, Path::new(name), &options).build_with_scoping(scoping, &mut program);
    syntax(module, &transformed.diagnostics)?;
    let mut specifiers = Specifiers { allocator: &allocator, module, exact, named: Vec::new(), wrong: None };
    specifiers.visit_program(&mut program);
    if let Some(wrong) = specifiers.wrong {
        return Err(SourceError::UnresolvedImport(wrong));
    }
    let named = specifiers.named;
    for value in exported(&program) {
        types.remove(value.name);
    }
    program.hashbang = None;
    let options = CodegenOptions {
        comments: CommentOptions::disabled(),
        // Nobody reads it, and of what nests deeply the most would be spaces.
        indent_width: 0,
        source_map_path: Some(name.into()),
        ..CodegenOptions::default()
    };
    let printed = Codegen::new().with_options(options).build(&program);
    let places = printed.map.iter().flat_map(|map| map.get_tokens().map(Place::from)).collect();
    Ok(Translated { code: printed.code, places, named, types })
}

/// The first error among what was found, if there is one.
fn syntax(module: &Module, diagnostics: &Diagnostics) -> Result<(), SourceError> {
    diagnostics.errors().next().map_or(Ok(()), |error| Err(SourceError::Syntax(finding(module, error))))
}

fn finding(module: &Module, error: &OxcDiagnostic) -> Finding {
    let offset = error.labels.first().map_or(0, oxc_span::LabeledSpan::offset);
    let mut message: String = error.message.chars().take(500).collect();
    if let Some(help) = &error.help {
        message.push_str(". ");
        message.extend(help.chars().take(500));
    }
    Finding::at(&module.name, &module.source, usize::try_from(offset).unwrap_or_default(), message)
}

/// Finds what parses and cannot run.
struct Refusal<'m> {
    module: &'m Module,
    found: Option<Finding>,
}

impl Refusal<'_> {
    fn refuse(&mut self, span: Span, message: &str) {
        let Module { name, source } = self.module;
        self.found.get_or_insert_with(|| Finding::at(name, source, span.start as usize, message));
    }
}

impl<'a> VisitMut<'a> for Refusal<'_> {
    fn visit_decorator(&mut self, it: &mut Decorator<'a>) {
        self.refuse(it.span, "decorators are not known here: call the function on the class or method instead");
    }

    fn visit_ts_export_assignment(&mut self, it: &mut TSExportAssignment<'a>) {
        self.refuse(it.span, "`export =` is of CommonJS: write `export default`");
    }

    fn visit_ts_import_equals_declaration(&mut self, it: &mut TSImportEqualsDeclaration<'a>) {
        if matches!(it.module_reference, oxc_ast::ast::TSModuleReference::ExternalModuleReference(_)) {
            self.refuse(it.span, "`import … = require(…)` is of CommonJS: write `import … from '…'`");
        }
    }

    fn visit_import_expression(&mut self, it: &mut ImportExpression<'a>) {
        if !matches!(it.source, Expression::StringLiteral(_)) {
            self.refuse(
                it.span,
                "an import names its module by a text, such as import('./map.js'): all of a script is uploaded with it",
            );
        }
        walk_mut::walk_import_expression(self, it);
    }
}

/// Puts exact names in the place of specifiers.
struct Specifiers<'a, 'm, 'e> {
    allocator: &'a Allocator,
    module: &'m Module,
    exact: &'m mut Exact<'e>,
    named: Vec<Named>,
    wrong: Option<Finding>,
}

/// A name that a module exports of its own.
struct Export<'p> {
    name: &'p str,
    /// Before types are gone: whether it may be one.
    may_be_type: bool,
}

fn exported<'p>(program: &'p Program<'_>) -> impl Iterator<Item = Export<'p>> {
    program.body.iter().flat_map(|statement| {
        let (names, may_be_type) = match statement {
            Statement::ExportNamedDeclaration(it) => {
                (it.specifiers.iter().map(|specifier| specifier.exported.name().as_str()).collect(), true)
            }
            Statement::ExportDeclaration(it) => match &it.declaration {
                Declaration::TSInterfaceDeclaration(it) => (vec![it.id.name.as_str()], true),
                Declaration::TSTypeAliasDeclaration(it) => (vec![it.id.name.as_str()], true),
                Declaration::VariableDeclaration(it) => {
                    let bound = it.declarations.iter().flat_map(|it| it.id.get_binding_identifiers());
                    (bound.map(|id| id.name.as_str()).collect(), false)
                }
                other => (other.id().map(|id| id.name.as_str()).into_iter().collect(), false),
            },
            _ => (Vec::new(), false),
        };
        names.into_iter().map(move |name| Export { name, may_be_type })
    })
}

impl<'a> Specifiers<'a, '_, '_> {
    /// Notes what is wanted of a module by name, after its exact name was put.
    fn note(&mut self, name: &str, from: &StringLiteral<'a>, span: Span) {
        let (name, from) = (name.to_owned(), from.value.as_str().to_owned());
        self.named.push(Named { name, from, offset: span.start as usize });
    }

    fn put(&mut self, source: &mut StringLiteral<'a>) {
        match (self.exact)(source.value.as_str()) {
            Ok(name) => {
                source.value = self.allocator.alloc_str(&name).into();
                source.raw = None;
            }
            Err(message) => {
                let Module { name, source: text } = self.module;
                self.wrong.get_or_insert_with(|| Finding::at(name, text, source.span.start as usize, message));
            }
        }
    }
}

impl<'a> VisitMut<'a> for Specifiers<'a, '_, '_> {
    fn visit_program(&mut self, it: &mut Program<'a>) {
        walk_mut::walk_program(self, it);
    }

    fn visit_import_declaration(&mut self, it: &mut ImportDeclaration<'a>) {
        self.put(&mut it.source);
        for specifier in it.specifiers.iter().flatten() {
            match specifier {
                ImportDeclarationSpecifier::ImportSpecifier(named) => {
                    self.note(named.imported.name().as_str(), &it.source, named.span);
                }
                ImportDeclarationSpecifier::ImportDefaultSpecifier(it_is) => {
                    self.note("default", &it.source, it_is.span);
                }
                ImportDeclarationSpecifier::ImportNamespaceSpecifier(_) => {}
            }
        }
        it.with_clause = None;
    }

    fn visit_export_all_declaration(&mut self, it: &mut ExportAllDeclaration<'a>) {
        self.put(&mut it.source);
        it.with_clause = None;
    }

    fn visit_export_from_declaration(&mut self, it: &mut ExportFromDeclaration<'a>) {
        self.put(&mut it.source);
        for specifier in &it.specifiers {
            self.note(specifier.local.name().as_str(), &it.source, specifier.span);
        }
        it.with_clause = None;
    }

    fn visit_import_expression(&mut self, it: &mut ImportExpression<'a>) {
        if let Expression::StringLiteral(source) = &mut it.source {
            self.put(source);
        }
        it.options = None;
        walk_mut::walk_import_expression(self, it);
    }
}
