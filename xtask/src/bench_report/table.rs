//! The table as Markdown.

use super::{Report, Row};
use std::fmt::Write;

const HEADER: &str = "| work | configuration | pixels | batch | ms | GFLOP/s | of the peak | memory MB |\n\
                      |---|---|--:|--:|--:|--:|--:|--:|\n";

/// What measured, then a row a work.
pub(super) fn markdown(report: &Report) -> String {
    let machine = &report.machine;
    let threads =
        if machine.threads == 1 { "1 thread".into() } else { format!("{} threads", machine.threads) };
    let mut text = format!(
        "{}, {threads}, {}, fp32, effyolo {}: a loop of multiply-adds reaches {:.1} GFLOP/s here. Medians of {} runs.\n\n{HEADER}",
        machine.cpu.as_deref().unwrap_or("unknown CPU"),
        machine.isa,
        machine.version,
        machine.peak_gflops,
        report.runs,
    );
    report.works.iter().for_each(|row| line(&mut text, row));
    text
}

fn line(text: &mut String, Row { work, median_ms, gflops, peak_share, peak_rss_mb, .. }: &Row) {
    let memory = peak_rss_mb.map_or("unknown".into(), |mb| format!("{mb:.0}"));
    let time = three_digits(*median_ms);
    writeln!(
        text,
        "| {} | `{}` | {} | {} | {time} | {gflops:.1} | {:.0} % | {memory} |",
        work.title,
        work.model,
        work.imgsz,
        work.batch,
        100.0 * peak_share,
    )
    .expect("text takes everything");
}

/// A positive number with three digits, or with all of its whole part.
fn three_digits(value: f64) -> String {
    // As it is once rounded, so that 9.996 has one digit after the point.
    let digits = [(2, 9.995), (1, 99.95)].into_iter().find(|(_, limit)| value < *limit);
    format!("{value:.*}", digits.map_or(0, |(digits, _)| digits))
}

#[cfg(test)]
mod tests {
    use super::super::measure::Machine;
    use super::super::works;
    use super::*;

    fn row(work: &str, median_ms: f64, gflops: f64, peak_rss_mb: Option<f64>) -> Row {
        let work = works::parse(work).unwrap();
        Row { work, median_ms, min_ms: median_ms / 2.0, gflops, peak_share: gflops / 200.0, peak_rss_mb }
    }

    #[test]
    fn the_table_of_fixed_measurements() {
        let machine = Machine {
            version: "0.1.0".into(),
            cpu: Some("Some CPU".into()),
            isa: "avx2".into(),
            threads: 2,
            peak_gflops: 200.0,
        };
        let works = vec![row("b0", 8.4149, 91.68, Some(36.4)), row("train-yolov8n-640", 1380.4, 250.0, None)];
        let mut report = Report { machine, runs: 20, works };
        let expected = "\
Some CPU, 2 threads, avx2, fp32, effyolo 0.1.0: a loop of multiply-adds reaches 200.0 GFLOP/s here. Medians of 20 runs.

| work | configuration | pixels | batch | ms | GFLOP/s | of the peak | memory MB |
|---|---|--:|--:|--:|--:|--:|--:|
| EfficientNet-B0 | `configs/classify/effnet-b0.yaml` | 224 | 1 | 8.41 | 91.7 | 46 % | 36 |
| training step, YOLOv8n | `configs/detect/yolov8n.yaml` | 640 | 8 | 1380 | 250.0 | 125 % | unknown |
";
        assert_eq!(markdown(&report), expected);
        (report.machine.cpu, report.machine.threads) = (None, 1);
        assert!(markdown(&report).starts_with("unknown CPU, 1 thread, avx2"));
    }

    #[test]
    fn times_have_three_digits() {
        let times = [0.5, 9.994, 9.996, 99.94, 99.96, 999.4, 12345.6].map(three_digits);
        assert_eq!(times, ["0.50", "9.99", "10.0", "99.9", "100", "999", "12346"]);
    }
}
