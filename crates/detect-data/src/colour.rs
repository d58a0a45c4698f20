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
    /// Tables of new hues, saturations and values for draws `u` from -1 to 1.
    fn tables(&self, u: [f64; 3]) -> Tables {
        let [hue, saturation, value] = [u[0] * self.hue, u[1] * self.saturation, u[2] * self.value];
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
        let tables = self.tables([(); 3].map(|()| generator.symmetric(1.0)));
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
        let (pixels, _) = image.data_mut().as_chunks_mut::<3>();
        for pixel in pixels {
            let [hue, saturation, value] = to_hsv(*pixel);
            let new = [&self.hue, &self.saturation, &self.value];
            *pixel = to_rgb([new[0][hue as usize], new[1][saturation as usize], new[2][value as usize]]);
        }
    }
}

/// `numerator / i` in fixed point, rounded: the conversion multiplies instead of dividing, with as many bits as OpenCV.
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
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let value = r.max(g).max(b);
    let spread = value - r.min(g).min(b);
    let saturation = (spread as i32 * SATURATION[value as usize] + HALF) >> SHIFT;
    let (apart, sixths) = if value == r {
        (g as i32 - b as i32, 0)
    } else if value == g {
        (b as i32 - r as i32, 2)
    } else {
        (r as i32 - g as i32, 4)
    };
    let hue = ((apart + sixths * spread as i32) * HUE[spread as usize] + HALF) >> SHIFT;
    [(if hue < 0 { hue + 180 } else { hue }) as u8, saturation as u8, value]
}

/// For each hue, by how many thirtieths full saturation darkens red, green and blue: the distance to the colour's own
/// hue beyond a sixth of the circle, up to another sixth. Rows from 180 on are never read; they spare a check.
static DARKENING: [[u8; 3]; 256] = darkening();

const fn darkening() -> [[u8; 3]; 256] {
    let mut table = [[0; 3]; 256];
    let mut i = 0usize;
    while i < 540 {
        let (hue, channel) = (i / 3, i % 3);
        let apart = hue.abs_diff(channel * 60);
        let apart = if apart > 90 { 180 - apart } else { apart };
        table[hue][channel] = if apart < 30 {
            0
        } else if apart > 60 {
            30
        } else {
            apart as u8 - 30
        };
        i += 1;
    }
    table
}

fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    const FULL: u32 = 255 * 30;
    let darkened = |part: u8| {
        let share = FULL - saturation as u32 * part as u32;
        ((value as u32 * share + FULL / 2) / FULL) as u8
    };
    DARKENING[hue as usize].map(darkened)
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
            assert!(hue_gap.min(180.0 - hue_gap) <= 0.7, "{rgb:?}: {hsv:?}, expected {want:?}");
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
    fn hue_is_scaled_by_one_rule_and_moved_by_the_other() {
        let jitter = |rule| ColourJitter { hue: 0.5, saturation: 0.0, value: 0.0, rule };
        let multiplicative = jitter(HueRule::Multiplicative).tables([0.5, 0.0, 0.0]).hue;
        assert_eq!([0, 10, 150].map(|hue| multiplicative[hue]), [0, 12, 7]);
        let additive = jitter(HueRule::Additive).tables([-0.5, 0.0, 0.0]).hue;
        assert_eq!([0, 10, 150].map(|hue| additive[hue]), [135, 145, 105]);
    }

    #[test]
    fn saturation_and_value_are_scaled_and_end_at_255() {
        let jitter = ColourJitter { hue: 0.0, saturation: 0.5, value: 1.0, rule: HueRule::Multiplicative };
        let tables = jitter.tables([0.3, -0.5, 0.5]);
        assert_eq!([0, 101, 200].map(|old| tables.saturation[old]), [0, 75, 150]);
        assert_eq!([0, 101, 200].map(|old| tables.value[old]), [0, 151, 255]);
        assert!((0..180).all(|hue| tables.hue[hue] as usize == hue));
    }
}
