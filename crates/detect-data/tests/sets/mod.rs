//! Small data sets for tests. Each test file compiles this module for itself and uses a part of it.
#![allow(dead_code)]

use box_geometry::{Size, Xyxy};
use detect_data::{DataError, Dataset, LabelledBox, RgbImage, Sample};
use std::path::{Path, PathBuf};

/// Noise with a bright rectangle where each box is; sizes differ from image to image.
pub(crate) struct Painted {
    pub(crate) sizes: Vec<Size>,
    pub(crate) names: Vec<String>,
}

impl Painted {
    pub(crate) fn new(count: usize) -> Self {
        let size = |i: usize| Size { height: 40 + i * 13 % 50, width: 60 + i * 29 % 70 };
        Painted { sizes: (0..count).map(size).collect(), names: vec!["a".into(), "b".into()] }
    }

    fn labelled(&self, index: usize) -> Vec<LabelledBox> {
        let Size { height, width } = self.sizes[index];
        let whole =
            Xyxy::new(width as f32 * 0.25, height as f32 * 0.25, width as f32 * 0.5, height as f32 * 0.75);
        let count = index % 3;
        (0..count).map(|i| LabelledBox { class: i, xyxy: whole.shift(i as f32 * 5.0, 0.0) }).collect()
    }
}

impl Dataset for Painted {
    fn len(&self) -> usize {
        self.sizes.len()
    }

    fn class_names(&self) -> &[String] {
        &self.names
    }

    fn size(&self, index: usize) -> Size {
        self.sizes[index]
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let size = self.sizes[index];
        let byte = |i: usize| (i.wrapping_mul(2_654_435_761).wrapping_add(index * 7_919) >> 11) as u8;
        let mut image = RgbImage::new(size, (0..size.height * size.width * 3).map(byte).collect());
        for labelled in self.labelled(index) {
            let [x1, y1, x2, y2] = labelled.xyxy.to_array().map(|edge| edge as usize);
            for y in y1..y2 {
                image.row_mut(y)[x1 * 3..x2 * 3].fill(250);
            }
        }
        Ok(Sample { id: index.to_string(), image, boxes: self.labelled(index) })
    }
}

/// Writes an image file of one grey; the format follows the ending.
pub(crate) fn write_image(path: &Path, size: Size, grey: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(size.width as u32, size.height as u32, image::Rgb([grey; 3]))
        .save(path)
        .unwrap();
}

/// Writes a label file.
pub(crate) fn write_labels(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join("labels").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}
