//! Which run this is, and its configuration.

use schemars::JsonSchema;
use serde::Deserialize;

/// The run that calls the script: hand it to the function as `run: &Run<Config>` where the script has a configuration, or as
/// `run: &Run`, or leave it out.
///
/// `Config` is a type with [`#[data]`](macro@crate::data); its JSON Schema goes into the manifest. A configuration that does not
/// fit it ends the run before the script starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run<C = NoConfig> {
    /// The id of this run.
    pub id: String,
    /// The connection: one account at the external system.
    pub connection: String,
    /// Which of several syncs of the same script on the same connection; `base` unless the operator made more.
    pub variant: String,
    /// What the operator configured for this sync.
    pub config: C,
}

/// The configuration of a script that has none; whatever is configured is passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct NoConfig {}
