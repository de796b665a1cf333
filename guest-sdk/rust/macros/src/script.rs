//! `#[sync]` and `#[action]`: the function stays as it is; beside it come the manifest and the exports.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Attribute, Error, Expr, ExprLit, FnArg, ItemFn, Lit, Meta, Result, Type};

use crate::arguments::{Arguments, Located};

/// The part of the manifest that syncs and actions share.
struct Manifest {
    name: String,
    version: String,
    description: String,
    models: TokenStream,
    base_url: TokenStream,
    hosts: Vec<String>,
    metadata_schema: TokenStream,
}

pub(crate) fn expand_sync(arguments: &Arguments, function: &ItemFn) -> Result<TokenStream> {
    arguments.only(&[
        "mode",
        "models",
        "frequency",
        "auto_start",
        "base_url",
        "hosts",
        "metadata",
        "name",
        "version",
        "description",
    ])?;
    let mode = match arguments.text("mode")? {
        Some(mode) if mode.value() == "full-refresh" => quote!(FullRefresh),
        Some(mode) if mode.value() == "incremental" => quote!(Incremental),
        Some(mode) => return Err(Error::new(mode.span(), "`full-refresh` or `incremental`")),
        None => return Err(missing("mode = \"full-refresh\"` or `mode = \"incremental\"")),
    };
    if arguments.types("models")?.is_none_or(|models| models.is_empty()) {
        return Err(missing("models = [Type]"));
    }
    // Who says how often it should run means it to run.
    let auto_start = arguments.truth("auto_start")?.unwrap_or(arguments.text("frequency")?.is_some());
    let frequency = optional(arguments.text("frequency")?.map(|words| quote!(#words.into())));
    let Manifest { name, version, description, models, base_url, hosts, metadata_schema } =
        manifest(arguments, function)?;

    let script = &function.sig.ident;
    let call = match function.sig.inputs.len() {
        0 => quote!(|_: &::terapi_guest::Run| #script().map_err(failure)),
        1 => quote!(|run| #script(run).map_err(failure)),
        _ => return Err(wrong(function, "a sync takes nothing, or `run: &Run`, or `run: &Run<Config>`")),
    };
    Ok(quote! {
        #function

        #[allow(unsafe_code, dead_code, missing_docs, clippy::all, clippy::pedantic)]
        const _: () = {
            use ::terapi_guest::__private::{
                Context, Failure, SyncManifest, SyncMode, failure, model, run_sync, schema_in, sync_config_schema, sync_world, texts,
            };

            struct Script;

            impl sync_world::exports::terapi::sync::sync_script::Guest for Script {
                fn describe() -> SyncManifest {
                    SyncManifest {
                        name: #name.into(),
                        version: #version.into(),
                        description: #description.into(),
                        mode: SyncMode::#mode,
                        models: #models,
                        frequency: #frequency,
                        auto_start: #auto_start,
                        base_url: #base_url,
                        hosts: texts(&[#(#hosts),*]),
                        config_schema: sync_config_schema(#call),
                        metadata_schema: #metadata_schema,
                    }
                }

                fn run(context: Context) -> ::core::result::Result<(), Failure> {
                    run_sync(context, #call)
                }
            }

            #[cfg(target_family = "wasm")]
            sync_world::export!(Script with_types_in sync_world);
        };
    })
}

pub(crate) fn expand_action(arguments: &Arguments, function: &ItemFn) -> Result<TokenStream> {
    arguments.only(&["models", "base_url", "hosts", "metadata", "name", "version", "description"])?;
    let Manifest { name, version, description, models, base_url, hosts, metadata_schema } =
        manifest(arguments, function)?;
    let script = &function.sig.ident;
    let input = match function.sig.inputs.last() {
        Some(FnArg::Typed(input)) if matches!(*input.ty, Type::Reference(_)) => quote!(&input),
        _ => quote!(input),
    };
    let call = match function.sig.inputs.len() {
        1 => quote!(|_: &::terapi_guest::Run, input| #script(#input).map_err(failure)),
        2 => quote!(|run, input| #script(run, #input).map_err(failure)),
        _ => return Err(wrong(function, "an action takes `input: Input`, or `run: &Run<Config>, input: Input`")),
    };
    Ok(quote! {
        #function

        #[allow(unsafe_code, dead_code, missing_docs, clippy::all, clippy::pedantic)]
        const _: () = {
            use ::terapi_guest::__private::{
                ActionManifest, Context, Failure, action_config_schema, action_world, failure, input_schema, model, output_schema,
                run_action, schema_in, texts,
            };

            struct Script;

            impl action_world::exports::terapi::sync::action_script::Guest for Script {
                fn describe() -> ActionManifest {
                    ActionManifest {
                        name: #name.into(),
                        version: #version.into(),
                        description: #description.into(),
                        input_schema: input_schema(#call),
                        output_schema: output_schema(#call),
                        models: #models,
                        base_url: #base_url,
                        hosts: texts(&[#(#hosts),*]),
                        config_schema: action_config_schema(#call),
                        metadata_schema: #metadata_schema,
                    }
                }

                fn run(context: Context, input: ::std::string::String) -> ::core::result::Result<::std::string::String, Failure> {
                    run_action(context, &input, #call)
                }
            }

            #[cfg(target_family = "wasm")]
            action_world::export!(Script with_types_in action_world);
        };
    })
}

fn manifest(arguments: &Arguments, function: &ItemFn) -> Result<Manifest> {
    if let Some(asyncness) = &function.sig.asyncness {
        return Err(Error::new(
            asyncness.span,
            "a script is a plain function; `fetch_all` and `start` send several requests at a time",
        ));
    }
    let name = Located::of(arguments.text("name")?, || package("NAME"));
    if !is_script_name(&name.text) {
        let message = format!(
            "`{}` is no name for a script: 1 to 63 of a-z 0-9 -, a letter or digit first; give one with `name = \"…\"`",
            name.text
        );
        return Err(name.error(message));
    }
    let description = Located::of(arguments.text("description")?, || {
        Some(doc_comment(&function.attrs)).filter(|text| !text.is_empty()).unwrap_or_else(|| package("DESCRIPTION"))
    });
    if description.text.is_empty() {
        return Err(description
            .error("say in a doc comment on the function what the script does, for who decides to deploy it"));
    }
    let base_url = arguments.text("base_url")?;
    let base_host = match base_url {
        None => None,
        Some(url) => {
            Some(host(&url.value()).ok_or_else(|| Error::new(url.span(), "write an absolute URL: https://…"))?)
        }
    };
    let hosts = match arguments.texts("hosts")? {
        Some(hosts) => hosts.iter().map(|host| host.value()).collect(),
        None => base_host.into_iter().collect(),
    };
    let models = arguments.types("models")?.unwrap_or_default();
    Ok(Manifest {
        name: name.text,
        version: Located::of(arguments.text("version")?, || package("VERSION")).text,
        description: description.text,
        models: quote!(::std::vec![#(model::<#models>()),*]),
        base_url: optional(base_url.map(|url| quote!(#url.into()))),
        hosts,
        metadata_schema: optional(arguments.one_type("metadata")?.map(|of| quote!(schema_in::<#of>()))),
    })
}

/// `Some` of an expression, or `None`.
fn optional(expression: Option<TokenStream>) -> TokenStream {
    expression.map_or_else(
        || quote!(::core::option::Option::None),
        |expression| quote!(::core::option::Option::Some(#expression)),
    )
}

fn missing(argument: &str) -> Error {
    Error::new(Span::call_site(), format!("`{argument}` is missing"))
}

fn wrong(function: &ItemFn, message: &str) -> Error {
    Error::new(function.sig.ident.span(), message)
}

/// What cargo says of the package that is being compiled.
fn package(what: &str) -> String {
    std::env::var(format!("CARGO_PKG_{what}")).unwrap_or_default()
}

/// The first paragraph of the doc comment, in one line.
fn doc_comment(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.skip_while(String::is_empty).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The host of an absolute URL, without port.
fn host(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    (!host.is_empty() && !host.contains('@')).then(|| host.to_owned())
}

fn is_script_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What the compiler says of a sync with these arguments, or the code it becomes.
    fn sync(arguments: &str, function: &str) -> std::result::Result<String, String> {
        let (arguments, function) = (syn::parse_str(arguments).unwrap(), syn::parse_str(function).unwrap());
        expand_sync(&arguments, &function).map(|code| code.to_string()).map_err(|error| error.to_string())
    }

    const WHOLE: &str = r#"mode = "incremental", models = [Issue], base_url = "https://api.example.com:8443/v1""#;
    const SCRIPT: &str = "/// Keeps issues,\n/// all of them.\n///\n/// More.\nfn issues() -> Result<()> { Ok(()) }";

    #[test]
    fn what_is_not_given_comes_from_the_package_the_doc_comment_and_the_base_url() {
        let code = sync(WHOLE, SCRIPT).unwrap();
        for part in ["terapi-guest-macros", "\"Keeps issues, all of them.\"", "\"api.example.com\"", "Incremental"] {
            assert!(code.contains(part), "{part} in {code}");
        }
        let code =
            sync(&format!(r#"{WHOLE}, name = "mine", hosts = ["*.example.com"], description = "D.""#), SCRIPT).unwrap();
        assert!(code.contains("\"mine\"") && code.contains("\"*.example.com\"") && code.contains("\"D.\""), "{code}");
        assert!(!code.contains("\"api.example.com\""), "{code}");
    }

    #[test]
    fn a_sync_with_a_frequency_starts_by_itself_unless_it_says_otherwise() {
        for (arguments, starts) in [
            ("", "auto_start : false"),
            (r#", frequency = "every hour""#, "auto_start : true"),
            (r#", frequency = "every hour", auto_start = false"#, "auto_start : false"),
            (", auto_start = true", "auto_start : true"),
        ] {
            let code = sync(&format!("{WHOLE}{arguments}"), SCRIPT).unwrap();
            assert!(code.contains(starts), "{arguments}: {code}");
        }
    }

    #[test]
    fn a_wrong_manifest_does_not_compile() {
        for (arguments, message) in [
            ("", "`mode = \"full-refresh\"`"),
            (r#"mode = "full""#, "`full-refresh` or `incremental`"),
            (r#"mode = "incremental""#, "`models = [Type]` is missing"),
            (r#"mode = "incremental", models = [Issue], name = "My_Sync""#, "no name for a script"),
            (r#"mode = "incremental", models = [Issue], base_url = "api.example.com""#, "absolute URL"),
            (r#"mode = "incremental", models = [Issue], schedule = "x""#, "no such argument"),
            (r#"mode = "incremental", models = [Issue], auto_start = "yes""#, "write `auto_start = true`"),
            (r#"mode = "incremental", models = ["Issue"]"#, "write `models = [Type]`"),
        ] {
            let error = sync(arguments, SCRIPT).unwrap_err();
            assert!(error.contains(message), "{arguments}: {error}");
        }
        assert!(sync(WHOLE, "/// X.\nfn f(a: u8, b: u8) {}").unwrap_err().contains("a sync takes"));
        assert!(sync(WHOLE, "/// X.\nasync fn f() {}").unwrap_err().contains("plain function"));
    }

    #[test]
    fn the_host_of_a_url_is_found() {
        assert_eq!(host("https://slack.com/api").as_deref(), Some("slack.com"));
        assert_eq!(host("http://127.0.0.1:8080").as_deref(), Some("127.0.0.1"));
        assert_eq!(host("http://[::1]:80/").as_deref(), Some("[::1]"));
        for wrong in ["slack.com", "https://", "https://user@slack.com", "ftp://slack.com"] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }
}
