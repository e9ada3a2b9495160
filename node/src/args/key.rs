//! `rustbalance key`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rustbalance_core::onion::key_file::KeyFormat;

use super::{NodeFlags, Unlock};

/// What to do with the address' key.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Say which address a key is of: this node's, or that in a file. Shows no secret.
    Show {
        /// A key file (tor's, PEM or base64), a service's directory, or - for standard input [default: this node's].
        #[arg(long, value_name = "FILE|-", conflicts_with = "passphrase_file")]
        file: Option<PathBuf>,
        #[command(flatten)]
        unlock: Unlock,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write this node's key of the address for use elsewhere. Whoever has the file can be the service.
    Export(Export),
    /// Bring a key into another format: from a plain tor, Onionbalance or a generator of addresses, and back.
    Import(Import),
    /// Write what the address needs into one encrypted file: key, authorised clients and port.
    Backup(Backup),
    /// Found a new cluster with the address in a backup, when no node of the old one is left.
    Restore(Restore),
    /// Encrypt the keys of this node, which must be stopped, with a passphrase that every start needs from then on.
    Encrypt(Encrypt),
    /// Undo `encrypt`. The node must be stopped.
    Decrypt(Unlock),
    /// Change the passphrase of encrypted keys. The node must be stopped.
    Passphrase(ChangePassphrase),
}

/// `rustbalance key encrypt`.
#[derive(Debug, Args)]
#[command(
    after_help = "All files below DIR/keys are encrypted, and the copies that were not are overwritten and removed; a \
    disk may keep old blocks for a while all the same. With tor.attach the tor that somebody else runs keeps its copy \
    of the address' key in the clear. Without the passphrase the keys are lost: make a backup, too."
)]
pub struct Encrypt {
    /// One line of 12 to 512 bytes, in a file that only you can read [default: ask on the terminal].
    #[arg(long, value_name = "FILE|-")]
    pub passphrase_file: Option<PathBuf>,
}

/// `rustbalance key passphrase`.
#[derive(Debug, Args)]
pub struct ChangePassphrase {
    #[command(flatten)]
    pub unlock: Unlock,
    /// The new one: one line of 12 to 512 bytes, in a file that only you can read [default: ask on the terminal].
    #[arg(long, value_name = "FILE|-")]
    pub new_passphrase_file: Option<PathBuf>,
}

/// `rustbalance key backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// A new file; - for standard output.
    #[arg(long, value_name = "FILE|-")]
    pub out: PathBuf,
    /// The backup's passphrase: one line of 12 to 512 bytes, in a file that only you can read [default: ask on the
    /// terminal].
    #[arg(long, value_name = "FILE|-")]
    pub passphrase_file: Option<PathBuf>,
    /// If this node's keys are encrypted: their passphrase, in a file that only you can read [default: the credential
    /// `passphrase` of systemd, else ask on the terminal].
    #[arg(long, value_name = "FILE|-")]
    pub keys_passphrase_file: Option<PathBuf>,
}

/// `rustbalance key restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "If a node of the cluster still lives, do not restore: `rustbalance invite` there, and join. Two \
    clusters with one key publish against each other."
)]
pub struct Restore {
    /// What `rustbalance key backup` wrote.
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// The backup's passphrase, in a file that only you can read [default: ask on the terminal].
    #[arg(long, value_name = "FILE|-")]
    pub passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub confirm: Confirm,
    #[command(flatten)]
    pub node: NodeFlags,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `rustbalance key export`.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub out: Out,
    /// How to write it. Nodes have expanded keys, which are written as `tor` or `service` only.
    #[arg(long, value_enum, default_value_t = OutFormat::Tor)]
    pub format: OutFormat,
    #[command(flatten)]
    pub unlock: Unlock,
}

/// `rustbalance key import`.
#[derive(Debug, Args)]
#[command(
    after_help = "To found a cluster with a key, give its file to `rustbalance init --import-key`, which reads all \
    these formats."
)]
pub struct Import {
    /// A key file (tor's, PEM or base64) that only you can read, a service's directory, or - for standard input.
    #[arg(long, value_name = "FILE|-")]
    pub file: PathBuf,
    #[command(flatten)]
    pub out: Out,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = OutFormat::Service)]
    pub format: OutFormat,
    #[command(flatten)]
    pub confirm: Confirm,
}

/// Where a key is written.
#[derive(Debug, Args)]
pub struct Out {
    /// A new file or, for `service`, a new or empty directory; - for standard output.
    #[arg(long, value_name = "OUT|-")]
    pub out: PathBuf,
    /// Write the secret to standard output also if that is a terminal.
    #[arg(long)]
    pub to_terminal: bool,
}

/// That the address is the right one.
#[derive(Debug, Args)]
pub struct Confirm {
    /// The address that the key must be of.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Take whatever address the key is of, and do not ask.
    #[arg(long, conflicts_with = "address")]
    pub yes: bool,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutFormat {
    /// A `HiddenServiceDir` for a tor without RustBalance.
    Service,
    /// Tor's `hs_ed25519_secret_key` alone.
    Tor,
    /// PKCS#8 in PEM, as Onionbalance takes it, if the key's file has a seed.
    Pem,
    /// The seed in base64, if the key's file has it.
    Base64,
}

impl OutFormat {
    /// The format of the one file; `None` for a directory.
    pub const fn file(self) -> Option<KeyFormat> {
        match self {
            Self::Service => None,
            Self::Tor => Some(KeyFormat::Tor),
            Self::Pem => Some(KeyFormat::Pem),
            Self::Base64 => Some(KeyFormat::Base64),
        }
    }
}
