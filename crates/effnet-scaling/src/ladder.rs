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

/// The network that costs nearest to `target` when only one dimension grows, found by bisection: what a compound network
/// of that cost is compared with. `None` if even 64 times the dimension costs less.
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
    let mut at = |factor: f64| {
        let scaled = ScaledNetwork::new(baseline, Scaling::single(dimension, factor), resolution_divisor)?;
        let cost = cost_model.cost(&scaled.network, scaled.resolution);
        let coefficients = CompoundCoefficients {
            alpha: scaled.scaling.depth,
            beta: scaled.scaling.width,
            gamma: scaled.scaling.resolution,
        };
        Ok((scaled, cost.map_err(|source| ScalingError::Cost { coefficients, source })?))
    };
    let (mut low, mut high) = (1.0, 2.0);
    while at(high)?.1 < target {
        low = high;
        high *= 2.0;
        if high > LARGEST_MULTIPLIER {
            return Ok(None);
        }
    }
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if at(middle)?.1 < target { low = middle } else { high = middle }
    }
    let (below, above) = (at(low)?, at(high)?);
    let nearest = if target - below.1 < above.1 - target { below } else { above };
    Ok(Some(nearest.0))
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
        }
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
