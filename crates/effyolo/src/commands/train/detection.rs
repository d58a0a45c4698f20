//! Training a detector.

use super::{Ended, Plan, run_task};
use crate::data::{CACHE_BYTES, open_split};
use crate::network;
use crate::output;
use crate::pictures::save_comparisons;
use crate::report;
use anyhow::Result;
use effyolo_config::{DataSpec, Outputs};
use net_cpu::Isa;
use std::sync::Arc;
use yolo_train::{DetectionSetup, DetectionTask, RunFiles, nms_options};

/// Validation during training: confidence, IoU of the suppression, detections of an image.
const VALIDATION: (f32, f32, usize) = (0.001, 0.7, 300);
/// Score above which a detection is drawn.
const DRAWN: f32 = 0.25;

pub(super) fn train(mut plan: Plan) -> Result<()> {
    let data = DataSpec::load(&plan.asked.data)?;
    data.notes.iter().for_each(|note| eprintln!("note: {note}"));
    plan.spec.classes = data.names.len();
    let (train, val) = (Arc::new(open_split(&data, "train")?), Arc::new(open_split(&data, "val")?));
    let problems = train.report().problems.iter().chain(&val.report().problems);
    plan.left_out = problems.map(ToString::to_string).collect();
    let (confidence, iou, max_detections) = VALIDATION;
    let task = DetectionTask::new(DetectionSetup {
        spec: plan.spec.train.clone(),
        network: plan.untrained(|outputs| match outputs {
            Outputs::Detector(head) => Some(head),
            Outputs::Classifier { .. } => None,
        })?,
        train,
        val: val.clone(),
        cache_bytes: CACHE_BYTES,
        nms: nms_options(confidence, iou, max_detections, true),
        isa: Isa::best(),
    })?;
    let Ended { folder, validation } = run_task(&plan, task, &data.names)?;
    let files = RunFiles(&folder);
    let drawn = nms_options(DRAWN, iou, max_detections, false);
    let mut detector = network::load_detector(&files.best())?.detector;
    let size = plan.spec.train.image_size;
    save_comparisons(&folder.join("pictures"), val.as_ref(), &mut detector, size, &drawn)?;
    if !output::is_standard_output(plan.json.as_deref()) {
        if let Some(validation) = validation {
            report::print_table(&validation, &data.names);
        }
        println!("weights: {} (best), {} (last)", files.best().display(), files.last().display());
        println!("curves: {}", folder.join("results.svg").display());
        println!("pictures, labels on the left: {}", folder.join("pictures").display());
    }
    Ok(())
}
