use crate::blocks::symmetric;
use crate::{DetectorError, conv_init, conv_norm_act};
use net_graph::{Builder, Init, Level, NodeId};

/// The raw maps of a detection head, the same in every mode, and their decoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadNodes {
    /// Box map of every level, `[B, 4 * reg_max, H_l, W_l]`: left, top, right, bottom, each with `reg_max` bins.
    pub boxes: Vec<NodeId>,
    /// Class logits of every level, `[B, K, H_l, W_l]`.
    pub classes: Vec<NodeId>,
    /// Stride of every level in input pixels.
    pub strides: Vec<usize>,
    /// Bins a side.
    pub reg_max: usize,
    /// Classes.
    pub class_count: usize,
    /// Decoded detections `[B, 4 + K, 1, A]`: centre x, centre y, width, height in input pixels, then class scores.
    pub predictions: NodeId,
}

/// Turns the levels of a neck into detections.
pub trait Head {
    /// Appends the head's nodes.
    ///
    /// # Errors
    /// When the levels do not suit it, or a name is taken in the graph.
    fn build(&self, builder: &mut Builder, levels: &[Level]) -> Result<HeadNodes, DetectorError>;
}

/// YOLOv8's head: on each level one branch for boxes and one for classes, both of two 3x3 convolutions and a 1x1.
/// A box's sides are distributions over bins (Generalized Focal Loss, arXiv 2006.04388).
///
/// The width of both branches follows the finest level, on all levels.
#[derive(Debug, Clone, PartialEq)]
pub struct DflHead {
    /// First part of every name: `head`, or `model.22` in the stock network.
    pub name: String,
    /// Classes.
    pub class_count: usize,
    /// Bins a side; 16 in YOLOv8.
    pub reg_max: usize,
    /// Start of the box branch's last biases: 1 in YOLOv8 up to 8.2, 2 in 8.4.
    pub box_bias: f32,
}

/// The start of the class biases expects so many objects on an image of that side.
const PRIOR_OBJECTS: f64 = 5.0;
const PRIOR_IMAGE_SIDE: f64 = 640.0;

impl DflHead {
    /// Channels of the box branch and of the class branch, given those of the finest level.
    fn branch_widths(&self, finest: usize) -> (usize, usize) {
        let boxes = (finest / 4).max(4 * self.reg_max).max(16);
        (boxes, finest.max(self.class_count.min(100)))
    }

    /// Log of the share of cells that are centre of an object of one class.
    fn class_bias(&self, stride: usize) -> f32 {
        let cells = (PRIOR_IMAGE_SIDE / stride as f64).powi(2);
        (PRIOR_OBJECTS / self.class_count as f64 / cells).ln() as f32
    }

    fn check(&self, levels: &[Level]) -> Result<(), DetectorError> {
        for (what, value) in [("classes", self.class_count), ("reg_max", self.reg_max)] {
            if value == 0 {
                return Err(DetectorError::Zero { what });
            }
        }
        if levels.is_empty() {
            return Err(DetectorError::Levels {
                part: "head",
                expected: "at least one level",
                got: "none".into(),
            });
        }
        Ok(())
    }
}

/// Two 3x3 convolutions, then a 1x1 with bias that starts at `bias`.
fn branch(
    builder: &mut Builder,
    name: &str,
    x: NodeId,
    hidden: usize,
    out: usize,
    bias: f32,
) -> Result<NodeId, DetectorError> {
    let x = conv_norm_act(builder, &format!("{name}.0"), x, hidden, 3, 1)?;
    let x = conv_norm_act(builder, &format!("{name}.1"), x, hidden, 3, 1)?;
    let bias = Some(Init::Constant(bias));
    Ok(builder.conv(&format!("{name}.2"), x, out, symmetric(1, 1), conv_init(hidden, 1), bias)?)
}

impl Head for DflHead {
    fn build(&self, builder: &mut Builder, levels: &[Level]) -> Result<HeadNodes, DetectorError> {
        self.check(levels)?;
        let (name, count) = (&self.name, self.class_count);
        let (box_width, class_width) = self.branch_widths(levels[0].channels);
        let (mut boxes, mut classes) = (Vec::new(), Vec::new());
        for (index, level) in levels.iter().enumerate() {
            let (path, out) = (format!("{name}.cv2.{index}"), 4 * self.reg_max);
            boxes.push(branch(builder, &path, level.node, box_width, out, self.box_bias)?);
        }
        for (index, level) in levels.iter().enumerate() {
            let (path, bias) = (format!("{name}.cv3.{index}"), self.class_bias(level.stride));
            classes.push(branch(builder, &path, level.node, class_width, count, bias)?);
        }
        let strides: Vec<usize> = levels.iter().map(|level| level.stride).collect();
        let bins = format!("{name}.dfl.conv");
        let predictions = builder.decode_detections(&bins, &boxes, &classes, &strides, self.reg_max)?; // [B, 4 + K, 1, A]
        Ok(HeadNodes { boxes, classes, strides, reg_max: self.reg_max, class_count: count, predictions })
    }
}
