use super::micro::micro_kernels;
use crate::Isa;

/// Rows and columns of the block of sums that the convolutions of an instruction set keep in registers.
pub fn block(isa: Isa) -> (usize, usize) {
    let kernels = micro_kernels(isa);
    (kernels.rows(), kernels.width())
}
