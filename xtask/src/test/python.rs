//! What needs Python: files that PyTorch and timm write are converted, and the tools load the result and agree.

use anyhow::{Context, Result, ensure};
use effyolo_config::{PublishedWeights, WeightsManifest};
use net_graph::Padding;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use weight_sources::Convention;

/// Weights that are converted for a tool, and what its logits are compared with.
struct RoundTrip {
    source: Source,
    /// Options of `convert-weights`.
    options: &'static [&'static str],
    tool: &'static str,
    /// The tool's name of the model.
    model: &'static str,
    /// File of reference values.
    reference: &'static str,
}

enum Source {
    /// A file of the folder of real weights.
    Real(&'static str),
    /// The reference file's weights by rule, as this format of `save_source.py`.
    Rule(&'static str),
}

const ROUND_TRIPS: [RoundTrip; 6] = [
    RoundTrip {
        source: Source::Real("efficientnet_lite0.safetensors"),
        options: &["--to", "timm"],
        tool: "timm",
        model: "tf_efficientnet_lite0",
        reference: "real_lite0.safetensors",
    },
    RoundTrip {
        source: Source::Rule("torch"),
        options: &["--to", "torchvision"],
        tool: "torchvision",
        model: "efficientnet_b0",
        reference: "effnet_fwd_efficientnet_b0_1x224x224.safetensors",
    },
    RoundTrip {
        source: Source::Rule("torch-legacy"),
        options: &["--variant", "tf_efficientnet_b0", "--to", "lukemelas"],
        tool: "lukemelas",
        model: "efficientnet-b0",
        reference: "effnet_fwd_tf_efficientnet_b0_1x224x224.safetensors",
    },
    RoundTrip {
        source: Source::Rule("onnx"),
        options: &["--variant", "tf_efficientnet_b0"],
        tool: "timm",
        model: "tf_efficientnet_b0",
        reference: "effnet_fwd_tf_efficientnet_b0_1x224x224.safetensors",
    },
    RoundTrip {
        source: Source::Rule("safetensors"),
        options: &["--variant", "efficientnet_b3"],
        tool: "timm",
        model: "efficientnet_b3",
        reference: "effnet_fwd_efficientnet_b3_1x96x96.safetensors",
    },
    RoundTrip {
        source: Source::Rule("torch"),
        options: &[],
        tool: "timm",
        model: "tf_efficientnet_cc_b0_4e",
        reference: "effnet_fwd_tf_efficientnet_cc_b0_4e_2x65x97.safetensors",
    },
];

/// Runs all checks with an interpreter that has the packages of `tests/python/requirements.txt`.
pub(super) fn run(python: &Path) -> Result<()> {
    let checks = Checks { python, folder: tempfile::tempdir()? };
    checks.script("packages.py", &[])?;
    checks.manifest()?;
    ROUND_TRIPS.iter().try_for_each(|trip| checks.round_trip(trip))
}

struct Checks<'a> {
    python: &'a Path,
    folder: tempfile::TempDir,
}

impl Checks<'_> {
    fn command(&self, script: &str, arguments: &[&Path]) -> Command {
        let mut command = Command::new(self.python);
        command.arg(root().join("tests/python").join(script)).args(arguments);
        command
    }

    fn script(&self, script: &str, arguments: &[&Path]) -> Result<()> {
        start(&mut self.command(script, arguments))
    }

    fn round_trip(&self, trip: &RoundTrip) -> Result<()> {
        let source = match trip.source {
            Source::Real(file) => real(file)?,
            Source::Rule(format) => {
                let path = self.folder.path().join("source");
                self.script("save_source.py", &[trip.reference.as_ref(), format.as_ref(), &path])?;
                path
            }
        };
        let converted = self.folder.path().join("converted.safetensors");
        let mut convert = Command::new(std::env::current_exe().context("finding this program")?);
        convert.arg("convert-weights").arg(&source).arg("--out").arg(&converted).args(trip.options);
        // The report names every array.
        start(convert.stdout(Stdio::null()))?;
        let arguments: [&Path; 4] =
            [trip.tool.as_ref(), trip.model.as_ref(), &converted, trip.reference.as_ref()];
        self.script("compare_logits.py", &arguments)
    }

    /// What the list of weights says of each file on the hub is how timm builds and feeds its model.
    fn manifest(&self) -> Result<()> {
        let path = root().join("weights/manifest.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let manifest = WeightsManifest::from_yaml(&text, &path.display().to_string())?;
        let mut command = self.command("manifest.py", &[]);
        let mut child =
            command.stdin(Stdio::piped()).spawn().with_context(|| format!("starting {command:?}"))?;
        let lines: Vec<String> = manifest.0.iter().filter_map(facts).collect();
        child.stdin.take().expect("it was asked for").write_all(lines.join("\n").as_bytes())?;
        ensure!(child.wait()?.success(), "{command:?} failed");
        Ok(())
    }
}

/// A line of the input of `manifest.py`, for weights of timm's on the hub.
fn facts(weights: &PublishedWeights) -> Option<String> {
    let hub = weights.hub.as_ref()?;
    let normalization = Convention::of_config(weights.conventions).normalization;
    let (mean, std) = normalization.mean_std()?;
    let facts = serde_json::json!({
        "name": weights.name,
        "repository": hub.repository,
        "variant": weights.variant,
        "padding": if weights.conventions.padding == Padding::Same { "same" } else { "symmetric" },
        "bn_eps": weights.conventions.bn_eps,
        "mean": mean,
        "std": std,
        "licence": weights.licence.as_ref().map(|licence| licence.to_lowercase()),
        "classes": if weights.what.contains("1000 classes") { 1000 } else { 0 },
    });
    Some(facts.to_string())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn real(file: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("EFFYOLO_WEIGHTS")
        .context("set EFFYOLO_WEIGHTS to the folder of real weights; `effyolo weights fetch efficientnet-lite0` fills it")?;
    let path = Path::new(&folder).join(file);
    ensure!(path.is_file(), "{}: expected real weights", path.display());
    Ok(path)
}

fn start(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
