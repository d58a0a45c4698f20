//! Box types, their conversions and plain IoU.

/// Height and width of an image or map in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// A box by its corners. The frame (which pixels, or grid units) is that of the function that returns it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Xyxy {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

/// A box by centre and size, as label files hold it. The frame is that of the function that returns it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CxCyWh {
    /// Centre, horizontal.
    pub cx: f32,
    /// Centre, vertical.
    pub cy: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

impl Xyxy {
    /// A box from its left, top, right and bottom edge.
    pub fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Xyxy { x1, y1, x2, y2 }
    }

    /// Width; negative when the corners are swapped.
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// Height; negative when the corners are swapped.
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// Width times height.
    pub fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// Area that both boxes cover, at least 0.
    pub fn intersection(&self, other: &Xyxy) -> f32 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union, in `[0, 1]`; 0 when the union has no area.
    pub fn iou(&self, other: &Xyxy) -> f32 {
        let intersection = self.intersection(other);
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// The box with all edges in `0 ..= width` and `0 ..= height`.
    pub fn clip(&self, size: Size) -> Xyxy {
        let (width, height) = (size.width as f32, size.height as f32);
        Xyxy {
            x1: self.x1.clamp(0.0, width),
            y1: self.y1.clamp(0.0, height),
            x2: self.x2.clamp(0.0, width),
            y2: self.y2.clamp(0.0, height),
        }
    }

    /// The box with x multiplied by `x` and y by `y`.
    pub fn scale(&self, x: f32, y: f32) -> Xyxy {
        Xyxy { x1: self.x1 * x, y1: self.y1 * y, x2: self.x2 * x, y2: self.y2 * y }
    }

    /// The box moved by `x` and `y`.
    pub fn shift(&self, x: f32, y: f32) -> Xyxy {
        Xyxy { x1: self.x1 + x, y1: self.y1 + y, x2: self.x2 + x, y2: self.y2 + y }
    }

    /// `[x1, y1, x2, y2]`.
    pub fn to_array(&self) -> [f32; 4] {
        [self.x1, self.y1, self.x2, self.y2]
    }

    /// The same box by centre and size.
    pub fn to_cxcywh(&self) -> CxCyWh {
        CxCyWh {
            cx: (self.x1 + self.x2) * 0.5,
            cy: (self.y1 + self.y2) * 0.5,
            w: self.width(),
            h: self.height(),
        }
    }
}

impl From<[f32; 4]> for Xyxy {
    fn from([x1, y1, x2, y2]: [f32; 4]) -> Self {
        Xyxy { x1, y1, x2, y2 }
    }
}

impl CxCyWh {
    /// A box from its centre and size.
    pub fn new(cx: f32, cy: f32, w: f32, h: f32) -> Self {
        CxCyWh { cx, cy, w, h }
    }

    /// The same box by its corners.
    pub fn to_xyxy(&self) -> Xyxy {
        let (half_width, half_height) = (self.w * 0.5, self.h * 0.5);
        Xyxy {
            x1: self.cx - half_width,
            y1: self.cy - half_height,
            x2: self.cx + half_width,
            y2: self.cy + half_height,
        }
    }

    /// A normalised box in pixels of an image of that size.
    pub fn denormalise(&self, size: Size) -> CxCyWh {
        let (width, height) = (size.width as f32, size.height as f32);
        CxCyWh { cx: self.cx * width, cy: self.cy * height, w: self.w * width, h: self.h * height }
    }

    /// A box in pixels of an image of that size, normalised.
    pub fn normalise(&self, size: Size) -> CxCyWh {
        let (width, height) = (size.width as f32, size.height as f32);
        CxCyWh { cx: self.cx / width, cy: self.cy / height, w: self.w / width, h: self.h / height }
    }
}
