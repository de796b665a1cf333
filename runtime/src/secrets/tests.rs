#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Of 32 bytes of 7 and of 32 bytes of 9.
const SEVENS: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const NINES: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

fn keyring(text: &str) -> Keyring {
    Keyring::parse(text, "test").unwrap()
}

fn ids(keyring: &Keyring) -> Vec<&str> {
    keyring.ids().collect()
}

fn code<T: fmt::Debug>(result: Result<T>) -> &'static str {
    result.unwrap_err().code()
}

/// A folder whose `keys` file has this text and mode.
fn folder_with(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

#[test]
fn what_is_sealed_opens_for_its_purpose() {
    let keyring = Keyring::generate().unwrap();
    for plain in [&b""[..], b"sk_live_1", &[0xff; 5000]] {
        let sealed = keyring.seal("connection acme", plain).unwrap();
        assert_eq!(keyring.open("connection acme", &sealed).unwrap().expose(), plain);
    }
}

#[test]
fn what_is_sealed_opens_for_no_other_purpose() {
    let keyring = Keyring::generate().unwrap();
    let sealed = keyring.seal("connection acme", b"sk_live_1").unwrap();
    for other in ["connection evil", "connection acme ", "", "connection acm"] {
        assert_eq!(code(keyring.open(other, &sealed)), "secrets-damaged", "{other}");
    }
}

#[test]
fn a_sealed_text_is_a_version_the_keys_id_and_base64url() {
    let sealed = keyring(&format!("2026-01:{SEVENS}")).seal("p", b"plain").unwrap();
    let text = sealed.strip_prefix("v1.2026-01.").unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(text).unwrap().len(), NONCE_BYTES + b"plain".len() + TAG_BYTES);
    assert!(!sealed.contains(&URL_SAFE_NO_PAD.encode("plain")));
}

#[test]
fn what_an_older_terapi_sealed_still_opens() {
    // Made by another implementation, written for this from RFC 8439 and draft-irtf-cfrg-xchacha-03: key of 32 sevens,
    // nonce 0 to 23, bound to `terapi v1 NUL a NUL connection acme`. If it no longer opens, nobody's credentials do.
    let sealed = "v1.a.AAECAwQFBgcICQoLDA0ODxAREhMUFRYX23z06ZNqPvpWou8zj4zKwIMGvmkzqBotaOAHu7DKiPI";
    let opened = keyring(&format!("a:{SEVENS}")).open("connection acme", sealed).unwrap();
    assert_eq!(opened.expose(), b"sk_live_sentinel");
}

#[test]
fn the_same_sealed_twice_is_different() {
    let keyring = Keyring::generate().unwrap();
    assert_ne!(keyring.seal("p", b"plain").unwrap(), keyring.seal("p", b"plain").unwrap());
}

#[test]
fn no_flipped_bit_of_a_sealed_text_opens() {
    let keyring = keyring(&format!("a:{SEVENS}\nb:{NINES}"));
    let sealed = keyring.seal("p", b"plain").unwrap();
    for at in 0..sealed.len() {
        for bit in 0..7 {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let flipped = String::from_utf8(bytes).unwrap();
            let error = keyring.open("p", &flipped).unwrap_err();
            assert!(matches!(error.code(), "secrets-damaged" | "secrets-unknown-key"), "{flipped}");
        }
    }
}

#[test]
fn no_part_of_a_sealed_text_opens() {
    let keyring = Keyring::generate().unwrap();
    let sealed = keyring.seal("p", b"plain").unwrap();
    for end in 0..sealed.len() {
        keyring.open("p", &sealed[..end]).unwrap_err();
    }
    keyring.open("p", &format!("{sealed}AAAA")).unwrap_err();
}

#[test]
fn a_text_sealed_with_a_key_that_is_not_there_names_it() {
    let sealed = keyring(&format!("lost:{SEVENS}")).seal("p", b"plain").unwrap();
    let error = keyring(&format!("other:{NINES}")).open("p", &sealed).unwrap_err();
    assert_eq!(error.code(), "secrets-unknown-key");
    assert!(error.to_string().contains("`lost`, which is not in the keyring: add it to"), "{error}");
}

#[test]
fn another_key_of_the_same_id_opens_nothing() {
    let sealed = keyring(&format!("a:{SEVENS}")).seal("p", b"plain").unwrap();
    assert_eq!(code(keyring(&format!("a:{NINES}")).open("p", &sealed)), "secrets-damaged");
}

#[test]
fn the_keys_id_is_bound_to_what_it_sealed() {
    // The same key under two ids: were the id not bound, a text could be made to look freshly rotated.
    let keyring = keyring(&format!("a:{SEVENS}\nb:{SEVENS}"));
    let sealed = keyring.seal("p", b"plain").unwrap();
    assert_eq!(code(keyring.open("p", &sealed.replace("v1.a.", "v1.b."))), "secrets-damaged");
}

#[test]
fn too_much_is_not_sealed() {
    let keyring = Keyring::generate().unwrap();
    keyring.seal("p", &vec![0; MAX_PLAIN_BYTES]).unwrap();
    assert_eq!(code(keyring.seal("p", &vec![0; MAX_PLAIN_BYTES + 1])), "secrets-too-large");
}

#[test]
fn a_rotation_loses_nothing_on_its_way() {
    let first = Keyring::generate().unwrap();
    let sealed = first.seal("p", b"plain").unwrap();
    assert!(!first.needs_rotation(&sealed));

    let both = first.rotated().unwrap();
    assert_eq!(ids(&both)[1..], ids(&first)[..]);
    assert!(both.needs_rotation(&sealed));
    let opened = both.open("p", &sealed).unwrap();
    let resealed = both.seal("p", opened.expose()).unwrap();
    assert!(!both.needs_rotation(&resealed));

    let last = both.without_old();
    assert_eq!(ids(&last), ids(&both)[..1]);
    assert_eq!(last.open("p", &resealed).unwrap().expose(), b"plain");
    assert_eq!(code(last.open("p", &sealed)), "secrets-unknown-key");
}

#[test]
fn a_text_that_cannot_be_sealed_by_anyone_needs_rotation() {
    let keyring = Keyring::generate().unwrap();
    for text in ["", "v1", "v2.a.AAAA", "v1..AAAA", "v1.a b.AAAA"] {
        assert!(keyring.needs_rotation(text), "{text}");
        assert_eq!(code(keyring.open("p", text)), "secrets-damaged", "{text}");
    }
}

#[test]
fn a_keyring_is_read_from_lines_commas_and_comments() {
    let unpadded = NINES.trim_end_matches('=');
    for text in [
        format!("# mine\n\na:{SEVENS} # of January\n  b : {unpadded}\n"),
        format!("a:{SEVENS},b:{NINES}"),
        format!("a:{SEVENS}\r\nb:{NINES}\r\n"),
        format!(",a:{SEVENS}, b:{NINES},"),
    ] {
        let keyring = keyring(&text);
        assert_eq!(ids(&keyring), ["a", "b"], "{text}");
        assert_eq!(*keyring.current.bytes, [7; 32]);
        assert_eq!(*keyring.old[0].bytes, [9; 32]);
    }
}

#[test]
fn a_bad_key_is_told_with_its_line_and_without_its_text() {
    let short = "BwcHBwcHBwcHBwcHBwcHBw==";
    for (text, problem) in [
        (String::new(), "there is no key in it"),
        ("# nothing\n".to_owned(), "there is no key in it"),
        (format!("a:{NINES}\n{SEVENS}"), "line 2 is not right: there is no `:`"),
        (format!("a:{short}"), "the key `a` has 16 bytes and not 32"),
        (format!("a:{SEVENS}{SEVENS}"), "the key `a` is not base64"),
        ("a:!BwcHBwcHBw".to_owned(), "the key `a` is not base64"),
        (format!("a:{SEVENS}\na:{NINES}"), "line 2 is not right: there are two keys with the id `a`"),
        (format!("a.b:{SEVENS}"), "a key's id is"),
        (format!(":{SEVENS}"), "a key's id is"),
        (format!("{SEVENS}:a"), "a key's id is"),
    ] {
        let error = Keyring::parse(&text, "keys").unwrap_err();
        assert_eq!(error.code(), "secrets-bad-key");
        assert!(error.to_string().contains(problem), "{error}");
        assert!(!format!("{error} {error:?}").contains("BwcHB"), "{error:?}");
    }
}

#[test]
fn the_variable_is_stronger_than_the_file_unless_it_is_empty() {
    let (_folder, path) = folder_with(&format!("file:{SEVENS}"), 0o600);
    let variable = format!("variable:{NINES}");
    let read = |value| Keyring::from_env_or_file(value, &path).unwrap().unwrap();
    assert_eq!(ids(&read(Some(variable.as_str()))), ["variable"]);
    assert_eq!(ids(&read(None)), ["file"]);
    assert_eq!(ids(&read(Some(" "))), ["file"]);
    let error = Keyring::from_env_or_file(Some("nonsense"), &path).unwrap_err();
    assert!(error.to_string().starts_with("TERAPI_SECRETS_KEYS, line 1 is not right"), "{error}");
}

#[test]
fn without_variable_and_file_there_is_no_keyring() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Keyring::from_env_or_file(None, &folder.path().join("keys")).unwrap().is_none());
}

#[test]
fn a_key_file_that_others_may_use_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644] {
        let (_folder, path) = folder_with(&format!("a:{SEVENS}"), mode);
        let error = Keyring::from_env_or_file(None, &path).unwrap_err();
        assert_eq!(error.code(), "secrets-file");
        assert!(error.to_string().contains(&format!("run `chmod 600 {}`", path.display())), "{error}");
    }
    for mode in [0o600, 0o400] {
        let (_folder, path) = folder_with(&format!("a:{SEVENS}"), mode);
        assert!(Keyring::from_env_or_file(None, &path).unwrap().is_some());
    }
}

#[test]
fn what_is_not_a_key_file_is_refused() {
    let (folder, path) = folder_with(&"#".repeat(70_000), 0o600);
    assert_eq!(code(Keyring::from_env_or_file(None, &path)), "secrets-file");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let error = Keyring::from_env_or_file(None, folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("it is not a file"), "{error}");
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert_eq!(code(Keyring::from_env_or_file(None, &path)), "secrets-file");
}

#[test]
fn a_new_key_file_is_its_owners_alone_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let keyring = Keyring::generate().unwrap();
    keyring.create_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let read = Keyring::from_env_or_file(None, &path).unwrap().unwrap();
    let sealed = keyring.seal("p", b"plain").unwrap();
    assert_eq!(read.open("p", &sealed).unwrap().expose(), b"plain");
}

#[test]
fn a_new_key_file_takes_the_place_of_nothing() {
    let (folder, path) = folder_with("precious", 0o600);
    let error = Keyring::generate().unwrap().create_file(&path).unwrap_err();
    assert_eq!(error.code(), "secrets-file");
    assert!(error.to_string().contains("it is there already"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
    Keyring::generate().unwrap().create_file(&link).unwrap_err();
}

#[test]
fn a_rotated_keyring_replaces_the_file_and_leaves_nothing_else() {
    let (folder, path) = folder_with(&format!("a:{SEVENS}"), 0o400);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let rotated = keyring(&format!("a:{SEVENS}")).rotated().unwrap();
    rotated.write_file(&link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(ids(&Keyring::from_env_or_file(None, &path).unwrap().unwrap()), ids(&rotated));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_file_that_cannot_be_replaced_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let rotated = Keyring::generate().unwrap();
    assert_eq!(code(rotated.write_file(&folder.path().join("none"))), "secrets-file");
    // A folder is where the file should be: the new file is written beside it and cannot take its place.
    let path = folder.path().join("keys");
    fs::create_dir(&path).unwrap();
    assert_eq!(code(rotated.write_file(&path)), "secrets-file");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn debug_shows_ids_and_no_key_or_secret() {
    let keyring = keyring(&format!("a:{SEVENS}\nb:{NINES}"));
    assert_eq!(format!("{keyring:?}"), r#"Keyring(["a", "b"])"#);
    assert_eq!(format!("{:?}", Secret::from(b"plain".to_vec())), "[secret]");
}

#[test]
fn what_is_wiped_is_zero() {
    let mut bytes = *b"plain";
    wipe(&mut bytes);
    assert_eq!(bytes, [0; 5]);
}

#[test]
fn an_error_without_keys_says_how_to_make_one() {
    let error = SecretsError::NoKey { file: PathBuf::from("data/secrets.key") };
    assert_eq!(error.code(), "secrets-no-key");
    assert!(
        error.to_string().contains("`terapi secrets init`, which writes data/secrets.key, or set TERAPI_SECRETS_KEYS")
    );
}
