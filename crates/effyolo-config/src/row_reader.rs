//! One row of a rows file.

use crate::rows::{HEAD_OUTPUT, reduction_of_output};
use crate::rows_scale::{MAX_WIDTH, Scale};
use crate::section::Field;
use crate::{ConfigError, Module, Row, ScaledVariant, suggest};
use effnet_scaling::Variant;
use serde_yaml::Value;

const MAX_REPEATS: usize = 100;
const MAX_KERNEL: usize = 15;
const MAX_FROM: usize = 64;

/// Modules that a row may name.
const KNOWN: [&str; 9] =
    ["Conv", "C2f", "SPPF", "nn.Upsample", "Concat", "Detect", "TorchVision", "Index", "EfficientNet"];

/// Reads rows at some scale.
pub(crate) struct RowReader {
    pub(crate) scale: Scale,
    pub(crate) classes: usize,
    /// What should be said.
    pub(crate) notes: Vec<String>,
}

impl RowReader {
    pub(crate) fn row(&mut self, field: &Field<'_>) -> Result<Row, ConfigError> {
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
