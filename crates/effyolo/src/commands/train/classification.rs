//! Training a classifier.

use super::{Ended, Plan, run_task};
use crate::class_pictures;
use crate::classes;
use crate::data::CACHE_BYTES;
use crate::output;
use anyhow::Result;
use effyolo_config::Outputs;
use net_cpu::Isa;
use std::sync::Arc;
use yolo_train::{ClassificationSetup, ClassificationTask, RunFiles};

pub(super) fn train(mut plan: Plan) -> Result<()> {
    let train = classes::open_split(&plan.asked.data, "train", None)?;
    let val = classes::open_split(&plan.asked.data, "val", Some(train.names()))?;
    plan.spec.classes = train.names().len();
    let problems = train.problems().iter().chain(val.problems());
    plan.left_out = problems.map(|problem| problem.error.to_string()).collect();
    let (names, val) = (train.names().to_vec(), Arc::new(val));
    let task = ClassificationTask::new(ClassificationSetup {
        spec: plan.spec.train.clone(),
        network: plan.untrained(|outputs| match outputs {
            Outputs::Classifier { logits } => Some(logits),
            Outputs::Detector(_) => None,
        })?,
        train: Arc::new(train),
        val: val.clone(),
        cache_bytes: CACHE_BYTES,
        isa: Isa::best(),
    })?;
    let Ended { folder, validation } = run_task(&plan, task, &names)?;
    if let Some(validation) = &validation {
        class_pictures::save(&folder.join("pictures"), validation, &val)?;
    }
    if !output::is_standard_output(plan.json.as_deref()) {
        if let Some(validation) = &validation {
            classes::print_table(validation, &val);
        }
        let files = RunFiles(&folder);
        println!("weights: {} (best), {} (last)", files.best().display(), files.last().display());
        println!("curves: {}", folder.join("results.svg").display());
        println!("confusion matrix and worst images: {}", folder.join("pictures").display());
    }
    Ok(())
}
