//! Training a classifier.

use super::{Ended, Plan, run_task};
use crate::classes;
use crate::data::CACHE_BYTES;
use crate::output;
use anyhow::{Result, bail};
use effyolo_config::{Model, Outputs};
use net_cpu::Isa;
use std::sync::Arc;
use yolo_train::{ClassificationSetup, ClassificationTask, RunFiles, UntrainedClassifier};

pub(super) fn train(mut plan: Plan) -> Result<()> {
    let train = classes::open_split(&plan.asked.data, "train", None)?;
    let val = classes::open_split(&plan.asked.data, "val", Some(train.names()))?;
    plan.spec.classes = train.names().len();
    let problems = train.problems().iter().chain(val.problems());
    plan.left_out = problems.map(|problem| problem.error.to_string()).collect();
    let (names, val) = (train.names().to_vec(), Arc::new(val));
    let task = ClassificationTask::new(ClassificationSetup {
        spec: plan.spec.train.clone(),
        network: untrained(&plan)?,
        train: Arc::new(train),
        val: val.clone(),
        cache_bytes: CACHE_BYTES,
        isa: Isa::best(),
    })?;
    let Ended { folder, validation } = run_task(&plan, task, &names)?;
    if !output::is_standard_output(plan.json.as_deref()) {
        if let Some(validation) = validation {
            classes::print_table(&validation, &val);
        }
        let files = RunFiles(&folder);
        println!("weights: {} (best), {} (last)", files.best().display(), files.last().display());
        println!("curves: {}", folder.join("results.svg").display());
    }
    Ok(())
}

/// The network before its first step, with pretrained weights where some were asked for.
fn untrained(plan: &Plan) -> Result<UntrainedClassifier> {
    let spec = &plan.spec.train;
    let model = plan.spec.build(None)?;
    let frozen = model.backbone_stages.iter().take(spec.freeze_stages).flatten().cloned().collect();
    let params = plan.first_values(&model)?;
    let Model { graph, outputs, .. } = model;
    let Outputs::Classifier { logits } = outputs else {
        bail!("expected a configuration with `task: classify`, got a detector")
    };
    Ok(UntrainedClassifier { graph: Arc::new(graph), logits, params, frozen })
}
