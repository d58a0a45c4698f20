//! `--dtype`: the numbers that a network's dense convolutions multiply in inference.

use anyhow::{Result, ensure};
use net_cpu::{Isa, Precision};

#[derive(clap::Args)]
pub(crate) struct DtypeArgument {
    /// What inputs and weights of dense convolutions are rounded to; sums are f32. Multiplied by AVX512_BF16 where the
    /// CPU has it, else in f32.
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Dtype {
    F32,
    Bf16,
}

impl DtypeArgument {
    pub(crate) fn precision(&self) -> Precision {
        match self.dtype {
            Dtype::F32 => Precision::F32,
            Dtype::Bf16 => Precision::Bf16,
        }
    }

    /// The precision of a command that can train, announced: then it is f32.
    pub(crate) fn precision_for(&self, train: bool) -> Result<Precision> {
        ensure!(
            !train || self.dtype == Dtype::F32,
            "--dtype bf16 is for inference, and training is in f32: leave out --train or --dtype"
        );
        self.announce();
        Ok(self.precision())
    }

    /// Says on standard error what multiplies, unless it is the usual.
    pub(crate) fn announce(&self) {
        if self.dtype == Dtype::Bf16 {
            let isa = Isa::best();
            match isa.multiplies_bf16() {
                true => eprintln!("dtype bf16: multiplied by {}", Precision::Bf16.kernel_name(isa)),
                false => {
                    eprintln!("dtype bf16: rounded to bf16, multiplied in f32: this CPU has no AVX512_BF16")
                }
            }
        }
    }
}
