//! `cargo xtask convert-weights`: EfficientNet weights of other frameworks as safetensors with timm's names.

mod convention;
mod manifest;
mod report;
mod verify;

use anyhow::{Context, Result, ensure};
use effnet_backbone::Naming;
use net_formats::{Archive, Averages, Normalization, PaddingMode, WeightsInfo};
use report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weight_sources::{Matched, Names, Variant, Wanted};

/// Options of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// PyTorch .pth/.pt, safetensors, TensorFlow checkpoint (its prefix, .index file or folder), Keras .h5 or ONNX;
    /// told apart by content
    source: PathBuf,
    /// The safetensors file to write
    #[arg(long)]
    out: PathBuf,
    /// Variant, where it is not to be found out: b0 .. b8, l2, lite0 .. lite4, cc-b0-4e, or timm's full name, which also says how
    /// the weights pad (tf_efficientnet_b0, efficientnet_b0)
    #[arg(long)]
    variant: Option<String>,
    /// Width multiplier of a network that is none of the published ones, applied to the baseline of --variant
    #[arg(long, requires = "depth", requires = "variant")]
    width: Option<f64>,
    /// Depth multiplier, with --width
    #[arg(long, requires = "width")]
    depth: Option<f64>,
    /// Names of the output
    #[arg(long, value_enum, default_value_t = Target::Timm)]
    to: Target,
    /// Takes the weights as trained and not their moving average
    #[arg(long)]
    raw: bool,
    /// The source may lack head convolution and classifier
    #[arg(long)]
    headless: bool,
    /// What stands before the names, where a file holds several networks
    #[arg(long)]
    prefix: Option<String>,
    /// How the weights were trained to pad: same, symmetric
    #[arg(long)]
    padding: Option<PaddingMode>,
    /// Epsilon of the batch norms that the weights were trained with
    #[arg(long)]
    bn_eps: Option<f64>,
    /// Input normalisation that the weights were trained with: none, imagenet, lite, lite-tensorflow
    #[arg(long)]
    normalize: Option<Normalization>,
    /// Runs the result on an image (a synthetic one without a path) and prints the five best classes
    #[arg(long, value_name = "IMAGE", num_args = 0..=1)]
    verify: Option<Option<PathBuf>>,
    /// Writes the report as JSON; `-` prints it as one line on standard output
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Names that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    Timm,
    Torchvision,
    Lukemelas,
}

impl Target {
    fn naming(self) -> Naming {
        match self {
            Target::Timm => Naming::Timm,
            Target::Torchvision => Naming::Torchvision,
            Target::Lukemelas => Naming::Lukemelas,
        }
    }
}

/// Converts and reports; failure where a parameter is missing or of other dimensions, and then nothing is written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let averages = if arguments.raw { Averages::Ignore } else { Averages::Prefer };
    let archive = net_formats::load(&arguments.source, averages)?;
    let wanted = wanted(arguments, &archive)?;
    let source = || arguments.source.display().to_string();
    let matched = weight_sources::find(&archive, &wanted).with_context(source)?;
    let convention = convention::find(arguments, &archive, &matched).with_context(source)?;
    let info = matched.info(&convention);
    let mut report = Report::new(&arguments.source, &archive, &matched, &info);
    report.assumed = convention.assumed;
    if report.is_complete() {
        produce(arguments, &matched, &info, &mut report)?;
    }
    print(arguments, &report)?;
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Verifies, writes, and notes in the report what was written.
fn produce(
    arguments: &Arguments,
    matched: &Matched<'_>,
    info: &WeightsInfo,
    report: &mut Report,
) -> Result<()> {
    convention::check_target(arguments.to, info, &matched.variant)?;
    if let Some(image) = &arguments.verify {
        let is_classifier = matched.variant.spec().is_some();
        require(is_classifier, || {
            "--verify: runs classifiers; check a detector with `effyolo predict`".into()
        })?;
        report.verified = Some(verify::run(matched, info, image.as_deref())?);
    }
    let names = written_names(arguments, matched);
    matched.write(&arguments.out, names, info)?;
    report.written_names = names.name();
    report.out = Some(arguments.out.display().to_string());
    let out = || arguments.out.display().to_string();
    report.sha256 = Some(weight_sources::sha256(&arguments.out).with_context(out)?);
    manifest::note(&arguments.out, report)
}

/// The variant is the user's, or that of a detector of ours; otherwise shapes tell.
fn wanted(arguments: &Arguments, archive: &Archive) -> Result<Wanted> {
    let multipliers = arguments.width.zip(arguments.depth);
    let variant = match &arguments.variant {
        Some(name) => Some(Variant::named(name, multipliers)?),
        None => weight_sources::trained_backbone(archive)?.map(|backbone| Variant::of_backbone(&backbone)),
    };
    Ok(Wanted { variant, also: Vec::new(), prefix: arguments.prefix.clone(), headless: arguments.headless })
}

fn written_names(arguments: &Arguments, matched: &Matched<'_>) -> Names {
    match matched.names {
        Names::EfficientNet(_) => Names::EfficientNet(arguments.to.naming()),
        Names::Ultralytics => Names::Ultralytics,
    }
}

fn print(arguments: &Arguments, report: &Report) -> Result<()> {
    let Some(path) = &arguments.json else {
        print!("{report}");
        return Ok(());
    };
    let json = serde_json::to_string(report)?;
    if path == Path::new("-") {
        eprint!("{report}");
        println!("{json}");
    } else {
        print!("{report}");
        std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Fails with what the caller has to say.
fn require(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    ensure!(holds, "{}", message());
    Ok(())
}
