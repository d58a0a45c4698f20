//! What this CPU could do at most: multiply-adds whose operands never leave the registers.

use crate::{Isa, IsaKind, parallel};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Independent sums: enough to hide the latency of a multiply-add, few enough for the registers of AVX2. CPUs with NEON
/// have up to four units that a multiply-add takes four cycles in, and more registers.
const CHAINS: usize = if cfg!(target_arch = "aarch64") { 24 } else { 12 };
/// Multiply-adds of a chain in one measurement.
const ROUNDS: usize = 500_000;
/// Measurements, of which the best counts: others share the machine.
const ATTEMPTS: usize = 10;

/// Floating-point operations a second, two a multiply-add, that `threads` threads of the current pool reach together
/// in a loop without memory traffic. Takes some hundredths of a second.
///
/// # Panics
/// When `threads` is 0.
pub fn flops_per_second(isa: Isa, threads: usize) -> f64 {
    assert!(threads > 0, "expected at least one thread");
    let work = 2.0 * (threads * ROUNDS * CHAINS * lanes(isa)) as f64;
    let attempt = |_| {
        let started = Instant::now();
        parallel::run(threads, |_| multiply_add(isa));
        started.elapsed()
    };
    let best = (0..ATTEMPTS).map(attempt).min().expect("there are attempts");
    work / best.max(Duration::from_nanos(1)).as_secs_f64()
}

/// Values of a register.
fn lanes(isa: Isa) -> usize {
    match isa.kind() {
        IsaKind::Avx512 => 16,
        IsaKind::Avx2 => 8,
        IsaKind::Neon | IsaKind::Portable => 4,
    }
}

fn multiply_add(isa: Isa) {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` of this kind exists only where the CPU has these features.
        IsaKind::Avx512 => unsafe { x86::avx512() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        IsaKind::Avx2 => unsafe { x86::avx2() },
        _ => plain(),
    }
}

/// Four lanes that the compiler keeps in registers; fused where the base of the architecture has it.
fn plain() {
    const FMA: bool = cfg!(target_arch = "aarch64");
    let (factor, term) = black_box((0.999_f32, 0.001_f32));
    let mut sums = [[1.0_f32; 4]; CHAINS];
    for _ in 0..ROUNDS {
        for sum in sums.as_flattened_mut() {
            *sum = crate::isa::mul_add::<FMA>(*sum, factor, term);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, ROUNDS};
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    use std::hint::black_box;

    macro_rules! chains {
        ($name:ident, $feature:literal, $splat:ident, $multiply_add:ident) => {
            #[target_feature(enable = $feature)]
            pub(super) fn $name() {
                // Values the compiler cannot know, so that it can leave nothing out.
                let (factor, term) = black_box((0.999, 0.001));
                let (factor, term) = ($splat(factor), $splat(term));
                let mut sums = [$splat(1.0); CHAINS];
                for _ in 0..ROUNDS {
                    for sum in &mut sums {
                        *sum = $multiply_add(*sum, factor, term);
                    }
                }
                black_box(sums);
            }
        };
    }

    chains!(avx2, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps);
    chains!(avx512, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_instruction_set_is_beyond_belief() {
        for isa in Isa::available() {
            let one = flops_per_second(*isa, 1);
            // From a slow emulator to two fused units at 8 GHz.
            let most = 8e9 * 4.0 * lanes(*isa) as f64;
            assert!((1e6..most).contains(&one), "{}: {one:e}", isa.name());
        }
    }
}
