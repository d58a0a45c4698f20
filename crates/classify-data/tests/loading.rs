//! A folder of small pictures, from disk to batches.

use classify_data::{
    AutoAugment, ClassAugmentation, ClassBatch, ClassDataError, ClassFolder, ClassLoader, ClassLoaderOptions,
    ClassPipeline,
};
use std::path::Path;
use std::sync::Arc;

/// Pictures of one grey a class: `cat` 40, `dog` 200.
fn write_pictures(folder: &Path, count: usize) {
    for (class, grey) in [("dog", 200), ("cat", 40)] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        for number in 0..count {
            let picture = image::RgbImage::from_pixel(20 + number as u32, 24, image::Rgb([grey; 3]));
            picture.save(folder.join(class).join(format!("{number}.png"))).unwrap();
        }
    }
}

fn batches(folder: &Path, augmentation: ClassAugmentation, threads: usize, first: usize) -> Vec<ClassBatch> {
    let images = Arc::new(ClassFolder::open(folder, None, 1 << 20).unwrap());
    let options = ClassLoaderOptions { batch: 4, threads, queue: 2, seed: 5 };
    let pipeline = ClassPipeline::new(images, 16, augmentation).unwrap();
    ClassLoader::new(options).unwrap().epoch(pipeline, 3, first).map(Result::unwrap).collect()
}

const STRONG: ClassAugmentation = ClassAugmentation {
    crop_area: 0.3,
    flip_left_right: 0.5,
    flip_up_down: 0.5,
    auto_augment: AutoAugment::RandAugment { layers: 2, magnitude: 10.0 },
    erasing: 0.5,
    cutmix: 0.4,
    mixup: 0.5,
    label_smoothing: 0.1,
};

#[test]
fn pictures_come_with_the_class_of_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path(), 5);
    let batches = batches(folder.path(), ClassAugmentation::NONE, 2, 0);
    assert_eq!(batches.iter().map(ClassBatch::len).collect::<Vec<_>>(), [4, 4, 2]);
    for batch in &batches {
        for (picture, target) in batch.images.chunks(16 * 16 * 3).zip(batch.targets.chunks(2)) {
            assert_eq!(target, if picture[0] == 40 { [1.0, 0.0] } else { [0.0, 1.0] });
        }
    }
    let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_ne!(seen, (0..10).collect::<Vec<_>>(), "shuffled");
    seen.sort();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

#[test]
fn batches_depend_neither_on_threads_nor_on_where_the_epoch_began() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path(), 6);
    let all = batches(folder.path(), STRONG, 1, 0);
    assert_eq!(all, batches(folder.path(), STRONG, 3, 0));
    assert_eq!(all[1..], batches(folder.path(), STRONG, 2, 1));
    assert!(all.iter().all(|batch| batch.targets.chunks(2).all(|row| (row[0] + row[1] - 1.0).abs() < 1e-6)));
}

#[test]
fn what_cannot_be_used_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(matches!(ClassFolder::open(path, None, 0), Err(ClassDataError::NoClasses { .. })));
    write_pictures(path, 2);
    std::fs::write(path.join("cat/broken.png"), "no picture").unwrap();
    let opened = ClassFolder::open(path, None, 0).unwrap();
    assert_eq!((opened.len(), opened.problems().len()), (4, 1));
    assert_eq!(opened.names(), ["cat", "dog"]);
    assert!(opened.problems()[0].path.ends_with("cat/broken.png"));
    let known = ["dog".to_string(), "eel".to_string()];
    let error = ClassFolder::open(path, Some(&known), 0).err().unwrap();
    assert!(error.to_string().contains("got `cat`"), "{error}");
    let known = ["dog", "cat", "eel"].map(String::from);
    let opened = ClassFolder::open(path, Some(&known), 0).unwrap();
    assert_eq!(opened.class(0), 1, "classes are those of the training images");
}

#[test]
fn a_smaller_set_keeps_all_classes() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path(), 5);
    let mut images = ClassFolder::open(folder.path(), None, 0).unwrap();
    images.truncate(2);
    assert_eq!((0..images.len()).map(|index| images.class(index)).collect::<Vec<_>>(), [0, 0, 1, 1]);
}
