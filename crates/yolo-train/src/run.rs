//! A training run: epochs, validation, files.

use crate::validate::LossMean;
use crate::{
    BatchProgress, CpuDetector, CpuNetwork, EpochProgress, EpochRow, ImageBatch, Learner, ModelCard,
    Observer, Rates, RunState, Schedule, TrainError, Validation, detection_loss, save_weights, validate,
    write_results,
};
use box_geometry::{NmsOptions, Size};
use cpu_kernels::Isa;
use detect_data::{
    AffineRanges, Augmentation, Batch, ColourJitter, Dataset, HueRule, LoadedImages, LoaderOptions,
    RandomFlip, TrainLoader, TrainPipeline, ValidationLoader, ValidationOptions,
};
use effyolo_config::{Rules, TrainSpec};
use net_cpu::{Images, Params};
use net_graph::Graph;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use yolo_loss::{LossParts, Targets};
use yolo_neck_head::HeadNodes;

/// Batches that each loader thread may have ready.
const QUEUE: usize = 2;

/// Everything a training run starts from.
pub struct RunSetup {
    /// Hyper-parameters.
    pub spec: TrainSpec,
    /// The network.
    pub network: UntrainedNetwork,
    /// Images to learn from.
    pub train: Arc<dyn Dataset>,
    /// Images to validate on.
    pub val: Arc<dyn Dataset>,
    /// Bytes of scaled images to keep in memory, for each of both sets.
    pub cache_bytes: usize,
    /// What a validation keeps.
    pub nms: NmsOptions,
    /// What weights files say; epoch and fitness are filled in.
    pub card: ModelCard,
    /// An existing folder for everything the run writes.
    pub folder: PathBuf,
    /// Instruction set.
    pub isa: Isa,
}

/// A network before its first step.
#[derive(Debug, Clone)]
pub struct UntrainedNetwork {
    /// The graph.
    pub graph: Arc<Graph>,
    /// Its head.
    pub head: HeadNodes,
    /// Values of its parameters.
    pub params: Params,
    /// Beginnings of the names of parameters that stay as they are.
    pub frozen: Vec<String>,
}

/// A run between two epochs.
pub struct TrainingRun {
    setup: RunSetup,
    learner: Learner<CpuNetwork>,
    schedule: Schedule,
    images: Arc<LoadedImages>,
    loader: TrainLoader,
    validation: ValidationLoader,
    epoch: usize,
    best_fitness: f64,
    rows: Vec<EpochRow>,
}

/// Where a run keeps its files.
#[derive(Debug, Clone, Copy)]
pub struct RunFiles<'a>(pub &'a Path);

impl RunFiles<'_> {
    /// Averaged weights of the last epoch.
    pub fn last(&self) -> PathBuf {
        self.0.join("weights/last.safetensors")
    }

    /// Averaged weights of the best epoch.
    pub fn best(&self) -> PathBuf {
        self.0.join("weights/best.safetensors")
    }

    /// State after the last epoch, to go on from.
    pub fn state(&self) -> PathBuf {
        self.0.join("weights/last-state.safetensors")
    }

    /// Losses and metrics of each epoch.
    pub fn results(&self) -> PathBuf {
        self.0.join("results.csv")
    }
}

impl TrainingRun {
    /// Prepares a run; nothing is learned yet.
    ///
    /// # Errors
    /// When a setting does not suit the data or the network.
    pub fn new(setup: RunSetup) -> Result<Self, TrainError> {
        let RunSetup { spec, network, isa, .. } = &setup;
        let UntrainedNetwork { graph, head, params, frozen } = network;
        let network = CpuNetwork::new(graph.clone(), head.clone(), params.clone(), frozen.clone(), *isa);
        let loss = detection_loss(spec.gains, spec.rules, head.class_count, head.reg_max)?;
        let learner = Learner::new(network, loss, head.strides.clone(), spec, frozen, *isa);
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
        let validation = ValidationLoader::new(
            load(&setup.val)?,
            validation_options(spec.batch, stride, spec.loader_threads),
        )?;
        let schedule = Schedule::new(spec, loader.batches(images.len()));
        Ok(TrainingRun {
            learner,
            schedule,
            images,
            loader,
            validation,
            epoch: 0,
            best_fitness: f64::NEG_INFINITY,
            rows: Vec::new(),
            setup,
        })
    }

    /// Goes on from the state in the run's folder: with the bits of an uninterrupted run.
    ///
    /// # Errors
    /// When there is no state, or it belongs to another model.
    pub fn resume(&mut self) -> Result<(), TrainError> {
        let RunState { epoch, best_fitness, rows, learner } = RunState::read(&self.files().state())?;
        self.learner.restore(learner)?;
        (self.epoch, self.best_fitness, self.rows) = (epoch, best_fitness, rows);
        Ok(())
    }

    /// Learns the epochs that are left. Returns the last validation; `None` if there was nothing left to do.
    ///
    /// # Errors
    /// As [`TrainingRun::run_epoch`].
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Option<Validation>, TrainError> {
        let mut last = None;
        while self.epoch < self.setup.spec.epochs {
            last = Some(self.run_epoch(observer)?);
        }
        Ok(last)
    }

    /// Learns one epoch and validates the averaged weights; then all files of the run are up to date.
    ///
    /// # Errors
    /// When images cannot be read, files cannot be written, or the loss is no longer a number.
    pub fn run_epoch(&mut self, observer: &mut dyn Observer) -> Result<Validation, TrainError> {
        let started = Instant::now();
        let losses = self.train_epoch(observer)?;
        let weights = self.learner.averaged();
        let validation = self.validate(&weights, observer)?;
        let row = self.row(&losses, &validation, started);
        self.finish_epoch(&weights, row, &validation, observer)?;
        Ok(validation)
    }

    /// One pass over the training images; the mean losses.
    fn train_epoch(&mut self, observer: &mut dyn Observer) -> Result<LossParts, TrainError> {
        let (epoch, started) = (self.epoch, Instant::now());
        let pipeline = TrainPipeline::new(self.images.clone(), augmentation(&self.setup.spec, epoch))?;
        let batches = self.loader.batches(self.images.len());
        let (mut losses, mut images) = (LossMean::default(), 0);
        for batch in self.loader.epoch(pipeline, epoch as u64, 0) {
            let batch = batch?;
            let number = epoch * batches + batch.number;
            let rates = self.schedule.at(number);
            let loss = self.learner.learn(images_of(&batch), &targets(&batch)?, number, &rates)?;
            losses.add(&loss.parts);
            images += batch.len();
            let objects = batch.targets.iter().map(Vec::len).sum();
            let (done, losses) = (batch.number + 1, losses.mean());
            observer.batch_done(&BatchProgress {
                epoch,
                done,
                batches,
                images,
                elapsed: started.elapsed(),
                losses,
                objects,
            });
        }
        Ok(losses.mean())
    }

    fn validate(&self, weights: &Params, observer: &mut dyn Observer) -> Result<Validation, TrainError> {
        let RunSetup { network: UntrainedNetwork { graph, head, .. }, isa, nms, .. } = &self.setup;
        let mut detector = CpuDetector::new(graph.clone(), head.clone(), weights, true, *isa)?;
        validate(&mut detector, &self.validation, nms, Some(self.learner.loss()), observer)
    }

    fn row(&self, losses: &LossParts, validation: &Validation, started: Instant) -> EpochRow {
        let batches = self.loader.batches(self.images.len());
        let Rates { lr, bias_lr, .. } = self.schedule.at((self.epoch + 1) * batches - 1);
        let val = validation.losses.expect("a loss was given");
        EpochRow {
            epoch: self.epoch + 1,
            time: self.rows.last().map_or(0.0, |row| row.time) + started.elapsed().as_secs_f64(),
            box_loss: losses.boxes,
            class_loss: losses.class,
            dfl_loss: losses.dfl,
            precision: validation.current.precision,
            recall: validation.current.recall,
            map50: validation.current.map50,
            map50_95: validation.current.map50_95,
            val_box_loss: val.boxes,
            val_class_loss: val.class,
            val_dfl_loss: val.dfl,
            lr_biases: bias_lr,
            lr_norms: lr,
            lr_weights: lr,
        }
    }

    /// Counts the epoch and writes the run's files; the state last, so that it never speaks of files that are not there.
    fn finish_epoch(
        &mut self,
        weights: &Params,
        row: EpochRow,
        validation: &Validation,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let fitness = fitness(self.setup.spec.rules, validation);
        let is_best = fitness >= self.best_fitness;
        self.best_fitness = self.best_fitness.max(fitness);
        self.epoch += 1;
        self.rows.push(row);
        let card = ModelCard { epoch: self.epoch, fitness, ..self.setup.card.clone() };
        save_weights(&self.files().last(), weights, &card)?;
        if is_best {
            save_weights(&self.files().best(), weights, &card)?;
        }
        write_results(&self.files().results(), &self.rows)?;
        let (epoch, best_fitness, rows) = (self.epoch, self.best_fitness, self.rows.clone());
        RunState { epoch, best_fitness, rows, learner: self.learner.state() }.save(&self.files().state())?;
        observer.epoch_done(&EpochProgress {
            row: &row,
            validation,
            is_best,
            epochs: self.setup.spec.epochs,
        });
        Ok(())
    }

    fn files(&self) -> RunFiles<'_> {
        RunFiles(&self.setup.folder)
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

/// Augmentation of an epoch: the last ones go without mosaic.
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
        mixup: 0.0,
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
