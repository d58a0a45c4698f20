//! The training pipeline at 320 pixels: each step alone, and samples with and without decoding, on one core.
//!
//! Each step is first checked against its plain form or the image it was made of, the loader against its pipeline.

use benches::pictures;
use benches::settings::brief;
use box_geometry::{Letterbox, LetterboxOptions, Size, Xyxy};
use cpu_kernels::{Isa, MapMut, convert};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use detect_data::*;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

const SIDE: usize = 320;
const IMAGES: usize = 32;

/// Smooth colours with some texture: compresses as a photograph does.
fn photograph(seed: usize) -> image::RgbImage {
    image::RgbImage::from_fn(640, 480, |x, y| {
        let wave = |a: f32, b: f32| ((x as f32 * a + y as f32 * b + seed as f32).sin() * 90.0 + 128.0) as u8;
        let grain = (x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)) >> 27) as u8;
        image::Rgb([wave(0.02, 0.013), wave(-0.011, 0.03), wave(0.05, 0.05)].map(|v| v.saturating_add(grain)))
    })
}

/// A data set in a folder of its own.
fn dataset(folder: &std::path::Path) -> Arc<FileDataset> {
    for part in ["images", "labels"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    for i in 0..IMAGES {
        photograph(i).save(folder.join(format!("images/{i}.jpg"))).unwrap();
        let rows: String = (0..12).map(|k| format!("0 0.{}5 0.5 0.08 0.1\n", k % 9 + 1)).collect();
        std::fs::write(folder.join(format!("labels/{i}.txt")), rows).unwrap();
    }
    let sources = [PathBuf::from(folder).join("images")];
    let options = OpenOptions { check: ImageCheck::Header, max_pixels: DEFAULT_MAX_PIXELS, threads: 1 };
    Arc::new(FileDataset::open_yolo(&sources, vec!["thing".into()], &options).unwrap())
}

/// YOLOv8's defaults.
fn augmentation() -> Augmentation {
    Augmentation {
        mosaic: 1.0,
        affine: AffineRanges { degrees: 0.0, translate: 0.1, scale: 0.5, shear: 0.0, perspective: 0.0 },
        mixup: 0.0,
        colour: ColourJitter { hue: 0.015, saturation: 0.7, value: 0.4, rule: HueRule::Multiplicative },
        flip: RandomFlip { up_down: 0.0, left_right: 0.5 },
    }
}

/// JPEG loses some grey levels, on average few.
fn check_decoded(image: &RgbImage, original: &image::RgbImage) {
    assert_eq!(image.data().len(), original.len(), "bytes");
    let apart = |(a, b): (&u8, &u8)| u64::from(a.abs_diff(*b));
    let sum: u64 = image.data().iter().zip(original.iter()).map(apart).sum();
    assert!(sum < 12 * original.len() as u64, "{sum} grey levels of difference in {} bytes", original.len());
}

/// Every pixel of an image of half the size is the mean of four.
fn check_halved(image: &RgbImage, half: &RgbImage) {
    for y in 0..half.size().height {
        for x in 0..half.size().width * 3 {
            let left = x / 3 * 6 + x % 3;
            let four =
                [2 * y, 2 * y + 1].map(|y| u32::from(image.row(y)[left]) + u32::from(image.row(y)[left + 3]));
            let mean = (four[0] + four[1]) as f32 / 4.0;
            assert!((f32::from(half.row(y)[x]) - mean).abs() <= 1.0, "row {y}, byte {x}");
        }
    }
}

/// Pixels and boxes of a mosaic.
fn check_mosaic(canvas: &Sample, plan: &Mosaic, tiles: [&Sample; 4]) {
    let expected = pictures::mosaic(plan, tiles.map(|tile| &tile.image));
    assert!(canvas.image.data() == expected, "a mosaic's pixels");
    let side = plan.canvas as f32;
    let mut boxes = Vec::new();
    for (number, tile) in tiles.into_iter().enumerate() {
        let Size { height, width } = tile.image.size();
        let left = plan.centre_x as f32 - if number % 2 == 0 { width as f32 } else { 0.0 };
        let top = plan.centre_y as f32 - if number < 2 { height as f32 } else { 0.0 };
        let moved = tile.boxes.iter().map(|LabelledBox { class, xyxy: Xyxy { x1, y1, x2, y2 } }| {
            let [x1, x2] = [x1 + left, x2 + left].map(|x| x.clamp(0.0, side));
            let [y1, y2] = [y1 + top, y2 + top].map(|y| y.clamp(0.0, side));
            LabelledBox { class: *class, xyxy: Xyxy { x1, y1, x2, y2 } }
        });
        boxes.extend(moved.filter(|it| it.xyxy.x2 > it.xyxy.x1 && it.xyxy.y2 > it.xyxy.y1));
    }
    assert_eq!(canvas.boxes, boxes, "a mosaic's boxes");
}

/// Pixels within rounding and the weights' ten bits; boxes that are left lie where the map puts them.
fn check_affine(canvas: &Sample, affine: &RandomAffine, mut generator: Generator) {
    let square = affine.apply(canvas.clone(), &mut generator.clone());
    let (matrix, _) = affine.draw(canvas.image.size(), &mut generator);
    let expected = pictures::warped(&canvas.image, &matrix, affine.output);
    assert_eq!(square.image.data().len(), expected.len(), "bytes of an affine map");
    for (i, (got, expected)) in square.image.data().iter().zip(expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() < 1.0, "affine, byte {i}: {got}, expected {expected}");
    }
    let side = affine.output as f64;
    let inside = |(x, y): (f64, f64)| [x.clamp(0.0, side) as f32, y.clamp(0.0, side) as f32];
    // Neither rotation nor shear is on, so that opposite corners stay opposite corners.
    let moved: Vec<[[f32; 2]; 2]> = canvas
        .boxes
        .iter()
        .map(|LabelledBox { xyxy: it, .. }| {
            [(it.x1, it.y1), (it.x2, it.y2)].map(|(x, y)| inside(matrix.map(x.into(), y.into())))
        })
        .collect();
    assert!(!square.boxes.is_empty(), "an affine map without boxes checks none");
    for LabelledBox { xyxy: Xyxy { x1, y1, x2, y2 }, .. } in &square.boxes {
        let is_here = |[low, high]: &[[f32; 2]; 2]| {
            [low[0] - x1, low[1] - y1, high[0] - x2, high[1] - y2].iter().all(|apart| apart.abs() < 1e-3)
        };
        assert!(moved.iter().any(is_here), "{x1} {y1} {x2} {y2} is no mapped box");
    }
}

/// A map of zero ranges leaves a square as it is.
fn check_affine_identity(square: &Sample) {
    let affine = RandomAffine { ranges: Augmentation::NONE.affine, output: SIDE };
    assert!(affine.apply(square.clone(), &mut Generator::for_sample(0, 0, 0)) == *square, "affine identity");
}

/// Colours by the draws against the plain form. A hue in the middle between two steps may be rounded to either, which
/// moves a channel by a thirtieth of its value; on average colours are within half a grey level.
fn check_colour(square: &Sample, mut generator: Generator) {
    let jitter = augmentation().colour;
    let changed = jitter.apply(square.clone(), &mut generator.clone());
    let expected = pictures::jittered(&square.image, &jitter, [(); 3].map(|()| generator.symmetric(1.0)));
    let mean = |of: &mut dyn Iterator<Item = f64>| of.sum::<f64>() / expected.len() as f64;
    let bytes = changed.image.data();
    let apart = || bytes.iter().zip(&expected).map(|(got, expected)| (f64::from(*got) - expected).abs());
    let moved =
        mean(&mut square.image.data().iter().zip(&expected).map(|(old, e)| (f64::from(*old) - e).abs()));
    assert!(moved > 5.0, "a jitter by {moved} grey levels checks little");
    assert!(mean(&mut apart()) < 0.5, "colours are {} grey levels apart", mean(&mut apart()));
    let largest = apart().fold(0.0, f64::max);
    assert!(largest < 10.0, "a colour is {largest} grey levels apart");
    assert_eq!(changed.boxes, square.boxes, "boxes under a jitter");
}

/// Gains of zero leave an image as it is.
fn check_colour_identity(square: &Sample) {
    let jitter = Augmentation::NONE.colour;
    assert!(jitter.apply(square.clone(), &mut Generator::for_sample(0, 0, 0)) == *square, "colour identity");
}

/// From the bytes of a file of 1280x720 to the network's input at 640, on one thread.
fn prediction_input(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    let large = image::imageops::resize(&photograph(0), 1280, 720, image::imageops::FilterType::Triangle);
    large.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    let options = LetterboxOptions { auto_stride: None, scale_up: true, scale_fill: false };
    let [original, target] = [(720, 1280), (640, 640)].map(|(height, width)| Size { height, width });
    let transform = Letterbox::new(original, target, &options).unwrap();
    let mut input = vec![0.0; 640 * 640 * 3];
    let run = |input: &mut [f32]| {
        let image = RgbImage::decode(black_box(&bytes), DEFAULT_MAX_PIXELS).unwrap();
        let square = letterbox(&image, &transform);
        let input = &mut MapMut::dense(input, 3);
        convert::rgb8_to_nhwc(Isa::best(), square.data(), [1.0 / 255.0; 3], [0.0; 3], input);
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| run(&mut input));
    // 360 rows of the picture at half its size, between two bars of 140.
    let half = image::imageops::resize(&large, 640, 360, image::imageops::FilterType::Triangle);
    let mut apart = 0.0;
    for (row, values) in input.chunks_exact(640 * 3).enumerate() {
        if (140..500).contains(&row) {
            let expected = half.as_raw()[(row - 140) * 640 * 3..][..640 * 3].iter();
            apart += values.iter().zip(expected).map(|(v, e)| (255.0 * v - f32::from(*e)).abs()).sum::<f32>();
        } else {
            let grey = f32::from(BORDER) / 255.0;
            assert!(values.iter().all(|value| (value - grey).abs() < 1e-6), "row {row}");
        }
    }
    assert!(apart < 12.0 * half.len() as f32, "{apart} grey levels of difference");
    let mut group = criterion.benchmark_group("loader/prediction");
    group.bench_function("decode, letterbox, normalise 1280x720 to 640", |b| {
        b.iter(|| pool.install(|| run(&mut input)));
    });
    group.finish();
}

fn steps(criterion: &mut Criterion, dataset: &Arc<FileDataset>) {
    let images = LoadedImages::new(dataset.clone(), SIDE, usize::MAX).unwrap();
    let original = dataset.get(0).unwrap().image;
    let tiles: Vec<Arc<Sample>> = (0..4).map(|i| images.get(i).unwrap()).collect();
    let tiles = std::array::from_fn(|i| &*tiles[i]);
    let mut generator = Generator::for_sample(0, 0, 0);
    let plan = Mosaic::draw(SIDE, &mut generator.clone());
    let compose = |generator: &mut Generator| Mosaic::draw(SIDE, generator).compose(tiles);
    let canvas = compose(&mut generator);
    check_mosaic(&canvas, &plan, tiles);
    let affine = RandomAffine { ranges: augmentation().affine, output: SIDE };
    check_affine(&canvas, &affine, generator.clone());
    let square = affine.apply(canvas.clone(), &mut generator);
    check_affine_identity(&square);
    check_colour(&square, generator.clone());
    check_colour_identity(&square);
    let path = dataset.path(0).to_path_buf();
    check_decoded(&RgbImage::open(&path).unwrap(), &photograph(0));
    check_halved(&original, &resize(&original, Size { height: 240, width: 320 }));
    let mut group = criterion.benchmark_group("loader/step");
    group.bench_function("decode_640x480", |b| b.iter(|| RgbImage::open(black_box(&path)).unwrap()));
    group.bench_function("resize_to_320", |b| {
        b.iter(|| resize(black_box(&original), Size { height: 240, width: 320 }))
    });
    group.bench_function("mosaic", |b| b.iter(|| compose(&mut generator)));
    group.bench_function("affine", |b| {
        b.iter_batched(
            || canvas.clone(),
            |canvas| affine.apply(canvas, &mut generator),
            criterion::BatchSize::SmallInput,
        )
    });
    group.bench_function("colour", |b| {
        b.iter_batched(
            || square.clone(),
            |square| augmentation().colour.apply(square, &mut generator),
            criterion::BatchSize::SmallInput,
        )
    });
    group.finish();
}

/// Every image comes once, as its pipeline makes it.
fn check_epoch(name: &str, loader: &TrainLoader, pipeline: &TrainPipeline) {
    let mut seen = std::collections::BTreeSet::new();
    for batch in loader.epoch(pipeline.clone(), 0, 0).map(Result::unwrap) {
        for (index, bytes) in batch.indices.iter().zip(batch.images.chunks_exact(SIDE * SIDE * 3)) {
            let sample = pipeline.sample(*index, &mut Generator::for_sample(0, 0, *index as u64)).unwrap();
            assert!(sample.image.data() == bytes, "{name}: image {index}");
            assert!(seen.insert(*index), "{name}: image {index} comes twice");
        }
    }
    assert_eq!(seen.len(), IMAGES, "{name}: images");
}

/// An epoch on one thread; `byte_limit` 0 decodes four images a sample.
fn epochs(criterion: &mut Criterion, dataset: &Arc<FileDataset>) {
    let loader = TrainLoader::new(LoaderOptions { batch: 16, threads: 1, queue: 1, seed: 0 }).unwrap();
    let mut group = criterion.benchmark_group("loader/epoch");
    group.sample_size(10).throughput(Throughput::Elements(IMAGES as u64));
    for (name, mosaic, byte_limit) in
        [("mosaic_in_memory", 1.0, usize::MAX), ("mosaic_decoding", 1.0, 0), ("letterbox_decoding", 0.0, 0)]
    {
        let images = Arc::new(LoadedImages::new(dataset.clone(), SIDE, byte_limit).unwrap());
        let pipeline = TrainPipeline::new(images, Augmentation { mosaic, ..augmentation() }).unwrap();
        check_epoch(name, &loader, &pipeline);
        group.bench_function(name, |b| {
            b.iter(|| loader.epoch(pipeline.clone(), 0, 0).map(|batch| batch.unwrap().len()).sum::<usize>())
        });
    }
    group.finish();
}

fn loader(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path());
    steps(criterion, &dataset);
    epochs(criterion, &dataset);
}

criterion_group! { name = benches; config = brief(); targets = loader, prediction_input }
criterion_main!(benches);
