//! The one level of parallelism: a kernel splits its work into parts and runs them on the team at hand, or else on the
//! current rayon pool.

use std::ops::Range;

use crate::team;
pub use crate::team::with_team;

/// Threads of the current pool.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `work(0)`, `work(1)` ... `work(parts - 1)`, in any order, on the current pool.
///
/// How the work is cut must depend on the sizes and on [`threads`] alone, so that the same number of threads gives the
/// same bits.
pub fn run(parts: usize, work: impl Fn(usize) + Sync) {
    use rayon::prelude::*;
    match parts {
        0 => {}
        1 => work(0),
        _ if team::run(parts, &work) => {}
        _ => (0..parts).into_par_iter().with_max_len(1).for_each(&work),
    }
}

/// Runs `work(index, chunk)` on every chunk of `len` values, the last of which may be shorter; as [`run`] does.
pub fn run_on_chunks<T: Send>(values: &mut [T], len: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let (total, start) = (values.len(), Shared(values.as_mut_ptr()));
    run(total.div_ceil(len), |index| {
        let range = index * len..((index + 1) * len).min(total);
        // SAFETY: the chunks lie in `values`, which is borrowed mutably, and have no value in common.
        let chunk = unsafe { std::slice::from_raw_parts_mut(start.get().add(range.start), range.len()) };
        work(index, chunk);
    });
}

/// The address of values that threads share out among themselves.
struct Shared<T>(*mut T);

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: who uses the address answers for who touches which value.
unsafe impl<T: Send> Sync for Shared<T> {}

/// Part `index` of `0..total` cut into `parts` nearly equal ranges whose borders are multiples of `unit`.
pub fn part(total: usize, parts: usize, unit: usize, index: usize) -> Range<usize> {
    let units = total.div_ceil(unit);
    let border = |i: usize| (units * i / parts * unit).min(total);
    border(index)..border(index + 1)
}
