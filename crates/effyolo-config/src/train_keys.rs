use crate::section::{Field, parse};
use crate::suggest;
use crate::{Augmentation, AutoAugment, ConfigError, Decay, EmaRamp, LossGains, Optimizer, Rules, TrainSpec};
use serde_yaml::{Mapping, Value};
use std::ops::RangeInclusive;

/// One setting: its name (Ultralytics' where it has one), how it is written and how it is read.
struct Key {
    name: &'static str,
    get: fn(&TrainSpec) -> Value,
    set: fn(&mut TrainSpec, &Field<'_>) -> Result<(), ConfigError>,
}

const OPTIMIZERS: [(&str, Optimizer); 4] = [
    ("SGD", Optimizer::Sgd),
    ("AdamW", Optimizer::AdamW),
    ("RMSProp", Optimizer::RmsProp),
    ("RMSPropTorch", Optimizer::RmsPropTorch),
];
const RULES: [(&str, Rules); 2] = [("classic", Rules::Classic), ("current", Rules::Current)];

const EMA_RAMP: [(&str, EmaRamp); 2] = [("exponential", EmaRamp::Exponential), ("updates", EmaRamp::Updates)];

const AUTO_AUGMENT: [(&str, AutoAugment); 3] = [
    ("none", AutoAugment::None),
    ("autoaugment", AutoAugment::AutoAugment),
    ("randaugment", AutoAugment::RandAugment),
];

const SHARE: RangeInclusive<f64> = 0.0..=1.0;
const POSITIVE: RangeInclusive<f64> = 1e-12..=1e12;
const NOT_NEGATIVE: RangeInclusive<f64> = 0.0..=1e12;
const ANGLE: RangeInclusive<f64> = 0.0..=180.0;

/// A key with a whole number, a number in `f64` or a number in `f32`.
macro_rules! key {
    ($name:literal, usize, $range:expr, $($field:ident).+) => {
        Key {
            name: $name,
            get: |spec| Value::from(spec.$($field).+),
            set: |spec, field| assign(&mut spec.$($field).+, field.integer($range)),
        }
    };
    ($name:literal, f64, $range:expr, $($field:ident).+) => {
        Key {
            name: $name,
            get: |spec| Value::from(spec.$($field).+),
            set: |spec, field| assign(&mut spec.$($field).+, field.number($range)),
        }
    };
    ($name:literal, f32, $range:expr, $($field:ident).+) => {
        Key {
            name: $name,
            get: |spec| decimal(spec.$($field).+),
            set: |spec, field| assign(&mut spec.$($field).+, field.number($range).map(|number| number as f32)),
        }
    };
}

fn assign<T>(slot: &mut T, value: Result<T, ConfigError>) -> Result<(), ConfigError> {
    *slot = value?;
    Ok(())
}

/// The shortest decimal that reads back as the same `f32`.
fn decimal(value: f32) -> Value {
    Value::from(value.to_string().parse::<f64>().expect("a printed number"))
}

/// A staircase given as `[factor, epochs]`; none for an empty list.
fn lr_steps(field: &Field<'_>) -> Result<Option<Decay>, ConfigError> {
    let expected = "a factor and epochs, such as [0.97, 2.4], or [] for no steps";
    match field.items().ok_or_else(|| field.wrong(expected))?.as_slice() {
        [] => Ok(None),
        [factor, epochs] => {
            Ok(Some(Decay::Steps { factor: factor.number(0.01..=1.0)?, epochs: epochs.number(0.01..=1e6)? }))
        }
        _ => Err(field.wrong(expected)),
    }
}

fn name_of<T: PartialEq>(choices: &[(&str, T)], value: &T) -> Value {
    let found = choices.iter().find(|(_, choice)| choice == value);
    Value::from(found.expect("every choice has a name").0)
}

const KEYS: &[Key] = &[
    key!("epochs", usize, 1..=1_000_000, epochs),
    key!("imgsz", usize, 1..=16_384, image_size),
    key!("batch", usize, 1..=65_536, batch),
    key!("nbs", usize, 1..=65_536, nominal_batch),
    Key {
        name: "seed",
        get: |spec| Value::from(spec.seed),
        set: |spec, field| assign(&mut spec.seed, field.integer(0..=usize::MAX).map(|seed| seed as u64)),
    },
    Key {
        name: "optimizer",
        get: |spec| name_of(&OPTIMIZERS, &spec.optimizer),
        set: |spec, field| assign(&mut spec.optimizer, field.choice(&OPTIMIZERS)),
    },
    key!("lr0", f64, POSITIVE, lr0),
    key!("lrf", f64, SHARE, lrf),
    Key {
        name: "cos_lr",
        get: |spec| Value::from(spec.decay == Decay::Cosine),
        set: |spec, field| {
            match (field.flag()?, spec.decay) {
                (true, _) => spec.decay = Decay::Cosine,
                (false, Decay::Cosine) => spec.decay = Decay::Linear,
                (false, Decay::Linear | Decay::Steps { .. }) => {}
            }
            Ok(())
        },
    },
    Key {
        name: "lr_steps",
        get: |spec| match spec.decay {
            Decay::Steps { factor, epochs } => Value::from(vec![factor, epochs]),
            Decay::Linear | Decay::Cosine => Value::Sequence(Vec::new()),
        },
        set: |spec, field| {
            match (lr_steps(field)?, spec.decay) {
                (Some(steps), _) => spec.decay = steps,
                (None, Decay::Steps { .. }) => spec.decay = Decay::Linear,
                (None, Decay::Linear | Decay::Cosine) => {}
            }
            Ok(())
        },
    },
    key!("momentum", f64, 0.0..=0.9999, momentum),
    key!("weight_decay", f64, SHARE, weight_decay),
    key!("warmup_epochs", f64, 0.0..=1e6, warmup_epochs),
    key!("warmup_momentum", f64, 0.0..=0.9999, warmup_momentum),
    key!("warmup_bias_lr", f64, NOT_NEGATIVE, warmup_bias_lr),
    key!("patience", usize, 0..=1_000_000, patience),
    key!("label_smoothing", f64, 0.0..=0.999, label_smoothing),
    key!("clip_norm", f64, POSITIVE, clip_norm),
    key!("ema_decay", f64, SHARE, ema_decay),
    Key {
        name: "ema_ramp",
        get: |spec| name_of(&EMA_RAMP, &spec.ema_ramp),
        set: |spec, field| assign(&mut spec.ema_ramp, field.choice(&EMA_RAMP)),
    },
    key!("ema_tau", f64, POSITIVE, ema_tau),
    Key {
        name: "rules",
        get: |spec| name_of(&RULES, &spec.rules),
        set: |spec, field| assign(&mut spec.rules, field.choice(&RULES)),
    },
    key!("box", f32, NOT_NEGATIVE, gains.boxes),
    key!("cls", f32, NOT_NEGATIVE, gains.class),
    key!("dfl", f32, NOT_NEGATIVE, gains.dfl),
    key!("hsv_h", f32, SHARE, augmentation.hsv_h),
    key!("hsv_s", f32, SHARE, augmentation.hsv_s),
    key!("hsv_v", f32, SHARE, augmentation.hsv_v),
    key!("degrees", f32, ANGLE, augmentation.degrees),
    key!("translate", f32, SHARE, augmentation.translate),
    key!("scale", f32, 0.0..=0.99, augmentation.scale),
    key!("shear", f32, 0.0..=89.0, augmentation.shear),
    key!("perspective", f32, 0.0..=0.001, augmentation.perspective),
    key!("flipud", f32, SHARE, augmentation.flip_up_down),
    key!("fliplr", f32, SHARE, augmentation.flip_left_right),
    key!("mosaic", f32, SHARE, augmentation.mosaic),
    key!("crop_area", f32, 0.01..=1.0, augmentation.crop_area),
    Key {
        name: "auto_augment",
        get: |spec| name_of(&AUTO_AUGMENT, &spec.augmentation.auto_augment),
        set: |spec, field| assign(&mut spec.augmentation.auto_augment, field.choice(&AUTO_AUGMENT)),
    },
    key!("ra_layers", usize, 1..=16, augmentation.ra_layers),
    key!("ra_magnitude", f32, 0.0..=30.0, augmentation.ra_magnitude),
    key!("erasing", f32, SHARE, augmentation.erasing),
    key!("cutmix", f32, SHARE, augmentation.cutmix),
    key!("mixup", f32, SHARE, augmentation.mixup),
    key!("close_mosaic", usize, 0..=1_000_000, augmentation.close_mosaic),
    key!("freeze", usize, 0..=64, freeze_stages),
    key!("unfreeze_every", usize, 0..=1_000_000, unfreeze_every),
    key!("layer_decay", f64, 0.01..=1.0, layer_decay),
    key!("backbone_lr_factor", f64, 0.0..=1000.0, backbone_lr_factor),
    key!("workers", usize, 1..=256, loader_threads),
];

/// Keys that only a detector has a use for.
const DETECTION: &[&str] = &[
    "box",
    "cls",
    "dfl",
    "hsv_h",
    "hsv_s",
    "hsv_v",
    "degrees",
    "translate",
    "scale",
    "shear",
    "perspective",
    "mosaic",
    "close_mosaic",
];
/// Keys that only a classifier has a use for.
const CLASSIFICATION: &[&str] =
    &["crop_area", "auto_augment", "ra_layers", "ra_magnitude", "erasing", "cutmix"];

/// What a network is trained for, as far as its settings depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Boxes with classes.
    Detect,
    /// One class an image.
    Classify,
}

impl Purpose {
    /// Keys that this purpose has no use for.
    fn unused(self) -> &'static [&'static str] {
        match self {
            Purpose::Detect => CLASSIFICATION,
            Purpose::Classify => DETECTION,
        }
    }

    fn keys(self) -> impl Iterator<Item = &'static Key> {
        KEYS.iter().filter(move |key| !self.unused().contains(&key.name))
    }
}

impl TrainSpec {
    /// What a run has where nothing else is said.
    pub(crate) fn defaults(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Detect => Self::detection(),
            Purpose::Classify => Self::classification(),
        }
    }

    /// AdamW and a cosine, for a few hundred to some thousand images.
    fn classification() -> Self {
        let detection = Self::detection();
        TrainSpec {
            image_size: 224,
            batch: 32,
            nominal_batch: 32,
            optimizer: Optimizer::AdamW,
            lr0: 1e-3,
            decay: Decay::Cosine,
            momentum: 0.9,
            weight_decay: 0.02,
            warmup_epochs: 1.0,
            warmup_momentum: 0.9,
            warmup_bias_lr: 0.0,
            label_smoothing: 0.1,
            ema_decay: 0.999,
            ema_tau: 200.0,
            rules: Rules::Current,
            ..detection
        }
    }

    /// The settings of YOLOv8, with SGD (their automatic choice of optimiser ignores the learning rate that a user
    /// gives).
    fn detection() -> Self {
        TrainSpec {
            epochs: 100,
            image_size: 640,
            batch: 16,
            nominal_batch: 64,
            seed: 0,
            optimizer: Optimizer::Sgd,
            lr0: 0.01,
            lrf: 0.01,
            decay: Decay::Linear,
            momentum: 0.937,
            weight_decay: 5e-4,
            warmup_epochs: 3.0,
            warmup_momentum: 0.8,
            warmup_bias_lr: 0.1,
            patience: 100,
            label_smoothing: 0.0,
            clip_norm: 10.0,
            ema_decay: 0.9999,
            ema_ramp: EmaRamp::Exponential,
            ema_tau: 2000.0,
            rules: Rules::Classic,
            gains: LossGains { boxes: 7.5, class: 0.5, dfl: 1.5 },
            augmentation: Augmentation {
                hsv_h: 0.015,
                hsv_s: 0.7,
                hsv_v: 0.4,
                degrees: 0.0,
                translate: 0.1,
                scale: 0.5,
                shear: 0.0,
                perspective: 0.0,
                flip_up_down: 0.0,
                flip_left_right: 0.5,
                mosaic: 1.0,
                crop_area: 0.25,
                auto_augment: AutoAugment::None,
                ra_layers: 2,
                ra_magnitude: 10.0,
                erasing: 0.0,
                cutmix: 0.0,
                mixup: 0.0,
                close_mosaic: 10,
            },
            freeze_stages: 0,
            unfreeze_every: 0,
            layer_decay: 1.0,
            backbone_lr_factor: 1.0,
            loader_threads: 2,
        }
    }

    /// Takes over the keys of a YAML map.
    pub(crate) fn read(&mut self, field: &Field<'_>, purpose: Purpose) -> Result<(), ConfigError> {
        let mut section = field.section("a map of training settings")?;
        for key in purpose.keys() {
            if let Some(field) = section.get(key.name) {
                (key.set)(self, &field)?;
            }
        }
        for name in purpose.unused() {
            if let Some(field) = section.get(name) {
                return Err(useless(name, &field));
            }
        }
        if let (Some(cosine), Decay::Steps { .. }) = (section.get("cos_lr"), self.decay)
            && cosine.flag()?
        {
            return Err(cosine.wrong("false beside `lr_steps`: the learning rate falls in one way"));
        }
        section.finish()
    }

    /// Takes over one setting given as text; `file` says where it was given.
    pub(crate) fn set(
        &mut self,
        name: &str,
        text: &str,
        file: &str,
        purpose: Purpose,
    ) -> Result<(), ConfigError> {
        if purpose.unused().contains(&name) {
            let value = parse(text, file)?;
            return Err(useless(name, &Field::new(file, name, &value)));
        }
        let key = purpose.keys().find(|key| key.name == name).ok_or_else(|| {
            let known: Vec<&str> = purpose.keys().map(|key| key.name).collect();
            let advice = suggest::advice(name, &known);
            ConfigError::UnknownKey { file: file.into(), path: name.into(), advice }
        })?;
        let value = parse(text, file)?;
        (key.set)(self, &Field::new(file, name, &value))
    }

    /// All settings as a YAML map that [`TrainSpec::read`] reads back.
    pub(crate) fn to_map(&self, purpose: Purpose) -> Mapping {
        purpose.keys().map(|key| (Value::from(key.name), (key.get)(self))).collect()
    }
}

fn useless(name: &str, field: &Field<'_>) -> ConfigError {
    let task = if DETECTION.contains(&name) { "detection" } else { "classification" };
    field.wrong(format!("no such setting: it is for {task}, and this model is for the other task; remove it"))
}
