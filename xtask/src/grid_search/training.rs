//! Accuracies by training: the full grid, or successive halving.

use super::arguments::Arguments;
use super::data::TrialData;
use super::definition::Definition;
use super::store::{Ending, Store};
use super::trial::{self, Planner, Settings, Trial};
use super::workers::{Finished, Workers, find_binary};
use crate::baseline::ChosenBaseline;
use crate::model_file::{ModelTemplate, trained_variant};
use anyhow::{Context, Result, bail, ensure};
use effnet_scaling::{Accuracy, AccuracyOracle, Candidate, CompoundCoefficients, Network, SourceError};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How candidates are trained, and on what.
pub(super) struct Training {
    planner: Planner,
    /// `None` where finished trials are only read.
    source: Option<Source>,
}

struct Source {
    data: TrialData,
    template: ModelTemplate,
    jobs: usize,
}

/// A candidate that a shorter trial left behind.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Eliminated {
    #[serde(flatten)]
    pub(super) coefficients: CompoundCoefficients,
    pub(super) epochs: usize,
    /// `None` if its trial broke.
    pub(super) accuracy: Option<f64>,
}

/// What training leaves to be ranked.
pub(super) struct Trained {
    pub(super) finalists: Vec<Candidate<Network>>,
    pub(super) eliminated: Vec<Eliminated>,
}

impl Training {
    pub(super) fn new(arguments: &Arguments) -> Result<Self> {
        let ChosenBaseline { baseline, resolution_divisor, classes } = arguments.baseline.resolve()?;
        trained_variant(&baseline).context("trials train; for others use --oracle table FILE")?;
        let path = arguments
            .data
            .as_deref()
            .context("--data FOLDER is needed to train on, or --oracle table FILE")?;
        let data = TrialData::find(path)?;
        let template = trial::template(arguments, &data, &baseline, classes)?;
        let jobs = arguments.jobs.unwrap_or(1);
        ensure!(jobs > 0, "--jobs: expected at least 1, got 0");
        let settings = Settings::new(arguments, &data, &template, jobs)?;
        let planner = Planner { settings, baseline, resolution_divisor };
        Ok(Training { planner, source: Some(Source { data, template, jobs }) })
    }

    /// That of finished searches: it names trials but runs none.
    pub(super) fn of(definition: &Definition) -> Result<Self> {
        let settings = definition.training.clone().context("the joined searches trained nothing")?;
        let baseline = definition.baseline()?;
        let resolution_divisor = definition.resolution_divisor;
        Ok(Training { planner: Planner { settings, baseline, resolution_divisor }, source: None })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.planner.settings
    }

    /// Trains what the store does not have yet.
    pub(super) fn run(
        &self,
        arguments: &Arguments,
        store: &Store,
        out: &Path,
        candidates: Vec<Candidate<Network>>,
    ) -> Result<Trained> {
        let settings = self.settings();
        if arguments.retry_broken {
            store.forget_broken()?;
        }
        let workers = self.workers(arguments, out)?;
        self.tell_rounded_sides(workers.template, &candidates)?;
        let mut trained = Trained { finalists: candidates, eliminated: Vec::new() };
        for epochs in self.short_rungs(trained.finalists.len()) {
            let first = &settings.seeds[..1];
            eprintln!("{} candidates at {epochs} epochs", trained.finalists.len());
            self.finish_trials(&workers, store, &trained.finalists, first, epochs)?;
            self.halve(store, &mut trained, epochs)?;
        }
        self.finish_trials(&workers, store, &trained.finalists, &settings.seeds, settings.proxy.epochs)?;
        Ok(trained)
    }

    /// A search whose best trial learnt nothing tells nothing.
    pub(super) fn tell_if_nothing_is_learnt(&self, best: f64) {
        let chance = self.source.as_ref().and_then(|source| source.data.chance);
        if let Some(chance) = chance.filter(|&chance| best <= 1.1 * chance) {
            eprintln!(
                "note: the best trial has {best:.4}, hardly more than always answering the most frequent class \
                 ({chance:.4}): the trials are too short to tell candidates apart; lengthen --proxy"
            );
        }
    }

    /// Trains these, with every seed and all epochs, whatever halving says.
    pub(super) fn run_all(
        &self,
        arguments: &Arguments,
        store: &Store,
        out: &Path,
        candidates: &[Candidate<Network>],
    ) -> Result<()> {
        let Settings { seeds, proxy, .. } = self.settings();
        self.finish_trials(&self.workers(arguments, out)?, store, candidates, seeds, proxy.epochs)
    }

    /// The search compares sides; where the trainer rounds them, some candidates become equal.
    fn tell_rounded_sides(&self, template: &ModelTemplate, candidates: &[Candidate<Network>]) -> Result<()> {
        let (mut asked, mut used) = (BTreeSet::new(), BTreeSet::new());
        for candidate in candidates {
            asked.insert(self.planner.trial(candidate, 0, 1)?.side);
        }
        for &side in &asked {
            used.insert(template.side_used(side)?);
        }
        if asked != used {
            eprintln!(
                "note: trials round the image sides {asked:?} to {used:?}; with --resolution-divisor 32 the costs are \
                 those of the sides that are trained"
            );
        }
        Ok(())
    }

    fn workers(&self, arguments: &Arguments, out: &Path) -> Result<Workers<'_>> {
        let Some(source) = &self.source else { bail!("there is nothing to train on") };
        let settings = self.settings();
        Ok(Workers {
            binary: find_binary(arguments.worker.as_deref())?,
            template: &source.template,
            settings,
            data: source.data.for_proxy(&settings.proxy, out)?,
            // What a killed search left running still writes to that search's own folder.
            folder: out.join("trials").join(format!("process-{}", std::process::id())),
            jobs: source.jobs,
            timeout: arguments.trial_timeout.map(Duration::from_secs),
            keep_runs: arguments.keep_runs,
        })
    }

    /// Epochs of the rungs before the last; none without halving.
    fn short_rungs(&self, candidates: usize) -> Vec<usize> {
        let Some(eta) = self.settings().halving else { return Vec::new() };
        let (mut epochs, mut left) = (self.settings().proxy.epochs, candidates);
        let mut rungs = Vec::new();
        while epochs / eta >= 1 && left.div_ceil(eta) < left {
            epochs /= eta;
            left = left.div_ceil(eta);
            rungs.push(epochs);
        }
        rungs.reverse();
        rungs
    }

    /// Keeps the best `1 / eta`; of equal ones those that cost less.
    fn halve(&self, store: &Store, trained: &mut Trained, epochs: usize) -> Result<()> {
        let Some(eta) = self.settings().halving else { return Ok(()) };
        let endings = store.trials()?;
        let mut judged = Vec::new();
        for candidate in std::mem::take(&mut trained.finalists) {
            let key = self.planner.trial(&candidate, self.settings().seeds[0], epochs)?.key;
            let accuracy = endings.get(&key).and_then(|ending| ending.as_ref().ok().copied());
            judged.push((accuracy, candidate));
        }
        let rank = |accuracy: Option<f64>| accuracy.unwrap_or(-1.0);
        judged.sort_by(|a, b| rank(b.0).total_cmp(&rank(a.0)).then(a.1.cost.total_cmp(&b.1.cost)));
        let kept = judged.len().div_ceil(eta);
        for (index, (accuracy, candidate)) in judged.into_iter().enumerate() {
            if index < kept && accuracy.is_some() {
                trained.finalists.push(candidate);
            } else {
                let coefficients = candidate.coefficients;
                trained.eliminated.push(Eliminated { coefficients, epochs, accuracy });
            }
        }
        ensure!(
            !trained.finalists.is_empty(),
            "every trial of {epochs} epochs broke; see the messages above"
        );
        Ok(())
    }

    fn finish_trials(
        &self,
        workers: &Workers<'_>,
        store: &Store,
        candidates: &[Candidate<Network>],
        seeds: &[u64],
        epochs: usize,
    ) -> Result<()> {
        let done = store.trials()?;
        let (mut queued, mut trials) = (HashSet::new(), Vec::new());
        for candidate in candidates {
            for &seed in seeds {
                let trial = self.planner.trial(candidate, seed, epochs)?;
                if !done.contains_key(&trial.key) && queued.insert(trial.key.clone()) {
                    trials.push(trial);
                }
            }
        }
        let all = candidates.len() * seeds.len();
        eprintln!(
            "{} trials of {epochs} epochs to run, {} jobs of {} threads; {} are finished, or equal after rounding; stop \
             at any time, --resume goes on",
            trials.len(),
            workers.jobs,
            workers.settings.threads,
            all - trials.len()
        );
        let mut progress = Progress::new(&trials);
        workers.run(trials, |finished| {
            store.keep_trial(&finished.trial.key, &finished.ending, finished.seconds)?;
            progress.tell(&finished);
            Ok(())
        })
    }
}

/// Counts trials and the work in them.
struct Progress {
    start: Instant,
    total: usize,
    done: usize,
    work: f64,
    work_done: f64,
}

impl Progress {
    fn new(trials: &[Trial]) -> Self {
        let work = trials.iter().map(|trial| trial.work).sum();
        Progress { start: Instant::now(), total: trials.len(), done: 0, work, work_done: 0.0 }
    }

    fn tell(&mut self, finished: &Finished) {
        let Finished { trial, ending, seconds } = finished;
        self.done += 1;
        self.work_done += trial.work;
        let left = self.start.elapsed().as_secs_f64() * (self.work / self.work_done - 1.0);
        let result = match ending {
            Ok(accuracy) => format!("accuracy {accuracy:.4}"),
            Err(reason) => format!("BROKEN: {reason}"),
        };
        eprintln!(
            "[{}/{}] {}, seed {}: {result}, {seconds:.1} s; {} left",
            self.done,
            self.total,
            trial.coefficients,
            trial.seed,
            duration(left)
        );
    }
}

/// Seconds as a person says them.
fn duration(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Answers from finished trials: the mean over the seeds.
pub(super) struct StoredTrials<'a> {
    planner: &'a Planner,
    endings: HashMap<String, Ending>,
}

impl<'a> StoredTrials<'a> {
    pub(super) fn new(training: &'a Training, store: &Store) -> Result<Self> {
        Ok(StoredTrials { planner: &training.planner, endings: store.trials()? })
    }
}

impl AccuracyOracle<Network> for StoredTrials<'_> {
    fn accuracy(&mut self, candidate: &Candidate<Network>) -> Result<Option<Accuracy>, SourceError> {
        let Settings { seeds, proxy, .. } = &self.planner.settings;
        let (mut good, mut broken) = (Vec::new(), Vec::new());
        for &seed in seeds {
            let trial = self.planner.trial(candidate, seed, proxy.epochs)?;
            match self.endings.get(&trial.key) {
                Some(Ok(accuracy)) => good.push(*accuracy),
                Some(Err(reason)) => broken.push(format!("seed {seed}: {reason}")),
                None => {}
            }
        }
        match Accuracy::of_runs(&good) {
            Some(accuracy) => Ok(Some(accuracy)),
            None if broken.is_empty() => Ok(None),
            None => Err(broken.join("; ").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!([0.4, 59.0, 61.0, 7300.0].map(duration), ["0 s", "59 s", "2 min", "2 h 1 min"]);
    }
}
