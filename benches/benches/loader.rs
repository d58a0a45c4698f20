//! The training pipeline at 320 pixels: each step alone, and samples with and without decoding, on one core.

use box_geometry::Size;
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
    let mut group = criterion.benchmark_group("loader_step");
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
    let mut group = criterion.benchmark_group("loader_epoch");
    group.sample_size(10).throughput(Throughput::Elements(IMAGES as u64));
    for (name, mosaic, byte_limit) in
        [("mosaic_in_memory", 1.0, usize::MAX), ("mosaic_decoding", 1.0, 0), ("letterbox_decoding", 0.0, 0)]
    {
        let images = Arc::new(LoadedImages::new(dataset.clone(), SIDE, byte_limit).unwrap());
        let pipeline = TrainPipeline::new(images, Augmentation { mosaic, ..augmentation() }).unwrap();
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

criterion_group!(benches, loader);
criterion_main!(benches);
