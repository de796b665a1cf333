//! The `Link` header (RFC 8288, section 3) and the resolution of what it points to (RFC 3986, section 5).
//!
//! A header that cannot be read is an error and not "no next page": a full refresh that ends too early would delete
//! what it did not see.

use crate::error::{Error, Result};

/// The target with the relation `next` among the `Link` headers of an answer.
pub(crate) fn next<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<Option<String>> {
    for header in headers {
        let mut rest = header;
        loop {
            // Empty elements of a list are allowed (RFC 9110, section 5.6.1).
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (link, after) = link(rest).ok_or_else(|| {
                Error::permanent(format!("the Link header `{header}` cannot be read; a link is `<URL>; rel=\"next\"`"))
            })?;
            if link.is_next {
                return Ok(Some(link.target.to_owned()));
            }
            rest = after;
        }
    }
    Ok(None)
}

struct Link<'a> {
    target: &'a str,
    is_next: bool,
}

/// One link, and what follows it.
fn link(text: &str) -> Option<(Link<'_>, &str)> {
    let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    let mut rel: Option<String> = None;
    let mut elsewhere = false;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(parameter) = rest.strip_prefix(';') else { break };
        let parameter = parameter.trim_start_matches([' ', '\t']);
        let name_end = parameter.find(['=', ';', ',', ' ', '\t']).unwrap_or(parameter.len());
        let (name, after) = parameter.split_at(name_end);
        let after = after.trim_start_matches([' ', '\t']);
        let (value, after) = match after.strip_prefix('=') {
            Some(value) => self::value(value.trim_start_matches([' ', '\t']))?,
            None => (String::new(), after),
        };
        if name.eq_ignore_ascii_case("rel") {
            // Only the first `rel` of a link counts (RFC 8288, section 3.3).
            rel.get_or_insert(value);
        } else if name.eq_ignore_ascii_case("anchor") {
            // It links from another resource than the one asked for.
            elsewhere = true;
        }
        rest = after;
    }
    if !(rest.is_empty() || rest.starts_with(',')) {
        return None;
    }
    let is_next = !elsewhere
        && rel.is_some_and(|rel| rel.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next")));
    Some((Link { target: target.trim(), is_next }, rest))
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        return Some((token.to_owned(), rest));
    };
    let mut out = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((out, characters.as_str())),
            '\\' => out.push(characters.next()?),
            character => out.push(character),
        }
    }
}

/// `link` as seen from `base`. Where `base` is a path on the integration's base URL, so is a link that begins with a slash.
pub(crate) fn resolve(base: &str, link: &str) -> String {
    if has_scheme(link) {
        return link.to_owned();
    }
    let base = base.split(['?', '#']).next().unwrap_or_default();
    let (origin, path) = if has_scheme(base) {
        let authority = base.find("://").map_or(0, |at| at + 3);
        let path = base.get(authority..).and_then(|rest| rest.find('/')).map_or(base.len(), |at| authority + at);
        base.split_at(path)
    } else {
        ("", base)
    };
    if let Some(host) = link.strip_prefix("//") {
        let scheme = origin.split("//").next().unwrap_or_default();
        return format!("{}//{host}", if scheme.is_empty() { "https:" } else { scheme });
    }
    if link.starts_with('/') {
        return format!("{origin}{link}");
    }
    if link.is_empty() || link.starts_with('?') {
        return format!("{base}{link}");
    }
    let mut segments: Vec<&str> = path.split('/').collect();
    segments.pop();
    let (relative, query) = link.split_at(link.find('?').unwrap_or(link.len()));
    for segment in relative.split('/') {
        match segment {
            "." => {}
            ".." => {
                // The first one stands before the leading slash.
                if segments.len() > 1 {
                    segments.pop();
                }
            }
            segment => segments.push(segment),
        }
    }
    let path = segments.join("/");
    format!("{origin}{}{path}{query}", if path.starts_with('/') { "" } else { "/" })
}

fn has_scheme(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn next_of(header: &str) -> Option<String> {
        next([header]).unwrap()
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        let header = r#"<https://x.test/i?page=1>; rel="prev", <https://x.test/i?page=3>; rel="next", <https://x.test/i?page=9>; rel="last""#;
        assert_eq!(next_of(header).as_deref(), Some("https://x.test/i?page=3"));
        assert_eq!(next_of(r#"<https://x.test/i?page=1>; rel="first""#), None);
        assert_eq!(next([]).unwrap(), None);
        assert_eq!(next([r#"<a>; rel="prev""#, r#"<b>; rel="next""#]).unwrap().as_deref(), Some("b"));
    }

    #[test]
    fn commas_and_semicolons_belong_to_what_quotes_or_brackets_hold() {
        let header = r#"<https://x.test/?a=1,2;3>; title="a, <b>; rel=\"next\""; rel=prev, <https://x.test/?b=1,2;rel=next>;rel=next"#;
        assert_eq!(next_of(header).as_deref(), Some("https://x.test/?b=1,2;rel=next"));
    }

    #[test]
    fn a_relation_is_a_word_of_a_list_in_any_case() {
        assert_eq!(next_of(r#"<a>; REL="last NEXT""#).as_deref(), Some("a"));
        assert_eq!(next_of("<a> ; rel = next").as_deref(), Some("a"));
        assert_eq!(next_of(r#"<a>; rel="nextish""#), None);
        assert_eq!(next_of("<a>; crossorigin; rel=next").as_deref(), Some("a"));
    }

    #[test]
    fn only_the_first_relation_of_a_link_counts_and_a_foreign_anchor_does_not() {
        assert_eq!(next_of("<a>; rel=prev; rel=next"), None);
        assert_eq!(next_of(r##"<a>; rel=next; anchor="#other""##), None);
    }

    #[test]
    fn a_header_that_cannot_be_read_is_an_error_and_not_the_end() {
        for header in [
            "https://x.test; rel=next",
            "<https://x.test; rel=next",
            r#"<a>; rel="next"#,
            "<a> rel=next",
            "<a>; rel=prev x",
        ] {
            assert!(next([header]).is_err(), "{header}");
        }
        assert_eq!(next_of(" , ,<a>; rel=next, ").as_deref(), Some("a"));
    }

    #[test]
    fn a_relative_link_is_resolved_against_the_request() {
        for (base, link, expected) in [
            ("https://x.test/v1/items?a=1", "https://y.test/z", "https://y.test/z"),
            ("https://x.test/v1/items?a=1", "/v1/items?page=2", "https://x.test/v1/items?page=2"),
            ("https://x.test/v1/items?a=1", "?page=2", "https://x.test/v1/items?page=2"),
            ("https://x.test/v1/items", "more?page=2", "https://x.test/v1/more?page=2"),
            ("https://x.test/v1/items", "../v2/items", "https://x.test/v2/items"),
            ("https://x.test", "items?u=a/../b", "https://x.test/items?u=a/../b"),
            ("https://x.test/v1", "//y.test/z", "https://y.test/z"),
            ("/items?a=1", "/items?page=2", "/items?page=2"),
            ("/items?a=1", "?page=2", "/items?page=2"),
            ("/v1/items", "more", "/v1/more"),
        ] {
            assert_eq!(resolve(base, link), expected, "{link} from {base}");
        }
    }
}
