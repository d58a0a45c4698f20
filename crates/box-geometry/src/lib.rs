//! Boxes, IoU, anchor points, letterbox transform and non-maximum suppression.
