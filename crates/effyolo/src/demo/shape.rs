//! The shapes, which are the classes.

/// A class of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Disc,
    Square,
    Triangle,
    Ring,
    Star,
    Cross,
}

impl Shape {
    pub(crate) const ALL: [Shape; 6] =
        [Shape::Disc, Shape::Square, Shape::Triangle, Shape::Ring, Shape::Star, Shape::Cross];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Shape::Disc => "disc",
            Shape::Square => "square",
            Shape::Triangle => "triangle",
            Shape::Ring => "ring",
            Shape::Star => "star",
            Shape::Cross => "cross",
        }
    }

    /// True for points of the shape, which fills the square from -1 to 1; y points down.
    pub(crate) fn contains(self, x: f64, y: f64) -> bool {
        let radius = x.hypot(y);
        match self {
            Shape::Disc => radius <= 1.0,
            Shape::Square => x.abs() <= 0.85 && y.abs() <= 0.85,
            Shape::Triangle => y <= 0.8 && x.abs() <= (y + 1.0) * 0.52,
            Shape::Ring => (0.55..=1.0).contains(&radius),
            Shape::Star => radius <= star_radius(x.atan2(-y)),
            Shape::Cross => {
                let (x, y) = (x.abs(), y.abs());
                x.max(y) <= 1.0 && x.min(y) <= 0.3
            }
        }
    }
}

/// Distance of a five-pointed star's edge from its centre in a direction, 0 pointing up.
fn star_radius(angle: f64) -> f64 {
    let sector = std::f64::consts::TAU / 5.0;
    // 0 at a tip, 1 between two tips.
    let share = ((angle.rem_euclid(sector) / sector) * 2.0 - 1.0).abs();
    let share = 1.0 - share;
    1.0 - 0.6 * share
}
