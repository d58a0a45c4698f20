//! Random changes of hue, saturation and value, on 8-bit HSV with hue 0 to 179.

use crate::{Generator, RgbImage, Sample, Transform};

/// What a hue gain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HueRule {
    /// YOLOv8 8.0 to 8.2: hue times `1 + u * gain`.
    Multiplicative,
    /// 8.4: hue plus `u * gain` of the colour circle.
    Additive,
}

/// Gains of hue, saturation and value; each sample draws `u` from -1 to 1 for each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColourJitter {
    /// Gain of the hue.
    pub hue: f64,
    /// Gain of the saturation; at most 1.
    pub saturation: f64,
    /// Gain of the value; at most 1.
    pub value: f64,
    /// What the hue gain does.
    pub rule: HueRule,
}

impl ColourJitter {
    /// Draws the tables of new hues, saturations and values.
    fn draw(&self, generator: &mut Generator) -> Tables {
        let [hue, saturation, value] =
            [self.hue, self.saturation, self.value].map(|gain| generator.symmetric(1.0) * gain);
        let new_hue = |old: f64| match self.rule {
            HueRule::Multiplicative => (old * (1.0 + hue)).rem_euclid(180.0),
            HueRule::Additive => (old + hue * 180.0).rem_euclid(180.0),
        };
        let scaled = |gain: f64| move |old: f64| (old * (1.0 + gain)).clamp(0.0, 255.0);
        Tables { hue: table(new_hue), saturation: table(scaled(saturation)), value: table(scaled(value)) }
    }
}

impl Transform for ColourJitter {
    fn apply(&self, mut sample: Sample, generator: &mut Generator) -> Sample {
        let tables = self.draw(generator);
        if !tables.change_nothing() {
            tables.apply(&mut sample.image);
        }
        sample
    }
}

struct Tables {
    hue: [u8; 256],
    saturation: [u8; 256],
    value: [u8; 256],
}

fn table(new: impl Fn(f64) -> f64) -> [u8; 256] {
    std::array::from_fn(|old| new(old as f64) as u8)
}

impl Tables {
    fn change_nothing(&self) -> bool {
        let same = |table: &[u8]| table.iter().enumerate().all(|(old, new)| old == *new as usize);
        same(&self.hue[..180]) && same(&self.saturation) && same(&self.value)
    }

    fn apply(&self, image: &mut RgbImage) {
        for pixel in image.data_mut().chunks_exact_mut(3) {
            let [hue, saturation, value] = to_hsv([pixel[0], pixel[1], pixel[2]]);
            let new =
                [self.hue[hue as usize], self.saturation[saturation as usize], self.value[value as usize]];
            pixel.copy_from_slice(&to_rgb(new));
        }
    }
}

/// `round(256 * 255 / i)` and `round(256 * 30 / i)`: divisions of the conversion as multiplications.
const fn reciprocals(numerator: u32) -> [i32; 256] {
    let mut table = [0; 256];
    let mut i = 1;
    while i < 256 {
        table[i] = (((numerator << SHIFT) + i as u32 / 2) / i as u32) as i32;
        i += 1;
    }
    table
}

const SHIFT: u32 = 12;
const HALF: i32 = 1 << (SHIFT - 1);
static SATURATION: [i32; 256] = reciprocals(255);
static HUE: [i32; 256] = reciprocals(30);

/// Hue 0 to 179 (half degrees), saturation and value 0 to 255.
fn to_hsv(rgb: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = rgb.map(i32::from);
    let value = r.max(g).max(b);
    let spread = value - r.min(g).min(b);
    let saturation = (spread * SATURATION[value as usize] + HALF) >> SHIFT;
    let sixth = if value == r {
        g - b
    } else if value == g {
        b - r + 2 * spread
    } else {
        r - g + 4 * spread
    };
    let hue = (sixth * HUE[spread as usize] + HALF) >> SHIFT;
    [(if hue < 0 { hue + 180 } else { hue }) as u8, saturation as u8, value as u8]
}

fn to_rgb(hsv: [u8; 3]) -> [u8; 3] {
    let [hue, saturation, value] = hsv.map(i32::from);
    let (sector, rest) = (hue / 30, hue % 30);
    // Value times (1 - saturation * part), the parts being 1, rest / 30 and 1 - rest / 30.
    let dimmed = |part: i32| {
        let full = 255 * 30;
        ((value * (full - saturation * part) + full / 2) / full) as u8
    };
    let (value, low, falling, rising) = (value as u8, dimmed(30), dimmed(rest), dimmed(30 - rest));
    match sector {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use box_geometry::Size;

    fn sample() -> Sample {
        let data = (0..64 * 64 * 3).map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
        let image = RgbImage::new(Size { height: 64, width: 64 }, data);
        Sample { id: String::new(), image, boxes: Vec::new() }
    }

    fn exact_hsv(rgb: [u8; 3]) -> [f64; 3] {
        let [r, g, b] = rgb.map(f64::from);
        let value = r.max(g).max(b);
        let spread = value - r.min(g).min(b);
        let degrees = if spread == 0.0 {
            0.0
        } else if value == r {
            60.0 * (g - b) / spread
        } else if value == g {
            120.0 + 60.0 * (b - r) / spread
        } else {
            240.0 + 60.0 * (r - g) / spread
        };
        let saturation = if value == 0.0 { 0.0 } else { 255.0 * spread / value };
        [degrees.rem_euclid(360.0) / 2.0, saturation, value]
    }

    #[test]
    fn zero_gains_change_nothing() {
        let jitter = ColourJitter { hue: 0.0, saturation: 0.0, value: 0.0, rule: HueRule::Multiplicative };
        let before = sample();
        assert_eq!(jitter.apply(before.clone(), &mut Generator::for_sample(0, 0, 0)), before);
    }

    #[test]
    fn hsv_is_close_to_the_exact_one_and_there_and_back_is_close() {
        for index in 0..1 << 15 {
            let rgb = [index & 31, index >> 5 & 31, index >> 10].map(|five| (five * 255 / 31) as u8);
            let hsv = to_hsv(rgb);
            let want = exact_hsv(rgb);
            let hue_gap = (hsv[0] as f64 - want[0]).abs();
            assert!(hue_gap.min(180.0 - hue_gap) <= 0.52, "{rgb:?}: {hsv:?}, expected {want:?}");
            assert!((hsv[1] as f64 - want[1]).abs() <= 0.52 && hsv[2] as f64 == want[2], "{rgb:?}: {hsv:?}");
            for (back, rgb) in to_rgb(hsv).into_iter().zip(rgb) {
                assert!((back as i32 - rgb as i32).abs() <= 5, "{rgb:?}");
            }
        }
    }

    #[test]
    fn known_colours() {
        assert_eq!(to_hsv([255, 0, 0]), [0, 255, 255]);
        assert_eq!(to_hsv([0, 255, 0]), [60, 255, 255]);
        assert_eq!(to_hsv([0, 0, 255]), [120, 255, 255]);
        assert_eq!(to_hsv([128, 128, 128]), [0, 0, 128]);
        assert_eq!(to_rgb([30, 255, 200]), [200, 200, 0]);
        assert_eq!(to_rgb([150, 255, 200]), [200, 0, 200]);
        assert_eq!(to_rgb([15, 255, 200]), [200, 100, 0]);
    }

    #[test]
    fn hue_rules_differ_at_red() {
        let jitter = |rule| ColourJitter { hue: 0.5, saturation: 0.0, value: 0.0, rule };
        let mut generator = Generator::for_sample(0, 0, 5);
        let additive = jitter(HueRule::Additive).draw(&mut generator.clone());
        let multiplicative = jitter(HueRule::Multiplicative).draw(&mut generator);
        assert_eq!(multiplicative.hue[0], 0);
        assert_ne!(additive.hue[0], 0);
    }

    #[test]
    fn value_scales_and_saturates() {
        let jitter = ColourJitter { hue: 0.0, saturation: 0.0, value: 1.0, rule: HueRule::Multiplicative };
        let mut generator = Generator::for_sample(0, 0, 2);
        let gain = 1.0 + generator.clone().symmetric(1.0) * 0.0;
        assert_eq!(gain, 1.0);
        let tables = jitter.draw(&mut generator);
        assert_eq!(tables.value[0], 0);
        assert!(tables.value.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(tables.saturation[200], 200);
    }
}
