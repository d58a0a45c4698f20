//! The only source of randomness.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for; part of its key.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
enum Purpose {
    Sample = 0,
    Order = 1,
}

/// Random numbers of one sample or of one epoch's order.
///
/// The stream is ChaCha8 with the 256-bit key (seed, epoch, index, purpose), each 64 bits little-endian: different
/// triples have independent streams, and none depends on how often another was used.
#[derive(Debug, Clone)]
pub struct Generator(ChaCha8Rng);

impl Generator {
    /// The stream of image `index` in an epoch.
    pub fn for_sample(seed: u64, epoch: u64, index: u64) -> Self {
        Generator::with_key(seed, epoch, index, Purpose::Sample)
    }

    /// The stream that shuffles an epoch.
    pub fn for_order(seed: u64, epoch: u64) -> Self {
        Generator::with_key(seed, epoch, 0, Purpose::Order)
    }

    fn with_key(seed: u64, epoch: u64, index: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, epoch, index, purpose as u64]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Generator(ChaCha8Rng::from_seed(key))
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A number in `[-bound, bound)`.
    pub fn symmetric(&mut self, bound: f64) -> f64 {
        self.uniform(-bound, bound)
    }

    /// True with that probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A whole number in `0..count`.
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        assert!(count > 0, "a number below 0");
        ((self.0.next_u64() as u128 * count as u128) >> 64) as usize
    }

    /// The numbers `0..count` in random order.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    /// A draw from the beta distribution with both parameters `n`: the middle one of 2n - 1 uniform numbers.
    pub fn symmetric_beta(&mut self, n: usize) -> f64 {
        let mut draws: Vec<f64> = (0..2 * n - 1).map(|_| self.unit()).collect();
        draws.sort_by(f64::total_cmp);
        draws[n - 1]
    }
}

impl Generator {
    /// A draw from the beta distribution with both parameters `alpha` (Jöhnk's method, for alpha up to 1).
    ///
    /// # Panics
    /// When `alpha` does not lie above 0 and up to 1.
    pub fn symmetric_beta_of(&mut self, alpha: f64) -> f64 {
        assert!(alpha > 0.0 && alpha <= 1.0, "beta distribution of {alpha}");
        loop {
            let (x, y) = (self.unit().powf(1.0 / alpha), self.unit().powf(1.0 / alpha));
            if x + y <= 1.0 && x + y > 0.0 {
                return x / (x + y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_part_of_the_key_and_repeat() {
        let first = |mut generator: Generator| generator.unit();
        let base = first(Generator::for_sample(1, 2, 3));
        assert_eq!(base, first(Generator::for_sample(1, 2, 3)));
        for other in [
            Generator::for_sample(2, 2, 3),
            Generator::for_sample(1, 3, 3),
            Generator::for_sample(1, 2, 4),
            Generator::for_order(1, 2),
        ] {
            assert_ne!(base, first(other));
        }
    }

    #[test]
    fn draws_have_the_right_range_and_mean() {
        let mut generator = Generator::for_sample(0, 0, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| generator.uniform(2.0, 4.0)).collect();
        assert!(draws.iter().all(|draw| (2.0..4.0).contains(draw)));
        assert!((draws.iter().sum::<f64>() / 20_000.0 - 3.0).abs() < 0.02);
        let mut counts = [0; 5];
        (0..20_000).for_each(|_| counts[generator.below(5)] += 1);
        assert!(counts.iter().all(|count| (3700..4300).contains(count)), "{counts:?}");
    }

    #[test]
    fn beta_has_its_mean_and_variance() {
        let mut generator = Generator::for_sample(0, 0, 1);
        let draws: Vec<f64> = (0..4000).map(|_| generator.symmetric_beta(32)).collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        // Beta(n, n) has variance 1 / (4 (2n + 1)).
        assert!((variance - 1.0 / 260.0).abs() < 0.0004, "{variance}");
    }

    #[test]
    fn a_steep_beta_has_its_mean_and_variance() {
        let mut generator = Generator::for_sample(0, 0, 2);
        let draws: Vec<f64> = (0..8000).map(|_| generator.symmetric_beta_of(0.2)).collect();
        let mean = draws.iter().sum::<f64>() / 8000.0;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 8000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        // Beta(a, a) has variance 1 / (4 (2a + 1)).
        assert!((variance - 1.0 / 5.6).abs() < 0.01, "{variance}");
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Generator::for_order(7, 0).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
