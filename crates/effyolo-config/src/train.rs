//! Hyper-parameters of a training run, resolved: every field has a value.

/// The optimiser and what only it needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd,
    /// AdamW; its beta1 is the momentum.
    AdamW,
    /// RMSProp in TensorFlow's form, with the decay (0.9) and epsilon (0.001) of EfficientNet's recipe.
    RmsProp,
    /// The same in PyTorch's form.
    RmsPropTorch,
}

/// Which generation of YOLOv8's rules is followed where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Those of 8.0 to 8.2.
    Classic,
    /// Those of 8.4.
    Current,
}

/// How the learning rate falls from `lr0` to `lr0 * lrf`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// A straight line over the epochs.
    Linear,
    /// Half a cosine over the epochs.
    Cosine,
    /// A staircase, which does not go below `lr0 * lrf`.
    Steps {
        /// Factor at every step.
        factor: f64,
        /// Epochs from step to step.
        epochs: f64,
    },
}

/// How the decay of the moving average ramps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmaRamp {
    /// `decay * (1 - exp(-t / tau))` after `t` updates, as YOLOv8 has it.
    Exponential,
    /// `min(decay, (1 + t) / (10 + t))` after `t` updates, as EfficientNet was trained.
    Updates,
}

/// Policy of whole-picture operations of a classifier's training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoAugment {
    /// None.
    None,
    /// The policy that AutoAugment learned on ImageNet.
    AutoAugment,
    /// Random operations of one strength.
    RandAugment,
}

/// Gains of the three parts of the detection loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossGains {
    /// Box (CIoU) term.
    pub boxes: f32,
    /// Class term.
    pub class: f32,
    /// Distribution focal term.
    pub dfl: f32,
}

/// Strengths and probabilities of the augmentations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Hue, as a share of the colour circle.
    pub hsv_h: f32,
    /// Saturation gain.
    pub hsv_s: f32,
    /// Value gain.
    pub hsv_v: f32,
    /// Largest rotation in degrees.
    pub degrees: f32,
    /// Largest shift, as a share of the image side.
    pub translate: f32,
    /// Largest change of scale.
    pub scale: f32,
    /// Largest shear in degrees.
    pub shear: f32,
    /// Largest perspective term.
    pub perspective: f32,
    /// Probability of an upside-down flip.
    pub flip_up_down: f32,
    /// Probability of a left-right flip.
    pub flip_left_right: f32,
    /// Probability of a mosaic.
    pub mosaic: f32,
    /// Least share of an image's area that a classifier's random crop keeps; 1 for none.
    pub crop_area: f32,
    /// Policy of operations on a classifier's whole picture.
    pub auto_augment: AutoAugment,
    /// Operations a picture of RandAugment.
    pub ra_layers: usize,
    /// Strength of RandAugment; 10 is the full one of AutoAugment's scale.
    pub ra_magnitude: f32,
    /// Probability of erasing a rectangle of a classifier's picture.
    pub erasing: f32,
    /// Probability that a classifier's batch exchanges parts of its pictures.
    pub cutmix: f32,
    /// Probability of blending in a second image.
    pub mixup: f32,
    /// Epochs at the end without mosaic and mixup.
    pub close_mosaic: usize,
}

/// Everything that decides a training run, beside the model and the data.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainSpec {
    /// Passes over the training set.
    pub epochs: usize,
    /// Side of the square training image in pixels, a multiple of the largest stride.
    pub image_size: usize,
    /// Images a batch.
    pub batch: usize,
    /// Batch size that the learning rate is meant for; gradients are summed over `nominal_batch / batch` batches.
    pub nominal_batch: usize,
    /// Seed of every random choice.
    pub seed: u64,
    /// Optimiser.
    pub optimizer: Optimizer,
    /// Learning rate at the start.
    pub lr0: f64,
    /// Share of `lr0` that is left at the end.
    pub lrf: f64,
    /// Shape of the fall.
    pub decay: Decay,
    /// Momentum of SGD and RMSProp, beta1 of AdamW.
    pub momentum: f64,
    /// Weight decay of weights (not of biases and norms).
    pub weight_decay: f64,
    /// Epochs of warm-up.
    pub warmup_epochs: f64,
    /// Momentum at the start of the warm-up.
    pub warmup_momentum: f64,
    /// Learning rate of the biases at the start of the warm-up.
    pub warmup_bias_lr: f64,
    /// Epochs without a better fitness after which the run ends; 0 for never.
    pub patience: usize,
    /// Share of a class target that is spread over all classes.
    pub label_smoothing: f64,
    /// Largest norm of the whole gradient.
    pub clip_norm: f64,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// How that decay ramps up.
    pub ema_ramp: EmaRamp,
    /// Steps over which an exponential ramp goes up.
    pub ema_tau: f64,
    /// Classic or current rules of loss, head biases and warm-up.
    pub rules: Rules,
    /// Gains of the loss.
    pub gains: LossGains,
    /// Augmentation.
    pub augmentation: Augmentation,
    /// Backbone stages that stay as they are, counted from the stem (0 = none, 1 = stem, 2 = stem and first stage ...).
    pub freeze_stages: usize,
    /// Epochs after each of which one more backbone stage learns, the last first; at first none does. 0: all learn from
    /// the start, but for `freeze_stages`.
    pub unfreeze_every: usize,
    /// Factor on the learning rate from each backbone stage to the one before it; that of neck and head is whole.
    pub layer_decay: f64,
    /// Factor on the learning rate of the whole backbone.
    pub backbone_lr_factor: f64,
    /// Threads that prepare batches.
    pub loader_threads: usize,
}
