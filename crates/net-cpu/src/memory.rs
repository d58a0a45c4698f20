//! Which buffers share memory: two may where their lives do not overlap.

/// A buffer of `len` values that is in use from step `first` to step `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) len: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Life {
    /// A life that is not lived yet; grow it with [`Life::at`].
    pub(crate) fn new(len: usize) -> Self {
        Life { len, first: usize::MAX, last: 0 }
    }

    /// The buffer is in use at `step`.
    pub(crate) fn at(&mut self, step: usize) {
        self.first = self.first.min(step);
        self.last = self.last.max(step);
    }

    fn is_lived(&self) -> bool {
        self.first <= self.last
    }

    fn overlaps(&self, other: &Life) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Values in a cache line; buffers start at multiples of it.
const LINE: usize = 16;

/// Gives every buffer a place so that buffers alive at the same time do not overlap: the largest first, each at the
/// lowest place that is free throughout its life. Returns the offsets and the length of the arena.
pub(crate) fn assign(lives: &[Life]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lives.len()).filter(|&i| lives[i].is_lived()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lives[i].len), i));
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = Vec::new(); // in order of offset
    let mut total = 0;
    for i in order {
        let mut offset = 0;
        for &other in placed.iter().filter(|&&other| lives[i].overlaps(&lives[other])) {
            if offset + lives[i].len <= offsets[other] {
                break;
            }
            offset = offset.max((offsets[other] + lives[other].len).next_multiple_of(LINE));
        }
        offsets[i] = offset;
        total = total.max(offset + lives[i].len);
        let at = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(at, i);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buffers_alive_together_do_not_overlap(raw in prop::collection::vec((1usize..200, 0usize..30, 0usize..10), 0..60)) {
            let lives: Vec<Life> = raw.iter().map(|&(len, first, more)| Life { len, first, last: first + more }).collect();
            let (offsets, total) = assign(&lives);
            for i in 0..lives.len() {
                prop_assert!(offsets[i] + lives[i].len <= total);
                for j in 0..i {
                    let apart = offsets[i] + lives[i].len <= offsets[j] || offsets[j] + lives[j].len <= offsets[i];
                    prop_assert!(apart || !lives[i].overlaps(&lives[j]));
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let lives: Vec<Life> = (0..10).map(|i| Life { len: 64, first: i, last: i + 1 }).collect();
        assert_eq!(assign(&lives).1, 128);
    }
}
