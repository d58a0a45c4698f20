//! Which instruction set runs.

use std::sync::OnceLock;

/// Environment variable that caps the instruction set: `portable`, `avx2`, `avx512` or `neon`.
pub const ISA_VARIABLE: &str = "EFFYOLO_ISA";

/// An instruction set, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IsaKind {
    /// What the compiler makes of plain Rust.
    Portable,
    /// NEON (aarch64).
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
}

/// Proof that this CPU has an instruction set: only [`Isa::available`] and [`Isa::best`] make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(IsaKind);

impl Isa {
    /// The portable path, which every CPU has.
    pub const PORTABLE: Isa = Isa(IsaKind::Portable);

    /// All instruction sets of this CPU up to the cap in [`ISA_VARIABLE`], weakest first.
    ///
    /// # Panics
    /// When the variable names an instruction set that does not exist or that this CPU lacks: a test that asks for a
    /// path must not silently run another.
    pub fn available() -> &'static [Isa] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            let mut found = detect();
            if let Some(cap) = std::env::var_os(ISA_VARIABLE) {
                let cap = cap.to_string_lossy().to_lowercase();
                let position = found.iter().position(|isa| isa.name() == cap);
                let Some(position) = position else {
                    let names: Vec<_> = found.iter().map(|isa| isa.name()).collect();
                    panic!("{ISA_VARIABLE}={cap}: expected one of {}", names.join(", "));
                };
                found.truncate(position + 1);
            }
            found
        })
    }

    /// The strongest instruction set of [`Isa::available`].
    pub fn best() -> Isa {
        *Isa::available().last().expect("the portable path is always there")
    }

    /// Which one it is.
    pub fn kind(self) -> IsaKind {
        self.0
    }

    /// Whether convolutions are written in its own vector instructions; elsewhere the compiler makes them of loops.
    pub fn has_own_vectors(self) -> bool {
        self.0 != IsaKind::Portable
    }

    /// Whether it is AVX-512 on a CPU that has AVX512_BF16 too, which multiplies pairs of bf16 values.
    pub fn multiplies_bf16(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == IsaKind::Avx512 && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Lower-case name, as in [`ISA_VARIABLE`].
    pub fn name(self) -> &'static str {
        match self.0 {
            IsaKind::Portable => "portable",
            IsaKind::Neon => "neon",
            IsaKind::Avx2 => "avx2",
            IsaKind::Avx512 => "avx512",
        }
    }
}

fn detect() -> Vec<Isa> {
    #[allow(unused_mut)]
    let mut found = vec![Isa::PORTABLE];
    #[cfg(target_arch = "aarch64")]
    found.push(Isa(IsaKind::Neon));
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 {
            found.push(Isa(IsaKind::Avx2));
        }
        if avx2 && avx512 {
            found.push(Isa(IsaKind::Avx512));
        }
    }
    found
}

/// Defines a function whose plain body is compiled once for every instruction set and chosen by its first argument.
///
/// The body is an ordinary loop that the compiler vectorises; use [`mul_add`] in it so that the paths with a fused
/// multiply-add use it. The generic parameter `FMA` must be passed on to it.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(non_snake_case, unused)]
            fn body<const FMA: bool>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
            match isa.kind() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an `Isa` of this kind exists only where the CPU has these features.
                $crate::IsaKind::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::IsaKind::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                $crate::IsaKind::Neon => body::<true>($($arg),*),
                _ => body::<false>($($arg),*),
            }
        }
    };
}
#[allow(unused_imports)]
pub(crate) use multiversion;

/// `a * b + c`, fused where the instruction set has it.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
