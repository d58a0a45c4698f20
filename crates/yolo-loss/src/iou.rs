//! IoU, GIoU, DIoU and CIoU of a pair of boxes, with gradients.

use std::f64::consts::PI;

/// Keeps divisions finite: added to heights, union, and the area or squared diagonal of the enclosing box.
pub(crate) const EPSILON: f64 = 1e-7;

/// A loss on matched pairs of boxes.
pub trait BoxLoss: Sync {
    /// The loss of one pair and its gradient with respect to the predicted box. Boxes are `[x1, y1, x2, y2]` in grid
    /// units.
    fn value_and_gradient(&self, predicted: &[f64; 4], target: &[f64; 4]) -> (f64, [f64; 4]);
}

/// Measures of the overlap of two boxes; as a [`BoxLoss`] each is `1 - overlap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Intersection over union.
    Iou,
    /// Generalised IoU (arXiv 1902.09630).
    Giou,
    /// Distance IoU (arXiv 1911.08287, section 3.2).
    Diou,
    /// Complete IoU (arXiv 1911.08287, section 3.3); its weight alpha is a constant in the gradient.
    Ciou,
}

/// An overlap and its gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairOverlap {
    /// The overlap.
    pub value: f64,
    /// Gradient with respect to the first box.
    pub first: [f64; 4],
    /// Gradient with respect to the second box.
    pub second: [f64; 4],
}

impl BoxLoss for Overlap {
    fn value_and_gradient(&self, predicted: &[f64; 4], target: &[f64; 4]) -> (f64, [f64; 4]) {
        let overlap = self.with_gradient(predicted, target);
        (1.0 - overlap.value, overlap.first.map(|gradient| -gradient))
    }
}

impl Overlap {
    /// The overlap of two boxes `[x1, y1, x2, y2]` in the same unit.
    pub fn value(&self, first: &[f64; 4], second: &[f64; 4]) -> f64 {
        Pair::new(first, second).value(*self)
    }

    /// The overlap and its gradient with respect to both boxes. At the kinks of minimum and maximum (edges that
    /// coincide) each box takes half.
    pub fn with_gradient(&self, first: &[f64; 4], second: &[f64; 4]) -> PairOverlap {
        let pair = Pair::new(first, second);
        let [x, y] = pair.partials(*self);
        let ([first_x, second_x], [first_y, second_y]) = (pair.x.edges(&x), pair.y.edges(&y));
        let corners = |x: [f64; 2], y: [f64; 2]| [x[0], y[0], x[1], y[1]];
        PairOverlap {
            value: pair.value(*self),
            first: corners(first_x, first_y),
            second: corners(second_x, second_y),
        }
    }
}

/// Two intervals on one axis.
struct Axis {
    lengths: [f64; 2],
    overlap: f64,
    enclosing: f64,
    /// Sum of the first one's ends minus that of the second's: twice the distance of the centres.
    offset: f64,
    /// 1 where the first interval's low end is the inner one, 0 where the second's is.
    first_low_inner: f64,
    /// The same for the high ends.
    first_high_inner: f64,
}

/// Derivatives of an overlap with respect to what an [`Axis`] holds.
#[derive(Default, Clone, Copy)]
struct Partials {
    lengths: [f64; 2],
    overlap: f64,
    enclosing: f64,
    offset: f64,
}

impl Axis {
    fn new(first: [f64; 2], second: [f64; 2]) -> Self {
        let share = |difference: f64| if difference == 0.0 { 0.5 } else { (difference > 0.0) as u8 as f64 };
        Axis {
            lengths: [first[1] - first[0], second[1] - second[0]],
            overlap: (first[1].min(second[1]) - first[0].max(second[0])).max(0.0),
            enclosing: first[1].max(second[1]) - first[0].min(second[0]),
            offset: first[0] + first[1] - second[0] - second[1],
            first_low_inner: share(first[0] - second[0]),
            first_high_inner: share(second[1] - first[1]),
        }
    }

    /// Derivatives with respect to `[low, high]` of the first and of the second interval.
    fn edges(&self, partials: &Partials) -> [[f64; 2]; 2] {
        let overlap = if self.overlap > 0.0 { partials.overlap } else { 0.0 };
        let interval = |length: f64, offset: f64, low_inner: f64, high_inner: f64| {
            let low = -overlap * low_inner - partials.enclosing * (1.0 - low_inner) - length + offset;
            let high = overlap * high_inner + partials.enclosing * (1.0 - high_inner) + length + offset;
            [low, high]
        };
        let [first, second] = partials.lengths;
        [
            interval(first, partials.offset, self.first_low_inner, self.first_high_inner),
            interval(second, -partials.offset, 1.0 - self.first_low_inner, 1.0 - self.first_high_inner),
        ]
    }
}

struct Pair {
    x: Axis,
    y: Axis,
    intersection: f64,
    union: f64,
}

impl Pair {
    fn new(first: &[f64; 4], second: &[f64; 4]) -> Self {
        let x = Axis::new([first[0], first[2]], [second[0], second[2]]);
        let mut y = Axis::new([first[1], first[3]], [second[1], second[3]]);
        y.lengths = y.lengths.map(|height| height + EPSILON);
        let intersection = x.overlap * y.overlap;
        let union = x.lengths[0] * y.lengths[0] + x.lengths[1] * y.lengths[1] - intersection + EPSILON;
        Pair { x, y, intersection, union }
    }

    fn value(&self, overlap: Overlap) -> f64 {
        let iou = self.intersection / self.union;
        match overlap {
            Overlap::Iou => iou,
            Overlap::Giou => {
                let enclosing = self.enclosing_area();
                iou - (enclosing - self.union) / enclosing
            }
            Overlap::Diou => iou - self.distance(),
            Overlap::Ciou => {
                let v = self.aspect_difference();
                iou - (self.distance() + v * alpha(v, iou))
            }
        }
    }

    /// Derivatives with respect to both axes.
    fn partials(&self, overlap: Overlap) -> [Partials; 2] {
        let by_intersection = 1.0 / self.union;
        let mut by_union = -self.intersection / (self.union * self.union);
        let (mut x, mut y) = (Partials::default(), Partials::default());
        match overlap {
            Overlap::Iou => {}
            Overlap::Giou => {
                let enclosing = self.enclosing_area();
                by_union += 1.0 / enclosing;
                let by_enclosing = -self.union / (enclosing * enclosing);
                x.enclosing = by_enclosing * self.y.enclosing;
                y.enclosing = by_enclosing * self.x.enclosing;
            }
            Overlap::Diou | Overlap::Ciou => {
                let diagonal = self.squared_diagonal();
                let by_diagonal = self.distance() / diagonal;
                for (partials, axis) in [(&mut x, &self.x), (&mut y, &self.y)] {
                    partials.enclosing = by_diagonal * 2.0 * axis.enclosing;
                    partials.offset = -axis.offset / (2.0 * diagonal);
                }
            }
        }
        // The union holds both areas minus the intersection.
        x.overlap = (by_intersection - by_union) * self.y.overlap;
        y.overlap = (by_intersection - by_union) * self.x.overlap;
        for side in 0..2 {
            x.lengths[side] = by_union * self.y.lengths[side];
            y.lengths[side] = by_union * self.x.lengths[side];
        }
        if overlap == Overlap::Ciou {
            self.add_aspect_partials(&mut x, &mut y);
        }
        [x, y]
    }

    /// Derivatives of `-alpha * v`.
    fn add_aspect_partials(&self, x: &mut Partials, y: &mut Partials) {
        let v = self.aspect_difference();
        let weight = -alpha(v, self.intersection / self.union);
        let by_angle = weight * 8.0 / (PI * PI) * (self.angle(1) - self.angle(0));
        for (side, sign) in [(0, -1.0), (1, 1.0)] {
            let (width, height) = (self.x.lengths[side], self.y.lengths[side]);
            let squares = width * width + height * height;
            x.lengths[side] += sign * by_angle * height / squares;
            y.lengths[side] -= sign * by_angle * width / squares;
        }
    }

    fn enclosing_area(&self) -> f64 {
        self.x.enclosing * self.y.enclosing + EPSILON
    }

    fn squared_diagonal(&self) -> f64 {
        self.x.enclosing * self.x.enclosing + self.y.enclosing * self.y.enclosing + EPSILON
    }

    /// Squared distance of the centres over the squared diagonal of the enclosing box.
    fn distance(&self) -> f64 {
        (self.x.offset * self.x.offset + self.y.offset * self.y.offset) / 4.0 / self.squared_diagonal()
    }

    /// Arctangent of a box's width over its height.
    fn angle(&self, side: usize) -> f64 {
        (self.x.lengths[side] / self.y.lengths[side]).atan()
    }

    /// `v` of CIoU.
    fn aspect_difference(&self) -> f64 {
        let difference = self.angle(1) - self.angle(0);
        4.0 / (PI * PI) * difference * difference
    }
}

/// Weight of CIoU's aspect term.
fn alpha(v: f64, iou: f64) -> f64 {
    v / (v - iou + (1.0 + EPSILON))
}
