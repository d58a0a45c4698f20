//! When a run ends and which epoch is its best, with a task whose fitness is given.

use effyolo_config::{ModelSpec, TrainSpec};
use net_cpu::Params;
use net_graph::{Builder, Conv, Init, Padding};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use yolo_train::{
    Judgement, LearnedBatch, LearnerState, ModelCard, Moments, Observer, Rehearsal, RunEnd, RunFiles,
    RunSetup, Schedule, Silent, Task, TrainError, TrainingRun, WeightsFile, initial_params,
};

/// Validates to the next of the given numbers.
struct Scripted {
    fitness: &'static [f64],
    validated: Cell<usize>,
}

fn params() -> Params {
    let mut b = Builder::new();
    let image = b.input("image", 3).unwrap();
    let conv = Conv { kernel: 1, stride: 1, padding: Padding::Symmetric, groups: 1 };
    b.conv("conv", image, 1, conv, Init::Constant(1.0), None).unwrap();
    initial_params(&b.finish(), 0)
}

impl Task for Scripted {
    type Validation = f64;

    fn loss_names(&self) -> &'static [&'static str] {
        &["loss"]
    }

    fn batches(&self) -> usize {
        1
    }

    fn learn_epoch(
        &mut self,
        _: usize,
        _: usize,
        _: &Schedule,
        done: &mut dyn FnMut(&LearnedBatch) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let _ = done(&LearnedBatch { images: 1, objects: 0, losses: vec![1.0], waited: Duration::ZERO });
        Ok(())
    }

    fn averaged(&self) -> Params {
        params()
    }

    fn state(&self) -> LearnerState {
        LearnerState {
            last_step: None,
            trained: Vec::new(),
            buffers: Vec::new(),
            gradients: Vec::new(),
            moments: Moments { first: Vec::new(), second: Vec::new(), steps: Vec::new() },
            ema_trained: Vec::new(),
            ema_buffers: Vec::new(),
            ema_updates: 0,
        }
    }

    fn restore(&mut self, _: LearnerState) -> Result<(), TrainError> {
        Ok(())
    }

    fn validate(&self, _: &Params, _: &mut dyn Observer) -> Result<f64, TrainError> {
        self.validated.set(self.validated.get() + 1);
        Ok(self.fitness[self.validated.get() - 1])
    }

    fn judge(&self, fitness: &f64) -> Judgement {
        Judgement { fitness: *fitness, columns: Vec::new(), headline: String::new() }
    }

    fn rehearse(&mut self) -> Result<Rehearsal, TrainError> {
        unreachable!("no run rehearses of its own accord")
    }
}

fn spec(epochs: usize, patience: usize) -> TrainSpec {
    let model = "{task: detect, backbone: {name: yolov8-csp}, neck: {scale: n}, classes: 1}";
    TrainSpec { epochs, patience, ..ModelSpec::from_yaml(model, "a model for its defaults").unwrap().train }
}

fn run(spec: TrainSpec, fitness: &'static [f64], folder: &Path) -> TrainingRun<Scripted> {
    std::fs::create_dir_all(folder.join("weights")).unwrap();
    let card = ModelCard::new(String::new(), Vec::new(), 64);
    let setup = RunSetup { spec, card, folder: folder.to_path_buf(), interrupt: Default::default() };
    TrainingRun::new(setup, Scripted { fitness, validated: Cell::new(0) })
}

#[test]
fn a_run_without_progress_ends_when_its_patience_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = run(spec(9, 2), &[0.1, 0.5, 0.4, 0.45, 0.9], folder.path());
    assert_eq!(first.run(&mut Silent).unwrap(), RunEnd::OutOfPatience(0.45));
    assert_eq!(first.progress().best, Some((2, 0.5)));
    let epoch = |path: &Path| WeightsFile::read(path).unwrap().card().unwrap().epoch;
    let files = RunFiles(folder.path());
    assert_eq!((epoch(&files.best()), epoch(&files.last())), (2, 4));
    let mut again = run(spec(9, 2), &[1.0], folder.path());
    again.resume().unwrap();
    assert_eq!(again.run(&mut Silent).unwrap(), RunEnd::NothingLeft, "its patience stays over");
}

#[test]
fn patience_of_zero_never_ends_and_the_last_of_equals_is_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run(spec(5, 0), &[0.3, 0.2, 0.3, 0.1, 0.0], folder.path());
    assert_eq!(run.run(&mut Silent).unwrap(), RunEnd::Finished(0.0));
    assert_eq!(run.progress().best, Some((3, 0.3)));
}
