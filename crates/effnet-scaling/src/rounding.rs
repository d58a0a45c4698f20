/// Channels are multiples of this.
const DIVISOR: f64 = 8.0;

/// Scales a channel count by `width` and rounds to the nearest multiple of 8, never below 90 % of the exact value.
///
/// This is the official builder's rule; YOLOv8 has another.
pub fn round_channels(channels: usize, width: f64) -> usize {
    let exact = channels as f64 * width;
    let nearest = ((exact + DIVISOR / 2.0) / DIVISOR).floor() * DIVISOR;
    let rounded = nearest.max(DIVISOR);
    (if rounded < 0.9 * exact { rounded + DIVISOR } else { rounded }) as usize
}

/// Scales a repeat count by `depth` and rounds up.
pub fn round_repeats(repeats: usize, depth: f64) -> usize {
    (repeats as f64 * depth).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn channels_of_published_variants() {
        assert_eq!(
            [16, 24, 40, 80, 112, 192, 320].map(|c| round_channels(c, 1.2)),
            [24, 32, 48, 96, 136, 232, 384]
        );
        assert_eq!(round_channels(1280, 4.3), 5504);
        assert_eq!(round_channels(1, 1.0), 8);
    }

    #[test]
    fn a_value_that_would_lose_a_tenth_goes_up() {
        assert_eq!(round_channels(35, 0.55), 24); // 19.25: 16 would be 83 %
    }

    proptest! {
        #[test]
        fn channels_are_multiples_of_eight_and_keep_nine_tenths(channels in 1usize..2000, width in 0.1f64..6.0) {
            let rounded = round_channels(channels, width);
            prop_assert!(rounded >= 8 && rounded.is_multiple_of(8));
            prop_assert!(rounded as f64 >= 0.9 * channels as f64 * width);
        }

        #[test]
        fn repeats_are_rounded_up(repeats in 1usize..30, depth in 0.1f64..6.0) {
            let exact = repeats as f64 * depth;
            let rounded = round_repeats(repeats, depth) as f64;
            prop_assert!(rounded >= exact && rounded < exact + 1.0);
        }
    }
}
