//! How a kernel over maps is cut into work: bands of rows times blocks of channels.

use std::ops::Range;

use crate::{MapMut, MapRef, parallel};

/// A piece of a map: some rows of one image, some channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Band {
    /// Index of the image.
    pub(crate) image: usize,
    /// Rows of the image.
    pub(crate) rows: Range<usize>,
    /// Channels.
    pub(crate) channels: Range<usize>,
}

impl Band {
    /// The channels of the band at a position.
    #[inline(always)]
    pub(crate) fn values<'a>(&self, x: MapRef<'a>, position: usize) -> &'a [f32] {
        &x.row(position)[self.channels.clone()]
    }

    /// The channels of the band at a position, to write, from a shared borrow: how threads write their bands of one map.
    ///
    /// # Safety
    /// Nothing else may touch these channels of the position while the slice lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn values_mut<'a>(&self, y: &'a MapMut<'_>, position: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.span_mut(y, position, 1) }
    }

    /// How many positions from one on lie in memory without a gap between the channels of the band: all or one.
    #[inline(always)]
    pub(crate) fn span(&self, y: &MapMut<'_>, positions: usize) -> usize {
        if self.channels.len() == y.stride() { positions } else { positions.min(1) }
    }

    /// The channels of the band at `count` positions, as many as make a [`Band::span`].
    ///
    /// # Safety
    /// As [`Band::values_mut`].
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn span_mut<'a>(
        &self,
        y: &'a MapMut<'_>,
        position: usize,
        count: usize,
    ) -> &'a mut [f32] {
        let Range { start, end } = self.channels;
        assert!(position + count <= y.positions() && start <= end && end <= y.channels());
        assert!(count == self.span(y, count), "a gap in the span");
        // SAFETY: the values lie inside the map without gaps (asserted), and they are the caller's alone.
        unsafe {
            let first = y.as_mut_ptr().add(position * y.stride() + start);
            std::slice::from_raw_parts_mut(first, (end - start) * count)
        }
    }
}

/// A batch of maps cut into [`Band`]s: images outermost, channels innermost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bands {
    images: usize,
    height: usize,
    rows: usize,
    channels: usize,
    block: usize,
}

impl Bands {
    /// Bands of `rows` rows and `block` channels; what remains at the lower edge and in the last channels is smaller.
    pub(crate) fn new(images: usize, height: usize, rows: usize, channels: usize, block: usize) -> Self {
        Bands { images, height, rows: rows.clamp(1, height.max(1)), channels, block }
    }

    /// Bands of whole images.
    pub(crate) fn whole(images: usize, channels: usize, block: usize) -> Self {
        Bands::new(images, 1, 1, channels, block)
    }

    /// The number of bands.
    pub(crate) fn len(&self) -> usize {
        self.images * self.height.div_ceil(self.rows) * self.channels.div_ceil(self.block)
    }

    /// Parts that the current pool works on at once.
    pub(crate) fn parts(&self) -> usize {
        parallel::threads().min(self.len())
    }

    /// Band `index`.
    fn band(&self, index: usize) -> Band {
        let (above, block) = split(index, self.channels.div_ceil(self.block));
        let (image, band) = split(above, self.height.div_ceil(self.rows));
        let cut = |index: usize, size: usize, end: usize| index * size..((index + 1) * size).min(end);
        Band {
            image,
            rows: cut(band, self.rows, self.height),
            channels: cut(block, self.block, self.channels),
        }
    }

    /// Part `index` of `parts`: neighbouring bands.
    pub(crate) fn part(&self, parts: usize, index: usize) -> impl Iterator<Item = Band> {
        parallel::part(self.len(), parts, 1, index).map(|index| self.band(index))
    }

    /// Runs `work` on every band, on the current pool.
    pub(crate) fn run(&self, work: impl Fn(Band) + Sync) {
        let parts = self.parts();
        parallel::run(parts, |index| self.part(parts, index).for_each(&work));
    }
}

/// Quotient and remainder.
fn split(index: usize, count: usize) -> (usize, usize) {
    (index / count, index % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bands_cover_every_value_once() {
        let bands = Bands::new(2, 7, 3, 37, 16);
        let mut seen = vec![0; 2 * 7 * 37];
        for band in (0..5).flat_map(|index| bands.part(5, index)) {
            for (row, channel) in
                band.rows.flat_map(|row| band.channels.clone().map(move |channel| (row, channel)))
            {
                seen[(band.image * 7 + row) * 37 + channel] += 1;
            }
        }
        assert!(seen.iter().all(|&count| count == 1));
    }
}
