//! At which scale a rows file is read.

use crate::ConfigError;
use crate::section::{Field, Section, key_text};

const FACTOR: std::ops::RangeInclusive<f64> = 0.01..=16.0;
/// No map of use is wider.
pub(crate) const MAX_WIDTH: usize = 1 << 16;

/// How numbers of the file become those of the network.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    depth: f64,
    width: f64,
    max_width: usize,
}

impl Scale {
    /// Capped, multiplied, up to the next multiple of 8.
    pub(crate) fn channels(&self, base: usize) -> usize {
        (base.min(self.max_width) as f64 * self.width / 8.0).ceil() as usize * 8
    }

    /// Halves go to the even neighbour.
    pub(crate) fn repeats(&self, base: usize) -> usize {
        if base <= 1 { base } else { ((base as f64 * self.depth).round_ties_even() as usize).max(1) }
    }
}

/// Reads `scale`, `scales` and the multiples; `letter` is the scale that the name of the file asks for.
pub(crate) fn read_scale(
    section: &mut Section<'_>,
    letter: Option<char>,
    notes: &mut Vec<String>,
) -> Result<Scale, ConfigError> {
    let depth = section.get("depth_multiple").map(|field| field.number(FACTOR)).transpose()?;
    let width = section.get("width_multiple").map(|field| field.number(FACTOR)).transpose()?;
    let wanted = section.get("scale");
    match section.get("scales") {
        Some(scales) => one_of(&scales, wanted, letter, notes),
        None => {
            if depth.is_none() && width.is_none() {
                notes.push(NO_SCALE.into());
            }
            Ok(Scale { depth: depth.unwrap_or(1.0), width: width.unwrap_or(1.0), max_width: usize::MAX })
        }
    }
}

const NO_SCALE: &str = "no `scales`: widths and repeats are taken as they stand, which makes a neck and head of the size \
                        of YOLOv8l's";

fn one_of(
    scales: &Field<'_>,
    wanted: Option<Field<'_>>,
    letter: Option<char>,
    notes: &mut Vec<String>,
) -> Result<Scale, ConfigError> {
    let entries = scales.entries().filter(|entries| !entries.is_empty());
    let entries =
        entries.ok_or_else(|| scales.wrong("a map from a letter to [depth, width, largest width]"))?;
    let names: Vec<String> = entries.iter().map(|(key, _)| key_text(key)).collect();
    let position = |name: &str| names.iter().position(|other| other == name);
    let index = match (wanted, letter.and_then(|letter| position(&letter.to_string()))) {
        (Some(field), _) => position(&field.scalar_text()?)
            .ok_or_else(|| field.wrong(format!("one of the `scales`: {}", names.join(", "))))?,
        (None, Some(index)) => index,
        (None, None) => {
            notes.push(format!(
                "neither `scale` nor a letter in the file's name (such as yolov8s.yaml): scale `{}`, the first of `scales`",
                names[0]
            ));
            0
        }
    };
    factors(&entries[index].1)
}

fn factors(field: &Field<'_>) -> Result<Scale, ConfigError> {
    let items = field.items().filter(|items| items.len() == 3);
    let items = items.ok_or_else(|| field.wrong("[depth, width, largest width]"))?;
    Ok(Scale {
        depth: items[0].number(FACTOR)?,
        width: items[1].number(FACTOR)?,
        max_width: items[2].integer(1..=MAX_WIDTH)?,
    })
}

/// The scale that a file's name asks for: the letter behind `yolo`, perhaps `v`, and a number; and the name without it.
pub(crate) fn scale_in_name(stem: &str) -> Option<(char, String)> {
    let start = stem.to_ascii_lowercase().find("yolo")? + 4;
    let rest = stem.get(start..)?;
    let skipped = rest.len() - rest.trim_start_matches(['v', 'V']).len();
    let digits = rest[skipped..].bytes().take_while(u8::is_ascii_digit).count();
    let at = start + skipped + digits;
    let letter = stem[at..].chars().next().filter(|letter| digits > 0 && "nslmx".contains(*letter))?;
    let ends = !stem[at + 1..].starts_with(|next: char| next.is_ascii_alphanumeric());
    ends.then(|| (letter, format!("{}{}", &stem[..at], &stem[at + 1..])))
}
