use std::fmt;

/// Shape of a node's value: batch, channels, height, width (`[B, C, H, W]`).
///
/// A vector per image (pooled features, logits) has height and width 1. Decoded detections have height 1 and one
/// column an anchor point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Images in the batch.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Positions in all maps of one channel: `B * H * W`.
    pub fn positions(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.positions() * self.channels
    }

    /// True if there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As `[B, C, H, W]`.
    pub fn dims(&self) -> [usize; 4] {
        [self.batch, self.channels, self.height, self.width]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}x{}", self.batch, self.channels, self.height, self.width)
    }
}

/// How a window (convolution or pooling) is padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Padding {
    /// `(k - 1) / 2` on both sides, as PyTorch models do.
    Symmetric,
    /// TensorFlow's SAME: output `ceil(size / stride)`, the odd cell at the end.
    Same,
}

/// One axis of a window: cells added before and after, and the output size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Cells added before the first.
    pub before: usize,
    /// Cells added after the last.
    pub after: usize,
    /// Output size.
    pub out: usize,
}

impl Padding {
    /// Resolves the padding of one axis. `None` if the padded axis is smaller than the kernel.
    pub fn resolve(self, size: usize, kernel: usize, stride: usize) -> Option<Extent> {
        let (before, after) = match self {
            Padding::Symmetric => ((kernel - 1) / 2, (kernel - 1) / 2),
            Padding::Same => {
                let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
                (total / 2, total - total / 2)
            }
        };
        let padded = size + before + after;
        (padded >= kernel).then(|| Extent { before, after, out: (padded - kernel) / stride + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_cell_at_the_end() {
        assert_eq!(Padding::Same.resolve(224, 3, 2), Some(Extent { before: 0, after: 1, out: 112 }));
        assert_eq!(Padding::Same.resolve(112, 5, 2), Some(Extent { before: 1, after: 2, out: 56 }));
        assert_eq!(Padding::Same.resolve(65, 3, 2), Some(Extent { before: 1, after: 1, out: 33 }));
        assert_eq!(Padding::Same.resolve(1, 1, 2), Some(Extent { before: 0, after: 0, out: 1 }));
    }

    #[test]
    fn symmetric_padding_is_half_the_kernel() {
        assert_eq!(Padding::Symmetric.resolve(224, 3, 2), Some(Extent { before: 1, after: 1, out: 112 }));
        assert_eq!(Padding::Symmetric.resolve(65, 5, 2), Some(Extent { before: 2, after: 2, out: 33 }));
    }
}
