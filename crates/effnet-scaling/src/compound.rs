use crate::ScalingError;
use serde::{Deserialize, Serialize};

/// One of the three ways to make a network larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// More blocks.
    Depth,
    /// More channels.
    Width,
    /// Larger images.
    Resolution,
}

impl Dimension {
    /// All three.
    pub const ALL: [Dimension; 3] = [Dimension::Depth, Dimension::Width, Dimension::Resolution];
}

impl std::fmt::Display for Dimension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dimension::Depth => "depth",
            Dimension::Width => "width",
            Dimension::Resolution => "resolution",
        })
    }
}

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

impl Scaling {
    /// The baseline itself.
    pub const ONE: Self = Scaling { depth: 1.0, width: 1.0, resolution: 1.0 };

    /// Only one dimension grows: what compound scaling is compared with (arXiv 1905.11946, section 3.2).
    pub fn single(dimension: Dimension, factor: f64) -> Self {
        match dimension {
            Dimension::Depth => Scaling { depth: factor, ..Self::ONE },
            Dimension::Width => Scaling { width: factor, ..Self::ONE },
            Dimension::Resolution => Scaling { resolution: factor, ..Self::ONE },
        }
    }
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

    /// Checked coefficients: finite and above 0.
    ///
    /// # Errors
    /// Otherwise.
    pub fn new(alpha: f64, beta: f64, gamma: f64) -> Result<Self, ScalingError> {
        for (what, got) in [("alpha", alpha), ("beta", beta), ("gamma", gamma)] {
            ScalingError::check_positive(what, got)?;
        }
        Ok(CompoundCoefficients { alpha, beta, gamma })
    }

    /// `alpha * beta^2 * gamma^2`: how much more a network costs at phi = 1, if nothing were rounded.
    ///
    /// Real networks cost more, since repeats are rounded up: 2.57 times B0 instead of 1.92 for the paper's answer.
    pub fn cost_factor(&self) -> f64 {
        self.alpha * (self.beta * self.beta) * (self.gamma * self.gamma)
    }

    /// Multipliers at `phi`, to twelve decimals: powers of decimals come out as written, and repeats that are whole
    /// numbers are not rounded up for the sake of a last bit.
    pub fn scaling(&self, phi: f64) -> Scaling {
        let power = |base: f64| (base.powf(phi) * 1e12).round() / 1e12;
        Scaling { depth: power(self.alpha), width: power(self.beta), resolution: power(self.gamma) }
    }
}

impl std::fmt::Display for CompoundCoefficients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "alpha {}, beta {}, gamma {}", self.alpha, self.beta, self.gamma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_decimals_come_out_as_written() {
        let Scaling { depth, width, resolution } = CompoundCoefficients::PUBLISHED.scaling(3.0);
        assert_eq!((depth, width, resolution), (1.728, 1.331, 1.520875));
        assert_eq!(CompoundCoefficients::PUBLISHED.scaling(0.0), Scaling::ONE);
    }

    #[test]
    fn coefficients_are_positive_numbers() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(CompoundCoefficients::new(1.0, wrong, 1.0).is_err());
        }
    }
}
