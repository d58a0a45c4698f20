//! Batches made ahead of time by threads, handed out in order.

use crate::DataError;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Set when nobody wants further batches; long work should look at it now and then.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// True when nobody wants further batches.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes batch `n`; `None` when it was told to stop.
pub trait MakeBatch<T>: Fn(usize, &Stop) -> Option<Result<T, DataError>> + Send + Sync {}
impl<T, F: Fn(usize, &Stop) -> Option<Result<T, DataError>> + Send + Sync> MakeBatch<T> for F {}

/// An iterator over batches that threads make.
///
/// Thread `t` of `n` makes every n-th batch into its own bounded channel, and the consumer takes from the channels in
/// turn: so the order is fixed and no more than `n * (queue + 1)` batches exist ahead of the consumer.
pub struct Prefetch<T> {
    channels: Vec<Receiver<Result<T, DataError>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Stop,
    start: usize,
    next: usize,
    end: usize,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts `threads` threads, each of which is at most `queue` batches ahead.
    pub fn start(
        batches: Range<usize>,
        threads: usize,
        queue: usize,
        make: impl MakeBatch<T> + 'static,
    ) -> Self {
        let threads = threads.clamp(1, batches.len().max(1));
        let stop = Stop::default();
        let make = Arc::new(make);
        let Range { start, end } = batches;
        let mut prefetch = Prefetch { channels: vec![], threads: vec![], stop, start, next: start, end };
        for first in batches.clone().take(threads) {
            let (sender, receiver) = bounded(queue);
            let (make, stop, numbers) = (make.clone(), prefetch.stop.clone(), first..batches.end);
            let work = move || produce(numbers.step_by(threads), &*make, &sender, &stop);
            prefetch.threads.push(std::thread::spawn(work));
            prefetch.channels.push(receiver);
        }
        prefetch
    }

    /// Batches that are still to come.
    pub fn remaining(&self) -> usize {
        self.end - self.next
    }
}

fn produce<T>(
    numbers: impl Iterator<Item = usize>,
    make: &impl MakeBatch<T>,
    sender: &Sender<Result<T, DataError>>,
    stop: &Stop,
) {
    for batch in numbers {
        let made = catch_unwind(AssertUnwindSafe(|| make(batch, stop))).unwrap_or_else(|panic| {
            Some(Err(DataError::WorkerPanicked { batch, message: message(&*panic) }))
        });
        let Some(made) = made else { return };
        let failed = made.is_err();
        if sender.send(made).is_err() || failed {
            return;
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_string())
}

impl<T: Send + 'static> Iterator for Prefetch<T> {
    type Item = Result<T, DataError>;

    /// The next batch; after an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let turn = (self.next - self.start) % self.channels.len();
        let made = self.channels[turn].recv().expect("a thread sends each of its batches or an error");
        self.next = if made.is_ok() { self.next + 1 } else { self.end };
        Some(made)
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        self.channels.clear();
        for thread in self.threads.drain(..) {
            // A panic was caught inside the thread and has been reported.
            let _ = thread.join();
        }
    }
}
