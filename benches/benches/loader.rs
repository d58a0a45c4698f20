//! The training pipeline at 320 pixels: each step alone, and samples with and without decoding, on one core.

use benches::settings::brief;
use box_geometry::{Letterbox, LetterboxOptions, Size};
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
    let compose = |generator: &mut Generator| {
        Mosaic::draw(SIDE, generator).compose([&*tiles[0], &*tiles[1], &*tiles[2], &*tiles[3]])
    };
    let mut generator = Generator::for_sample(0, 0, 0);
    let canvas = compose(&mut generator);
    let affine = RandomAffine { ranges: augmentation().affine, output: SIDE };
    let square = affine.apply(canvas.clone(), &mut generator);
    let path = dataset.path(0).to_path_buf();
    check_decoded(&RgbImage::open(&path).unwrap(), &photograph(0));
    check_halved(&original, &resize(&original, Size { height: 240, width: 320 }));
    assert_eq!(canvas.image.size(), Size { height: 2 * SIDE, width: 2 * SIDE });
    assert_eq!(square.image.size(), Size { height: SIDE, width: SIDE });
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
        let seen: Vec<usize> =
            loader.epoch(pipeline.clone(), 0, 0).flat_map(|batch| batch.unwrap().indices).collect();
        let all: std::collections::BTreeSet<usize> = seen.iter().copied().collect();
        assert_eq!((seen.len(), all.len()), (IMAGES, IMAGES), "{name}: every image once");
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
