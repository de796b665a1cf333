//! How the value of a setting is read, whether it stands in a file or in the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::settings::{LogFormat, LogLevel};
use super::units::{self, ByteSize, Count};

/// A value as it was given: in TOML `64`, `"64"` and `true` are their texts; a variable is one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// One value.
    Text(String),
    /// Several.
    List(Vec<String>),
}

/// What would be right in place of a bad value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad(pub(super) String);

/// Where DNS servers listen unless said otherwise. They are the one list of addresses that there is.
const DNS_PORT: u16 = 53;

/// A type that a setting can have.
pub trait Setting: Sized {
    /// What is given to set it: of an `Option<T>` a `T`, else the type itself.
    type Given;

    /// Reads it.
    fn read(raw: &Raw) -> Result<Self::Given, Bad>;

    /// The setting with this value.
    fn from_given(given: Self::Given) -> Self;
}

/// Types of one value.
macro_rules! of_text {
    ($($type:ty: $read:expr;)*) => {
        $(impl Setting for $type {
            type Given = Self;

            fn read(raw: &Raw) -> Result<Self, Bad> {
                let read: fn(&str) -> Result<Self, String> = $read;
                match raw {
                    Raw::Text(text) => read(text.trim()).map_err(Bad),
                    Raw::List(_) => Err(Bad("use one value".to_owned())),
                }
            }

            fn from_given(given: Self) -> Self {
                given
            }
        })*
    };
}

of_text! {
    PathBuf: |text| match text {
        "" => Err("use the path of a file or folder".to_owned()),
        path => Ok(PathBuf::from(path)),
    };
    SocketAddr: |text| text.parse().map_err(|_| {
        "use an address and a port, such as 127.0.0.1:8733, [::1]:8733, or 0.0.0.0:8733 for all of this machine's".to_owned()
    });
    bool: |text| text.parse().map_err(|_| "use true or false".to_owned());
    u32: |text| text.parse().map_err(|_| "use a whole number, such as 64".to_owned());
    ByteSize: |text| units::parse_size(text).map(ByteSize);
    Count: |text| units::parse_count(text).map(Count);
    Duration: units::parse_duration;
    LogFormat: |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("use text or json".to_owned()),
    };
    LogLevel: |text| {
        let all = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
        all.into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| "use error, warn, info, debug or trace".to_owned())
    };
}

impl<T: Setting<Given = T>> Setting for Option<T> {
    type Given = T;

    fn read(raw: &Raw) -> Result<T, Bad> {
        T::read(raw)
    }

    fn from_given(given: T) -> Self {
        Some(given)
    }
}

/// Types of several values: a list, or a text with commas, as a variable has it.
macro_rules! of_list {
    ($($type:ty: $read:expr;)*) => {
        $(impl Setting for Vec<$type> {
            type Given = Self;

            fn read(raw: &Raw) -> Result<Self, Bad> {
                let read: fn(&str) -> Result<$type, String> = $read;
                let texts: Vec<&str> = match raw {
                    Raw::Text(text) => text.split(',').collect(),
                    Raw::List(texts) => texts.iter().map(String::as_str).collect(),
                };
                let texts = texts.into_iter().map(str::trim).filter(|text| !text.is_empty());
                texts.map(|text| read(text).map_err(Bad)).collect()
            }

            fn from_given(given: Self) -> Self {
                given
            }
        })*
    };
}

of_list! {
    IpNet: |text| match text.parse::<IpNet>() {
        Ok(network) => Ok(network.trunc()),
        Err(_) => Err(format!("`{text}` is not a network; use a list such as 10.0.0.0/8, fd00::/8")),
    };
    SocketAddr: |text| {
        let address = text.parse().or_else(|_| text.parse().map(|address: IpAddr| SocketAddr::new(address, DNS_PORT)));
        address.map_err(|_| format!("`{text}` is not an address; use a list such as 1.1.1.1, 127.0.0.1:5353, [::1]:5353"))
    };
}
