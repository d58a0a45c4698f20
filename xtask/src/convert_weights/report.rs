//! What became of every array.

use super::verify::Verified;
use net_formats::{Archive, ElementType, Normalization, PaddingMode, WeightsInfo};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use weight_sources::{Matched, Weight};

/// The report, in the order of its JSON keys (`docs/json.md`).
#[derive(Debug, Serialize)]
pub(super) struct Report {
    source: String,
    format: &'static str,
    naming: &'static str,
    pub(super) variant: String,
    classes: Option<usize>,
    padding: PaddingMode,
    bn_eps: f64,
    normalization: Normalization,
    /// What of these is a guess.
    pub(super) assumed: Vec<&'static str>,
    /// Key of a checkpoint under which the weights were found.
    taken_from: Option<String>,
    /// What stood before all names.
    prefix: String,
    mapped: usize,
    missing: Vec<String>,
    absent: Vec<String>,
    unexpected: Vec<String>,
    misshaped: Vec<Misshaped>,
    ignored: Vec<IgnoredArray>,
    /// Arrays that were not 32-bit floats, by element type.
    converted: BTreeMap<String, usize>,
    /// Our names of arrays with values that are infinite or no numbers.
    non_finite: Vec<String>,
    notice: Option<String>,
    pub(super) out: Option<String>,
    pub(super) sha256: Option<String>,
    /// The forward pass, if it was asked for.
    pub(super) verified: Option<Verified>,
    /// Naming of the file that was written.
    #[serde(skip)]
    pub(super) written_names: &'static str,
    #[serde(skip)]
    lines: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Misshaped {
    name: String,
    expected: Vec<usize>,
    got: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct IgnoredArray {
    name: String,
    reason: &'static str,
}

impl Report {
    pub(super) fn new(source: &Path, archive: &Archive, matched: &Matched<'_>, info: &WeightsInfo) -> Self {
        let misshaped = matched.misshaped.iter().cloned();
        let ignored = matched.ignored.iter();
        let mut converted = BTreeMap::new();
        for weight in &matched.weights {
            let stored_as = archive.arrays[&weight.source].stored_as;
            if stored_as != ElementType::F32 {
                *converted.entry(stored_as.to_string()).or_default() += 1;
            }
        }
        let line = |weight: &Weight<'_>| format!("{} -> {} {:?}", weight.source, weight.name, weight.dims);
        Report {
            source: source.display().to_string(),
            format: archive.format.name(),
            naming: matched.naming_name(),
            variant: info.variant.clone(),
            classes: info.classes,
            padding: info.padding,
            bn_eps: info.bn_eps,
            normalization: info.normalization,
            assumed: Vec::new(),
            taken_from: archive.origin.clone(),
            prefix: matched.prefix.clone(),
            mapped: matched.weights.len(),
            missing: matched.missing.clone(),
            absent: matched.absent.clone(),
            unexpected: matched.unexpected.clone(),
            misshaped: misshaped.map(|(name, expected, got)| Misshaped { name, expected, got }).collect(),
            ignored: ignored.map(|i| IgnoredArray { name: i.name.clone(), reason: i.reason }).collect(),
            converted,
            non_finite: matched.non_finite(),
            notice: info.notice.clone(),
            out: None,
            sha256: None,
            verified: None,
            written_names: "timm",
            lines: matched.weights.iter().map(line).collect(),
        }
    }

    fn network(&self) -> String {
        let family = if self.naming == "ultralytics" { "" } else { "EfficientNet " };
        format!("{family}{}", self.variant)
    }

    /// True if every parameter was found in the right dimensions.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.misshaped.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "mapped      {line}"))?;
        self.ignored.iter().try_for_each(|i| writeln!(f, "ignored     {} ({})", i.name, i.reason))?;
        self.absent.iter().try_for_each(|name| writeln!(f, "absent      {name}"))?;
        self.unexpected.iter().try_for_each(|name| writeln!(f, "unexpected  {name}"))?;
        self.missing.iter().try_for_each(|name| writeln!(f, "missing     {name}"))?;
        for m in &self.misshaped {
            writeln!(f, "misshaped   {}: expected {:?}, got {:?}", m.name, m.expected, m.got)?;
        }
        let classes = self.classes.map_or("no".to_string(), |classes| classes.to_string());
        write!(f, "\n{}: {} file, {} names", self.source, self.format, self.naming)?;
        if let Some(key) = &self.taken_from {
            write!(f, ", taken from `{key}`")?;
        }
        writeln!(f, "\n{}, {classes} classes", self.network())?;
        writeln!(
            f,
            "padding {}, batch-norm epsilon {}, input normalisation {}",
            self.padding, self.bn_eps, self.normalization
        )?;
        if !self.assumed.is_empty() {
            writeln!(
                f,
                "WARNING: {} assumed: timm's names do not tell. --variant tf_efficientnet_{v} says same and 0.001, \
                 --variant efficientnet_{v} symmetric and 0.00001; --padding and --bn-eps say it directly",
                self.assumed.join(" and "),
                v = self.variant
            )?;
        }
        for name in &self.non_finite {
            writeln!(f, "WARNING: {name} has values that are infinite or no numbers")?;
        }
        for (element, count) in &self.converted {
            writeln!(f, "{count} arrays converted from {element} to f32")?;
        }
        if let Some(notice) = &self.notice {
            writeln!(f, "LICENCE: {notice}")?;
        }
        writeln!(
            f,
            "{} mapped, {} missing, {} mis-shaped, {} unexpected, {} absent, {} ignored",
            self.mapped,
            self.missing.len(),
            self.misshaped.len(),
            self.unexpected.len(),
            self.absent.len(),
            self.ignored.len()
        )?;
        if let Some(verified) = &self.verified {
            write!(f, "{verified}")?;
        }
        match (&self.out, &self.sha256) {
            (Some(out), Some(sha256)) => writeln!(f, "wrote {out}\nsha256 {sha256}"),
            _ => writeln!(f, "nothing was written: parameters are missing or mis-shaped"),
        }
    }
}

impl Report {
    /// What the list of weights says of the file that was written. The numeric form is the same for any file; where a
    /// checksum is missing, nothing was written.
    pub(super) fn manifest_entry(&self, file: &str) -> Vec<(&'static str, String)> {
        let source = Path::new(&self.source).file_name().map(|name| name.to_string_lossy().into_owned());
        let classes =
            self.classes.map_or("no classifier".to_string(), |classes| format!("{classes} classes"));
        let mut lines = vec![
            ("file", file.to_string()),
            ("variant", self.variant.clone()),
            ("what", format!("{}, {classes}", self.network())),
            ("source", format!("{} ({}, {} names)", source.unwrap_or_default(), self.format, self.naming)),
            ("names", self.written_names.to_string()),
            ("padding", self.padding.to_string()),
            ("bn_eps", format!("{:e}", self.bn_eps)),
            ("normalize", self.normalization.to_string()),
        ];
        lines.extend(self.sha256.iter().map(|sum| ("sha256", sum.clone())));
        lines
    }
}
