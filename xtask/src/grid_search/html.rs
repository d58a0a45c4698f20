//! The report as one HTML file that needs nothing beside it.

use super::plots::Plot;
use super::report::Report;
use anyhow::Result;
use std::fmt::Write;

/// Rows of the table.
const ROWS: usize = 200;

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}\
    pre{background:#f6f6f6;padding:1em;overflow-x:auto;font-size:13px}h2{margin-top:2em}svg{max-width:100%;height:auto}";

/// The whole page.
pub(super) fn page(report: &Report<'_>, plots: &[Plot]) -> Result<String> {
    let best = report.outcome.best().candidate.coefficients;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Compound scaling of {}</title>\
         <style>{STYLE}</style></head><body>\n<h1>Compound scaling of {}</h1>\n<p><b>{best}</b></p>\n",
        escape(&report.definition.baseline),
        escape(&report.definition.baseline)
    );
    for plot in plots {
        writeln!(page, "<h2>{}</h2>\n{}", escape(plot.title), plot.svg)?;
    }
    writeln!(page, "<h2>Ranking</h2>\n<pre>{}</pre>", escape(&report.table(ROWS)))?;
    if !report.outcome.broken.is_empty() {
        writeln!(page, "<h2>Broken trials</h2>\n<pre>")?;
        for trial in report.outcome.broken.iter().take(ROWS) {
            writeln!(page, "{}", escape(&format!("{}: {}", trial.coefficients, trial.reason)))?;
        }
        writeln!(page, "</pre>")?;
    }
    let definition = serde_json::to_string_pretty(report.definition)?;
    writeln!(page, "<h2>Definition</h2>\n<pre>{}</pre>\n</body></html>", escape(&definition))?;
    Ok(page)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn markup_in_a_message_is_text() {
        assert_eq!(super::escape("<b>&\"</b>"), "&lt;b&gt;&amp;&quot;&lt;/b&gt;");
    }
}
