//! Rows of a YOLO label file.

use crate::{FileProblem, NormalisedBox};
use box_geometry::CxCyWh;
use std::collections::HashSet;

/// Values may leave 0 to 1 by this much: exporters round.
pub(crate) const TOLERANCE: f64 = 0.01;
/// Letters of a wrong column that a message repeats.
const QUOTED: usize = 40;

/// Why a whole label file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelFileProblem {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// It is in UTF-16.
    #[error("expected plain text (UTF-8), found UTF-16; save the file as UTF-8")]
    Utf16,
    /// It is no text.
    #[error("expected rows of text, found a byte 0 at position {position}: this is no text file")]
    Binary {
        /// Position of the byte from 0.
        position: usize,
    },
}

/// Why a row is not used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LabelProblem {
    /// Neither a box nor a polygon.
    #[error(
        "expected 5 columns (class cx cy w h) or a class and at least 3 points (x y), found {found} column{}",
        if *found == 1 { "" } else { "s" }
    )]
    Columns {
        /// Columns found.
        found: usize,
    },
    /// The columns are separated by something else than blanks.
    #[error("expected columns separated by blanks, found {separator:?} between them")]
    Separator {
        /// What stands between the columns.
        separator: char,
    },
    /// A column is no finite number.
    #[error("column {column}: expected a number, found {text:?}")]
    NotANumber {
        /// Column from 1.
        column: usize,
        /// What stands there.
        text: String,
    },
    /// The class is no id.
    #[error("column 1: expected a class id from 0 to {}, found {text:?}", classes.saturating_sub(1))]
    Class {
        /// What stands there.
        text: String,
        /// Number of classes.
        classes: usize,
    },
    /// A coordinate is not normalised.
    #[error(
        "column {column}: expected a share of the image's side, 0 to 1, found {value}; are these pixels?"
    )]
    OutOfRange {
        /// Column from 1.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A box without width or height.
    #[error("expected a box with an area, found width {width} and height {height}")]
    NoArea {
        /// Width as a share.
        width: f64,
        /// Height as a share.
        height: f64,
    },
    /// The same box again.
    #[error("the same box as an earlier row")]
    Duplicate,
}

/// What a label file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Labels {
    /// The usable rows.
    pub boxes: Vec<NormalisedBox>,
    /// The rows that are not used, each with its number from 1.
    pub problems: Vec<(usize, LabelProblem)>,
}

/// Reads the rows of a label file: `class cx cy w h`, or `class x y x y x y ..`, a polygon, of which the box around it
/// is taken; coordinates are shares of the image's width and height. Blank rows, a byte order mark and CRLF are
/// accepted. A row with a problem is left out and listed.
///
/// # Errors
/// When the bytes are no text in UTF-8 or a relative of ASCII.
pub fn parse_labels(bytes: &[u8], classes: usize) -> Result<Labels, LabelFileProblem> {
    check_text(bytes)?;
    let text = String::from_utf8_lossy(bytes);
    let (mut labels, mut seen) = (Labels::default(), HashSet::new());
    for (number, row) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if row.trim().is_empty() {
            continue;
        }
        match parse_row(row, classes) {
            Ok(labelled) if !seen.insert(key(&labelled)) => {
                labels.problems.push((number + 1, LabelProblem::Duplicate));
            }
            Ok(labelled) => labels.boxes.push(labelled),
            Err(problem) => labels.problems.push((number + 1, problem)),
        }
    }
    Ok(labels)
}

fn check_text(bytes: &[u8]) -> Result<(), LabelFileProblem> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(LabelFileProblem::Utf16);
    }
    bytes
        .iter()
        .position(|byte| *byte == 0)
        .map_or(Ok(()), |position| Err(LabelFileProblem::Binary { position }))
}

/// Equal for equal boxes; a zero has no sign.
pub(crate) fn key(labelled: &NormalisedBox) -> (usize, [u32; 4]) {
    let CxCyWh { cx, cy, w, h } = labelled.cxcywh;
    (labelled.class, [cx, cy, w, h].map(|value| (value + 0.0).to_bits()))
}

fn parse_row(row: &str, classes: usize) -> Result<NormalisedBox, LabelProblem> {
    let columns: Vec<&str> = row.split_whitespace().collect();
    let found = columns.len();
    let is_polygon = found > 6 && found % 2 == 1;
    if let Some(separator) = row.chars().find(|letter| [',', ';', '|'].contains(letter)) {
        return Err(LabelProblem::Separator { separator });
    }
    if found != 5 && !is_polygon {
        return Err(LabelProblem::Columns { found });
    }
    let class = parse_class(columns[0], classes)?;
    let mut shares = Vec::with_capacity(found - 1);
    for (i, text) in columns.iter().enumerate().skip(1) {
        shares.push(parse_share(i + 1, text)?);
    }
    let [cx, cy, width, height] =
        if is_polygon { box_around(&shares) } else { [shares[0], shares[1], shares[2], shares[3]] };
    let cxcywh = CxCyWh::new(cx as f32, cy as f32, width as f32, height as f32);
    if cxcywh.w <= 0.0 || cxcywh.h <= 0.0 {
        return Err(LabelProblem::NoArea { width, height });
    }
    Ok(NormalisedBox { class, cxcywh })
}

/// A class id; some exporters write it as `3.0`.
fn parse_class(text: &str, classes: usize) -> Result<usize, LabelProblem> {
    let value = text.parse::<f64>().ok();
    let id = value.filter(|value| value.fract() == 0.0 && (0.0..classes as f64).contains(value));
    id.map(|id| id as usize).ok_or_else(|| LabelProblem::Class { text: quoted(text), classes })
}

fn parse_share(column: usize, text: &str) -> Result<f64, LabelProblem> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
    let value = value.ok_or_else(|| LabelProblem::NotANumber { column, text: quoted(text) })?;
    let is_share = (-TOLERANCE..=1.0 + TOLERANCE).contains(&value);
    if is_share { Ok(value) } else { Err(LabelProblem::OutOfRange { column, value }) }
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

/// Centre and size of the box around points `x y x y ..`.
fn box_around(points: &[f64]) -> [f64; 4] {
    let range = |axis: usize| {
        let values = points.iter().skip(axis).step_by(2);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        })
    };
    let ((x1, x2), (y1, y2)) = (range(0), range(1));
    [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1, y2 - y1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(row: &str) -> LabelProblem {
        let labels = parse_labels(row.as_bytes(), 3).unwrap();
        assert!(labels.boxes.is_empty(), "{row:?} was accepted");
        labels.problems[0].1.clone()
    }

    fn row(class: usize, cx: f32, cy: f32, w: f32, h: f32) -> NormalisedBox {
        NormalisedBox { class, cxcywh: CxCyWh::new(cx, cy, w, h) }
    }

    #[test]
    fn rows_with_either_line_end_and_a_byte_order_mark() {
        for text in ["0 .5 .5 .25 .5\n2.0 0.1 0.2 0.2 0.4\n", "\u{feff}0 .5 .5 .25 .5\r\n\r\n2 .1\t.2 .2  .4"]
        {
            let labels = parse_labels(text.as_bytes(), 3).unwrap();
            assert_eq!(labels.boxes, [row(0, 0.5, 0.5, 0.25, 0.5), row(2, 0.1, 0.2, 0.2, 0.4)]);
            assert_eq!(labels.problems, []);
        }
    }

    #[test]
    fn a_polygon_becomes_the_box_around_it() {
        let labels = parse_labels(b"1 0.25 0.5 0.75 0.5 0.5 0.25", 3).unwrap();
        assert_eq!(labels.boxes, [row(1, 0.5, 0.375, 0.5, 0.25)]);
    }

    #[test]
    fn each_problem_is_named() {
        assert_eq!(problem("0 .5 .5 .2"), LabelProblem::Columns { found: 4 });
        assert_eq!(problem("0 .5 .5 .2 .2 .9"), LabelProblem::Columns { found: 6 });
        assert_eq!(problem("0 .1 .1 .2 .2 .3 .3 .4"), LabelProblem::Columns { found: 8 });
        let text = |text: &str| text.to_string();
        assert_eq!(problem("0 .5 x .2 .2"), LabelProblem::NotANumber { column: 3, text: text("x") });
        assert_eq!(problem("0 .5 .5 nan .2"), LabelProblem::NotANumber { column: 4, text: text("nan") });
        assert_eq!(problem("0 inf .5 .2 .2"), LabelProblem::NotANumber { column: 2, text: text("inf") });
        for class in ["3", "-1", "0.5", "cat", "NaN"] {
            let want = LabelProblem::Class { text: text(class), classes: 3 };
            assert_eq!(problem(&format!("{class} .5 .5 .2 .2")), want);
        }
        assert_eq!(problem("0 320 .5 .2 .2"), LabelProblem::OutOfRange { column: 2, value: 320.0 });
        assert_eq!(problem("0 .5 -.02 .2 .2"), LabelProblem::OutOfRange { column: 3, value: -0.02 });
        assert_eq!(problem("0 .5 .5 0 .2"), LabelProblem::NoArea { width: 0.0, height: 0.2 });
        assert_eq!(problem("0 .5 .5 .2 -.005"), LabelProblem::NoArea { width: 0.2, height: -0.005 });
    }

    #[test]
    fn only_the_bad_row_is_left_out() {
        let labels = parse_labels(b"0 .5 .5 .2 .2\n0 .5 .5 .2 .2\n1 .5\n1 .5 .5 1.005 .2\n", 3).unwrap();
        assert_eq!(labels.boxes.len(), 2);
        let want = [(2, LabelProblem::Duplicate), (3, LabelProblem::Columns { found: 2 })];
        assert_eq!(labels.problems, want);
    }

    #[test]
    fn a_message_says_what_to_do() {
        let message = problem("0 320 .5 .2 .2").to_string();
        assert!(
            message.contains("column 2") && message.contains("320") && message.contains("pixels"),
            "{message}"
        );
    }

    #[test]
    fn what_is_no_text_is_refused_as_a_whole() {
        let utf16: Vec<u8> = "\u{feff}0 .5 .5 .2 .2".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(parse_labels(&utf16, 3), Err(LabelFileProblem::Utf16));
        assert_eq!(parse_labels(b"0 .5\0", 3), Err(LabelFileProblem::Binary { position: 4 }));
    }

    #[test]
    fn separators_other_than_blanks_are_named() {
        assert_eq!(problem("0,.5,.5,.2,.2"), LabelProblem::Separator { separator: ',' });
        assert_eq!(problem("0; .5; .5; .2; .2"), LabelProblem::Separator { separator: ';' });
    }

    #[test]
    fn zeros_of_either_sign_are_one_box() {
        let labels = parse_labels(b"0 -0.0 .5 .2 .2\n0 0 .5 .2 .2\n", 3).unwrap();
        assert_eq!((labels.boxes.len(), &labels.problems[..]), (1, &[(2, LabelProblem::Duplicate)][..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_listed(bytes in prop::collection::vec(any::<u8>(), 0..200), classes in 0usize..5) {
            let labels = parse_labels(&bytes, classes);
            prop_assert!(labels.is_ok() || bytes.contains(&0) || bytes[0] >= 0xfe);
            let labels = labels.unwrap_or_default();
            prop_assert!(labels.boxes.iter().all(|labelled| labelled.class < classes));
        }

        #[test]
        fn rows_of_numbers_are_read_or_listed(rows in prop::collection::vec(
            prop::collection::vec(prop_oneof![-0.1f64..1.1, Just(f64::NAN), Just(0.0), 0f64..4.0], 0..9), 0..6
        )) {
            let line = |row: &Vec<f64>| row.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
            let text = rows.iter().map(line).collect::<Vec<_>>().join("\n");
            let labels = parse_labels(text.as_bytes(), 3).unwrap();
            let filled = rows.iter().filter(|row| !row.is_empty()).count();
            prop_assert_eq!(labels.boxes.len() + labels.problems.len(), filled);
            for labelled in &labels.boxes {
                let CxCyWh { cx, cy, w, h } = labelled.cxcywh;
                prop_assert!(labelled.class < 3 && w > 0.0 && h > 0.0);
                prop_assert!([cx, cy, w, h].iter().all(|value| (-0.01..=1.021).contains(value)));
            }
        }
    }
}
