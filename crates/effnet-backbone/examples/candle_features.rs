//! EfficientNet features in an ordinary candle program.
//!
//! A backbone over the program's own variables, a head of candle's own layers on its last level, candle's optimiser:
//! the network learns to tell two kinds of pictures apart.
//!
//!     cargo run --release -p effnet-backbone --features candle --example candle_features

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{AdamW, Optimizer, VarBuilder, VarMap};
use effnet_backbone::candle::{EfficientNet, Mode};
use effnet_backbone::{EfficientNetConfig, Variant};
use std::error::Error;

const SIDE: usize = 64;
const STEPS: usize = 10;

/// A seeded source of numbers in `[0, 1)`: the same seed, the same run.
fn numbers(mut state: u64) -> impl FnMut() -> f64 {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Stripes that lie (class 0) and stripes that stand (class 1), two of each: `[4, 3, SIDE, SIDE]` in `[0, 1]`.
fn stripes(device: &Device) -> candle_core::Result<(Tensor, Tensor)> {
    let pixel = |image: usize, y: usize, x: usize| {
        let along = [y, x][image % 2];
        ((along / (4 + image)) % 2) as f32
    };
    let plane = |image: usize| (0..SIDE * SIDE).map(move |i| pixel(image, i / SIDE, i % SIDE));
    let values: Vec<f32> = (0..4 * 3).flat_map(|i| plane(i / 3)).collect();
    let labels = Tensor::new(&[0u32, 1, 0, 1], device)?;
    Ok((Tensor::from_vec(values, (4, 3, SIDE, SIDE), device)?, labels))
}

/// Trains and returns the loss before every step.
pub(crate) fn train() -> Result<Vec<f32>, Box<dyn Error>> {
    let device = Device::Cpu;
    let mut numbers = numbers(7);
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &device);

    let config = EfficientNetConfig::from_scratch(&Variant::find("b0")?);
    let backbone = EfficientNet::seeded(&config, vb.pp("backbone"), &mut numbers)?;
    let channels = backbone.levels().last().ok_or("the backbone has levels")?.channels;
    let head = candle_nn::linear(channels, 2, vb.pp("head"))?;
    let mut optimiser = AdamW::new_lr(variables.all_vars(), 1e-3)?;

    let (images, labels) = stripes(&device)?;
    let mut history = Vec::new();
    for _ in 0..STEPS {
        let levels = backbone.features(&images, Mode::Train { uniform: &mut numbers })?;
        let pooled = levels[levels.len() - 1].mean((2, 3))?; // [B, C]
        let loss = candle_nn::loss::cross_entropy(&head.forward(&pooled)?, &labels)?;
        optimiser.backward_step(&loss)?;
        history.push(loss.to_scalar()?);
    }
    Ok(history)
}

#[allow(dead_code)] // The tests call `train` themselves.
fn main() -> Result<(), Box<dyn Error>> {
    for (step, loss) in train()?.iter().enumerate() {
        println!("step {step:2}: loss {loss:.4}");
    }
    Ok(())
}
