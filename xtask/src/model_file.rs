//! Model configurations of scaled networks, as `effyolo train --model` reads them.

use crate::json_file::write_text;
use anyhow::{Context, Result, bail, ensure};
use effnet_scaling::{Baseline, CompoundCoefficients, Scaling, Variant, round_resolution};
use effyolo_config::{BackboneSpec, ModelSpec};
use std::path::{Path, PathBuf};

/// A configuration whose backbone is scaled.
#[derive(Debug, Clone)]
pub(crate) struct ModelTemplate {
    spec: ModelSpec,
    variant: Variant,
    /// A generated classifier, which says nothing beyond its backbone, classes and image side.
    plain: bool,
}

impl ModelTemplate {
    /// A plain classifier of that variant.
    pub(crate) fn classifier(variant: Variant, classes: usize) -> Result<Self> {
        let Variant { name, resolution, .. } = variant;
        let text = plain_text(variant, Scaling::ONE, classes, resolution);
        let spec =
            ModelSpec::from_yaml(&text, &format!("the generated configuration of efficientnet-{name}"))?;
        Ok(ModelTemplate { spec, variant, plain: true })
    }

    /// The configuration at `path`, whose backbone must be the variant that is scaled.
    pub(crate) fn load(path: &Path, variant: Variant) -> Result<Self> {
        Self::of(ModelSpec::load(path)?, variant).with_context(|| path.display().to_string())
    }

    /// What [`ModelTemplate::yaml`] gave.
    pub(crate) fn parse(text: &str, variant: Variant) -> Result<Self> {
        Self::of(ModelSpec::from_yaml(text, "the configuration of the trials")?, variant)
    }

    fn of(spec: ModelSpec, variant: Variant) -> Result<Self> {
        let BackboneSpec::EfficientNet(backbone) = &spec.backbone else {
            bail!("expected an EfficientNet as backbone, to be scaled");
        };
        let got = backbone.variant.name;
        ensure!(
            got == variant.name,
            "its backbone is efficientnet-{got}, the baseline is efficientnet-{}; name one network in both",
            variant.name
        );
        Ok(ModelTemplate { spec, variant, plain: false })
    }

    /// The resolved configuration before any scaling; `None` of a generated one.
    pub(crate) fn yaml(&self) -> Option<String> {
        (!self.plain).then(|| self.spec.to_yaml())
    }

    /// True if it is a classifier, false if a detector.
    pub(crate) fn classifies(&self) -> bool {
        matches!(self.spec.task, effyolo_config::Task::Classify)
    }

    /// Image side of the unscaled network: a classifier's is that of the variant, a detector's stands in its file.
    pub(crate) fn side(&self) -> usize {
        if self.classifies() { self.variant.resolution } else { self.spec.train.image_size }
    }

    /// Sets the number of classes.
    pub(crate) fn set_classes(&mut self, classes: usize) {
        self.spec.classes = classes;
    }

    /// The side that `effyolo train` makes of this one: it may round it.
    pub(crate) fn side_used(&self, side: usize) -> Result<usize> {
        let text = self.scaled(Scaling::ONE, side)?;
        Ok(ModelSpec::from_yaml(&text, "the scaled configuration")?.train.image_size)
    }

    /// YAML of the network scaled by `scaling` (on top of the variant's own multipliers) for images of `side` pixels.
    pub(crate) fn scaled(&self, scaling: Scaling, side: usize) -> Result<String> {
        let text = if self.plain {
            plain_text(self.variant, scaling, self.spec.classes, side)
        } else {
            self.resolved_text(scaling, side)?
        };
        ModelSpec::from_yaml(&text, "the scaled configuration").context("scaling a configuration")?;
        Ok(text)
    }

    fn resolved_text(&self, scaling: Scaling, side: usize) -> Result<String> {
        let mut spec = self.spec.clone();
        let BackboneSpec::EfficientNet(backbone) = &mut spec.backbone else {
            bail!("only an EfficientNet can be scaled");
        };
        backbone.width = self.variant.width * scaling.width;
        backbone.depth = self.variant.depth * scaling.depth;
        spec.train.image_size = side;
        Ok(spec.to_yaml())
    }
}

fn plain_text(variant: Variant, scaling: Scaling, classes: usize, side: usize) -> String {
    let (width, depth) = (variant.width * scaling.width, variant.depth * scaling.depth);
    format!(
        "task: classify\nbackbone: {{name: efficientnet-{}, width: {width}, depth: {depth}}}\nclasses: {classes}\n\
         train:\n  imgsz: {side}\n",
        variant.name
    )
}

/// A family to be written as configurations.
pub(crate) struct Family<'a> {
    pub(crate) template: &'a ModelTemplate,
    pub(crate) coefficients: CompoundCoefficients,
    pub(crate) resolution_divisor: usize,
}

impl Family<'_> {
    /// Writes `<variant>-phi<phi>.yaml` for every phi and gives the paths.
    pub(crate) fn write(&self, folder: &Path, phis: &[f64]) -> Result<Vec<PathBuf>> {
        let write = |&phi: &f64| {
            let path = folder.join(format!("{}-phi{phi}.yaml", self.template.variant.name));
            let text = self.text(phi).with_context(|| format!("the network at phi {phi}"))?;
            write_text(&path, &text).map(|()| path)
        };
        phis.iter().map(write).collect()
    }

    fn text(&self, phi: f64) -> Result<String> {
        let ModelTemplate { spec, variant, .. } = self.template;
        let scaling = self.coefficients.scaling(phi);
        let side = round_resolution(self.template.side(), scaling.resolution, self.resolution_divisor);
        let classes = spec.classes;
        let cost = variant.scaled(scaling.width, scaling.depth)?.cost(side, side, classes);
        let (what, cost) = if self.template.classifies() {
            (format!(" with {classes} classes"), cost.total())
        } else {
            (", the backbone alone".into(), cost.features)
        };
        let head = format!(
            "# efficientnet-{} at phi {phi} of {}: compound scaling (arXiv 1905.11946, section 3.3).\n\
             # Cost: {} parameters, {:.2} GFLOP (twice the multiply-adds) at {side}x{side}{what}.\n\
             # Reached: no recorded run.\n",
            variant.name,
            self.coefficients,
            with_commas(cost.params),
            2e-9 * cost.macs as f64
        );
        Ok(head + &self.template.scaled(scaling, side)?)
    }
}

/// 5288548 as 5,288,548.
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let groups = digits.as_bytes()[head..].chunks(3).map(String::from_utf8_lossy);
    let groups: Vec<_> = (head > 0).then(|| digits[..head].into()).into_iter().chain(groups).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use effyolo_config::Model;

    #[test]
    fn numbers_have_commas() {
        assert_eq!([7, 999, 1000, 5_288_548].map(with_commas), ["7", "999", "1,000", "5,288,548"]);
    }

    #[test]
    fn the_configurations_of_the_repository_are_what_scale_writes() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/scaling");
        let folder = tempfile::tempdir().unwrap();
        let template = ModelTemplate::classifier(Variant::find("b0").unwrap(), 1000).unwrap();
        let coefficients = CompoundCoefficients::PUBLISHED;
        let family = Family { template: &template, coefficients, resolution_divisor: 32 };
        let phis: Vec<f64> = (0..8).map(f64::from).collect();
        for path in family.write(folder.path(), &phis).unwrap() {
            let kept = kept.join(path.file_name().unwrap());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), std::fs::read_to_string(&kept).unwrap());
        }
    }

    #[test]
    fn a_detector_is_scaled_from_its_own_image_side() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/detect/effnet-b0-n.yaml");
        let template = ModelTemplate::load(&root, Variant::find("b0").unwrap()).unwrap();
        let coefficients = CompoundCoefficients::PUBLISHED;
        let folder = tempfile::tempdir().unwrap();
        let paths = Family { template: &template, coefficients, resolution_divisor: 32 }
            .write(folder.path(), &[1.0])
            .unwrap();
        let spec = ModelSpec::load(&paths[0]).unwrap();
        assert_eq!(spec.train.image_size, 736);
        let BackboneSpec::EfficientNet(backbone) = &spec.backbone else { panic!("an EfficientNet") };
        assert_eq!((backbone.width, backbone.depth), (1.1, 1.2));
        let other = ModelTemplate::load(&root, Variant::find("b3").unwrap()).unwrap_err();
        assert!(format!("{other:#}").contains("efficientnet-b0"));
    }

    #[test]
    fn every_phi_of_the_published_family_is_a_model_that_can_be_built() {
        let folder = tempfile::tempdir().unwrap();
        let template = ModelTemplate::classifier(Variant::find("b0").unwrap(), 10).unwrap();
        let coefficients = CompoundCoefficients::PUBLISHED;
        let family = Family { template: &template, coefficients, resolution_divisor: 32 };
        let phis: Vec<f64> = (0..8).map(f64::from).collect();
        for (path, phi) in family.write(folder.path(), &phis).unwrap().iter().zip(phis) {
            let spec = ModelSpec::load(path).unwrap();
            assert!(spec.notes.is_empty(), "{:?}", spec.notes);
            assert_eq!(spec.train.image_size, round_resolution(224, 1.15f64.powf(phi), 32));
            let Model { graph, .. } = spec.build(None).unwrap();
            let want = Variant::find("b0").unwrap().scaled(1.1f64.powf(phi), 1.2f64.powf(phi)).unwrap();
            let cost = graph.cost(&graph.shapes(1, 224, 224).unwrap());
            assert_eq!(cost.params, want.cost(224, 224, 10).total().params);
        }
    }
}
