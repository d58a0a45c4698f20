//! COCO's layout on disk: the same boxes as YOLO's, and what is said where something is wrong.

mod sets;

use box_geometry::Size;
use detect_data::{
    CocoSource, DEFAULT_MAX_PIXELS, DataError, Dataset, FileDataset, ImageCheck, LoadedImages, OpenOptions,
    Place, ValidationLoader, ValidationOptions, coco_image_folders,
};
use sets::{write_image, write_labels};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const OPTIONS: OpenOptions =
    OpenOptions { check: ImageCheck::Decode, max_pixels: DEFAULT_MAX_PIXELS, threads: 2 };

fn names() -> Vec<String> {
    ["cat", "dog", "owl"].map(String::from).to_vec()
}

/// Categories with gaps between their ids and in no order.
const CATEGORIES: &str =
    r#"[{"id": 70, "name": "owl"}, {"id": 2, "name": "cat"}, {"id": 40, "name": "dog"}]"#;
const IDS: [i64; 3] = [2, 40, 70];

/// Writes a set of images with whole-pixel boxes in both layouts.
fn write_both(folder: &Path) {
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for i in 0..6usize {
        let size = Size { height: 40 + 8 * i, width: 64 + 16 * (i % 3) };
        let name = format!("{}.png", 9 - i);
        write_image(&folder.join("images/train").join(&name), size, 10 * i as u8);
        images.push(format!(
            r#"{{"id": {i}, "file_name": "{name}", "width": {}, "height": {}}}"#,
            size.width, size.height
        ));
        let mut rows = String::new();
        for k in 0..i {
            let [x, y, w, h] = [3 * k, 2 * k, 5 + k, 7 + i].map(|value| value as f64);
            annotations.push(format!(
                r#"{{"id": {}, "image_id": {i}, "category_id": {}, "bbox": [{x}, {y}, {w}, {h}], "iscrowd": 0}}"#,
                100 * i + k,
                IDS[k % 3]
            ));
            let (width, height) = (size.width as f64, size.height as f64);
            let shares = [(x + w / 2.0) / width, (y + h / 2.0) / height, w / width, h / height];
            rows += &format!("{} {} {} {} {}\n", k % 3, shares[0], shares[1], shares[2], shares[3]);
        }
        write_labels(folder, &format!("train/{}.txt", 9 - i), &rows);
    }
    write_json(folder, &images.join(", "), &annotations.join(", "));
}

fn write_json(folder: &Path, images: &str, annotations: &str) -> PathBuf {
    let path = folder.join("annotations/instances_train.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text =
        format!(r#"{{"images": [{images}], "annotations": [{annotations}], "categories": {CATEGORIES}}}"#);
    std::fs::write(&path, text).unwrap();
    path
}

fn open(folder: &Path, images: Option<PathBuf>) -> Result<FileDataset, DataError> {
    let instances = folder.join("annotations/instances_train.json");
    FileDataset::open_coco(&[CocoSource { instances, images }], names(), &OPTIONS)
}

#[test]
fn both_layouts_give_the_same_images_and_boxes() {
    let folder = tempfile::tempdir().unwrap();
    write_both(folder.path());
    let yolo = FileDataset::open_yolo(&[folder.path().join("images/train")], names(), &OPTIONS).unwrap();
    let coco = open(folder.path(), None).unwrap();
    assert_eq!((coco.len(), coco.box_count()), (6, 15));
    assert_eq!((&coco.report().problems, coco.report().empty), (&vec![], 1));
    for index in 0..coco.len() {
        let (want, got) = (yolo.get(index).unwrap(), coco.get(index).unwrap());
        assert_eq!((&want.id, &want.image, want.boxes.len()), (&got.id, &got.image, got.boxes.len()));
        for (want, got) in want.boxes.iter().zip(&got.boxes) {
            let far = want.xyxy.to_array().into_iter().zip(got.xyxy.to_array());
            assert!(want.class == got.class && far.into_iter().all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }
}

#[test]
fn crowds_are_kept_for_the_evaluation_and_from_training() {
    let folder = tempfile::tempdir().unwrap();
    write_image(&folder.path().join("train/a.png"), Size { height: 40, width: 80 }, 9);
    let box_of = |id: usize, crowd: usize, bbox: &str| {
        format!(r#"{{"id": {id}, "image_id": 1, "category_id": 40, "bbox": {bbox}, "iscrowd": {crowd}}}"#)
    };
    let image = r#"{"id": 1, "file_name": "a.png", "width": 80, "height": 40}"#;
    write_json(
        folder.path(),
        image,
        &[box_of(1, 0, "[8, 4, 16, 8]"), box_of(2, 1, "[40, 20, 20, 10]")].join(","),
    );
    let dataset = open(folder.path(), None).unwrap();
    assert_eq!(
        (dataset.box_count(), dataset.report().crowds, dataset.get(0).unwrap().boxes.len()),
        (1, 1, 1)
    );
    let images = Arc::new(LoadedImages::new(Arc::new(dataset), 64, 0).unwrap());
    let options =
        ValidationOptions { batch: 1, stride: 32, pad: 0.5, rectangular: true, threads: 1, queue: 1 };
    let batch = ValidationLoader::new(images, options).unwrap().start().next().unwrap().unwrap();
    let crowd = &batch.images[0].crowds[0];
    assert_eq!((crowd.class, crowd.xyxy.to_array()), (1, [40.0, 20.0, 60.0, 30.0]));
    assert_eq!(batch.images[0].ground_truths.len(), 1);
}

#[test]
fn images_are_looked_for_beside_the_file_or_where_they_are_said_to_be() {
    let folders = coco_image_folders(Path::new("/set/annotations/instances_val2017.json"));
    let want = ["/set/images/val2017", "/set/val2017", "/set/images", "/set", "/set/annotations"];
    assert_eq!(folders, want.map(PathBuf::from));
    let image = r#"{"id": 1, "file_name": "a.png", "width": 80, "height": 40}"#;
    for place in ["images/train", "train", "images", ".", "annotations"] {
        let folder = tempfile::tempdir().unwrap();
        write_json(folder.path(), image, "");
        write_image(&folder.path().join(place).join("a.png"), Size { height: 40, width: 80 }, 9);
        assert_eq!(open(folder.path(), None).unwrap().len(), 1, "{place}");
    }
    let folder = tempfile::tempdir().unwrap();
    write_json(folder.path(), image, "");
    write_image(&folder.path().join("elsewhere/a.png"), Size { height: 40, width: 80 }, 9);
    let message = open(folder.path(), None).unwrap_err().to_string();
    assert!(
        message.contains("a.png") && message.contains("images/train, ") && message.contains("`images`"),
        "{message}"
    );
    assert_eq!(open(folder.path(), Some(folder.path().join("elsewhere"))).unwrap().len(), 1);
}

#[test]
fn whatever_is_wrong_is_listed_with_its_id() {
    let folder = tempfile::tempdir().unwrap();
    write_image(&folder.path().join("train/a.png"), Size { height: 40, width: 80 }, 9);
    write_image(&folder.path().join("train/turned.png"), Size { height: 40, width: 80 }, 9);
    let images = r#"{"id": 1, "file_name": "a.png", "width": 80, "height": 40},
        {"id": 2, "file_name": "absent.png", "width": 80, "height": 40},
        {"id": 3, "file_name": "turned.png", "width": 40, "height": 80},
        {"id": 4, "file_name": "a.png", "height": 40}"#;
    let annotations = r#"{"id": 11, "image_id": 1, "category_id": 2, "bbox": [1, 1, 9, 9]},
        {"id": 12, "image_id": 1, "category_id": 3, "bbox": [1, 1, 9, 9]},
        {"id": 13, "image_id": 5, "category_id": 2, "bbox": [1, 1, 9, 9]}"#;
    let json = write_json(folder.path(), images, annotations);
    let dataset = open(folder.path(), None).unwrap();
    assert_eq!((dataset.len(), dataset.box_count()), (1, 1));
    let report = dataset.report();
    let listed: Vec<_> = report.problems.iter().map(|problem| (problem.place, problem.kind.name())).collect();
    let want = [
        (Place::Image(4), "wrong image entry"),
        (Place::Annotation(13), "wrong annotation"),
        (Place::Annotation(12), "wrong annotation"),
        (Place::Whole, "missing image"),
        (Place::Whole, "image of another size"),
    ];
    assert_eq!(listed, want);
    assert_eq!((report.bad_images, report.bad_rows, report.corrupt), (3, 2, 1));
    let message = report.problems[2].to_string();
    assert!(message.starts_with(&format!("{}: annotation 12: ", json.display())), "{message}");
    assert!(message.contains("`category_id` 3"), "{message}");
    assert!(report.problems[4].to_string().contains("40 x 80"), "{}", report.problems[4]);
}

#[test]
fn other_classes_and_no_images_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    write_both(folder.path());
    let source =
        CocoSource { instances: folder.path().join("annotations/instances_train.json"), images: None };
    let message = FileDataset::open_coco(&[source], vec!["cat".into()], &OPTIONS).unwrap_err().to_string();
    assert!(message.contains(r#"expected the classes ["cat"]"#) && message.contains("owl"), "{message}");
    write_json(folder.path(), r#"{"id": 1, "file_name": "9.png", "width": 1, "height": 1}"#, "");
    let message = open(folder.path(), None).unwrap_err().to_string();
    assert!(message.contains("found none that can be used (1 was left out, such as "), "{message}");
}
