//! Properties: every instruction set equals the plain reference run with kernels mixed in `f64`.

use proptest::prelude::*;

use super::*;
use crate::reference::activation::activate;
use crate::test_maps::{TestMap, assert_close, to_f64, values};
use crate::test_windows::windows;
use crate::{Activation, Precision, reference};

/// Largest error of a sum, relative to the largest sum of its products' absolute values; by minimal filtering some bits
/// are lost.
const BOUND: f64 = 4e-6;

#[derive(Debug, Clone)]
struct Case {
    shape: ExpertShape,
    window: Window,
    gaps: [usize; 2],
    threads: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let channels = || prop_oneof![1..10usize, 10..40usize];
    let gap = || prop_oneof![Just(0usize), 1..5usize];
    let threads = prop::sample::select(vec![1, 2, 3]);
    let sizes = (1..6usize, [channels(), channels()], any::<bool>());
    (windows(&[1, 1, 3, 3, 5]), sizes, [gap(), gap()], threads, any::<u64>()).prop_map(
        |(window, (experts, [outputs, inputs], is_depthwise), gaps, threads, seed)| {
            let inputs = if is_depthwise { outputs } else { inputs };
            let Window { kernel, stride, .. } = window;
            let shape = ExpertShape { experts, outputs, inputs, is_depthwise, kernel, stride };
            Case { shape, window, gaps, threads, seed }
        },
    )
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

impl Case {
    fn x(&self) -> TestMap {
        TestMap::random(self.window.in_positions(), self.shape.inputs, self.gaps[0], 1.0, self.seed)
    }

    fn y(&self) -> TestMap {
        let window = &self.window;
        TestMap::random(window.out_positions(), self.shape.outputs, self.gaps[1], 1.0, self.seed ^ 1)
    }

    fn routing(&self) -> TestMap {
        TestMap::random(self.window.batch, self.shape.experts, self.gaps[0], 1.0, self.seed ^ 2)
    }

    fn weight(&self) -> Vec<f32> {
        values(self.shape.experts * self.shape.kernel_len(), 1.0, self.seed ^ 3)
    }

    /// What `image` gives for the window of one image, its number and its mixed kernel, one after the other; of absolute
    /// values for `absolute`.
    fn by_image(
        &self,
        absolute: bool,
        mut image: impl FnMut(&Window, usize, &[f64]) -> Vec<f64>,
    ) -> Vec<f64> {
        let routing = of(&self.routing().to_f64(), absolute);
        let weight = of(&to_f64(&self.weight()), absolute);
        let window = Window { batch: 1, ..self.window };
        let run = |b: usize| {
            let mut mixed = vec![0.0; self.shape.kernel_len()];
            for (kernel, share) in weight.chunks(mixed.len()).zip(&routing[b * self.shape.experts..]) {
                mixed.iter_mut().zip(kernel).for_each(|(sum, value)| *sum += share * value);
            }
            image(&window, b, &mixed)
        };
        (0..self.window.batch).flat_map(run).collect()
    }

    fn channels(&self) -> [usize; 2] {
        [self.shape.outputs, self.shape.inputs]
    }
}

/// The values, or their absolute values.
fn of(values: &[f64], absolute: bool) -> Vec<f64> {
    values.iter().map(|value| if absolute { value.abs() } else { *value }).collect()
}

/// What errors of sums may be, given the sums of their products' absolute values.
fn tolerance(magnitudes: &[f64]) -> f64 {
    BOUND * magnitudes.iter().copied().fold(1.0, f64::max)
}

/// The values of an image of a dense map.
fn part(map: &[f64], image: usize, batch: usize) -> &[f64] {
    let len = map.len() / batch;
    &map[image * len..][..len]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn forward_equals_the_reference(
        case in cases(),
        activation in prop::sample::select(vec![Activation::Identity, Activation::Silu, Activation::Relu6]),
        [with_gate, with_residual] in any::<[bool; 2]>(),
    ) {
        let (ExpertShape { outputs, inputs, is_depthwise, .. }, window) = (case.shape, case.window);
        let bias = values(outputs, 1.0, case.seed ^ 4);
        let gate = (with_gate && window.is_pointwise() && !is_depthwise)
            .then(|| TestMap::random(window.batch, inputs, 0, 1.0, case.seed ^ 5));
        let residual = (with_residual && !is_depthwise).then(|| case.y());
        let (x, added) = (case.x(), residual.as_ref().map(TestMap::to_f64));
        let mut gated = x.to_f64();
        if let Some(gate) = &gate {
            let (gate, area) = (gate.to_f64(), window.in_height * window.in_width * inputs);
            gated.iter_mut().enumerate().for_each(|(i, x)| *x *= gate[i / area * inputs + i % inputs]);
        }
        let sums = |absolute| {
            let x = of(&gated, absolute);
            case.by_image(absolute, |window, b, kernel| {
                let x = part(&x, b, case.window.batch);
                if is_depthwise {
                    reference::depthwise::forward(x, kernel, outputs, window)
                } else {
                    reference::conv::forward(x, kernel, window, case.channels())
                }
            })
        };
        let tolerance = tolerance(&sums(true));
        let finish = |(i, sum): (usize, f64)| {
            activate(activation, sum + f64::from(bias[i % outputs])) + added.as_ref().map_or(0.0, |map| map[i])
        };
        let expected: Vec<f64> = sums(false).into_iter().enumerate().map(finish).collect();
        for &isa in Isa::available() {
            let experts = Experts::new(isa, &case.weight(), &case.shape);
            let routing = case.routing();
            let fused = Fused {
                gate: gate.as_ref().map(TestMap::map),
                bias: Some(&bias),
                activation,
                residual: residual.as_ref().map(TestMap::map),
                precision: Precision::F32,
            };
            let mut y = TestMap::random(window.out_positions(), outputs, case.gaps[1], 9.0, case.seed);
            let run = |fused: &Fused, y: &mut TestMap| {
                in_pool(case.threads, || {
                    forward(isa, x.map(), routing.map(), &experts, &window, fused, &mut y.map_mut());
                });
            };
            run(&fused, &mut y);
            y.assert_close(&expected, tolerance, isa.name());
            let mut in_bf16 = y.clone();
            run(&Fused { precision: Precision::Bf16, ..fused }, &mut in_bf16);
            in_bf16.assert_rounded(&y, isa.name());
        }
    }

    #[test]
    fn the_gradient_of_the_input_equals_the_reference(case in cases(), accumulate in any::<bool>()) {
        let (ExpertShape { outputs, is_depthwise, .. }, window) = (case.shape, case.window);
        let (dy, before) = (case.y(), case.x());
        let sums = |absolute| {
            let dy = of(&dy.to_f64(), absolute);
            case.by_image(absolute, |window, b, kernel| {
                let dy = part(&dy, b, case.window.batch);
                if is_depthwise {
                    reference::depthwise::backward_data(dy, kernel, outputs, window)
                } else {
                    reference::conv::backward_data(dy, kernel, window, case.channels())
                }
            })
        };
        let (tolerance, mut expected) = (tolerance(&sums(true)), sums(false));
        if accumulate {
            expected.iter_mut().zip(before.to_f64()).for_each(|(sum, before)| *sum += before);
        }
        for &isa in Isa::available() {
            let mut experts = TransposedExperts::new(isa, &vec![0.0; case.weight().len()], &case.shape, [window.pad_top, window.pad_left]);
            experts.repack(&case.weight());
            let (routing, mut dx) = (case.routing(), before.clone());
            in_pool(case.threads, || {
                backward_data(isa, dy.map(), routing.map(), &experts, &window, accumulate, &mut dx.map_mut());
            });
            dx.assert_close(&expected, tolerance, isa.name());
        }
    }

    #[test]
    fn the_gradients_of_experts_and_routing_equal_the_reference(case in cases(), accumulate in any::<bool>()) {
        let (ExpertShape { experts, outputs, is_depthwise, .. }, window) = (case.shape, case.window);
        let (x, dy, routing, weight) = (case.x(), case.y(), case.routing(), case.weight());
        let before = values(weight.len(), 1.0, case.seed ^ 6);
        let routing_before = TestMap::random(window.batch, experts, case.gaps[1], 1.0, case.seed ^ 7);
        let sums = |absolute| {
            let (mut dw, mut d_routing) = (vec![0.0; weight.len()], Vec::new());
            let [x, dy, shares] = [&x, &dy, &routing].map(|map| of(&map.to_f64(), absolute));
            let weight = of(&to_f64(&weight), absolute);
            case.by_image(absolute, |window, b, _| {
                let (x, dy) = (part(&x, b, case.window.batch), part(&dy, b, case.window.batch));
                let gradient = if is_depthwise {
                    reference::depthwise::backward_weight(x, dy, outputs, window)
                } else {
                    reference::conv::backward_weight(x, dy, window, case.channels())
                };
                let kernels = dw.chunks_mut(gradient.len()).zip(weight.chunks(gradient.len()));
                for ((dw, kernel), share) in kernels.zip(&shares[b * experts..]) {
                    dw.iter_mut().zip(&gradient).for_each(|(sum, value)| *sum += share * value);
                    d_routing.push(gradient.iter().zip(kernel).map(|(g, w)| g * w).sum::<f64>());
                }
                gradient
            });
            (dw, d_routing)
        };
        let ((mut dw, mut d_routing), (dw_sums, routing_sums)) = (sums(false), sums(true));
        dw.iter_mut().zip(&before).for_each(|(sum, before)| *sum += f64::from(*before));
        if accumulate {
            d_routing.iter_mut().zip(routing_before.to_f64()).for_each(|(sum, before)| *sum += before);
        }
        for &isa in Isa::available() {
            let (mut got, mut got_routing) = (before.clone(), routing_before.clone());
            let run = |got: Option<&mut [f32]>, got_routing: Option<(&mut MapMut, bool)>| {
                let maps = [x.map(), dy.map(), routing.map()];
                let [x, dy, routing] = maps;
                backward_experts(isa, x, dy, routing, &weight, &case.shape, &window, got, got_routing);
            };
            in_pool(case.threads, || run(Some(&mut got), Some((&mut got_routing.map_mut(), accumulate))));
            assert_close(&got, &dw, tolerance(&dw_sums), isa.name());
            got_routing.assert_close(&d_routing, tolerance(&routing_sums), isa.name());
            // Either alone is the same.
            let (mut alone, mut routing_alone) = (before.clone(), routing_before.clone());
            in_pool(case.threads, || run(Some(&mut alone), None));
            in_pool(case.threads, || run(None, Some((&mut routing_alone.map_mut(), accumulate))));
            prop_assert_eq!(alone, got);
            prop_assert_eq!(routing_alone.map().to_vec(), got_routing.map().to_vec());
        }
    }
}
