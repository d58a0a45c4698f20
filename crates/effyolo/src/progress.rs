//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use yolo_train::{BatchProgress, EpochProgress, Observer};

/// Time between two plain lines of one epoch.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Share of the training time spent waiting for batches from which it is said.
const NOTABLE_WAIT: f64 = 0.03;

/// Shows a training run on standard error.
pub(crate) struct TrainingProgress {
    epochs: usize,
    bar: Option<ProgressBar>,
    is_terminal: bool,
    last_line: Instant,
    started: Instant,
    first_epoch: Option<usize>,
}

impl TrainingProgress {
    pub(crate) fn new(epochs: usize) -> Self {
        let now = Instant::now();
        TrainingProgress {
            epochs,
            bar: None,
            is_terminal: std::io::stderr().is_terminal(),
            last_line: now,
            started: now,
            first_epoch: None,
        }
    }

    fn bar(&mut self, batches: usize) -> &ProgressBar {
        self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg}")
                .expect("a template that was tried");
            ProgressBar::new(batches as u64).with_style(style)
        })
    }

    /// Time that the rest of the run takes if it goes on like this.
    fn time_left(&self, epoch: usize, share: f64) -> Duration {
        let first = self.first_epoch.unwrap_or(epoch);
        let done = (epoch - first) as f64 + share;
        let left = (self.epochs - epoch) as f64 - share;
        Duration::from_secs_f64(self.started.elapsed().as_secs_f64() / done.max(1e-9) * left.max(0.0))
    }
}

impl Observer for TrainingProgress {
    fn batch_done(&mut self, progress: &BatchProgress<'_>) {
        let BatchProgress { epoch, batches, loss_names, running, objects, pace: (images, elapsed) } =
            *progress;
        self.first_epoch.get_or_insert(epoch);
        let done = running.batches;
        let speed = images as f64 / elapsed.as_secs_f64();
        let left = clock(self.time_left(epoch, done as f64 / batches as f64));
        let prefix = format!("epoch {}/{}", epoch + 1, self.epochs);
        let losses = losses(loss_names.iter().copied().zip(running.mean_losses()));
        let message = format!("{losses}  {objects} objects  {speed:.1} images/s  {left} left");
        if self.is_terminal {
            let bar = self.bar(batches);
            bar.set_prefix(prefix);
            bar.set_message(message);
            bar.set_position(done as u64);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            eprintln!("{prefix} batch {done}/{batches} {message}");
        }
    }

    fn validation_batch_done(&mut self, done: usize, batches: usize) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("validating {done}/{batches}"));
        }
    }

    fn epoch_done(&mut self, progress: &EpochProgress<'_>) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.last_line = Instant::now();
        let EpochProgress { row, headline, is_best, epochs, waiting } = progress;
        let trained =
            row.values.iter().filter_map(|(name, value)| Some((name.strip_prefix("train/")?, *value)));
        let waited = if *waiting >= NOTABLE_WAIT {
            format!("  {:.0} % waiting for images", 100.0 * waiting)
        } else {
            String::new()
        };
        eprintln!(
            "epoch {}/{epochs}  {}  {headline}  {}{waited}{}",
            row.epoch,
            losses(trained),
            clock(Duration::from_secs_f64(row.time)),
            if *is_best { "  best" } else { "" }
        );
    }
}

/// Losses by their short names.
fn losses<'a>(losses: impl Iterator<Item = (&'a str, f64)>) -> String {
    let loss =
        |(name, value): (&str, f64)| format!("{} {value:.3}", name.strip_suffix("_loss").unwrap_or(name));
    losses.map(loss).collect::<Vec<_>>().join(" ")
}

/// Shows a validation on standard error, if that is a terminal.
pub(crate) struct ValidationProgress(Option<ProgressBar>);

impl ValidationProgress {
    pub(crate) fn new(batches: usize) -> Self {
        ValidationProgress(std::io::stderr().is_terminal().then(|| ProgressBar::new(batches as u64)))
    }
}

impl Observer for ValidationProgress {
    fn validation_batch_done(&mut self, done: usize, batches: usize) {
        if let Some(bar) = &self.0 {
            bar.set_position(done as u64);
            if done == batches {
                bar.finish_and_clear();
            }
        }
    }
}

/// Hours, minutes and seconds.
pub(crate) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!(clock(Duration::from_secs(9)), "0:09");
        assert_eq!(clock(Duration::from_secs(3 * 3600 + 62)), "3:01:02");
    }
}
