//! Hashes and their keyed form.

use hmac::{Hmac, Mac};
use md5::Md5;
use rquickjs::{Ctx, Object, Result, TypedArray};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::add as function;
use crate::engine::or_null;
use crate::values::{Text, array, bytes};

/// Calls a macro with the hash that goes by a name, written in any case, with or without a dash.
macro_rules! by_name {
    ($name:expr, $with:ident, $($argument:expr),*) => {
        match $name.to_ascii_lowercase().replace('-', "").as_str() {
            "md5" => $with!(Md5, $($argument),*),
            "sha1" => $with!(Sha1, $($argument),*),
            "sha224" => $with!(Sha224, $($argument),*),
            "sha256" => $with!(Sha256, $($argument),*),
            "sha384" => $with!(Sha384, $($argument),*),
            "sha512" => $with!(Sha512, $($argument),*),
            _ => None,
        }
    };
}

macro_rules! digest {
    ($hash:ty, $data:expr) => {
        Some(<$hash>::digest($data).to_vec())
    };
}

macro_rules! keyed {
    ($hash:ty, $key:expr, $data:expr) => {
        <Hmac<$hash>>::new_from_slice($key).ok().map(|mut mac| {
            mac.update($data);
            mac.finalize().into_bytes().to_vec()
        })
    };
}

/// Each gives the bytes, or null for a name that is no hash.
pub fn add<'js>(host: &Object<'js>) -> Result<()> {
    function(host, "digest", |ctx: Ctx<'js>, name: Text, data: TypedArray<'js, u8>| {
        let data = bytes(&data);
        let hash = by_name!(name.0, digest, &data);
        or_null(&ctx, hash.map(|hash| array(&ctx, hash)).transpose()?)
    })?;
    function(host, "hmac", |ctx: Ctx<'js>, name: Text, key: TypedArray<'js, u8>, data: TypedArray<'js, u8>| {
        let (key, data) = (bytes(&key), bytes(&data));
        let hash = by_name!(name.0, keyed, &key, &data);
        or_null(&ctx, hash.map(|hash| array(&ctx, hash)).transpose()?)
    })
}
