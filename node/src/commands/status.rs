//! `rustbalance status`.

pub mod render;
pub(super) mod table;

use std::io::IsTerminal as _;
use std::time::Duration;

use crate::args::{Common, Status};
use crate::failure::Failure;
use crate::output::{self, Reader};

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears the terminal and goes to its first line (ECMA-48).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Prints what the running node knows.
///
/// # Errors
/// No node runs there.
pub fn status(common: &Common, args: &Status) -> Result<(), Failure> {
    let terminal = std::io::stdout().is_terminal();
    let colour = output::is_coloured();
    loop {
        let status = rustbalance_io::status::status(&common.dir)?;
        let text = if args.json {
            output::to_json(&status)?
        } else {
            let clear = if args.watch && terminal { CLEAR } else { "" };
            format!("{clear}{}", render::page(&status, colour))
        };
        if output::write(&text)? == Reader::Gone || !args.watch {
            return Ok(());
        }
        std::thread::sleep(WATCH_EVERY);
    }
}
