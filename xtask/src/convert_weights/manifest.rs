//! `weights/manifest.yaml`: what is known of the files that the configurations start from.

use super::report::Report;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;

/// Adds or renews the entry of a file that lies in the checkout's folder `weights`.
pub(super) fn note(out: &Path, report: &Report) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights");
    let (Ok(folder), Ok(out)) = (folder.canonicalize(), out.canonicalize()) else { return Ok(()) };
    let file = match out.strip_prefix(&folder) {
        Ok(file) if file.components().count() == 1 => file.display().to_string(),
        _ => return Ok(()),
    };
    let path = folder.join("manifest.yaml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let renewed = with_entry(&text, &file, &report.manifest_entry(&file));
    let temporary = folder.join("manifest.yaml.tmp");
    let written = fs::write(&temporary, renewed).and_then(|()| File::open(&temporary)?.sync_all());
    written.and_then(|()| fs::rename(&temporary, &path)).with_context(|| path.display().to_string())
}

/// Keys that a person may word better than this command: they are only set where an entry lacks them.
const WORDED: [&str; 2] = ["what", "source"];

/// The list with the entry of `file` renewed in place, or added at its end.
fn with_entry(text: &str, file: &str, lines: &[(&str, String)]) -> String {
    let start_of_entry = |line: &str| line.starts_with("  - ");
    let mut entries: Vec<Vec<String>> = vec![Vec::new()];
    for line in text.lines() {
        if start_of_entry(line) {
            entries.push(Vec::new());
        }
        entries.last_mut().expect("starts with one").push(line.to_string());
    }
    let is_of_file =
        |entry: &Vec<String>| entry.iter().any(|line| line.trim() == format!("file: {}", plain(file)));
    match entries.iter_mut().skip(1).find(|entry| is_of_file(entry)) {
        Some(entry) => renew(entry, lines),
        None => {
            let name = file.trim_end_matches(".safetensors").replace('_', "-");
            let mut entry = vec![format!("  - name: {}", plain(&name))];
            renew(&mut entry, lines);
            entries.push(entry);
        }
    }
    entries.concat().join("\n") + "\n"
}

/// Sets the lines of an entry by key.
fn renew(entry: &mut Vec<String>, lines: &[(&str, String)]) {
    for (key, value) in lines {
        let line = format!("    {key}: {}", plain(value));
        match entry.iter_mut().find(|old| old.trim_start().starts_with(&format!("{key}:"))) {
            Some(_) if WORDED.contains(key) => {}
            Some(old) => *old = line,
            None => entry.push(line),
        }
    }
}

/// A YAML scalar: bare where nothing in it could mean something else.
fn plain(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || " ._/(),+-".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    match text.chars().all(is_bare) && starts_well && text == text.trim() {
        true => text.to_string(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# head\nweights:\n  - name: a\n    file: a.safetensors\n    licence: MIT\n    sha256: old\n";

    #[test]
    fn an_entry_is_renewed_in_place_and_keeps_what_a_person_wrote() {
        let renewed = with_entry(TEXT, "a.safetensors", &[("sha256", "new".into())]);
        assert_eq!(renewed, TEXT.replace("old", "new"));
    }

    #[test]
    fn a_file_that_is_not_listed_is_added() {
        let lines = [("file", "b_c.safetensors".to_string()), ("sha256", "12".into())];
        let added = with_entry(TEXT, "b_c.safetensors", &lines);
        assert_eq!(added, format!("{TEXT}  - name: b-c\n    file: b_c.safetensors\n    sha256: 12\n"));
        assert_eq!(
            with_entry(TEXT, "a.safetensors", &[("source", "a: b".into())]).lines().last().unwrap(),
            r#"    source: "a: b""#
        );
    }
}
