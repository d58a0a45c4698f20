//! `effyolo train`: from a configuration and a data set to weights.

use crate::data::{CACHE_BYTES, open_split};
use crate::network;
use crate::pictures::save_comparisons;
use crate::progress::TrainingProgress;
use crate::report;
use anyhow::{Context, Result, bail};
use effyolo_config::{DataSpec, Model, ModelSpec, Outputs};
use net_cpu::{Isa, Params};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yolo_train::{
    LoadReport, ModelCard, RunFiles, RunSetup, TrainingRun, UntrainedNetwork, WeightsFile, initial_params,
    new_run_folder, nms_options, write_atomically,
};

/// Validation during training: confidence, IoU of the suppression, detections of an image.
const VALIDATION: (f32, f32, usize) = (0.001, 0.7, 300);
/// Score above which a detection is drawn.
const DRAWN: f32 = 0.25;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Model configuration.
    #[arg(long, required_unless_present = "resume")]
    model: Option<PathBuf>,
    /// Data file in Ultralytics' form.
    #[arg(long, required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Weights to start from: those of an earlier run, or of a backbone under timm's names.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Passes over the training images.
    #[arg(long)]
    epochs: Option<usize>,
    /// Side of the training images in pixels.
    #[arg(long)]
    imgsz: Option<usize>,
    /// Images a batch.
    #[arg(long)]
    batch: Option<usize>,
    /// Seed of all random choices.
    #[arg(long)]
    seed: Option<u64>,
    /// Another training setting, such as lr0=0.001; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Folder of runs.
    #[arg(long, default_value = "runs")]
    project: PathBuf,
    /// Name of the run's folder; a number is added where it is taken.
    #[arg(long, default_value = "exp")]
    name: String,
    /// Go on with the run in this folder, with its own settings.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "data", "weights", "epochs", "imgsz", "batch", "seed", "settings"])]
    resume: Option<PathBuf>,
}

/// What `args.yaml` keeps; JSON, which is YAML too.
#[derive(Debug, Serialize, Deserialize)]
struct RunArguments {
    version: String,
    model: PathBuf,
    data: PathBuf,
    weights: Option<PathBuf>,
    settings: Vec<String>,
}

/// What is to be trained.
struct Plan {
    asked: RunArguments,
    spec: ModelSpec,
    data: DataSpec,
    /// Folder of the run that goes on.
    resumed: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let plan = match (&arguments.resume, &arguments.model, &arguments.data) {
        (Some(folder), ..) => resumed(folder)?,
        (None, Some(model), Some(data)) => started(arguments, model, data)?,
        _ => bail!("expected --model and --data, or --resume"),
    };
    let (names, size, epochs) = (&plan.data.names, plan.spec.train.image_size, plan.spec.train.epochs);
    let (train, val) = (Arc::new(open_split(&plan.data, "train")?), Arc::new(open_split(&plan.data, "val")?));
    let network = untrained(&plan)?;
    let folder = match &plan.resumed {
        Some(folder) => folder.clone(),
        None => new_folder(arguments, &plan)?,
    };
    let (confidence, iou, max_detections) = VALIDATION;
    let mut run = TrainingRun::new(RunSetup {
        spec: plan.spec.train.clone(),
        network,
        train,
        val: val.clone(),
        cache_bytes: CACHE_BYTES,
        nms: nms_options(confidence, iou, max_detections, true),
        card: ModelCard::new(plan.spec.to_yaml(), names.clone(), size),
        folder: folder.clone(),
        isa: Isa::best(),
    })?;
    if plan.resumed.is_some() {
        run.resume()?;
    }
    eprintln!("run: {0} (to go on after an interruption: effyolo train --resume {0})", folder.display());
    match run.run(&mut TrainingProgress::new(epochs))? {
        Some(validation) => report::print_table(&validation, names),
        None => println!("nothing left to do: all {epochs} epochs are done"),
    }
    let files = RunFiles(&folder);
    let drawn = nms_options(DRAWN, iou, max_detections, false);
    let mut detector = network::load_trained(&files.best())?.detector;
    save_comparisons(&folder.join("pictures"), val.as_ref(), &mut detector, size, &drawn)?;
    println!("weights: {} (best), {} (last)", files.best().display(), files.last().display());
    Ok(())
}

/// A new run.
fn started(arguments: &Arguments, model: &Path, data: &Path) -> Result<Plan> {
    let mut spec = ModelSpec::load(model)?;
    let settings = settings(arguments);
    spec.set(&settings, "command line")?;
    let data_spec = DataSpec::load(data)?;
    spec.classes = data_spec.names.len();
    spec.notes.iter().chain(&data_spec.notes).for_each(|note| eprintln!("note: {note}"));
    let asked = RunArguments {
        version: env!("CARGO_PKG_VERSION").into(),
        model: absolute(model)?,
        data: absolute(data)?,
        weights: arguments.weights.as_deref().map(absolute).transpose()?,
        settings,
    };
    Ok(Plan { asked, spec, data: data_spec, resumed: None })
}

/// A run that was begun before.
fn resumed(folder: &Path) -> Result<Plan> {
    let path = folder.join("args.yaml");
    let asked: RunArguments = serde_json::from_slice(&yolo_train::read(&path)?)
        .with_context(|| format!("{}: expected the arguments of a run", path.display()))?;
    let spec = ModelSpec::load(&folder.join("model.yaml"))?;
    let data = DataSpec::load(&asked.data)?;
    Ok(Plan { asked, spec, data, resumed: Some(folder.to_path_buf()) })
}

/// Makes the folder of a new run, with what it was asked to do.
fn new_folder(arguments: &Arguments, plan: &Plan) -> Result<PathBuf> {
    let folder = new_run_folder(&arguments.project, &arguments.name)?;
    let weights = folder.join("weights");
    std::fs::create_dir(&weights).with_context(|| format!("making the folder {}", weights.display()))?;
    let asked = format!("{}\n", serde_json::to_string_pretty(&plan.asked)?);
    write_atomically(&folder.join("args.yaml"), asked.as_bytes())?;
    write_atomically(&folder.join("model.yaml"), plan.spec.to_yaml().as_bytes())?;
    Ok(folder)
}

/// The flags and `--set` in the form that the configuration takes; later ones win.
fn settings(arguments: &Arguments) -> Vec<String> {
    let Arguments { epochs, imgsz, batch, seed, settings, .. } = arguments;
    let flags = [("epochs", *epochs), ("imgsz", *imgsz), ("batch", *batch)];
    let flags = flags.into_iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}")));
    flags.chain(seed.map(|seed| format!("seed={seed}"))).chain(settings.iter().cloned()).collect()
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
}

/// The network before its first step, with pretrained weights where some were asked for.
fn untrained(plan: &Plan) -> Result<UntrainedNetwork> {
    let spec = &plan.spec;
    let model = spec.build(None)?;
    let frozen = model.backbone_stages.iter().take(spec.train.freeze_stages).flatten().cloned().collect();
    let Model { graph, outputs, .. } = model;
    let Outputs::Detector(head) = outputs else {
        bail!("expected a configuration with `task: detect`, got a classifier")
    };
    let mut params = initial_params(&graph, spec.train.seed);
    // The state of a resumed run replaces all values.
    if let (Some(path), None) = (&plan.asked.weights, &plan.resumed) {
        load_pretrained(path, &mut params)?;
    }
    Ok(UntrainedNetwork { graph: Arc::new(graph), head, params, frozen })
}

/// Loads what fits, and says what does not.
fn load_pretrained(path: &Path, params: &mut Params) -> Result<()> {
    let LoadReport { loaded, missing, unexpected, misshaped } =
        WeightsFile::read(path)?.load_pretrained(params)?;
    let random = missing.len() + misshaped.len();
    eprintln!("{}: {} parameters loaded, {random} start at random", path.display(), loaded.len());
    if !unexpected.is_empty() {
        eprintln!("  not used, since this model has no such layers: {}", unexpected.join(", "));
    }
    for (name, expected, got) in misshaped {
        eprintln!("  not used: `{name}`: expected {expected:?}, got {got:?}");
    }
    Ok(())
}
