//! One run of a candidate: what settles its result, and what the worker is told.

use super::arguments::Arguments;
use super::data::{Task, TrialData};
use super::proxy::Proxy;
use crate::model_file::ModelTemplate;
use anyhow::{Result, bail, ensure};
use effnet_scaling::{
    Baseline, Candidate, CompoundCoefficients, NamedBaseline, Network, NetworkSpec, Scaling, round_resolution,
};
use serde::{Deserialize, Serialize};

/// Everything beside candidate and seed that settles the result of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) task: Task,
    /// Fingerprint of the data.
    pub(super) data: String,
    pub(super) proxy: Proxy,
    /// Threads of one trial: sums in another order have other last bits.
    pub(super) threads: usize,
    pub(super) seeds: Vec<u64>,
    /// Settings of `effyolo train --set`.
    pub(super) set: Vec<String>,
    /// The unscaled configuration as YAML; `None` of one that says nothing but the baseline.
    pub(super) model: Option<String>,
    /// Classes of a classification set.
    pub(super) classes: Option<usize>,
    /// Factor of successive halving.
    pub(super) halving: Option<usize>,
}

impl Settings {
    pub(super) fn new(
        arguments: &Arguments,
        data: &TrialData,
        template: &ModelTemplate,
        jobs: usize,
    ) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = arguments.threads.unwrap_or((cores / jobs).max(1));
        ensure!(threads > 0, "--threads: expected at least 1, got 0");
        ensure!(arguments.halving.is_none_or(|eta| eta >= 2), "--halving: expected a factor of at least 2");
        let proxy = arguments.proxy(template.side())?;
        Ok(Settings {
            task: data.task,
            data: data.fingerprint.clone(),
            proxy,
            threads,
            seeds: arguments.seeds()?,
            set: arguments.set.clone(),
            model: template.yaml(),
            classes: data.classes,
            halving: arguments.halving,
        })
    }
}

/// A run to be done.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    /// The same for all candidates that round to one network.
    pub(super) key: String,
    pub(super) coefficients: CompoundCoefficients,
    pub(super) seed: u64,
    pub(super) epochs: usize,
    /// Side of the images.
    pub(super) side: usize,
    pub(super) scaling: Scaling,
    /// Expected cost, in any unit.
    pub(super) work: f64,
}

impl Trial {
    /// A name for folders and messages.
    pub(super) fn name(&self) -> String {
        let CompoundCoefficients { alpha, beta, gamma } = self.coefficients;
        format!("a{alpha}-b{beta}-g{gamma}-s{}-e{}", self.seed, self.epochs)
    }
}

/// Makes trials of candidates.
pub(super) struct Planner {
    pub(super) settings: Settings,
    pub(super) baseline: NamedBaseline,
    pub(super) resolution_divisor: usize,
}

/// Channels and repeats of a detector's neck.
type Neck = ([usize; 3], usize);

#[derive(Serialize)]
struct Key<'a> {
    baseline: &'a str,
    stem: usize,
    head: usize,
    channels: Vec<usize>,
    repeats: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    neck: Option<Neck>,
    side: usize,
    seed: u64,
    epochs: usize,
    batch: usize,
    subset: f64,
    threads: usize,
    task: Task,
    data: &'a str,
    set: &'a [String],
    model: &'a Option<String>,
}

impl Planner {
    pub(super) fn trial(&self, candidate: &Candidate<Network>, seed: u64, epochs: usize) -> Result<Trial> {
        let proxy = &self.settings.proxy;
        let Scaling { depth, width, resolution } = candidate.scaled.scaling;
        let scaling = Scaling { depth, width: width * proxy.width, resolution };
        let side = round_resolution(proxy.imgsz, resolution, self.resolution_divisor);
        let key = self.key(scaling, side, seed, epochs)?;
        let work = candidate.cost_ratio * epochs as f64;
        Ok(Trial { key, coefficients: candidate.coefficients, seed, epochs, side, scaling, work })
    }

    fn key(&self, scaling: Scaling, side: usize, seed: u64, epochs: usize) -> Result<String> {
        let settings = &self.settings;
        let (network, neck) = self.network(scaling)?;
        let (channels, repeats) = network.stages.iter().map(|stage| (stage.channels, stage.repeats)).unzip();
        Ok(serde_json::to_string(&Key {
            baseline: self.baseline.name(),
            stem: network.stem,
            head: network.head,
            channels,
            repeats,
            neck,
            side,
            seed,
            epochs,
            batch: settings.proxy.batch,
            subset: settings.proxy.subset,
            threads: settings.threads,
            task: settings.task,
            data: &settings.data,
            set: &settings.set,
            model: &settings.model,
        })?)
    }

    /// The EfficientNet that is trained, and the neck of a detector.
    fn network(&self, scaling: Scaling) -> Result<(NetworkSpec, Option<Neck>)> {
        match self.baseline.scaled(scaling.width, scaling.depth)? {
            Network::EfficientNet(spec) => Ok((spec, None)),
            Network::Detector(spec) => Ok((spec.backbone, Some((spec.neck_channels, spec.neck_repeats)))),
            Network::Staged(_) => bail!("{} cannot be trained", self.baseline.name()),
        }
    }
}

/// The configuration that trials scale: the given one, or one that says nothing but the baseline.
pub(super) fn template(
    arguments: &Arguments,
    data: &TrialData,
    baseline: &NamedBaseline,
    classes: usize,
) -> Result<ModelTemplate> {
    let mut template = match &arguments.model {
        Some(path) => ModelTemplate::load(path, baseline)?,
        None => {
            ensure!(
                data.task == Task::Classify || baseline.detector().is_some(),
                "--data {}: a detection set needs a detector: --baseline effyolo-n, or --model with one such as \
                 configs/detect/effnet-b0-n.yaml, of which the backbone is scaled",
                data.path.display()
            );
            ModelTemplate::plain(baseline, classes)?
        }
    };
    ensure!(
        template.classifies() == (data.task == Task::Classify),
        "the model is a {}, --data {} is a set to {}",
        if template.classifies() { "classifier" } else { "detector" },
        data.path.display(),
        if data.task == Task::Classify { "classify" } else { "detect" }
    );
    if let Some(classes) = data.classes {
        template.set_classes(classes);
    }
    Ok(template)
}
