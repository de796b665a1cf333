//! The document that describes the API: `OpenAPI` 3.1, made of the routes.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContactBuilder, InfoBuilder, OpenApi, RefOr, Schema, Server};

/// Adds what is the same for all routes.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Terapi")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Connects accounts at external APIs, runs sync scripts on a schedule, and serves what changed. Errors are \
             `application/problem+json` with a stable `code`. Lists are paged: hand back `next` as `after`.",
        ))
        .contact(Some(ContactBuilder::new().name(Some("Terapi")).build()))
        .build();
    document.servers = Some(vec![Server::new("/")]);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key: `terapi_ENVIRONMENT_…`, as `terapi init` and `POST /v1/keys` make them."))
        .build();
    let components = document.components.get_or_insert_with(Components::default);
    components.add_security_scheme("key", SecurityScheme::Http(bearer));
    // The router's way to say that a parameter takes the rest of the path.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    // A response needs a description, also where the shape says it all.
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for response in
            operations.into_iter().flatten().flat_map(|operation| operation.responses.responses.values_mut())
        {
            if let RefOr::T(response) = response
                && response.description.is_empty()
            {
                "What was asked for.".clone_into(&mut response.description);
            }
        }
    }
    // Part of an answer that has more fields: there "no others" would refuse those.
    if let Some(RefOr::T(Schema::Object(spec))) = components.schemas.get_mut("IntegrationSpec") {
        spec.additional_properties = None;
    }
    document.security = Some(vec![SecurityRequirement::new("key", [""; 0])]);
    document
}

/// The document, without a service behind it.
#[must_use]
pub fn document() -> OpenApi {
    complete(super::routes().into_openapi())
}
