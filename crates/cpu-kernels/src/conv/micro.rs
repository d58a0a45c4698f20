//! The micro-kernels: small blocks of sums that stay in registers, one instantiation for every instruction set.
//!
//! Both broadcast one value of a map row against [`MicroKernels::width`] packed values: [`Product`] sums over taps and
//! channels (forward and backward data), [`Outer`] sums over positions (backward weight).

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use crate::activation::{Activation, activate_vector, for_constant};
#[cfg(test)]
use crate::vector::Lanes;
use crate::vector::{Four, Vector, unroll};
use crate::{Isa, IsaKind};

/// Values of the widest vector.
const MAX_LANES: usize = 16;

/// Vectors of a full panel.
pub(super) const PANEL_VECTORS: usize = 2;

/// Values of the widest panel.
pub(super) const MAX_WIDTH: usize = PANEL_VECTORS * MAX_LANES;

/// Rows of the tallest block.
pub(super) const MAX_ROWS: usize = 12;

/// What the sums of a [`Product`] start from.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// Zero.
    Zero,
    /// One value for every column of the panel.
    Bias(*const f32),
    /// What the output holds.
    Output,
}

/// `out[m][n] = activation(start + sum over taps t and channels c of rows[t][m][c] * panel[t][c][n]) + residual[m][n]`.
pub(super) struct Product<'a> {
    /// Addresses of input rows, `[taps][M]`.
    pub(super) rows: &'a [*const f32],
    /// Values read at each address.
    pub(super) channels: usize,
    /// Packed weights, `[taps][channels][V * LANES]`.
    pub(super) panel: *const f32,
    /// Initial sums.
    pub(super) start: Start,
    /// Applied to the sums.
    pub(super) activation: Activation,
    /// Addresses of `M` rows that are added last.
    pub(super) residual: Option<&'a [*const f32]>,
    /// Addresses of the `M` output rows.
    pub(super) out: &'a [*mut f32],
    /// Columns that exist; the others of the panel are padding.
    pub(super) columns: usize,
}

/// `sums[m][n] += sum over positions p of rows[p][channel + m] * panel[p][n]`.
pub(super) struct Outer<'a> {
    /// Addresses of input rows, one a position.
    pub(super) rows: &'a [*const f32],
    /// First channel.
    pub(super) channel: usize,
    /// Packed output gradients, `[positions][V * LANES]`.
    pub(super) panel: *const f32,
    /// Sums, `[M][V * LANES]`.
    pub(super) sums: *mut f32,
}

/// Runs a [`Product`]. Safety: every address is valid as described there, for the `M` and `V` of the kernel.
pub(super) type ProductKernel = unsafe fn(&Product);

/// Runs an [`Outer`]. Safety: as for [`ProductKernel`].
pub(super) type OuterKernel = unsafe fn(&Outer);

/// The micro-kernels of an instruction set.
#[derive(Debug)]
pub(super) struct MicroKernels {
    /// Values of a vector.
    pub(super) lanes: usize,
    /// `[M - 1][V - 1]`, for every number of rows `M` and vectors `V`.
    products: &'static [[ProductKernel; PANEL_VECTORS]],
    /// As `products`.
    outers: &'static [[OuterKernel; PANEL_VECTORS]],
}

impl MicroKernels {
    /// Rows of the tallest block.
    pub(super) fn rows(&self) -> usize {
        self.products.len()
    }

    /// Values of a full panel.
    pub(super) fn width(&self) -> usize {
        PANEL_VECTORS * self.lanes
    }

    /// The kernel for blocks of `rows` rows and `width` columns.
    pub(super) fn product(&self, rows: usize, width: usize) -> ProductKernel {
        self.products[rows - 1][width / self.lanes - 1]
    }

    /// The kernel for blocks of `rows` channels and `width` columns.
    pub(super) fn outer(&self, rows: usize, width: usize) -> OuterKernel {
        self.outers[rows - 1][width / self.lanes - 1]
    }
}

/// Makes the [`MicroKernels`] of a [`Vector`] type for the listed numbers of rows.
macro_rules! micro_kernels {
    ($simd:ty, [$($rows:literal)*] $(, $feature:literal)?) => {{
        $(#[target_feature(enable = $feature)])?
        unsafe fn product_kernel<const M: usize, const V: usize>(task: &Product) {
            // SAFETY: passed on to the caller.
            unsafe { product::<$simd, M, V>(task) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn outer_kernel<const M: usize, const V: usize>(task: &Outer) {
            // SAFETY: passed on to the caller.
            unsafe { outer::<$simd, M, V>(task) }
        }
        MicroKernels {
            lanes: <$simd as Vector>::LANES,
            products: &[$([product_kernel::<$rows, 1>, product_kernel::<$rows, 2>]),*],
            outers: &[$([outer_kernel::<$rows, 1>, outer_kernel::<$rows, 2>]),*],
        }
    }};
}

static PORTABLE: MicroKernels = micro_kernels!(Four, [1 2 3 4 5 6]);
#[cfg(target_arch = "x86_64")]
static AVX2: MicroKernels = micro_kernels!(__m256, [1 2 3 4 5 6], "avx2,fma");
#[cfg(target_arch = "x86_64")]
static AVX512: MicroKernels = micro_kernels!(__m512, [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f");
/// The panels of AVX-512 on every CPU.
#[cfg(test)]
pub(super) static WIDE: MicroKernels = micro_kernels!(Lanes<16, false>, [1 2 3]);

/// The micro-kernels of an instruction set. To run them is safe as far as the instruction set goes.
pub(super) fn micro_kernels(isa: Isa) -> &'static MicroKernels {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 => &AVX2,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx512 => &AVX512,
        _ => &PORTABLE,
    }
}

#[inline(always)]
unsafe fn product<S: Vector, const M: usize, const V: usize>(task: &Product) {
    // SAFETY: the caller vouches for the instruction set and for all addresses.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; M];
        start::<S, M, V>(task, &mut sums);
        let mut weight = task.panel;
        for rows in task.rows.chunks_exact(M) {
            for c in 0..task.channels {
                let mut w = [S::splat(0.0); V];
                for v in 0..V {
                    w[v] = S::load(weight.add(v * S::LANES));
                }
                for m in 0..M {
                    let x = S::splat(*rows.get_unchecked(m).add(c));
                    for v in 0..V {
                        sums[m][v] = x.mul_add(w[v], sums[m][v]);
                    }
                }
                weight = weight.add(V * S::LANES);
            }
        }
        // Unrolled by force: an index that is not a constant would move the sums to memory.
        for_constant!(task.activation, A => unroll!(m < M, {
            unroll!(v < V, { sums[m][v] = activate_vector(A, sums[m][v]) });
        }));
        if let Some(residual) = task.residual {
            unroll!(m < M, {
                let row = load_columns::<S, V>(*residual.get_unchecked(m), task.columns);
                unroll!(v < V, { sums[m][v] = sums[m][v].add(row[v]) });
            });
        }
        finish::<S, M, V>(task, &sums);
    }
}

#[inline(always)]
unsafe fn start<S: Vector, const M: usize, const V: usize>(task: &Product, sums: &mut [[S; V]; M]) {
    // SAFETY: as in `product`.
    unsafe {
        match task.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                let row = load_columns::<S, V>(bias, task.columns);
                for m in 0..M {
                    sums[m] = row;
                }
            }
            Start::Output => {
                for m in 0..M {
                    sums[m] = load_columns::<S, V>(*task.out.get_unchecked(m), task.columns);
                }
            }
        }
    }
}

/// Reads `columns` values; the other lanes are zero.
#[inline(always)]
unsafe fn load_columns<S: Vector, const V: usize>(from: *const f32, columns: usize) -> [S; V] {
    // SAFETY: only `columns` values are read from memory that is not ours.
    unsafe {
        let mut padded = [0.0; MAX_WIDTH];
        let from = if columns < V * S::LANES {
            padded.as_mut_ptr().copy_from_nonoverlapping(from, columns);
            padded.as_ptr()
        } else {
            from
        };
        let mut row = [S::splat(0.0); V];
        for v in 0..V {
            row[v] = S::load(from.add(v * S::LANES));
        }
        row
    }
}

/// Writes the sums, without the columns that do not exist.
#[inline(always)]
unsafe fn finish<S: Vector, const M: usize, const V: usize>(task: &Product, sums: &[[S; V]; M]) {
    // SAFETY: only `columns` values of a row are written to memory that is not ours.
    unsafe {
        // The test is outside the loop over rows, so that the sums need not leave their registers first.
        if task.columns == V * S::LANES {
            for m in 0..M {
                store::<S, V>(*task.out.get_unchecked(m), &sums[m]);
            }
        } else {
            let mut padded = [0.0; MAX_WIDTH];
            for m in 0..M {
                store::<S, V>(padded.as_mut_ptr(), &sums[m]);
                task.out.get_unchecked(m).copy_from_nonoverlapping(padded.as_ptr(), task.columns);
            }
        }
    }
}

#[inline(always)]
unsafe fn store<S: Vector, const V: usize>(to: *mut f32, row: &[S; V]) {
    for v in 0..V {
        // SAFETY: passed on to the caller.
        unsafe { row[v].store(to.add(v * S::LANES)) };
    }
}

#[inline(always)]
unsafe fn outer<S: Vector, const M: usize, const V: usize>(task: &Outer) {
    // SAFETY: the caller vouches for the instruction set and for all addresses.
    unsafe {
        let width = V * S::LANES;
        let mut sums = [[S::splat(0.0); V]; M];
        let mut gradient = task.panel;
        for row in task.rows {
            let row = row.add(task.channel);
            let mut g = [S::splat(0.0); V];
            for v in 0..V {
                g[v] = S::load(gradient.add(v * S::LANES));
            }
            for m in 0..M {
                let x = S::splat(*row.add(m));
                for v in 0..V {
                    sums[m][v] = x.mul_add(g[v], sums[m][v]);
                }
            }
            gradient = gradient.add(width);
        }
        for m in 0..M {
            for v in 0..V {
                let total = task.sums.add(m * width + v * S::LANES);
                S::load(total).add(sums[m][v]).store(total);
            }
        }
    }
}
