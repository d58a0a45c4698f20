//! Sizes of a sliding window.

/// A window that slides over a batch of maps: the shared geometry of convolution and pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub in_height: usize,
    /// Input columns.
    pub in_width: usize,
    /// Output rows.
    pub out_height: usize,
    /// Output columns.
    pub out_width: usize,
    /// Kernel side.
    pub kernel: usize,
    /// Step in both axes.
    pub stride: usize,
    /// Cells added above the first row.
    pub pad_top: usize,
    /// Cells added before the first column.
    pub pad_left: usize,
}

impl Window {
    /// Positions of the input: `B * H * W`.
    pub fn in_positions(&self) -> usize {
        self.batch * self.in_height * self.in_width
    }

    /// Positions of the output.
    pub fn out_positions(&self) -> usize {
        self.batch * self.out_height * self.out_width
    }

    /// True if every output position reads exactly the input position of the same index.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == 1
            && self.stride == 1
            && self.pad_top == 0
            && self.pad_left == 0
            && self.in_height == self.out_height
            && self.in_width == self.out_width
    }
}
