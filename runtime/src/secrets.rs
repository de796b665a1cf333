//! Sealing: how credentials lie on disk.
//!
//! A [`Keyring`] has one or more 256-bit keys, each with a short id. The first is the current one, which seals; all of
//! them open. So a key is replaced without a moment in which something cannot be read, nor one in which a crash loses
//! anything: take the [rotated](Keyring::rotated) keyring, [write](Keyring::write_file) it, and only then seal with it;
//! seal anew whatever [needs it](Keyring::needs_rotation); last write it [without the old](Keyring::without_old) keys.
//!
//! - A sealed text is `v1.<key id>.<base64url(nonce ‖ ciphertext ‖ tag)>`, by XChaCha20-Poly1305: its nonce of 24 bytes
//!   may be drawn at random for every text of a key's life.
//! - The purpose (such as `connection acme`) and the key's id are bound to it: what was sealed for one thing does not open
//!   as another, so whoever can write to the data directory cannot hand one account's credential to another's host.
//! - Keys and opened texts are wiped when they are dropped, as well as that can be done without unsafe code; neither
//!   has a `Debug` that shows it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::{AeadInOut as _, Key as CipherKey, KeyInit as _, XChaCha20Poly1305, XNonce};

/// The environment variable that has the keyring. It is stronger than the file.
pub const KEYS_VARIABLE: &str = "TERAPI_SECRETS_KEYS";
/// The most that is sealed at once: a credential is a few KiB. A bound, so that nothing else ends up here.
pub const MAX_PLAIN_BYTES: usize = 1 << 20;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// More than a thousand keys. What is larger is some other file.
const MAX_FILE_BYTES: u64 = 64 << 10;
const VERSION: &str = "v1";
/// What a key file opens with.
const FILE_HEADER: &str = "\
# The keys that Terapi seals credentials with, a line each: id:key. The first seals, all of them open.
# Keep a copy away from the data: without these keys no sealed credential can be read, with them all can.
";

/// People paste keys with and without padding.
const KEY_TEXT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why something could not be sealed, opened, or a keyring not be read. No variant has a byte of a key or of a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// There is no keyring, and something is to be sealed or opened.
    #[error(
        "there is no key to seal credentials with: make one with `terapi secrets init`, which writes {}, or set \
         {KEYS_VARIABLE} to id:key, the key being 32 random bytes in base64",
        .file.display()
    )]
    NoKey {
        /// Where the key file would be.
        file: PathBuf,
    },
    /// The key that sealed it is not in the keyring.
    #[error(
        "this was sealed with the key `{id}`, which is not in the keyring: add it to {KEYS_VARIABLE} or to the key \
         file, or enter the credential again"
    )]
    UnknownKey {
        /// The key's id.
        id: String,
    },
    /// The sealed text is not what was once sealed for this purpose.
    #[error("the sealed credential cannot be opened: {problem}; restore it from a backup or enter it again")]
    Damaged {
        /// What is wrong with it, as far as that can be told.
        problem: &'static str,
    },
    /// The key file could not be read or written, or others may read it.
    #[error("could not {action} the key file {}: {problem}", .file.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// Which file.
        file: PathBuf,
        /// What was wrong, and what to do.
        problem: String,
    },
    /// A keyring's text is wrong.
    #[error(
        "{place} is not right: {problem}; write id:key, such as 2026-01:<32 random bytes in base64>, as \
         `openssl rand -base64 32` prints them"
    )]
    BadKey {
        /// Which line of the file, or which entry of the variable.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More than [`MAX_PLAIN_BYTES`] were to be sealed.
    #[error("a credential of {bytes} bytes is too large to be sealed: at most {MAX_PLAIN_BYTES} are")]
    TooLarge {
        /// How many bytes there are.
        bytes: usize,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes, so nothing can be sealed: {0}")]
    Random(String),
}

impl SecretsError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey { .. } => "secrets-no-key",
            Self::UnknownKey { .. } => "secrets-unknown-key",
            Self::Damaged { .. } => "secrets-damaged",
            Self::File { .. } => "secrets-file",
            Self::BadKey { .. } => "secrets-bad-key",
            Self::TooLarge { .. } => "secrets-too-large",
            Self::Random(_) => "secrets-no-randomness",
        }
    }
}

type Result<T> = std::result::Result<T, SecretsError>;

/// Bytes that nobody should see: wiped when dropped, not shown by `Debug`, and not comparable, which would tell how long
/// the part is that is equal.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes. Say at each call why they may be seen there.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites the bytes. The compiler has to assume that someone looks at them afterwards, so it keeps the writes.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

/// One key. On the heap, so that moving it leaves no copy behind.
#[derive(Clone)]
struct Key {
    id: String,
    bytes: Box<[u8; KEY_BYTES]>,
}

impl Drop for Key {
    fn drop(&mut self) {
        wipe(self.bytes.as_mut_slice());
    }
}

impl Key {
    fn generate() -> Result<Self> {
        let mut id = [0; 4];
        random(&mut id)?;
        let mut bytes = Box::new([0; KEY_BYTES]);
        random(bytes.as_mut_slice())?;
        Ok(Self { id: hex(id), bytes })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(<&CipherKey>::from(&*self.bytes))
    }
}

/// The keys that credentials are sealed with. The first is the current one. `Debug` shows the ids alone.
#[derive(Clone)]
pub struct Keyring {
    current: Key,
    old: Vec<Key>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring").field(&self.ids().collect::<Vec<_>>()).finish()
    }
}

impl Keyring {
    /// The keyring of the variable [`KEYS_VARIABLE`], else of the file, else none. A variable that is set but empty
    /// counts as not set.
    ///
    /// A file that its group or others may read is refused.
    pub fn from_env_or_file(env_value: Option<&str>, path: &Path) -> Result<Option<Self>> {
        match env_value.filter(|value| !value.trim().is_empty()) {
            Some(text) => Self::parse(text, KEYS_VARIABLE).map(Some),
            None => Self::read_file(path),
        }
    }

    /// The keyring of a file; none if there is no such file.
    fn read_file(path: &Path) -> Result<Option<Self>> {
        let failed = file_error("read", path);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let meta = file.metadata().map_err(|error| failed(&error))?;
        if !meta.is_file() {
            return Err(failed(&"it is not a file"));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(failed(&format_args!(
                "others than its owner may use it (its mode is {:03o}): run `chmod 600 {}`",
                meta.mode() & 0o777,
                path.display()
            )));
        }
        if meta.len() > MAX_FILE_BYTES {
            return Err(failed(&format_args!("it has {} bytes, which no key file has", meta.len())));
        }
        // All at once, so that the buffer does not grow and leave copies behind.
        let mut bytes = Secret(Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1));
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes.0).map_err(|error| failed(&error))?;
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| failed(&"it is not text"))?;
        Self::parse(text, &path.display().to_string()).map(Some)
    }

    /// Reads `id:key` a line or, with commas, several in one; `#` opens a comment. `source` is named in errors.
    fn parse(text: &str, source: &str) -> Result<Self> {
        let mut keys: Vec<Key> = Vec::new();
        for (line, number) in text.lines().zip(1_usize..) {
            let line = line.split_once('#').map_or(line, |(line, _comment)| line);
            for entry in line.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                let wrong =
                    |problem: String| SecretsError::BadKey { place: format!("{source}, line {number}"), problem };
                let (id, key) = entry.split_once(':').ok_or_else(|| wrong("there is no `:`".to_owned()))?;
                let (id, key) = (id.trim(), key.trim());
                if !is_key_id(id) {
                    return Err(wrong("a key's id is 1 to 32 of a-z, A-Z, 0-9, _ and -".to_owned()));
                }
                if keys.iter().any(|key| key.id == id) {
                    return Err(wrong(format!("there are two keys with the id `{id}`")));
                }
                let bytes = Secret(KEY_TEXT.decode(key).map_err(|_| wrong(format!("the key `{id}` is not base64")))?);
                let length = bytes.expose().len();
                let bytes = bytes
                    .expose()
                    .try_into()
                    .map(Box::new)
                    .map_err(|_| wrong(format!("the key `{id}` has {length} bytes and not {KEY_BYTES}")))?;
                keys.push(Key { id: id.to_owned(), bytes });
            }
        }
        let mut keys = keys.into_iter();
        let Some(current) = keys.next() else {
            return Err(SecretsError::BadKey { place: source.to_owned(), problem: "there is no key in it".to_owned() });
        };
        Ok(Self { current, old: keys.collect() })
    }

    /// A keyring of one new key.
    pub fn generate() -> Result<Self> {
        Ok(Self { current: Key::generate()?, old: Vec::new() })
    }

    /// The ids, the current key's first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys().map(|key| key.id.as_str())
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.old)
    }

    /// Writes a new key file that its owner alone may read; durable when this returns. Refuses where something is
    /// already: the keys in it may be the only ones.
    pub fn create_file(&self, path: &Path) -> Result<()> {
        let failed = file_error("create", path);
        let file = new_private_file(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                failed(&"it is there already, and what was sealed with its keys needs them; rotate them with `terapi secrets rotate`")
            }
            _ => failed(&error),
        })?;
        self.fill(file).and_then(|()| sync_folder_of(path)).map_err(|error| {
            // Nothing was sealed with it yet; left there, it would be in the way of the next attempt.
            let _ = fs::remove_file(path);
            failed(&error)
        })
    }

    /// Puts this keyring in the place of the one in the file: all of it or nothing, durable when this returns. The file
    /// keeps its owner; a symbolic link stays one. Where there is no file yet, [create](Self::create_file) it.
    ///
    /// Two that read, rotate and write at the same time would lose a key: have one do it at a time.
    pub fn write_file(&self, path: &Path) -> Result<()> {
        let failed = file_error("write", path);
        let path = &fs::canonicalize(path).map_err(|error| failed(&error))?;
        let mut suffix = [0; 4];
        random(&mut suffix)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".new-{}", hex(suffix)));
        let beside = PathBuf::from(beside);
        let replaced = || {
            let old = fs::metadata(path)?;
            let file = new_private_file(&beside)?;
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                // Run as root, for a service that is not: it must still be able to read its keys.
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            self.fill(file)?;
            fs::rename(&beside, path)?;
            sync_folder_of(path)
        };
        replaced().map_err(|error: io::Error| {
            let _ = fs::remove_file(&beside);
            failed(&error)
        })
    }

    fn fill(&self, mut file: File) -> io::Result<()> {
        // Enough for every line, so that the buffer does not grow and leave copies behind.
        let room = FILE_HEADER.len() + self.keys().map(|key| key.id.len() + 64).sum::<usize>();
        let mut text = Secret(Vec::with_capacity(room));
        text.0.extend_from_slice(FILE_HEADER.as_bytes());
        for key in self.keys() {
            let mut encoded = Secret(vec![0; 44]);
            let length = STANDARD.encode_slice(key.bytes.as_slice(), &mut encoded.0).map_err(io::Error::other)?;
            encoded.0.truncate(length);
            text.0.extend_from_slice(key.id.as_bytes());
            text.0.push(b':');
            text.0.extend_from_slice(&encoded.0);
            text.0.push(b'\n');
        }
        file.write_all(text.expose())?;
        file.sync_all()
    }

    /// Seals with the current key. `purpose` is what it is for, such as `connection acme`; it opens for nothing else.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<String> {
        let too_large = || SecretsError::TooLarge { bytes: plain.len() };
        if plain.len() > MAX_PLAIN_BYTES {
            return Err(too_large());
        }
        let key = &self.current;
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        // With room for the tag, so that the buffer does not grow and leave the plain text behind.
        let mut text = Vec::with_capacity(plain.len() + TAG_BYTES);
        text.extend_from_slice(plain);
        key.cipher()
            .encrypt_in_place(<&XNonce>::from(&nonce), &bound(&key.id, purpose), &mut text)
            .map_err(|_| too_large())?;
        let mut sealed = Vec::with_capacity(NONCE_BYTES + text.len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        Ok(format!("{VERSION}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Opens what was sealed for this purpose.
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Secret> {
        let damaged = |problem| SecretsError::Damaged { problem };
        let (id, text) = parts(sealed).ok_or(damaged("it does not look like a sealed text"))?;
        let Some(key) = self.keys().find(|key| key.id == id) else {
            return Err(SecretsError::UnknownKey { id: id.to_owned() });
        };
        let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged("its text is damaged"))?;
        if bytes.len() < NONCE_BYTES + TAG_BYTES {
            return Err(damaged("its text is cut short"));
        }
        let mut text = Secret(bytes.split_off(NONCE_BYTES));
        let nonce = XNonce::try_from(bytes.as_slice()).map_err(|_| damaged("its text is cut short"))?;
        key.cipher()
            .decrypt_in_place(&nonce, &bound(id, purpose), &mut text.0)
            .map_err(|_| damaged("it was changed, or sealed for something else, or its key is another of that id"))?;
        Ok(text)
    }

    /// Whether to seal it anew: it was sealed with an old key, or cannot be opened at all, which opening it tells.
    #[must_use]
    pub fn needs_rotation(&self, sealed: &str) -> bool {
        parts(sealed).is_none_or(|(id, _)| id != self.current.id)
    }

    /// This keyring with a new current key before those of now.
    pub fn rotated(&self) -> Result<Self> {
        let mut current = Key::generate()?;
        while self.ids().any(|id| id == current.id) {
            current = Key::generate()?;
        }
        Ok(Self { current, old: self.keys().cloned().collect() })
    }

    /// The current key alone, for when nothing [needs rotation](Self::needs_rotation) any more.
    #[must_use]
    pub fn without_old(&self) -> Self {
        Self { current: self.current.clone(), old: Vec::new() }
    }
}

/// What is bound to a sealed text besides its own bytes. An id has no NUL, so no two pairs are written alike.
fn bound(id: &str, purpose: &str) -> Vec<u8> {
    format!("terapi {VERSION}\0{id}\0{purpose}").into_bytes()
}

/// The key's id and the base64 of a sealed text.
fn parts(sealed: &str) -> Option<(&str, &str)> {
    let (id, text) = sealed.strip_prefix(VERSION)?.strip_prefix('.')?.split_once('.')?;
    is_key_id(id).then_some((id, text))
}

/// The separators of keyrings and sealed texts do not occur in it.
fn is_key_id(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| SecretsError::Random(error.to_string()))
}

fn hex(bytes: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(bytes))
}

fn file_error(action: &'static str, path: &Path) -> impl Fn(&dyn fmt::Display) -> SecretsError {
    move |problem| SecretsError::File { action, file: path.to_owned(), problem: problem.to_string() }
}

/// A file that was not there before and that its owner alone may read, from its first moment on.
fn new_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a name in a folder durable.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
