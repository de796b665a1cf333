//! `#[model]` and `#[data]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DeriveInput, Error, Fields, ItemStruct, Result, parse_quote};

use crate::arguments::{Arguments, Located};

pub(crate) fn expand(arguments: &Arguments, mut item: ItemStruct) -> Result<TokenStream> {
    arguments.only(&["id", "name", "ignore"])?;
    let name = Located::of(arguments.text("name")?, || item.ident.to_string());
    if !is_model_name(&name.text) {
        return Err(
            name.error("a model's name is 1 to 64 of A-Z a-z 0-9 _ -, a letter first; give one with `name = \"…\"`")
        );
    }
    let id = Located::of(arguments.text("id")?, || "id".to_owned());
    let ignore = arguments.texts("ignore")?.unwrap_or_default();
    let serde_free = !has_serde(&item.attrs);
    let Fields::Named(fields) = &mut item.fields else {
        return Err(Error::new(item.ident.span(), "a record is a struct with named fields"));
    };

    let names: Vec<String> =
        fields.named.iter().filter_map(|field| field.ident.as_ref().map(ToString::to_string)).collect();
    if serde_free && !fields.named.iter().any(|field| has_serde(&field.attrs)) {
        for field in &ignore {
            if !names.contains(&field.value()) {
                return Err(Error::new(field.span(), "the struct has no such field"));
            }
        }
    }
    if id.text != "id" && names.iter().any(|name| name == "id") {
        return Err(
            id.error("the struct has a field `id`, and that is the id of a record: rename the one or the other")
        );
    }
    let Some(id_field) =
        fields.named.iter_mut().find(|field| field.ident.as_ref().is_some_and(|name| *name == id.text))
    else {
        let message = format!("the struct has no field `{}`: `id = \"…\"` names the field that holds the id", id.text);
        return Err(id.error(message));
    };
    let (id_name, id_type) = (id_field.ident.clone(), id_field.ty.clone());

    let (write, schema) = if id.text == "id" {
        // The id is a string in JSON whatever its type, and is called so whatever `rename_all` says.
        id_field.attrs.push(parse_quote!(
            #[serde(rename = "id", serialize_with = "::terapi_guest::__private::serialize_id")]
        ));
        id_field.attrs.push(parse_quote!(#[schemars(with = "::std::string::String")]));
        (quote!(write_json(self, out)), quote!(schema_out))
    } else {
        (quote!(write_json_with_id(&::terapi_guest::Model::id(self), self, out)), quote!(schema_with_id))
    };

    let (ident, name) = (&item.ident, &name.text);
    let (impl_generics, generics, bounds) = item.generics.split_for_impl();
    let id_of = quote_spanned!(id_type.span()=> ::terapi_guest::RecordId::as_text(&self.#id_name));
    Ok(quote! {
        #[derive(::terapi_guest::__private::serde::Serialize, ::terapi_guest::__private::schemars::JsonSchema)]
        #[serde(crate = "::terapi_guest::__private::serde")]
        #[schemars(crate = "::terapi_guest::__private::schemars")]
        #item

        #[automatically_derived]
        impl #impl_generics ::terapi_guest::Model for #ident #generics #bounds {
            const NAME: &'static str = #name;
            const IGNORE: &'static [&'static str] = &[#(#ignore),*];

            fn id(&self) -> ::std::borrow::Cow<'_, str> {
                #id_of
            }

            fn schema() -> ::std::string::String {
                ::terapi_guest::__private::#schema::<Self>()
            }

            fn write_json(&self, out: &mut ::std::vec::Vec<u8>) -> ::terapi_guest::Result<()> {
                ::terapi_guest::__private::#write
            }
        }
    })
}

pub(crate) fn expand_data(arguments: &Arguments, item: &DeriveInput) -> Result<TokenStream> {
    arguments.only(&[])?;
    Ok(quote! {
        #[derive(
            ::terapi_guest::__private::serde::Serialize,
            ::terapi_guest::__private::serde::Deserialize,
            ::terapi_guest::__private::schemars::JsonSchema,
        )]
        #[serde(crate = "::terapi_guest::__private::serde")]
        #[schemars(crate = "::terapi_guest::__private::schemars")]
        #item
    })
}

fn has_serde(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("serde"))
}

fn is_model_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
