//! `cargo xtask check-edges`: who may use whom.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Fails unless every crate depends on exactly the crates of the workspace that the table in `ARCHITECTURE.md` names.
/// Dependencies of tests are free.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let allowed = table(&document)?;
    let actual = edges(&metadata(&root)?)?;
    let problems = differences(&allowed, &actual);
    ensure!(
        problems.is_empty(),
        "the crate table of ARCHITECTURE.md does not hold:\n{}",
        problems.join("\n")
    );
    println!("internal edges: {} crates as the table says", actual.len());
    Ok(())
}

fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let output = Command::new(cargo).args(arguments).current_dir(root).output().context("cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Rows `| crate | ... | uses |` of the table whose header starts with `| crate |`; names in backquotes.
fn table(document: &str) -> Result<Edges> {
    let rows = document.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
    let mut edges = Edges::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let name = backquoted(cells[0]).next().with_context(|| format!("no crate name in `{row}`"))?;
        edges.insert(name, backquoted(cells[cells.len() - 1]).collect());
    }
    if edges.is_empty() {
        bail!("ARCHITECTURE.md has no table that starts with `| crate |`");
    }
    Ok(edges)
}

fn backquoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(String::from)
}

fn edges(metadata: &Value) -> Result<Edges> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let name = |package: &Value| package["name"].as_str().unwrap_or_default().to_string();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let mut edges = Edges::new();
    for package in packages {
        let dependencies = package["dependencies"].as_array().context("a package lists dependencies")?;
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        edges.insert(name(package), normal.map(name).filter(|name| ours.contains(name)).collect());
    }
    Ok(edges)
}

fn differences(allowed: &Edges, actual: &Edges) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, uses) in actual {
        let Some(allowed) = allowed.get(name) else {
            problems.push(format!("`{name}` is not in the table"));
            continue;
        };
        problems.extend(
            uses.difference(allowed)
                .map(|other| format!("`{name}` uses `{other}`, which the table does not allow")),
        );
        problems.extend(
            allowed
                .difference(uses)
                .map(|other| format!("`{name}` does not use `{other}`, as the table says")),
        );
    }
    problems.extend(
        allowed
            .keys()
            .filter(|name| !actual.contains_key(*name))
            .map(|name| format!("there is no crate `{name}`")),
    );
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "text\n| crate | what | uses |\n|---|---|---|\n| `a` | it is `not` this | `b`, `c` |\n| `b` | | - |\n\n| `z` | | |\n";

    #[test]
    fn the_last_column_lists_what_a_crate_uses() {
        let edges = table(TABLE).unwrap();
        assert_eq!(edges["a"], BTreeSet::from(["b".into(), "c".into()]));
        assert!(edges["b"].is_empty() && !edges.contains_key("z"));
    }

    #[test]
    fn an_edge_outside_the_table_is_a_problem() {
        let allowed = table(TABLE).unwrap();
        let mut actual = allowed.clone();
        assert!(differences(&allowed, &actual).is_empty());
        actual.get_mut("b").unwrap().insert("a".into());
        actual.get_mut("a").unwrap().remove("c");
        assert_eq!(differences(&allowed, &actual).len(), 2);
    }
}
