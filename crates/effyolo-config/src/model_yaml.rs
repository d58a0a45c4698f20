use crate::document::{parse, read_text};
use crate::rows_scale::scale_in_name;
use crate::rows_yaml::{ReadRows, read_rows, rows_map};
use crate::section::{Field, Section};
use crate::train_keys::Purpose;
use crate::{
    BackboneSpec, ConfigError, CspSpec, EfficientNetSpec, ModelSpec, NeckSpec, Normalization, Task,
    TrainSpec, suggest,
};
use effnet_scaling::Variant;
use net_graph::Padding;
use serde_yaml::{Mapping, Value};
use std::ops::RangeInclusive;
use std::path::Path;
use yolo_neck_head::NeckScale;

pub(crate) const PADDINGS: [(&str, Padding); 2] =
    [("symmetric", Padding::Symmetric), ("same", Padding::Same)];
pub(crate) const NORMALIZATIONS: [(&str, Normalization); 5] = [
    ("none", Normalization::None),
    ("imagenet", Normalization::Imagenet),
    ("lite", Normalization::Lite),
    ("lite-tensorflow", Normalization::LiteTensorflow),
    // The checkpoints of AdvProp take the same images; written back as `lite`.
    ("advprop", Normalization::Lite),
];
const SCALES: [(&str, NeckScale); 5] =
    [("n", NeckScale::N), ("s", NeckScale::S), ("m", NeckScale::M), ("l", NeckScale::L), ("x", NeckScale::X)];
/// Keys of a backbone that belong to a checkpoint.
pub(crate) const CONVENTION_KEYS: [&str; 3] = ["padding", "bn_eps", "normalize"];
const CSP_NAME: &str = "yolov8-csp";

/// Batch-norm epsilon of a network trained from scratch; also that of every EfficientNet of TensorFlow origin.
const BN_EPS: f64 = 1e-3;
/// Batch-norm momentum of YOLOv8, for the backbone of a detector too.
const DETECTOR_BN_MOMENTUM: f64 = 0.03;
/// Batch-norm momentum of EfficientNet.
const CLASSIFIER_BN_MOMENTUM: f64 = 0.01;
/// Largest drop-path rate of every published EfficientNet.
const DROP_PATH: f64 = 0.2;
/// No network of use is wider or deeper.
const MULTIPLIER: RangeInclusive<f64> = 0.05..=16.0;
const RATE: RangeInclusive<f64> = 0.0..=0.95;
const CLASSES: RangeInclusive<usize> = 1..=100_000;

impl ModelSpec {
    /// Reads a model file in our own form or in Ultralytics' rows form (`backbone` and `head` are lists of rows); `file` is
    /// its name in messages.
    ///
    /// # Errors
    /// When the text is no YAML, a key is unknown or missing, or a value does not fit.
    pub fn from_yaml(text: &str, file: &str) -> Result<Self, ConfigError> {
        Self::read(text, file, None)
    }

    /// Reads the model file at `path`. Where there is none and its name asks for a scale, such as `yolov8n.yaml`, the rows
    /// of `yolov8.yaml` at that scale are meant.
    ///
    /// # Errors
    /// When it cannot be read, or as [`ModelSpec::from_yaml`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let scaled = scale_in_name(&stem);
        let letter = scaled.as_ref().map(|(letter, _)| *letter);
        let base = scaled.map(|(_, base)| path.with_file_name(base + ".yaml"));
        let path = base.as_deref().filter(|base| !path.exists() && base.exists()).unwrap_or(path);
        Self::read(&read_text(path)?, &path.display().to_string(), letter)
    }

    fn read(text: &str, file: &str, letter: Option<char>) -> Result<Self, ConfigError> {
        let document = parse(text, file)?;
        let root = Field::new(file, "", &document);
        let mut section = root.section("a map with `task`, `backbone`, `neck`, `classes` and `train`")?;
        let is_rows = section.get("backbone").is_some_and(|backbone| backbone.items().is_some());
        let read =
            if is_rows { read_parts_of_rows(&mut section, letter)? } else { read_parts(&mut section)? };
        let Parts { task, backbone, classes, stated, notes } = read;
        let mut train = TrainSpec::defaults(purpose(task));
        if let Some(field) = section.get("train") {
            train.read(&field, purpose(task))?;
        }
        section.finish()?;
        let mut spec = ModelSpec { task, backbone, classes, train, stated, notes };
        spec.settle(file)?;
        Ok(spec)
    }

    /// Changes training settings, each given as `key=value` with the keys of `train:`. `file` says in messages where
    /// they were given.
    ///
    /// # Errors
    /// When there is no such key, or the value does not fit it; then nothing is changed.
    pub fn set<S: AsRef<str>>(&mut self, settings: &[S], file: &str) -> Result<(), ConfigError> {
        let mut changed = self.clone();
        for setting in settings.iter().map(AsRef::as_ref) {
            let malformed = || ConfigError::Setting { setting: setting.into() };
            let (key, value) = setting.split_once('=').ok_or_else(malformed)?;
            changed.train.set(key.trim(), value, file, purpose(self.task))?;
        }
        changed.settle(file)?;
        *self = changed;
        Ok(())
    }

    /// Changes training settings by a YAML map of them, such as those of `configs/train/`. `file` is its name in messages.
    ///
    /// # Errors
    /// When a key or value is wrong; then nothing is changed.
    pub fn apply(&mut self, text: &str, file: &str) -> Result<(), ConfigError> {
        let mut changed = self.clone();
        let document = parse(text, file)?;
        changed.train.read(&Field::new(file, "", &document), purpose(self.task))?;
        changed.settle(file)?;
        *self = changed;
        Ok(())
    }

    /// As [`ModelSpec::apply`], with the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or as [`ModelSpec::apply`].
    pub fn apply_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        self.apply(&read_text(path)?, &path.display().to_string())
    }

    /// The resolved specification as YAML that [`ModelSpec::from_yaml`] reads back: what a checkpoint keeps.
    pub fn to_yaml(&self) -> String {
        let mut map = match &self.backbone {
            BackboneSpec::Rows(rows) => rows_map(rows, self.classes),
            backbone => parts_map(backbone, self.task, self.classes),
        };
        map.insert("train".into(), Value::Mapping(self.train.to_map(purpose(self.task))));
        serde_yaml::to_string(&map).expect("a map of plain values")
    }

    /// Checks what depends on several keys, and rounds the image side up to a multiple of the stride.
    fn settle(&mut self, file: &str) -> Result<(), ConfigError> {
        let stages = self.backbone.stage_prefixes().len();
        if self.train.freeze_stages > stages {
            return Err(ConfigError::Value {
                file: file.into(),
                path: "freeze".into(),
                expected: format!("at most {stages}, the stem and the stages of this backbone"),
                got: self.train.freeze_stages.to_string(),
            });
        }
        let (asked, stride) = (self.train.image_size, self.stride());
        self.train.image_size = asked.next_multiple_of(stride);
        if self.train.image_size != asked {
            let rounded = self.train.image_size;
            self.notes.push(format!(
                "imgsz {asked} is no multiple of the stride {stride}: rounded up to {rounded}"
            ));
        }
        Ok(())
    }
}

/// Everything but how the network is trained.
struct Parts {
    task: Task,
    backbone: BackboneSpec,
    classes: usize,
    stated: Vec<&'static str>,
    notes: Vec<String>,
}

fn read_parts(section: &mut Section<'_>) -> Result<Parts, ConfigError> {
    let tasks = [("detect", Purpose::Detect), ("classify", Purpose::Classify)];
    let task = section.require("task", "detect or classify")?.choice(&tasks)?;
    let neck = match task {
        Purpose::Detect => Some(read_neck(&section.require("neck", "a map such as `{scale: n}`")?)?),
        Purpose::Classify => None,
    };
    let backbone = section.require("backbone", "a map such as `{name: efficientnet-b0}`")?;
    let stated = stated_conventions(&backbone);
    let backbone = read_backbone(&backbone, neck)?;
    let classes = section.require("classes", "the number of classes")?.integer(CLASSES)?;
    let task = if neck.is_some() { Task::Detect { neck } } else { Task::Classify };
    Ok(Parts { task, backbone, classes, stated, notes: Vec::new() })
}

fn read_parts_of_rows(section: &mut Section<'_>, letter: Option<char>) -> Result<Parts, ConfigError> {
    let ReadRows { spec, classes, notes } = read_rows(section, letter)?;
    let task = Task::Detect { neck: None };
    Ok(Parts { task, backbone: BackboneSpec::Rows(spec), classes, stated: Vec::new(), notes })
}

fn parts_map(backbone: &BackboneSpec, task: Task, classes: usize) -> Mapping {
    let mut map = Mapping::new();
    let name = if matches!(task, Task::Classify) { "classify" } else { "detect" };
    map.insert("task".into(), name.into());
    map.insert("backbone".into(), Value::Mapping(backbone_map(backbone, task)));
    if let Task::Detect { neck: Some(neck) } = task {
        map.insert("neck".into(), Value::Mapping(neck_map(neck)));
    }
    map.insert("classes".into(), classes.into());
    map
}

fn purpose(task: Task) -> Purpose {
    match task {
        Task::Detect { .. } => Purpose::Detect,
        Task::Classify => Purpose::Classify,
    }
}

fn neck_map(neck: NeckSpec) -> Mapping {
    let scale = ("scale".into(), neck.scale.letter().to_string().into());
    let mut map = Mapping::from_iter([scale]);
    let multipliers = [("width", neck.width), ("depth", neck.depth)];
    for (key, value) in multipliers.into_iter().filter(|&(_, value)| value != 1.0) {
        map.insert(key.into(), value.into());
    }
    map
}

fn read_neck(field: &Field<'_>) -> Result<NeckSpec, ConfigError> {
    let mut section = field.section("a map such as `{scale: n}`")?;
    let scale = section.require("scale", "one of n, s, m, l, x")?.choice(&SCALES)?;
    let mut multiplier = |key| section.read(key, 1.0, |field| field.number(MULTIPLIER));
    let (width, depth) = (multiplier("width")?, multiplier("depth")?);
    section.finish()?;
    Ok(NeckSpec { scale, width, depth })
}

/// Keys of [`crate::Conventions`] that stand in the map.
fn stated_conventions(backbone: &Field<'_>) -> Vec<&'static str> {
    let Some(entries) = backbone.entries() else { return Vec::new() };
    let stated = |key: &&str| entries.iter().any(|(name, _)| name.as_str() == Some(key));
    CONVENTION_KEYS.into_iter().filter(stated).collect()
}

/// `neck` is that of a detector.
fn read_backbone(field: &Field<'_>, neck: Option<NeckSpec>) -> Result<BackboneSpec, ConfigError> {
    let mut section = field.section("a map such as `{name: efficientnet-b0}`")?;
    let name = section.require("name", "a backbone such as efficientnet-b0")?;
    let backbone = match (name.text()?, neck) {
        (CSP_NAME, Some(neck)) => BackboneSpec::Csp(CspSpec {
            scale: section.read("scale", neck.scale, |field| field.choice(&SCALES))?,
            levels: read_levels(&mut section)?,
        }),
        (CSP_NAME, None) => return Err(name.wrong("an EfficientNet, since the task is to classify")),
        _ => BackboneSpec::EfficientNet(read_efficientnet(&name, &mut section, neck.is_some())?),
    };
    section.finish()?;
    Ok(backbone)
}

fn read_efficientnet(
    name: &Field<'_>,
    section: &mut Section<'_>,
    detects: bool,
) -> Result<EfficientNetSpec, ConfigError> {
    let variant = Variant::find(name.text()?).map_err(|_| unknown_backbone(name))?;
    let momentum = if detects { DETECTOR_BN_MOMENTUM } else { CLASSIFIER_BN_MOMENTUM };
    Ok(EfficientNetSpec {
        variant,
        width: section.read("width", variant.width, |field| field.number(MULTIPLIER))?,
        depth: section.read("depth", variant.depth, |field| field.number(MULTIPLIER))?,
        padding: section.read("padding", Padding::Symmetric, |field| field.choice(&PADDINGS))?,
        bn_eps: section.read("bn_eps", BN_EPS, |field| field.number(1e-12..=1.0))?,
        bn_momentum: section.read("bn_momentum", momentum, |field| field.number(0.0..=1.0))?,
        drop_path: section.read("drop_path", DROP_PATH, |field| field.number(RATE))?,
        normalization: section
            .read("normalize", Normalization::None, |field| field.choice(&NORMALIZATIONS))?,
        dropout: if detects {
            0.0
        } else {
            section.read("dropout", variant.dropout, |field| field.number(RATE))?
        },
        levels: if detects { read_levels(section)? } else { vec![5] },
    })
}

fn unknown_backbone(name: &Field<'_>) -> ConfigError {
    let known = Variant::ALL.iter().map(|variant| format!("efficientnet-{}", variant.name));
    let known: Vec<String> = known.chain([CSP_NAME.to_string()]).collect();
    let hint = name.text().ok().and_then(|word| suggest::closest(word, known.iter().map(String::as_str)));
    let hint = hint.map_or(String::new(), |hint| format!(" (did you mean `{hint}`?)"));
    name.wrong(format!("one of {}{hint}", known.join(", ")))
}

/// Levels for the neck: numbers that follow each other, within 2 (stride 4) to 5 (stride 32).
fn read_levels(section: &mut Section<'_>) -> Result<Vec<usize>, ConfigError> {
    let Some(field) = section.get("levels") else { return Ok(vec![3, 4, 5]) };
    let wrong = || field.wrong("numbers from 2 to 5 that follow each other, such as [3, 4, 5]");
    let items = field.items().ok_or_else(wrong)?;
    let levels = items.iter().map(|item| item.integer(2..=5)).collect::<Result<Vec<_>, _>>()?;
    let follow = levels.windows(2).all(|pair| pair[1] == pair[0] + 1);
    if levels.is_empty() || !follow { Err(wrong()) } else { Ok(levels) }
}

fn backbone_map(backbone: &BackboneSpec, task: Task) -> Mapping {
    let mut map = Mapping::new();
    let mut put = |key: &str, value: Value| map.insert(key.into(), value);
    match backbone {
        BackboneSpec::Csp(spec) => {
            put("name", CSP_NAME.into());
            put("scale", spec.scale.letter().to_string().into());
            put("levels", spec.levels.clone().into());
        }
        BackboneSpec::EfficientNet(spec) => {
            put("name", format!("efficientnet-{}", spec.variant.name).into());
            put("width", spec.width.into());
            put("depth", spec.depth.into());
            put("padding", name_of(&PADDINGS, &spec.padding).into());
            put("bn_eps", spec.bn_eps.into());
            put("bn_momentum", spec.bn_momentum.into());
            put("drop_path", spec.drop_path.into());
            put("normalize", name_of(&NORMALIZATIONS, &spec.normalization).into());
            match task {
                Task::Classify => put("dropout", spec.dropout.into()),
                Task::Detect { .. } => put("levels", spec.levels.clone().into()),
            };
        }
        BackboneSpec::Rows(_) => unreachable!("rows are written as a whole"),
    }
    map
}

pub(crate) fn name_of<'a, T: PartialEq>(choices: &[(&'a str, T)], value: &T) -> &'a str {
    choices.iter().find(|(_, choice)| choice == value).expect("every choice has a name").0
}
