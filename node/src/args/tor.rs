//! `rustbalance tor`.

use clap::Subcommand;

use super::Unlock;

/// What to do about the tor that `tor.attach` names.
#[derive(Debug, Subcommand)]
pub enum Tor {
    /// Print the lines to add to its torrc, and, as comments above them, the commands to run first.
    ///
    /// Changes nothing. Nobody but tor's owner changes its services.
    Lines {
        #[command(flatten)]
        unlock: Unlock,
    },
    /// Look once whether it can be used, and name what is missing; exit code 5 if it cannot.
    Check {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        unlock: Unlock,
    },
}
