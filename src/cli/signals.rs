//! Ctrl-C and SIGTERM: the first one ends the work, a second one the process. SIGXFSZ ends nothing: the write that reached
//! the limit of file sizes fails, as on a full disk.

use std::process;
use std::thread;

use crate::{Cancel, Error, ErrorKind, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// Raises `cancel` when the process is asked to end. Where it is asked again, it ends at once.
pub fn watch(cancel: Cancel) -> Result<()> {
    let fails =
        |error| Error::new(ErrorKind::Environment, "waiting for signals").with_source(error);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGXFSZ]).map_err(fails)?;
    let wait = move || {
        for _ in signals.forever().filter(|signal| *signal != SIGXFSZ) {
            if cancel.is_cancelled() {
                process::exit(ErrorKind::Cancelled.exit_code().into());
            }
            cancel.cancel();
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map_err(fails)?;
    Ok(())
}
