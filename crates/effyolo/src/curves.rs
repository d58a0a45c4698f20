//! `results.svg`: losses, metrics and learning rates over the epochs.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;
use yolo_train::EpochRow;

/// Width and height of one panel in pixels.
const PANEL: (u32, u32) = (360, 260);
const COLUMNS: usize = 3;
/// Grey of the axes' lines.
const GRID: RGBColor = RGBColor(225, 225, 225);
const LINE: RGBColor = RGBColor(31, 119, 180);

/// Draws every column of the results into a panel of its own.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save(path: &Path, rows: &[EpochRow]) -> Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let names: Vec<&str> =
        first.values.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "lr/pg1").collect();
    let lines = names.len().div_ceil(COLUMNS);
    let mut text = String::new();
    let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * lines as u32);
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(drawing_failed)?;
        for (name, area) in names.iter().zip(root.split_evenly((lines, COLUMNS))) {
            let value = |row: &EpochRow| (row.epoch as f64, row.get(name).unwrap_or(f64::NAN));
            panel(&area, name, rows.iter().map(value).filter(|(_, y)| y.is_finite()).collect())?;
        }
        root.present().map_err(drawing_failed)?;
    }
    Ok(yolo_train::write_atomically(path, text.as_bytes())?)
}

fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, name: &str, points: Vec<(f64, f64)>) -> Result<()> {
    let last = points.last().map_or(1.0, |(x, _)| *x).max(2.0);
    let low = points.iter().map(|(_, y)| *y).fold(f64::INFINITY, f64::min).min(0.0);
    let high = points.iter().map(|(_, y)| *y).fold(low, f64::max);
    let high = if high > low { high + 0.05 * (high - low) } else { low + 1.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(name, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(25)
        .y_label_area_size(50)
        .build_cartesian_2d(1.0..last, low..high)
        .map_err(drawing_failed)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&short)
        .draw()
        .map_err(drawing_failed)?;
    chart
        .draw_series(LineSeries::new(points.iter().copied(), LINE.stroke_width(2)))
        .map_err(drawing_failed)?;
    if points.len() < 40 {
        let dots = points.iter().map(|&point| Circle::new(point, 2, LINE.filled()));
        chart.draw_series(dots).map_err(drawing_failed)?;
    }
    Ok(())
}

/// A number of few digits.
#[allow(clippy::trivially_copy_pass_by_ref)] // The plotting library asks for a reference.
fn short(value: &f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        small if small < 0.01 => format!("{value:.0e}"),
        large if large >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

fn drawing_failed<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("drawing the curves: {error}")
}
