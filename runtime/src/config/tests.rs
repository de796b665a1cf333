#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::load::variable;
use super::settings::{PLACES, SECTIONS};
use super::units::{ByteSize, Count};
use super::*;
use crate::sandbox::Limits;

fn load(file: &str, env: &[(&str, &str)], flags: Overrides) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("terapi.toml");
    std::fs::write(&path, file).unwrap();
    let env: BTreeMap<&str, &str> = env.iter().copied().collect();
    Config::load(Some(&path), |name| env.get(name).map(|value| (*value).to_owned()), flags)
}

fn from_file(file: &str) -> Result<Config, ConfigError> {
    load(file, &[], Overrides::default())
}

fn from_env(name: &str, value: &str) -> Result<Config, ConfigError> {
    load("", &[(name, value)], Overrides::default())
}

/// The message, from the line's number on.
fn mistake(file: &str) -> String {
    let error = from_file(file).unwrap_err();
    assert_eq!(error.code(), "bad-config");
    let text = error.to_string();
    text[text.find("terapi.toml, ").expect("the file is named") + 13..].to_owned()
}

/// The example with every setting that is commented out put in.
fn uncommented() -> String {
    let is_setting = |line: &str| {
        line.strip_prefix('#').and_then(|line| line.split_once(" = ")).is_some_and(|(key, _)| !key.contains(' '))
    };
    EXAMPLE.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_as_it_stands_changes_nothing() {
    assert_eq!(from_file(EXAMPLE).unwrap(), Config::default());
}

#[test]
fn the_example_shows_the_defaults() {
    let mut config = from_file(&uncommented()).unwrap();
    // Those that are not set by default are shown with an example's value.
    assert_eq!(config.server.tls_cert.take(), Some("/etc/terapi/tls.crt".into()));
    assert_eq!(config.server.tls_key.take(), Some("/etc/terapi/tls.key".into()));
    assert_eq!(config.server.metrics_listen.take(), Some("127.0.0.1:9733".parse().unwrap()));
    assert_eq!(config.secrets.key_file.take(), Some(Config::default().key_file()));
    assert_eq!(config, Config::default());
}

#[test]
fn the_example_has_every_setting_in_its_section_and_nothing_else() {
    let text = uncommented();
    let table: toml::Table = toml::from_str(&text).unwrap();
    for (section, key) in PLACES {
        let section = if section.is_empty() { &table } else { table[*section].as_table().unwrap() };
        assert!(section.contains_key(*key), "{key} is missing");
    }
    let settings = table.iter().flat_map(|(_, value)| value.as_table().map_or(1..=1, |section| 1..=section.len()));
    assert_eq!(settings.count(), PLACES.len());
}

#[test]
fn the_defaults_go_together_and_so_does_the_example() {
    Config::default().check().unwrap();
    from_file(&uncommented()).unwrap().check().unwrap();
}

#[test]
fn without_a_file_there_are_the_defaults() {
    assert_eq!(Config::load(None, |_| None, Overrides::default()).unwrap(), Config::default());
}

#[test]
fn a_file_that_is_not_there_is_an_error_that_says_how_to_get_one() {
    let error = Config::load(Some("no/terapi.toml".as_ref()), |_| None, Overrides::default()).unwrap_err();
    assert_eq!(error.code(), "bad-config");
    assert!(error.to_string().contains("no/terapi.toml") && error.to_string().contains("`terapi init`"), "{error}");
}

#[test]
fn every_setting_can_be_set_in_the_file() {
    let file = r#"
        data_dir = "/var/lib/terapi"
        [server]
        listen = "[::]:80"
        tls_cert = "c.pem"
        tls_key = "k.pem"
        allow_plaintext = true
        metrics_listen = "127.0.0.1:1"
        max_body = 1024
        body_memory = "1MiB"
        body_rate = 10
        body_timeout = "1m"
        max_connections = 9
        header_timeout = "1s"
        idle_timeout = "2s"
        write_timeout = "3s"
        shutdown_grace = "0s"
        [runs]
        at_once = 1_0
        memory = "1GiB"
        keep = "7d"
        fuel = "5G"
        memory_limit = "32MiB"
        timeout = "10m"
        [uploads]
        functions = "60k"
        function_bytes = "2MiB"
        instances = 10
        compile_time = "30s"
        compile_memory = "1GiB"
        compile_wait = "1s"
        [secrets]
        key_file = "keys"
        [log]
        format = "json"
        level = "debug"
        [network]
        allow = ["10.1.2.3/8", "fd00::/8"]
        dns = ["1.1.1.1", "::1", "127.0.0.1:5353"]
    "#;
    let expected = Config {
        data_dir: "/var/lib/terapi".into(),
        server: ServerConfig {
            listen: "[::]:80".parse().unwrap(),
            tls_cert: Some("c.pem".into()),
            tls_key: Some("k.pem".into()),
            allow_plaintext: true,
            metrics_listen: Some("127.0.0.1:1".parse().unwrap()),
            max_body: ByteSize(1024),
            body_memory: ByteSize(1 << 20),
            body_rate: ByteSize(10),
            body_timeout: Duration::from_mins(1),
            max_connections: 9,
            header_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(3),
            shutdown_grace: Duration::ZERO,
        },
        runs: RunsConfig {
            at_once: 10,
            memory: ByteSize(1 << 30),
            keep: Duration::from_hours(7 * 24),
            fuel: Count(5_000_000_000),
            memory_limit: ByteSize(32 << 20),
            timeout: Duration::from_mins(10),
        },
        uploads: UploadsConfig {
            functions: Count(60_000),
            function_bytes: ByteSize(2 << 20),
            instances: Count(10),
            compile_time: Duration::from_secs(30),
            compile_memory: ByteSize(1 << 30),
            compile_wait: Duration::from_secs(1),
        },
        secrets: SecretsConfig { key_file: Some("keys".into()) },
        log: LogConfig { format: LogFormat::Json, level: LogLevel::Debug },
        network: NetworkConfig {
            allow: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            dns: ["1.1.1.1:53", "[::1]:53", "127.0.0.1:5353"].map(|server| server.parse().unwrap()).into(),
        },
    };
    assert_eq!(from_file(file).unwrap(), expected);

    // And in the environment.
    let table: toml::Table = toml::from_str(file).unwrap();
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(texts) => texts.iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let env: BTreeMap<String, String> = PLACES
        .iter()
        .map(|place| {
            let section = if place.0.is_empty() { &table } else { table[place.0].as_table().unwrap() };
            (variable(*place), text(&section[place.1]))
        })
        .collect();
    assert_eq!(Config::load(None, |name| env.get(name).cloned(), Overrides::default()).unwrap(), expected);
}

#[test]
fn variables_are_stronger_than_the_file_and_options_stronger_than_both() {
    let file = "[runs]\nat_once = 1\nmemory = \"1GiB\"\nkeep = \"1d\"";
    let env = [("TERAPI_RUNS_AT_ONCE", "2"), ("TERAPI_RUNS_MEMORY", "2GiB"), ("TERAPI_SERVER_LISTEN", "127.0.0.1:2")];
    let mut flags = Overrides::default();
    flags.runs.at_once = Some(3);
    flags.server.tls_cert = Some("c.pem".into());
    let config = load(file, &env, flags).unwrap();
    assert_eq!(config.runs.at_once, 3);
    assert_eq!(config.runs.memory, ByteSize(2 << 30));
    assert_eq!(config.runs.keep, Duration::from_hours(24));
    assert_eq!(config.server.listen, "127.0.0.1:2".parse().unwrap());
    assert_eq!(config.server.tls_cert, Some("c.pem".into()));
    assert_eq!(config.log, LogConfig::default());
}

#[test]
fn an_empty_variable_is_not_set() {
    assert_eq!(from_env("TERAPI_SERVER_LISTEN", " ").unwrap(), Config::default());
}

#[test]
fn the_variable_of_a_setting_follows_from_its_name() {
    assert_eq!(variable(("server", "listen")), "TERAPI_SERVER_LISTEN");
    assert_eq!(variable(("", "data_dir")), "TERAPI_DATA_DIR");
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_what_was_meant() {
    for (file, told) in [
        ("[server]\n\nlisen = 1", "line 3: there is no setting `[server] lisen`; did you mean `[server] listen`?"),
        ("Data-Dir = 1", "line 1: there is no setting `Data-Dir`; did you mean `data_dir`?"),
        ("listen = 1", "line 1: there is no setting `listen`; did you mean `[server] listen`?"),
        ("[log]\ntimeout = 1", "line 2: there is no setting `[log] timeout`; did you mean `[runs] timeout`?"),
        (
            "[secrets]\nkeyfile = 1",
            "line 2: there is no setting `[secrets] keyfile`; did you mean `[secrets] key_file`?",
        ),
        ("[sever]\nlisten = 1", "line 1: there is no setting `[sever]`; did you mean `[server]`?"),
        ("[network]\nalow = 1", "line 2: there is no setting `[network] alow`; did you mean `[network] allow`?"),
        ("[network]\nhosts = 1", "line 2: there is no setting `[network] hosts`; the settings there are allow, dns"),
        ("[log]\nzzz = 1", "line 2: there is no setting `[log] zzz`; the settings there are format, level"),
        (
            "[zzzzzzz]",
            "line 1: there is no setting `[zzzzzzz]`; the sections are [server], [runs], [uploads], [secrets], [log], [network]",
        ),
        ("runs.at_onse = 1", "line 1: there is no setting `[runs] at_onse`; did you mean `[runs] at_once`?"),
        ("[server.listen]\nport = 1", "line 1: `[server] listen` cannot be a table: "),
    ] {
        let mistake = mistake(file);
        assert!(mistake.starts_with(told), "{mistake}\n{told}");
    }
}

#[test]
fn a_wrong_value_is_told_with_what_is_expected() {
    for (file, told) in [
        (
            "[server]\nlisten = \"8733\"",
            "line 2: `[server] listen` cannot be `8733`: use an address and a port, such as 127.0.0.1:8733",
        ),
        ("[server]\nlisten = 8733", "line 2: `[server] listen` cannot be `8733`: use an address and a port"),
        ("[server]\nallow_plaintext = 1", "line 2: `[server] allow_plaintext` cannot be `1`: use true or false"),
        (
            "[server]\nmax_body = \"64MB/s\"",
            "line 2: `[server] max_body` cannot be `64MB/s`: use a number with KiB, MiB or GiB",
        ),
        (
            "[server]\nshutdown_grace = 25",
            "line 2: `[server] shutdown_grace` cannot be `25`: use a number with ms, s, m, h or d",
        ),
        ("[runs]\nat_once = -1", "line 2: `[runs] at_once` cannot be `-1`: use a whole number"),
        ("[runs]\nat_once = 1.5", "line 2: `[runs] at_once` cannot be `1.5`: no setting has a value of the kind float"),
        ("[runs]\nat_once = [1]", "line 2: `[runs] at_once` cannot be [`1`]: use one value"),
        ("[runs]\nfuel = \"5T\"", "line 2: `[runs] fuel` cannot be `5T`: use a number, with K, M or G"),
        ("[log]\nformat = \"xml\"", "line 2: `[log] format` cannot be `xml`: use text or json"),
        ("[log]\nlevel = \"loud\"", "line 2: `[log] level` cannot be `loud`: use error, warn, info, debug or trace"),
        (
            "[network]\nallow = [\"10.0.0.0/33\"]",
            "line 2: `[network] allow` cannot be [`10.0.0.0/33`]: `10.0.0.0/33` is not a network",
        ),
        (
            "[network]\ndns = [\"dns.example\"]",
            "line 2: `[network] dns` cannot be [`dns.example`]: `dns.example` is not an address",
        ),
        ("data_dir = \"\"", "line 1: `data_dir` cannot be ``: use the path"),
        (
            "data_dir = 2026-01-01",
            "line 1: `data_dir` cannot be `2026-01-01`: no setting has a value of the kind datetime",
        ),
        ("server = \"x\"", "line 1: `server` cannot be `x`: it is a section; write a line [server]"),
        ("[[server]]", "line 1: `server` cannot be [a table]: it is a section"),
    ] {
        let mistake = mistake(file);
        assert!(mistake.starts_with(told), "{mistake}\n{told}");
    }
}

#[test]
fn of_several_mistakes_the_first_in_the_file_is_told() {
    // In the order of the alphabet `[log]` would come first.
    assert!(mistake("[server]\nlisten = 1\nallow_plaintext = 1\n[log]\nlevel = 1").starts_with("line 2"));
    assert!(mistake("zzz = 1\n[log]\nlevel = 1").starts_with("line 1"));
}

#[test]
fn a_mistake_in_the_file_counts_although_something_stronger_is_right() {
    let mut flags = Overrides::default();
    flags.runs.at_once = Some(3);
    load("[runs]\nat_once = \"many\"", &[("TERAPI_RUNS_AT_ONCE", "2")], flags).unwrap_err();
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    assert!(mistake("[server]\nlisten = 127.0.0.1:8733").starts_with("line 2: "));
    assert!(mistake("[runs]\nat_once = 1\nat_once = 2").starts_with("line 3: "));
    let long = mistake(&format!("data_dir = {}", "[".repeat(100_000)));
    assert!(long.starts_with("line 1: "), "{long}");
}

#[test]
fn a_long_or_odd_value_is_shown_short_and_escaped() {
    let mistake = mistake(&format!("[log]\nlevel = \"\\u001b[31m\\n{}\"", "x".repeat(1000)));
    assert!(mistake.starts_with(r"line 2: `[log] level` cannot be `\u{1b}[31m\nxxx"), "{mistake}");
    assert!(mistake.len() < 200 && !mistake.contains('\x1b'), "{mistake}");
}

#[test]
fn a_bad_variable_is_told_by_its_name() {
    let error = from_env("TERAPI_SERVER_LISTEN", "here").unwrap_err();
    assert_eq!(error.code(), "bad-config");
    let told = "environment: TERAPI_SERVER_LISTEN cannot be `here`: use an address and a port";
    assert!(error.to_string().starts_with(told), "{error}");
}

#[test]
fn variables_that_are_nearly_settings_are_warned_of() {
    let told = |name: &str| unknown_variables([name]).concat();
    assert_eq!(
        told("TERAPI_SERVER_LISEN"),
        "the environment variable TERAPI_SERVER_LISEN is no setting: did you mean TERAPI_SERVER_LISTEN?"
    );
    assert!(told("terapi_server_listen").ends_with("did you mean TERAPI_SERVER_LISTEN?"));
    assert!(told("TERAPI_DATADIR").ends_with("did you mean TERAPI_DATA_DIR?"));
    assert!(told("TERAPI_SECRET_KEYS").ends_with("did you mean TERAPI_SECRETS_KEYS?"));
    assert!(told("TERAPI_LOG_COLOR").ends_with("there are TERAPI_LOG_FORMAT, TERAPI_LOG_LEVEL"));
    for others in [
        "PATH",
        "TERAPI_LOG",
        "TERAPI_BENCH_RECORDS",
        "TERAPI_STORE_KILLS",
        "TERAPI_SEED",
        "TERAPI_URL",
        "TERAPI_API_KEY",
        "TERAPI_",
    ] {
        assert_eq!(told(others), "", "{others}");
    }
    let all = PLACES.iter().map(|place| variable(*place)).chain([crate::secrets::KEYS_VARIABLE.to_owned()]);
    assert_eq!(unknown_variables(all), Vec::<String>::new());
}

#[test]
fn no_two_settings_have_one_variable_and_no_section_has_a_settings_name() {
    let mut variables: Vec<String> = PLACES.iter().map(|place| variable(*place)).collect();
    variables.push(crate::secrets::KEYS_VARIABLE.to_owned());
    variables.sort();
    assert!(variables.windows(2).all(|pair| pair[0] != pair[1]), "{variables:?}");
    assert!(!SECTIONS.iter().any(|section| PLACES.contains(&("", *section))));
}

fn checked(change: impl FnOnce(&mut Config)) -> Result<(), String> {
    let mut config = Config::default();
    change(&mut config);
    config.check().map_err(|error| {
        assert_eq!(error.code(), "bad-config");
        error.to_string()
    })
}

#[test]
fn listening_beyond_this_machine_takes_tls_or_a_word() {
    for address in ["0.0.0.0:8733", "[::]:8733", "10.0.0.1:8733", "[::ffff:10.0.0.1]:8733"] {
        let listen = address.parse().unwrap();
        let error = checked(|config| config.server.listen = listen).unwrap_err();
        for option in [address, "`tls_cert` and `tls_key`", "listen on 127.0.0.1", "`allow_plaintext = true`"] {
            assert!(error.contains(option), "{option}: {error}");
        }
        checked(|config| {
            config.server.listen = listen;
            config.server.allow_plaintext = true;
        })
        .unwrap();
        checked(|config| {
            config.server.listen = listen;
            config.server.tls_cert = Some("c.pem".into());
            config.server.tls_key = Some("k.pem".into());
        })
        .unwrap();
    }
    for address in ["127.0.0.1:8733", "127.9.9.9:1", "[::1]:8733", "[::ffff:127.0.0.1]:8733"] {
        checked(|config| config.server.listen = address.parse().unwrap()).unwrap();
    }
}

#[test]
fn a_certificate_takes_a_key_and_a_key_a_certificate() {
    let cert = checked(|config| config.server.tls_cert = Some("c.pem".into())).unwrap_err();
    assert!(cert.contains("`[server] tls_cert` is set and `tls_key` is not"), "{cert}");
    let key = checked(|config| config.server.tls_key = Some("k.pem".into())).unwrap_err();
    assert!(key.contains("`[server] tls_key` is set and `tls_cert` is not"), "{key}");
}

#[test]
fn metrics_have_an_address_of_their_own_and_stay_on_this_machine() {
    let metrics = |address: &str| {
        let address = address.parse().unwrap();
        move |config: &mut Config| config.server.metrics_listen = Some(address)
    };
    checked(metrics("127.0.0.1:9733")).unwrap();
    assert!(checked(metrics("127.0.0.1:8733")).unwrap_err().contains("are both 127.0.0.1:8733"));
    // TLS of the API is none of the metrics.
    let tls = |config: &mut Config| {
        config.server.tls_cert = Some("c.pem".into());
        config.server.tls_key = Some("k.pem".into());
        metrics("0.0.0.0:9733")(config);
    };
    assert!(checked(tls).unwrap_err().contains("`[server] metrics_listen` is 0.0.0.0:9733"));
    checked(|config| {
        tls(config);
        config.server.allow_plaintext = true;
    })
    .unwrap();
    checked(|config| {
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        metrics("127.0.0.1:0")(config);
    })
    .unwrap();
}

#[test]
fn limits_under_which_nothing_would_run_are_refused() {
    type Change = fn(&mut Config);
    let changes: [(&str, Change); 17] = [
        ("`[server] max_connections` is 0", |config| config.server.max_connections = 0),
        ("`[server] header_timeout` is 0", |config| config.server.header_timeout = Duration::ZERO),
        ("`[server] idle_timeout` is 0", |config| config.server.idle_timeout = Duration::ZERO),
        ("`[server] write_timeout` is 0", |config| config.server.write_timeout = Duration::ZERO),
        ("`[server] body_timeout` is 0", |config| config.server.body_timeout = Duration::ZERO),
        ("`[server] body_memory` is 1MiB, less than the 32MiB of `max_body`", |config| {
            config.server.body_memory = ByteSize(1 << 20);
        }),
        ("`[runs] at_once` is 0", |config| config.runs.at_once = 0),
        ("`[runs] fuel` is 0", |config| config.runs.fuel = Count(0)),
        ("`[runs] keep` is 0", |config| config.runs.keep = Duration::ZERO),
        ("`[runs] timeout` is 0", |config| config.runs.timeout = Duration::ZERO),
        ("`[uploads] instances` is 0", |config| config.uploads.instances = Count(0)),
        ("`[uploads] compile_time` is 0", |config| config.uploads.compile_time = Duration::from_millis(999)),
        ("`[uploads] compile_memory` is 1MiB, and a compiler needs 256MiB", |config| {
            config.uploads.compile_memory = ByteSize(1 << 20);
        }),
        ("`[server] max_body` is 0", |config| config.server.max_body = ByteSize(0)),
        ("`[runs] memory_limit` is 65535, and a script needs 64KiB", |config| {
            config.runs.memory_limit = ByteSize(65_535);
        }),
        ("`[runs] memory_limit` is 2GiB, and no script can have more than 1GiB", |config| {
            config.runs.memory_limit = ByteSize(2 << 30);
        }),
        ("`[runs] memory_limit` is 64MiB, more than the 32MiB of", |config| config.runs.memory = ByteSize(32 << 20)),
    ];
    for (told, change) in changes {
        let error = checked(change).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
    checked(|config| config.runs.memory = ByteSize(64 << 20)).unwrap();
}

#[test]
fn the_sealing_keys_are_in_the_data_directory_unless_named() {
    let mut config = Config { data_dir: "/data".into(), ..Config::default() };
    assert_eq!(config.key_file(), PathBuf::from("/data/secrets.key"));
    config.secrets.key_file = Some("/run/keys".into());
    assert_eq!(config.key_file(), PathBuf::from("/run/keys"));
}

#[test]
fn the_limits_of_runs_are_those_that_are_set_and_the_sandboxes_own() {
    assert_eq!(RunsConfig::default().limits(), Limits::default());
    let set = RunsConfig {
        fuel: Count(1),
        memory_limit: ByteSize(2),
        timeout: Duration::from_millis(3),
        ..RunsConfig::default()
    };
    let expected = Limits { fuel: 1, memory: 2, timeout: Duration::from_millis(3), ..Limits::default() };
    assert_eq!(set.limits(), expected);
}

#[test]
fn an_option_is_read_like_a_setting() {
    assert_eq!(read_value::<LogLevel>("debug"), Ok(LogLevel::Debug));
    assert_eq!(read_value::<Option<PathBuf>>("c.pem"), Ok(PathBuf::from("c.pem")));
    assert_eq!(read_value::<LogLevel>("loud").unwrap_err(), "use error, warn, info, debug or trace");
}
