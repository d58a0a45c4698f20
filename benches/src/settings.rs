//! How long is measured.

use criterion::Criterion;
use std::time::Duration;

/// About a second and a half a case, so that all benches together take ten minutes; no plots.
pub fn brief() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000))
        .sample_size(20)
        .nresamples(20_000)
        .without_plots()
}
