//! Data sets on disk: what is found, what is left out, and that all of it is told.

mod sets;

use box_geometry::Size;
use detect_data::{
    DEFAULT_MAX_PIXELS, DataError, Dataset, FileDataset, ImageCheck, LabelProblem, OpenOptions, Place,
    ProblemKind,
};
use sets::{write_image, write_labels};
use std::path::Path;

const SIZE: Size = Size { height: 20, width: 40 };

fn open(folder: &Path, check: ImageCheck) -> Result<FileDataset, DataError> {
    let options = OpenOptions { check, max_pixels: DEFAULT_MAX_PIXELS, threads: 2 };
    FileDataset::open_yolo(&[folder.join("images")], vec!["cat".into(), "dog".into()], &options)
}

#[test]
fn boxes_come_in_pixels_and_images_in_the_order_of_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    for (name, grey) in [("b.png", 20), ("a.png", 10), ("sub/c.jpg", 30)] {
        write_image(&folder.path().join("images").join(name), SIZE, grey);
    }
    write_labels(folder.path(), "a.txt", "1 0.5 0.5 0.5 0.5\n");
    write_labels(folder.path(), "sub/c.txt", "");
    let dataset = open(folder.path(), ImageCheck::Header).unwrap();
    assert_eq!(dataset.len(), 3);
    let first = dataset.get(0).unwrap();
    assert_eq!((first.image.size(), first.image.data()[0]), (SIZE, 10));
    assert_eq!((first.boxes[0].class, first.boxes[0].xyxy.to_array()), (1, [10.0, 5.0, 30.0, 15.0]));
    assert_eq!(dataset.get(1).unwrap().image.data()[0], 20);
    assert!(dataset.path(2).ends_with("sub/c.jpg"));
    let report = dataset.report();
    assert_eq!((report.found, report.missing, report.empty, report.corrupt), (2, 1, 1, 0));
    assert!(matches!(dataset.get(3), Err(DataError::IndexOutOfRange { index: 3, len: 3 })));
}

#[test]
fn every_row_and_image_left_out_is_counted_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str| folder.path().join("images").join(name);
    write_image(&image("good.png"), SIZE, 1);
    write_image(&image("thin.png"), Size { height: 9, width: 40 }, 1);
    std::fs::write(image("broken.jpg"), b"no image").unwrap();
    let rows = "0 .5 .5 .2 .2\r\n0 .5 .5 .2 .2\r\n7 .5 .5 .2 .2\r\n0 40 .5 .2 .2\r\n1 .5 .5 .1 .1\r\n";
    let labels = write_labels(folder.path(), "good.txt", rows);
    let dataset = open(folder.path(), ImageCheck::Header).unwrap();
    assert_eq!((dataset.len(), dataset.box_count()), (1, 2));
    let report = dataset.report();
    assert_eq!((report.bad_images, report.bad_rows, report.duplicate_rows, report.corrupt), (2, 2, 1, 1));
    let listed: Vec<_> =
        report.problems.iter().map(|problem| (problem.file.clone(), problem.place)).collect();
    let want = [
        (image("broken.jpg"), Place::Whole),
        (labels.clone(), Place::Row(2)),
        (labels.clone(), Place::Row(3)),
        (labels.clone(), Place::Row(4)),
        (image("thin.png"), Place::Whole),
    ];
    assert_eq!(listed, want);
    assert_eq!(report.problems[1].kind, ProblemKind::Row(LabelProblem::Duplicate));
    assert!(report.problems[2].to_string().starts_with(&format!("{}:3: row left out: ", labels.display())));
    assert!(report.problems[0].to_string().contains("broken.jpg"));
}

#[test]
fn a_damaged_image_is_found_up_front_or_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str| folder.path().join("images").join(name);
    write_image(&image("good.png"), SIZE, 1);
    write_image(&image("short.png"), SIZE, 1);
    let bytes = std::fs::read(image("short.png")).unwrap();
    std::fs::write(image("short.png"), &bytes[..bytes.len() / 2]).unwrap();
    let dataset = open(folder.path(), ImageCheck::Header).unwrap();
    assert_eq!(dataset.len(), 2);
    let error = dataset.get(1).unwrap_err();
    assert!(matches!(error, DataError::Image { .. }) && error.to_string().contains("short.png"), "{error}");
    let dataset = open(folder.path(), ImageCheck::Decode).unwrap();
    assert_eq!((dataset.len(), dataset.report().bad_images), (1, 1));
}

#[test]
fn nothing_usable_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("images")).unwrap();
    let error = open(folder.path(), ImageCheck::Header).unwrap_err();
    assert!(matches!(error, DataError::NoImages { skipped: 0, .. }));
    std::fs::write(folder.path().join("images/a.jpg"), "").unwrap();
    let error = open(folder.path(), ImageCheck::Header).unwrap_err();
    assert!(matches!(error, DataError::NoImages { skipped: 1, .. }));
}

#[test]
fn a_replaced_image_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images/a.png");
    write_image(&path, SIZE, 1);
    let dataset = open(folder.path(), ImageCheck::Header).unwrap();
    write_image(&path, Size { height: 30, width: 30 }, 1);
    assert!(matches!(dataset.get(0), Err(DataError::SizeChanged { .. })));
}

/// A JPEG whose EXIF says that it lies on its side.
#[test]
fn an_orientation_is_applied_to_size_and_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images/a.jpg");
    write_image(&path, SIZE, 1);
    let plain = std::fs::read(&path).unwrap();
    // APP1: "Exif", big-endian TIFF header, one entry: orientation (0x0112, short) 6, a quarter turn.
    let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut bytes = plain[..2].to_vec();
    bytes.extend([0xff, 0xe1, 0, (2 + 6 + tiff.len()) as u8]);
    bytes.extend(b"Exif\0\0");
    bytes.extend(tiff);
    bytes.extend(&plain[2..]);
    std::fs::write(&path, bytes).unwrap();
    let dataset = open(folder.path(), ImageCheck::Header).unwrap();
    assert_eq!(dataset.size(0), Size { height: 40, width: 20 });
    assert_eq!(dataset.get(0).unwrap().image.size(), Size { height: 40, width: 20 });
}
