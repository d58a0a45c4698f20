//! How kernels that treat positions alike walk maps: cut into parts, one a thread, and each part into spans.
//!
//! A span is as many positions as make a long loop where the maps have no gaps between rows, else one row.

use std::ops::Range;
use std::sync::OnceLock;

use crate::{MapMut, MapRef, parallel};

/// Values of a span of maps without gaps, about: long enough for the loop, short enough for the first-level cache.
const SPAN: usize = 1024;

/// Values that are worth waking a thread for.
const PART: usize = 1 << 15;

/// Where spans begin and how many positions they have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spans {
    next: usize,
    end: usize,
    /// Positions of every span but the last.
    pub(crate) step: usize,
}

impl Spans {
    /// The spans of `positions`, for maps of the given `(channels, stride)`.
    pub(crate) fn new(positions: Range<usize>, maps: &[(usize, usize)]) -> Self {
        let dense = maps.iter().all(|(channels, stride)| channels == stride);
        let step = if dense { (SPAN / maps[0].0.max(1)).max(1) } else { 1 };
        Spans { next: positions.start, end: positions.end, step }
    }
}

impl Iterator for Spans {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.next;
        self.next = (start + self.step).min(self.end);
        (start < self.end).then_some(start..self.next)
    }
}

/// Channels and stride of a map that is read.
pub(crate) fn layout(x: MapRef<'_>) -> (usize, usize) {
    (x.channels(), x.stride())
}

/// The values of a span.
#[inline(always)]
pub(crate) fn span<'a>(x: MapRef<'a>, span: Range<usize>) -> &'a [f32] {
    assert!(span.end <= x.positions() && (span.len() <= 1 || x.stride() == x.channels()));
    // SAFETY: the span lies inside the map (asserted), whose borrow covers it without gaps if it is more than a row.
    unsafe { std::slice::from_raw_parts(x.as_ptr().add(span.start * x.stride()), span.len() * x.channels()) }
}

/// The values of a span, to write.
#[inline(always)]
pub(crate) fn span_mut<'a>(y: &'a mut MapMut<'_>, span: Range<usize>) -> &'a mut [f32] {
    assert!(span.end <= y.positions() && (span.len() <= 1 || y.stride() == y.channels()));
    // SAFETY: as in `span`; the borrow is exclusive.
    unsafe {
        std::slice::from_raw_parts_mut(y.as_mut_ptr().add(span.start * y.stride()), span.len() * y.channels())
    }
}

/// Threads that a map of this size is worth.
pub(crate) fn parts(positions: usize, channels: usize) -> usize {
    (positions * channels / PART).clamp(1, parallel::threads()).min(positions.max(1))
}

/// Cuts `y` into parts and gives each to `work` with its positions.
pub(crate) fn split(y: &mut MapMut<'_>, work: impl Fn(Range<usize>, &mut MapMut<'_>) + Sync) {
    let (positions, parts) = (y.positions(), parts(y.positions(), y.channels()));
    let shared = &*y;
    parallel::run(parts, |index| {
        let range = parallel::part(positions, parts, 1, index);
        // SAFETY: the ranges of the parts share no row, and `y` is borrowed exclusively meanwhile.
        work(range.clone(), &mut unsafe { shared.part(range) });
    });
}

/// Like [`split`], and returns what every part returned, in order.
pub(crate) fn split_collect<T: Send + Sync>(
    y: &mut MapMut<'_>,
    work: impl Fn(Range<usize>, &mut MapMut<'_>) -> T + Sync,
) -> Vec<T> {
    let (positions, parts) = (y.positions(), parts(y.positions(), y.channels()));
    let shared = &*y;
    collect(positions, parts, |range| {
        // SAFETY: as in `split`.
        work(range.clone(), &mut unsafe { shared.part(range) })
    })
}

/// Cuts `0..positions` into `parts`, runs `work` on each, and returns what they returned, in order.
pub(crate) fn collect<T: Send + Sync>(
    positions: usize,
    parts: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let results: Vec<OnceLock<T>> = (0..parts).map(|_| OnceLock::new()).collect();
    parallel::run(parts, |index| {
        let result = work(parallel::part(positions, parts, 1, index));
        assert!(results[index].set(result).is_ok(), "every part runs once");
    });
    results.into_iter().map(|cell| cell.into_inner().expect("every part ran")).collect()
}

/// Sums of the columns of spans: f32 over few spans, then f64.
#[derive(Debug)]
pub(crate) struct ColumnSums {
    /// Running sums; the kernel adds to them, one value a column of a span.
    pub(crate) recent: Vec<f32>,
    total: Vec<f64>,
    pending: usize,
}

impl ColumnSums {
    /// Additions to one f32 before it goes into an f64.
    const PENDING: usize = 32;

    pub(crate) fn new(columns: usize) -> Self {
        ColumnSums { recent: vec![0.0; columns], total: vec![0.0; columns], pending: 0 }
    }

    /// To be called after `count` values were added to each column.
    pub(crate) fn added(&mut self, count: usize) {
        self.pending += count;
        if self.pending >= Self::PENDING {
            self.flush();
        }
    }

    fn flush(&mut self) {
        for (total, recent) in self.total.iter_mut().zip(&mut self.recent) {
            *total += f64::from(*recent);
            *recent = 0.0;
        }
        self.pending = 0;
    }

    /// Adds up the columns of each channel.
    pub(crate) fn into_channels(mut self, channels: usize) -> Vec<f64> {
        self.flush();
        let mut sums = vec![0.0; channels];
        for row in self.total.chunks_exact(channels) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        sums
    }
}

/// Adds up the parts' sums, in order.
pub(crate) fn total(parts: impl Iterator<Item = Vec<f64>>, channels: usize) -> Vec<f64> {
    parts.fold(vec![0.0; channels], |mut total, part| {
        total.iter_mut().zip(part).for_each(|(total, value)| *total += value);
        total
    })
}

/// Panics unless the maps have the same positions and channels.
#[track_caller]
pub(crate) fn assert_alike(x: MapRef<'_>, y: MapRef<'_>) {
    assert_eq!((x.positions(), x.channels()), (y.positions(), y.channels()), "maps of different shapes");
}
