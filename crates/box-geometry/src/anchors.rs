//! Anchor points: the cell centres at which an anchor-free head predicts boxes.

use crate::{GeometryError, Size, Xyxy};

/// Shape of one level of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GridLevel {
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// Side of a cell in network-input pixels.
    pub stride: usize,
}

impl GridLevel {
    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.height * self.width
    }
}

/// The anchor points of all levels, in the order of the levels, each row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct AnchorGrid {
    levels: Vec<GridLevel>,
    centres: Vec<[f32; 2]>,
    strides: Vec<f32>,
}

impl AnchorGrid {
    /// The anchor points of these levels (usually P3, P4, P5).
    pub fn new(levels: &[GridLevel]) -> Self {
        let anchors = levels.iter().map(GridLevel::cells).sum();
        let mut centres = Vec::with_capacity(anchors);
        let mut strides = Vec::with_capacity(anchors);
        for level in levels {
            let columns = |y: usize| (0..level.width).map(move |x| [x as f32 + 0.5, y as f32 + 0.5]);
            centres.extend((0..level.height).flat_map(columns));
            strides.resize(centres.len(), level.stride as f32);
        }
        AnchorGrid { levels: levels.to_vec(), centres, strides }
    }

    /// The anchor points of a network input of that size, one level a stride.
    ///
    /// # Errors
    /// When a stride is 0 or does not divide both sides.
    pub fn for_input(input: Size, strides: &[usize]) -> Result<Self, GeometryError> {
        let level = |&stride: &usize| {
            if stride == 0 {
                return Err(GeometryError::ZeroStride { what: "anchor grid" });
            }
            if !input.height.is_multiple_of(stride) || !input.width.is_multiple_of(stride) {
                return Err(GeometryError::NotDivisible { size: input, stride });
            }
            Ok(GridLevel { height: input.height / stride, width: input.width / stride, stride })
        };
        Ok(AnchorGrid::new(&strides.iter().map(level).collect::<Result<Vec<_>, _>>()?))
    }

    /// The levels.
    pub fn levels(&self) -> &[GridLevel] {
        &self.levels
    }

    /// Number of anchor points.
    pub fn len(&self) -> usize {
        self.centres.len()
    }

    /// True if there is no anchor point.
    pub fn is_empty(&self) -> bool {
        self.centres.is_empty()
    }

    /// `[x, y]` of every anchor point in grid units of its level.
    pub fn centres(&self) -> &[[f32; 2]] {
        &self.centres
    }

    /// Stride of every anchor point's level.
    pub fn strides(&self) -> &[f32] {
        &self.strides
    }

    /// `[x, y]` of an anchor point in network-input pixels.
    pub fn centre_px(&self, anchor: usize) -> [f32; 2] {
        let stride = self.strides[anchor];
        self.centres[anchor].map(|coordinate| coordinate * stride)
    }
}

/// The box whose edges lie `[left, top, right, bottom]` from a centre, in the unit of both.
pub fn dist2bbox([left, top, right, bottom]: [f32; 4], [x, y]: [f32; 2]) -> Xyxy {
    Xyxy { x1: x - left, y1: y - top, x2: x + right, y2: y + bottom }
}

/// Distances `[left, top, right, bottom]` of a box's edges from a centre, clamped to `0 ..= last_bin - 0.01`: so the
/// bins below and above a distance both exist (`last_bin` = number of bins - 1). Box and centre in grid units.
pub fn bbox2dist(bbox: &Xyxy, [x, y]: [f32; 2], last_bin: usize) -> [f32; 4] {
    let limit = last_bin as f32 - 0.01;
    [x - bbox.x1, y - bbox.y1, bbox.x2 - x, bbox.y2 - y].map(|distance| distance.clamp(0.0, limit))
}
