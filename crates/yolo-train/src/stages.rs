//! Which stages of the backbone learn in an epoch, and how fast.
//!
//! Layer-wise learning rates and gradual unfreezing follow ULMFiT (Howard and Ruder, 2018, sections 3.2 and 3.3), the
//! former with the geometric factor of BEiT (Bao et al., 2021).

use effyolo_config::TrainSpec;

/// First part of the names of a backbone's parameters.
const BACKBONE: &str = "backbone.";

/// The stages of a backbone, the stem first, and how each learns. What belongs to none of them (neck, head, classifier)
/// is the last part of the network and always learns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stages {
    /// Beginnings of the names of each stage's parameters.
    prefixes: Vec<Vec<String>>,
    freeze: usize,
    unfreeze_every: usize,
    layer_decay: f64,
    backbone_lr_factor: f64,
}

impl Stages {
    pub(crate) fn new(prefixes: &[Vec<String>], spec: &TrainSpec) -> Self {
        Stages {
            prefixes: prefixes.to_vec(),
            freeze: spec.freeze_stages,
            unfreeze_every: spec.unfreeze_every,
            layer_decay: spec.layer_decay,
            backbone_lr_factor: spec.backbone_lr_factor,
        }
    }

    /// Parts that the network's parameters fall into: the stages, and the rest.
    pub(crate) fn parts(&self) -> usize {
        self.prefixes.len() + 1
    }

    /// Part that a parameter belongs to; 0 is the stem.
    pub(crate) fn part(&self, param: &str) -> usize {
        let holds = |stage: &Vec<String>| stage.iter().any(|prefix| param.starts_with(prefix));
        self.prefixes.iter().position(holds).unwrap_or(self.prefixes.len())
    }

    /// Stages, counted from the stem, that stay as they are in an epoch (from 0).
    pub(crate) fn frozen(&self, epoch: usize) -> usize {
        let unfrozen = epoch.checked_div(self.unfreeze_every).unwrap_or(self.prefixes.len());
        self.prefixes.len().saturating_sub(unfrozen).max(self.freeze)
    }

    /// Beginnings of the names of the parameters of the first `frozen` stages.
    pub(crate) fn prefixes(&self, frozen: usize) -> Vec<String> {
        self.prefixes.iter().take(frozen).flatten().cloned().collect()
    }

    /// Factor on the learning rate of a parameter.
    pub(crate) fn lr_factor(&self, param: &str) -> f64 {
        let distance = self.prefixes.len() - self.part(param);
        let is_backbone = distance > 0 || param.starts_with(BACKBONE);
        let factor = if is_backbone { self.backbone_lr_factor } else { 1.0 };
        factor * self.layer_decay.powi(distance as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(freeze: usize, unfreeze_every: usize) -> Stages {
        let prefixes = ["conv_stem.", "blocks.0.", "blocks.1."].map(|name| vec![format!("backbone.{name}")]);
        Stages {
            prefixes: prefixes.to_vec(),
            freeze,
            unfreeze_every,
            layer_decay: 0.75,
            backbone_lr_factor: 0.5,
        }
    }

    #[test]
    fn rates_fall_from_the_head_to_the_stem() {
        for (param, factor) in [
            ("head.cls.weight", 1.0),
            ("neck.conv.weight", 1.0),
            ("backbone.conv_head.weight", 0.5),
            ("backbone.blocks.1.0.bn1.bias", 0.375),
            ("backbone.blocks.0.0.bn1.bias", 0.281_25),
            ("backbone.conv_stem.weight", 0.210_937_5),
        ] {
            assert_eq!(stages(0, 0).lr_factor(param), factor, "{param}");
        }
    }

    #[test]
    fn without_decay_every_factor_is_exactly_one() {
        let plain = Stages { layer_decay: 1.0, backbone_lr_factor: 1.0, ..stages(0, 0) };
        assert!(["head.x", "backbone.conv_stem.weight"].iter().all(|param| plain.lr_factor(param) == 1.0));
    }

    #[test]
    fn stages_are_unfrozen_from_the_top_and_freeze_stays() {
        let frozen =
            |freeze, every| [0, 1, 2, 3, 4, 5, 6, 99].map(|epoch| stages(freeze, every).frozen(epoch));
        assert_eq!(frozen(0, 0), [0; 8]);
        assert_eq!(frozen(2, 0), [2; 8]);
        assert_eq!(frozen(0, 2), [3, 3, 2, 2, 1, 1, 0, 0]);
        assert_eq!(frozen(1, 2), [3, 3, 2, 2, 1, 1, 1, 1]);
        assert_eq!(stages(0, 1).prefixes(2), ["backbone.conv_stem.", "backbone.blocks.0."]);
    }
}
