//! URLs as WHATWG has them, and `application/x-www-form-urlencoded`.

use rquickjs::{Ctx, Object, Result, Value};
use url::{Url, form_urlencoded, quirks};

use super::add as function;
use crate::engine::or_null;
use crate::values::{Text, pairs};

pub fn add<'js>(host: &Object<'js>) -> Result<()> {
    function(host, "parseUrl", |ctx: Ctx<'js>, text: Text, base: Option<Text>| {
        let parsed = match base {
            Some(base) => Url::parse(&base.0).and_then(|base| base.join(&text.0)),
            None => Url::parse(&text.0),
        };
        or_null(&ctx, parsed.ok().map(|url| parts(&url)))
    })?;
    // A URL with one part changed; a part that cannot be so leaves it as it is.
    function(host, "setUrl", |ctx: Ctx<'js>, href: Text, part: Text, value: Text| {
        let changed = Url::parse(&href.0).ok().map(|mut url| {
            let value = value.0.as_str();
            let _ = match part.0.as_str() {
                "protocol" => quirks::set_protocol(&mut url, value),
                "username" => quirks::set_username(&mut url, value),
                "password" => quirks::set_password(&mut url, value),
                "host" => quirks::set_host(&mut url, value),
                "hostname" => quirks::set_hostname(&mut url, value),
                "port" => quirks::set_port(&mut url, value),
                "pathname" => {
                    quirks::set_pathname(&mut url, value);
                    Ok(())
                }
                "search" => {
                    quirks::set_search(&mut url, value);
                    Ok(())
                }
                _ => {
                    quirks::set_hash(&mut url, value);
                    Ok(())
                }
            };
            parts(&url)
        });
        or_null(&ctx, changed)
    })?;
    function(host, "parseForm", |text: Text| {
        form_urlencoded::parse(text.0.as_bytes())
            .flat_map(|(name, value)| [name.into_owned(), value.into_owned()])
            .collect::<Vec<_>>()
    })?;
    function(host, "encodeForm", |ctx: Ctx<'js>, flat: Value<'js>| {
        Ok::<_, rquickjs::Error>(form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs(&ctx, flat)?).finish())
    })
}

/// In the order that `sdk/globals/url.js` reads them in.
fn parts(url: &Url) -> Vec<String> {
    vec![
        quirks::href(url).to_owned(),
        quirks::origin(url),
        quirks::protocol(url).to_owned(),
        quirks::username(url).to_owned(),
        quirks::password(url).to_owned(),
        quirks::host(url).to_owned(),
        quirks::hostname(url).to_owned(),
        quirks::port(url).to_owned(),
        quirks::pathname(url).to_owned(),
        quirks::search(url).to_owned(),
        quirks::hash(url).to_owned(),
    ]
}
