//! The `Link` header (RFC 8288, section 3).
//!
//! A header that cannot be read is an error and not "no next page": a full refresh that ends too early would delete
//! what it did not see.

/// How much of a header an error shows.
const MAX_SHOWN: usize = 200;

/// The target with the relation `next` among the `Link` headers of an answer.
pub(super) fn next<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<Option<String>, String> {
    for header in headers {
        let mut rest = header;
        loop {
            // Empty elements of a list are allowed (RFC 9110, section 5.6.1).
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (link, after) = link(rest).ok_or_else(|| {
                let start: String = header.chars().take(MAX_SHOWN).collect();
                format!("the Link header `{start}` cannot be read; a link is `<URL>; rel=\"next\"`")
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
}
