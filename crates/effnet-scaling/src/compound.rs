use serde::{Deserialize, Serialize};

/// Multipliers of depth, width and resolution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Multiplier of the repeats.
    pub depth: f64,
    /// Multiplier of the channels.
    pub width: f64,
    /// Multiplier of the image side.
    pub resolution: f64,
}

/// Bases of compound scaling: depth `alpha^phi`, width `beta^phi`, resolution `gamma^phi` (arXiv 1905.11946, eq. 3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CompoundCoefficients {
    /// Base of the depth.
    pub alpha: f64,
    /// Base of the width.
    pub beta: f64,
    /// Base of the resolution.
    pub gamma: f64,
}

impl CompoundCoefficients {
    /// What the paper's search found: 1.2, 1.1, 1.15.
    pub const PUBLISHED: Self = CompoundCoefficients { alpha: 1.2, beta: 1.1, gamma: 1.15 };

    /// `alpha * beta^2 * gamma^2`: how much more a network costs at phi = 1, if nothing were rounded.
    ///
    /// Real networks cost more, since repeats are rounded up: 2.57 times B0 instead of 1.92 for the paper's answer.
    pub fn cost_factor(&self) -> f64 {
        self.alpha * self.beta.powi(2) * self.gamma.powi(2)
    }

    /// Multipliers at `phi`.
    pub fn scaling(&self, phi: f64) -> Scaling {
        Scaling { depth: self.alpha.powf(phi), width: self.beta.powf(phi), resolution: self.gamma.powf(phi) }
    }
}

/// Which coefficients a search looks at: each of alpha, beta and gamma from 1 to `max` by `step`, kept where
/// `alpha * beta^2 * gamma^2` lies within `tolerance` of `target`.
///
/// The paper names the target (2) and the answer, not the step or the tolerance. The product of its answer is 1.92, so
/// a tolerance below 0.08 leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Step of each coefficient.
    pub step: f64,
    /// Largest value of each coefficient.
    pub max: f64,
    /// Wanted product.
    pub target: f64,
    /// Largest distance from it.
    pub tolerance: f64,
}

/// Slack of comparisons between sums of decimal fractions.
const SLACK: f64 = 1e-12;

impl Grid {
    /// All coefficients of the grid, by alpha, then beta, then gamma.
    pub fn candidates(&self) -> Vec<CompoundCoefficients> {
        let values = self.values();
        let mut candidates = Vec::new();
        for &alpha in &values {
            for &beta in &values {
                let row = values.iter().map(|&gamma| CompoundCoefficients { alpha, beta, gamma });
                candidates
                    .extend(row.filter(|c| (c.cost_factor() - self.target).abs() <= self.tolerance + SLACK));
            }
        }
        candidates
    }

    /// `1, 1 + step ... max`, each rounded once so that decimals come out as written.
    fn values(&self) -> Vec<f64> {
        if !(self.step > 0.0 && self.max >= 1.0 && self.max.is_finite()) {
            return Vec::new();
        }
        let value = |i: usize| ((1.0 + i as f64 * self.step) * 1e10).round() / 1e10;
        (0..).map(value).take_while(|&v| v <= self.max + SLACK).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(step: f64, tolerance: f64) -> usize {
        Grid { step, max: 2.0, target: 2.0, tolerance }.candidates().len()
    }

    #[test]
    fn sizes_of_usual_grids() {
        assert_eq!([0.05, 0.1, 0.2].map(|tolerance| count(0.05, tolerance)), [54, 109, 217]);
        assert_eq!([0.05, 0.1, 0.2].map(|tolerance| count(0.1, tolerance)), [10, 21, 37]);
    }

    #[test]
    fn the_published_answer_needs_a_tolerance_of_eight_hundredths() {
        let holds = |tolerance| {
            let grid = Grid { step: 0.05, max: 2.0, target: 2.0, tolerance };
            grid.candidates().contains(&CompoundCoefficients::PUBLISHED)
        };
        assert_eq!([0.05, 0.08, 0.1].map(holds), [false, true, true]);
        assert!((CompoundCoefficients::PUBLISHED.cost_factor() - 1.9203).abs() < 1e-4);
    }

    #[test]
    fn a_senseless_grid_is_empty() {
        assert_eq!(count(0.0, 0.1), 0);
        assert_eq!(count(-1.0, 0.1), 0);
        assert_eq!(count(f64::NAN, 0.1), 0);
    }
}
