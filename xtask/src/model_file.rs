//! Model configurations of scaled networks, as `effyolo train --model` reads them.

use crate::json_file::write_text;
use anyhow::{Context, Result, bail, ensure};
use effnet_backbone::graph_footprint;
use effnet_scaling::{Baseline, CompoundCoefficients, NamedBaseline, Scaling, Variant, round_resolution};
use effyolo_config::{BackboneSpec, ModelSpec, Task};
use std::path::{Path, PathBuf};

/// A configuration that is scaled: its backbone, and if the baseline is a detector also its neck and head.
#[derive(Debug, Clone)]
pub(crate) struct ModelTemplate {
    spec: ModelSpec,
    baseline: NamedBaseline,
    /// The baseline's backbone.
    variant: Variant,
    /// A generated configuration, which says nothing beyond its backbone, classes and image side.
    plain: bool,
}

impl ModelTemplate {
    /// The baseline with nothing but what its name says: a classifier, or a detector.
    pub(crate) fn plain(baseline: &NamedBaseline, classes: usize) -> Result<Self> {
        let variant = trained_variant(baseline)?;
        let text = plain_text(baseline, variant, Scaling::ONE, classes, baseline.resolution());
        let spec =
            ModelSpec::from_yaml(&text, &format!("the generated configuration of {}", baseline.name()))?;
        Ok(ModelTemplate { spec, baseline: baseline.clone(), variant, plain: true })
    }

    /// The configuration at `path`, which must be of the network that is scaled.
    pub(crate) fn load(path: &Path, baseline: &NamedBaseline) -> Result<Self> {
        Self::of(ModelSpec::load(path)?, baseline).with_context(|| path.display().to_string())
    }

    /// What [`ModelTemplate::yaml`] gave.
    pub(crate) fn parse(text: &str, baseline: &NamedBaseline) -> Result<Self> {
        Self::of(ModelSpec::from_yaml(text, "the configuration of the trials")?, baseline)
    }

    fn of(spec: ModelSpec, baseline: &NamedBaseline) -> Result<Self> {
        let variant = trained_variant(baseline)?;
        let BackboneSpec::EfficientNet(backbone) = &spec.backbone else {
            bail!("expected an EfficientNet as backbone, to be scaled");
        };
        let got = backbone.variant.name;
        ensure!(
            got == variant.name,
            "its backbone is efficientnet-{got}, the baseline is efficientnet-{}; name one network in both",
            variant.name
        );
        if let Some(detector) = baseline.detector() {
            let letter = match spec.task {
                Task::Detect { neck: Some(neck) } => neck.scale.letter(),
                Task::Detect { neck: None } | Task::Classify => {
                    bail!("expected a detector, as {} is", baseline.name())
                }
            };
            let wanted = detector.neck_letter();
            ensure!(
                letter == wanted,
                "its neck is {letter}, that of the baseline {} is {wanted}; name one network in both",
                baseline.name()
            );
        }
        Ok(ModelTemplate { spec, baseline: baseline.clone(), variant, plain: false })
    }

    /// The resolved configuration before any scaling; `None` of a generated one.
    pub(crate) fn yaml(&self) -> Option<String> {
        (!self.plain).then(|| self.spec.to_yaml())
    }

    /// True if it is a classifier, false if a detector.
    pub(crate) fn classifies(&self) -> bool {
        matches!(self.spec.task, Task::Classify)
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
            plain_text(&self.baseline, self.variant, scaling, self.spec.classes, side)
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
        if let (Some(_), Task::Detect { neck: Some(neck) }) = (self.baseline.detector(), &mut spec.task) {
            (neck.width, neck.depth) = (scaling.width, scaling.depth);
        }
        spec.train.image_size = side;
        Ok(spec.to_yaml())
    }
}

/// The backbone, where the trainer knows the network.
pub(crate) fn trained_variant(baseline: &NamedBaseline) -> Result<Variant> {
    baseline.variant().with_context(|| {
        format!("effyolo trains EfficientNets only, alone or in a detector, not {}", baseline.name())
    })
}

fn plain_text(
    baseline: &NamedBaseline,
    variant: Variant,
    scaling: Scaling,
    classes: usize,
    side: usize,
) -> String {
    let (width, depth) = (variant.width * scaling.width, variant.depth * scaling.depth);
    let neck = baseline.detector().map(|detector| {
        let (letter, Scaling { width, depth, .. }) = (detector.neck_letter(), scaling);
        format!("neck: {{scale: {letter}, width: {width}, depth: {depth}}}\n")
    });
    format!(
        "task: {}\nbackbone: {{name: efficientnet-{}, width: {width}, depth: {depth}}}\n{}classes: {classes}\n\
         train:\n  imgsz: {side}\n",
        if neck.is_some() { "detect" } else { "classify" },
        variant.name,
        neck.unwrap_or_default(),
    )
}

/// A family to be written as configurations.
pub(crate) struct Family<'a> {
    pub(crate) template: &'a ModelTemplate,
    pub(crate) coefficients: CompoundCoefficients,
    pub(crate) resolution_divisor: usize,
}

impl Family<'_> {
    /// Writes `<baseline>-phi<phi>.yaml` for every phi and gives the paths.
    pub(crate) fn write(&self, folder: &Path, phis: &[f64]) -> Result<Vec<PathBuf>> {
        let write = |&phi: &f64| {
            let path = folder.join(format!("{}-phi{phi}.yaml", self.template.baseline.name()));
            let text = self.text(phi).with_context(|| format!("the network at phi {phi}"))?;
            write_text(&path, &text).map(|()| path)
        };
        phis.iter().map(write).collect()
    }

    fn text(&self, phi: f64) -> Result<String> {
        let scaling = self.coefficients.scaling(phi);
        let side = round_resolution(self.template.side(), scaling.resolution, self.resolution_divisor);
        let text = self.template.scaled(scaling, side)?;
        let spec = ModelSpec::from_yaml(&text, "the scaled configuration")?;
        let cost = graph_footprint(&spec.build(None)?.graph, side, side)?.cost;
        let baseline = &self.template.baseline;
        let kind = if baseline.detector().is_some() { "" } else { "efficientnet-" };
        let head = format!(
            "# {kind}{} at phi {phi} of {}: compound scaling (arXiv 1905.11946, section 3.3).\n\
             # Cost: {} parameters, {:.2} GFLOP (twice the multiply-adds) at {side}x{side} with {} classes.\n\
             # Reached: no recorded run.\n",
            baseline.name(),
            self.coefficients,
            with_commas(cost.params),
            2e-9 * cost.macs as f64,
            spec.classes
        );
        Ok(head + &text)
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
    use crate::network_graph::network_graph;
    use effyolo_config::Model;

    fn named(name: &str) -> NamedBaseline {
        NamedBaseline::find(name).unwrap()
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!([7, 999, 1000, 5_288_548].map(with_commas), ["7", "999", "1,000", "5,288,548"]);
    }

    #[test]
    fn the_configurations_of_the_repository_are_what_scale_writes() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/scaling");
        let folder = tempfile::tempdir().unwrap();
        let template = ModelTemplate::plain(&named("b0"), 1000).unwrap();
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
        let template = ModelTemplate::load(&root, &named("b0")).unwrap();
        let coefficients = CompoundCoefficients::PUBLISHED;
        let folder = tempfile::tempdir().unwrap();
        let paths = Family { template: &template, coefficients, resolution_divisor: 32 }
            .write(folder.path(), &[1.0])
            .unwrap();
        let spec = ModelSpec::load(&paths[0]).unwrap();
        assert_eq!(spec.train.image_size, 736);
        let BackboneSpec::EfficientNet(backbone) = &spec.backbone else { panic!("an EfficientNet") };
        assert_eq!((backbone.width, backbone.depth), (1.1, 1.2));
        let other = ModelTemplate::load(&root, &named("b3")).unwrap_err();
        assert!(format!("{other:#}").contains("efficientnet-b0"));
    }

    #[test]
    fn a_detector_grows_as_a_whole_and_is_what_was_counted() {
        let folder = tempfile::tempdir().unwrap();
        let baseline = named("effyolo-n");
        let template = ModelTemplate::plain(&baseline, 80).unwrap();
        let coefficients = CompoundCoefficients::PUBLISHED;
        let family = Family { template: &template, coefficients, resolution_divisor: 32 };
        let phis: Vec<f64> = (0..8).map(f64::from).collect();
        for (path, phi) in family.write(folder.path(), &phis).unwrap().iter().zip(phis) {
            let spec = ModelSpec::load(path).unwrap();
            assert!(spec.notes.is_empty(), "{:?}", spec.notes);
            let scaling = coefficients.scaling(phi);
            let network = baseline.scaled(scaling.width, scaling.depth).unwrap();
            let counted = graph_footprint(&network_graph(&network, 80).unwrap(), 320, 320).unwrap();
            let trained = graph_footprint(&spec.build(None).unwrap().graph, 320, 320).unwrap();
            assert_eq!(counted.cost, trained.cost, "phi {phi}");
        }
    }

    #[test]
    fn a_detector_of_a_file_grows_with_its_neck_and_must_be_the_baseline() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/detect/effnet-b0-n.yaml");
        let template = ModelTemplate::load(&root, &named("effyolo-n")).unwrap();
        let text = template.scaled(CompoundCoefficients::PUBLISHED.scaling(2.0), 832).unwrap();
        let spec = ModelSpec::from_yaml(&text, "scaled").unwrap();
        let Task::Detect { neck: Some(neck) } = spec.task else { panic!("a detector with a neck") };
        assert_eq!((neck.width, neck.depth, spec.train.image_size), (1.21, 1.44, 832));
        let other = ModelTemplate::load(&root, &named("effyolo-s")).unwrap_err();
        assert!(format!("{other:#}").contains("its neck is n"), "{other:#}");
    }

    #[test]
    fn every_phi_of_the_published_family_is_a_model_that_can_be_built() {
        let folder = tempfile::tempdir().unwrap();
        let template = ModelTemplate::plain(&named("b0"), 10).unwrap();
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
