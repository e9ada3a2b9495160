//! The command line. No flag ever takes a secret: those come from files or standard input.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod key;
mod order;
mod setup;
mod tor;

pub use self::tor::Tor;
pub use key::{Backup, ChangePassphrase, Confirm, Encrypt, Export, Import, Key, Out, OutFormat, Restore};
pub use order::{Change, Effect, Pause, Share, StepDown, Waiting};
pub use setup::{Init, Invite, InviteCommand, Join, NodeFlags};

/// Where a node lives unless told otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/rustbalance";

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failure at run time
  2  wrong usage or configuration
  3  state directory or key problem
  4  network or peer problem: a join refused or unreachable, an invite used or expired
  5  tor missing, older than 0.4.8, or (tor.attach) not as this node needs it
  6  no: what was asked for is not so (`verify`: not proven; `descriptor diff`: they differ)
  7  a bad descriptor: clients refuse it or leave points out

A node keeps everything in one directory. `init` founds a cluster on its first machine; `run` serves until
SIGTERM or SIGINT, then hands over and stops; `invite` prints the line with which the next machine `join`s.";

/// A load balancer for Tor v3 onion services with no single point of failure.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// State directory: keys, configuration, tor's data. Only its owner may enter it.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
    /// Configuration file [default: DIR/rustbalance.toml].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log filter: error, warn, info, debug, trace, or directives such as `info,rustbalance_io=debug`.
    /// WireGuard's own messages come only if named, as in `info,boringtun=debug` [default: RUST_LOG, or info].
    #[arg(long, global = true, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// How log lines look on standard error.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl Common {
    /// The configuration file in use.
    pub fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.dir.join("rustbalance.toml"))
    }
}

/// How the keys of a node are opened if they are encrypted.
#[derive(Debug, Args)]
pub struct Unlock {
    /// If this node's keys are encrypted: the passphrase, in a file that only you can read [default: the credential
    /// `passphrase` of systemd, else ask on the terminal].
    #[arg(long, value_name = "FILE|-")]
    pub passphrase_file: Option<PathBuf>,
}

/// As in the configuration file.
fn duration(text: &str, min: &str, max: &str) -> Result<Duration, String> {
    crate::config_file::duration(&text.into(), min, max).ok_or_else(|| format!("use \"{min}\" to \"{max}\""))
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// One line per event, for people.
    Text,
    /// One JSON object per event.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Found a cluster: create the state directory and the onion address, print how others join.
    Init(Init),
    /// Join a running cluster: through tor with an invite, or directly through one of its nodes.
    Join(Join),
    /// Make an invite: one line, a secret, with which a new machine joins through tor.
    Invite(Invite),
    /// Serve until SIGTERM or SIGINT.
    Run(Unlock),
    /// Show what the running node knows: role, members, plan and what each HSDir has confirmed.
    Status(Status),
    /// Say whether every HSDir has what it should have; exit code 6 if not. Run it on the node that publishes.
    Verify(Verify),
    /// Look at a descriptor: a file, standard input, or what an HSDir holds now.
    #[command(subcommand)]
    Descriptor(Descriptor),
    /// Look at the configuration file.
    #[command(subcommand)]
    Config(Config),
    /// Look at the key of the address, bring it from one format into another, back it up, restore it; encrypt all keys.
    #[command(subcommand)]
    Key(Key),
    /// Use a tor that somebody else runs, such as the system's: what it needs, and whether it has it.
    #[command(subcommand)]
    Tor(Tor),
    /// Restrict the address to authorised clients, on all nodes of the cluster.
    #[command(subcommand)]
    Clients(Clients),
    /// Have a node serve no new clients, also when restarted: its introduction points close, open sessions go on.
    #[command(after_help = "--wait tells on standard error how far it is. At the node itself it also waits until the \
        introduction circuits that clients may know are closed, and counts open sessions, which go on. Of another node \
        only its points in the plan are known here: look at `status --json` there for the rest.")]
    Drain(Effect),
    /// End `drain`: serve again.
    Undrain(Effect),
    /// Give a node another share of the introduction points, 1 to 1000, instead of what its configuration says.
    Weight(Share<u16>),
    /// Give a node another priority as publisher, 0 to 255, lower first, instead of what its configuration says.
    Priority(Share<u8>),
    /// Have the publisher hand the lease over to the next node, and keep out of it for a while.
    StepDown(StepDown),
    /// Take nobody out of the descriptor for being down or unwell, in the whole cluster, while you work on it.
    Pause(Pause),
    /// End `pause`.
    Resume(Change),
    /// Look after the cluster token, with which machines ask to join.
    #[command(subcommand)]
    Token(Token),
    /// Take another node off the roster for good, dead or alive, and replace the cluster token, which it knows.
    Remove(Remove),
    /// Leave the cluster for good and stop the running node. The only member cannot.
    Leave(Leave),
    /// Print what makes a shell complete this program's commands and flags.
    Completions {
        /// Which shell.
        #[arg(value_name = "SHELL", value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the manual: a page for the program and one for each command.
    Man {
        /// An existing directory.
        #[arg(value_name = "OUT")]
        out: PathBuf,
    },
}

/// `rustbalance leave`.
#[derive(Debug, Args)]
pub struct Leave {
    /// Then remove the keys, the address' among them, the state and tor's files from this directory. It cannot be asked
    /// for afterwards.
    #[arg(long)]
    pub forget: bool,
    /// Do not ask whether to `--forget`.
    #[arg(long)]
    pub yes: bool,
    /// Leave also if no other node serves clients now.
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `rustbalance token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a new cluster token, on all nodes. The old one admits nobody any more; members stay.
    Rotate {
        #[command(flatten)]
        waiting: Waiting,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write the cluster token into a file, for a machine that joins without an invite: what `keys/cluster_token` is if
    /// the keys are not encrypted.
    Export {
        /// A new file; - for standard output.
        #[arg(long, value_name = "FILE|-")]
        out: PathBuf,
        /// Write the secret to standard output also if that is a terminal.
        #[arg(long)]
        to_terminal: bool,
        #[command(flatten)]
        unlock: Unlock,
    },
}

/// `rustbalance remove`.
#[derive(Debug, Args)]
#[command(
    after_help = "The removed node still has the key of the address, and with it can publish descriptors for it: \
    removal protects the mesh, not the address. It takes effect at once on all members that can be reached, on the \
    others as soon as they can be."
)]
pub struct Remove {
    /// Its name, or the first 8 or more hex digits of its node id, as `status` shows them.
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Remove it also if it is the last that serves clients now.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub waiting: Waiting,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `rustbalance status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Print again every second until interrupted, or until nobody reads it.
    #[arg(long)]
    pub watch: bool,
}

/// `rustbalance verify`.
#[derive(Debug, Args)]
#[command(
    after_help = "Per slot and HSDir: wanted, sent, confirmed (it says that it has the plan), verified (it has also \
    given it back; the slot of the current time period alone can be asked), refused; or what it gave back instead, and \
    is served again for: gone, stale, foreign (somebody else publishes with the key). Proven: all of the current slot \
    are verified, all of the other confirmed. HSDirs are read after every upload and then every 5 to 10 minutes."
)]
pub struct Verify {
    /// Wait until it is so. Ends at once on a node alone whose tor publishes by itself: there is nothing to prove.
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `rustbalance descriptor`.
#[derive(Debug, Subcommand)]
pub enum Descriptor {
    /// Decode every layer, certificate and introduction point, and name everything that is wrong, where, and why.
    ///
    /// Reads on as far as anything can be decrypted. Exit code 7 if a client would refuse it or leave a point out.
    Show {
        /// The descriptor: a file, or - for standard input.
        #[arg(value_name = "FILE|-", required_unless_present = "live", conflicts_with = "live")]
        file: Option<PathBuf>,
        /// The one that an HSDir holds now, fetched through the running node's tor.
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        reading: Reading,
    },
    /// Compare two: lifetime, counter, period, certificates, header and points. Exit code 6 if they differ.
    Diff {
        /// One descriptor: a file, or - for standard input.
        #[arg(value_name = "FIRST|-")]
        first: PathBuf,
        /// The other one.
        #[arg(value_name = "SECOND|-", required_unless_present = "live", conflicts_with = "live")]
        second: Option<PathBuf>,
        /// The other one is what an HSDir holds now, fetched through the running node's tor.
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        reading: Reading,
    },
}

/// How a descriptor is to be read.
#[derive(Debug, Args)]
pub struct Reading {
    /// Whose descriptor it is, with or without `.onion` [default: this node's].
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// The key of an authorised client: a line as in tor's `.auth_private` files. Readable by its owner only.
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// The number of the time period it is for [default: the current one, and those around it].
    #[arg(long, value_name = "N")]
    pub period: Option<u64>,
    /// How long time periods are [default: as the running node's tor says, else 1440].
    #[arg(long, value_name = "MINUTES")]
    pub period_length: Option<u32>,
    /// With --live: ask this HSDir, by its fingerprint [default: one of those that are responsible].
    #[arg(long, value_name = "FINGERPRINT", requires = "live")]
    pub hsdir: Option<String>,
    #[command(flatten)]
    pub unlock: Unlock,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `rustbalance config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check the file; name every mistake, its line and the way out.
    Check {
        /// Print the settings in effect, defaults included, as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// `rustbalance clients`.
#[derive(Debug, Subcommand)]
pub enum Clients {
    /// Authorise a client. From the first one on, nobody else can connect to the address.
    ///
    /// Without --public-key a new pair is made, and standard output gets, this once, the line of the client's
    /// `.auth_private` file: a secret, and all that the client needs. It is kept nowhere.
    Add {
        /// How you call the client: 1 to 32 letters, digits, "-", "_" and ".".
        #[arg(value_name = "NAME")]
        name: String,
        /// The client's own x25519 public key, in base32, alone or as descriptor:x25519:KEY.
        #[arg(long, value_name = "KEY")]
        public_key: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Authorise a client no more. The address stays restricted, also if no client is left.
    Remove {
        /// As `clients list` shows it.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        change: Change,
    },
    /// Show who is authorised, and what is wrong in DIR/authorized_clients.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let everybody connect who knows the address, and forget all clients.
    Open(Change),
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::Cli;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_so_has_all_that_it_takes() {
        fn look(command: &Command) -> usize {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name}: {arg}");
            }
            1 + command.get_subcommands().map(look).sum::<usize>()
        }
        assert!(look(&Cli::command()) > 25);
    }

    #[test]
    fn the_help_names_every_command() {
        let mut program = Cli::command();
        let help = program.render_help().to_string();
        for command in program.get_subcommands() {
            let line = format!("\n  {} ", command.get_name());
            assert!(help.contains(&line), "{line:?} in\n{help}");
        }
    }
}
