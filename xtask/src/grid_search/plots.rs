//! The pictures of a report, as SVG without a font of their own.

use super::curves::CurvePoint;
use anyhow::{Result, anyhow};
use effnet_scaling::{CompoundCoefficients, Dimension, Network, SearchOutcome, Trial};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (720, 460);
/// Points of a scatter plot; more cannot be told apart.
const POINTS: usize = 2000;
const BLUE_DOT: RGBColor = RGBColor(31, 119, 180);
const COLOURS: [RGBColor; 4] =
    [RGBColor(44, 160, 44), RGBColor(255, 127, 14), RGBColor(148, 103, 189), RGBColor(214, 39, 40)];

/// A picture: a name for its file, and SVG.
pub(super) struct Plot {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) svg: String,
}

/// All pictures of a search.
pub(super) fn all(outcome: &SearchOutcome<Network>, curves: &[CurvePoint]) -> Result<Vec<Plot>> {
    let mut plots = vec![
        plot("accuracy-cost", "Accuracy against cost, with the front", |area| accuracy_cost(area, outcome))?,
        plot("heat-map", "Best accuracy for each depth and width coefficient", |area| {
            heat_map(area, outcome)
        })?,
        plot("coefficients", "Best accuracy at each value of a coefficient", |area| {
            coefficients(area, outcome)
        })?,
    ];
    if !curves.is_empty() {
        let title = "Single dimensions beside compound scaling";
        plots.push(plot("curves", title, |area| comparison(area, curves))?);
    }
    Ok(plots)
}

fn plot(name: &'static str, title: &'static str, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<Plot> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(Plot { name, title, svg })
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing a plot: {error}")
}

/// The range of the values with a margin; a single value gets room too.
fn range(values: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    let margin = if high > low { 0.05 * (high - low) } else { 0.05 * high.abs().max(0.1) };
    low - margin..high + margin
}

type Axes<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn axes<'a, 'b>(
    area: &'a Area<'b>,
    (x, x_name): (Range<f64>, &str),
    (y, y_name): (Range<f64>, &str),
) -> Result<Axes<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(x_name)
        .y_desc(y_name)
        .label_style(("sans-serif", 16))
        .axis_desc_style(("sans-serif", 18))
        .light_line_style(WHITE)
        .draw()
        .map_err(failed)?;
    Ok(chart)
}

fn legend<'a, 'b: 'a>(chart: &mut Axes<'a, 'b>, position: SeriesLabelPosition) -> Result<()> {
    chart
        .configure_series_labels()
        .position(position)
        .label_font(("sans-serif", 16))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(failed)
}

fn point(trial: &Trial<Network>) -> (f64, f64) {
    (trial.candidate.cost_ratio, trial.accuracy.mean)
}

fn accuracy_cost(area: &Area<'_>, outcome: &SearchOutcome<Network>) -> Result<()> {
    let trials = &outcome.trials;
    let xs = range(trials.iter().map(|trial| point(trial).0));
    let ys = range(trials.iter().map(|trial| point(trial).1));
    let mut chart = axes(area, (xs, "cost over the baseline's"), (ys, "accuracy"))?;
    let shown = trials.iter().step_by(trials.len().div_ceil(POINTS));
    chart
        .draw_series(shown.map(|trial| Circle::new(point(trial), 3, BLUE_DOT.mix(0.5).filled())))
        .map_err(failed)?
        .label("candidates")
        .legend(|(x, y)| Circle::new((x + 10, y), 3, BLUE_DOT.filled()));
    let front: Vec<_> = outcome.front.iter().map(|&index| point(&trials[index])).collect();
    chart
        .draw_series(LineSeries::new(front, COLOURS[1].stroke_width(2)))
        .map_err(failed)?
        .label("front")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], COLOURS[1].stroke_width(2)));
    single_dimensions(&mut chart, trials)?;
    chart
        .draw_series([Circle::new(point(outcome.best()), 7, COLOURS[3].stroke_width(2))])
        .map_err(failed)?
        .label("best")
        .legend(|(x, y)| Circle::new((x + 10, y), 5, COLOURS[3].stroke_width(2)));
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Marks the trials in which one dimension grows alone.
fn single_dimensions<'a, 'b: 'a>(chart: &mut Axes<'a, 'b>, trials: &[Trial<Network>]) -> Result<()> {
    for (dimension, colour) in Dimension::ALL.into_iter().zip([COLOURS[0], BLACK, COLOURS[2]]) {
        let alone = trials.iter().filter(|trial| only(trial.candidate.coefficients) == Some(dimension));
        chart
            .draw_series(alone.map(|trial| TriangleMarker::new(point(trial), 6, colour.filled())))
            .map_err(failed)?
            .label(format!("{dimension} alone"))
            .legend(move |(x, y)| TriangleMarker::new((x + 10, y), 5, colour.filled()));
    }
    Ok(())
}

/// The dimension that grows, if only one does.
fn only(CompoundCoefficients { alpha, beta, gamma }: CompoundCoefficients) -> Option<Dimension> {
    match [alpha, beta, gamma].map(|coefficient| coefficient > 1.0) {
        [true, false, false] => Some(Dimension::Depth),
        [false, true, false] => Some(Dimension::Width),
        [false, false, true] => Some(Dimension::Resolution),
        _ => None,
    }
}

/// The values a coefficient takes, and the best accuracy at each.
fn best_by<K: PartialOrd + Copy>(
    outcome: &SearchOutcome<Network>,
    key: impl Fn(CompoundCoefficients) -> K,
) -> Vec<(K, f64)> {
    let of = |trial: &Trial<Network>| (key(trial.candidate.coefficients), trial.accuracy.mean);
    let mut pairs: Vec<_> = outcome.trials.iter().map(of).collect();
    pairs.sort_by(|a, b| {
        let keys = a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal);
        keys.then(b.1.total_cmp(&a.1))
    });
    pairs.dedup_by(|next, kept| next.0 == kept.0);
    pairs
}

fn heat_map(area: &Area<'_>, outcome: &SearchOutcome<Network>) -> Result<()> {
    let cells = best_by(outcome, |c| (c.alpha, c.beta));
    let (width, height) =
        (spacing(cells.iter().map(|cell| cell.0.0)), spacing(cells.iter().map(|cell| cell.0.1)));
    let widen = |range: Range<f64>, by: f64| range.start - by / 2.0..range.end + by / 2.0;
    let xs = widen(range(cells.iter().map(|cell| cell.0.0)), width);
    let ys = widen(range(cells.iter().map(|cell| cell.0.1)), height);
    let accuracies = range(cells.iter().map(|cell| cell.1));
    let mut chart = axes(area, (xs, "alpha (depth)"), (ys, "beta (width)"))?;
    let boxes = cells.iter().map(|&((x, y), accuracy)| {
        let share = (accuracy - accuracies.start) / (accuracies.end - accuracies.start);
        let corners = [(x - width / 2.0, y - height / 2.0), (x + width / 2.0, y + height / 2.0)];
        Rectangle::new(corners, heat(share).filled())
    });
    chart.draw_series(boxes).map_err(failed)?;
    if cells.len() <= 200 {
        let texts = cells.iter().map(|&((x, y), accuracy)| {
            Text::new(format!("{:.1}", 100.0 * accuracy), (x - 0.35 * width, y), ("sans-serif", 11))
        });
        chart.draw_series(texts).map_err(failed)?;
    }
    Ok(())
}

/// From pale to dark red.
fn heat(share: f64) -> RGBColor {
    let between = |from: f64, to: f64| (from + (to - from) * share) as u8;
    RGBColor(between(255.0, 200.0), between(245.0, 60.0), between(235.0, 40.0))
}

/// The least distance between values.
fn spacing(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let least = values
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .filter(|&gap| gap > 1e-9)
        .fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 0.05 }
}

fn coefficients(area: &Area<'_>, outcome: &SearchOutcome<Network>) -> Result<()> {
    let lines = [
        ("alpha (depth)", best_by(outcome, |c| c.alpha)),
        ("beta (width)", best_by(outcome, |c| c.beta)),
        ("gamma (resolution)", best_by(outcome, |c| c.gamma)),
    ];
    draw_lines(area, &lines, ("coefficient", "best accuracy"), SeriesLabelPosition::LowerLeft)
}

fn comparison(area: &Area<'_>, curves: &[CurvePoint]) -> Result<()> {
    let line = |name: &'static str| {
        let points = curves.iter().filter(|point| point.curve == name);
        let judged = points.filter_map(|point| Some((point.cost_ratio, point.accuracy?)));
        (name, judged.collect::<Vec<_>>())
    };
    let lines = ["depth", "width", "resolution", "compound"].map(line);
    let names = ("multiply-adds over the baseline's", "accuracy");
    draw_lines(area, &lines, names, SeriesLabelPosition::LowerRight)
}

fn draw_lines(
    area: &Area<'_>,
    lines: &[(&'static str, Vec<(f64, f64)>)],
    (x_name, y_name): (&str, &str),
    position: SeriesLabelPosition,
) -> Result<()> {
    let points = lines.iter().flat_map(|(_, points)| points);
    if points.clone().next().is_none() {
        return Ok(());
    }
    let xs = range(points.clone().map(|point| point.0));
    let ys = range(points.map(|point| point.1));
    let mut chart = axes(area, (xs, x_name), (ys, y_name))?;
    for ((name, points), colour) in lines.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3))
            .map_err(failed)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    legend(&mut chart, position)
}
