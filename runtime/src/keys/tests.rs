#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

const NOW: Timestamp = Timestamp(1_767_323_045_678);

fn environment(name: &str) -> EnvironmentName {
    name.parse().unwrap()
}

fn key() -> (String, ApiKey) {
    let (text, row) = ApiKey::generate(&environment("default"), "ci", Scopes::all(), NOW).unwrap();
    (text.expose().to_owned(), row)
}

fn present(text: &str) -> PresentedKey {
    text.parse().unwrap()
}

#[test]
fn a_new_key_opens_what_it_was_made_for() {
    let scopes: Scopes = "read-records,deploy".parse().unwrap();
    let (text, row) = ApiKey::generate(&environment("staging-2"), " ci ", scopes.clone(), NOW).unwrap();
    assert_eq!((row.name.as_str(), row.created_at, row.expires_at), ("ci", NOW, None));
    let presented = present(text.expose());
    assert_eq!((presented.environment(), presented.id()), (&row.environment, row.id.as_str()));
    let principal = row.verify(&presented, NOW).unwrap();
    assert_eq!(principal, Principal { environment: row.environment.clone(), key_id: row.id.clone(), scopes });
    assert!(principal.may(Scope::ReadRecords) && principal.may(Scope::Deploy));
    assert!(!principal.may(Scope::RunActions) && !principal.may(Scope::Manage));
}

#[test]
fn a_key_is_found_by_the_scanners_pattern() {
    // terapi_[a-z0-9-]{1,63}_[a-z2-7]{12}_[a-z2-7]{58}
    let (text, _) = key();
    let parts: Vec<&str> = text.split('_').collect();
    assert_eq!(parts[..2], ["terapi", "default"]);
    assert_eq!(parts[2..].iter().map(|part| part.len()).collect::<Vec<_>>(), [12, 58]);
    assert!(parts[2..].concat().bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')));
}

#[test]
fn the_longest_key_is_read_and_nothing_longer() {
    let (text, row) = ApiKey::generate(&environment(&"e".repeat(63)), "ci", Scopes::all(), NOW).unwrap();
    assert_eq!(text.expose().len(), MAX_KEY_CHARS);
    row.verify(&present(text.expose()), NOW).unwrap();
    assert_eq!(format!("{}a", text.expose()).parse::<PresentedKey>().unwrap_err(), KeyError::Malformed);
    assert_eq!("_".repeat(1 << 20).parse::<PresentedKey>().unwrap_err(), KeyError::Malformed);
}

#[test]
fn what_is_no_key_is_told_from_a_key_with_a_typing_error() {
    for text in
        ["", "terapi", "sk_live_123", "terapi_default_abc", "terapi_Default_a_b", "terapi__a_b", "terapi_-_a_b", "_"]
    {
        assert_eq!(text.parse::<PresentedKey>().unwrap_err(), KeyError::Malformed, "{text}");
    }
    let (text, _) = key();
    for broken in [&text[..text.len() - 1], &format!("{text}a"), &text.replacen("terapi_default", "terapi_defaut", 1)] {
        assert_eq!(broken.parse::<PresentedKey>().unwrap_err(), KeyError::Mistyped, "{broken}");
    }
}

#[test]
fn every_wrong_letter_is_a_typing_error() {
    let (text, _) = key();
    let tail = text.len() - SECRET_CHARS - CHECKSUM_CHARS - ID_CHARS - 1;
    for at in (tail..text.len()).filter(|at| text.as_bytes()[*at] != b'_') {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'q' { b'x' } else { b'q' };
        let wrong = String::from_utf8(bytes).unwrap();
        assert_eq!(wrong.parse::<PresentedKey>().unwrap_err(), KeyError::Mistyped, "{wrong}");
    }
    let upper = text.to_ascii_uppercase().replacen("TERAPI_DEFAULT", "terapi_default", 1);
    assert_eq!(upper.parse::<PresentedKey>().unwrap_err(), KeyError::Mistyped);
    assert_eq!(text.replace('_', "é").parse::<PresentedKey>().unwrap_err(), KeyError::Malformed);
}

#[test]
fn what_no_key_is_made_of_is_refused_even_with_a_right_checksum() {
    for (id, secret) in [
        ("a".repeat(12), "A".repeat(52)),
        ("a".repeat(12), "1".repeat(52)),
        ("a".repeat(12), "é".repeat(26)),
        ("a".repeat(12), "a".repeat(51)),
        ("a".repeat(11), "a".repeat(52)),
        ("A".repeat(12), "a".repeat(52)),
    ] {
        let body = format!("terapi_default_{id}_{secret}");
        let forged = format!("{body}{}", checksum(&body));
        assert_eq!(forged.parse::<PresentedKey>().unwrap_err(), KeyError::Mistyped, "{forged}");
    }
}

#[test]
fn a_secret_of_somebody_elses_making_is_unknown() {
    let (text, row) = key();
    // Well-formed, of the same id, with a checksum that is right.
    let mut body = text[..text.len() - CHECKSUM_CHARS].to_owned();
    let last = if body.ends_with('a') { "q" } else { "a" };
    body.replace_range(body.len() - 1.., last);
    let forged = format!("{body}{}", checksum(&body));
    assert_eq!(present(&forged).id(), row.id);
    assert_eq!(row.verify(&present(&forged), NOW), Err(KeyError::Unknown));
    assert_eq!(row.verify(&present(&key().0), NOW), Err(KeyError::Unknown));
}

#[test]
fn a_row_opens_nothing_in_another_environment_or_under_another_id() {
    let (text, row) = key();
    let moved = ApiKey { environment: environment("other"), ..row.clone() };
    assert_eq!(moved.verify(&present(&text), NOW), Err(KeyError::Unknown));
    let renamed = ApiKey { id: "a".repeat(12), ..row.clone() };
    assert_eq!(renamed.verify(&present(&text), NOW), Err(KeyError::Unknown));

    let body = text[..text.len() - CHECKSUM_CHARS].replacen("_default_", "_other_", 1);
    let elsewhere = format!("{body}{}", checksum(&body));
    assert_eq!(moved.verify(&present(&elsewhere), NOW), Err(KeyError::Unknown));
}

#[test]
fn a_key_opens_nothing_from_the_moment_it_expires() {
    let (text, mut row) = key();
    row.expires_at = Some(Timestamp(NOW.0 + 10));
    row.verify(&present(&text), Timestamp(NOW.0 + 9)).unwrap();
    let expired = row.verify(&present(&text), Timestamp(NOW.0 + 10));
    assert_eq!(expired, Err(KeyError::Expired { at: Timestamp(NOW.0 + 10) }));
    // Whoever does not have the secret is not told.
    row.hash = key().1.hash;
    assert_eq!(row.verify(&present(&text), Timestamp(NOW.0 + 10)), Err(KeyError::Unknown));
}

#[test]
fn a_key_needs_a_name_and_a_scope() {
    let make = |name: &str, scopes| ApiKey::generate(&environment("default"), name, scopes, NOW).unwrap_err();
    for name in ["", "  ", "a\nb", &"é".repeat(101)] {
        assert_eq!(make(name, Scopes::all()), KeyError::BadName, "{name}");
    }
    ApiKey::generate(&environment("default"), &"é".repeat(100), Scopes::all(), NOW).unwrap();
    assert_eq!(make("ci", Scopes::default()), KeyError::NoScopes);
}

#[test]
fn a_stored_key_has_its_hash_and_nothing_of_its_secret() {
    let (text, row) = key();
    let json = serde_json::to_string(&row).unwrap();
    let read: ApiKey = serde_json::from_str(&json).unwrap();
    assert_eq!(read, row);
    read.verify(&present(&text), NOW).unwrap();
    let secret = text.rsplit('_').next().unwrap();
    for part in secret.as_bytes().windows(8) {
        assert!(!json.contains(std::str::from_utf8(part).unwrap()), "{json}");
    }
    assert!(json.contains(r#""scopes":["read-records","run-actions","manage","deploy"]"#), "{json}");
    let bad = json.replace(&String::from(row.hash), "abcd");
    serde_json::from_str::<ApiKey>(&bad).unwrap_err();
}

#[test]
fn the_stored_hash_is_the_sha_256_of_all_but_the_checksum() {
    // Not to be changed: every key that is out there would stop working.
    let body = format!("terapi_default_{}_{}", "b".repeat(12), "c".repeat(52));
    let key = present(&format!("{body}{}", checksum(&body)));
    assert_eq!(String::from(key.hash), crate::ids::ScriptHash::of(body.as_bytes()).as_str());
    assert_eq!(checksum(&body), base32(blake3::hash(body.as_bytes()).as_bytes()).take(6).collect::<String>());
}

#[test]
fn debug_shows_no_key_and_no_hash() {
    let (text, row) = ApiKey::generate(&environment("default"), "ci", Scopes::all(), NOW).unwrap();
    let secret = &text.expose()[text.expose().len() - 58..];
    let shown = format!("{text:?} {row:?} {:?}", present(text.expose()));
    assert!(!shown.contains(&secret[..8]) && !shown.contains(&secret[50..]), "{shown}");
    assert!(!shown.contains(&String::from(row.hash)), "{shown}");
}

#[test]
fn base32_is_that_of_rfc_4648() {
    let text = |bytes: &[u8]| base32(bytes).collect::<String>();
    for (bytes, expected) in [
        ("", ""),
        ("f", "my"),
        ("fo", "mzxq"),
        ("foo", "mzxw6"),
        ("foob", "mzxw6yq"),
        ("fooba", "mzxw6ytb"),
        ("foobar", "mzxw6ytboi"),
    ] {
        assert_eq!(text(bytes.as_bytes()), expected);
    }
    assert_eq!(text(&[0xff; 32]).len(), SECRET_CHARS);
}

#[test]
fn no_two_keys_are_alike() {
    let keys: BTreeSet<String> = (0..200).map(|_| key().0).collect();
    assert_eq!(keys.len(), 200);
    let ids: BTreeSet<&str> = keys.iter().map(|key| &key[15..27]).collect();
    assert_eq!(ids.len(), 200);
}

#[test]
fn scopes_are_read_from_names_with_commas() {
    assert_eq!("all".parse::<Scopes>().unwrap(), Scopes::all());
    let scopes: Scopes = " manage, read-records ,".parse().unwrap();
    assert_eq!(scopes.to_string(), "read-records,manage");
    assert_eq!("".parse::<Scopes>().unwrap(), Scopes::default());
    let error = "read-records,write".parse::<Scopes>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`write` is not a scope: there are read-records,run-actions,manage,deploy, and `all`"
    );
    for scope in Scope::ALL {
        assert_eq!(serde_json::to_string(&scope).unwrap(), format!("{:?}", scope.to_string()));
    }
}

#[test]
fn scopes_include_only_what_they_have() {
    let some: Scopes = "read-records,manage".parse().unwrap();
    assert!(Scopes::all().includes(&some) && some.includes(&some) && some.includes(&Scopes::default()));
    assert!(!some.includes(&Scopes::all()));
    assert!(!some.includes(&"deploy".parse().unwrap()));
}
