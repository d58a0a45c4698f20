use crate::error::LARGEST_MULTIPLIER;
use crate::{Baseline, CompoundCoefficients, CostModel, Dimension, ScaledNetwork, Scaling, ScalingError};

/// Step 2 of compound scaling: one network for each phi (arXiv 1905.11946, section 3.3).
///
/// The published B1 to B7 are near this but not on it; they are data in [`Variant`](crate::Variant).
///
/// # Errors
/// When a multiplier is not above 0 and at most 64.
pub fn phi_ladder<B: Baseline>(
    baseline: &B,
    coefficients: CompoundCoefficients,
    phis: &[f64],
    resolution_divisor: usize,
) -> Result<Vec<ScaledNetwork<B::Network>>, ScalingError> {
    let rung = |&phi| ScaledNetwork::new(baseline, coefficients.scaling(phi), resolution_divisor);
    phis.iter().map(rung).collect()
}

/// The network that costs nearest to `target` when only one dimension grows: what a compound network of that cost is
/// compared with. `None` if even 64 times the dimension costs less.
///
/// # Errors
/// When a cost cannot be told.
pub fn single_dimension<B: Baseline>(
    baseline: &B,
    dimension: Dimension,
    target: f64,
    resolution_divisor: usize,
    cost_model: &mut dyn CostModel<B::Network>,
) -> Result<Option<ScaledNetwork<B::Network>>, ScalingError> {
    let path = |step: f64| Scaling::single(dimension, ((1.0 + step) * 1e6).round() / 1e6);
    scaled_to_cost(baseline, &path, target, resolution_divisor, cost_model)
}

/// The network that costs nearest to `target` when all dimensions grow by the coefficients. `None` if no multipliers up
/// to 64 reach it.
///
/// # Errors
/// When a cost cannot be told.
pub fn compound_at_cost<B: Baseline>(
    baseline: &B,
    coefficients: CompoundCoefficients,
    target: f64,
    resolution_divisor: usize,
    cost_model: &mut dyn CostModel<B::Network>,
) -> Result<Option<ScaledNetwork<B::Network>>, ScalingError> {
    scaled_to_cost(baseline, &|phi| coefficients.scaling(phi), target, resolution_divisor, cost_model)
}

/// Bisection along a path of multipliers that starts at 0 with the baseline and never shrinks.
fn scaled_to_cost<B: Baseline>(
    baseline: &B,
    path: &dyn Fn(f64) -> Scaling,
    target: f64,
    resolution_divisor: usize,
    cost_model: &mut dyn CostModel<B::Network>,
) -> Result<Option<ScaledNetwork<B::Network>>, ScalingError> {
    let mut at = |step: f64| {
        let scaled = ScaledNetwork::new(baseline, path(step), resolution_divisor)?;
        let cost = cost_model.cost(&scaled.network, scaled.resolution);
        let Scaling { depth: alpha, width: beta, resolution: gamma } = scaled.scaling;
        let coefficients = CompoundCoefficients { alpha, beta, gamma };
        Ok((scaled, cost.map_err(|source| ScalingError::Cost { coefficients, source })?))
    };
    let (mut low, mut high) = (0.0, 1.0);
    while largest(path(high)) <= LARGEST_MULTIPLIER && high <= LARGEST_STEP && at(high)?.1 < target {
        (low, high) = (high, 2.0 * high);
    }
    if high > LARGEST_STEP {
        return Ok(None);
    }
    // In millionths, so that multipliers are short decimals.
    let (mut below, mut above) = ((low / FINEST).round() as u64, (high / FINEST).round() as u64);
    while above - below > 1 {
        let middle = below.midpoint(above);
        let step = middle as f64 * FINEST;
        let beyond = largest(path(step)) > LARGEST_MULTIPLIER;
        if beyond || at(step)?.1 >= target { above = middle } else { below = middle }
    }
    (low, high) = (below as f64 * FINEST, above as f64 * FINEST);
    let below = at(low)?;
    if largest(path(high)) > LARGEST_MULTIPLIER {
        return Ok(None);
    }
    let above = at(high)?;
    Ok(Some(if target - below.1 < above.1 - target { below.0 } else { above.0 }))
}

/// Steps along a path are told apart down to this.
const FINEST: f64 = 1e-6;

/// A path that needs more steps than this does not grow.
const LARGEST_STEP: f64 = 1024.0;

fn largest(scaling: Scaling) -> f64 {
    scaling.depth.max(scaling.width).max(scaling.resolution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MultiplyAdds, NetworkSpec, Variant};
    use proptest::prelude::*;

    fn b0() -> Variant {
        Variant::find("b0").unwrap()
    }

    fn channels(network: &NetworkSpec) -> Vec<usize> {
        network.stages.iter().map(|stage| stage.channels).collect()
    }

    #[test]
    fn whole_phis_meet_the_published_channels_at_first_and_then_part() {
        let ladder = phi_ladder(&b0(), CompoundCoefficients::PUBLISHED, &[0.0, 1.0, 2.0, 6.0], 1).unwrap();
        let published = |name| channels(&Variant::find(name).unwrap().network());
        assert_eq!(*ladder[0].network, NetworkSpec::b0());
        assert_eq!(channels(&ladder[1].network), published("b2"));
        assert_eq!(channels(&ladder[2].network), published("b3"));
        assert_eq!(channels(&ladder[3].network), [32, 40, 72, 144, 200, 344, 568]);
    }

    #[test]
    fn one_dimension_reaches_a_wanted_cost() {
        let mut model = MultiplyAdds { classes: 1000 };
        let base = model.cost(&NetworkSpec::b0(), 224).unwrap();
        for dimension in Dimension::ALL {
            let scaled = single_dimension(&b0(), dimension, 4.0 * base, 1, &mut model).unwrap().unwrap();
            let ratio = model.cost(&*scaled.network, scaled.resolution).unwrap() / base;
            assert!((3.7..4.3).contains(&ratio), "{dimension}: {ratio}");
            let factor = scaled.scaling.depth * scaled.scaling.width * scaled.scaling.resolution;
            assert!(factor.to_string().len() <= 8, "{factor}");
        }
        let compound = CompoundCoefficients::PUBLISHED;
        let scaled = compound_at_cost(&b0(), compound, 4.0 * base, 1, &mut model).unwrap().unwrap();
        let ratio = model.cost(&*scaled.network, scaled.resolution).unwrap() / base;
        assert!((3.7..4.3).contains(&ratio), "{ratio}");
    }

    #[test]
    fn what_no_multiplier_reaches_is_none() {
        let mut model = MultiplyAdds { classes: 1000 };
        let base = model.cost(&NetworkSpec::b0(), 224).unwrap();
        let mut depth = |ratio: f64| {
            single_dimension(&b0(), Dimension::Depth, ratio * base, 1, &mut model).unwrap().is_some()
        };
        assert_eq!([60.0, 70.0].map(&mut depth), [true, false]);
        let still = CompoundCoefficients { alpha: 1.0, beta: 1.0, gamma: 1.0 };
        assert_eq!(compound_at_cost(&b0(), still, 2.0 * base, 1, &mut model).unwrap(), None);
    }

    proptest! {
        #[test]
        fn a_larger_phi_never_costs_less(low in 0.0f64..6.0, more in 0.0f64..2.0) {
            let ladder = phi_ladder(&b0(), CompoundCoefficients::PUBLISHED, &[low, low + more], 1).unwrap();
            let cost = |scaled: &ScaledNetwork<NetworkSpec>| {
                scaled.network.cost(scaled.resolution, scaled.resolution, 1000).total()
            };
            let (small, large) = (cost(&ladder[0]), cost(&ladder[1]));
            prop_assert!(small.macs <= large.macs && small.params <= large.params);
        }
    }
}
