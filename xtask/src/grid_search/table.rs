use anyhow::{Context, Result};
use effnet_scaling::{CompoundCoefficients, Record, RecordedAccuracies};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Row {
    #[serde(flatten)]
    coefficients: CompoundCoefficients,
    accuracy: Option<f64>,
}

/// Reads `[{"alpha":, "beta":, "gamma":, "accuracy":}, ...]`. An accuracy that is null or not finite is a broken trial.
pub(super) fn read(file: &Path) -> Result<RecordedAccuracies> {
    let place = || format!("--oracle table {}", file.display());
    let text = std::fs::read_to_string(file).with_context(place)?;
    parse(&text).with_context(place)
}

fn parse(text: &str) -> Result<RecordedAccuracies> {
    // Python's json module writes these, which are no JSON.
    let text = text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
    let rows: Vec<Row> = serde_json::from_str(&text)
        .context("expected a list of {\"alpha\":, \"beta\":, \"gamma\":, \"accuracy\":}")?;
    let record =
        |row: Row| Record { coefficients: row.coefficients, accuracy: row.accuracy.unwrap_or(f64::NAN) };
    Ok(RecordedAccuracies::new(rows.into_iter().map(record))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_read_as_such() {
        let table = parse(
            r#"[{"alpha": 1.2, "beta": 1, "gamma": 1.1, "accuracy": NaN, "note": 1},
                {"alpha": 1.3, "beta": 1, "gamma": 1.1, "accuracy": 0.5}]"#,
        )
        .unwrap();
        let find = |alpha| table.find(CompoundCoefficients { alpha, beta: 1.0, gamma: 1.1 });
        assert!(find(1.2).unwrap().is_nan());
        assert_eq!(find(1.3), Some(0.5));
        for wrong in ["{}", "[{\"alpha\": 1}]", "[", "[{\"alpha\": \"x\"}]"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
