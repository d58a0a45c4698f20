//! Maps of activations, and the arena they live in.

use std::marker::PhantomData;

/// Where a map lies in an [`Arena`]: `positions` rows of `channels` values, `stride` values from row to row.
///
/// Rows are the positions `(b, y, x)` in order. A map with `stride > channels` is a range of channels of a wider map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First value.
    pub offset: usize,
    /// Number of rows, `B * H * W`.
    pub positions: usize,
    /// Values of a row that belong to the map.
    pub channels: usize,
    /// Values from one row to the next.
    pub stride: usize,
}

impl Region {
    /// A map whose rows follow each other without gaps.
    pub fn dense(offset: usize, positions: usize, channels: usize) -> Self {
        Region { offset, positions, channels, stride: channels }
    }

    /// Channels `start .. start + len` of this map.
    pub fn channels(self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.channels, "channels {start}..{} of {}", start + len, self.channels);
        Region { offset: self.offset + start, channels: len, ..self }
    }

    /// One past the last value.
    pub fn end(&self) -> usize {
        if self.positions == 0 {
            self.offset
        } else {
            self.offset + (self.positions - 1) * self.stride + self.channels
        }
    }

    /// True if the two share no value.
    pub fn is_disjoint(&self, other: &Region) -> bool {
        if self.end() <= other.offset || other.end() <= self.offset {
            return true;
        }
        if self.stride != other.stride {
            return false;
        }
        // Same stride: interleaved columns of one wider map are disjoint if their column ranges are, modulo the stride.
        let (low, high) = if self.offset <= other.offset { (self, other) } else { (other, self) };
        let shift = (high.offset - low.offset) % self.stride;
        shift >= low.channels && shift + high.channels <= self.stride
    }
}

/// One cache line; an arena of lines starts where a line starts.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Values in a cache line.
const LINE: usize = 16;

/// Memory that the maps of a plan share, borrowed region by region with the borrow rules checked at run time.
#[derive(Debug, Default)]
pub struct Arena {
    lines: Vec<Line>,
}

impl Arena {
    /// At least `len` zeros.
    pub fn new(len: usize) -> Self {
        Arena { lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)] }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.lines.len() * LINE
    }

    /// True if there is no value.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn values(&self) -> &[f32] {
        // SAFETY: a `Line` is `LINE` floats without padding, and the lines lie side by side.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len()) }
    }

    /// As many zeros more as make it at least `len` values.
    pub(crate) fn grow(&mut self, len: usize) {
        self.lines.resize(self.lines.len().max(len.div_ceil(LINE)), Line([0.0; LINE]));
    }

    /// Copies values to where `to` is the first.
    ///
    /// # Panics
    /// When there are too few.
    pub(crate) fn copy_within(&mut self, values: std::ops::Range<usize>, to: usize) {
        let len = self.len();
        // SAFETY: a `Line` is `LINE` floats without padding, and the lines lie side by side.
        let all = unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<f32>(), len) };
        all.copy_within(values, to);
    }

    /// Reads a region.
    ///
    /// # Panics
    /// When the region reaches past the end.
    pub fn read(&self, region: Region) -> MapRef<'_> {
        MapRef::new(&self.values()[region.offset..], region.positions, region.channels, region.stride)
    }

    /// Borrows `writes` mutably and `reads` immutably.
    ///
    /// # Panics
    /// When a written region overlaps any other, or a region reaches past the end: the plan that asked is wrong.
    pub fn borrow<const R: usize, const W: usize>(
        &mut self,
        reads: [Region; R],
        writes: [Region; W],
    ) -> ([MapRef<'_>; R], [MapMut<'_>; W]) {
        for (i, write) in writes.iter().enumerate() {
            let others = reads.iter().chain(&writes[i + 1..]);
            others.for_each(|other| assert!(write.is_disjoint(other), "{write:?} overlaps {other:?}"));
        }
        for region in reads.iter().chain(&writes) {
            assert!(region.end() <= self.len(), "{region:?} reaches past {}", self.len());
        }
        let base: *mut f32 = self.lines.as_mut_ptr().cast();
        // SAFETY: every region lies inside the arena (asserted), which stays borrowed mutably for the life of the maps;
        // written regions share no value with any other region (asserted), and maps never touch values between rows.
        unsafe {
            (
                reads.map(|r| MapRef {
                    start: base.add(r.offset),
                    positions: r.positions,
                    channels: r.channels,
                    stride: r.stride,
                    life: PhantomData,
                }),
                writes.map(|r| MapMut {
                    start: base.add(r.offset),
                    positions: r.positions,
                    channels: r.channels,
                    stride: r.stride,
                    life: PhantomData,
                }),
            )
        }
    }
}

/// A map that is read: rows of `channels` values, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct MapRef<'a> {
    start: *const f32,
    positions: usize,
    channels: usize,
    stride: usize,
    life: PhantomData<&'a [f32]>,
}

/// A map that is written: rows of `channels` values, `stride` apart.
#[derive(Debug)]
pub struct MapMut<'a> {
    start: *mut f32,
    positions: usize,
    channels: usize,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MapRef` is a shared borrow of plain floats.
unsafe impl Send for MapRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for MapRef<'_> {}
// SAFETY: a `MapMut` is an exclusive borrow of plain floats.
unsafe impl Send for MapMut<'_> {}
// SAFETY: through `&MapMut` only reads are safe; writing through a shared borrow needs the unsafe `part`.
unsafe impl Sync for MapMut<'_> {}

fn check(len: usize, positions: usize, channels: usize, stride: usize) {
    assert!(channels <= stride, "{channels} channels do not fit a stride of {stride}");
    let need = if positions == 0 { 0 } else { (positions - 1) * stride + channels };
    assert!(need <= len, "{positions} rows of {channels} (stride {stride}) need {need} values, got {len}");
}

impl<'a> MapRef<'a> {
    /// A view of `data`.
    ///
    /// # Panics
    /// When the rows do not fit.
    pub fn new(data: &'a [f32], positions: usize, channels: usize, stride: usize) -> Self {
        check(data.len(), positions, channels, stride);
        MapRef { start: data.as_ptr(), positions, channels, stride, life: PhantomData }
    }

    /// A view of `data` without gaps between rows.
    pub fn dense(data: &'a [f32], channels: usize) -> Self {
        MapRef::new(data, data.len() / channels, channels, channels)
    }

    /// Number of rows.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Values of a row.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Values from row to row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, position: usize) -> &'a [f32] {
        assert!(position < self.positions);
        // SAFETY: the row lies inside the borrow (checked when the map was made).
        unsafe { std::slice::from_raw_parts(self.start.add(position * self.stride), self.channels) }
    }

    /// Rows `range` as a map of their own.
    pub fn part(&self, range: std::ops::Range<usize>) -> MapRef<'a> {
        assert!(range.start <= range.end && range.end <= self.positions, "rows {range:?}");
        MapRef { start: self.start.wrapping_add(range.start * self.stride), positions: range.len(), ..*self }
    }

    /// Some channels as a map of their own.
    pub(crate) fn columns(&self, channels: std::ops::Range<usize>) -> MapRef<'a> {
        assert!(channels.start <= channels.end && channels.end <= self.channels, "channels {channels:?}");
        MapRef { start: self.start.wrapping_add(channels.start), channels: channels.len(), ..*self }
    }

    /// Address of the first value, for kernels.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const f32 {
        self.start
    }

    /// Copies the values out, row after row without gaps.
    pub fn to_vec(&self) -> Vec<f32> {
        (0..self.positions).flat_map(|position| self.row(position).iter().copied()).collect()
    }
}

impl<'a> MapMut<'a> {
    /// A view of `data`.
    ///
    /// # Panics
    /// When the rows do not fit.
    pub fn new(data: &'a mut [f32], positions: usize, channels: usize, stride: usize) -> Self {
        check(data.len(), positions, channels, stride);
        MapMut { start: data.as_mut_ptr(), positions, channels, stride, life: PhantomData }
    }

    /// A view of `data` without gaps between rows.
    pub fn dense(data: &'a mut [f32], channels: usize) -> Self {
        MapMut::new(data, data.len() / channels, channels, channels)
    }

    /// Number of rows.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Values of a row.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Values from row to row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The same map, to read.
    pub fn as_ref(&self) -> MapRef<'_> {
        MapRef {
            start: self.start,
            positions: self.positions,
            channels: self.channels,
            stride: self.stride,
            life: PhantomData,
        }
    }

    /// One row, to read.
    #[inline(always)]
    pub fn row(&self, position: usize) -> &[f32] {
        assert!(position < self.positions);
        // SAFETY: the row lies inside the borrow (checked when the map was made).
        unsafe { std::slice::from_raw_parts(self.start.add(position * self.stride), self.channels) }
    }

    /// One row, to write.
    #[inline(always)]
    pub fn row_mut(&mut self, position: usize) -> &mut [f32] {
        assert!(position < self.positions);
        // SAFETY: as in `row`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(position * self.stride), self.channels) }
    }

    /// Address of the first value, for kernels.
    #[inline(always)]
    pub fn as_mut_ptr(&self) -> *mut f32 {
        self.start
    }

    /// Rows `range` as a map of their own, from a shared borrow: how threads write their parts of one map.
    ///
    /// # Safety
    /// No two maps made this way that live at the same time may share a row, nor may the rows be read meanwhile.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, range: std::ops::Range<usize>) -> MapMut<'_> {
        // SAFETY: passed on to the caller.
        unsafe { self.block(range, 0..self.channels) }
    }

    /// Some channels of rows `range` as a map of their own, from a shared borrow.
    ///
    /// # Safety
    /// As [`MapMut::part`], for these channels of the rows.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn block(
        &self,
        range: std::ops::Range<usize>,
        channels: std::ops::Range<usize>,
    ) -> MapMut<'_> {
        assert!(range.start <= range.end && range.end <= self.positions, "rows {range:?}");
        assert!(channels.start <= channels.end && channels.end <= self.channels, "channels {channels:?}");
        MapMut {
            start: self.start.wrapping_add(range.start * self.stride + channels.start),
            positions: range.len(),
            channels: channels.len(),
            stride: self.stride,
            life: PhantomData,
        }
    }

    /// Sets every value.
    pub fn fill(&mut self, value: f32) {
        (0..self.positions).for_each(|position| self.row_mut(position).fill(value));
    }

    /// Copies another map of the same shape.
    pub fn copy_from(&mut self, other: MapRef<'_>) {
        assert_eq!((self.positions, self.channels), (other.positions, other.channels));
        (0..self.positions).for_each(|position| self.row_mut(position).copy_from_slice(other.row(position)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_ranges_of_one_map_are_disjoint() {
        let whole = Region::dense(8, 4, 10);
        assert!(whole.channels(0, 4).is_disjoint(&whole.channels(4, 6)));
        assert!(!whole.channels(0, 5).is_disjoint(&whole.channels(4, 6)));
        assert!(!whole.channels(4, 6).is_disjoint(&whole));
        assert!(whole.is_disjoint(&Region::dense(48, 4, 10)));
        assert!(!whole.is_disjoint(&Region::dense(47, 4, 10)));
    }

    #[test]
    #[should_panic(expected = "overlaps")]
    fn overlapping_writes_are_refused() {
        let mut arena = Arena::new(40);
        let _ = arena.borrow([Region::dense(0, 4, 5)], [Region::dense(19, 1, 4)]);
    }
}
