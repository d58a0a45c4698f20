//! Shuffled batches of augmented samples.

use crate::prefetch::{Prefetch, Stop};
use crate::{DataError, Generator, LabelledBox, NormalisedBox, Sample, TrainPipeline};

/// Images and objects that are trained on together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Number within its epoch, from 0.
    pub number: usize,
    /// RGB bytes, `[B, H, W, 3]`.
    pub images: Vec<u8>,
    /// Height of the network input in pixels.
    pub height: usize,
    /// Width of the network input in pixels.
    pub width: usize,
    /// The objects of each image, normalised by the network input.
    pub targets: Vec<Vec<NormalisedBox>>,
    /// Index in the data set of each image (of a mosaic the first).
    pub indices: Vec<usize>,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True without images.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// How a loader works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Images a batch, at least 1; the last one of an epoch may be shorter.
    pub batch: usize,
    /// Threads that make batches, at least 1.
    pub threads: usize,
    /// Batches that each thread may have ready, at least 1.
    pub queue: usize,
    /// Seed of order and augmentation.
    pub seed: u64,
}

impl LoaderOptions {
    fn check(&self) -> Result<(), DataError> {
        let settings =
            [("batch", self.batch), ("loader threads", self.threads), ("loader queue", self.queue)];
        match settings.into_iter().find(|(_, value)| *value == 0) {
            Some((setting, _)) => {
                Err(DataError::Setting { setting, expected: "at least 1", got: "0".into() })
            }
            None => Ok(()),
        }
    }
}

/// Starts epochs over a training set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainLoader {
    options: LoaderOptions,
}

impl TrainLoader {
    /// A loader.
    ///
    /// # Errors
    /// When a number is 0.
    pub fn new(options: LoaderOptions) -> Result<Self, DataError> {
        options.check()?;
        Ok(TrainLoader { options })
    }

    /// Batches of an epoch over `images` images.
    pub fn batches(&self, images: usize) -> usize {
        images.div_ceil(self.options.batch)
    }

    /// Starts `epoch` at batch `first_batch` (0, or where a run stopped). The order of the images and every sample
    /// depend on (seed, epoch, index) alone: not on the number of threads, and not on where the epoch was started.
    /// Later epochs may pass a pipeline of other strength.
    pub fn epoch(&self, pipeline: TrainPipeline, epoch: u64, first_batch: usize) -> TrainBatches {
        let LoaderOptions { batch, threads, queue, seed } = self.options;
        let order = Generator::for_order(seed, epoch).permutation(pipeline.images().len());
        let batches = self.batches(order.len());
        let make = move |number: usize, stop: &Stop| {
            let indices = &order[number * batch..order.len().min((number + 1) * batch)];
            make_batch(
                &pipeline,
                number,
                indices,
                |index| Generator::for_sample(seed, epoch, index as u64),
                stop,
            )
        };
        TrainBatches(Prefetch::start(first_batch.min(batches)..batches, threads, queue, make))
    }
}

/// Batch `number`; `None` when it was told to stop.
fn make_batch(
    pipeline: &TrainPipeline,
    number: usize,
    indices: &[usize],
    generator: impl Fn(usize) -> Generator,
    stop: &Stop,
) -> Option<Result<Batch, DataError>> {
    let side = pipeline.images().image_size();
    let mut images = Vec::with_capacity(indices.len() * side * side * 3);
    let mut targets = Vec::with_capacity(indices.len());
    for index in indices {
        if stop.is_set() {
            return None;
        }
        match pipeline.sample(*index, &mut generator(*index)) {
            Ok(sample) => {
                images.extend_from_slice(sample.image.data());
                targets.push(normalised(&sample));
            }
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(Batch { number, images, height: side, width: side, targets, indices: indices.to_vec() }))
}

fn normalised(sample: &Sample) -> Vec<NormalisedBox> {
    let size = sample.image.size();
    let target = |labelled: &LabelledBox| NormalisedBox {
        class: labelled.class,
        cxcywh: labelled.xyxy.to_cxcywh().normalise(size),
    };
    sample.boxes.iter().map(target).collect()
}

/// The batches of an epoch, in order. The threads end when it is dropped; after an error it is over.
pub struct TrainBatches(Prefetch<Batch>);

impl TrainBatches {
    /// Batches that are still to come.
    pub fn remaining(&self) -> usize {
        self.0.remaining()
    }
}

impl Iterator for TrainBatches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}
