use super::definition::Definition;
use super::proxy::Proxy;
use crate::baseline::BaselineArguments;
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use effnet_scaling::Objective;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What must be near the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConstraintKind {
    /// alpha * beta^2 * gamma^2, as in the paper
    Analytic,
    /// Multiply-adds of the rounded network over those of the baseline
    Real,
    /// Milliseconds an image on this CPU over those of the baseline
    Latency,
}

/// What makes a trial better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectiveKind {
    /// Accuracy, of what fits --budget
    Accuracy,
    /// Accuracy * (cost / target)^exponent
    Reward,
    /// Accuracy; the report marks what nothing beats in both accuracy and cost
    Pareto,
}

/// Where accuracies come from.
pub(super) enum OracleChoice {
    /// Training.
    Train,
    /// Recorded accuracies.
    Table(PathBuf),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) baseline: BaselineArguments,
    /// Folder with train/CLASS and val/CLASS, or data.yaml of a detection set
    #[arg(long)]
    pub(super) data: Option<PathBuf>,
    /// Exponent of the coefficients
    #[arg(long, default_value_t = 1.0, allow_hyphen_values = true)]
    pub(super) phi: f64,
    /// Step of each coefficient
    #[arg(long, default_value_t = 0.05, allow_hyphen_values = true)]
    pub(super) step: f64,
    /// Smallest value of each coefficient
    #[arg(long, default_value_t = 1.0, allow_hyphen_values = true)]
    pub(super) min: f64,
    /// Largest value of each coefficient
    #[arg(long, default_value_t = 2.0, allow_hyphen_values = true)]
    pub(super) max: f64,
    /// Wanted cost at phi = 1, over that of the baseline
    #[arg(long, default_value_t = 2.0, allow_hyphen_values = true)]
    pub(super) target: f64,
    /// Largest distance from the target: of the product itself (analytic), or as a share (real, latency)
    #[arg(long, default_value_t = 0.1, allow_hyphen_values = true)]
    pub(super) tolerance: f64,
    /// What must be near the target
    #[arg(long, value_enum, default_value = "analytic")]
    pub(super) constraint: ConstraintKind,
    /// Only candidates with at most that many parameters, such as 8e6
    #[arg(long, allow_hyphen_values = true)]
    pub(super) max_params: Option<f64>,
    /// Only candidates whose maps of one image take at most that many megabytes at once (f32, freed after use)
    #[arg(long, allow_hyphen_values = true)]
    pub(super) max_activation_mb: Option<f64>,
    /// What makes a trial better
    #[arg(long, value_enum, default_value = "accuracy")]
    pub(super) objective: ObjectiveKind,
    /// Largest cost under --objective accuracy: multiply-adds, or milliseconds under --constraint latency
    #[arg(long, allow_hyphen_values = true)]
    pub(super) budget: Option<f64>,
    /// Cost at which the reward is the accuracy; the baseline's times the target, unless given
    #[arg(long, allow_hyphen_values = true)]
    pub(super) reward_target: Option<f64>,
    /// How much cost counts in the reward; -0.07, unless given
    #[arg(long, allow_hyphen_values = true)]
    pub(super) reward_exponent: Option<f64>,
    /// `train` (also when left out), or `table FILE` with recorded accuracies
    #[arg(long, num_args = 1..=2, value_names = ["KIND", "FILE"])]
    pub(super) oracle: Vec<String>,
    /// How short a trial is: epochs=5,imgsz=128,width=0.5,subset=0.2,batch=32
    #[arg(long)]
    pub(super) proxy: Option<String>,
    /// Runs of every candidate: `3` for the seeds 0, 1 and 2, or a list such as `7,8`
    #[arg(long, default_value = "1")]
    pub(super) seeds: String,
    /// Trials at a time
    #[arg(long)]
    pub(super) jobs: Option<usize>,
    /// Threads of one trial; the machine's shared among the jobs, unless given
    #[arg(long)]
    pub(super) threads: Option<usize>,
    /// Only part i of n of the candidates: 0/4 ... 3/4, or 1/4 ... 4/4
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<String>,
    /// Successive halving: short trials first, the best 1/ETA go on to ETA times the epochs
    #[arg(long, value_name = "ETA", num_args = 0..=1, default_missing_value = "3")]
    pub(super) halving: Option<usize>,
    /// After the search: also train each single dimension, and all by the best coefficients, at these multiples of the
    /// baseline's multiply-adds, such as 2,4,8
    #[arg(long, value_delimiter = ',', value_name = "RATIO")]
    pub(super) curves: Vec<f64>,
    /// Configuration that is scaled: its backbone, and if the baseline is a detector also its neck; one that says nothing
    /// but the baseline, unless given
    #[arg(long)]
    pub(super) model: Option<PathBuf>,
    /// Training setting `key=value` of every trial, as of `effyolo train --set`
    #[arg(long)]
    pub(super) set: Vec<String>,
    /// The effyolo binary; unless given, that of target/release, built if it is missing, and never a debug build (an xtask
    /// built in release mode takes the one beside it)
    #[arg(long)]
    pub(super) worker: Option<PathBuf>,
    /// Seconds after which a trial is ended and counts as broken
    #[arg(long)]
    pub(super) trial_timeout: Option<u64>,
    /// Keep the run folders of good trials too
    #[arg(long)]
    pub(super) keep_runs: bool,
    /// Folder for trials, report, plots and configurations
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
    /// Go on with the trials in --out
    #[arg(long)]
    pub(super) resume: bool,
    /// With --resume: repeat trials that broke
    #[arg(long, requires = "resume")]
    pub(super) retry_broken: bool,
    /// Join the finished trials of these folders in --out and report them; the definition is theirs
    #[arg(long, num_args = 1.., value_name = "DIR")]
    pub(super) merge: Vec<PathBuf>,
    /// Rows of the printed table
    #[arg(long, default_value_t = 20)]
    pub(super) top: usize,
    /// Write one JSON object to this file (`-`: one line on standard output)
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
}

impl Arguments {
    /// Refuses options that contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        let reward = self.objective == ObjectiveKind::Reward;
        let shaped = self.reward_target.is_some() || self.reward_exponent.is_some();
        ensure!(reward || !shaped, "--reward-target and --reward-exponent need --objective reward");
        let budgeted = self.budget.is_some() && self.objective != ObjectiveKind::Accuracy;
        ensure!(
            !budgeted,
            "--budget needs --objective accuracy; the other objectives weigh the cost themselves"
        );
        if let Some(shard) = &self.shard {
            ensure!(
                self.halving.is_none(),
                "--halving compares all candidates; it cannot go with --shard {shard}"
            );
            ensure!(
                self.constraint != ConstraintKind::Latency,
                "--constraint latency is measured on each machine anew, so that shards would disagree about the \
                 candidates; leave out --shard {shard}"
            );
        }
        ensure!(!self.resume || self.out.is_some(), "--resume needs --out, the folder to go on with");
        for ratio in &self.curves {
            ensure!(
                ratio.is_finite() && *ratio >= 1.0,
                "--curves: expected multiples of the baseline's cost, at least 1, got {ratio}"
            );
        }
        let merging = !self.merge.is_empty();
        ensure!(
            !merging
                || self.oracle.is_empty()
                    && self.data.is_none()
                    && self.shard.is_none()
                    && self.curves.is_empty(),
            "--merge only joins finished trials; leave out --oracle, --data, --shard and --curves"
        );
        Ok(())
    }

    pub(super) fn oracle(&self) -> Result<OracleChoice> {
        let words: Vec<&str> = self.oracle.iter().map(String::as_str).collect();
        match words[..] {
            [] | ["train"] => Ok(OracleChoice::Train),
            ["table", file] => Ok(OracleChoice::Table(file.into())),
            ["table"] => bail!("--oracle table: the file is missing; expected `--oracle table FILE`"),
            _ => bail!("--oracle {}: expected `train` or `table FILE`", words.join(" ")),
        }
    }

    /// With a table nothing is trained: says which options do nothing.
    pub(super) fn note_unused(&self) {
        let given = [
            ("--data", self.data.is_some()),
            ("--proxy", self.proxy.is_some()),
            ("--seeds", self.seeds != "1"),
            ("--jobs", self.jobs.is_some()),
            ("--threads", self.threads.is_some()),
            ("--curves", !self.curves.is_empty()),
            ("--halving", self.halving.is_some()),
            ("--set", !self.set.is_empty()),
            ("--worker", self.worker.is_some()),
            ("--trial-timeout", self.trial_timeout.is_some()),
            ("--resume", self.resume),
        ];
        let unused: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if !unused.is_empty() {
            eprintln!("note: nothing is trained with --oracle table; without effect: {}", unused.join(", "));
        }
    }

    /// `baseline_side` is the image side of the unscaled network.
    pub(super) fn proxy(&self, baseline_side: usize) -> Result<Proxy> {
        Proxy::parse(self.proxy.as_deref().unwrap_or_default(), baseline_side)
    }

    /// The seeds of every candidate's runs.
    pub(super) fn seeds(&self) -> Result<Vec<u64>> {
        let text = &self.seeds;
        let expected = || {
            format!("--seeds: expected a number of at least 1, or different seeds as a list, got `{text}`")
        };
        let numbers = text.split(',').map(|number| number.trim().parse::<u64>());
        let numbers = numbers.collect::<Result<Vec<_>, _>>().with_context(expected)?;
        let seeds = match numbers[..] {
            [count] if !text.contains(',') => (0..count).collect(),
            _ => numbers,
        };
        let different = seeds.iter().collect::<BTreeSet<_>>().len();
        ensure!(!seeds.is_empty() && different == seeds.len(), expected());
        Ok(seeds)
    }

    pub(super) fn objective(&self, definition: &Definition) -> Result<Objective> {
        Ok(match self.objective {
            ObjectiveKind::Accuracy => Objective::Accuracy { budget: self.budget },
            ObjectiveKind::Pareto => Objective::Pareto,
            ObjectiveKind::Reward => Objective::Reward {
                target: match self.reward_target {
                    Some(target) => target,
                    None => definition.target_cost()?,
                },
                exponent: self.reward_exponent.unwrap_or(-0.07),
            },
        })
    }
}
