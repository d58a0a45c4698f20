//! Streams of random numbers, each named by what it is for.
//!
//! A stream depends on the run's seed and its own name alone, never on how many numbers others drew: so a parameter
//! starts the same whatever else the network has, and a resumed run goes on with the bits of an uninterrupted one.

use net_cpu::{Params, Weights};
use net_graph::{Graph, Param, ParamId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;

/// What a stream is for: the last word of its key. Those of `detect_data::Generator` end in 0 and 1.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Parameter = 2,
    Step = 3,
}

/// Initial values of a network: the same seed gives the same values.
pub fn initial_params(graph: &Graph, seed: u64) -> Params {
    Params::init(graph, |param: &Param| initial_stream(param, seed))
}

fn initial_stream(param: &Param, seed: u64) -> impl FnMut() -> f64 + use<> {
    uniform(seed, Purpose::Parameter, hash(&param.name))
}

/// The values of [`initial_params`], each made when it is asked for: inference needs no copy of all of them.
#[derive(Debug, Clone, Copy)]
pub struct InitialWeights<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// The seed.
    pub seed: u64,
}

impl Weights for InitialWeights<'_> {
    fn values(&self, id: ParamId) -> Cow<'_, [f32]> {
        let param = self.graph.param(id);
        Cow::Owned(param.init.values(param.len(), &mut initial_stream(param, self.seed)))
    }
}

/// Numbers in `[0, 1)` for the random layers (stochastic depth) at one batch of a run, counted from 0.
pub fn step_stream(seed: u64, batch: usize) -> impl FnMut() -> f64 {
    uniform(seed, Purpose::Step, batch as u64)
}

fn uniform(seed: u64, purpose: Purpose, key: u64) -> impl FnMut() -> f64 {
    let mut bytes = [0u8; 32];
    for (slot, word) in bytes.chunks_exact_mut(8).zip([seed, key, 0, purpose as u64]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    let mut generator = ChaCha8Rng::from_seed(bytes);
    move || generator.random()
}

/// FNV-1a, 64 bits.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x100_0000_01B3))
}
