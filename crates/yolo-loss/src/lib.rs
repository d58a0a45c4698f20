//! The YOLOv8 detection loss: task-aligned assigner, CIoU, DFL and class loss.
