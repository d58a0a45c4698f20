use crate::error::SourceError;
use crate::{Accuracy, AccuracyOracle, Candidate, CompoundCoefficients, ScalingError};
use serde::Deserialize;
use std::collections::HashMap;

/// A recorded accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Record {
    /// Coefficients of the trial.
    #[serde(flatten)]
    pub coefficients: CompoundCoefficients,
    /// Accuracy in `[0, 1]`; what is not counts as a broken trial.
    pub accuracy: f64,
}

/// Two coefficients are the same within this distance.
const SAME: f64 = 1e-9;
/// Side of the cells that records are sorted into; far above `SAME` and far below any step.
const CELL: f64 = 1e-6;

type Cell = [i64; 3];

/// Answers from a table of recorded accuracies; coefficients match within 1e-9.
#[derive(Debug, Clone, Default)]
pub struct RecordedAccuracies {
    cells: HashMap<Cell, Vec<Record>>,
}

impl RecordedAccuracies {
    /// Sorts the records. Of two with the same coefficients the later one counts.
    ///
    /// # Errors
    /// When a coefficient is not a finite positive number.
    pub fn new(records: impl IntoIterator<Item = Record>) -> Result<Self, ScalingError> {
        let mut table = RecordedAccuracies::default();
        for record in records {
            let CompoundCoefficients { alpha, beta, gamma } = record.coefficients;
            CompoundCoefficients::new(alpha, beta, gamma)?;
            table.cells.entry(cell(record.coefficients, 0.0)).or_default().push(record);
        }
        Ok(table)
    }

    /// The accuracy recorded for these coefficients.
    pub fn find(&self, wanted: CompoundCoefficients) -> Option<f64> {
        let (low, high) = (cell(wanted, -SAME), cell(wanted, SAME));
        let cells = (0..8).map(|corner| {
            std::array::from_fn(|axis| if corner >> axis & 1 == 0 { low[axis] } else { high[axis] })
        });
        // Away from the border of a cell the corners are one and the same.
        let distinct = if low == high { 1 } else { 8 };
        let mut records = cells.take(distinct).filter_map(|cell: Cell| self.cells.get(&cell)).flatten();
        let same = |record: &&Record| is_same(record.coefficients, wanted);
        records.rfind(same).map(|record| record.accuracy)
    }
}

fn values(c: CompoundCoefficients) -> [f64; 3] {
    [c.alpha, c.beta, c.gamma]
}

fn cell(coefficients: CompoundCoefficients, shift: f64) -> Cell {
    // Grids are decimal: half a cell away from their values lies no border.
    values(coefficients).map(|value| ((value + shift) / CELL + 0.5).floor() as i64)
}

fn is_same(a: CompoundCoefficients, b: CompoundCoefficients) -> bool {
    values(a).iter().zip(values(b)).all(|(a, b)| (a - b).abs() <= SAME)
}

impl<N> AccuracyOracle<N> for RecordedAccuracies {
    fn accuracy(&mut self, candidate: &Candidate<N>) -> Result<Option<Accuracy>, SourceError> {
        Ok(self.find(candidate.coefficients).map(Accuracy::single))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(alpha: f64, accuracy: f64) -> Record {
        Record { coefficients: CompoundCoefficients { alpha, beta: 1.1, gamma: 1.15 }, accuracy }
    }

    #[test]
    fn coefficients_match_within_a_billionth() {
        let table = RecordedAccuracies::new([record(1.2, 0.7), record(1.2000005, 0.6)]).unwrap();
        let find = |alpha| table.find(record(alpha, 0.0).coefficients);
        assert_eq!([1.2, 1.2 + 9e-10, 1.2 - 9e-10].map(find), [Some(0.7); 3]);
        assert_eq!([1.2 + 2e-9, 1.3].map(find), [None; 2]);
        // On the border of a cell.
        assert_eq!([1.2000005 - 9e-10, 1.2000005 + 9e-10].map(find), [Some(0.6); 2]);
    }

    #[test]
    fn the_later_record_counts_and_senseless_ones_are_refused() {
        let table = RecordedAccuracies::new([record(1.2, 0.7), record(1.2, 0.8)]).unwrap();
        assert_eq!(table.find(record(1.2, 0.0).coefficients), Some(0.8));
        assert!(RecordedAccuracies::new([record(f64::NAN, 0.7)]).is_err());
    }
}
