//! A training run: epochs, validation, files.

use crate::{
    BatchProgress, EpochProgress, EpochRow, Judgement, LearnedBatch, ModelCard, Observer, Progress, Rates,
    Rehearsal, RunState, Schedule, Task, TrainError, files, save_weights, write_results,
};
use effyolo_config::TrainSpec;
use net_cpu::Params;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a run of any task needs to know.
pub struct RunSetup {
    /// Hyper-parameters.
    pub spec: TrainSpec,
    /// What weights files say; epoch and fitness are filled in.
    pub card: ModelCard,
    /// An existing folder, with a folder `weights`, for everything the run writes.
    pub folder: PathBuf,
    /// Set from outside, it ends the run after the batch at hand, with its state saved.
    pub interrupt: Arc<AtomicBool>,
}

/// How a run came to its end.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEnd<V> {
    /// All epochs are done; the last validation.
    Finished(V),
    /// The fitness had not risen for `patience` epochs; the last validation.
    OutOfPatience(V),
    /// It was interrupted and can be resumed.
    Interrupted,
    /// It was over before.
    NothingLeft,
}

/// A run between two batches.
pub struct TrainingRun<T> {
    setup: RunSetup,
    task: T,
    schedule: Schedule,
    progress: Progress,
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

impl<T: Task> TrainingRun<T> {
    /// A run that has learned nothing.
    pub fn new(setup: RunSetup, task: T) -> Self {
        let schedule = Schedule::new(&setup.spec, task.batches());
        TrainingRun { setup, task, schedule, progress: Progress::default() }
    }

    /// Goes on from the state in the run's folder: with the bits of an uninterrupted run. Without a state the run was
    /// stopped before its first, and begins again.
    ///
    /// # Errors
    /// When the state is damaged, or belongs to another model.
    pub fn resume(&mut self) -> Result<(), TrainError> {
        files::remove_temporaries(&self.setup.folder.join("weights"))?;
        files::remove_temporaries(&self.setup.folder)?;
        if !self.files().state().exists() {
            return Ok(());
        }
        let RunState { progress, learner } = RunState::read(&self.files().state())?;
        self.task.restore(learner)?;
        self.progress = progress;
        Ok(())
    }

    /// Times a step and counts memory; nothing is learned.
    ///
    /// # Errors
    /// When the network cannot be laid out for the batch.
    pub fn rehearse(&mut self) -> Result<Rehearsal, TrainError> {
        self.task.rehearse()
    }

    /// How far the run is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// True when no epoch is left to learn.
    pub fn is_over(&self) -> bool {
        self.progress.epoch >= self.setup.spec.epochs || self.is_out_of_patience()
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> usize {
        self.task.batches()
    }

    /// Learns the epochs that are left.
    ///
    /// # Errors
    /// As [`TrainingRun::run_epoch`].
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<RunEnd<T::Validation>, TrainError> {
        let mut last = None;
        while !self.is_over() {
            last = self.run_epoch(observer)?;
            if last.is_none() {
                return Ok(RunEnd::Interrupted);
            }
        }
        Ok(match last {
            None => RunEnd::NothingLeft,
            Some(validation) if self.progress.epoch < self.setup.spec.epochs => {
                RunEnd::OutOfPatience(validation)
            }
            Some(validation) => RunEnd::Finished(validation),
        })
    }

    /// Learns what is left of an epoch and validates the averaged weights; then all files of the run are up to date.
    /// `None` when it was interrupted; then the state is saved.
    ///
    /// # Errors
    /// When images cannot be read, files cannot be written, or the loss is no longer a number.
    pub fn run_epoch(&mut self, observer: &mut dyn Observer) -> Result<Option<T::Validation>, TrainError> {
        let (started, before) = (Instant::now(), self.progress.running.seconds);
        let waited = self.train_epoch(observer)?;
        let waiting = waited.as_secs_f64() / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        self.progress.running.seconds = before + started.elapsed().as_secs_f64();
        if self.is_interrupted() {
            self.save_state()?;
            return Ok(None);
        }
        let weights = self.task.averaged();
        let validation = self.task.validate(&weights, observer)?;
        self.progress.running.seconds = before + started.elapsed().as_secs_f64();
        self.finish_epoch(&weights, self.task.judge(&validation), waiting, observer)?;
        Ok(Some(validation))
    }

    /// What is left of a pass over the training images; the time spent waiting for batches.
    fn train_epoch(&mut self, observer: &mut dyn Observer) -> Result<Duration, TrainError> {
        let TrainingRun { setup, task, schedule, progress } = self;
        let Progress { epoch, running, .. } = progress;
        let (names, batches, started) = (task.loss_names(), task.batches(), Instant::now());
        let (mut waited, mut learned, first) = (Duration::ZERO, 0, running.batches);
        let mut done = |batch: &LearnedBatch| {
            running.add(batch.images, &batch.losses);
            waited += batch.waited;
            learned += batch.images;
            observer.batch_done(&BatchProgress {
                epoch: *epoch,
                batches,
                loss_names: names,
                running,
                objects: batch.objects,
                pace: (learned, started.elapsed()),
            });
            match setup.interrupt.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        task.learn_epoch(*epoch, first, schedule, &mut done)?;
        Ok(waited)
    }

    /// Counts the epoch and writes the run's files; the state last, so that it never speaks of files that are not there.
    fn finish_epoch(
        &mut self,
        weights: &Params,
        judgement: Judgement,
        waiting: f64,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let row = self.row(&judgement);
        let Judgement { fitness, headline, .. } = judgement;
        let progress = &mut self.progress;
        let is_best = progress.best.is_none_or(|(_, best)| fitness >= best);
        progress.epoch += 1;
        progress.running = Default::default();
        if is_best {
            progress.best = Some((progress.epoch, fitness));
        }
        progress.rows.push(row.clone());
        let card = ModelCard { epoch: self.progress.epoch, fitness, ..self.setup.card.clone() };
        save_weights(&self.files().last(), weights, &card)?;
        if is_best {
            save_weights(&self.files().best(), weights, &card)?;
        }
        write_results(&self.files().results(), &self.progress.rows)?;
        self.save_state()?;
        let (row, headline, epochs) = (&row, &*headline, self.setup.spec.epochs);
        observer.epoch_done(&EpochProgress { row, headline, is_best, epochs, waiting });
        Ok(())
    }

    fn row(&self, judgement: &Judgement) -> EpochRow {
        let Progress { epoch, rows, running, .. } = &self.progress;
        let Rates { lr, bias_lr, .. } = self.schedule.at((epoch + 1) * self.task.batches() - 1);
        let names = self.task.loss_names().iter().map(|name| format!("train/{name}"));
        let losses = names.zip(running.mean_losses());
        let metrics = judgement.columns.iter().map(|(name, value)| (name.to_string(), *value));
        let rates = [("lr/pg0", bias_lr), ("lr/pg1", lr), ("lr/pg2", lr)];
        let rates = rates.map(|(name, value)| (name.to_string(), value));
        EpochRow {
            epoch: epoch + 1,
            time: rows.last().map_or(0.0, |row| row.time) + running.seconds,
            values: losses.chain(metrics).chain(rates).collect(),
        }
    }

    fn save_state(&self) -> Result<(), TrainError> {
        let (progress, learner) = (self.progress.clone(), self.task.state());
        RunState { progress, learner }.save(&self.files().state())
    }

    fn is_out_of_patience(&self) -> bool {
        let patience = self.setup.spec.patience;
        let best = self.progress.best.map_or(0, |(epoch, _)| epoch);
        patience > 0 && self.progress.epoch - best >= patience
    }

    fn is_interrupted(&self) -> bool {
        self.setup.interrupt.load(Ordering::Relaxed)
    }

    fn files(&self) -> RunFiles<'_> {
        RunFiles(&self.setup.folder)
    }
}
