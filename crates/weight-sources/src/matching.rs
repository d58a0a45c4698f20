//! Finds out which network a file holds, and which array is which parameter.

use crate::{Names, SourceError, Variant, experts};
use effnet_backbone::{Layout, MappedWeight, Naming, Section, weight_map};
use effnet_scaling::NetworkSpec;
use net_formats::{Archive, Ignored, NamedArray};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Said where names show that a file comes from Ultralytics' code.
const AGPL_NOTICE: &str = "The names are those of Ultralytics YOLO, whose weights are published under \
    AGPL-3.0 (or a commercial licence of theirs); that licence stays with the converted file.";
/// Counted by PyTorch beside running statistics; nothing here needs it.
const COUNTER: &str = "num_batches_tracked";
/// Has as many elements as a YOLOv8 detector has classes.
const DETECTOR_CLASSES: &str = "model.22.cv3.0.2.bias";

/// What a file is compared with.
#[derive(Debug)]
pub struct Wanted {
    /// The only network that it may be.
    pub variant: Option<Variant>,
    /// Networks that it may be beside the published ones.
    pub also: Vec<Variant>,
    /// What stands before the names, where a file holds several networks.
    pub prefix: Option<String>,
    /// Head convolution and classifier may be absent.
    pub headless: bool,
}

/// A parameter in PyTorch's layout.
#[derive(Debug)]
pub struct Weight<'a> {
    /// Our name, which is timm's.
    pub name: String,
    /// The file's name.
    pub source: String,
    /// Dimensions in PyTorch's order.
    pub dims: Vec<usize>,
    /// Values, row-major.
    pub values: Cow<'a, [f32]>,
}

/// What became of every array of a file and every parameter of the network.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The network.
    pub variant: Variant,
    /// How the file names it.
    pub names: Names,
    /// What stands before the names.
    pub prefix: String,
    /// Classes of the classifier or detector; `None` without one.
    pub classes: Option<usize>,
    /// The parameters that fit.
    pub weights: Vec<Weight<'a>>,
    /// Our names.
    pub missing: Vec<String>,
    /// Our names of what the file lacks and may lack.
    pub absent: Vec<String>,
    /// The file's names.
    pub unexpected: Vec<String>,
    /// The file's name, dimensions expected there, dimensions got.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// What is no parameter.
    pub ignored: Vec<Ignored>,
    /// A licence that binds whoever uses the weights, where the names show one.
    pub notice: Option<&'static str>,
}

impl Matched<'_> {
    /// Name of the naming in reports: ours has a prefix that no other tool writes.
    pub fn naming_name(&self) -> &'static str {
        let ours = self.names == Names::EfficientNet(Naming::Timm) && self.prefix == "backbone.";
        if ours { "effyolo" } else { self.names.name() }
    }
}

/// Matches a file against the networks that are wanted and takes the one that fits best.
///
/// # Errors
/// When no network is recognised by the names, several are, or none has such dimensions.
pub fn find<'a>(archive: &'a Archive, wanted: &Wanted) -> Result<Matched<'a>, SourceError> {
    let (names, prefix) = recognise(archive, wanted)?;
    let arrays = Arrays::new(archive, names, &prefix);
    let classes = arrays.classes(names);
    let candidates = match &wanted.variant {
        Some(variant) => vec![variant.clone()],
        None => wanted.also.iter().cloned().chain(Variant::published(names)).collect(),
    };
    let mut best: Option<(i64, Variant, Vec<MappedWeight>)> = None;
    for variant in candidates {
        let map = match variant.map(names, classes.unwrap_or(0)) {
            Err(SourceError::OtherNames { .. }) if wanted.variant.is_none() => continue,
            map => map?,
        };
        let score = arrays.score(&map);
        if best.as_ref().is_none_or(|(other, ..)| score > *other) {
            best = Some((score, variant, map));
        }
    }
    let (_, variant, map) = best.expect("every naming has published variants");
    let fitting = map.iter().filter(|weight| arrays.fits(weight)).count();
    if fitting * 2 < map.len() {
        return Err(SourceError::OtherNetwork {
            names: names.to_string(),
            closest: variant.name,
            params: map.len(),
            fitting,
        });
    }
    let mut matched = Matched {
        variant,
        names,
        classes,
        weights: Vec::new(),
        missing: Vec::new(),
        absent: Vec::new(),
        unexpected: Vec::new(),
        misshaped: Vec::new(),
        ignored: archive.ignored.clone(),
        notice: notice(archive),
        prefix,
    };
    let known: BTreeSet<&str> = map.iter().map(|weight| weight.file_name.as_str()).collect();
    for weight in &map {
        matched.take(&arrays, weight, wanted.headless);
    }
    matched.leave(archive, &arrays, &known);
    Ok(matched)
}

impl<'a> Matched<'a> {
    fn take(&mut self, arrays: &Arrays<'a>, weight: &MappedWeight, headless: bool) {
        let expected = weight.layout.dims_in_file(&weight.dims);
        match arrays.by_name.get(weight.file_name.as_str()) {
            None if is_optional(weight.section, headless) => self.absent.push(weight.name.clone()),
            None => self.missing.push(weight.name.clone()),
            Some((source, array)) if array.dims != expected => {
                self.misshaped.push((source.to_string(), expected, array.dims.clone()));
            }
            Some((source, array)) => {
                let values = match weight.layout {
                    Layout::Torch => Cow::Borrowed(&array.values[..]),
                    layout => layout.to_torch(&array.values, &weight.dims).into(),
                };
                self.weights.push(Weight {
                    name: weight.name.clone(),
                    source: source.to_string(),
                    dims: weight.dims.clone(),
                    values,
                });
            }
        }
    }

    fn leave(&mut self, archive: &Archive, arrays: &Arrays<'_>, known: &BTreeSet<&str>) {
        let wanted = arrays.by_name.iter().filter(|(name, _)| known.contains(name.as_ref()));
        let taken: BTreeSet<&str> = wanted.map(|(_, (source, _))| *source).collect();
        for name in archive.arrays.keys().filter(|name| !taken.contains(name.as_str())) {
            match unused(self.names, name.strip_prefix(self.prefix.as_str()).unwrap_or(name)) {
                Some(reason) => self.ignored.push(Ignored { name: name.clone(), reason }),
                None => self.unexpected.push(name.clone()),
            }
        }
        self.ignored.sort();
    }
}

/// Why an array of a whole file of that naming is no parameter of the network; `None` for one that nobody knows.
fn unused(names: Names, name: &str) -> Option<&'static str> {
    let is_keras = names.name() == Naming::Keras.name();
    match name {
        _ if name.ends_with(COUNTER) => Some("counts batches, is not used"),
        _ if is_keras && name.starts_with("normalization/") => {
            Some("input normalisation, kept in the metadata")
        }
        _ => None,
    }
}

/// Arrays below a prefix.
struct Arrays<'a> {
    /// Name in the file and array, by the name that the naming has for it.
    by_name: BTreeMap<Cow<'a, str>, (&'a str, &'a NamedArray)>,
}

impl<'a> Arrays<'a> {
    fn new(archive: &'a Archive, names: Names, prefix: &str) -> Self {
        let of_experts = match names {
            Names::EfficientNet(Naming::TensorFlow) => experts::renumbered(archive.arrays.keys(), prefix),
            _ => BTreeMap::new(),
        };
        let below = |(source, array): (&'a String, &'a NamedArray)| {
            let name = match of_experts.get(source.as_str()) {
                Some(name) => Cow::Owned(name.clone()),
                None => Cow::Borrowed(source.strip_prefix(prefix)?),
            };
            Some((name, (source.as_str(), array)))
        };
        Arrays { by_name: archive.arrays.iter().filter_map(below).collect() }
    }

    fn dims(&self, name: &str) -> Option<&'a [usize]> {
        self.by_name.get(name).map(|(_, array)| array.dims.as_slice())
    }

    fn classes(&self, names: Names) -> Option<usize> {
        let Names::EfficientNet(naming) = names else {
            return self.dims(DETECTOR_CLASSES)?.first().copied();
        };
        let map = weight_map(&NetworkSpec::b0(), 0, naming);
        let mut classifier = map.iter().filter(|weight| weight.section == Section::Classifier);
        classifier.find_map(|weight| {
            let dims = self.dims(&weight.file_name)?;
            let outputs = if weight.layout == Layout::InOut { dims.last() } else { dims.first() };
            outputs.copied()
        })
    }

    fn fits(&self, weight: &MappedWeight) -> bool {
        self.dims(&weight.file_name).is_some_and(|dims| dims == weight.layout.dims_in_file(&weight.dims))
    }

    /// Fitting parameters, less those that do not fit and arrays that are left over.
    fn score(&self, map: &[MappedWeight]) -> i64 {
        let fitting = map.iter().filter(|weight| self.fits(weight)).count() as i64;
        let present =
            map.iter().filter(|weight| self.by_name.contains_key(weight.file_name.as_str())).count();
        2 * fitting - map.len() as i64 - (self.by_name.len() - present) as i64
    }
}

/// Names of the one network in a file and what stands before them.
fn recognise(archive: &Archive, wanted: &Wanted) -> Result<(Names, String), SourceError> {
    let mut found = Vec::new();
    for name in archive.arrays.keys() {
        for names in Names::all() {
            let Some(prefix) = name.strip_suffix(names.marker()) else { continue };
            let whole = prefix.is_empty() || prefix.ends_with(['.', '/']);
            if whole && wanted.prefix.as_ref().is_none_or(|wanted| wanted == prefix) {
                found.push((names, prefix.to_string()));
            }
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(unrecognised(archive, wanted)),
        _ => {
            let prefixes: Vec<_> = found.iter().map(|(_, prefix)| format!("`{prefix}`")).collect();
            Err(SourceError::Several { count: found.len(), prefixes: prefixes.join(", ") })
        }
    }
}

fn unrecognised(archive: &Archive, wanted: &Wanted) -> SourceError {
    let markers: Vec<_> = Names::all().map(|names| format!("`{}` ({names})", names.marker())).collect();
    let names: Vec<_> = archive.arrays.keys().take(6).map(|name| format!("`{name}`")).collect();
    let below = wanted.prefix.as_ref().map(|prefix| format!(" below `{prefix}`")).unwrap_or_default();
    let hint = match notice(archive) {
        _ if archive.arrays.keys().any(|name| name.starts_with("onnx::")) => {
            ". Its batch norms were folded into the convolutions when it was exported: export with \
             training=TrainingMode.PRESERVE and do_constant_folding=False, or convert the checkpoint itself"
                .to_string()
        }
        Some(notice) => format!(". {notice}"),
        None => String::new(),
    };
    let colon = if names.is_empty() { "" } else { ": " };
    SourceError::Unrecognised {
        below,
        markers: markers.join(", "),
        arrays: archive.arrays.len(),
        found: format!("{colon}{}{hint}", names.join(", ")),
    }
}

/// Ultralytics numbers the layers of every model: `model.0.`, `model.1.` and so on.
fn notice(archive: &Archive) -> Option<&'static str> {
    let number = |rest: &str| rest.split_once('.')?.0.parse::<u32>().ok();
    let layer = |name: &String| name.split("model.").skip(1).find_map(number);
    let layers: BTreeSet<u32> = archive.arrays.keys().filter_map(layer).collect();
    (layers.len() > 1).then_some(AGPL_NOTICE)
}

/// Sections that a source may lack.
fn is_optional(section: Section, headless: bool) -> bool {
    headless && section != Section::Backbone
}

#[cfg(test)]
mod tests {
    use super::*;
    use net_formats::{ElementType, Format};

    /// A file of a network's names and dimensions, without values.
    fn hollow(variant: &Variant, names: Names, classes: usize) -> Archive {
        let array = |weight: MappedWeight| {
            let dims = weight.layout.dims_in_file(&weight.dims);
            (weight.file_name, NamedArray { dims, values: Vec::new(), stored_as: ElementType::F32 })
        };
        Archive {
            format: Format::Torch,
            arrays: variant.map(names, classes).unwrap().into_iter().map(array).collect(),
            ignored: Vec::new(),
            metadata: BTreeMap::new(),
            origin: None,
        }
    }

    #[test]
    fn every_variant_is_recognised_by_names_and_shapes() {
        let torch = [Naming::Timm, Naming::Torchvision, Naming::Lukemelas].map(Names::EfficientNet);
        for names in torch.into_iter().chain([Names::Ultralytics]) {
            for variant in Variant::published(names) {
                let archive = hollow(&variant, names, 21);
                let wanted = Wanted { variant: None, prefix: None, headless: false, also: Vec::new() };
                let matched = find(&archive, &wanted).unwrap();
                assert_eq!((&matched.variant.name, matched.names), (&variant.name, names));
                assert_eq!(matched.classes, Some(21));
                assert!(
                    matched.missing.is_empty()
                        && matched.misshaped.is_empty()
                        && matched.unexpected.is_empty()
                );
                assert_eq!(matched.notice.is_some(), names == Names::Ultralytics);
            }
        }
    }

    #[test]
    fn a_wrapped_detector_still_shows_its_licence() {
        let mut archive = hollow(&Variant::named("yolov8n", None).unwrap(), Names::Ultralytics, 2);
        archive.arrays =
            archive.arrays.into_iter().map(|(name, array)| (format!("model.{name}"), array)).collect();
        let matched =
            find(&archive, &Wanted { variant: None, prefix: None, headless: false, also: Vec::new() })
                .unwrap();
        assert_eq!((matched.prefix.as_str(), matched.notice), ("model.", Some(AGPL_NOTICE)));
    }

    #[test]
    fn a_variant_of_other_names_is_refused() {
        let b0 = Variant::named("b0", None).unwrap();
        let archive = hollow(&Variant::named("yolov8n", None).unwrap(), Names::Ultralytics, 2);
        let error =
            find(&archive, &Wanted { variant: Some(b0), prefix: None, headless: false, also: Vec::new() })
                .unwrap_err();
        assert!(error.to_string().contains("not those of `b0`"), "{error}");
    }
}
