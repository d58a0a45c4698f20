//! Finished trials and measured latencies in `trials.sqlite`: durable when written, never done twice.

use super::definition::Definition;
use anyhow::{Context, Result, bail, ensure};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const FILE: &str = "trials.sqlite";
const VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS trials (key TEXT PRIMARY KEY, accuracy REAL, broken TEXT, seconds REAL NOT NULL);
    CREATE TABLE IF NOT EXISTS latencies (key TEXT PRIMARY KEY, milliseconds REAL NOT NULL);
";

/// How a trial ended: an accuracy in `[0, 1]`, or what went wrong.
pub(super) type Ending = Result<f64, String>;

/// An open store. One process at a time writes to it.
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Makes the store in `folder`, or with `resume` opens it if it is there. If it has trials, its definition must be
    /// this one.
    pub(super) fn open(folder: &Path, definition: &Definition, resume: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let store = Self::connect(folder.join(FILE))?;
        match store.definition()? {
            Some(kept) if !store.is_empty()? => {
                ensure!(
                    resume,
                    "{} holds trials already: go on with them by --resume, or choose another --out",
                    store.path.display()
                );
                same_definition(&kept, definition, &store.path)?;
            }
            _ => store.keep_definition(definition)?,
        }
        Ok(store)
    }

    /// True if nothing was finished, as after a search that could not begin.
    fn is_empty(&self) -> Result<bool> {
        let query = "SELECT (SELECT COUNT(*) FROM trials) + (SELECT COUNT(*) FROM latencies)";
        Ok(self.connection.query_row(query, [], |row| row.get::<_, i64>(0))? == 0)
    }

    /// Joins the stores of `sources` in `out`; all must have one definition.
    pub(super) fn merge(sources: &[PathBuf], out: &Path, resume: bool) -> Result<(Self, Definition)> {
        for folder in sources.iter().filter(|_| out.exists()) {
            let itself = folder.exists() && folder.canonicalize()? == out.canonicalize()?;
            ensure!(
                !itself,
                "--merge: --out {} is one of the folders to be joined; name a new one",
                out.display()
            );
        }
        let mut joined: Option<(Self, Definition)> = None;
        for folder in sources {
            let path = folder.join(FILE);
            ensure!(path.is_file(), "--merge: there is no {}", path.display());
            let source = Self::connect(path)?;
            let definition =
                source.definition()?.with_context(|| format!("{} holds no search", source.path.display()))?;
            let target = match joined.take() {
                Some((store, first)) => {
                    same_definition(&first, &definition, &source.path)?;
                    store
                }
                None => Self::open(out, &definition, resume)?,
            };
            target.take_in(&source)?;
            joined = Some((target, definition));
        }
        joined.context("--merge: no folders given")
    }

    fn connect(path: PathBuf) -> Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            // Keeps a second process out for as long as this one lives.
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(SCHEMA)?;
            connection.execute(
                "INSERT OR REPLACE INTO meta VALUES ('version', ?1)",
                params![VERSION.to_string()],
            )?;
            Ok(connection)
        };
        let connection = open()
            .with_context(|| format!("{}: cannot open, or another search runs in it", path.display()))?;
        Ok(Store { connection, path })
    }

    fn definition(&self) -> Result<Option<Definition>> {
        let query = "SELECT value FROM meta WHERE name = 'definition'";
        let text: Option<String> = self.connection.query_row(query, [], |row| row.get(0)).optional()?;
        let read = |text: String| serde_json::from_str(&text);
        text.map(read).transpose().with_context(|| format!("{}: the definition", self.path.display()))
    }

    fn keep_definition(&self, definition: &Definition) -> Result<()> {
        let text = serde_json::to_string(definition)?;
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('definition', ?1)", params![text])?;
        Ok(())
    }

    /// Every finished trial by its key.
    pub(super) fn trials(&self) -> Result<HashMap<String, Ending>> {
        let mut query = self.connection.prepare("SELECT key, accuracy, broken FROM trials")?;
        let row = |row: &rusqlite::Row<'_>| {
            let (accuracy, broken): (Option<f64>, Option<String>) = (row.get(1)?, row.get(2)?);
            let ending = accuracy.ok_or_else(|| broken.unwrap_or_else(|| "broken".into()));
            Ok((row.get(0)?, ending))
        };
        let rows = query.query_map([], row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps a finished trial; when this returns it is on disk.
    pub(super) fn keep_trial(&self, key: &str, ending: &Ending, seconds: f64) -> Result<()> {
        let (accuracy, broken) = match ending {
            Ok(accuracy) => (Some(accuracy), None),
            Err(reason) => (None, Some(reason)),
        };
        self.connection
            .execute(
                "INSERT OR REPLACE INTO trials VALUES (?1, ?2, ?3, ?4)",
                params![key, accuracy, broken, seconds],
            )
            .with_context(|| format!("{}: cannot keep a trial", self.path.display()))?;
        Ok(())
    }

    /// Forgets the trials that broke.
    pub(super) fn forget_broken(&self) -> Result<()> {
        self.connection.execute("DELETE FROM trials WHERE accuracy IS NULL", [])?;
        Ok(())
    }

    /// Every measured latency by its key, in milliseconds.
    pub(super) fn latencies(&self) -> Result<HashMap<String, f64>> {
        let mut query = self.connection.prepare("SELECT key, milliseconds FROM latencies")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps a latency.
    pub(super) fn keep_latency(&self, key: &str, milliseconds: f64) -> Result<()> {
        self.connection
            .execute("INSERT OR REPLACE INTO latencies VALUES (?1, ?2)", params![key, milliseconds])?;
        Ok(())
    }

    /// Takes over what another store has. A good trial replaces a broken one.
    fn take_in(&self, source: &Store) -> Result<()> {
        let known = self.trials()?;
        let transaction = self.connection.unchecked_transaction()?;
        let mut query = source.connection.prepare("SELECT key, seconds FROM trials ORDER BY key")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, f64>(1)?)))?;
        let endings = source.trials()?;
        for row in rows {
            let (key, seconds) = row?;
            match (known.get(&key), &endings[&key]) {
                (Some(Ok(ours)), Ok(theirs)) if ours != theirs => {
                    let start: String = key.chars().take(200).collect();
                    bail!(
                        "{}: {theirs} for a trial that gave {ours} elsewhere: {start}",
                        source.path.display()
                    )
                }
                (Some(Ok(_)), _) | (Some(Err(_)), Err(_)) => {}
                (None | Some(Err(_)), ending) => self.keep_trial(&key, ending, seconds)?,
            }
        }
        for (key, milliseconds) in source.latencies()? {
            self.keep_latency(&key, milliseconds)?;
        }
        Ok(transaction.commit()?)
    }
}

/// Names the keys in which two definitions differ.
fn same_definition(kept: &Definition, wanted: &Definition, path: &Path) -> Result<()> {
    let (kept, wanted) = (serde_json::to_value(kept)?, serde_json::to_value(wanted)?);
    let mut differences = Vec::new();
    differing("", &kept, &wanted, &mut differences);
    ensure!(
        differences.is_empty(),
        "{} holds another search ({}); use its options, or another --out",
        path.display(),
        differences.join("; ")
    );
    Ok(())
}

fn differing(
    path: &str,
    kept: &serde_json::Value,
    wanted: &serde_json::Value,
    differences: &mut Vec<String>,
) {
    match (kept.as_object(), wanted.as_object()) {
        (Some(a), Some(b)) => {
            for (key, value) in a {
                let other = b.get(key).unwrap_or(&serde_json::Value::Null);
                differing(
                    &format!("{path}{}{key}", if path.is_empty() { "" } else { "." }),
                    value,
                    other,
                    differences,
                );
            }
        }
        _ if kept != wanted => differences.push(format!("{path}: {kept} there, {wanted} here")),
        _ => {}
    }
}
