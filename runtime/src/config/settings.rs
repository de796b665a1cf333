//! Every setting, declared once.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::setting::{Bad, Raw, Setting};
use super::units::{ByteSize, Count};
use crate::api::BodyLimits;
use crate::api::serve::Limits;
use crate::sandbox::{CompileLimits, Limits as RunLimits};
use crate::script::ScanLimits;

/// A setting's place: its section, empty for those before all sections, and its key.
pub(super) type Place = (&'static str, &'static str);

/// Of each section two structs: the values, and those that somebody gave. And the one list of places.
macro_rules! settings {
    (
        top { $($(#[$top_doc:meta])* $top:ident: $top_type:ty = $top_default:expr,)* }
        $(
            $(#[$doc:meta])*
            $section:ident: $config:ident / $overrides:ident {
                $($(#[$key_doc:meta])* $key:ident: $type:ty = $default:expr,)*
            }
        )*
    ) => {
        /// Every setting.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[$top_doc])* pub $top: $top_type,)*
            $($(#[$doc])* pub $section: $config,)*
        }

        /// Settings that were given, in one place: a file, the environment, or options.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Overrides {
            $(#[doc = concat!("In place of [`Config::", stringify!($top), "`].")]
            pub $top: Option<<$top_type as Setting>::Given>,)*
            $(#[doc = concat!("In place of some of [`Config::", stringify!($section), "`].")]
            pub $section: $overrides,)*
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $config {
                $($(#[$key_doc])* pub $key: $type,)*
            }

            #[doc = concat!("Those of [`", stringify!($config), "`] that were given.")]
            #[derive(Debug, Clone, Default, PartialEq)]
            pub struct $overrides {
                $(#[doc = concat!("In place of [`", stringify!($config), "::", stringify!($key), "`].")]
                pub $key: Option<<$type as Setting>::Given>,)*
            }

            impl Default for $config {
                fn default() -> Self {
                    Self { $($key: $default,)* }
                }
            }
        )*

        impl Default for Config {
            fn default() -> Self {
                Self { $($top: $top_default,)* $($section: $config::default(),)* }
            }
        }

        /// Every place, in the order of the example.
        pub(super) const PLACES: &[Place] = &[
            $(("", stringify!($top)),)*
            $($((stringify!($section), stringify!($key)),)*)*
        ];

        /// Every section.
        pub(super) const SECTIONS: &[&str] = &[$(stringify!($section)),*];

        impl Overrides {
            /// Reads a value into its place. The place is one of [`PLACES`].
            pub(super) fn read(&mut self, place: Place, raw: &Raw) -> Result<(), Bad> {
                match place {
                    $(("", stringify!($top)) => self.$top = Some(<$top_type as Setting>::read(raw)?),)*
                    $($((stringify!($section), stringify!($key)) => {
                        self.$section.$key = Some(<$type as Setting>::read(raw)?);
                    })*)*
                    _ => {}
                }
                Ok(())
            }
        }

        impl Config {
            /// Puts what was given in place of what is here.
            pub(super) fn put(&mut self, given: Overrides) {
                $(if let Some(value) = given.$top {
                    self.$top = <$top_type as Setting>::from_given(value);
                })*
                $($(if let Some(value) = given.$section.$key {
                    self.$section.$key = <$type as Setting>::from_given(value);
                })*)*
            }
        }
    };
}

settings! {
    top {
        /// Where everything is kept.
        data_dir: PathBuf = PathBuf::from("./terapi-data"),
    }

    /// The HTTP API.
    server: ServerConfig / ServerOverrides {
        /// Where the API listens.
        listen: SocketAddr = (Ipv4Addr::LOCALHOST, 8733).into(),
        /// The certificate chain that it shows, a PEM file. With `tls_key`, or neither.
        tls_cert: Option<PathBuf> = None,
        /// The certificate's private key, a PEM file.
        tls_key: Option<PathBuf> = None,
        /// Whether others than this machine may be served in clear text.
        allow_plaintext: bool = false,
        /// Where the metrics can be read, in clear text; nowhere unless set.
        metrics_listen: Option<SocketAddr> = None,
        /// How large a request's body may be: the largest is a script that is uploaded.
        max_body: ByteSize = ByteSize(BodyLimits::default().upload as u64),
        /// How much of the bodies of requests may be in memory at once.
        body_memory: ByteSize = ByteSize(BodyLimits::default().together as u64),
        /// How much of a body has to come in a second, on average over `header_timeout`.
        body_rate: ByteSize = ByteSize(BodyLimits::default().rate),
        /// How long a body may take to come.
        body_timeout: Duration = BodyLimits::default().time,
        /// How many connections there may be at once, at the API and at the metrics each.
        max_connections: u32 = 4_096,
        /// How long a request's head may take to come, and a body may stand still.
        header_timeout: Duration = Limits::default().header,
        /// How long a connection may be open without a request.
        idle_timeout: Duration = Limits::default().idle,
        /// How long an answer may wait to be taken.
        write_timeout: Duration = Limits::default().write,
        /// How long requests and runs may take to end once the service is told to. Five seconds less than what Kubernetes
        /// waits before it kills.
        shutdown_grace: Duration = Duration::from_secs(25),
    }

    /// Runs of scripts.
    runs: RunsConfig / RunsOverrides {
        /// How many may be under way at once.
        at_once: u32 = 64,
        /// How much the memory limits of those under way may be together.
        memory: ByteSize = ByteSize(2 << 30),
        /// How long runs and their logs are kept.
        keep: Duration = Duration::from_hours(30 * 24),
        /// Fuel of a run, unless its script or sync says otherwise: about one unit an instruction.
        fuel: Count = Count(RunLimits::default().fuel),
        /// Memory of a run, unless its script or sync says otherwise.
        memory_limit: ByteSize = ByteSize(RunLimits::default().memory),
        /// Time of a run, waits included, unless its script or sync says otherwise.
        timeout: Duration = RunLimits::default().timeout,
    }

    /// What uploaded scripts may be made of. A script over one of these is refused before it is compiled, or when compiling it takes
    /// too much.
    uploads: UploadsConfig / UploadsOverrides {
        /// How many functions a component may have.
        functions: Count = Count(ScanLimits::default().functions),
        /// How large one function may be.
        function_bytes: ByteSize = ByteSize(ScanLimits::default().function_bytes),
        /// How many core instances it may start with, however they nest.
        instances: Count = Count(ScanLimits::default().instances),
        /// CPU time of the process that compiles one.
        compile_time: Duration = CompileLimits::default().cpu,
        /// Address space of the process that compiles one.
        compile_memory: ByteSize = ByteSize(CompileLimits::default().memory),
        /// How long an upload waits while others are compiled.
        compile_wait: Duration = CompileLimits::default().wait,
    }

    /// The sealing of credentials.
    secrets: SecretsConfig / SecretsOverrides {
        /// Where the keys are; see [`Config::key_file`] for where if not set.
        key_file: Option<PathBuf> = None,
    }

    /// The service's own log.
    log: LogConfig / LogOverrides {
        /// As what its lines are written.
        format: LogFormat = LogFormat::Text,
        /// What is worth a line.
        level: LogLevel = LogLevel::Info,
    }

    /// Where requests of scripts may go.
    network: NetworkConfig / NetworkOverrides {
        /// Networks that are not public and that integrations may name.
        allow: Vec<IpNet> = Vec::new(),
        /// DNS servers that are asked for the hosts of APIs, such as `1.1.1.1` or `127.0.0.1:5353`; those of `/etc/resolv.conf`
        /// unless set. What `/etc/hosts` says counts either way.
        dns: Vec<SocketAddr> = Vec::new(),
    }
}

/// As what the log's lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// What is worth a line in the log: this and what is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Its name, as `tracing` knows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
