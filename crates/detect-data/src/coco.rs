//! COCO instances files: images, boxes in pixels, categories.
//!
//! Source: <https://cocodataset.org/#format-data>.

use crate::labels::{TOLERANCE, key};
use crate::{FileProblem, NormalisedBox, Place};
use box_geometry::{CxCyWh, Size};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::{HashMap, HashSet};

/// Why a COCO file is not used at all.
#[derive(Debug, thiserror::Error)]
pub enum CocoError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// It is no JSON, or not of COCO's form.
    #[error("expected a COCO instances file (JSON with `images`, `annotations`, `categories`): {0}")]
    Json(String),
    /// Two categories have one id.
    #[error("`categories`: the id {id} comes twice; give each category its own")]
    DuplicateCategory {
        /// The id.
        id: i64,
    },
    /// The categories are not the classes that were expected.
    #[error("`categories`: expected the classes {expected:?}, in the order of the ids, found {got:?}")]
    OtherClasses {
        /// The classes of the data file, or of an earlier COCO file.
        expected: Vec<String>,
        /// Names of the categories by rising id.
        got: Vec<String>,
    },
}

/// Why an entry of a COCO file is not used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnnotationProblem {
    /// A field is absent or not of its type.
    #[error("`{field}`: expected {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What should stand there.
        expected: &'static str,
    },
    /// There is no such image.
    #[error("`image_id` {id}: there is no usable image of that id")]
    UnknownImage {
        /// The id.
        id: i64,
    },
    /// There is no such category.
    #[error("`category_id` {id}: there is no category of that id")]
    UnknownCategory {
        /// The id.
        id: i64,
    },
    /// A box without width or height.
    #[error("`bbox`: expected a box with an area, found width {width} and height {height}")]
    NoArea {
        /// Width in pixels.
        width: f64,
        /// Height in pixels.
        height: f64,
    },
    /// The box leaves the image.
    #[error("`bbox` {bbox:?} (x, y, width, height): expected a box in the image of {} x {} pixels", .size.width, .size.height)]
    Outside {
        /// The box.
        bbox: [f64; 4],
        /// Size of the image in the COCO file.
        size: Size,
    },
    /// The id was given to another image before.
    #[error("the id {id} belongs to an earlier image")]
    RepeatedId {
        /// The id.
        id: i64,
    },
    /// The same box again.
    #[error("the same box as an earlier annotation of the image")]
    Duplicate,
}

/// What a COCO file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CocoInstances {
    /// Names of the categories by rising id: a category's class is its place here.
    pub categories: Vec<String>,
    /// The images in the order of the file.
    pub images: Vec<CocoImage>,
    /// Entries of `images` that are left out.
    pub image_problems: Vec<(Place, AnnotationProblem)>,
    /// Annotations that are left out and belong to no image.
    pub stray_problems: Vec<(Place, AnnotationProblem)>,
}

/// An image of a COCO file.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoImage {
    /// Its id.
    pub id: i64,
    /// Path of the image, relative to the folder of the images.
    pub file_name: String,
    /// Size that the boxes refer to.
    pub size: Size,
    /// The objects.
    pub boxes: Vec<NormalisedBox>,
    /// Regions of many objects (`iscrowd`).
    pub crowds: Vec<NormalisedBox>,
    /// Annotations of the image that are left out.
    pub problems: Vec<(Place, AnnotationProblem)>,
}

/// Reads a COCO instances file. Entries that cannot be used are left out and listed; what is not needed for boxes
/// (segmentations, licences ..) is passed over.
///
/// # Errors
/// When the bytes are no JSON of COCO's form, or two categories have one id.
pub fn parse_coco(bytes: &[u8]) -> Result<CocoInstances, CocoError> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| CocoError::Json(error.to_string()))?;
    let (classes, categories) = dense_classes(document.categories)?;
    let mut instances = CocoInstances { categories, ..CocoInstances::default() };
    let mut indices = HashMap::new();
    for (position, raw) in document.images.into_iter().enumerate() {
        match raw.read() {
            Ok(image) if indices.contains_key(&image.id) => {
                let problem = AnnotationProblem::RepeatedId { id: image.id };
                instances.image_problems.push((Place::ImageAt(position), problem));
            }
            Ok(image) => {
                indices.insert(image.id, instances.images.len());
                instances.images.push(image);
            }
            Err(problem) => {
                let place = raw.id.integer().map_or(Place::ImageAt(position), Place::Image);
                instances.image_problems.push((place, problem));
            }
        }
    }
    instances.add_annotations(&document.annotations, &classes, &indices);
    Ok(instances)
}

impl CocoInstances {
    fn add_annotations(
        &mut self,
        annotations: &[RawAnnotation],
        classes: &HashMap<i64, usize>,
        indices: &HashMap<i64, usize>,
    ) {
        let mut seen = HashSet::new();
        for (position, raw) in annotations.iter().enumerate() {
            let place = raw.id.integer().map_or(Place::AnnotationAt(position), Place::Annotation);
            let image_id = raw.image_id.integer();
            let Some(index) = image_id.and_then(|id| indices.get(&id)) else {
                self.stray_problems.push((place, no_image(image_id)));
                continue;
            };
            let image = &mut self.images[*index];
            match raw.read(image.size, classes) {
                Ok((labelled, is_crowd)) if !seen.insert((*index, is_crowd, key(&labelled))) => {
                    image.problems.push((place, AnnotationProblem::Duplicate));
                }
                Ok((labelled, true)) => image.crowds.push(labelled),
                Ok((labelled, false)) => image.boxes.push(labelled),
                Err(problem) => image.problems.push((place, problem)),
            }
        }
    }
}

fn no_image(id: Option<i64>) -> AnnotationProblem {
    id.map_or(AnnotationProblem::Field { field: "image_id", expected: INTEGER }, |id| {
        AnnotationProblem::UnknownImage { id }
    })
}

/// Class of each category id, and the names of the classes.
fn dense_classes(mut categories: Vec<RawCategory>) -> Result<(HashMap<i64, usize>, Vec<String>), CocoError> {
    categories.sort_by_key(|category| category.id);
    if let Some(pair) = categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(CocoError::DuplicateCategory { id: pair[0].id });
    }
    let classes = categories.iter().enumerate().map(|(class, category)| (category.id, class)).collect();
    Ok((classes, categories.into_iter().map(|category| category.name).collect()))
}

const INTEGER: &str = "a whole number";
/// Longest side of an image that a COCO file may speak of.
const MAX_SIDE: i64 = u32::MAX as i64;

#[derive(Deserialize)]
struct Document {
    images: Vec<RawImage>,
    /// Files of images to be tested have none.
    #[serde(default)]
    annotations: Vec<RawAnnotation>,
    categories: Vec<RawCategory>,
}

#[derive(Deserialize)]
struct RawCategory {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct RawImage {
    #[serde(default)]
    id: Loose<f64>,
    #[serde(default)]
    file_name: Loose<String>,
    #[serde(default)]
    width: Loose<f64>,
    #[serde(default)]
    height: Loose<f64>,
}

#[derive(Deserialize)]
struct RawAnnotation {
    #[serde(default)]
    id: Loose<f64>,
    #[serde(default)]
    image_id: Loose<f64>,
    #[serde(default)]
    category_id: Loose<f64>,
    #[serde(default)]
    bbox: Loose<[f64; 4]>,
    #[serde(default)]
    iscrowd: Loose<Flag>,
}

/// 0 and 1 or false and true.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Flag {
    Number(u8),
    Truth(bool),
}

/// A value that may be absent or of a wrong type without spoiling the whole file.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Loose<T> {
    Good(T),
    Other(IgnoredAny),
    #[default]
    Absent,
}

impl<T> Loose<T> {
    fn good(&self, field: &'static str, expected: &'static str) -> Result<&T, AnnotationProblem> {
        match self {
            Loose::Good(value) => Ok(value),
            Loose::Other(_) | Loose::Absent => Err(AnnotationProblem::Field { field, expected }),
        }
    }
}

impl Loose<f64> {
    /// A whole number; some exporters write it as `3.0`.
    fn integer(&self) -> Option<i64> {
        match self {
            Loose::Good(value) if value.fract() == 0.0 && value.abs() < 2f64.powi(53) => Some(*value as i64),
            _ => None,
        }
    }

    fn whole(&self, field: &'static str) -> Result<i64, AnnotationProblem> {
        self.integer().ok_or(AnnotationProblem::Field { field, expected: INTEGER })
    }
}

impl RawImage {
    fn read(&self) -> Result<CocoImage, AnnotationProblem> {
        let id = self.id.whole("id")?;
        let file_name = self.file_name.good("file_name", "a path of an image")?.clone();
        let side = |value: &Loose<f64>, field| {
            let expected = "a number of pixels, at least 1";
            let side = value.integer().filter(|side| (1..=MAX_SIDE).contains(side));
            side.map(|side| side as usize).ok_or(AnnotationProblem::Field { field, expected })
        };
        let size = Size { height: side(&self.height, "height")?, width: side(&self.width, "width")? };
        Ok(CocoImage { id, file_name, size, boxes: Vec::new(), crowds: Vec::new(), problems: Vec::new() })
    }
}

impl RawAnnotation {
    /// The box, and whether it is a crowd.
    fn read(
        &self,
        size: Size,
        classes: &HashMap<i64, usize>,
    ) -> Result<(NormalisedBox, bool), AnnotationProblem> {
        let id = self.category_id.whole("category_id")?;
        let class = *classes.get(&id).ok_or(AnnotationProblem::UnknownCategory { id })?;
        let bbox = *self.bbox.good("bbox", "four finite numbers [x, y, width, height]")?;
        let cxcywh = normalised(bbox, size)?;
        let is_crowd = match &self.iscrowd {
            Loose::Absent => false,
            flag => match flag.good("iscrowd", "0 or 1")? {
                Flag::Truth(flag) => *flag,
                Flag::Number(number @ (0 | 1)) => *number == 1,
                Flag::Number(_) => {
                    return Err(AnnotationProblem::Field { field: "iscrowd", expected: "0 or 1" });
                }
            },
        };
        Ok((NormalisedBox { class, cxcywh }, is_crowd))
    }
}

/// The box as shares of the image's sides; its edges may leave the image by as much as those of a label file.
fn normalised(bbox: [f64; 4], size: Size) -> Result<CxCyWh, AnnotationProblem> {
    let [x, y, width, height] = bbox;
    if width <= 0.0 || height <= 0.0 {
        return Err(AnnotationProblem::NoArea { width, height });
    }
    let (w, h) = (size.width as f64, size.height as f64);
    let [x1, y1, x2, y2] = [x / w, y / h, (x + width) / w, (y + height) / h];
    if ![x1, y1, x2, y2].iter().all(|edge| (-TOLERANCE..=1.0 + TOLERANCE).contains(edge)) {
        return Err(AnnotationProblem::Outside { bbox, size });
    }
    let cxcywh = [(x1 + x2) / 2.0, (y1 + y2) / 2.0, width / w, height / h].map(|value| value as f32);
    if cxcywh[2] == 0.0 || cxcywh[3] == 0.0 {
        return Err(AnnotationProblem::NoArea { width, height });
    }
    let [cx, cy, w, h] = cxcywh;
    Ok(CxCyWh::new(cx, cy, w, h))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with one image of 100 x 50 pixels (id 7) and two categories, with these annotations.
    fn file(annotations: &str) -> String {
        format!(
            r#"{{"images": [{{"id": 7, "file_name": "a.jpg", "width": 100, "height": 50}}],
                "categories": [{{"id": 18, "name": "dog"}}, {{"id": 3, "name": "cat"}}],
                "annotations": [{annotations}]}}"#
        )
    }

    fn one(annotation: &str) -> CocoInstances {
        parse_coco(file(annotation).as_bytes()).unwrap()
    }

    #[test]
    fn boxes_become_shares_and_ids_classes_in_their_order() {
        let found = one(
            r#"{"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 10, 20, 10], "iscrowd": 0},
               {"id": 2, "image_id": 7, "category_id": 3.0, "bbox": [0, 0, 100, 50], "iscrowd": 1, "segmentation": {"counts": []}}"#,
        );
        assert_eq!(found.categories, ["cat", "dog"]);
        let image = &found.images[0];
        let want = NormalisedBox { class: 1, cxcywh: CxCyWh::new(0.2, 0.3, 0.2, 0.2) };
        assert_eq!(image.boxes, [want]);
        assert_eq!(image.crowds, [NormalisedBox { class: 0, cxcywh: CxCyWh::new(0.5, 0.5, 1.0, 1.0) }]);
        assert_eq!((image.problems.len(), found.stray_problems.len()), (0, 0));
    }

    #[test]
    fn every_problem_has_its_annotation_id() {
        let field = |field, expected| AnnotationProblem::Field { field, expected };
        let size = Size { height: 50, width: 100 };
        let numbers = "four finite numbers [x, y, width, height]";
        let cases = [
            (r#""category_id": 4, "bbox": [1, 1, 9, 9]"#, AnnotationProblem::UnknownCategory { id: 4 }),
            (r#""category_id": "3", "bbox": [1, 1, 9, 9]"#, field("category_id", INTEGER)),
            (r#""category_id": 3, "bbox": [1, 1, 9]"#, field("bbox", numbers)),
            (r#""category_id": 3, "bbox": null"#, field("bbox", numbers)),
            (r#""category_id": 3"#, field("bbox", numbers)),
            (
                r#""category_id": 3, "bbox": [1, 1, 0, 9]"#,
                AnnotationProblem::NoArea { width: 0.0, height: 9.0 },
            ),
            (
                r#""category_id": 3, "bbox": [90, 1, 20, 9]"#,
                AnnotationProblem::Outside { bbox: [90.0, 1.0, 20.0, 9.0], size },
            ),
            (r#""category_id": 3, "bbox": [1, 1, 9, 9], "iscrowd": 2"#, field("iscrowd", "0 or 1")),
        ];
        for (fields, want) in cases {
            let found = one(&format!(r#"{{"id": 5, "image_id": 7, {fields}}}"#));
            assert_eq!(found.images[0].problems, [(Place::Annotation(5), want)], "{fields}");
            assert!(found.images[0].boxes.is_empty());
        }
        let found = one(r#"{"id": 5, "image_id": 8}, {"image_id": 7.5}"#);
        let want = [
            (Place::Annotation(5), AnnotationProblem::UnknownImage { id: 8 }),
            (Place::AnnotationAt(1), field("image_id", INTEGER)),
        ];
        assert_eq!(found.stray_problems, want);
        let twice = r#"{"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 1, 9, 9]}"#;
        let found = one(&format!("{twice}, {twice}"));
        assert_eq!(found.images[0].problems, [(Place::Annotation(5), AnnotationProblem::Duplicate)]);
    }

    #[test]
    fn wrong_images_are_listed() {
        let text = r#"{"categories": [], "images": [
            {"id": 1, "file_name": "a.jpg", "width": 0, "height": 5}, {"id": 2, "width": 4, "height": 5},
            {"id": 3, "file_name": "a.jpg", "width": 4, "height": 5}, {"id": 3, "file_name": "b.jpg", "width": 4, "height": 5},
            {"file_name": "c.jpg", "width": 4, "height": 5}]}"#;
        let found = parse_coco(text.as_bytes()).unwrap();
        let places: Vec<Place> = found.image_problems.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [Place::Image(1), Place::Image(2), Place::ImageAt(3), Place::ImageAt(4)]);
        assert_eq!(found.images.len(), 1);
    }

    #[test]
    fn what_is_no_coco_file_is_refused_as_a_whole() {
        let deep = "[".repeat(100_000);
        for text in ["", "[]", "{}", r#"{"images": []}"#, "{\"images\": NaN}", deep.as_str()] {
            assert!(matches!(parse_coco(text.as_bytes()), Err(CocoError::Json(_))), "{text:.20}");
        }
        let twice = r#"{"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}"#;
        assert!(matches!(parse_coco(twice.as_bytes()), Err(CocoError::DuplicateCategory { id: 1 })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_coco(&bytes);
        }

        #[test]
        fn any_annotation_is_used_or_listed(
            id in "null|-?[1-9][0-9]{0,19}|\"x\"", image in r"7|8|7\.0|true", category in "3|18|4|-1",
            bbox in prop::collection::vec(prop_oneof![Just(0f64), -20f64..120.0, any::<f64>().prop_filter("JSON", |v| v.is_finite())], 3..6),
            crowd in "0|1|2|true|\"1\""
        ) {
            let text = format!(
                r#"{{"id": {id}, "image_id": {image}, "category_id": {category}, "bbox": {bbox:?}, "iscrowd": {crowd}}}"#
            );
            let found = one(&text);
            let image = &found.images[0];
            let (used, listed) = (image.boxes.len() + image.crowds.len(), image.problems.len() + found.stray_problems.len());
            prop_assert_eq!(used + listed, 1, "{}", text);
            for labelled in image.boxes.iter().chain(&image.crowds) {
                let CxCyWh { cx, cy, w, h } = labelled.cxcywh;
                prop_assert!(w > 0.0 && h > 0.0 && [cx, cy, w, h].iter().all(|value| (-0.02..=1.03).contains(value)));
            }
        }
    }
}
