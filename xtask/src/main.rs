//! `cargo xtask`: the project's chores and tools.

mod edges;
mod test;

use anyhow::{Result, bail};

const COMMANDS: &str = "\
usage: cargo xtask COMMAND

  test          all tests, the doc tests, and the check of internal edges
  check-edges   compares the crate table of ARCHITECTURE.md with what the crates depend on";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("test") => test::run(&arguments[1..]),
        Some("check-edges") => edges::run(),
        None | Some("help" | "--help" | "-h") => {
            println!("{COMMANDS}");
            Ok(())
        }
        Some(other) => bail!("unknown command `{other}`\n\n{COMMANDS}"),
    }
}
