//! The part of a Markdown file that is written by a program: what lies between two lines with markers.

use anyhow::{Result, bail};
use std::ops::Range;

const BEGIN: &str = "<!-- bench-report:begin -->";
const END: &str = "<!-- bench-report:end -->";

/// The document with `text` between its markers; every other byte is as it was.
///
/// # Errors
/// When there is not exactly one line of each marker, the beginning first.
pub(super) fn replaced(document: &str, text: &str) -> Result<String> {
    let (begin, end) = (line_of(document, BEGIN)?, line_of(document, END)?);
    if end.start < begin.end {
        bail!("the line `{END}` stands before `{BEGIN}`; swap them");
    }
    Ok([&document[..begin.end], "\n", text, "\n", &document[end.start..]].concat())
}

/// The bytes of the only line that is this marker, with its line break.
fn line_of(document: &str, marker: &str) -> Result<Range<usize>> {
    let mut start = 0;
    let lines = document.split_inclusive('\n').map(|line| {
        start += line.len();
        (start - line.len()..start, line)
    });
    let mut found = lines.filter(|(_, line)| line.trim() == marker).map(|(range, _)| range);
    let Some(only) = found.next() else {
        bail!("there is no line `{marker}`; add these two lines where the table belongs:\n{BEGIN}\n{END}");
    };
    if found.next().is_some() {
        bail!("more than one line is `{marker}`; keep one");
    }
    Ok(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blanks, a line break of another system and no line break at the end, which all have to stay.
    const BEFORE: &str =
        "# Title  \r\n\r\n`<!-- bench-report:begin -->` in a sentence\n\n<!-- bench-report:begin -->\n";
    const AFTER: &str = "<!-- bench-report:end -->\r\n\tcode\n\n\nlast line";

    #[test]
    fn what_is_outside_of_the_markers_stays_byte_for_byte() {
        for old in ["", "old table\n", "\n| a |\n|---|\n\n"] {
            let document = [BEFORE, old, AFTER].concat();
            let new = replaced(&document, "| new |\n").unwrap();
            assert_eq!(new, [BEFORE, "\n| new |\n\n", AFTER].concat());
            assert_eq!(replaced(&new, "| new |\n").unwrap(), new, "a second time changes nothing");
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        let error = |document: &str| replaced(document, "").unwrap_err().to_string();
        let both = "where the table belongs:\n<!-- bench-report:begin -->\n<!-- bench-report:end -->";
        assert!(error("").contains(both));
        assert!(error(BEFORE).starts_with("there is no line `<!-- bench-report:end -->`"));
        assert!(error(&[BEFORE, BEFORE, AFTER].concat()).contains("more than one line"));
        assert!(error(&[AFTER, "\n", BEFORE].concat()).contains("swap them"));
    }
}
