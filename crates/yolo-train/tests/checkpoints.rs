//! Weights files and run states.

use net_cpu::Params;
use net_graph::{Builder, Conv, Graph, Init, Padding};
use proptest::prelude::*;
use std::path::Path;
use yolo_train::{
    EpochRow, LearnerState, ModelCard, Moments, Progress, RunState, RunningEpoch, TrainError, WeightsFile,
    initial_params, save_weights,
};

/// A backbone of one convolution with norm, and a head with that many classes.
fn network(classes: usize) -> Graph {
    let mut b = Builder::new();
    let image = b.input("image", 3).unwrap();
    let conv = Conv { kernel: 1, stride: 1, padding: Padding::Symmetric, groups: 1 };
    let x = b.conv("backbone.conv_stem", image, 4, conv, Init::Uniform { bound: 1.0 }, None).unwrap();
    let x = b.batch_norm("backbone.bn1", x, 1e-3, 0.03).unwrap();
    b.conv("head.cls", x, classes, conv, Init::Normal { std: 1.0 }, Some(Init::Constant(-3.0))).unwrap();
    b.finish()
}

fn saved(params: &Params, path: &Path) -> WeightsFile {
    let card = ModelCard::new("nc: 2".into(), vec!["a".into(), "b".into()], 64);
    save_weights(path, params, &card).unwrap();
    WeightsFile::read(path).unwrap()
}

#[test]
fn weights_come_back_with_their_card() {
    let folder = tempfile::tempdir().unwrap();
    let (first, mut second) = (initial_params(&network(2), 1), initial_params(&network(2), 2));
    assert_ne!(first.trained, second.trained);
    let file = saved(&first, &folder.path().join("a.safetensors"));
    file.load_all(&mut second).unwrap();
    assert_eq!((first.trained, first.buffers), (second.trained, second.buffers));
    assert_eq!(file.card().unwrap().names, ["a", "b"]);
}

#[test]
fn a_parameter_starts_the_same_whatever_else_there_is() {
    let (small, large) = (initial_params(&network(2), 7), initial_params(&network(5), 7));
    assert_eq!(small.get("backbone.conv_stem.weight"), large.get("backbone.conv_stem.weight"));
    assert_eq!(small.get("head.cls.weight").unwrap(), &large.get("head.cls.weight").unwrap()[..8]);
}

#[test]
fn the_same_weights_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
    saved(&initial_params(&network(2), 1), &a);
    saved(&initial_params(&network(2), 1), &b);
    assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
}

#[test]
fn every_name_that_does_not_fit_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = saved(&initial_params(&network(2), 1), &folder.path().join("a.safetensors"));
    let mut wide = initial_params(&network(3), 1);
    let before = wide.clone();
    let error = file.load_all(&mut wide).unwrap_err();
    assert!(
        matches!(&error, TrainError::WeightsMismatch { report, .. } if report.misshaped.len() == 2),
        "{error}"
    );
    assert!(
        error.to_string().contains("`head.cls.weight`: expected [3, 4, 1, 1], got [2, 4, 1, 1]"),
        "{error}"
    );
    assert_eq!(before.trained, wide.trained);
}

fn in_backbone(name: &str) -> bool {
    name.starts_with("backbone.")
}

#[test]
fn pretraining_keeps_a_head_of_another_size() {
    let folder = tempfile::tempdir().unwrap();
    let narrow = initial_params(&network(2), 1);
    let file = saved(&narrow, &folder.path().join("a.safetensors"));
    let mut wide = initial_params(&network(3), 2);
    let report = file.load_pretrained(&mut wide, in_backbone).unwrap();
    assert_eq!(report.misshaped.len(), 2);
    assert_eq!(wide.get("backbone.conv_stem.weight"), narrow.get("backbone.conv_stem.weight"));
}

#[test]
fn a_bare_backbone_is_found_and_half_a_backbone_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("timm.safetensors");
    let whole = [
        ("conv_stem.weight", vec![4, 3, 1, 1]),
        ("bn1.weight", vec![4]),
        ("bn1.bias", vec![4]),
        ("bn1.running_mean", vec![4]),
        ("bn1.running_var", vec![4]),
        ("classifier.bias", vec![1000]),
    ];
    write_bare(&path, &whole);
    let mut params = initial_params(&network(2), 1);
    let report = WeightsFile::read(&path).unwrap().load_pretrained(&mut params, in_backbone).unwrap();
    assert_eq!(report.loaded.len(), 5);
    assert_eq!(report.unexpected, ["classifier.bias"]);
    assert_eq!(params.get("backbone.bn1.running_var").unwrap(), [0.5; 4]);
    write_bare(&path, &whole[..3]);
    let error = WeightsFile::read(&path).unwrap().load_pretrained(&mut params, in_backbone).unwrap_err();
    assert!(error.to_string().contains("`backbone.bn1.running_mean`"), "{error}");
}

fn write_bare(path: &Path, tensors: &[(&str, Vec<usize>)]) {
    let data: Vec<Vec<u8>> =
        tensors.iter().map(|(_, dims)| 0.5f32.to_le_bytes().repeat(dims.iter().product())).collect();
    let views = tensors.iter().zip(&data).map(|((name, dims), data)| {
        (*name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, dims.clone(), data).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_damaged_or_foreign_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.safetensors");
    std::fs::write(&path, b"not a safetensors file").unwrap();
    assert!(WeightsFile::read(&path).unwrap_err().to_string().contains("broken.safetensors"));
    write_bare(&path, &[("conv_stem.weight", vec![4])]);
    assert!(WeightsFile::read(&path).unwrap().card().unwrap_err().to_string().contains("effyolo train"));
    assert!(RunState::read(&path).unwrap_err().to_string().contains("state of a run"));
}

#[test]
fn a_run_state_comes_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let row = EpochRow { epoch: 1, time: 2.5, values: vec![("train/box_loss".into(), 1.0 / 3.0)] };
    let running = RunningEpoch { batches: 2, images: 8, losses: vec![0.1 + 0.2], seconds: 1e-3 };
    let progress = Progress { epoch: 1, best: Some((1, 0.1 + 0.7)), rows: vec![row], running };
    let learner = LearnerState {
        last_step: Some(12),
        trained: vec![1.0, 2.0],
        buffers: vec![3.0],
        gradients: vec![0.1, 0.2],
        moments: Moments { first: vec![0.5, 0.6], second: Vec::new(), steps: vec![1, 4] },
        ema_trained: vec![1.5, 2.5],
        ema_buffers: vec![3.5],
        ema_updates: 4,
    };
    let state = RunState { progress, learner };
    state.save(&path).unwrap();
    assert_eq!(RunState::read(&path).unwrap(), state);
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    saved(&initial_params(&network(2), 1), &path);
    let whole = std::fs::read(&path).unwrap();
    for index in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[index] ^= 1 << (index % 8);
        std::fs::write(&path, &bytes).unwrap();
        // What is left of the metadata may be another tool's: then the file no longer counts as one of ours.
        let is_refused = WeightsFile::read(&path).map_or(true, |file| file.card().is_err());
        assert!(is_refused, "byte {index} of {}", whole.len());
    }
    for length in (0..whole.len()).step_by(13) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(WeightsFile::read(&path).is_err(), "{length} bytes");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = WeightsFile::parse(&bytes, "any bytes");
        prop_assert!(RunState::parse(&bytes, "any bytes").is_err());
    }

    #[test]
    fn any_header_is_read_or_refused(header in "\\PC{0,200}", length in 0u64..1000, rest in 0usize..100) {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(std::iter::repeat_n(0, rest));
        let _ = WeightsFile::parse(&bytes, "any header");
        prop_assert!(RunState::parse(&bytes, "any header").is_err());
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let mut params = initial_params(&network(2), 1);
    params.set("head.cls.bias", &[0.5, f32::NAN]).unwrap();
    save_weights(&path, &params, &ModelCard::new(String::new(), Vec::new(), 64)).unwrap();
    let error = WeightsFile::read(&path).unwrap_err().to_string();
    assert!(error.contains("`head.cls.bias`") && error.contains("NaN at value 1"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_device_is_not_read() {
    let error = WeightsFile::read(Path::new("/dev/zero")).unwrap_err();
    assert!(matches!(error, TrainError::Read { .. }), "{error}");
}
