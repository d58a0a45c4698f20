//! The rows form of a model file: reading it, and writing a resolved network back.
//!
//! Top keys are `nc`, `scales` (letter to depth, width and largest width) or `depth_multiple` and `width_multiple`,
//! `backbone` and `head`; a row is `[from, repeats, module, arguments]`. Nothing is imported or executed: a module is a name
//! in a table here.

use crate::rows::{HEAD_OUTPUT, reduction_of_output};
use crate::rows_graph::{RowProblem, build};
use crate::section::{Field, Section};
use crate::{ConfigError, Module, Row, RowsSpec, ScaledVariant, suggest};
use effnet_scaling::Variant;
use serde_yaml::{Mapping, Value};

const MAX_ROWS: usize = 500;
const MAX_REPEATS: usize = 100;
const MAX_WIDTH: usize = 1 << 16;
const MAX_KERNEL: usize = 15;
const MAX_FROM: usize = 64;
const FACTOR: std::ops::RangeInclusive<f64> = 0.01..=16.0;

/// Modules that a row may name.
const KNOWN: [&str; 9] =
    ["Conv", "C2f", "SPPF", "nn.Upsample", "Concat", "Detect", "TorchVision", "Index", "EfficientNet"];

/// What a rows file says, and what should be said about it.
pub(crate) struct ReadRows {
    pub(crate) spec: RowsSpec,
    pub(crate) classes: usize,
    pub(crate) notes: Vec<String>,
}

/// How numbers of the file become those of the network.
#[derive(Clone, Copy)]
struct Scale {
    depth: f64,
    width: f64,
    max_width: usize,
}

impl Scale {
    /// Capped, multiplied, up to the next multiple of 8.
    fn channels(&self, base: usize) -> usize {
        (base.min(self.max_width) as f64 * self.width / 8.0).ceil() as usize * 8
    }

    /// Halves go to the even neighbour.
    fn repeats(&self, base: usize) -> usize {
        if base <= 1 { base } else { ((base as f64 * self.depth).round_ties_even() as usize).max(1) }
    }
}

/// Reads all keys but `train`. `letter` is the scale that the name of the file asks for.
pub(crate) fn read_rows(section: &mut Section<'_>, letter: Option<char>) -> Result<ReadRows, ConfigError> {
    let mut notes = Vec::new();
    let classes = section.require("nc", "the number of classes")?.integer(1..=100_000)?;
    let scale = read_scale(section, letter, &mut notes)?;
    if let Some(field) = section.get("activation") {
        read_activation(&field)?;
    }
    let mut reader = RowReader { scale, classes, notes };
    let backbone = section.require("backbone", "a list of rows")?;
    let head = section.require("head", "a list of rows")?;
    let mut fields = rows_of(&backbone)?;
    let backbone_rows = fields.len();
    fields.extend(rows_of(&head)?);
    let rows = fields.iter().map(|field| reader.row(field)).collect::<Result<Vec<_>, _>>()?;
    check_order(&rows, &fields, &head)?;
    let built = build(&rows, classes, 1.0).map_err(|problem| row_error(problem, &rows, &fields))?;
    let mut notes = reader.notes;
    for row in built.unread {
        notes.push(format!("row {row} ({}) is read by no other row: left out", rows[row].module.name()));
    }
    let spec = RowsSpec { rows, backbone_rows, max_stride: built.max_stride };
    Ok(ReadRows { spec, classes, notes })
}

fn row_error(problem: RowProblem, rows: &[Row], fields: &[Field<'_>]) -> ConfigError {
    let RowProblem { row, problem } = problem;
    let (file, path) = fields[row].place();
    let problem = format!("row {row} ({}): {problem}", rows[row].module.name());
    ConfigError::Row { file: file.into(), path: path.into(), problem }
}

fn rows_of<'a>(field: &Field<'a>) -> Result<Vec<Field<'a>>, ConfigError> {
    let rows = field.items().filter(|rows| (1..=MAX_ROWS).contains(&rows.len()));
    rows.ok_or_else(|| {
        field.wrong(format!("a list of 1 to {MAX_ROWS} rows [from, repeats, module, arguments]"))
    })
}

fn check_order(rows: &[Row], fields: &[Field<'_>], head: &Field<'_>) -> Result<(), ConfigError> {
    for (number, row) in rows.iter().enumerate() {
        let is_last = number + 1 == rows.len();
        if (row.module == Module::Detect) != is_last {
            let field = if is_last { head } else { &fields[number] };
            return Err(field.wrong("one Detect, in the last row of the head"));
        }
        if matches!(row.module, Module::Backbone(_) | Module::Stages(_)) && number > 0 {
            return Err(fields[number].wrong("an EfficientNet in the first row of the backbone only"));
        }
    }
    Ok(())
}

fn read_scale(
    section: &mut Section<'_>,
    letter: Option<char>,
    notes: &mut Vec<String>,
) -> Result<Scale, ConfigError> {
    let depth = section.get("depth_multiple").map(|field| field.number(FACTOR)).transpose()?;
    let width = section.get("width_multiple").map(|field| field.number(FACTOR)).transpose()?;
    let wanted = section.get("scale");
    let wanted = wanted.map(|field| field.scalar_text().map(|name| (name, field))).transpose()?;
    let Some(scales) = section.get("scales") else {
        if depth.is_none() && width.is_none() {
            notes.push(
                "no `scales`: widths and repeats are taken as they stand, which makes a neck and head of the size of YOLOv8l's"
                    .into(),
            );
        }
        return Ok(Scale { depth: depth.unwrap_or(1.0), width: width.unwrap_or(1.0), max_width: usize::MAX });
    };
    let wrong = || scales.wrong("a map from a letter to [depth, width, largest width]");
    let entries = scales.entries().filter(|entries| !entries.is_empty()).ok_or_else(wrong)?;
    let names: Vec<String> = entries.iter().map(|(key, _)| crate::section::key_text(key)).collect();
    let from_name = letter.map(String::from).filter(|letter| names.contains(letter));
    let name = match (wanted, from_name) {
        (Some((name, field)), _) if !names.contains(&name) => {
            return Err(field.wrong(format!("one of the `scales`: {}", names.join(", "))));
        }
        (Some((name, _)), _) | (None, Some(name)) => name,
        (None, None) => {
            notes.push(format!(
                "neither `scale` nor a letter in the file's name (such as yolov8s.yaml): scale `{}`, the first of `scales`",
                names[0]
            ));
            names[0].clone()
        }
    };
    let entry = entries.into_iter().zip(names).find(|(_, other)| *other == name).map(|(entry, _)| entry.1);
    let field = entry.expect("one of them");
    let items = field.items().filter(|items| items.len() == 3);
    let items = items.ok_or_else(|| field.wrong("[depth, width, largest width]"))?;
    Ok(Scale {
        depth: items[0].number(FACTOR)?,
        width: items[1].number(FACTOR)?,
        max_width: items[2].integer(1..=MAX_WIDTH)?,
    })
}

fn read_activation(field: &Field<'_>) -> Result<(), ConfigError> {
    match field.value() {
        Value::String(text) if ["nn.SiLU()", "SiLU", "torch.nn.SiLU()"].contains(&text.as_str()) => Ok(()),
        _ => Err(field.wrong("nn.SiLU(): the only activation that rows are built with")),
    }
}

struct RowReader {
    scale: Scale,
    classes: usize,
    notes: Vec<String>,
}

impl RowReader {
    fn row(&mut self, field: &Field<'_>) -> Result<Row, ConfigError> {
        let parts = field.items().filter(|parts| parts.len() == 4);
        let parts = parts.ok_or_else(|| field.wrong("a row [from, repeats, module, arguments]"))?;
        let [from, repeats, name, arguments] = &parts[..] else { unreachable!("four parts") };
        let repeats = repeats.integer(1..=MAX_REPEATS)?;
        let items = arguments.items().ok_or_else(|| arguments.wrong("a list of arguments"))?;
        let module = self.module(field, name, Arguments { list: arguments, items })?;
        let is_single = !matches!(module, Module::Conv { .. } | Module::C2f { .. } | Module::Sppf { .. });
        if is_single && repeats != 1 {
            return Err(parts[1].wrong(format!("1: {} is not repeated", module.name())));
        }
        Ok(Row { from: read_from(from)?, repeats: self.scale.repeats(repeats), module })
    }

    fn module(
        &mut self,
        row: &Field<'_>,
        name: &Field<'_>,
        arguments: Arguments<'_>,
    ) -> Result<Module, ConfigError> {
        let text = name.text()?;
        match text {
            "Conv" => self.conv(&arguments),
            "C2f" => self.c2f(&arguments),
            "SPPF" => self.sppf(&arguments),
            "nn.Upsample" | "Upsample" => upsample(&arguments),
            "Concat" => concat(&arguments),
            "Detect" => self.detect(&arguments),
            "TorchVision" => self.stages(&arguments),
            "Index" => index(&arguments),
            _ if plain(text).contains("efficientnet") => self.backbone(row, text, &arguments),
            _ => {
                let hint = suggest::closest(text, KNOWN)
                    .map_or(String::new(), |name| format!(" (did you mean {name}?)"));
                let expected =
                    format!("a module that is known: {}{hint}; nothing is imported", KNOWN.join(", "));
                Err(name.wrong(expected))
            }
        }
    }

    fn conv(&self, arguments: &Arguments<'_>) -> Result<Module, ConfigError> {
        arguments.count(1..=6, "[channels, kernel, stride, padding, groups, dilation]")?;
        let kernel = arguments.integer(1, 1..=MAX_KERNEL)?.unwrap_or(1);
        if kernel.is_multiple_of(2) {
            return Err(arguments.items[1].wrong("an odd kernel size"));
        }
        arguments.expect(3, kernel / 2, "half the kernel: no other padding is known")?;
        arguments.expect(4, 1, "1: groups are not known")?;
        arguments.expect(5, 1, "1: dilation is not known")?;
        let stride = arguments.integer(2, 1..=8)?.unwrap_or(1);
        Ok(Module::Conv { out: self.width(arguments)?, kernel, stride })
    }

    fn c2f(&self, arguments: &Arguments<'_>) -> Result<Module, ConfigError> {
        arguments.count(1..=4, "[channels, shortcut, groups, expansion]")?;
        arguments.expect(2, 1, "1: groups are not known")?;
        if let Some(field) = arguments.items.get(3) {
            field.number(0.5..=0.5)?;
        }
        let shortcut = arguments.items.get(1).map(flag).transpose()?.unwrap_or(false);
        Ok(Module::C2f { out: self.width(arguments)?, shortcut })
    }

    fn sppf(&self, arguments: &Arguments<'_>) -> Result<Module, ConfigError> {
        arguments.count(1..=2, "[channels, kernel]")?;
        arguments.expect(1, 5, "5: no other kernel is known")?;
        Ok(Module::Sppf { out: self.width(arguments)? })
    }

    fn detect(&self, arguments: &Arguments<'_>) -> Result<Module, ConfigError> {
        arguments.count(1..=1, "[nc]")?;
        let field = &arguments.items[0];
        if field.value().as_str() != Some("nc") {
            field.integer(self.classes..=self.classes)?;
        }
        Ok(Module::Detect)
    }

    /// The first argument, scaled.
    fn width(&self, arguments: &Arguments<'_>) -> Result<usize, ConfigError> {
        Ok(self.scale.channels(arguments.items[0].integer(1..=MAX_WIDTH)?))
    }

    /// A row that is a whole EfficientNet: the variant in the module's name or the first argument, then perhaps factors.
    fn backbone(
        &mut self,
        row: &Field<'_>,
        name: &str,
        arguments: &Arguments<'_>,
    ) -> Result<Module, ConfigError> {
        let mut factors = Vec::new();
        let mut words = vec![name.to_string()];
        for field in &arguments.items {
            match field.value() {
                Value::String(text) if !is_nothing(text) => words.push(text.clone()),
                Value::Number(_) => factors.push(field.number(0.05..=16.0)?),
                Value::Bool(true) => self.notes.push(NO_DOWNLOAD.into()),
                Value::Bool(false) | Value::Null | Value::String(_) => {}
                _ => return Err(field.wrong("a variant, or factors of width and depth")),
            }
        }
        let variant = words.iter().rev().find_map(|word| find_variant(word));
        let variant = variant.ok_or_else(|| {
            row.wrong(format!(
                "an EfficientNet of a known variant ({}), in the module's name or its first argument",
                variants()
            ))
        })?;
        let (width, depth) = match factors[..] {
            [] => (1.0, 1.0),
            [width, depth] => (width, depth),
            _ => return Err(arguments.list.wrong("no factors, or two: of width and depth")),
        };
        if (width, depth) != (1.0, 1.0) {
            self.notes.push(format!(
                "factors {width} and {depth} on EfficientNet-{}: this is another network, which no pretrained weights fit",
                variant.name.to_uppercase()
            ));
        }
        Ok(Module::Backbone(ScaledVariant { variant, width, depth }))
    }

    fn stages(&mut self, arguments: &Arguments<'_>) -> Result<Module, ConfigError> {
        arguments.count(2..=6, "[channels, model, weights, unwrap, truncate, split]")?;
        let name = &arguments.items[1];
        let known = || name.wrong(format!("an EfficientNet: efficientnet_<variant>, one of {}", variants()));
        let text = name.text()?;
        let variant =
            find_variant(text).filter(|_| plain(text).contains("efficientnet")).ok_or_else(known)?;
        let has_weights = arguments.items.get(2).is_some_and(|field| match field.value() {
            Value::String(text) => !is_nothing(text),
            value => *value == Value::Bool(true),
        });
        if has_weights {
            self.notes.push(NO_DOWNLOAD.into());
            self.notes.push(
                "ImageNet weights expect a normalised image, but this row feeds RGB in [0, 1] as it is; a model file with \
                 `backbone: {normalize: imagenet}` matches them"
                    .into(),
            );
        }
        let rest = &arguments.items[3.min(arguments.items.len())..];
        let usual = rest.len() == 3
            && flag(&rest[0]).is_ok_and(|unwrap| unwrap)
            && rest[1].integer(2..=2).is_ok()
            && flag(&rest[2]).is_ok_and(|split| split);
        if !usual {
            return Err(arguments
                .list
                .wrong("unwrap, truncate and split of True, 2, True: the stages as a list"));
        }
        Ok(Module::Stages(ScaledVariant { variant, width: 1.0, depth: 1.0 }))
    }
}

const NO_DOWNLOAD: &str =
    "the weights that the EfficientNet row names are not downloaded: give a file with --weights";

fn index(arguments: &Arguments<'_>) -> Result<Module, ConfigError> {
    arguments.count(2..=2, "[channels, index]")?;
    let channels = arguments.items[0].integer(1..=MAX_WIDTH)?;
    let index = arguments.items[1].integer(0..=HEAD_OUTPUT)?;
    if index != 0 && index != HEAD_OUTPUT && reduction_of_output(index).is_none() {
        return Err(arguments.items[1].wrong(
            "0 (the image), 2, 3, 4, 6, 8 (the maps of strides 2 to 32) or 9 (the head convolution)",
        ));
    }
    Ok(Module::Index { channels, index })
}

fn upsample(arguments: &Arguments<'_>) -> Result<Module, ConfigError> {
    arguments.count(2..=3, "[None, factor, nearest]")?;
    let size = &arguments.items[0];
    if !size.is_null() && !size.value().as_str().is_some_and(is_nothing) {
        return Err(size.wrong("None: upsampling is by a factor"));
    }
    if let Some(mode) = arguments.items.get(2) {
        mode.choice(&[("nearest", ())])?;
    }
    Ok(Module::Upsample { factor: arguments.items[1].integer(1..=8)? })
}

fn concat(arguments: &Arguments<'_>) -> Result<Module, ConfigError> {
    arguments.count(0..=1, "[1], the axis of the channels")?;
    arguments.expect(0, 1, "1, the axis of the channels")?;
    Ok(Module::Concat)
}

/// The arguments of a row.
struct Arguments<'a> {
    list: &'a Field<'a>,
    items: Vec<Field<'a>>,
}

impl Arguments<'_> {
    fn count(&self, range: std::ops::RangeInclusive<usize>, form: &str) -> Result<(), ConfigError> {
        if range.contains(&self.items.len()) { Ok(()) } else { Err(self.list.wrong(form)) }
    }

    /// A whole number; `None` where it is absent or says None.
    fn integer(
        &self,
        at: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, ConfigError> {
        match self.items.get(at) {
            Some(field) if !field.is_null() && !field.value().as_str().is_some_and(is_nothing) => {
                field.integer(range).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// An argument that may only be absent or of one value.
    fn expect(&self, at: usize, value: usize, what: &str) -> Result<(), ConfigError> {
        match self.integer(at, 0..=usize::MAX) {
            Ok(None) => Ok(()),
            Ok(Some(got)) if got == value => Ok(()),
            _ => Err(self.items[at].wrong(what)),
        }
    }
}

/// Literals of Python stand as text in YAML.
fn is_nothing(text: &str) -> bool {
    text.eq_ignore_ascii_case("none")
}

fn flag(field: &Field<'_>) -> Result<bool, ConfigError> {
    match field.value() {
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => field.flag(),
    }
}

fn read_from(field: &Field<'_>) -> Result<Vec<isize>, ConfigError> {
    let one = |field: &Field<'_>| {
        let value = field.value().as_i64().and_then(|value| isize::try_from(value).ok());
        value.ok_or_else(|| field.wrong("a number of a value, or -1 for the row before"))
    };
    match field.items() {
        Some(items) if (1..=MAX_FROM).contains(&items.len()) => items.iter().map(one).collect(),
        Some(_) => Err(field.wrong(format!("1 to {MAX_FROM} numbers"))),
        None => Ok(vec![one(field)?]),
    }
}

/// Small letters and digits alone.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// `b0` of EfficientNet_B0, efficientnet-b0, EfficientNetB0 or b0; not of EfficientNetV2.
fn find_variant(word: &str) -> Option<Variant> {
    let word = plain(word);
    let short = word.split_once("efficientnet").map_or(word.as_str(), |(_, behind)| behind);
    Variant::ALL.into_iter().find(|variant| variant.name == short)
}

fn variants() -> String {
    Variant::ALL.map(|variant| variant.name).join(", ")
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

/// The resolved network in rows form, which [`read_rows`] reads back to the same.
pub(crate) fn rows_map(spec: &RowsSpec, classes: usize) -> Mapping {
    let (backbone, head) = spec.rows.split_at(spec.backbone_rows);
    let rows = |rows: &[Row]| Value::Sequence(rows.iter().map(row_value).collect());
    let entries = [
        ("nc", classes.into()),
        ("depth_multiple", 1.0.into()),
        ("width_multiple", 1.0.into()),
        ("backbone", rows(backbone)),
        ("head", rows(head)),
    ];
    entries.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

fn row_value(row: &Row) -> Value {
    let from = match row.from[..] {
        [from] => Value::from(from as i64),
        _ => row.from.iter().map(|from| Value::from(*from as i64)).collect::<Vec<_>>().into(),
    };
    let arguments: Vec<Value> = match &row.module {
        Module::Conv { out, kernel, stride } => vec![(*out).into(), (*kernel).into(), (*stride).into()],
        Module::C2f { out, shortcut } => vec![(*out).into(), (*shortcut).into()],
        Module::Sppf { out } => vec![(*out).into(), 5.into()],
        Module::Upsample { factor } => vec![Value::Null, (*factor).into(), "nearest".into()],
        Module::Concat => vec![1.into()],
        Module::Detect => vec!["nc".into()],
        Module::Index { channels, index } => vec![(*channels).into(), (*index).into()],
        Module::Backbone(network) => {
            let mut arguments = vec![Value::from(format!("efficientnet-{}", network.variant.name))];
            if (network.width, network.depth) != (1.0, 1.0) {
                arguments.extend([network.width.into(), network.depth.into()]);
            }
            arguments
        }
        Module::Stages(network) => {
            let head = network.spec(vec![5]).network().head;
            let name = format!("efficientnet_{}", network.variant.name);
            vec![head.into(), name.into(), Value::Null, true.into(), 2.into(), true.into()]
        }
    };
    Value::Sequence(vec![from, row.repeats.into(), row.module.name().into(), arguments.into()])
}
