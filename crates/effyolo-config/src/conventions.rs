//! A model takes over how its pretrained weights were trained.

use crate::model_yaml::{CONVENTION_KEYS, NORMALIZATIONS, PADDINGS, name_of};
use crate::{BackboneSpec, ConfigError, Conventions, EfficientNetSpec, ModelSpec};

impl Conventions {
    /// The values as a model file spells them, in the order of [`CONVENTION_KEYS`].
    fn spelled(&self) -> [String; 3] {
        let padding = name_of(&PADDINGS, &self.padding);
        let normalize = name_of(&NORMALIZATIONS, &self.normalization);
        [padding.into(), self.bn_eps.to_string(), normalize.into()]
    }
}

impl EfficientNetSpec {
    /// The conventions it is built with.
    pub fn conventions(&self) -> Conventions {
        Conventions { padding: self.padding, bn_eps: self.bn_eps, normalization: self.normalization }
    }
}

impl ModelSpec {
    /// Builds the backbone as `weights` were trained. What changes is said, `key: value`; `origin` is the weights file and
    /// `file` the model's, in messages. A backbone that is no EfficientNet has no conventions and stays as it is.
    ///
    /// # Errors
    /// When the model file states another value than the weights were trained with; then nothing is changed.
    pub fn adopt(
        &mut self,
        weights: Conventions,
        origin: &str,
        file: &str,
    ) -> Result<Vec<String>, ConfigError> {
        let BackboneSpec::EfficientNet(backbone) = &mut self.backbone else { return Ok(Vec::new()) };
        let (ours, theirs) = (backbone.conventions().spelled(), weights.spelled());
        let mut changed = Vec::new();
        for ((key, got), want) in CONVENTION_KEYS.into_iter().zip(ours).zip(theirs) {
            if got == want {
                continue;
            }
            if self.stated.contains(&key) {
                let expected = format!(
                    "{want}, which {origin} was trained with; remove the key (it is taken from the weights), or start \
                     from other weights"
                );
                let path = format!("backbone.{key}");
                return Err(ConfigError::Value { file: file.into(), path, expected, got });
            }
            changed.push(format!("{key}: {want}"));
        }
        Conventions {
            padding: backbone.padding,
            bn_eps: backbone.bn_eps,
            normalization: backbone.normalization,
        } = weights;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Normalization;
    use net_graph::Padding;

    const LITE: Conventions =
        Conventions { padding: Padding::Same, bn_eps: 1e-3, normalization: Normalization::LiteTensorflow };

    fn model(keys: &str) -> ModelSpec {
        let text = format!("task: classify\nclasses: 3\nbackbone: {{name: efficientnet-lite0{keys}}}\n");
        ModelSpec::from_yaml(&text, "m.yaml").unwrap()
    }

    #[test]
    fn what_the_model_does_not_state_comes_from_the_weights() {
        let mut spec = model(", bn_eps: 0.001");
        let changed = spec.adopt(LITE, "w.pth", "m.yaml").unwrap();
        assert_eq!(changed, ["padding: same", "normalize: lite-tensorflow"]);
        let BackboneSpec::EfficientNet(backbone) = &spec.backbone else { panic!("an EfficientNet") };
        assert_eq!(backbone.conventions(), LITE);
        let again = ModelSpec::from_yaml(&spec.to_yaml(), "again").unwrap();
        assert_eq!(again.backbone, spec.backbone, "the run's model file holds them");
    }

    #[test]
    fn what_it_states_otherwise_is_a_conflict() {
        for (keys, words) in [
            (", padding: symmetric", "got symmetric"),
            (", bn_eps: 1e-5", "0.001"),
            (", normalize: lite", "lite-tensorflow"),
        ] {
            let mut spec = model(keys);
            let before = spec.clone();
            let error = spec.adopt(LITE, "w.pth", "m.yaml").unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("w.pth") && error.contains("m.yaml"), "{error}");
            assert_eq!(spec, before);
        }
    }
}
