//! From a file or text to a YAML value, within bounds: files are of any kind and length, and a few lines of aliases can
//! stand for gigabytes.

use crate::ConfigError;
use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Mapping, Value};
use std::cell::Cell;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// No configuration is longer; stops a wrong file before it is parsed.
const MAX_BYTES: usize = 1 << 20;
/// What a document may take with all aliases written out: its letters, and [`NODE_BYTES`] for each value.
const MAX_EXPANDED: usize = 16 << 20;
const NODE_BYTES: usize = 16;
/// Deepest nesting of lists and maps in each other, counted by their brackets. The parser has a limit of its own, but
/// first spends time that grows with the square of the depth.
const MAX_BRACKETS: usize = 1000;
/// Tags by which other tools make objects and run code.
const FOREIGN_TAGS: [&str; 6] = ["!!python", "!!ruby", "!!perl", "!!java", "!!js", "2002:python"];

/// The text of a configuration file.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.into(), source };
    // Opening a pipe could wait for ever.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ConfigError::NotAFile { path: path.into() });
    }
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    std::fs::File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(ConfigError::NotUtf8 { path: path.into(), found: "UTF-16".into() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let found = format!("something else at byte {}", error.utf8_error().valid_up_to());
        ConfigError::NotUtf8 { path: path.into(), found }
    })
}

/// Parses YAML.
pub(crate) fn parse(text: &str, file: &str) -> Result<Value, ConfigError> {
    let text = text.trim_start_matches('\u{feff}');
    let bytes = text.len();
    if bytes > MAX_BYTES {
        return Err(ConfigError::TooLarge { file: file.into(), limit: MAX_BYTES });
    }
    refuse_foreign_tags(text, file)?;
    let brackets = deepest_brackets(text);
    if brackets > MAX_BRACKETS {
        return Err(ConfigError::TooDeep { file: file.into(), limit: MAX_BRACKETS });
    }
    let left = Cell::new(MAX_EXPANDED);
    Bounded { left: &left }
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|reason| ConfigError::Yaml { file: file.into(), reason })
}

fn refuse_foreign_tags(text: &str, file: &str) -> Result<(), ConfigError> {
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#')) {
        if let Some(tag) = FOREIGN_TAGS.into_iter().find(|tag| line.contains(tag)) {
            return Err(ConfigError::ForeignTag { file: file.into(), line: index + 1, tag });
        }
    }
    Ok(())
}

fn deepest_brackets(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Builds a value and counts what it takes.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<usize>,
}

impl Bounded<'_> {
    fn take<E: Error>(&self, letters: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(letters + NODE_BYTES);
        self.left.set(left.ok_or_else(|| {
            E::custom(format!("the aliases stand for more than {MAX_EXPANDED} bytes; write the values out"))
        })?);
        Ok(())
    }

    fn scalar<E: Error>(&self, value: impl Into<Value>) -> Result<Value, E> {
        self.take(0)?;
        Ok(value.into())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.scalar(value as f64)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.scalar(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.scalar(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Sequence(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.take(0)?;
        let mut map = Mapping::new();
        while let Some(key) = entries.next_key_seed(self)? {
            if map.contains_key(&key) {
                let key = crate::section::key_text(&key);
                return Err(A::Error::custom(format!("the key `{key}` comes twice")));
            }
            let value = entries.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Mapping(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (tag, _) = tagged.variant::<String>()?;
        let tag: String = tag.chars().take(60).collect();
        Err(A::Error::custom(format!(
            "the tag !{tag} is not known; only plain values are read, nothing is executed"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn refused(text: &str) -> String {
        let started = Instant::now();
        let message = parse(text, "x.yaml").expect_err("an error").to_string();
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        assert!(message.starts_with("x.yaml") && message.len() < 400, "{message:.400}");
        message
    }

    #[test]
    fn plain_values_are_those_of_the_parser() {
        let text = "a: [1, -2, 1.5, .inf, yes, true, ~, null, 'x', 1e3, 0x1f]\nb: &b {c: d, 3: e}\nf: *b\n";
        let want: Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(parse(text, "x.yaml").unwrap(), want);
        assert_eq!(parse("\u{feff}a: 1", "x.yaml").unwrap()["a"], Value::from(1));
        assert_eq!(parse("a: 99999999999999999999", "x.yaml").unwrap()["a"], Value::from(1e20));
    }

    #[test]
    fn tags_that_other_tools_execute_are_refused() {
        for text in
            ["a: !!python/object/apply:os.system [ls]", "a: !<tag:yaml.org,2002:python/name:os.system> x"]
        {
            let message = refused(text);
            assert!(message.contains("line 1") && message.contains("nothing is executed"), "{message}");
        }
        assert!(refused("a: !danger x").contains("the tag !danger is not known"));
        assert!(parse("# !!python is a tag\na: 1", "x.yaml").is_ok());
    }

    #[test]
    fn what_stands_for_gigabytes_is_refused_before_it_is_made() {
        let mut lists = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        let mut merges = String::from("a0: &a0 {k: v}\n");
        for level in 1..12 {
            let alias = vec![format!("*a{}", level - 1); 9].join(", ");
            lists.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
            merges.push_str(&format!("a{level}: &a{level} {{<<: [{alias}]}}\n"));
        }
        // No nesting, only a long text that is named often: 400 kB x 50,000.
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(400_000), vec!["*a"; 50_000].join(","));
        for bomb in [lists, merges, long] {
            let message = refused(&bomb);
            assert!(message.contains("aliases") || message.contains("repetition"), "{message}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        for open in ["[", "{", "{a: [", "- ", "? "] {
            let deep = open.repeat((MAX_BYTES - 1) / open.len());
            let message = refused(&deep);
            assert!(!message.is_empty(), "{open}");
        }
        assert!(refused(&"a:\n ".repeat(5)).contains("no valid YAML"));
        let lines: String = (0..1200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(refused(&lines).contains("recursion"));
    }

    #[test]
    fn repeated_keys_are_refused() {
        assert!(refused("a: 1\na: 2\n").contains("`a` comes twice"));
    }

    #[test]
    fn what_is_no_text_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            read_text(&path).unwrap_err().to_string()
        };
        assert!(at("utf16.yaml", b"\xff\xfea\0:\0").contains("found UTF-16"));
        assert!(at("latin.yaml", b"a: caf\xe9").contains("something else at byte 6"));
        assert!(read_text(folder.path()).unwrap_err().to_string().contains("expected a file"));
        assert!(read_text(&folder.path().join("absent")).is_err());
    }
}
