//! Ctrl-C: the first ends the run after the batch at hand, the second ends the program.

use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit status of a run that was interrupted, as shells give it for SIGINT.
pub(crate) const EXIT_STATUS: i32 = 130;

/// A flag that Ctrl-C or a request to terminate sets. To be called once.
pub(crate) fn flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let handler = move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_STATUS);
        }
        eprintln!("stopping after this batch (again: stop at once, without saving)");
    };
    ctrlc::set_handler(handler).context("listening for Ctrl-C")?;
    Ok(flag)
}
