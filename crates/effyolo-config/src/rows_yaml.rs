//! The rows form of a model file: reading it, and writing a resolved network back.
//!
//! Top keys are `nc`, `scales` (letter to depth, width and largest width) or `depth_multiple` and `width_multiple`,
//! `backbone` and `head`; a row is `[from, repeats, module, arguments]`. Nothing is imported or executed: a module is a name
//! in a table here.

use crate::row_reader::RowReader;
use crate::rows_graph::{RowProblem, build};
use crate::rows_scale::read_scale;
use crate::section::{Field, Section};
use crate::{ConfigError, Module, Row, RowsSpec};
use serde_yaml::{Mapping, Value};

const MAX_ROWS: usize = 500;

/// What a rows file says, and what should be said about it.
pub(crate) struct ReadRows {
    pub(crate) spec: RowsSpec,
    pub(crate) classes: usize,
    pub(crate) notes: Vec<String>,
}

/// Reads all keys but `train`. `letter` is the scale that the name of the file asks for.
pub(crate) fn read_rows(section: &mut Section<'_>, letter: Option<char>) -> Result<ReadRows, ConfigError> {
    let mut notes = Vec::new();
    let classes = section.require("nc", "the number of classes")?.integer(1..=100_000)?;
    let scale = read_scale(section, letter, &mut notes)?;
    if let Some(field) = section.get("activation") {
        read_activation(&field)?;
    }
    let mut reader = RowReader { scale, classes, notes };
    let backbone = section.require("backbone", "a list of rows")?;
    let head = section.require("head", "a list of rows")?;
    let mut fields = rows_of(&backbone)?;
    let backbone_rows = fields.len();
    fields.extend(rows_of(&head)?);
    let rows = fields.iter().map(|field| reader.row(field)).collect::<Result<Vec<_>, _>>()?;
    check_order(&rows, &fields, &head)?;
    let built = build(&rows, classes, 1.0).map_err(|problem| row_error(problem, &rows, &fields))?;
    let mut notes = reader.notes;
    for row in built.unread {
        notes.push(format!("row {row} ({}) is read by no other row: left out", rows[row].module.name()));
    }
    let spec = RowsSpec { rows, backbone_rows, max_stride: built.max_stride };
    Ok(ReadRows { spec, classes, notes })
}

fn row_error(problem: RowProblem, rows: &[Row], fields: &[Field<'_>]) -> ConfigError {
    let RowProblem { row, problem } = problem;
    let (file, path) = fields[row].place();
    let problem = format!("row {row} ({}): {problem}", rows[row].module.name());
    ConfigError::Row { file: file.into(), path: path.into(), problem }
}

fn rows_of<'a>(field: &Field<'a>) -> Result<Vec<Field<'a>>, ConfigError> {
    let rows = field.items().filter(|rows| (1..=MAX_ROWS).contains(&rows.len()));
    rows.ok_or_else(|| {
        field.wrong(format!("a list of 1 to {MAX_ROWS} rows [from, repeats, module, arguments]"))
    })
}

fn check_order(rows: &[Row], fields: &[Field<'_>], head: &Field<'_>) -> Result<(), ConfigError> {
    for (number, row) in rows.iter().enumerate() {
        let is_last = number + 1 == rows.len();
        if (row.module == Module::Detect) != is_last {
            let field = if is_last { head } else { &fields[number] };
            return Err(field.wrong("one Detect, in the last row of the head"));
        }
        if matches!(row.module, Module::Backbone(_) | Module::Stages(_)) && number > 0 {
            return Err(fields[number].wrong("an EfficientNet in the first row of the backbone only"));
        }
    }
    Ok(())
}

fn read_activation(field: &Field<'_>) -> Result<(), ConfigError> {
    match field.value() {
        Value::String(text) if ["nn.SiLU()", "SiLU", "torch.nn.SiLU()"].contains(&text.as_str()) => Ok(()),
        _ => Err(field.wrong("nn.SiLU(): the only activation that rows are built with")),
    }
}

/// The resolved network in rows form, which [`read_rows`] reads back to the same.
pub(crate) fn rows_map(spec: &RowsSpec, classes: usize) -> Mapping {
    let (backbone, head) = spec.rows.split_at(spec.backbone_rows);
    let rows = |rows: &[Row]| Value::Sequence(rows.iter().map(row_value).collect());
    let entries = [
        ("nc", classes.into()),
        ("depth_multiple", 1.0.into()),
        ("width_multiple", 1.0.into()),
        ("backbone", rows(backbone)),
        ("head", rows(head)),
    ];
    entries.into_iter().map(|(key, value)| (key.into(), value)).collect()
}

fn row_value(row: &Row) -> Value {
    let from = match row.from[..] {
        [from] => Value::from(from as i64),
        _ => row.from.iter().map(|from| Value::from(*from as i64)).collect::<Vec<_>>().into(),
    };
    let arguments: Vec<Value> = match &row.module {
        Module::Conv { out, kernel, stride } => vec![(*out).into(), (*kernel).into(), (*stride).into()],
        Module::C2f { out, shortcut } => vec![(*out).into(), (*shortcut).into()],
        Module::Sppf { out } => vec![(*out).into(), 5.into()],
        Module::Upsample { factor } => vec![Value::Null, (*factor).into(), "nearest".into()],
        Module::Concat => vec![1.into()],
        Module::Detect => vec!["nc".into()],
        Module::Index { channels, index } => vec![(*channels).into(), (*index).into()],
        Module::Backbone(network) => {
            let mut arguments = vec![Value::from(format!("efficientnet-{}", network.variant.name))];
            if (network.width, network.depth) != (1.0, 1.0) {
                arguments.extend([network.width.into(), network.depth.into()]);
            }
            arguments
        }
        Module::Stages(network) => {
            let head = network.spec(vec![5]).network().head;
            let name = format!("efficientnet_{}", network.variant.name);
            vec![head.into(), name.into(), Value::Null, true.into(), 2.into(), true.into()]
        }
    };
    Value::Sequence(vec![from, row.repeats.into(), row.module.name().into(), arguments.into()])
}
