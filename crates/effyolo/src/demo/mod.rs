//! A small detection data set, drawn from a seed.

mod scene;
mod shape;
mod texture;

use anyhow::{Context, Result};
use box_geometry::Size;
use detect_data::Generator;
use image::ExtendedColorType;
use image::ImageEncoder;
use image::codecs::png::PngEncoder;
use scene::{Object, Scene};
use shape::Shape;
use std::fmt::Write;
use std::path::Path;

/// Side of every picture in pixels.
pub(crate) const SIDE: usize = 128;

/// Pictures of each split. No picture is in two.
pub(crate) const SPLITS: [(&str, usize); 2] = [("train", 480), ("val", 160)];

/// Draws the data set into a folder in YOLO's layout, with a `data.yaml`.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_data_set(folder: &Path, seed: u64) -> Result<()> {
    for (split, (name, count)) in SPLITS.into_iter().enumerate() {
        let (images, labels) = (folder.join("images").join(name), folder.join("labels").join(name));
        for folder in [&images, &labels] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making the folder {}", folder.display()))?;
        }
        for index in 0..count {
            let scene = Scene::draw(SIDE, &mut Generator::for_sample(seed, split as u64, index as u64));
            yolo_train::write_atomically(&images.join(format!("{index:04}.png")), &png(&scene)?)?;
            yolo_train::write_atomically(&labels.join(format!("{index:04}.txt")), rows(&scene).as_bytes())?;
        }
    }
    let names: Vec<&str> = Shape::ALL.iter().map(|shape| shape.name()).collect();
    let data = format!(
        "# Generated from seed {seed}.\npath: .\ntrain: images/train\nval: images/val\nnames: [{}]\n",
        names.join(", ")
    );
    Ok(yolo_train::write_atomically(&folder.join("data.yaml"), data.as_bytes())?)
}

/// Label rows of a scene: class and box as shares of the sides.
fn rows(scene: &Scene) -> String {
    let mut text = String::new();
    let size = Size { height: SIDE, width: SIDE };
    for Object { shape, xyxy } in &scene.objects {
        let class = Shape::ALL.iter().position(|known| known == shape).expect("a known shape");
        let share = xyxy.to_cxcywh().normalise(size);
        writeln!(text, "{class} {} {} {} {}", share.cx, share.cy, share.w, share.h).expect("text grows");
    }
    text
}

fn png(scene: &Scene) -> Result<Vec<u8>> {
    let (mut bytes, side) = (Vec::new(), SIDE as u32);
    PngEncoder::new(&mut bytes).write_image(scene.image.data(), side, side, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenes(count: usize) -> Vec<Scene> {
        (0..count).map(|index| Scene::draw(SIDE, &mut Generator::for_sample(0, 0, index as u64))).collect()
    }

    #[test]
    fn the_set_has_small_cut_and_overlapping_objects_and_empty_pictures() {
        let scenes = scenes(400);
        let objects: Vec<&Object> = scenes.iter().flat_map(|scene| &scene.objects).collect();
        let share = |count: usize, of: usize| count as f64 / of as f64;
        let is_small = |object: &&&Object| {
            let [x1, y1, x2, y2] = object.xyxy.to_array();
            (x2 - x1).max(y2 - y1) < 12.0
        };
        assert!(share(objects.iter().filter(is_small).count(), objects.len()) >= 0.15);
        assert!(share(scenes.iter().filter(|scene| scene.objects.is_empty()).count(), 400) >= 0.10);
        let edge = SIDE as f32;
        let is_cut = |object: &&&Object| {
            let [x1, y1, x2, y2] = object.xyxy.to_array();
            x1 <= 0.0 || y1 <= 0.0 || x2 >= edge || y2 >= edge
        };
        assert!(objects.iter().filter(is_cut).count() > 20);
        let overlaps = |scene: &&Scene| {
            let boxes: Vec<_> = scene.objects.iter().map(|object| object.xyxy).collect();
            (1..boxes.len()).any(|i| boxes[..i].iter().any(|other| other.iou(&boxes[i]) > 0.05))
        };
        assert!(scenes.iter().filter(overlaps).count() > 20);
        for shape in Shape::ALL {
            assert!(objects.iter().filter(|object| object.shape == shape).count() > 40, "{}", shape.name());
        }
    }

    #[test]
    fn a_seed_always_draws_the_same_and_another_seed_does_not() {
        let draw = |seed| Scene::draw(SIDE, &mut Generator::for_sample(seed, 0, 0)).image;
        assert!(draw(5) == draw(5));
        assert!(draw(5) != draw(6));
    }

    #[test]
    fn boxes_fit_their_pictures() {
        for scene in scenes(50) {
            for object in &scene.objects {
                let [x1, y1, x2, y2] = object.xyxy.to_array();
                assert!(
                    0.0 <= x1 && x1 < x2 && x2 <= SIDE as f32 && 0.0 <= y1 && y1 < y2 && y2 <= SIDE as f32
                );
            }
        }
    }
}
