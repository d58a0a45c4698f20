//! Sums over positions that several threads compute apart and add up in order: the frame of weight gradients.

use std::cell::Cell;

use crate::scratch;
use crate::{MapMut, parallel};

/// How the work is cut into parts: by positions, which are summed apart and added up in order, and by panels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) positions: usize,
    pub(super) panels: usize,
}

impl Cut {
    pub(super) fn new(panels: usize) -> Self {
        let threads = parallel::threads();
        if panels.is_multiple_of(threads) || panels >= 4 * threads {
            Cut { positions: 1, panels: threads }
        } else {
            Cut { positions: threads, panels: 1 }
        }
    }
}

thread_local! {
    static SUMS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Runs `work(part, sums)` for every part of the cut, where `sums` has a row of `len` zeros for every range of
/// positions, then hands the total to `finish`.
pub(super) fn with_sums(
    cut: Cut,
    len: usize,
    work: impl Fn(usize, &MapMut) + Sync,
    finish: impl FnOnce(&[f32]),
) {
    scratch::with(&SUMS, |sums| {
        sums.clear();
        sums.resize(cut.positions * len, 0.0);
        let mut sums = MapMut::dense(sums, len);
        parallel::run(cut.positions * cut.panels, |part| work(part, &sums));
        add_up(&mut sums);
        finish(sums.row(0));
    });
}

/// Adds all rows to the first, in order.
fn add_up(sums: &mut MapMut) {
    let (rows, len) = (sums.positions(), sums.channels());
    let parts = parallel::threads();
    let sums = &*sums;
    parallel::run(if rows > 1 { parts } else { 0 }, |part| {
        let range = parallel::part(len, parts, 16, part);
        // SAFETY: every part has its own range of values of the first row.
        let first =
            unsafe { std::slice::from_raw_parts_mut(sums.as_mut_ptr().add(range.start), range.len()) };
        for row in 1..rows {
            first.iter_mut().zip(&sums.row(row)[range.clone()]).for_each(|(first, other)| *first += other);
        }
    });
}
