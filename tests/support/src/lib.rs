//! Reference values and comparisons for tests.
//!
//! The numeric files lie in `tests/golden`, each listed in `manifest.json` with its kind and tolerance; tests find their
//! cases there by kind. The variable `EFFYOLO_GOLDEN` names another folder of the same form.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The folder of reference values.
pub fn golden_dir() -> PathBuf {
    match std::env::var_os("EFFYOLO_GOLDEN") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden"),
    }
}

/// The folder of real pretrained weights (`EFFYOLO_WEIGHTS`), which are too large for the repository. Where it is not
/// set this says loudly that `test` did not run.
pub fn weights_dir(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("EFFYOLO_WEIGHTS").map(PathBuf::from);
    if dir.is_none() {
        eprintln!(
            "\n*** NOT RUN: {test} needs real weights; set EFFYOLO_WEIGHTS to the folder that holds them ***\n"
        );
    }
    dir
}

/// One file of the manifest.
#[derive(Debug, Clone)]
pub struct Entry {
    /// File name, relative to the folder.
    pub file: String,
    /// What it is, in words; generated, so that a test may read the case from it.
    pub what: String,
    /// Prefix of the weight rule.
    pub prefix: String,
    /// Tolerances, as in the manifest.
    pub tolerance: Value,
    /// Settings of the case, as in the manifest.
    pub meta: Value,
}

/// All entries of a kind.
///
/// # Panics
/// When the committed folder has none: a test that finds no case must not pass.
pub fn entries(kind: &str) -> Vec<Entry> {
    let path = golden_dir().join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let manifest: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let all = manifest["entries"].as_array().expect("manifest.json has a list `entries`");
    let found: Vec<Entry> = all.iter().filter(|entry| entry["kind"] == kind).map(Entry::from_json).collect();
    if found.is_empty() {
        let other_folder = std::env::var_os("EFFYOLO_GOLDEN").is_some();
        assert!(other_folder, "{}: no entry of kind `{kind}`", path.display());
        eprintln!("\n*** NOT RUN: {} has no case of kind `{kind}` ***\n", path.display());
    }
    found
}

impl Entry {
    fn from_json(entry: &Value) -> Self {
        Entry {
            file: entry["file"].as_str().expect("`file` is a string").to_string(),
            what: entry["what"].as_str().unwrap_or("").to_string(),
            prefix: entry["prefix"].as_str().unwrap_or("").to_string(),
            tolerance: entry["tolerance"].clone(),
            meta: entry["meta"].clone(),
        }
    }

    /// Path of the file.
    pub fn path(&self) -> PathBuf {
        golden_dir().join(&self.file)
    }

    /// The file's tensors.
    pub fn tensors(&self) -> Tensors {
        Tensors::read(&self.path())
    }

    /// The file as JSON.
    pub fn json(&self) -> Value {
        let text = std::fs::read_to_string(self.path()).unwrap_or_else(|e| panic!("{}: {e}", self.file));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", self.file))
    }

    /// A tolerance by the names that lead to it in the manifest.
    pub fn tolerance(&self, keys: &[&str]) -> f64 {
        let value = keys.iter().fold(&self.tolerance, |value, key| &value[*key]);
        value.as_f64().unwrap_or_else(|| panic!("{}: no tolerance {keys:?} in {}", self.file, self.tolerance))
    }

    /// A value of every parameter of a model, by the weight rule of `tests/golden/README.md` with the entry's prefix
    /// and gain.
    pub fn rule_weight(&self, name: &str, dims: &[usize]) -> Vec<f32> {
        rule_weight(&self.prefix, self.meta["gain"].as_f64().expect("`meta.gain`"), name, dims)
    }

    /// The rule's input tensor of `len` values in `lo .. hi`.
    pub fn rule_input(&self, len: usize, lo: f64, hi: f64) -> Vec<f32> {
        let hash = fnv1a64(&format!("{}input", self.prefix));
        (0..len).map(|i| (lo + (hi - lo) * unit(hash, i)) as f32).collect()
    }
}

/// Tensors of a safetensors file.
#[derive(Debug)]
pub struct Tensors {
    bytes: Vec<u8>,
    path: PathBuf,
}

impl Tensors {
    /// Reads a file.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Tensors { bytes, path: path.to_path_buf() }
    }

    fn open(&self) -> safetensors::SafeTensors<'_> {
        safetensors::SafeTensors::deserialize(&self.bytes)
            .unwrap_or_else(|e| panic!("{}: {e}", self.path.display()))
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.open().names().into_iter().map(|name| name.to_string()).collect();
        names.sort();
        names
    }

    /// True if there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.open().tensor(name).is_ok()
    }

    /// Dimensions of a tensor.
    pub fn dims(&self, name: &str) -> Vec<usize> {
        self.view(name, |view| view.shape().to_vec())
    }

    /// A float tensor.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.view(name, |view| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        })
    }

    /// An integer tensor (`i64` or `u8`).
    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.view(name, |view| match view.dtype() {
            safetensors::Dtype::U8 => view.data().iter().map(|&b| b as i64).collect(),
            safetensors::Dtype::I64 => {
                view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
            }
            other => panic!("{name}: expected integers, got {other:?}"),
        })
    }

    fn view<T>(&self, name: &str, read: impl FnOnce(safetensors::tensor::TensorView<'_>) -> T) -> T {
        let file = self.open();
        read(file.tensor(name).unwrap_or_else(|e| panic!("{}: tensor `{name}`: {e}", self.path.display())))
    }
}

fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x100_0000_01B3))
}

fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Number `i` of a name's stream, in `[0, 1)`.
fn unit(hash: u64, i: usize) -> f64 {
    (mix(hash.wrapping_add(i as u64)) >> 40) as f64 / (1u64 << 24) as f64
}

/// The weight rule of `tests/golden/README.md`.
pub fn rule_weight(prefix: &str, gain: f64, name: &str, dims: &[usize]) -> Vec<f32> {
    let hash = fnv1a64(&format!("{prefix}{name}"));
    let fan_in: usize = dims[1..].iter().product();
    let value = |i| {
        let u = unit(hash, i);
        let s = 2.0 * u - 1.0;
        if name.ends_with("running_var") {
            0.5 + u
        } else if name.ends_with("running_mean") || name.ends_with("bias") {
            0.1 * s
        } else if dims.len() == 2 && name.contains("conv_") {
            s * (2.0 * gain / (fan_in as f64).sqrt()).sqrt()
        } else if dims.len() >= 2 {
            s * (gain / fan_in as f64).sqrt()
        } else {
            1.0 + 0.1 * s
        }
    };
    (0..dims.iter().product()).map(|i| value(i) as f32).collect()
}

/// Largest absolute value.
pub fn max_abs(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |max, v| max.max(v.abs() as f64))
}

/// Fails unless every `got` lies within `tolerance` of `want`; says where the worst is.
pub fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let mut worst = (0, -1.0);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let difference = (*g as f64 - *w as f64).abs();
        assert!(difference.is_finite(), "{what}: value {i} is {g}, expected {w}");
        if difference > worst.1 {
            worst = (i, difference);
        }
    }
    let (i, difference) = worst;
    assert!(
        got.is_empty() || difference <= tolerance,
        "{what}: value {i} is {}, expected {}: {difference:.3e} apart, allowed {tolerance:.3e}",
        got[i],
        want[i]
    );
}

/// [`assert_close`] with a tolerance relative to the largest expected value.
pub fn assert_close_to_max(what: &str, got: &[f32], want: &[f32], relative: f64) {
    assert_close(what, got, want, relative * max_abs(want));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_gives_the_known_answers() {
        assert_eq!(fnv1a64("input"), 0x1ebb_ae8f_5810_b65b);
        let scaled = |i| (unit(fnv1a64("input"), i) * (1u64 << 24) as f64) as u64;
        assert_eq!([scaled(0), scaled(1), scaled(2)], [1_641_119, 2_474_280, 9_631_538]);
        let stem = rule_weight("", 6.5, "conv_stem.weight", &[32, 3, 3, 3]);
        assert_close("conv_stem", &stem[..2], &[-0.029_920_667, 0.214_906_16], 1e-9);
        assert_close(
            "running_var",
            &rule_weight("", 1.0, "bn1.running_var", &[32])[..1],
            &[1.142_307_5],
            1e-7,
        );
    }
}
