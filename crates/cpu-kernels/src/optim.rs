//! Steps of optimisers over flat parameters, in place, and sums over flat gradients.

use crate::isa::{mul_add, multiversion};
use crate::{Isa, MapMut, parallel, rows};

/// One step of stochastic gradient descent with Nesterov momentum, as PyTorch does it:
/// `g += weight_decay * p; b = momentum * b + g; p -= lr * (g + momentum * b)`; in the first step `b = g`.
///
/// # Panics
/// When the slices differ in length.
pub fn sgd_nesterov(
    isa: Isa,
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    first_step: bool,
    grad: &[f32],
    buffer: &mut [f32],
    param: &mut [f32],
) {
    sgd(isa, Sgd::new(lr, momentum, weight_decay, first_step, true), grad, buffer, param);
}

/// One step of stochastic gradient descent with heavy-ball momentum: as [`sgd_nesterov`] but `p -= lr * b`.
///
/// # Panics
/// When the slices differ in length.
pub fn sgd_momentum(
    isa: Isa,
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    first_step: bool,
    grad: &[f32],
    buffer: &mut [f32],
    param: &mut [f32],
) {
    sgd(isa, Sgd::new(lr, momentum, weight_decay, first_step, false), grad, buffer, param);
}

/// What one step multiplies with.
#[derive(Debug, Clone, Copy)]
struct Sgd {
    lr: f32,
    momentum: f32,
    weight_decay: f32,
    first_step: bool,
    /// Factors of the gradient and of the buffer in the direction of the step.
    direction: [f32; 2],
}

impl Sgd {
    fn new(lr: f64, momentum: f64, weight_decay: f64, first_step: bool, nesterov: bool) -> Self {
        let direction = if nesterov { [1.0, momentum as f32] } else { [0.0, 1.0] };
        Sgd {
            lr: lr as f32,
            momentum: momentum as f32,
            weight_decay: weight_decay as f32,
            first_step,
            direction,
        }
    }
}

fn sgd(isa: Isa, sgd: Sgd, grad: &[f32], buffer: &mut [f32], param: &mut [f32]) {
    assert_eq!(grad.len(), param.len(), "one gradient a parameter");
    split([buffer, param], |start, [buffer, param]| {
        sgd_part(isa, sgd, &grad[start..start + param.len()], buffer, param);
    });
}

multiversion! {
    fn sgd_part(sgd: Sgd, grad: &[f32], buffer: &mut [f32], param: &mut [f32]) {
        let Sgd { lr, momentum, weight_decay, first_step, direction: [of_grad, of_buffer] } = sgd;
        for ((p, b), &g) in param.iter_mut().zip(buffer).zip(grad) {
            let g = mul_add::<FMA>(weight_decay, *p, g);
            let previous = if first_step { 0.0 } else { *b };
            *b = mul_add::<FMA>(momentum, previous, g);
            *p = mul_add::<FMA>(-lr, mul_add::<FMA>(of_buffer, *b, of_grad * g), *p);
        }
    }
}

/// One step of AdamW (arXiv 1711.05101) as PyTorch does it:
/// `p *= 1 - lr * weight_decay; m += (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g^2;
/// p -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)`; `step` counts from 1.
///
/// # Panics
/// When the slices differ in length or `step` is 0.
pub fn adamw(
    isa: Isa,
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    step: u64,
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    param: &mut [f32],
) {
    assert!(step > 0, "steps count from 1");
    assert_eq!(grad.len(), param.len(), "one gradient a parameter");
    let correction = |beta: f64| 1.0 - beta.powf(step as f64);
    let adamw = AdamW {
        rate: (lr / correction(beta1)) as f32,
        keep: (1.0 - lr * weight_decay) as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        root_correction: (1.0 / correction(beta2).sqrt()) as f32,
        eps: eps as f32,
    };
    split([m, v, param], |start, [m, v, param]| {
        adamw_part(isa, adamw, &grad[start..start + param.len()], m, v, param);
    });
}

/// What one step multiplies with.
#[derive(Debug, Clone, Copy)]
struct AdamW {
    rate: f32,
    keep: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    root_correction: f32,
    eps: f32,
}

multiversion! {
    fn adamw_part(adamw: AdamW, grad: &[f32], m: &mut [f32], v: &mut [f32], param: &mut [f32]) {
        for (((p, m), v), &g) in param.iter_mut().zip(m).zip(v).zip(grad) {
            *m = mul_add::<FMA>(adamw.one_minus_beta1, g - *m, *m);
            *v = mul_add::<FMA>(adamw.beta2, *v, adamw.one_minus_beta2 * g * g);
            let root = mul_add::<FMA>(v.sqrt(), adamw.root_correction, adamw.eps);
            *p = mul_add::<FMA>(-adamw.rate, *m / root, *p * adamw.keep);
        }
    }
}

/// Where RMSProp (Hinton, Coursera lecture 6e, 2012) puts its epsilon and its learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RmsPropForm {
    /// TensorFlow's, which EfficientNet was trained with: `g / sqrt(ms + eps)`, the learning rate inside the momentum
    /// buffer. Mean squares start at 1.
    TensorFlow,
    /// PyTorch's: `g / (sqrt(ms) + eps)`, the learning rate outside. Mean squares start at 0.
    PyTorch,
}

/// One step of RMSProp with momentum: `g += weight_decay * p; ms = rho * ms + (1 - rho) * g^2`, then with `d` the
/// gradient divided as the form says: TensorFlow's `b = momentum * b + lr * d; p -= b`, PyTorch's
/// `b = momentum * b + d; p -= lr * b`.
///
/// # Panics
/// When the slices differ in length.
pub fn rmsprop(
    isa: Isa,
    form: RmsPropForm,
    lr: f64,
    rho: f64,
    momentum: f64,
    eps: f64,
    weight_decay: f64,
    grad: &[f32],
    buffer: &mut [f32],
    mean_square: &mut [f32],
    param: &mut [f32],
) {
    assert_eq!(grad.len(), param.len(), "one gradient a parameter");
    let (inner_lr, outer_lr, inside, outside) = match form {
        RmsPropForm::TensorFlow => (lr, 1.0, eps, 0.0),
        RmsPropForm::PyTorch => (1.0, lr, 0.0, eps),
    };
    let step = RmsProp {
        inner_lr: inner_lr as f32,
        outer_lr: outer_lr as f32,
        rho: rho as f32,
        one_minus_rho: (1.0 - rho) as f32,
        momentum: momentum as f32,
        eps_inside: inside as f32,
        eps_outside: outside as f32,
        weight_decay: weight_decay as f32,
    };
    split([buffer, mean_square, param], |start, [buffer, mean_square, param]| {
        rmsprop_part(isa, step, &grad[start..start + param.len()], buffer, mean_square, param);
    });
}

/// What one step multiplies with.
#[derive(Debug, Clone, Copy)]
struct RmsProp {
    inner_lr: f32,
    outer_lr: f32,
    rho: f32,
    one_minus_rho: f32,
    momentum: f32,
    eps_inside: f32,
    eps_outside: f32,
    weight_decay: f32,
}

multiversion! {
    fn rmsprop_part(step: RmsProp, grad: &[f32], buffer: &mut [f32], mean_square: &mut [f32], param: &mut [f32]) {
        for (((p, b), ms), &g) in param.iter_mut().zip(buffer).zip(mean_square).zip(grad) {
            let g = mul_add::<FMA>(step.weight_decay, *p, g);
            *ms = mul_add::<FMA>(step.rho, *ms, step.one_minus_rho * g * g);
            let root = (*ms + step.eps_inside).sqrt() + step.eps_outside;
            *b = mul_add::<FMA>(step.momentum, *b, step.inner_lr * g / root);
            *p = mul_add::<FMA>(-step.outer_lr, *b, *p);
        }
    }
}

/// Moving average: `average = decay * average + (1 - decay) * x`, as a step towards `x`, so that the average of what
/// does not move stays as it is to the bit.
///
/// # Panics
/// When the slices differ in length.
pub fn lerp(isa: Isa, decay: f32, x: &[f32], average: &mut [f32]) {
    assert_eq!(x.len(), average.len(), "one average a value");
    split([average], |start, [average]| lerp_part(isa, decay, &x[start..start + average.len()], average));
}

multiversion! {
    fn lerp_part(decay: f32, x: &[f32], average: &mut [f32]) {
        for (average, &x) in average.iter_mut().zip(x) {
            *average = mul_add::<FMA>(1.0 - decay, x - *average, *average);
        }
    }
}

/// Sum of the squares, in f64.
pub fn norm_squared(isa: Isa, x: &[f32]) -> f64 {
    rows::collect(x.len(), rows::parts(x.len(), 1), |range| norm_squared_part(isa, &x[range]))
        .into_iter()
        .sum()
}

multiversion! {
    fn norm_squared_part(x: &[f32]) -> f64 {
        // Independent sums, so that they can be lanes.
        let mut sums = [0.0f64; 32];
        let (chunks, rest) = x.as_chunks::<32>();
        for chunk in chunks {
            for i in 0..32 {
                let x = f64::from(chunk[i]);
                sums[i] += x * x;
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(x) * f64::from(x);
        }
        sums.iter().sum()
    }
}

/// `x *= factor`.
pub fn scale(isa: Isa, factor: f32, x: &mut [f32]) {
    split([x], |_, [x]| scale_part(isa, factor, x));
}

multiversion! {
    fn scale_part(factor: f32, x: &mut [f32]) {
        for x in x.iter_mut() {
            *x *= factor;
        }
    }
}

/// Cuts slices of one length at the same places and gives `work` each part with its first index.
fn split<const N: usize>(slices: [&mut [f32]; N], work: impl Fn(usize, [&mut [f32]; N]) + Sync) {
    let len = slices[0].len();
    slices.iter().for_each(|slice| assert_eq!(slice.len(), len, "slices of one length"));
    let maps = slices.map(|slice| MapMut::new(slice, len, 1, 1));
    let parts = rows::parts(len, 1);
    parallel::run(parts, |index| {
        let range = parallel::part(len, parts, 16, index);
        // SAFETY: the ranges of the parts share no value, and the slices are borrowed exclusively meanwhile.
        let mut part = maps.each_ref().map(|map| unsafe { map.part(range.clone()) });
        work(range.start, part.each_mut().map(|part| rows::span_mut(part, 0..range.len())));
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_maps::{assert_close, to_f64, values};

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![4 => 0usize..200, 1 => 66_000usize..70_000]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn sgd_equals_its_formula(len in lengths(), seed: u64, nesterov: bool) {
            let (lr, momentum, decay) = (0.02, 0.9, 5e-4);
            let step = if nesterov { sgd_nesterov } else { sgd_momentum };
            for &isa in Isa::available() {
                let mut param = values(len, 1.0, seed);
                // The first step must not read what the buffer holds.
                let mut buffer = vec![f32::NAN; len];
                let (mut p, mut b) = (to_f64(&param), vec![0.0; len]);
                for t in 0..3 {
                    let grad = values(len, 1.0, seed ^ (1 + t));
                    step(isa, lr, momentum, decay, t == 0, &grad, &mut buffer, &mut param);
                    for i in 0..len {
                        let g = f64::from(grad[i]) + decay * p[i];
                        b[i] = if t == 0 { g } else { momentum * b[i] + g };
                        p[i] -= lr * if nesterov { g + momentum * b[i] } else { b[i] };
                    }
                    assert_close(&param, &p, 1e-6, isa.name());
                    assert_close(&buffer, &b, 1e-6, isa.name());
                }
            }
        }

        #[test]
        fn adamw_equals_its_formula(len in lengths(), seed: u64) {
            let (lr, beta1, beta2, eps, decay) = (0.01, 0.937, 0.999, 1e-8, 0.05);
            for &isa in Isa::available() {
                let mut param = values(len, 1.0, seed);
                let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
                let (mut p, mut m, mut v) = (to_f64(&param), vec![0.0; len], vec![0.0; len]);
                for t in 1..4u64 {
                    let grad = values(len, 1.0, seed ^ t);
                    adamw(isa, lr, beta1, beta2, eps, decay, t, &grad, &mut first, &mut second, &mut param);
                    for i in 0..len {
                        let g = f64::from(grad[i]);
                        m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                        v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
                        let m_hat = m[i] / (1.0 - beta1.powf(t as f64));
                        let v_hat = v[i] / (1.0 - beta2.powf(t as f64));
                        p[i] = p[i] * (1.0 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps);
                    }
                    assert_close(&param, &p, 2e-6, isa.name());
                    assert_close(&second, &v, 1e-6, isa.name());
                }
            }
        }

        #[test]
        fn rmsprop_equals_its_formula(len in lengths(), seed: u64, tensorflow: bool) {
            let (lr, rho, momentum, eps, decay) = (0.01, 0.9, 0.9, 1e-3, 1e-2);
            let form = if tensorflow { RmsPropForm::TensorFlow } else { RmsPropForm::PyTorch };
            let start = if tensorflow { 1.0 } else { 0.0 };
            for &isa in Isa::available() {
                let mut param = values(len, 1.0, seed);
                let (mut buffer, mut square) = (vec![0.0; len], vec![start as f32; len]);
                let (mut p, mut b, mut ms) = (to_f64(&param), vec![0.0; len], vec![start; len]);
                for t in 0..3 {
                    let grad = values(len, 1.0, seed ^ (1 + t));
                    rmsprop(
                        isa, form, lr, rho, momentum, eps, decay, &grad, &mut buffer, &mut square, &mut param,
                    );
                    for i in 0..len {
                        let g = f64::from(grad[i]) + decay * p[i];
                        ms[i] = rho * ms[i] + (1.0 - rho) * g * g;
                        if tensorflow {
                            b[i] = momentum * b[i] + lr * g / (ms[i] + eps).sqrt();
                            p[i] -= b[i];
                        } else {
                            b[i] = momentum * b[i] + g / (ms[i].sqrt() + eps);
                            p[i] -= lr * b[i];
                        }
                    }
                    assert_close(&param, &p, 3e-6, isa.name());
                    assert_close(&square, &ms, 1e-6, isa.name());
                }
            }
        }

        #[test]
        fn averages_norms_and_factors_equal_their_formulas(len in lengths(), seed: u64, decay in 0.0f32..1.0) {
            let (x, before) = (values(len, 1.0, seed), values(len, 1.0, seed ^ 1));
            let exact: f64 = to_f64(&x).iter().map(|x| x * x).sum();
            for &isa in Isa::available() {
                let mut average = before.clone();
                lerp(isa, decay, &x, &mut average);
                let d = f64::from(decay);
                let (x_exact, before) = (to_f64(&x), to_f64(&before));
                let expected: Vec<f64> = (0..len).map(|i| d * before[i] + (1.0 - d) * x_exact[i]).collect();
                assert_close(&average, &expected, 2e-7, isa.name());

                prop_assert!((norm_squared(isa, &x) - exact).abs() <= 1e-12 * exact);

                let mut scaled = x.clone();
                scale(isa, 0.3, &mut scaled);
                let expected: Vec<f64> = x.iter().map(|x| f64::from(*x) * f64::from(0.3f32)).collect();
                assert_close(&scaled, &expected, 1e-7, isa.name());
            }
        }
    }

    #[test]
    fn huge_gradients_have_a_finite_norm() {
        assert_eq!(norm_squared(Isa::best(), &[1e30; 100]).log10().round(), 62.0);
    }
}
