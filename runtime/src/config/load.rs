//! From the file, the environment and the options to one configuration.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::setting::{Bad, Raw};
use super::settings::{Config, Overrides, PLACES, Place, SECTIONS};
use super::{ConfigError, suggest};

/// A configuration has a few KiB. What is larger is some other file.
const MAX_FILE_BYTES: usize = 1 << 20;

impl Config {
    /// The settings of the file, if one is named, over them those of the environment, over them the options.
    ///
    /// It is not [checked](Self::check) that they go together: that is for commands that use them all.
    pub fn load(
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
        flags: Overrides,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some(file) = file {
            config.put(read_file(file)?);
        }
        config.put(read_environment(env)?);
        config.put(flags);
        Ok(config)
    }
}

/// The environment variable of a setting.
pub(super) fn variable((section, key): Place) -> String {
    let between = if section.is_empty() { "" } else { "_" };
    format!("TERAPI_{section}{between}{key}").to_ascii_uppercase()
}

/// How a setting is called in messages: as it would be written in the file.
pub(super) fn name(section: &str, key: &str) -> String {
    if section.is_empty() { format!("`{key}`") } else { format!("`[{section}] {key}`") }
}

fn read_environment(env: impl Fn(&str) -> Option<String>) -> Result<Overrides, ConfigError> {
    let mut given = Overrides::default();
    for place in PLACES {
        let variable = variable(*place);
        if let Some(text) = env(&variable).filter(|text| !text.trim().is_empty()) {
            let value = shown(&text);
            given.read(*place, &Raw::Text(text)).map_err(|Bad(expected)| ConfigError::BadValue {
                place: "environment".to_owned(),
                key: variable,
                value,
                expected,
            })?;
        }
    }
    Ok(given)
}

fn read_file(file: &Path) -> Result<Overrides, ConfigError> {
    let failed = |problem: String| ConfigError::File { file: file.to_owned(), problem };
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    if text.len() > MAX_FILE_BYTES {
        return Err(failed(format!("it has {} bytes, which no configuration has", text.len())));
    }
    FileReader { file, text: &text, given: Overrides::default() }.read()
}

struct FileReader<'a> {
    file: &'a Path,
    text: &'a str,
    given: Overrides,
}

impl FileReader<'_> {
    fn read(mut self) -> Result<Overrides, ConfigError> {
        let table = DeTable::parse(self.text).map_err(|error| ConfigError::Syntax {
            file: self.file.to_owned(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            problem: error.message().trim_end().replace('\n', ", "),
        })?;
        // The table is in the order of the alphabet, people read from top to bottom.
        let mut mistakes = Vec::new();
        for (key, value) in table.get_ref() {
            let (at, name) = (key.span().start, key.get_ref().as_ref());
            match (SECTIONS.iter().find(|section| **section == name), value.get_ref()) {
                (Some(section), DeValue::Table(keys)) => {
                    for (key, value) in keys {
                        let (at, name) = (key.span().start, key.get_ref().as_ref());
                        mistakes.extend(self.entry(section, name, at, value.get_ref()).err().map(|error| (at, error)));
                    }
                }
                (Some(section), value) => mistakes.push((at, self.section_expected(section, at, value))),
                (None, value) => {
                    mistakes.extend(self.entry("", name, at, value).err().map(|error| (at, error)));
                }
            }
        }
        match mistakes.into_iter().min_by_key(|(at, _)| *at) {
            Some((_, first)) => Err(first),
            None => Ok(self.given),
        }
    }

    /// Reads one key of a section, or one that stands before all sections.
    fn entry(&mut self, section: &str, key: &str, at: usize, value: &DeValue<'_>) -> Result<(), ConfigError> {
        let Some(place) = PLACES.iter().find(|place| **place == (section, key)) else {
            let is_section = section.is_empty() && value.is_table();
            return Err(ConfigError::UnknownKey {
                file: self.file.to_owned(),
                line: self.line(at),
                key: if is_section { format!("`[{}]`", shown_key(key)) } else { name(section, &shown_key(key)) },
                hint: suggest::hint(section, key, is_section),
            });
        };
        let read = raw(value).and_then(|raw| self.given.read(*place, &raw));
        read.map_err(|Bad(expected)| ConfigError::BadValue {
            place: self.place(at),
            key: name(section, key),
            value: written(value),
            expected,
        })
    }

    fn section_expected(&self, section: &str, at: usize, value: &DeValue<'_>) -> ConfigError {
        ConfigError::BadValue {
            place: self.place(at),
            key: format!("`{section}`"),
            value: written(value),
            expected: format!("it is a section; write a line [{section}] and its settings below"),
        }
    }

    fn place(&self, at: usize) -> String {
        format!("{}, line {}", self.file.display(), self.line(at))
    }

    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// The value as text. Tables, times and the like are no value of any setting.
fn raw(value: &DeValue<'_>) -> Result<Raw, Bad> {
    match value {
        DeValue::Array(values) => {
            values.iter().map(|value| one(value.get_ref())).collect::<Result<_, _>>().map(Raw::List)
        }
        value => one(value).map(Raw::Text),
    }
}

fn one(value: &DeValue<'_>) -> Result<String, Bad> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        // The digits as they stand there, without `_`.
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        other => Err(Bad(format!("no setting has a value of the kind {}", other.type_str()))),
    }
}

/// The value for a message.
fn written(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(values) => {
            let values: Vec<String> = values.iter().take(5).map(|value| written(value.get_ref())).collect();
            format!("[{}]", values.join(", "))
        }
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::String(text) => shown(text),
        DeValue::Integer(number) => shown(number.as_str()),
        DeValue::Float(number) => shown(number.as_str()),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(time) => format!("`{time}`"),
    }
}

/// Of a long text the beginning; control characters escaped.
fn shown(text: &str) -> String {
    format!("`{}`", shown_key(text))
}

fn shown_key(text: &str) -> String {
    text.chars().take(80).flat_map(|c| c.escape_debug().collect::<Vec<_>>()).collect::<String>().replace("\\\"", "\"")
}
