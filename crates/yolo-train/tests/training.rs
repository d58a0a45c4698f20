//! A whole run on a few generated images.

use box_geometry::{Size, Xyxy};
use cpu_kernels::{Isa, Precision};
use detect_data::{
    DataError, Dataset, Generator, LabelledBox, LoadedImages, RgbImage, Sample, ValidationLoader,
};
use effyolo_config::{Model, ModelSpec, Outputs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use yolo_train::{
    BatchProgress, CpuDetector, DetectionSetup, DetectionTask, ModelCard, Observer, RunEnd, RunFiles,
    RunSetup, Silent, TrainingRun, UntrainedNetwork, WeightsFile, initial_params, nms_options, validate,
    validation_options,
};

const SIDE: usize = 64;
const MODEL: &str = "
task: detect
backbone: {name: efficientnet-lite0, width: 0.5, depth: 0.5}
neck: {scale: n}
classes: 2
train: {epochs: 3, imgsz: 64, batch: 4, nbs: 8, optimizer: AdamW, lr0: 0.003, momentum: 0.9, warmup_epochs: 0,
  ema_tau: 5, rules: current, close_mosaic: 1, workers: 2, seed: 3}
";

/// Bright or dark rectangles on grey, drawn from the image's number.
struct Rectangles {
    names: Vec<String>,
    count: usize,
}

impl Rectangles {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Rectangles { names: vec!["dark".into(), "bright".into()], count })
    }
}

impl Dataset for Rectangles {
    fn len(&self) -> usize {
        self.count
    }

    fn class_names(&self) -> &[String] {
        &self.names
    }

    fn size(&self, index: usize) -> Size {
        Size { height: SIDE - 8 * (index % 3), width: SIDE }
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let mut generator = Generator::for_sample(77, 0, index as u64);
        let mut image = RgbImage::filled(self.size(index), 110);
        let mut boxes = Vec::new();
        for class in 0..2 {
            let (width, height) = (12 + generator.below(16), 12 + generator.below(16));
            let x = generator.below(SIDE - width);
            let y = generator.below(self.size(index).height - height);
            image.paste(&RgbImage::filled(Size { height, width }, [20, 240][class]), x as isize, y as isize);
            let xyxy = Xyxy::new(x as f32, y as f32, (x + width) as f32, (y + height) as f32);
            boxes.push(LabelledBox { class, xyxy });
        }
        Ok(Sample { id: format!("rectangles {index}"), image, boxes })
    }
}

fn spec(settings: &[&str]) -> ModelSpec {
    let mut spec = ModelSpec::from_yaml(MODEL, "tests/training.rs").unwrap();
    spec.set(settings, "tests/training.rs").unwrap();
    spec
}

fn prepared(spec: &ModelSpec, folder: &Path) -> TrainingRun<DetectionTask> {
    interruptible(spec, folder, Arc::default())
}

fn interruptible(spec: &ModelSpec, folder: &Path, interrupt: Arc<AtomicBool>) -> TrainingRun<DetectionTask> {
    let model = spec.build(None).unwrap();
    let Model { graph, outputs: Outputs::Detector(head), backbone_stages: stages, .. } = model else {
        panic!("a detector")
    };
    let data = Rectangles::new(10);
    let setup = DetectionSetup {
        spec: spec.train.clone(),
        network: UntrainedNetwork {
            params: initial_params(&graph, spec.train.seed),
            graph: Arc::new(graph),
            outputs: head,
            stages,
        },
        train: data.clone(),
        val: data.clone(),
        cache_bytes: 1 << 20,
        nms: nms_options(0.001, 0.7, 300, true),
        isa: Isa::best(),
    };
    let run = RunSetup {
        spec: spec.train.clone(),
        card: ModelCard::new(spec.to_yaml(), data.names.clone(), spec.train.image_size),
        folder: folder.to_path_buf(),
        interrupt,
    };
    std::fs::create_dir_all(folder.join("weights")).unwrap();
    TrainingRun::new(run, DetectionTask::new(setup).unwrap())
}

fn last_weights(folder: &Path) -> Vec<u8> {
    std::fs::read(RunFiles(folder).last()).unwrap()
}

/// Columns of `results.csv` by heading.
fn column(folder: &Path, heading: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(RunFiles(folder).results()).unwrap();
    let index = reader.headers().unwrap().iter().position(|name| name == heading).expect("a heading");
    reader.records().map(|row| row.unwrap()[index].parse().unwrap()).collect()
}

#[test]
fn the_loss_falls() {
    assert_loss_falls(spec);
}

#[test]
fn the_loss_of_a_backbone_with_experts_falls() {
    assert_loss_falls(|settings| {
        let text = MODEL.replace("efficientnet-lite0", "efficientnet-cc-b0-4e");
        let mut spec = ModelSpec::from_yaml(&text, "tests/training.rs").unwrap();
        spec.set(settings, "tests/training.rs").unwrap();
        spec
    });
}

fn assert_loss_falls(spec: impl Fn(&[&str]) -> ModelSpec) {
    let folder = tempfile::tempdir().unwrap();
    // The same pictures in every epoch, so that one epoch's loss compares with another's.
    let undistorted = ["mosaic=0", "scale=0", "translate=0", "fliplr=0", "hsv_h=0", "hsv_s=0", "hsv_v=0"];
    let settings = [&["epochs=24", "nbs=4"], &undistorted[..]].concat();
    prepared(&spec(&settings), folder.path()).run(&mut Silent).unwrap();
    // While nothing fits, all terms are divided by the least score sum, 1, and small: they rise before they fall.
    for heading in ["train/box_loss", "train/cls_loss", "train/dfl_loss"] {
        let losses = column(folder.path(), heading);
        assert_eq!(losses.len(), 24);
        let highest = losses.iter().copied().fold(0.0, f64::max);
        assert!(losses[23] < 0.6 * highest, "{heading}: {losses:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for (folder, seed) in folders.iter().zip(["seed=3", "seed=3", "seed=4"]) {
        prepared(&spec(&[seed]), folder.path()).run(&mut Silent).unwrap();
    }
    let [first, second, other] = folders.map(|folder| last_weights(folder.path()));
    assert!(first == second, "two runs of one seed differ");
    assert!(first != other, "two seeds agree");
}

#[test]
fn a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    prepared(&spec(&[]), whole.path()).run(&mut Silent).unwrap();
    prepared(&spec(&[]), parts.path()).run_epoch(&mut Silent).unwrap();
    let mut resumed = prepared(&spec(&[]), parts.path());
    resumed.resume().unwrap();
    resumed.run(&mut Silent).unwrap();
    assert!(last_weights(whole.path()) == last_weights(parts.path()), "the resumed run went another way");
    assert_eq!(column(parts.path(), "epoch"), [1.0, 2.0, 3.0]);
}

/// Interrupts a run after a number of batches.
struct InterruptAfter {
    batches: usize,
    interrupt: Arc<AtomicBool>,
}

impl Observer for InterruptAfter {
    fn batch_done(&mut self, _: &BatchProgress<'_>) {
        self.batches -= 1;
        self.interrupt.store(self.batches == 0, Ordering::Relaxed);
    }
}

#[test]
fn a_run_that_is_interrupted_within_epochs_ends_with_the_same_bits_and_losses() {
    let settings = ["mixup=0.5", "optimizer=RMSProp", "lr0=0.001"];
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    prepared(&spec(&settings), whole.path()).run(&mut Silent).unwrap();
    // Three epochs of three batches: within the first, at the end of the second's training, within the third.
    for batches in [1, 5, 1] {
        let interrupt = Arc::new(AtomicBool::new(false));
        let mut run = interruptible(&spec(&settings), parts.path(), interrupt.clone());
        run.resume().unwrap();
        assert_eq!(run.run(&mut InterruptAfter { batches, interrupt }).unwrap(), RunEnd::Interrupted);
    }
    let mut run = prepared(&spec(&settings), parts.path());
    run.resume().unwrap();
    assert_eq!((run.progress().epoch, run.progress().running.batches), (2, 1));
    run.run(&mut Silent).unwrap();
    assert!(last_weights(whole.path()) == last_weights(parts.path()), "the resumed run went another way");
    for heading in ["epoch", "train/box_loss", "train/cls_loss", "metrics/mAP50-95(B)", "val/dfl_loss"] {
        assert_eq!(column(whole.path(), heading), column(parts.path(), heading), "{heading}");
    }
}

#[test]
fn a_rehearsal_changes_nothing() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (folder, rehearsed) in folders.iter().zip([true, false]) {
        let mut run = prepared(&spec(&["epochs=1"]), folder.path());
        if rehearsed {
            let rehearsal = run.rehearse().unwrap();
            assert!(rehearsal.bytes > 1 << 20 && rehearsal.step.as_nanos() > 0, "{rehearsal:?}");
        }
        run.run(&mut Silent).unwrap();
    }
    assert!(last_weights(folders[0].path()) == last_weights(folders[1].path()));
}

#[test]
fn weights_validate_as_the_run_said() {
    let folder = tempfile::tempdir().unwrap();
    let RunEnd::Finished(said) = prepared(&spec(&["epochs=6"]), folder.path()).run(&mut Silent).unwrap()
    else {
        panic!("an end")
    };
    let file = WeightsFile::read(&RunFiles(folder.path()).last()).unwrap();
    let card = file.card().unwrap();
    let spec = ModelSpec::from_yaml(&card.model, "the card").unwrap();
    let Model { graph, outputs: Outputs::Detector(head), .. } = spec.build(None).unwrap() else {
        panic!("a detector")
    };
    let mut params = initial_params(&graph, 99);
    file.load_all(&mut params).unwrap();
    let mut detector =
        CpuDetector::new(Arc::new(graph), head, &params, false, Isa::best(), Precision::F32).unwrap();
    let images = Arc::new(LoadedImages::new(Rectangles::new(10), card.image_size, 0).unwrap());
    let loader = ValidationLoader::new(images, validation_options(4, detector.max_stride(), 1)).unwrap();
    let found =
        validate(&mut detector, &loader, &nms_options(0.001, 0.7, 300, true), None, &mut Silent).unwrap();
    assert_eq!((&found.coco, &found.current, &found.classic), (&said.coco, &said.current, &said.classic));
    assert_eq!((found.images, found.instances), (10, 20));
}

#[test]
fn frozen_stages_stay_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(&["epochs=1", "freeze=2", "nbs=4"]);
    let start = initial_params(&spec.build(None).unwrap().graph, spec.train.seed);
    prepared(&spec, folder.path()).run(&mut Silent).unwrap();
    let file = WeightsFile::read(&RunFiles(folder.path()).last()).unwrap();
    let is_frozen = |name: &str| {
        ["conv_stem", "bn1", "blocks.0"].iter().any(|part| name.starts_with(&format!("backbone.{part}.")))
    };
    for (name, tensor) in &file.tensors {
        let is_same = tensor.values == start.get(name).unwrap();
        let moves = !name.contains("dfl");
        assert!(is_same == is_frozen(name) || (!moves && is_same), "{name}: same {is_same}");
    }
}

/// Values of the last weights and those that a run began with, by name.
fn before_and_after(spec: &ModelSpec, folder: &Path) -> Vec<(String, Vec<f32>, Vec<f32>)> {
    let start = initial_params(&spec.build(None).unwrap().graph, spec.train.seed);
    let file = WeightsFile::read(&RunFiles(folder).last()).unwrap();
    file.tensors
        .into_iter()
        .map(|(name, tensor)| {
            let before = start.get(&name).unwrap().to_vec();
            (name, before, tensor.values)
        })
        .collect()
}

#[test]
fn stages_begin_to_learn_from_the_top_and_a_frozen_one_keeps_its_statistics() {
    // The first epoch is for neck and head, the second for the last stage too, the third would be for the one before.
    let last = ["backbone.blocks.6."];
    let two = ["backbone.blocks.6.", "backbone.blocks.5."];
    for (epochs, freeze, learns) in
        [("epochs=1", 0, &[][..]), ("epochs=2", 0, &last), ("epochs=3", 0, &two), ("epochs=3", 7, &last)]
    {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(&[epochs, "unfreeze_every=1", "nbs=4", &format!("freeze={freeze}")]);
        prepared(&spec, folder.path()).run(&mut Silent).unwrap();
        for (name, before, after) in before_and_after(&spec, folder.path()) {
            let is_frozen =
                name.starts_with("backbone.") && !learns.iter().any(|stage| name.starts_with(stage));
            let moves = !name.contains("dfl");
            let is_same = before == after;
            assert!(
                is_same == is_frozen || (!moves && is_same),
                "{epochs}, freeze {freeze}, {name}: {is_same}"
            );
        }
    }
}

#[test]
fn a_run_that_is_interrupted_while_stages_are_unfrozen_ends_with_the_same_bits() {
    for optimizer in ["optimizer=AdamW", "optimizer=SGD"] {
        let settings = ["epochs=4", "unfreeze_every=1", "freeze=6", "layer_decay=0.75", optimizer];
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        prepared(&spec(&settings), whole.path()).run(&mut Silent).unwrap();
        // Three batches an epoch, and a step after two: at the end of the first epoch, and within the second.
        for batches in [3, 1] {
            let interrupt = Arc::new(AtomicBool::new(false));
            let mut run = interruptible(&spec(&settings), parts.path(), interrupt.clone());
            run.resume().unwrap();
            run.rehearse().unwrap();
            assert_eq!(run.run(&mut InterruptAfter { batches, interrupt }).unwrap(), RunEnd::Interrupted);
        }
        let mut run = prepared(&spec(&settings), parts.path());
        run.resume().unwrap();
        run.run(&mut Silent).unwrap();
        assert!(last_weights(whole.path()) == last_weights(parts.path()), "{optimizer}");
    }
}

#[test]
fn each_stage_steps_by_its_share_of_the_learning_rate() {
    for optimizer in ["SGD", "AdamW", "RMSProp", "RMSPropTorch"] {
        // One step from the sum of all batches.
        let settings =
            [&*format!("optimizer={optimizer}"), "epochs=1", "nbs=12", "weight_decay=0", "lr0=0.1"];
        let [plain, decayed] = ["layer_decay=1", "layer_decay=0.5"].map(|decay| {
            let folder = tempfile::tempdir().unwrap();
            let spec = spec(&[&settings[..], &[decay]].concat());
            prepared(&spec, folder.path()).run(&mut Silent).unwrap();
            before_and_after(&spec, folder.path())
        });
        for (name, share) in [
            ("head.cv3.0.2.bias", 1.0),
            ("backbone.blocks.6.0.bn1.bias", 0.5),
            ("backbone.blocks.0.0.bn1.bias", 0.0078125),
            ("backbone.bn1.bias", 0.00390625),
        ] {
            let moved = |values: &[(String, Vec<f32>, Vec<f32>)]| -> Vec<f64> {
                let (_, before, after) = values.iter().find(|(other, ..)| other == name).expect(name);
                before.iter().zip(after).map(|(before, after)| (after - before) as f64).collect()
            };
            let (whole, part) = (moved(&plain), moved(&decayed));
            let dot: f64 = whole.iter().zip(&part).map(|(a, b)| a * b).sum();
            let got = dot / whole.iter().map(|a| a * a).sum::<f64>();
            assert!((got / share - 1.0).abs() < 1e-3, "{optimizer}, {name}: {got}, expected {share}");
        }
    }
}
