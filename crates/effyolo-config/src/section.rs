pub(crate) use crate::document::parse;
use crate::{ConfigError, suggest};
use serde_yaml::{Mapping, Value};
use std::ops::RangeInclusive;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    file: &'a str,
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    pub(crate) fn new(file: &'a str, path: &str, value: &'a Value) -> Self {
        Field { file, path: path.to_string(), value }
    }

    /// The error that something else was expected here.
    pub(crate) fn wrong(&self, expected: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            file: self.file.into(),
            path: self.path.clone(),
            expected: expected.into(),
            got: describe(self.value),
        }
    }

    /// The file and path in messages.
    pub(crate) fn place(&self) -> (&'a str, &str) {
        (self.file, &self.path)
    }

    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub(crate) fn integer(&self, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let value = self.value.as_u64().and_then(|value| usize::try_from(value).ok());
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        value.filter(|value| range.contains(value)).ok_or_else(|| self.wrong(expected()))
    }

    pub(crate) fn number(&self, range: RangeInclusive<f64>) -> Result<f64, ConfigError> {
        let expected = || format!("a number from {} to {}", range.start(), range.end());
        self.value.as_f64().filter(|value| range.contains(value)).ok_or_else(|| self.wrong(expected()))
    }

    pub(crate) fn flag(&self) -> Result<bool, ConfigError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub(crate) fn text(&self) -> Result<&'a str, ConfigError> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    /// One of several words, in any case.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let word = self.text()?;
        let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let hint = suggest::closest(word, names.iter().copied());
            let hint = hint.map_or(String::new(), |name| format!(" (did you mean `{name}`?)"));
            self.wrong(format!("one of {}{hint}", names.join(", ")))
        })
    }

    /// The fields of a list, or `None` for anything else.
    pub(crate) fn items(&self) -> Option<Vec<Field<'a>>> {
        let field =
            |(index, value)| Field { file: self.file, path: format!("{}[{index}]", self.path), value };
        self.value.as_sequence().map(|items| items.iter().enumerate().map(field).collect())
    }

    /// The entries of a map, or `None` for anything else.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a Value, Field<'a>)>> {
        let path = |key| join(&self.path, &key_text(key));
        let entry =
            |(key, value): (&'a Value, &'a Value)| (key, Field { file: self.file, path: path(key), value });
        self.value.as_mapping().map(|map| map.iter().map(entry).collect())
    }

    /// A text as it stands; numbers and truth values count as what they look like.
    pub(crate) fn scalar_text(&self) -> Result<String, ConfigError> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(flag.to_string()),
            _ => Err(self.wrong("a name")),
        }
    }

    pub(crate) fn section(&self, expected: &str) -> Result<Section<'a>, ConfigError> {
        let map = self.value.as_mapping().ok_or_else(|| self.wrong(expected))?;
        Ok(Section { file: self.file, path: self.path.clone(), map, known: Vec::new() })
    }
}

/// A map whose keys are all known: it remembers which were asked for and complains about the others.
pub(crate) struct Section<'a> {
    file: &'a str,
    path: String,
    map: &'a Mapping,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The field of a key, if it is there.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        let value = self.map.get(key)?;
        Some(Field { file: self.file, path: join(&self.path, key), value })
    }

    /// The field of a key that must be there.
    pub(crate) fn require(&mut self, key: &'static str, expected: &str) -> Result<Field<'a>, ConfigError> {
        self.get(key).ok_or_else(|| self.missing(key, expected))
    }

    /// The error that a key is not there; points out a key that may have been meant for it.
    pub(crate) fn missing(&self, key: &str, expected: &str) -> ConfigError {
        let others = self.map.keys().filter_map(|key| key.as_str()).filter(|name| !self.known.contains(name));
        let slip = suggest::closest(key, others);
        let hint =
            slip.map_or(String::new(), |name| format!("; is `{}` meant for it?", shorten(name.to_string())));
        let expected = format!("{expected}{hint}");
        ConfigError::Missing { file: self.file.into(), path: join(&self.path, key), expected }
    }

    /// Reads a key, or takes `default` where it is absent.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Field<'a>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        self.get(key).map_or(Ok(default), read)
    }

    /// Fails on the first key that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        for key in self.map.keys() {
            if key.as_str().is_some_and(|name| self.known.contains(&name)) {
                continue;
            }
            let name = key_text(key);
            if name == "<<" {
                let advice = "merge keys are not read: write the keys out".into();
                return Err(ConfigError::UnknownKey {
                    file: self.file.into(),
                    path: join(&self.path, &name),
                    advice,
                });
            }
            return Err(ConfigError::UnknownKey {
                file: self.file.into(),
                path: join(&self.path, &name),
                advice: suggest::advice(&name, &self.known),
            });
        }
        Ok(())
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

pub(crate) fn key_text(key: &Value) -> String {
    key.as_str().map_or_else(|| describe(key), |text| shorten(text.to_string()))
}

/// A value as a message shows it.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the text \"{}\"", shorten(text.clone())),
        Value::Sequence(items) => format!("a list of {} items", items.len()),
        Value::Mapping(map) => format!("a map of {} keys", map.len()),
        Value::Tagged(tagged) => format!("a value tagged {}", shorten(tagged.tag.to_string())),
    }
}

fn shorten(text: String) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
