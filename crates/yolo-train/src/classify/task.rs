//! Classification as a task of a training run.

use super::cross_entropy::{ClassificationObjective, SoftTargets};
use super::network::{CpuClassifier, CpuClassifierNetwork};
use super::validate::{ClassValidation, validate_classifier};
use crate::task::QUEUE;
use crate::{
    ImageBatch, Judgement, LearnedBatch, Learner, LearnerState, Observer, Rehearsal, Schedule, Task,
    TrainError, UntrainedNetwork,
};
use box_geometry::Size;
use classify_data::{
    AutoAugment, ClassAugmentation, ClassFolder, ClassLoader, ClassLoaderOptions, ClassPipeline,
};
use cpu_kernels::{Isa, Precision};
use effyolo_config::{AutoAugment as ChosenPolicy, TrainSpec};
use net_cpu::{Images, Params};
use net_graph::NodeId;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// What classification is learned from and judged on.
pub struct ClassificationSetup {
    /// Hyper-parameters.
    pub spec: TrainSpec,
    /// The network.
    pub network: UntrainedNetwork<NodeId>,
    /// Images to learn from.
    pub train: Arc<ClassFolder>,
    /// Images to validate on; their classes are numbered as those of `train`.
    pub val: Arc<ClassFolder>,
    /// Bytes of decoded images that both sets keep.
    pub cache_bytes: usize,
    /// Instruction set.
    pub isa: Isa,
}

/// Classification of two folders.
pub struct ClassificationTask {
    setup: ClassificationSetup,
    learner: Learner<CpuClassifierNetwork, ClassificationObjective>,
    pipeline: ClassPipeline,
    validation: ClassPipeline,
    loader: ClassLoader,
}

impl ClassificationTask {
    /// Prepares the loaders and the network; nothing is learned yet.
    ///
    /// # Errors
    /// When a setting does not suit the data or the network.
    pub fn new(setup: ClassificationSetup) -> Result<Self, TrainError> {
        let ClassificationSetup { spec, network, train, val, isa, .. } = &setup;
        let UntrainedNetwork { graph, outputs: logits, params, stages } = network;
        let network = CpuClassifierNetwork::new(graph.clone(), *logits, params.clone(), *isa);
        let learner = Learner::new(network, ClassificationObjective, spec, stages, *isa);
        let pipeline = ClassPipeline::new(train.clone(), spec.image_size, augmentation(spec))?;
        let validation = ClassPipeline::new(val.clone(), spec.image_size, ClassAugmentation::NONE)?;
        let loader = class_loader(spec.batch, spec)?;
        Ok(ClassificationTask { learner, pipeline, validation, loader, setup })
    }
}

impl Task for ClassificationTask {
    type Validation = ClassValidation;

    fn loss_names(&self) -> &'static [&'static str] {
        &["loss"]
    }

    fn batches(&self) -> usize {
        self.loader.batches(self.pipeline.images().len())
    }

    fn learn_epoch(
        &mut self,
        epoch: usize,
        first_batch: usize,
        schedule: &Schedule,
        done: &mut dyn FnMut(&LearnedBatch) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        self.learner.begin_epoch(epoch);
        let mut batches = self.loader.epoch(self.pipeline.clone(), epoch as u64, first_batch);
        let classes = self.pipeline.images().names().len();
        loop {
            let waiting = Instant::now();
            let Some(batch) = batches.next().transpose()? else { return Ok(()) };
            let waited = waiting.elapsed();
            let number = epoch * self.batches() + batch.number;
            let rates = schedule.at(number);
            let size = Size { height: batch.side, width: batch.side };
            let (count, targets) = (batch.len(), SoftTargets { probabilities: batch.targets, classes });
            let images = ImageBatch { images: Images::Rgb8(&batch.images), count, size };
            let loss = self.learner.learn(images, &targets, number, &rates)?;
            let learned = LearnedBatch { images: count, objects: count, losses: vec![loss], waited };
            if done(&learned).is_break() {
                return Ok(());
            }
        }
    }

    fn averaged(&self) -> Params {
        self.learner.averaged()
    }

    fn state(&self) -> LearnerState {
        self.learner.state()
    }

    fn restore(&mut self, state: LearnerState) -> Result<(), TrainError> {
        self.learner.restore(state)
    }

    fn validate(&self, weights: &Params, observer: &mut dyn Observer) -> Result<ClassValidation, TrainError> {
        let ClassificationSetup { network: UntrainedNetwork { graph, outputs: logits, .. }, isa, .. } =
            &self.setup;
        let mut classifier = CpuClassifier::new(graph.clone(), *logits, weights, *isa, Precision::F32)?;
        validate_classifier(&mut classifier, &self.loader, &self.validation, observer)
    }

    fn judge(&self, validation: &ClassValidation) -> Judgement {
        let ClassValidation { top1, top5, loss, .. } = validation;
        let columns =
            vec![("metrics/accuracy_top1", *top1), ("metrics/accuracy_top5", *top5), ("val/loss", *loss)];
        let headline = format!("top-1 {top1:.3} top-5 {top5:.3} val loss {loss:.3}");
        Judgement { fitness: *top1, columns, headline }
    }

    fn rehearse(&mut self) -> Result<Rehearsal, TrainError> {
        let ClassificationSetup { spec, train, val, cache_bytes, .. } = &self.setup;
        let (side, classes) = (spec.image_size, train.names().len());
        let count = spec.batch.min(train.len());
        let pixels = vec![114; count * side * side * 3];
        let size = Size { height: side, width: side };
        let batch = ImageBatch { images: Images::Rgb8(&pixels), count, size };
        let probabilities = vec![1.0 / classes as f32; count * classes];
        let step = self.learner.rehearse(batch, &SoftTargets { probabilities, classes })?;
        Ok(Rehearsal {
            step,
            bytes: self.learner.bytes(),
            image_bytes: train.bytes().min(*cache_bytes) + val.bytes().min(*cache_bytes),
            validation_images: val.len(),
        })
    }
}

/// A loader of `batch` pictures at a time, with a run's threads and seed.
///
/// # Errors
/// When a number is 0.
pub fn class_loader(batch: usize, spec: &TrainSpec) -> Result<ClassLoader, TrainError> {
    let (threads, seed) = (spec.loader_threads, spec.seed);
    Ok(ClassLoader::new(ClassLoaderOptions { batch, threads, queue: QUEUE, seed })?)
}

fn augmentation(spec: &TrainSpec) -> ClassAugmentation {
    let strength = &spec.augmentation;
    ClassAugmentation {
        crop_area: strength.crop_area.into(),
        flip_left_right: strength.flip_left_right.into(),
        flip_up_down: strength.flip_up_down.into(),
        auto_augment: match strength.auto_augment {
            ChosenPolicy::None => AutoAugment::None,
            ChosenPolicy::AutoAugment => AutoAugment::AutoAugment,
            ChosenPolicy::RandAugment => AutoAugment::RandAugment {
                layers: strength.ra_layers,
                magnitude: strength.ra_magnitude.into(),
            },
        },
        erasing: strength.erasing.into(),
        cutmix: strength.cutmix.into(),
        mixup: strength.mixup.into(),
        label_smoothing: spec.label_smoothing,
    }
}
