//! Bilinear scaling of 8-bit pictures without antialiasing, as OpenCV's `INTER_LINEAR` does it: half-pixel centres, borders
//! repeated.

use crate::{Isa, IsaKind};

/// Bytes of a pixel.
const CHANNELS: usize = 3;
/// A pixel's values and the first of its neighbour, so that a pixel is one register.
const PIXEL: usize = 4;
/// Bits of a weight.
const BITS: u32 = 11;
const ONE: i32 = 1 << BITS;
/// Half a grey level in a sum of weighted weights.
const HALF: i32 = 1 << (2 * BITS - 1);

/// Two neighbours of a source line or column, and the weight of the second.
#[derive(Debug, Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    weight: i32,
}

/// Scales RGB pixels `x`, `[H, W, 3]` of size `from` (height, width), to size `to`. Row `i` of the result is written to `y`
/// from byte `i * stride` on; bytes between the rows are left alone. A value differs from exact interpolation by less than
/// one grey level, and is the same on every instruction set.
///
/// # Panics
/// When `x` is not of size `from`, a side of it is zero, a row is longer than the stride, or `y` too short.
pub fn rgb8(isa: Isa, x: &[u8], from: [usize; 2], y: &mut [u8], to: [usize; 2], stride: usize) {
    let ([height, width], [y_height, y_width]) = (from, to);
    assert_eq!(x.len(), height * width * CHANNELS, "bytes of {height} x {width} pixels");
    assert!(!x.is_empty(), "a picture without pixels cannot be scaled");
    let row = y_width * CHANNELS;
    if y_height == 0 || y_width == 0 {
        return;
    }
    assert!(
        row <= stride && y.len() >= (y_height - 1) * stride + row,
        "room for {y_height} x {y_width} pixels"
    );
    let (rows, columns) = (taps(height, y_height), taps(width, y_width));
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` of this kind exists only where the CPU has AVX2.
        IsaKind::Avx2 | IsaKind::Avx512 => unsafe {
            avx2::scale(x, width * CHANNELS, &rows, &columns, y, stride);
        },
        #[cfg(target_arch = "aarch64")]
        IsaKind::Neon => scale(x, width * CHANNELS, &rows, &columns, y, stride, neon::blend_columns),
        _ => scale(x, width * CHANNELS, &rows, &columns, y, stride, blend_columns),
    }
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let tap = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
        let first = at as usize;
        let weight = ((at - first as f64) * ONE as f64).round_ties_even() as i32;
        Tap { first, second: (first + 1).min(from - 1), weight }
    };
    (0..to).map(tap).collect()
}

#[inline(always)]
fn scale(
    x: &[u8],
    x_stride: usize,
    rows: &[Tap],
    columns: &[Tap],
    y: &mut [u8],
    stride: usize,
    blend_columns: impl Fn(&[i32], &Tap) -> [u8; PIXEL],
) {
    let mut line = vec![0; x_stride + PIXEL - CHANNELS];
    for (tap, y) in rows.iter().zip(y.chunks_mut(stride)) {
        let source = |row: usize| &x[row * x_stride..][..x_stride];
        blend_rows(source(tap.first), source(tap.second), tap.weight, &mut line);
        scale_line(&line, columns, y, &blend_columns);
    }
}

/// A line between two rows; values carry [`BITS`] more bits.
#[inline(always)]
fn blend_rows(first: &[u8], second: &[u8], weight: i32, line: &mut [i32]) {
    for ((out, first), second) in line.iter_mut().zip(first).zip(second) {
        let (first, second) = (*first as i32, *second as i32);
        *out = first * ONE + (second - first) * weight;
    }
}

#[inline(always)]
fn scale_line(line: &[i32], columns: &[Tap], row: &mut [u8], blend: impl Fn(&[i32], &Tap) -> [u8; PIXEL]) {
    let (last, others) = columns.split_last().expect("a row has pixels");
    for (x, tap) in others.iter().enumerate() {
        // The fourth byte belongs to the next pixel, which is written after this one.
        row[x * CHANNELS..][..PIXEL].copy_from_slice(&blend(line, tap));
    }
    row[others.len() * CHANNELS..][..CHANNELS].copy_from_slice(&blend(line, last)[..CHANNELS]);
}

/// The values of a column of a line, and one more.
#[inline(always)]
fn pixel(line: &[i32], column: usize) -> &[i32; PIXEL] {
    line[column * CHANNELS..].first_chunk().expect("a line has a value behind its last pixel")
}

fn blend_columns(line: &[i32], tap: &Tap) -> [u8; PIXEL] {
    let (first, second) = (pixel(line, tap.first), pixel(line, tap.second));
    std::array::from_fn(|c| {
        let sum = first[c] * ONE + (second[c] - first[c]) * tap.weight;
        ((sum + HALF) >> (2 * BITS)) as u8
    })
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BITS, HALF, PIXEL, Tap, pixel};

    #[target_feature(enable = "avx2")]
    pub(super) fn scale(
        x: &[u8],
        x_stride: usize,
        rows: &[Tap],
        columns: &[Tap],
        y: &mut [u8],
        stride: usize,
    ) {
        super::scale(x, x_stride, rows, columns, y, stride, |line, tap| blend_columns(line, tap));
    }

    /// A pixel in a register: the compiler does not see that its values go the same way.
    #[target_feature(enable = "avx2")]
    fn blend_columns(line: &[i32], tap: &Tap) -> [u8; PIXEL] {
        let load = |pixel: &[i32; PIXEL]| {
            // SAFETY: reads the four values of the array.
            unsafe { _mm_loadu_si128(pixel.as_ptr().cast()) }
        };
        let (first, second) = (load(pixel(line, tap.first)), load(pixel(line, tap.second)));
        let step = _mm_mullo_epi32(_mm_sub_epi32(second, first), _mm_set1_epi32(tap.weight));
        let sum = _mm_add_epi32(
            _mm_add_epi32(_mm_slli_epi32::<{ BITS as i32 }>(first), step),
            _mm_set1_epi32(HALF),
        );
        let levels = _mm_srli_epi32::<{ 2 * BITS as i32 }>(sum);
        let lowest_bytes = _mm_set1_epi32(0x0c08_0400);
        _mm_cvtsi128_si32(_mm_shuffle_epi8(levels, lowest_bytes)).to_le_bytes()
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{BITS, HALF, PIXEL, Tap, pixel};

    /// A pixel in a register, as for AVX2.
    #[inline(always)]
    pub(super) fn blend_columns(line: &[i32], tap: &Tap) -> [u8; PIXEL] {
        let (first, second) = (pixel(line, tap.first), pixel(line, tap.second));
        // SAFETY: NEON is part of the architecture; the loads read the four values of the arrays.
        unsafe {
            let (first, second) = (vld1q_s32(first.as_ptr()), vld1q_s32(second.as_ptr()));
            let start = vaddq_s32(vshlq_n_s32::<{ BITS as i32 }>(first), vdupq_n_s32(HALF));
            let sum = vmlaq_n_s32(start, vsubq_s32(second, first), tap.weight);
            let levels = vmovn_s32(vshrq_n_s32::<{ 2 * BITS as i32 }>(sum));
            let bytes = vmovn_s16(vcombine_s16(levels, levels));
            vget_lane_u32::<0>(vreinterpret_u32_s8(bytes)).to_le_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(x: &[u8], from: [usize; 2], to: [usize; 2], at: [usize; 2], channel: usize) -> f64 {
        let centre = |axis: usize| {
            let centre = (at[axis] as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5;
            centre.clamp(0.0, (from[axis] - 1) as f64)
        };
        let (sy, sx) = (centre(0), centre(1));
        let pixel = |y: usize, x_: usize| {
            f64::from(x[(y.min(from[0] - 1) * from[1] + x_.min(from[1] - 1)) * CHANNELS + channel])
        };
        let (y0, x0) = (sy as usize, sx as usize);
        let (fy, fx) = (sy - y0 as f64, sx - x0 as f64);
        (pixel(y0, x0) * (1.0 - fx) + pixel(y0, x0 + 1) * fx) * (1.0 - fy)
            + (pixel(y0 + 1, x0) * (1.0 - fx) + pixel(y0 + 1, x0 + 1) * fx) * fy
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn is_close_to_exact_and_the_same_everywhere(
            from in [1usize..50, 1usize..50], to in [1usize..60, 1usize..60], gap in 0usize..5, seed: u32,
        ) {
            let byte = |i: usize| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 13) as u8;
            let x: Vec<u8> = (0..from[0] * from[1] * CHANNELS).map(byte).collect();
            let row = to[1] * CHANNELS;
            let mut first = None;
            for &isa in Isa::available() {
                let mut y = vec![7; to[0] * (row + gap)];
                rgb8(isa, &x, from, &mut y, to, row + gap);
                for (line, y) in y.chunks(row + gap).enumerate() {
                    for (i, &got) in y[..row].iter().enumerate() {
                        let want = exact(&x, from, to, [line, i / CHANNELS], i % CHANNELS);
                        prop_assert!((f64::from(got) - want).abs() < 1.0, "{line} {i}: {got}, expected {want}");
                    }
                    prop_assert!(y[row..].iter().all(|&byte| byte == 7), "bytes between the rows");
                }
                prop_assert_eq!(first.get_or_insert_with(|| y.clone()), &y, "{}", isa.name());
            }
        }
    }
}
