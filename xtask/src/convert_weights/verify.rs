//! Runs converted weights on one image.

use anyhow::{Context, Result, ensure};
use effnet_backbone::{EfficientNet, EfficientNetConfig, InputNormalization};
use image::imageops::FilterType;
use net_cpu::{Images, InferModel, Isa, Params, Precision};
use net_formats::{PaddingMode, WeightsInfo};
use net_graph::{Builder, Padding};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use weight_sources::Matched;

/// Side of the image where nobody published the training resolution.
const SIDE: usize = 224;
/// Share of the shorter side that the central crop keeps, as in ImageNet evaluations.
const CROP: f64 = 0.875;

/// What a forward pass gave.
#[derive(Debug, Serialize)]
pub(super) struct Verified {
    /// Path of the image; `None` for the synthetic one.
    image: Option<String>,
    /// Side of the square that was cut from it, in pixels.
    side: usize,
    /// The five best classes, best first.
    top5: Vec<Scored>,
}

#[derive(Debug, Serialize)]
struct Scored {
    class: usize,
    probability: f32,
}

/// The five best classes of an image; of a synthetic one if there is no path.
pub(super) fn run(matched: &Matched<'_>, info: &WeightsInfo, image: Option<&Path>) -> Result<Verified> {
    let side = matched.variant.resolution.unwrap_or(SIDE);
    let pixels = match image {
        Some(path) => photograph(path, side)?,
        None => synthetic(side),
    };
    let logits = logits(matched, info, &pixels, side)?;
    ensure!(
        logits.iter().all(|logit| logit.is_finite()),
        "the forward pass gave values that are not numbers"
    );
    let image = image.map(|path| path.display().to_string());
    let scored = |(class, probability)| Scored { class, probability };
    Ok(Verified { image, side, top5: best(&logits, 5).into_iter().map(scored).collect() })
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self.image.as_deref().unwrap_or("the synthetic image");
        writeln!(f, "best classes of {image} at {0} x {0}, by number:", self.side)?;
        let mut lines = self.top5.iter();
        lines.try_for_each(|scored| writeln!(f, "  {:5}  {:.4}", scored.class, scored.probability))
    }
}

/// Class scores of RGB values in `[0, 1]`, `[3, side, side]`.
fn logits(matched: &Matched<'_>, info: &WeightsInfo, pixels: &[f32], side: usize) -> Result<Vec<f32>> {
    let classes = info.classes.context("without a classifier there are no classes to verify")?;
    let spec = matched.variant.spec().context("only an EfficientNet is run")?;
    let normalization =
        info.normalization.mean_std().map(|(mean, std)| InputNormalization::from_mean_std(mean, std));
    let network = EfficientNet::new(EfficientNetConfig {
        spec: spec.clone(),
        padding: match info.padding {
            PaddingMode::Same => Padding::Same,
            PaddingMode::Symmetric => Padding::Symmetric,
        },
        bn_eps: info.bn_eps,
        bn_momentum: 0.01,
        drop_path: 0.0,
        dropout: 0.0,
        normalization,
        prefix: String::new(),
        reductions: vec![spec.reductions().len()],
    });
    let mut builder = Builder::new();
    let input = builder.input("image", 3)?;
    let nodes = network.build_classifier(&mut builder, input, classes)?;
    let graph = builder.finish();
    let mut params = Params::init(&graph, |_| || 0.0);
    for weight in &matched.weights {
        params.set(&weight.name, &weight.values)?;
    }
    let model = InferModel::new(Arc::new(graph), &params, &[nodes.logits], Isa::best(), Precision::F32)?;
    let mut plan = model.plan(1, side, side)?;
    plan.run(Images::Nchw(pixels))?;
    Ok(plan.output_nchw(0))
}

/// Resizes the shorter side and crops the centre.
fn photograph(path: &Path, side: usize) -> Result<Vec<f32>> {
    let image = image::ImageReader::open(path)
        .and_then(|reader| reader.with_guessed_format())
        .with_context(|| path.display().to_string())?
        .decode()
        .with_context(|| path.display().to_string())?
        .to_rgb8();
    let (width, height) = image.dimensions();
    let factor = side as f64 / CROP / f64::from(width.min(height));
    let scaled = |size: u32| ((f64::from(size) * factor).round() as u32).max(side as u32);
    let image = image::imageops::resize(&image, scaled(width), scaled(height), FilterType::CatmullRom);
    let (x0, y0) = ((image.width() - side as u32) / 2, (image.height() - side as u32) / 2);
    let value =
        |c: usize, y: usize, x: usize| f32::from(image.get_pixel(x0 + x as u32, y0 + y as u32)[c]) / 255.0;
    Ok(planes(side, value))
}

/// A disc on a gradient: the same on every machine, and not flat.
fn synthetic(side: usize) -> Vec<f32> {
    planes(side, |c, y, x| {
        let (u, v) = (x as f32 / side as f32, y as f32 / side as f32);
        let inside = (u - 0.5).powi(2) + (v - 0.5).powi(2) < 0.09;
        if inside { [0.9, 0.4, 0.1][c] } else { [u, v, 1.0 - u][c] }
    })
}

fn planes(side: usize, value: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    let mut pixels = Vec::with_capacity(3 * side * side);
    for c in 0..3 {
        for y in 0..side {
            pixels.extend((0..side).map(|x| value(c, y, x)));
        }
    }
    pixels
}

/// Classes with the largest probabilities (softmax), best first.
fn best(logits: &[f32], count: usize) -> Vec<(usize, f32)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order.into_iter().take(count).map(|class| (class, exponentials[class] / sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_class_has_the_largest_probability() {
        let best = best(&[0.0, 2.0, 1.0], 2);
        assert_eq!([best[0].0, best[1].0], [1, 2]);
        assert!((best[0].1 - 0.665_240_9).abs() < 1e-6);
    }
}
