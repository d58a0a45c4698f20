//! What is measured.

use serde::Serialize;

/// A network at a size.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Work {
    /// What `--only` calls it.
    pub(super) name: &'static str,
    /// What the table calls it.
    pub(super) title: &'static str,
    /// Configuration, from the root of the project.
    pub(super) model: &'static str,
    /// Side of the square images in pixels.
    pub(super) imgsz: usize,
    /// Images at a time.
    pub(super) batch: usize,
    /// A training step instead of inference.
    pub(super) train: bool,
}

const B0: &str = "configs/classify/effnet-b0.yaml";
const B4: &str = "configs/classify/effnet-b4.yaml";
const EFFYOLO: &str = "configs/detect/effnet-b0-n.yaml";
const YOLOV8N: &str = "configs/detect/yolov8n.yaml";
const YOLOV8S: &str = "configs/detect/yolov8s.yaml";

/// Every work, in the order of the table.
pub(super) const ALL: [Work; 10] = [
    inference("b0", "EfficientNet-B0", B0, 224, 1),
    inference("b0-batch8", "EfficientNet-B0", B0, 224, 8),
    inference("b4", "EfficientNet-B4", B4, 380, 1),
    inference("effyolo", "B0 with n neck and head", EFFYOLO, 640, 1),
    inference("yolov8n", "YOLOv8n", YOLOV8N, 640, 1),
    inference("yolov8s", "YOLOv8s", YOLOV8S, 640, 1),
    training("train-effyolo", "training step, B0 with n neck and head", EFFYOLO, 320, 8),
    training("train-yolov8n-320", "training step, YOLOv8n", YOLOV8N, 320, 8),
    training("train-yolov8n-640", "training step, YOLOv8n", YOLOV8N, 640, 8),
    training("train-b0", "training step, B0 classifier", B0, 224, 16),
];

const fn inference(
    name: &'static str,
    title: &'static str,
    model: &'static str,
    imgsz: usize,
    batch: usize,
) -> Work {
    Work { name, title, model, imgsz, batch, train: false }
}

const fn training(
    name: &'static str,
    title: &'static str,
    model: &'static str,
    imgsz: usize,
    batch: usize,
) -> Work {
    Work { train: true, ..inference(name, title, model, imgsz, batch) }
}

/// The work of that name.
pub(super) fn parse(name: &str) -> Result<&'static Work, String> {
    let names = || ALL.iter().map(|work| work.name).collect::<Vec<_>>().join(", ");
    ALL.iter().find(|work| work.name == name).ok_or_else(|| format!("expected one of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_has_a_name_of_its_own_and_a_configuration() {
        for work in &ALL {
            assert_eq!(parse(work.name), Ok(work));
            assert!(super::super::root().join(work.model).is_file(), "{}", work.model);
        }
        assert!(parse("b9").unwrap_err().contains("b0, b0-batch8, b4"));
    }
}
