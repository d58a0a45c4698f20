//! The loaders: same batches whatever the threads, order, resumption, errors, and the way back to original pixels.

mod sets;

use box_geometry::{InverseRule, Size};
use detect_data::*;
use sets::Painted;
use std::sync::Arc;

const SIDE: usize = 64;

fn strong() -> Augmentation {
    Augmentation {
        mosaic: 0.7,
        affine: AffineRanges { degrees: 10.0, translate: 0.1, scale: 0.5, shear: 2.0, perspective: 1e-4 },
        mixup: 0.3,
        colour: ColourJitter { hue: 0.015, saturation: 0.7, value: 0.4, rule: HueRule::Multiplicative },
        flip: RandomFlip { up_down: 0.2, left_right: 0.5 },
    }
}

fn images(dataset: impl Dataset + 'static, byte_limit: usize) -> Arc<LoadedImages> {
    Arc::new(LoadedImages::new(Arc::new(dataset), SIDE, byte_limit).unwrap())
}

fn loader(threads: usize) -> TrainLoader {
    TrainLoader::new(LoaderOptions { batch: 4, threads, queue: 1, seed: 11 }).unwrap()
}

fn epoch(threads: usize, byte_limit: usize, epoch: u64, first: usize) -> Vec<Batch> {
    let pipeline = TrainPipeline::new(images(Painted::new(22), byte_limit), strong()).unwrap();
    loader(threads).epoch(pipeline, epoch, first).map(|batch| batch.unwrap()).collect()
}

#[test]
fn batches_do_not_depend_on_threads_or_memory() {
    let want = epoch(1, 0, 3, 0);
    for threads in 1..=4 {
        for byte_limit in [0, 60_000, usize::MAX] {
            assert_eq!(epoch(threads, byte_limit, 3, 0), want, "{threads} threads, limit {byte_limit}");
        }
    }
}

#[test]
fn an_epoch_shows_every_image_once_in_its_own_order() {
    let (first, second) = (epoch(2, 0, 0, 0), epoch(2, 0, 1, 0));
    let indices =
        |batches: &[Batch]| batches.iter().flat_map(|batch| batch.indices.clone()).collect::<Vec<_>>();
    assert_ne!(indices(&first), indices(&second));
    for batches in [first, second] {
        let mut all = indices(&batches);
        all.sort();
        assert_eq!(all, (0..22).collect::<Vec<_>>());
        assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 4, 4, 4, 2]);
        for (number, batch) in batches.iter().enumerate() {
            assert_eq!(batch.number, number);
            assert_eq!(batch.images.len(), batch.len() * batch.height * batch.width * 3);
            assert_eq!((batch.height, batch.width, batch.targets.len()), (SIDE, SIDE, batch.len()));
        }
    }
}

#[test]
fn targets_are_normalised_and_inside() {
    let targets: Vec<NormalisedBox> =
        epoch(2, 0, 0, 0).into_iter().flat_map(|batch| batch.targets).flatten().collect();
    assert!(!targets.is_empty());
    for target in targets {
        let xyxy = target.cxcywh.to_xyxy();
        assert!(xyxy.to_array().iter().all(|edge| (-1e-6..=1.0 + 1e-6).contains(edge)), "{target:?}");
    }
}

#[test]
fn a_resumed_epoch_goes_on_with_the_same_batches() {
    assert_eq!(epoch(3, 0, 5, 2), epoch(1, 0, 5, 0)[2..]);
    assert!(epoch(2, 0, 5, 6).is_empty());
}

#[test]
fn without_augmentation_samples_are_letterboxed() {
    let dataset = Painted::new(3);
    let sample = dataset.get(2).unwrap();
    let loaded = images(dataset, 0);
    let pipeline = TrainPipeline::new(loaded.clone(), Augmentation::NONE).unwrap();
    let augmented = pipeline.sample(2, &mut Generator::for_sample(0, 0, 2)).unwrap();
    let size = loading_size(sample.image.size(), SIDE);
    let top = (SIDE - size.height) / 2;
    let scaled = resize(&sample.image, size);
    assert!(augmented.image.row(0).iter().all(|byte| *byte == BORDER));
    assert_eq!(augmented.image.row(top), scaled.row(0));
    let (got, before) = (augmented.boxes[0].xyxy, sample.boxes[0].xyxy);
    let factor = size.height as f32 / sample.image.size().height as f32;
    assert!((got.y1 - before.y1 * factor - top as f32).abs() < 1e-3, "{got:?}");
}

/// The painted rectangles are brighter than what surrounds them: boxes still lie on them after everything.
#[test]
fn boxes_stay_on_their_objects() {
    let mut augmentation = strong();
    augmentation.mixup = 0.0;
    augmentation.colour = Augmentation::NONE.colour;
    augmentation.affine = AffineRanges { degrees: 0.0, shear: 0.0, perspective: 0.0, ..augmentation.affine };
    let pipeline = TrainPipeline::new(images(Painted::new(22), 0), augmentation).unwrap();
    let mut seen = 0;
    for index in 0..22 {
        let sample = pipeline.sample(index, &mut Generator::for_sample(1, 0, index as u64)).unwrap();
        for labelled in &sample.boxes {
            let centre = labelled.xyxy.to_cxcywh();
            let pixel = &sample.image.row(centre.cy as usize)[centre.cx as usize * 3..][..3];
            assert!(pixel.iter().all(|byte| *byte > 200), "image {index}, {labelled:?}: {pixel:?}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

struct Failing(Painted, fn(usize) -> Result<(), DataError>);

impl Dataset for Failing {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn class_names(&self) -> &[String] {
        self.0.class_names()
    }

    fn size(&self, index: usize) -> Size {
        self.0.size(index)
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        (self.1)(index)?;
        self.0.get(index)
    }
}

fn failing(fail: fn(usize) -> Result<(), DataError>) -> Vec<Result<Batch, DataError>> {
    let dataset = Failing(Painted::new(22), fail);
    let pipeline = TrainPipeline::new(images(dataset, 0), Augmentation::NONE).unwrap();
    loader(3).epoch(pipeline, 0, 0).collect()
}

#[test]
fn an_error_in_a_thread_arrives_and_ends_the_epoch() {
    let batches = failing(|index| match index {
        9 => Err(DataError::IndexOutOfRange { index, len: 9 }),
        _ => Ok(()),
    });
    let order = Generator::for_order(11, 0).permutation(22);
    let at = order.iter().position(|index| *index == 9).unwrap() / 4;
    assert_eq!(batches.len(), at + 1);
    assert!(matches!(batches[at], Err(DataError::IndexOutOfRange { index: 9, .. })));
}

#[test]
fn a_panic_in_a_thread_arrives_as_an_error() {
    let batches = failing(|index| {
        assert_ne!(index, 9, "a picture of the ninth");
        Ok(())
    });
    let error = batches.into_iter().last().unwrap().unwrap_err().to_string();
    assert!(error.contains("panicked") && error.contains("a picture of the ninth"), "{error}");
}

#[test]
fn a_dropped_epoch_ends_its_threads() {
    let loaded = images(Painted::new(22), 0);
    let pipeline = TrainPipeline::new(loaded.clone(), strong()).unwrap();
    let mut batches = loader(3).epoch(pipeline, 0, 0);
    assert_eq!(batches.remaining(), 6);
    batches.next().unwrap().unwrap();
    drop(batches);
    // The threads held the images; none is left.
    assert_eq!(Arc::strong_count(&loaded), 1);
}

#[test]
fn impossible_settings_are_refused() {
    let options = LoaderOptions { batch: 4, threads: 0, queue: 1, seed: 0 };
    let error = TrainLoader::new(options).unwrap_err();
    assert_eq!(error.to_string(), "loader threads: expected at least 1, got 0");
    let augmentation = Augmentation { mosaic: 1.5, ..Augmentation::NONE };
    assert!(TrainPipeline::new(images(Painted::new(1), 0), augmentation).is_err());
}

#[test]
fn memory_is_kept_within_the_limit() {
    let loaded = images(Painted::new(22), usize::MAX);
    let bytes: usize = (0..22).map(|index| loaded.get(index).unwrap().image.data().len()).sum();
    assert_eq!(loaded.bytes(), bytes);
    assert!(Arc::ptr_eq(&loaded.get(3).unwrap(), &loaded.get(3).unwrap()));
    let none = images(Painted::new(22), 10);
    assert!(!Arc::ptr_eq(&none.get(3).unwrap(), &none.get(3).unwrap()));
}

fn validation(threads: usize, rectangular: bool) -> ValidationLoader {
    let options = ValidationOptions { batch: 5, stride: 32, pad: 0.5, rectangular, threads, queue: 1 };
    ValidationLoader::new(images(Painted::new(22), 0), options).unwrap()
}

#[test]
fn validation_gives_every_image_once_by_rising_aspect_and_maps_boxes_back() {
    let dataset = Painted::new(22);
    let loader = validation(2, true);
    let batches: Vec<ValidationBatch> = loader.start().map(|batch| batch.unwrap()).collect();
    assert_eq!(batches.len(), loader.batches());
    let images: Vec<&ValidationImage> = batches.iter().flat_map(|batch| &batch.images).collect();
    let aspects: Vec<f64> = images
        .iter()
        .map(|image| image.mapping.original.height as f64 / image.mapping.original.width as f64)
        .collect();
    assert!(aspects.is_sorted());
    let mut indices: Vec<usize> = images.iter().map(|image| image.index).collect();
    indices.sort();
    assert_eq!(indices, (0..22).collect::<Vec<_>>());
    for batch in &batches {
        assert_eq!((batch.height % 32, batch.width % 32), (0, 0));
        assert_eq!(batch.pixels.len(), batch.images.len() * batch.height * batch.width * 3);
    }
    for image in images {
        let sample = dataset.get(image.index).unwrap();
        assert_eq!(image.ground_truths.len(), sample.boxes.len());
        for (truth, labelled) in image.ground_truths.iter().zip(&sample.boxes) {
            let back =
                image.mapping.to_original(&image.mapping.to_input(&labelled.xyxy), InverseRule::Current);
            for other in [back, truth.xyxy] {
                let pairs = other.to_array().into_iter().zip(labelled.xyxy.to_array());
                assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-3), "{other:?} {labelled:?}");
            }
        }
    }
}

#[test]
fn validation_does_not_depend_on_threads_and_can_be_square() {
    let all = |loader: ValidationLoader| loader.start().map(|batch| batch.unwrap()).collect::<Vec<_>>();
    assert_eq!(all(validation(1, true)), all(validation(4, true)));
    let square = all(validation(2, false));
    assert!(square.iter().all(|batch| (batch.height, batch.width) == (SIDE, SIDE)));
    assert_eq!(square[1].images[0].index, 5);
}
