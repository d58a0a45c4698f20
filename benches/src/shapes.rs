//! Convolutions of real networks.

use cpu_kernels::Window;

/// A square convolution over a square map, padded by half the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Kernel side.
    pub kernel: usize,
    /// Step in both axes.
    pub stride: usize,
    /// Groups: 1 is dense, `inputs` is depthwise.
    pub groups: usize,
    /// Rows and columns of the input.
    pub side: usize,
}

impl ConvShape {
    /// Rows and columns of the output.
    pub fn out_side(&self) -> usize {
        window(1, self.side, self.kernel, self.stride).out_height
    }

    /// Multiply-adds of the forward pass for one image, those with padding included.
    pub fn macs(&self) -> usize {
        self.out_side().pow(2) * self.outputs * self.inputs / self.groups * self.kernel.pow(2)
    }
}

/// A square window over square maps, padded by half the kernel.
pub fn window(batch: usize, side: usize, kernel: usize, stride: usize) -> Window {
    let pad = kernel / 2;
    let out = (side + 2 * pad - kernel) / stride + 1;
    Window {
        batch,
        in_height: side,
        in_width: side,
        out_height: out,
        out_width: out,
        kernel,
        stride,
        pad_top: pad,
        pad_left: pad,
    }
}

impl std::fmt::Display for ConvShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ConvShape { inputs, outputs, kernel, stride, groups, side } = self;
        write!(f, "{inputs}x{side}x{side} to {outputs} k{kernel} s{stride}")?;
        if *groups > 1 { write!(f, " g{groups}") } else { Ok(()) }
    }
}

const fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize, side: usize) -> ConvShape {
    ConvShape { inputs, outputs, kernel, stride, groups: 1, side }
}

const fn depthwise(channels: usize, kernel: usize, stride: usize, side: usize) -> ConvShape {
    ConvShape { inputs: channels, outputs: channels, kernel, stride, groups: channels, side }
}

/// Dense convolutions of EfficientNet-B0 at 224 pixels, then of YOLOv8n at 640.
pub const DENSE: [ConvShape; 19] = [
    conv(3, 32, 3, 2, 224),
    conv(16, 96, 1, 1, 112),
    conv(24, 144, 1, 1, 56),
    conv(144, 24, 1, 1, 56),
    conv(240, 40, 1, 1, 28),
    conv(80, 480, 1, 1, 14),
    conv(672, 112, 1, 1, 14),
    conv(192, 1152, 1, 1, 7),
    conv(320, 1280, 1, 1, 7),
    conv(3, 16, 3, 2, 640),
    conv(16, 32, 3, 2, 320),
    conv(16, 16, 3, 1, 160),
    conv(32, 32, 3, 1, 80),
    conv(64, 64, 3, 1, 80),
    conv(64, 80, 3, 1, 80),
    conv(80, 80, 3, 1, 80),
    conv(64, 128, 3, 2, 80),
    conv(128, 128, 3, 1, 20),
    conv(128, 256, 3, 2, 40),
];

/// Depthwise convolutions of EfficientNet-B0 at 224 pixels.
pub const DEPTHWISE: [ConvShape; 8] = [
    depthwise(32, 3, 1, 112),
    depthwise(96, 3, 2, 112),
    depthwise(144, 3, 1, 56),
    depthwise(144, 5, 2, 56),
    depthwise(240, 5, 1, 28),
    depthwise(480, 3, 1, 14),
    depthwise(672, 5, 1, 14),
    depthwise(1152, 5, 1, 7),
];
