//! Scripts that are text: TypeScript and JavaScript.
//!
//! Such a script runs in the shared engine component; here is all that is done with its text: a [`Source`] is read from what
//! was uploaded, [`build`] makes JavaScript of each of its modules, and [`Built::explain`] finds the author's line again for
//! a place in what was built. Nothing is bundled and nothing is minified: the engine links modules by itself.
//!
//! Texts come from strangers. None of them may end the process: see `stack`.
//!
//! - `package`: modules and their names · `resolve`: what an import means · `build`: TypeScript to JavaScript
//! - `positions`: back to the author's source · `stack`: room for texts that nest deeply · `error`: why one is refused

mod build;
mod error;
mod package;
mod positions;
mod resolve;
mod stack;
#[cfg(test)]
mod tests;

pub(crate) use self::build::{Built, build, imports};
pub use self::error::{Finding, SourceError};
pub(crate) use self::package::{MAX_MODULES, Module, Source, is_text};
pub(crate) use self::resolve::{Import, candidates, external};

/// The custom section of a component in which the source package of a script stands.
pub(crate) const SECTION: &str = "terapi-source";
