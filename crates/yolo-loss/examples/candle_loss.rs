//! The detection loss for a head of your own, in ordinary candle code.
//!
//! A head is anything that gives, for every anchor point, `4 * R` logits of distributions over distances and `K` class
//! logits. Here it is one convolution a level on the pixels; it learns two objects by heart.
//!
//!     cargo run --release -p yolo-loss --features candle --example candle_loss

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{AdamW, Conv2d, Conv2dConfig, Optimizer, VarBuilder, VarMap};
use std::error::Error;
use yolo_loss::{AnchorGrid, DetectionLoss, GroundTruth, Rules, Size, Targets, Xyxy};

const CLASSES: usize = 2;
const BINS: usize = 16;
const STRIDES: [usize; 2] = [8, 16];
const INPUT: Size = Size { height: 64, width: 96 };
const STEPS: usize = 30;

/// One level: a convolution whose windows are the cells.
struct Level {
    boxes: Conv2d,
    classes: Conv2d,
}

impl Level {
    fn new(stride: usize, vb: VarBuilder<'_>) -> candle_core::Result<Self> {
        let config = Conv2dConfig { stride, ..Default::default() };
        Ok(Level {
            boxes: candle_nn::conv2d(3, 4 * BINS, stride, config, vb.pp("boxes"))?,
            classes: candle_nn::conv2d(3, CLASSES, stride, config, vb.pp("classes"))?,
        })
    }
}

/// `[B, C, H, W]` to `[B, H * W, C]`: anchor points row by row.
fn rows(map: &Tensor) -> candle_core::Result<Tensor> {
    map.flatten_from(2)?.transpose(1, 2)
}

/// Two images of noise; the first has two objects, the second none.
fn batch(device: &Device) -> candle_core::Result<(Tensor, Targets)> {
    let object = |class, xyxy| GroundTruth { class, xyxy };
    let first =
        vec![object(0, Xyxy::new(4.0, 6.0, 40.0, 50.0)), object(1, Xyxy::new(60.0, 20.0, 90.0, 44.0))];
    let images = Tensor::rand(0f32, 1f32, (2, 3, INPUT.height, INPUT.width), device)?;
    Ok((images, Targets::new(vec![first, Vec::new()])))
}

/// Trains and returns the loss before every step.
pub(crate) fn train() -> Result<Vec<f32>, Box<dyn Error>> {
    let device = Device::Cpu;
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let levels = STRIDES.map(|stride| Level::new(stride, vb.pp(format!("stride_{stride}"))));
    let levels = levels.into_iter().collect::<candle_core::Result<Vec<_>>>()?;
    let mut optimiser = AdamW::new_lr(variables.all_vars(), 0.01)?;

    let loss = DetectionLoss::yolov8(CLASSES, Rules::Current)?;
    let anchors = AnchorGrid::for_input(INPUT, &STRIDES)?;
    let (images, targets) = batch(&device)?;
    let mut history = Vec::new();
    for _ in 0..STEPS {
        let boxes: Vec<Tensor> = levels
            .iter()
            .map(|level| rows(&level.boxes.forward(&images)?))
            .collect::<candle_core::Result<_>>()?;
        let classes: Vec<Tensor> = levels
            .iter()
            .map(|level| rows(&level.classes.forward(&images)?))
            .collect::<candle_core::Result<_>>()?;
        let boxes = Tensor::cat(&boxes, 1)?; // [B, A, 4 * R]
        let classes = Tensor::cat(&classes, 1)?; // [B, A, K]
        let value = loss.forward(&boxes, &classes, &anchors, &targets)?;
        optimiser.backward_step(&value.total)?;
        history.push(value.total.to_scalar()?);
    }
    Ok(history)
}

#[allow(dead_code)] // The tests call `train` themselves.
fn main() -> Result<(), Box<dyn Error>> {
    let history = train()?;
    for (step, loss) in history.iter().enumerate().step_by(5) {
        println!("step {step:2}: loss {loss:.3}");
    }
    Ok(())
}
