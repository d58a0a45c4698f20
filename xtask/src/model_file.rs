//! Model configurations of scaled networks, as `effyolo train --model` reads them.

use anyhow::{Context, Result, bail, ensure};
use effnet_scaling::{Scaling, Variant};
use effyolo_config::{BackboneSpec, ModelSpec};
use std::path::Path;

/// A configuration whose backbone is scaled.
#[derive(Debug, Clone)]
pub(crate) struct ModelTemplate {
    spec: ModelSpec,
    variant: Variant,
}

impl ModelTemplate {
    /// A plain classifier of that variant.
    pub(crate) fn classifier(variant: Variant, classes: usize) -> Result<Self> {
        let text = format!(
            "task: classify\nbackbone: {{name: efficientnet-{}}}\nclasses: {classes}\n",
            variant.name
        );
        let spec = ModelSpec::from_yaml(&text, "the generated configuration")?;
        Ok(ModelTemplate { spec, variant })
    }

    /// The configuration at `path`, whose backbone must be the variant that is scaled.
    pub(crate) fn load(path: &Path, variant: Variant) -> Result<Self> {
        let spec = ModelSpec::load(path)?;
        let BackboneSpec::EfficientNet(backbone) = &spec.backbone else {
            bail!("{}: expected an EfficientNet as backbone, to be scaled", path.display());
        };
        let got = backbone.variant.name;
        ensure!(
            got == variant.name,
            "{}: its backbone is efficientnet-{got}, the baseline of the search is efficientnet-{}; name one network \
             in both",
            path.display(),
            variant.name
        );
        Ok(ModelTemplate { spec, variant })
    }

    /// True if it is a classifier, false if a detector.
    pub(crate) fn classifies(&self) -> bool {
        matches!(self.spec.task, effyolo_config::Task::Classify)
    }

    /// Sets the number of classes.
    pub(crate) fn set_classes(&mut self, classes: usize) {
        self.spec.classes = classes;
    }

    /// YAML of the network scaled by `scaling` (on top of the variant's own multipliers) for images of `side` pixels.
    pub(crate) fn scaled(&self, scaling: Scaling, side: usize) -> Result<String> {
        let mut spec = self.spec.clone();
        let BackboneSpec::EfficientNet(backbone) = &mut spec.backbone else {
            bail!("only an EfficientNet can be scaled");
        };
        backbone.width = self.variant.width * scaling.width;
        backbone.depth = self.variant.depth * scaling.depth;
        spec.train.image_size = side;
        let text = spec.to_yaml();
        ModelSpec::from_yaml(&text, "the scaled configuration").context("scaling a configuration")?;
        Ok(text)
    }
}
