use crate::ScalingError;
use serde::Serialize;

/// Values `min, min + step ... max` of one coefficient, both ends included where the step reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Axis {
    min: f64,
    max: f64,
    step: f64,
    count: usize,
}

/// Share of a step by which a bound may be missed: sums of decimal fractions are not exact.
const SLACK: f64 = 1e-6;
/// No axis has more values.
const LONGEST: f64 = 1e7;

impl Axis {
    /// A checked axis.
    ///
    /// # Errors
    /// When a number is not finite, `min` or `step` is not above 0, `max` is below `min`, or there are over ten
    /// million values.
    pub fn new(min: f64, max: f64, step: f64) -> Result<Self, ScalingError> {
        ScalingError::check_positive("smallest coefficient", min)?;
        ScalingError::check_positive("step", step)?;
        if !(max.is_finite() && max >= min) {
            let expected = "at least the smallest one";
            return Err(ScalingError::Coefficient { what: "largest coefficient", expected, got: max });
        }
        let steps = (max - min) / step + SLACK;
        if steps >= LONGEST {
            let expected = "that leaves at most ten million values a coefficient";
            return Err(ScalingError::Coefficient { what: "step", expected, got: step });
        }
        Ok(Axis { min, max, step, count: steps as usize + 1 })
    }

    /// Number of values; at least one.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The values. Counted in whole steps and rounded once, so that decimals come out as they are written.
    pub fn values(&self) -> impl ExactSizeIterator<Item = f64> + use<> {
        let Axis { min, step, count, .. } = *self;
        (0..count).map(move |i| ((min + i as f64 * step) * 1e10).round() / 1e10)
    }
}

/// All values of alpha, beta and gamma that a search looks at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Grid {
    /// Values of alpha (depth).
    pub alpha: Axis,
    /// Values of beta (width).
    pub beta: Axis,
    /// Values of gamma (resolution).
    pub gamma: Axis,
}

impl Grid {
    /// The same axis three times.
    ///
    /// # Errors
    /// As [`Axis::new`].
    pub fn cube(min: f64, max: f64, step: f64) -> Result<Self, ScalingError> {
        let axis = Axis::new(min, max, step)?;
        Ok(Grid { alpha: axis, beta: axis, gamma: axis })
    }

    /// Number of points, before any constraint.
    pub fn points(&self) -> u128 {
        [self.alpha, self.beta, self.gamma].iter().map(|axis| axis.len() as u128).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_out_as_written_and_both_ends_belong() {
        let values: Vec<f64> = Axis::new(1.0, 2.0, 0.05).unwrap().values().collect();
        assert_eq!(values.len(), 21);
        assert_eq!((values[1], values[3], values[20]), (1.05, 1.15, 2.0));
        let values: Vec<f64> = Axis::new(1.0, 2.0, 0.3).unwrap().values().collect();
        assert_eq!(values, [1.0, 1.3, 1.6, 1.9]);
        assert_eq!(Axis::new(1.0, 1.0, 0.1).unwrap().values().collect::<Vec<_>>(), [1.0]);
        for count in 1..2000 {
            assert_eq!(Axis::new(1.0, 2.0, 1.0 / f64::from(count)).unwrap().len(), count as usize + 1);
        }
    }

    #[test]
    fn senseless_axes_are_refused() {
        for step in [0.0, -0.1, f64::NAN, f64::INFINITY, 1e-9] {
            let message = Axis::new(1.0, 2.0, step).unwrap_err().to_string();
            assert!(message.starts_with("step: expected"), "{message}");
        }
        assert!(Axis::new(1.0, 0.9, 0.1).is_err());
        assert!(Axis::new(0.0, 2.0, 0.1).is_err());
        assert!(Axis::new(1.0, f64::NAN, 0.1).is_err());
    }
}
