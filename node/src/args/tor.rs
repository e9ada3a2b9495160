//! `rustbalance tor`.

use clap::Subcommand;

use super::Unlock;

/// What to do about the tor that `tor.attach` names.
#[derive(Debug, Subcommand)]
pub enum Tor {
    /// Print the lines that the torrc of the tor at tor.attach needs, and, as comments, the commands that go with them.
    ///
    /// Changes nothing. Nobody but tor's owner changes its services.
    Lines {
        #[command(flatten)]
        unlock: Unlock,
    },
    /// Look once whether the tor at tor.attach can be used, and name what is missing; exit code 5 if it cannot.
    Check {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        unlock: Unlock,
    },
}
