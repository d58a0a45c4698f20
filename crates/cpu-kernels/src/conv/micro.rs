//! The micro-kernels: small blocks of sums that stay in registers, one instantiation for every instruction set.
//!
//! Both broadcast one value of a map row against [`MicroKernels::width`] packed values: [`Product`] sums over taps and
//! channels (forward and backward data), [`Outer`] sums over positions (backward weight).

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::float32x4_t;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};
use std::hint::black_box;

#[cfg(any(target_arch = "x86_64", test))]
use super::bf16;
use crate::activation::{Activation, activate_vector, for_constant};
#[cfg(test)]
use crate::vector::Lanes;
use crate::vector::{Four, Several, Vector, prefetch_to_write, unroll};
use crate::{Isa, IsaKind, Precision};

/// Values of the widest vector.
const MAX_LANES: usize = 16;

/// Vectors of a full panel.
pub(super) const PANEL_VECTORS: usize = 2;

/// Values of the widest panel.
pub(super) const MAX_WIDTH: usize = PANEL_VECTORS * MAX_LANES;

/// Rows of the tallest block.
pub(super) const MAX_ROWS: usize = 12;

/// Vectors of sums that go through the activation side by side.
const ACTIVATED: usize = 3;

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

impl Start {
    /// The initial sums from a column on.
    #[inline(always)]
    fn at(self, column: usize) -> Self {
        match self {
            Start::Bias(bias) => Start::Bias(bias.wrapping_add(column)),
            other => other,
        }
    }
}

/// `out[m][n] = round(activation(start + sum over taps t and channels c of rows[t][m][c] * panel[t][c][n]) + residual[m][n])`.
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
    /// What the outputs are rounded to.
    pub(super) precision: Precision,
    /// Addresses of the `M` output rows.
    pub(super) out: &'a [*mut f32],
    /// Columns that exist; the others of the panel are padding.
    pub(super) columns: usize,
}

/// A [`Product`] of one tap over neighbouring rows and panels: row by row of the left matrix, panel by panel.
pub(super) struct Pointwise {
    /// The first row that is read, and the distance from row to row.
    pub(super) x: (*const f32, usize),
    /// Blocks of `M` rows.
    pub(super) blocks: usize,
    /// Values read of each row.
    pub(super) channels: usize,
    /// Packed weights of the first panel, `[channels][V * LANES]`, and the distance from panel to panel.
    pub(super) panel: (*const f32, usize),
    /// Columns that exist: of several panels, the last of which may have padding.
    pub(super) columns: usize,
    /// Initial sums of the first panel; those of others follow.
    pub(super) start: Start,
    /// Applied to the sums.
    pub(super) activation: Activation,
    /// First row that is added last, and the distance from row to row.
    pub(super) residual: Option<(*const f32, usize)>,
    /// What the outputs are rounded to.
    pub(super) precision: Precision,
    /// The first output row, and the distance from row to row.
    pub(super) out: (*mut f32, usize),
    /// Asks for the lines of the next block ahead: the outputs are in no near cache.
    pub(super) prefetch: bool,
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

/// How a value of a row and packed values make products.
pub(super) trait Multiply<S: Vector> {
    /// What is multiplied.
    type Factor: Copy;

    /// A value of a row, for every lane.
    ///
    /// # Safety
    /// The CPU has the instructions of `S` and of this type, as for the other functions.
    unsafe fn splat(value: f32) -> Self::Factor;

    /// Reads as many packed values as `S` has lanes.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load(from: *const f32) -> Self::Factor;

    /// `x * w + sum`.
    ///
    /// # Safety
    /// As [`Multiply::splat`].
    unsafe fn mul_add(x: Self::Factor, w: Self::Factor, sum: S) -> S;
}

/// One value is one factor.
struct Singles;

impl<S: Vector> Multiply<S> for Singles {
    type Factor = S;

    #[inline(always)]
    unsafe fn splat(value: f32) -> S {
        // SAFETY: the caller's promise, as in the functions below.
        unsafe { S::splat(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> S {
        // SAFETY: as above.
        unsafe { S::load(from) }
    }

    #[inline(always)]
    unsafe fn mul_add(x: S, w: S, sum: S) -> S {
        // SAFETY: as above.
        unsafe { x.mul_add(w, sum) }
    }
}

/// Runs a [`Product`]. Safety: every address is valid as described there, for the `M` and `V` of the kernel.
pub(super) type ProductKernel = unsafe fn(&Product);

/// Runs a [`Pointwise`]. Safety: as for [`ProductKernel`].
pub(super) type PointwiseKernel = unsafe fn(&Pointwise);

/// Runs an [`Outer`]. Safety: as for [`ProductKernel`].
pub(super) type OuterKernel = unsafe fn(&Outer);

/// The micro-kernels of an instruction set.
#[derive(Debug)]
pub(super) struct MicroKernels {
    /// Values of a vector.
    pub(super) lanes: usize,
    /// Numbers of rows that there are `products` for; the last is that of a full block.
    heights: &'static [usize],
    /// `[height][V - 1]`.
    products: &'static [[ProductKernel; PANEL_VECTORS]],
    /// `[V - 1]`, for full blocks.
    pointwise: [PointwiseKernel; PANEL_VECTORS],
    /// `[M - 1][V - 1]`, for every number of rows `M` and vectors `V`; none where there is no backward pass.
    outers: &'static [[OuterKernel; PANEL_VECTORS]],
}

impl MicroKernels {
    /// Rows of the tallest block.
    pub(super) fn rows(&self) -> usize {
        *self.heights.last().expect("a full block")
    }

    /// Values of a full panel.
    pub(super) fn width(&self) -> usize {
        PANEL_VECTORS * self.lanes
    }

    /// Rows of the lowest product that has `rows` at least; what it has more may be repetitions of the last.
    pub(super) fn height(&self, rows: usize) -> usize {
        let found = self.heights.iter().find(|height| **height >= rows);
        *found.unwrap_or_else(|| panic!("a block of {rows} rows"))
    }

    /// The kernel for blocks of `height` rows, one of [`MicroKernels::height`], and `width` columns.
    pub(super) fn product(&self, height: usize, width: usize) -> ProductKernel {
        let index = self.heights.iter().position(|known| *known == height).expect("a known height");
        self.products[index][width / self.lanes - 1]
    }

    /// The kernel for full blocks of rows and panels of `width` columns.
    pub(super) fn pointwise(&self, width: usize) -> PointwiseKernel {
        self.pointwise[width / self.lanes - 1]
    }

    /// The kernel for blocks of `rows` channels and `width` columns.
    pub(super) fn outer(&self, rows: usize, width: usize) -> OuterKernel {
        self.outers[rows - 1][width / self.lanes - 1]
    }
}

/// Makes the [`MicroKernels`] of a [`Vector`] type: products of the listed heights, of which the one after the semicolon
/// is that of full blocks, and outer products of the numbers of rows in the second list. Before the vector type may stand
/// how the products multiply.
macro_rules! micro_kernels {
    ($simd:ty, $heights:tt, $rows:tt $(, $feature:literal)?) => {
        micro_kernels!(Singles; $simd, $heights, $rows $(, $feature)?)
    };
    ($multiply:ty; $simd:ty, [$($height:literal)*; $full:literal], [$($rows:literal)*] $(, $feature:literal)?) => {{
        $(#[target_feature(enable = $feature)])?
        unsafe fn product_kernel<const M: usize, const V: usize>(task: &Product) {
            // SAFETY: passed on to the caller.
            unsafe { product::<$simd, $multiply, M, V>(task) }
        }
        $(#[target_feature(enable = $feature)])?
        unsafe fn pointwise_kernel<const M: usize, const V: usize>(task: &Pointwise) {
            // SAFETY: passed on to the caller.
            unsafe { pointwise::<$simd, $multiply, M, V>(task) }
        }
        #[allow(dead_code, reason = "a set for inference alone has none")]
        $(#[target_feature(enable = $feature)])?
        unsafe fn outer_kernel<const M: usize, const V: usize>(task: &Outer) {
            // SAFETY: passed on to the caller.
            unsafe { outer::<$simd, M, V>(task) }
        }
        MicroKernels {
            lanes: <$simd as Vector>::LANES,
            heights: &[$($height,)* $full],
            products: &[
                $([product_kernel::<$height, 1>, product_kernel::<$height, 2>],)*
                [product_kernel::<$full, 1>, product_kernel::<$full, 2>],
            ],
            pointwise: [pointwise_kernel::<$full, 1>, pointwise_kernel::<$full, 2>],
            outers: &[$([outer_kernel::<$rows, 1>, outer_kernel::<$rows, 2>]),*],
        }
    }};
}

static PORTABLE: MicroKernels = micro_kernels!(Four, [1 2 4; 6], [1 2 3 4 5 6]);
#[cfg(target_arch = "x86_64")]
static AVX2: MicroKernels = micro_kernels!(__m256, [1 2 4; 6], [1 2 3 4 5 6], "avx2,fma");
#[cfg(target_arch = "x86_64")]
static AVX512: MicroKernels = micro_kernels!(__m512, [1 2 4 8; 12], [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f");
/// 24 sums and two vectors of weights leave 6 of 32 registers for the values of rows. A multiply-add takes four cycles in
/// two to four units, so that 8 to 16 sums have to be under way; 24 products take 13 loads, fewer than a CPU does meanwhile.
/// Eight columns a panel need no padding, for networks have multiples of 8 channels.
#[cfg(target_arch = "aarch64")]
static NEON: MicroKernels = micro_kernels!(float32x4_t, [1 2 4 8; 12], [1 2 3 4 5 6 7 8 9 10 11 12], "neon");
/// The panels of AVX-512 on every CPU.
#[cfg(test)]
pub(super) static WIDE: MicroKernels = micro_kernels!(Lanes<16, false>, [1; 3], [1 2 3]);

/// The micro-kernels that multiply pairs of bf16 values.
#[cfg(target_arch = "x86_64")]
static AVX512_BF16: MicroKernels =
    micro_kernels!(bf16::Native; __m512, [1 2 4 8; 12], [], "avx512f,avx512bf16");
/// The panels of AVX-512 on every CPU.
#[cfg(test)]
pub(super) static WIDE_PAIRS: MicroKernels = micro_kernels!(bf16::Stepwise; Lanes<16, false>, [1; 3], []);

/// The micro-kernels that multiply pairs of bf16 values, if the instruction set has an instruction for it. To run them is
/// safe as far as the instruction set goes.
pub(super) fn pair_kernels(isa: Isa) -> Option<&'static MicroKernels> {
    #[cfg(target_arch = "x86_64")]
    return isa.multiplies_bf16().then_some(&AVX512_BF16);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        None
    }
}

/// The micro-kernels of an instruction set. To run them is safe as far as the instruction set goes.
pub(super) fn micro_kernels(isa: Isa) -> &'static MicroKernels {
    match isa.kind() {
        #[cfg(target_arch = "aarch64")]
        IsaKind::Neon => &NEON,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 => &AVX2,
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx512 => &AVX512,
        _ => &PORTABLE,
    }
}

#[inline(always)]
unsafe fn product<S: Vector, D: Multiply<S>, const M: usize, const V: usize>(task: &Product) {
    // SAFETY: the caller vouches for the instruction set and for all addresses.
    unsafe {
        let out = |m: usize| *task.out.get_unchecked(m);
        let mut sums = start::<S, M, V>(task.start, out, task.columns);
        let mut weight = task.panel;
        for rows in task.rows.chunks_exact(M) {
            let rows = std::array::from_fn(|m| *rows.get_unchecked(m));
            add_products::<S, D, M, V>(rows, task.channels, weight, &mut sums);
            weight = weight.add(task.channels * V * S::LANES);
        }
        let residual = task.residual.map(|rows| move |m: usize| *rows.get_unchecked(m));
        finish::<S, M, V>(sums, task.activation, residual, task.precision, out, task.columns);
    }
}

#[inline(always)]
unsafe fn pointwise<S: Vector, D: Multiply<S>, const M: usize, const V: usize>(task: &Pointwise) {
    let width = V * S::LANES;
    // SAFETY: the caller vouches for the instruction set and for all addresses.
    unsafe {
        for block in 0..task.blocks {
            // Hidden from the compiler, which would add up strides in the inner loop instead of keeping the addresses.
            let rows: [_; M] = black_box(std::array::from_fn(|m| task.x.0.add((block * M + m) * task.x.1)));
            let mut weight = task.panel.0;
            for first in (0..task.columns).step_by(width) {
                let columns = width.min(task.columns - first);
                let out = |m: usize| task.out.0.add((block * M + m) * task.out.1 + first);
                if task.prefetch {
                    (0..M).for_each(|m| prefetch_to_write(out(M + m)));
                }
                let mut sums = start::<S, M, V>(task.start.at(first), out, columns);
                add_products::<S, D, M, V>(rows, task.channels, weight, &mut sums);
                weight = weight.wrapping_add(task.panel.1);
                let residual = task
                    .residual
                    .map(|(start, stride)| move |m: usize| start.add((block * M + m) * stride + first));
                finish::<S, M, V>(sums, task.activation, residual, task.precision, out, columns);
            }
        }
    }
}

/// Adds the products of `M` rows with packed weights.
#[inline(always)]
unsafe fn add_products<S: Vector, D: Multiply<S>, const M: usize, const V: usize>(
    rows: [*const f32; M],
    channels: usize,
    mut weight: *const f32,
    sums: &mut [[S; V]; M],
) {
    // SAFETY: the caller vouches for the instruction set and for all addresses.
    unsafe {
        for c in 0..channels {
            let mut w = [D::splat(0.0); V];
            for v in 0..V {
                w[v] = D::load(weight.add(v * S::LANES));
            }
            for m in 0..M {
                let x = D::splat(*rows[m].add(c));
                for v in 0..V {
                    sums[m][v] = D::mul_add(x, w[v], sums[m][v]);
                }
            }
            weight = weight.add(V * S::LANES);
        }
    }
}

#[inline(always)]
unsafe fn start<S: Vector, const M: usize, const V: usize>(
    start: Start,
    out: impl Fn(usize) -> *mut f32,
    columns: usize,
) -> [[S; V]; M] {
    // SAFETY: as in `add_products`.
    unsafe {
        match start {
            Start::Zero => [[S::splat(0.0); V]; M],
            Start::Bias(bias) => [load_columns::<S, V>(bias, columns); M],
            Start::Output => std::array::from_fn(|m| load_columns::<S, V>(out(m), columns)),
        }
    }
}

/// `out = round(activation(sums) + residual)`.
#[inline(always)]
unsafe fn finish<S: Vector, const M: usize, const V: usize>(
    mut sums: [[S; V]; M],
    activation: Activation,
    residual: Option<impl Fn(usize) -> *const f32>,
    precision: Precision,
    out: impl Fn(usize) -> *mut f32,
    columns: usize,
) {
    // SAFETY: as in `add_products`.
    unsafe {
        // Unrolled by force: an index that is not a constant would move the sums to memory.
        for_constant!(activation, A => unroll!(group < (M * V).div_ceil(ACTIVATED), {
            let Several(group_sums) = activate_vector(A, Several::<S, ACTIVATED>(std::array::from_fn(|index| {
                let index = (group * ACTIVATED + index).min(M * V - 1);
                sums[index / V][index % V]
            })));
            unroll!(index < ACTIVATED, {
                let at = (group * ACTIVATED + index).min(M * V - 1);
                sums[at / V][at % V] = group_sums[index];
            });
        }));
        if let Some(residual) = residual {
            unroll!(m < M, {
                let row = load_columns::<S, V>(residual(m), columns);
                unroll!(v < V, { sums[m][v] = sums[m][v].add(row[v]) });
            });
        }
        if precision == Precision::Bf16 {
            unroll!(m < M, { unroll!(v < V, { sums[m][v] = sums[m][v].to_bf16() }) });
        }
        // The test is outside the loop over rows, so that the sums need not leave their registers first.
        if columns == V * S::LANES {
            for m in 0..M {
                store::<S, V>(out(m), &sums[m]);
            }
        } else {
            let mut padded = [0.0; MAX_WIDTH];
            for m in 0..M {
                store::<S, V>(padded.as_mut_ptr(), &sums[m]);
                out(m).copy_from_nonoverlapping(padded.as_ptr(), columns);
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
