//! Batches of pictures, prepared ahead on threads of their own.

use crate::batch::smoothed;
use crate::{ClassBatch, ClassDataError, ClassPipeline};
use detect_data::{DataError, Generator, Prefetch, Stop};
use std::ops::Range;

/// Shape of the distribution of a mixup's blend; the share is the larger side of it.
const MIXUP_ALPHA: f64 = 0.2;

/// How a loader works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLoaderOptions {
    /// Pictures a batch, at least 1; the last one of an epoch may be shorter.
    pub batch: usize,
    /// Threads that make batches, at least 1.
    pub threads: usize,
    /// Batches that each thread may have ready, at least 1.
    pub queue: usize,
    /// Seed of order and augmentation.
    pub seed: u64,
}

/// Starts passes over a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLoader {
    options: ClassLoaderOptions,
}

impl ClassLoader {
    /// A loader.
    ///
    /// # Errors
    /// When a number is 0.
    pub fn new(options: ClassLoaderOptions) -> Result<Self, ClassDataError> {
        let ClassLoaderOptions { batch, threads, queue, .. } = options;
        let settings = [("batch", batch), ("loader threads", threads), ("loader queue", queue)];
        match settings.into_iter().find(|(_, value)| *value == 0) {
            None => Ok(ClassLoader { options }),
            Some((setting, _)) => {
                Err(ClassDataError::Setting { setting, expected: "at least 1", got: "0".into() })
            }
        }
    }

    /// Batches of a pass over `images` images.
    pub fn batches(&self, images: usize) -> usize {
        images.div_ceil(self.options.batch)
    }

    /// Starts `epoch` at batch `first_batch`, in random order. Order and pictures depend on (seed, epoch, index) alone.
    pub fn epoch(&self, pipeline: ClassPipeline, epoch: u64, first_batch: usize) -> ClassBatches {
        let order = Generator::for_order(self.options.seed, epoch).permutation(pipeline.images().len());
        self.start(pipeline, order, epoch, first_batch)
    }

    /// Starts a pass in the order of the data set.
    pub fn pass(&self, pipeline: ClassPipeline) -> ClassBatches {
        let order = (0..pipeline.images().len()).collect();
        self.start(pipeline, order, 0, 0)
    }

    fn start(
        &self,
        pipeline: ClassPipeline,
        order: Vec<usize>,
        epoch: u64,
        first_batch: usize,
    ) -> ClassBatches {
        let ClassLoaderOptions { batch, threads, queue, seed } = self.options;
        let batches = self.batches(order.len());
        let make = move |number: usize, stop: &Stop| {
            let indices = &order[number * batch..order.len().min((number + 1) * batch)];
            make_batch(&pipeline, number, indices, |index| Generator::for_sample(seed, epoch, index), stop)
        };
        ClassBatches(Prefetch::start(first_batch.min(batches)..batches, threads, queue, make))
    }
}

/// Batch `number`; `None` when it was told to stop. `generator` gives the stream of an image, or of the batch under a
/// number that no image has.
fn make_batch(
    pipeline: &ClassPipeline,
    number: usize,
    indices: &[usize],
    generator: impl Fn(u64) -> Generator,
    stop: &Stop,
) -> Option<Result<ClassBatch, DataError>> {
    let (side, classes) = (pipeline.side(), pipeline.images().names().len());
    let augmentation = pipeline.augmentation();
    let mut batch = ClassBatch {
        number,
        images: Vec::with_capacity(indices.len() * side * side * 3),
        side,
        targets: Vec::with_capacity(indices.len() * classes),
        indices: indices.to_vec(),
    };
    for &index in indices {
        if stop.is_set() {
            return None;
        }
        match pipeline.sample(index, &mut generator(index as u64)) {
            Ok(picture) => batch.images.extend_from_slice(picture.data()),
            Err(error) => return Some(Err(error)),
        }
        let class = pipeline.images().class(index);
        batch.targets.extend(smoothed(class, classes, augmentation.label_smoothing));
    }
    let mut generator = generator(u64::MAX - number as u64);
    if generator.chance(augmentation.cutmix) {
        batch.cut_and_mix(cut_box(side, &mut generator));
    } else if generator.chance(augmentation.mixup) {
        let share = generator.symmetric_beta_of(MIXUP_ALPHA);
        batch.mix(share.max(1.0 - share));
    }
    Some(Ok(batch))
}

/// Columns and rows that cutmix exchanges: a square of a share uniform in 0 to 1 of the area about any pixel, clipped.
fn cut_box(side: usize, generator: &mut Generator) -> [Range<usize>; 2] {
    let half = (side as f64 * (1.0 - generator.unit()).sqrt() / 2.0) as usize;
    [(); 2].map(|()| {
        let centre = generator.below(side);
        centre.saturating_sub(half)..(centre + half).min(side)
    })
}

/// The batches of a pass, in order. The threads end when it is dropped; after an error it is over.
pub struct ClassBatches(Prefetch<ClassBatch>);

impl Iterator for ClassBatches {
    type Item = Result<ClassBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}
