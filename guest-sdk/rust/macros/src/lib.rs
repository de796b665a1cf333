//! The attributes of `terapi-guest`: [`macro@model`], [`macro@data`], [`macro@sync`], [`macro@action`].
//!
//! They write only what cannot be a function: implementations, the exports of the component, and the manifest's constants. What
//! they can check of the manifest they check while compiling, so that an upload does not fail on it.

mod arguments;
mod model;
mod script;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a struct a record: its JSON (`Serialize`), its JSON Schema, its id.
///
/// ```
/// # use terapi_guest::prelude::*;
/// /// A contact.
/// #[model]
/// struct Contact<'a> {
///     id: u64, // written as a string
///     name: &'a str,
/// }
/// ```
///
/// The id is the field `id`, text or a whole number; it is always written as the string `id`. Where the API calls it
/// otherwise, `id = "…"` names the field, which is kept, and `id` is added to the JSON.
/// Other serde attributes work as ever; do not derive `Serialize` or `JsonSchema` besides.
///
/// | Argument | Meaning |
/// |---|---|
/// | `id = "number"` | the field that holds the id; `id` unless given |
/// | `name = "Issue"` | the model's name; the struct's unless given |
/// | `ignore = ["fetched_at"]` | top-level fields whose change alone is no change |
#[proc_macro_attribute]
pub fn model(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    let item = parse_macro_input!(item as syn::ItemStruct);
    model::expand(&arguments, item).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a struct or enum something that crosses the border to the operator or the app, a configuration, metadata, a checkpoint, an
/// action's input or output: `Serialize`, `Deserialize`, and a JSON Schema of which the doc comments are part.
///
/// ```
/// # use terapi_guest::prelude::*;
/// #[data]
/// struct Config {
///     /// The repository, such as `rust-lang/rust`.
///     repository: String,
/// }
/// ```
#[proc_macro_attribute]
pub fn data(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    let item = parse_macro_input!(item as syn::DeriveInput);
    model::expand_data(&arguments, &item).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a function a sync script. It takes nothing, `run: &Run`, or `run: &Run<Config>`, and returns `Result<()>`.
///
/// | Argument | Meaning |
/// |---|---|
/// | `mode = "full-refresh"` or `"incremental"` | whether every run saves everything; needed |
/// | `models = [Issue]` | what it saves; needed |
/// | `frequency = "every hour"` | how often it wants to run |
/// | `auto_start = true` or `false` | whether a sync is created by itself for each connection of the integration that the script is deployed for; unless given, `true` where there is a `frequency` |
/// | `base_url = "https://api.example.com"` | where its paths lead, unless the operator says otherwise |
/// | `hosts = ["*.example.com"]` | the hosts it wants to reach; the one of `base_url` unless given |
/// | `metadata = Settings` | the type of the connection's metadata, for its schema |
/// | `name`, `version`, `description` | those of the package unless given; the description is the function's doc comment where it has one |
#[proc_macro_attribute]
pub fn sync(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    let item = parse_macro_input!(item as syn::ItemFn);
    script::expand_sync(&arguments, &item).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a function an action script. It takes `input: Input` or `input: &Input`, with `run: &Run` or `run: &Run<Config>` before
/// it where wanted, and returns `Result<Output>`. The schemas of input and output are those of the types; see [`macro@data`].
///
/// The arguments are those of [`macro@sync`] without `mode`, `frequency`, and `auto_start`; `models` are models of the
/// connection that it reads.
#[proc_macro_attribute]
pub fn action(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as arguments::Arguments);
    let item = parse_macro_input!(item as syn::ItemFn);
    script::expand_action(&arguments, &item).unwrap_or_else(|error| error.to_compile_error()).into()
}
