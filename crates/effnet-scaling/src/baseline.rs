use crate::{DetectorBaseline, Network, NetworkSpec, Scaling, ScalingError, StagedSpec, Variant};
use std::sync::Arc;

/// A network that can be made larger or smaller. Implement it for your own family; everything else in this crate then
/// works on it.
pub trait Baseline {
    /// A scaled and rounded network.
    type Network;

    /// Its name in reports.
    fn name(&self) -> &str;

    /// Side of the baseline's square image in pixels.
    fn resolution(&self) -> usize;

    /// The network with channels times `width` and repeats times `depth`, rounded by the family's rules.
    ///
    /// # Errors
    /// When a multiplier is not above 0 and at most 64.
    fn scaled(&self, width: f64, depth: f64) -> Result<Self::Network, ScalingError>;
}

/// A published variant, scaled on from its own multipliers.
impl Baseline for Variant {
    type Network = NetworkSpec;

    fn name(&self) -> &str {
        self.name
    }

    fn resolution(&self) -> usize {
        self.resolution
    }

    fn scaled(&self, width: f64, depth: f64) -> Result<NetworkSpec, ScalingError> {
        self.baseline().scaled(self.width * width, self.depth * depth)
    }
}

/// A built-in baseline: an EfficientNet variant, `mobilenet-v1`, `mobilenet-v2`, `resnet-50`, or a detector.
#[derive(Debug, Clone, PartialEq)]
pub enum NamedBaseline {
    /// A published EfficientNet.
    EfficientNet(Variant),
    /// One of the paper's other networks, at 224 pixels.
    Staged(&'static str, StagedSpec),
    /// An EfficientNet under YOLOv8's neck and head.
    Detector(DetectorBaseline),
}

/// Name and table of the networks that are no EfficientNet.
type StagedEntry = (&'static str, fn() -> StagedSpec);

const STAGED: [StagedEntry; 3] = [
    ("mobilenet-v1", StagedSpec::mobilenet_v1),
    ("mobilenet-v2", StagedSpec::mobilenet_v2),
    ("resnet-50", StagedSpec::resnet50),
];

impl NamedBaseline {
    /// Finds a baseline by name, such as `efficientnet-b0`, `lite0`, `mobilenet-v2`, `resnet50`, `effyolo-n` or
    /// `effyolo-b3-m` (see [`DetectorBaseline::find`]), in any case.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn find(name: &str) -> Result<Self, ScalingError> {
        if let Ok(variant) = Variant::find(name) {
            return Ok(NamedBaseline::EfficientNet(variant));
        }
        if let Some(detector) = DetectorBaseline::find(name) {
            return Ok(NamedBaseline::Detector(detector));
        }
        let bare = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
        let found = STAGED.into_iter().find(|(known, _)| bare(known) == bare(name));
        let known = || {
            let variants = Variant::ALL.map(|variant| format!("efficientnet-{}", variant.name));
            let others = STAGED.map(|(name, _)| name.to_string());
            let detectors = "effyolo-n, -s, -m, -l, -x, effyolo-VARIANT-n".to_string();
            variants.into_iter().chain(others).chain([detectors]).collect::<Vec<_>>().join(", ")
        };
        let unknown = || ScalingError::UnknownBaseline { name: name.to_string(), known: known() };
        found.map(|(name, spec)| NamedBaseline::Staged(name, spec())).ok_or_else(unknown)
    }

    /// The EfficientNet variant that it is, or that is its backbone.
    pub fn variant(&self) -> Option<Variant> {
        match self {
            NamedBaseline::EfficientNet(variant) => Some(*variant),
            NamedBaseline::Detector(detector) => Some(detector.variant()),
            NamedBaseline::Staged(..) => None,
        }
    }

    /// The detector, if it is one.
    pub fn detector(&self) -> Option<&DetectorBaseline> {
        match self {
            NamedBaseline::Detector(detector) => Some(detector),
            NamedBaseline::EfficientNet(_) | NamedBaseline::Staged(..) => None,
        }
    }

    /// Image sides must be multiples of this: 1, and [`DetectorBaseline::STRIDE`] of a detector.
    pub fn stride(&self) -> usize {
        self.detector().map_or(1, |_| DetectorBaseline::STRIDE)
    }
}

impl Baseline for NamedBaseline {
    type Network = Network;

    fn name(&self) -> &str {
        match self {
            NamedBaseline::EfficientNet(variant) => variant.name,
            NamedBaseline::Staged(name, _) => name,
            NamedBaseline::Detector(detector) => detector.name(),
        }
    }

    fn resolution(&self) -> usize {
        match self {
            NamedBaseline::EfficientNet(variant) => variant.resolution,
            NamedBaseline::Staged(..) => 224,
            NamedBaseline::Detector(detector) => detector.resolution(),
        }
    }

    fn scaled(&self, width: f64, depth: f64) -> Result<Network, ScalingError> {
        match self {
            NamedBaseline::EfficientNet(variant) => variant.scaled(width, depth).map(Network::EfficientNet),
            NamedBaseline::Staged(_, spec) => spec.scaled(width, depth).map(Network::Staged),
            NamedBaseline::Detector(detector) => detector.scaled(width, depth).map(Network::Detector),
        }
    }
}

/// A scaled network and the image it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaledNetwork<N> {
    /// Multipliers before rounding.
    pub scaling: Scaling,
    /// The network.
    pub network: Arc<N>,
    /// Side of its square image in pixels.
    pub resolution: usize,
}

impl<N> ScaledNetwork<N> {
    /// `baseline` scaled by `scaling`; the side is rounded to the nearest multiple of `divisor`.
    ///
    /// # Errors
    /// When a multiplier is not above 0 and at most 64.
    pub fn new<B: Baseline<Network = N>>(
        baseline: &B,
        scaling: Scaling,
        divisor: usize,
    ) -> Result<Self, ScalingError> {
        ScalingError::check_multiplier("resolution multiplier", scaling.resolution)?;
        let network = Arc::new(baseline.scaled(scaling.width, scaling.depth)?);
        let resolution = round_resolution(baseline.resolution(), scaling.resolution, divisor);
        Ok(ScaledNetwork { scaling, network, resolution })
    }
}

/// `side * multiplier` rounded to the nearest multiple of `divisor`, at least one of them. A classifier takes any side
/// (divisor 1, as in the paper), a detector multiples of 32.
///
/// # Panics
/// When `divisor` is 0.
pub fn round_resolution(side: usize, multiplier: f64, divisor: usize) -> usize {
    assert!(divisor > 0, "a resolution divisor is at least 1");
    let cells = (side as f64 * multiplier / divisor as f64).round() as usize;
    cells.max(1).saturating_mul(divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baselines_are_found_by_name() {
        for name in ["b0", "efficientnet-lite2", "MobileNetV2", "resnet50", "ResNet-50", "effyolo-n"] {
            assert!(NamedBaseline::find(name).is_ok(), "{name}");
        }
        let message = NamedBaseline::find("vgg").unwrap_err().to_string();
        assert!(message.contains("efficientnet-b0") && message.contains("effyolo-n"), "{message}");
    }

    #[test]
    fn resolutions_round_to_the_nearest_multiple() {
        assert_eq!(round_resolution(224, 1.15, 1), 258);
        assert_eq!(round_resolution(224, 1.15, 32), 256);
        assert_eq!(round_resolution(224, 0.01, 32), 32);
    }

    #[test]
    fn a_variant_scales_on_from_its_own_multipliers() {
        let b3 = Variant::find("b3").unwrap();
        assert_eq!(b3.scaled(1.0, 1.0).unwrap(), b3.network());
        assert_eq!(Variant::find("b0").unwrap().scaled(1.2, 1.4).unwrap(), b3.network());
    }
}
