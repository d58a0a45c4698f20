//! `effyolo train`: from a configuration and a data set to weights.

mod classification;
mod detection;
mod estimate;
mod pretrained;

use crate::interrupt;
use crate::output;
use crate::progress::TrainingProgress;
use crate::weights_folder;
use anyhow::{Context, Result, bail, ensure};
use effyolo_config::{Model, ModelSpec, Outputs, Task as ModelTask};
use net_cpu::Params;
use pretrained::Pretrained;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yolo_train::{
    LoadReport, ModelCard, Progress, RunEnd, RunFiles, RunSetup, Task, TrainingRun, UntrainedNetwork,
    initial_params, new_run_folder, write_atomically,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to train; the model configuration says it too, and the two must agree.
    #[arg(long, value_enum)]
    task: Option<TaskName>,
    /// Model configuration.
    #[arg(long, required_unless_present = "resume")]
    model: Option<PathBuf>,
    /// Data file in Ultralytics' form, or a COCO instances file (.json); to classify, a folder with train/CLASS/ and val/CLASS/.
    #[arg(long, required_unless_present = "resume")]
    data: Option<PathBuf>,
    /// Weights to start from: those of an earlier run, or of another framework (PyTorch, safetensors, TensorFlow, Keras,
    /// ONNX) for this backbone; or a name of `effyolo weights list` that was fetched.
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
    /// YAML map of training settings, such as a file of configs/train/; the flags and --set win over it.
    #[arg(long = "settings", value_name = "FILE")]
    recipe: Option<PathBuf>,
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
    #[arg(long, value_name = "RUN", conflicts_with_all = ["task", "model", "data", "weights", "epochs", "imgsz", "batch", "seed", "recipe", "settings"])]
    resume: Option<PathBuf>,
    /// Write what came out as one JSON object to this file (`-`: one line on standard output).
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What a network is trained for.
#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum TaskName {
    /// Find objects.
    Detect,
    /// Tell what an image shows.
    Classify,
}

/// What `args.yaml` keeps; JSON, which is YAML too.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunArguments {
    version: String,
    model: PathBuf,
    data: PathBuf,
    weights: Option<PathBuf>,
    /// File of training settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipe: Option<PathBuf>,
    settings: Vec<String>,
    /// A licence that comes with the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notice: Option<String>,
}

/// What is to be trained.
pub(crate) struct Plan {
    asked: RunArguments,
    spec: ModelSpec,
    /// What training starts from; `None` for a run that goes on.
    pretrained: Option<Pretrained>,
    /// A licence that comes with the weights.
    notice: Option<String>,
    /// Where a new run's folder goes, and its name.
    place: (PathBuf, String),
    /// Folder of the run that goes on.
    resumed: Option<PathBuf>,
    json: Option<PathBuf>,
    /// Everything of the data that was left out, a line each.
    left_out: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let plan = match (&arguments.resume, &arguments.model, &arguments.data) {
        (Some(folder), ..) => resumed(folder, arguments)?,
        (None, Some(model), Some(data)) => started(arguments, model, data)?,
        _ => bail!("expected --model and --data, or --resume"),
    };
    train(plan)
}

fn train(plan: Plan) -> Result<()> {
    match plan.spec.task {
        ModelTask::Detect { .. } => detection::train(plan),
        ModelTask::Classify => classification::train(plan),
    }
}

/// A new run as other commands start it.
pub(crate) fn train_new(
    spec: ModelSpec,
    model: &Path,
    data: &Path,
    project: &Path,
    name: &str,
) -> Result<()> {
    let asked = RunArguments {
        version: env!("CARGO_PKG_VERSION").into(),
        model: absolute(model)?,
        data: absolute(data)?,
        weights: None,
        recipe: None,
        settings: Vec::new(),
        notice: None,
    };
    let place = (project.into(), name.into());
    train(Plan {
        asked,
        spec,
        pretrained: None,
        notice: None,
        place,
        resumed: None,
        json: None,
        left_out: Vec::new(),
    })
}

/// A new run.
fn started(arguments: &Arguments, model: &Path, data: &Path) -> Result<Plan> {
    let mut spec = ModelSpec::load(model)?;
    if let Some(recipe) = &arguments.recipe {
        spec.apply_file(recipe)?;
    }
    let settings = settings(arguments);
    spec.set(&settings, "command line")?;
    let task = match spec.task {
        ModelTask::Detect { .. } => TaskName::Detect,
        ModelTask::Classify => TaskName::Classify,
    };
    if let Some(asked) = arguments.task {
        ensure!(asked == task, "{}: expected a model for --task {asked:?}, got {task:?}", model.display());
    }
    spec.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let weights = arguments.weights.as_deref().map(weights_folder::resolve).transpose()?;
    let asked = RunArguments {
        version: env!("CARGO_PKG_VERSION").into(),
        model: absolute(model)?,
        data: absolute(data)?,
        weights: weights.as_deref().map(absolute).transpose()?,
        recipe: arguments.recipe.as_deref().map(absolute).transpose()?,
        settings,
        notice: None,
    };
    let pretrained = weights.as_deref().map(|path| Pretrained::read(path, &spec)).transpose()?;
    if let Some(pretrained) = &pretrained {
        pretrained.prepare(&mut spec, model)?;
    }
    let notice = pretrained.as_ref().and_then(|pretrained| pretrained.notice.clone());
    if let Some(notice) = &notice {
        eprintln!("licence: {notice}");
    }
    let asked = RunArguments { notice: notice.clone(), ..asked };
    let place = (arguments.project.clone(), arguments.name.clone());
    Ok(Plan {
        asked,
        spec,
        pretrained,
        notice,
        place,
        resumed: None,
        json: arguments.json.clone(),
        left_out: Vec::new(),
    })
}

/// A run that was begun before.
fn resumed(folder: &Path, arguments: &Arguments) -> Result<Plan> {
    let path = folder.join("args.yaml");
    let asked: RunArguments = serde_json::from_slice(&yolo_train::read(&path)?)
        .with_context(|| format!("{}: expected the arguments of a run", path.display()))?;
    let spec = ModelSpec::load(&folder.join("model.yaml"))?;
    let notice = asked.notice.clone();
    let pretrained = match RunFiles(folder).state().exists() {
        true => None, // The state replaces all values.
        false => asked.weights.as_deref().map(|path| Pretrained::read(path, &spec)).transpose()?,
    };
    let place = (arguments.project.clone(), arguments.name.clone());
    Ok(Plan {
        asked,
        spec,
        pretrained,
        notice,
        place,
        resumed: Some(folder.to_path_buf()),
        json: arguments.json.clone(),
        left_out: Vec::new(),
    })
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

impl Plan {
    /// The run's folder; a new one holds what it was asked to do.
    fn folder(&self) -> Result<PathBuf> {
        let (project, name) = &self.place;
        match &self.resumed {
            Some(folder) => Ok(folder.clone()),
            None => new_run_folder(project, name, |folder| self.describe(folder)),
        }
    }

    fn describe(&self, folder: &Path) -> Result<()> {
        let weights = folder.join("weights");
        std::fs::create_dir(&weights).with_context(|| format!("making the folder {}", weights.display()))?;
        let asked = format!("{}\n", serde_json::to_string_pretty(&self.asked)?);
        if !self.left_out.is_empty() {
            let lines = format!("{}\n", self.left_out.join("\n"));
            write_atomically(&folder.join("left-out.txt"), lines.as_bytes())?;
        }
        write_atomically(&folder.join("args.yaml"), asked.as_bytes())?;
        Ok(write_atomically(&folder.join("model.yaml"), self.spec.to_yaml().as_bytes())?)
    }

    /// The network before its first step; `outputs` takes what the task needs of what the network computes.
    fn untrained<O>(&self, outputs: impl FnOnce(Outputs) -> Option<O>) -> Result<UntrainedNetwork<O>> {
        let model = self.spec.build(None)?;
        let params = self.first_values(&model)?;
        let outputs =
            outputs(model.outputs).context("expected a network for the task of its configuration")?;
        let stages = model.backbone_stages;
        Ok(UntrainedNetwork { graph: Arc::new(model.graph), outputs, params, stages })
    }

    /// The network's values before the first step; what does not fit the weights that were asked for is said.
    fn first_values(&self, model: &Model) -> Result<Params> {
        let mut params = initial_params(&model.graph, self.spec.train.seed);
        let Some(Pretrained { file, .. }) = &self.pretrained else { return Ok(params) };
        let is_backbone = |name: &str| model.backbone_stage(name).is_some();
        let LoadReport { loaded, missing, unexpected, misshaped } =
            file.load_pretrained(&mut params, is_backbone)?;
        let random = missing.len() + misshaped.len();
        eprintln!("{}: {} parameters loaded, {random} start at random", file.origin, loaded.len());
        if !unexpected.is_empty() {
            eprintln!("  not used, since this model has no such layers: {}", unexpected.join(", "));
        }
        for (name, expected, got) in misshaped {
            eprintln!("  not used: `{name}`: expected {expected:?}, got {got:?}");
        }
        Ok(params)
    }
}

/// How a run that ended left its folder.
struct Ended<V> {
    folder: PathBuf,
    validation: Option<V>,
}

/// Runs a task to its end. When it is interrupted the program ends here, with the status that says so.
fn run_task<T: Task>(plan: &Plan, task: T, names: &[String]) -> Result<Ended<T::Validation>> {
    let folder = plan.folder()?;
    let spec = &plan.spec.train;
    let setup = RunSetup {
        spec: spec.clone(),
        card: ModelCard {
            notice: plan.notice.clone(),
            ..ModelCard::new(plan.spec.to_yaml(), names.to_vec(), spec.image_size)
        },
        folder: folder.clone(),
        interrupt: interrupt::flag()?,
    };
    let mut run = TrainingRun::new(setup, task);
    if plan.resumed.is_some() {
        run.resume()?;
    }
    eprintln!("run: {0} (to go on after an interruption: effyolo train --resume {0})", folder.display());
    if !run.is_over() {
        estimate::say(&run.rehearse()?, &run, spec);
    }
    let end = run.run(&mut TrainingProgress::new(spec.epochs))?;
    let (progress, files) = (run.progress().clone(), RunFiles(&folder));
    crate::curves::save(&folder.join("results.svg"), &progress.rows)?;
    if let RunEnd::Interrupted = end {
        say_interrupted(&progress, run.batches(), &folder);
        std::process::exit(interrupt::EXIT_STATUS);
    }
    let validation = last_validation(end, &progress, spec.patience);
    if let Some(target) = &plan.json {
        output::write_json(target, &Report::new(plan, &progress, files))?;
    }
    Ok(Ended { folder, validation })
}

fn say_interrupted(progress: &Progress, batches: usize, folder: &Path) {
    let (epoch, done) = (progress.epoch + 1, progress.running.batches);
    eprintln!("interrupted in epoch {epoch} after {done} of {batches} batches; the state is saved");
    eprintln!("to go on: effyolo train --resume {}", folder.display());
}

/// The last validation, if this call made one; why the run ended is said where it is no matter of course.
fn last_validation<V>(end: RunEnd<V>, progress: &Progress, patience: usize) -> Option<V> {
    match end {
        RunEnd::Finished(validation) => Some(validation),
        RunEnd::OutOfPatience(validation) => {
            let best = progress.best.map_or(0, |(epoch, _)| epoch);
            println!("no better epoch than {best} for {patience} epochs: stopped");
            Some(validation)
        }
        RunEnd::NothingLeft => {
            println!("nothing left to do: all {} epochs are done", progress.epoch);
            None
        }
        RunEnd::Interrupted => None,
    }
}

/// What `train --json` writes.
#[derive(Serialize)]
struct Report {
    task: &'static str,
    epochs: usize,
    best_epoch: Option<usize>,
    seconds: f64,
    run: PathBuf,
    weights: PathBuf,
    best_weights: PathBuf,
    #[serde(flatten)]
    metrics: serde_json::Map<String, serde_json::Value>,
}

/// Headings of `results.csv` and what they are called in JSON.
const METRICS: [(&str, &str); 6] = [
    ("metrics/precision(B)", "precision"),
    ("metrics/recall(B)", "recall"),
    ("metrics/mAP50(B)", "map50"),
    ("metrics/mAP50-95(B)", "map50_95"),
    ("metrics/accuracy_top1", "top1"),
    ("metrics/accuracy_top5", "top5"),
];

impl Report {
    fn new(plan: &Plan, progress: &Progress, files: RunFiles<'_>) -> Self {
        let last = progress.rows.last();
        let metric = |(heading, name): &(&str, &str)| Some((name.to_string(), last?.get(heading)?.into()));
        Report {
            task: match plan.spec.task {
                ModelTask::Detect { .. } => "detect",
                ModelTask::Classify => "classify",
            },
            epochs: progress.epoch,
            best_epoch: progress.best.map(|(epoch, _)| epoch),
            seconds: last.map_or(0.0, |row| row.time),
            run: files.0.to_path_buf(),
            weights: files.last(),
            best_weights: files.best(),
            metrics: METRICS.iter().filter_map(metric).collect(),
        }
    }
}
