//! Detection as a task of a training run.

use crate::task::QUEUE;
use crate::{
    CpuDetector, CpuNetwork, HeadLogits, ImageBatch, Judgement, LearnedBatch, Learner, LearnerState,
    Objective, Observer, Rehearsal, Schedule, Task, TrainError, UntrainedNetwork, Validation, validate,
};
use box_geometry::{AnchorGrid, NmsOptions, Size};
use cpu_kernels::{Isa, Precision};
use detect_data::{
    AffineRanges, Augmentation, Batch, ColourJitter, Dataset, HueRule, LoadedImages, LoaderOptions,
    RandomFlip, TrainLoader, TrainPipeline, ValidationLoader, ValidationOptions,
};
use effyolo_config::{Rules, TrainSpec};
use net_cpu::{Images, Params};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use yolo_loss::{DetectionLoss, Gains, LossValue, Overlap, Targets, TaskAligned};
use yolo_neck_head::HeadNodes;

/// What detection is learned from and judged on.
pub struct DetectionSetup {
    /// Hyper-parameters.
    pub spec: TrainSpec,
    /// The network.
    pub network: UntrainedNetwork<HeadNodes>,
    /// Images to learn from.
    pub train: Arc<dyn Dataset>,
    /// Images to validate on.
    pub val: Arc<dyn Dataset>,
    /// Bytes of scaled images to keep in memory, for each of both sets.
    pub cache_bytes: usize,
    /// What a validation keeps.
    pub nms: NmsOptions,
    /// Instruction set.
    pub isa: Isa,
}

/// The loss of YOLOv8 over the raw logits of a head.
#[derive(Debug)]
pub struct DetectionObjective {
    /// The loss.
    pub loss: DetectionLoss,
    /// Strides of the head's levels.
    pub strides: Vec<usize>,
}

impl DetectionObjective {
    /// The loss for a head, by a run's hyper-parameters.
    ///
    /// # Errors
    /// When the head has no class or fewer than two bins.
    pub fn new(spec: &TrainSpec, head: &HeadNodes) -> Result<Self, TrainError> {
        let rules = match spec.rules {
            Rules::Classic => yolo_loss::Rules::Classic,
            Rules::Current => yolo_loss::Rules::Current,
        };
        let gains = &spec.gains;
        let gains = Gains { boxes: gains.boxes.into(), class: gains.class.into(), dfl: gains.dfl.into() };
        let assigner = TaskAligned { topk: 10, alpha: 0.5, beta: 6.0, rules };
        let loss = DetectionLoss::new(head.class_count, head.reg_max, gains, assigner, Overlap::Ciou)?
            .with_label_smoothing(spec.label_smoothing);
        Ok(DetectionObjective { loss, strides: head.strides.clone() })
    }
}

impl Objective for DetectionObjective {
    type Logits = HeadLogits;
    type Targets = Targets;
    type Value = LossValue;

    fn value_and_gradient(
        &self,
        logits: &HeadLogits,
        size: Size,
        targets: &Targets,
    ) -> Result<(LossValue, HeadLogits), TrainError> {
        let grid = AnchorGrid::for_input(size, &self.strides)?;
        let HeadLogits { boxes, classes } = logits;
        let mut gradient = HeadLogits { boxes: vec![0.0; boxes.len()], classes: vec![0.0; classes.len()] };
        let HeadLogits { boxes: d_boxes, classes: d_classes } = &mut gradient;
        let value = self.loss.value_and_gradient(boxes, classes, &grid, targets, d_boxes, d_classes)?;
        Ok((value, gradient))
    }

    fn total(value: &LossValue) -> f64 {
        value.total
    }
}

/// Detection on two data sets.
pub struct DetectionTask {
    setup: DetectionSetup,
    learner: Learner<CpuNetwork, DetectionObjective>,
    images: Arc<LoadedImages>,
    loader: TrainLoader,
    validation: ValidationLoader,
}

impl DetectionTask {
    /// Prepares the loaders and the network; nothing is learned yet.
    ///
    /// # Errors
    /// When a setting does not suit the data or the network.
    pub fn new(setup: DetectionSetup) -> Result<Self, TrainError> {
        let DetectionSetup { spec, network, isa, .. } = &setup;
        let UntrainedNetwork { graph, outputs: head, params, stages } = network;
        let network = CpuNetwork::new(graph.clone(), head.clone(), params.clone(), *isa);
        let learner = Learner::new(network, DetectionObjective::new(spec, head)?, spec, stages, *isa);
        let load = |data: &Arc<dyn Dataset>| {
            LoadedImages::new(data.clone(), spec.image_size, setup.cache_bytes).map(Arc::new)
        };
        let images = load(&setup.train)?;
        let loader = TrainLoader::new(LoaderOptions {
            batch: spec.batch,
            threads: spec.loader_threads,
            queue: QUEUE,
            seed: spec.seed,
        })?;
        let stride = head.strides.iter().copied().max().expect("a head has levels");
        let options = validation_options(spec.batch, stride, spec.loader_threads);
        let validation = ValidationLoader::new(load(&setup.val)?, options)?;
        Ok(DetectionTask { learner, images, loader, validation, setup })
    }
}

impl Task for DetectionTask {
    type Validation = Validation;

    fn loss_names(&self) -> &'static [&'static str] {
        &["box_loss", "cls_loss", "dfl_loss"]
    }

    fn batches(&self) -> usize {
        self.loader.batches(self.images.len())
    }

    fn learn_epoch(
        &mut self,
        epoch: usize,
        first_batch: usize,
        schedule: &Schedule,
        done: &mut dyn FnMut(&LearnedBatch) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let pipeline = TrainPipeline::new(self.images.clone(), augmentation(&self.setup.spec, epoch))?;
        self.learner.begin_epoch(epoch);
        let mut batches = self.loader.epoch(pipeline, epoch as u64, first_batch);
        loop {
            let waiting = Instant::now();
            let Some(batch) = batches.next().transpose()? else { return Ok(()) };
            let waited = waiting.elapsed();
            let number = epoch * self.batches() + batch.number;
            let rates = schedule.at(number);
            let loss = self.learner.learn(images_of(&batch), &targets(&batch)?, number, &rates)?;
            let losses = vec![loss.parts.boxes, loss.parts.class, loss.parts.dfl];
            let objects = batch.targets.iter().map(Vec::len).sum();
            if done(&LearnedBatch { images: batch.len(), objects, losses, waited }).is_break() {
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

    fn validate(&self, weights: &Params, observer: &mut dyn Observer) -> Result<Validation, TrainError> {
        let DetectionSetup { network: UntrainedNetwork { graph, outputs: head, .. }, isa, nms, .. } =
            &self.setup;
        let mut detector =
            CpuDetector::new(graph.clone(), head.clone(), weights, true, *isa, Precision::F32)?;
        validate(&mut detector, &self.validation, nms, Some(&self.learner.objective().loss), observer)
    }

    fn judge(&self, validation: &Validation) -> Judgement {
        let (metrics, coco) = (&validation.current, &validation.coco);
        let losses = validation.losses.expect("a loss was given");
        let columns = vec![
            ("metrics/precision(B)", metrics.precision),
            ("metrics/recall(B)", metrics.recall),
            ("metrics/mAP50(B)", metrics.map50),
            ("metrics/mAP50-95(B)", metrics.map50_95),
            ("val/box_loss", losses.boxes),
            ("val/cls_loss", losses.class),
            ("val/dfl_loss", losses.dfl),
        ];
        let headline = format!(
            "P {:.3} R {:.3} mAP50 {:.3} mAP50-95 {:.3} (coco {:.3} {:.3})",
            metrics.precision, metrics.recall, metrics.map50, metrics.map50_95, coco.map50, coco.map50_95
        );
        Judgement { fitness: fitness(self.setup.spec.rules, validation), columns, headline }
    }

    fn rehearse(&mut self) -> Result<Rehearsal, TrainError> {
        let spec = &self.setup.spec;
        let size = Size { height: spec.image_size, width: spec.image_size };
        let count = spec.batch.min(self.images.len());
        let pixels = vec![114; count * size.height * size.width * 3];
        let batch = ImageBatch { images: Images::Rgb8(&pixels), count, size };
        let step = self.learner.rehearse(batch, &Targets::new(vec![Vec::new(); count]))?;
        let kept = |images: &LoadedImages| images.bytes().min(self.setup.cache_bytes);
        Ok(Rehearsal {
            step,
            bytes: self.learner.bytes(),
            image_bytes: kept(&self.images) + kept(self.validation.images()),
            validation_images: self.validation.images().len(),
        })
    }
}

/// What validation strives for, from the metrics by Ultralytics' current rules: a mix with AP50 as the classic trainer
/// weighs it, or AP50-95 alone as the current one does.
fn fitness(rules: Rules, validation: &Validation) -> f64 {
    let metrics = &validation.current;
    match rules {
        Rules::Classic => 0.1 * metrics.map50 + 0.9 * metrics.map50_95,
        Rules::Current => metrics.map50_95,
    }
}

/// Rectangular batches with half a stride of padding, as validation of YOLOv8 has them.
pub fn validation_options(batch: usize, stride: usize, threads: usize) -> ValidationOptions {
    ValidationOptions { batch, stride, pad: 0.5, rectangular: true, threads, queue: QUEUE }
}

/// Augmentation of an epoch: the last ones go without mosaic and mixup.
fn augmentation(spec: &TrainSpec, epoch: usize) -> Augmentation {
    let strength = &spec.augmentation;
    let closed = epoch + strength.close_mosaic >= spec.epochs;
    let rule = match spec.rules {
        Rules::Classic => HueRule::Multiplicative,
        Rules::Current => HueRule::Additive,
    };
    Augmentation {
        mosaic: if closed { 0.0 } else { strength.mosaic.into() },
        affine: AffineRanges {
            degrees: strength.degrees.into(),
            translate: strength.translate.into(),
            scale: strength.scale.into(),
            shear: strength.shear.into(),
            perspective: strength.perspective.into(),
        },
        mixup: if closed { 0.0 } else { strength.mixup.into() },
        colour: ColourJitter {
            hue: strength.hsv_h.into(),
            saturation: strength.hsv_s.into(),
            value: strength.hsv_v.into(),
            rule,
        },
        flip: RandomFlip {
            up_down: strength.flip_up_down.into(),
            left_right: strength.flip_left_right.into(),
        },
    }
}

fn images_of(batch: &Batch) -> ImageBatch<'_> {
    let size = Size { height: batch.height, width: batch.width };
    ImageBatch { images: Images::Rgb8(&batch.images), count: batch.len(), size }
}

fn targets(batch: &Batch) -> Result<Targets, TrainError> {
    let size = Size { height: batch.height, width: batch.width };
    let rows = batch
        .targets
        .iter()
        .enumerate()
        .flat_map(|(image, boxes)| boxes.iter().map(move |target| (image, target.class, target.cxcywh)));
    Ok(Targets::from_normalised(batch.len(), size, rows)?)
}
