//! The words of `init`, `invite` and `join`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use rustbalance_core::cluster::INVITE_USES_MAX;

use super::Change;

/// `rustbalance init`.
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    pub node: NodeFlags,
    /// Keep an existing address: its key file (tor's `hs_ed25519_secret_key`, PEM or base64) that only you can read,
    /// the directory of a service, or - for standard input. If there are clients in `authorized_clients` beside the key,
    /// the address is restricted to them.
    #[arg(long, value_name = "FILE|-")]
    pub import_key: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `rustbalance invite`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Any running node makes invites, and any node lets in whoever shows one. Write it to a file that only \
    you can read, take it to the new machine over a channel that you trust, and run \
    `rustbalance join --invite-file FILE --target TARGET` there.\n\
    An invite is for so many nodes wherever they come; two halves of a cluster that cannot hear each other may each \
    let in so many, and warn of it afterwards."
)]
pub struct Invite {
    #[command(subcommand)]
    pub command: Option<InviteCommand>,
    /// How many machines may join with it, 1 to 8.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u8).range(1..=INVITE_USES_MAX.into()))]
    pub uses: u8,
    /// How long it is good: 1m to 30d.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = invite_duration)]
    pub expires: Duration,
    /// How you call it: 1 to 32 letters, digits, "-", "_" and "." [default: invite- and six characters].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub change: Change,
}

/// What else can be done with invites.
#[derive(Debug, Subcommand)]
pub enum InviteCommand {
    /// Show the invites that are remembered, and whether they can still be used.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let nobody in with an invite any more. Who has joined with it stays.
    Revoke {
        /// As `invite list` shows it.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        change: Change,
    },
}

/// `rustbalance join`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rustbalance join [OPTIONS] --invite-file <FILE|-> --target <TARGET>\n       \
    rustbalance join [OPTIONS] --target <TARGET> --master-onion <ADDRESS> --master-key-file <FILE|->\n            \
    --peer-endpoint <HOST:PORT> --peer-pubkey <KEY> --cluster-token-file <FILE|->",
    after_help = "With an invite nothing else of the cluster needs to be known: this machine's own tor connects to the \
    service. If it is refused, or stopped, run it again: it is still the same node.\n\
    Without tor, `rustbalance init` or `join` printed the other values when the member was set up.\n\
    FILE may be - for standard input, for one of them."
)]
pub struct Join {
    /// An invite that `rustbalance invite` printed on a member, in a file that only you can read.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = [
        "master_onion", "peer_endpoint", "peer_pubkey", "cluster_token_file", "master_key_file",
    ])]
    pub invite_file: Option<PathBuf>,
    /// With --invite-file, if the address is for authorised clients alone: the key of one, a line as in tor's
    /// `.auth_private` files.
    #[arg(long, value_name = "FILE|-", requires = "invite_file")]
    pub client_key_file: Option<PathBuf>,
    /// With --invite-file: give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "invite_file")]
    pub timeout: u64,
    /// The address the cluster serves; the master key must belong to it.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "invite_file")]
    pub master_onion: Option<String>,
    /// Where the member's mesh listens (UDP).
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "invite_file")]
    pub peer_endpoint: Option<String>,
    /// The member's WireGuard public key, base64.
    #[arg(long, value_name = "KEY", required_unless_present = "invite_file")]
    pub peer_pubkey: Option<String>,
    /// The cluster token: a copy of the member's `keys/cluster_token`, or what `rustbalance token export` writes there.
    #[arg(long, value_name = "FILE|-", required_unless_present = "invite_file")]
    pub cluster_token_file: Option<PathBuf>,
    /// The onion service's key: a copy of the member's `keys/hs_ed25519_secret_key`, or what `rustbalance key export`
    /// writes there.
    #[arg(long, value_name = "FILE|-", required_unless_present = "invite_file")]
    pub master_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub node: NodeFlags,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What `init`, `join` and `key restore` write into a new configuration file. An existing one is used as it is, and a
/// flag that contradicts it is an error.
#[derive(Clone, Debug, Args)]
pub struct NodeFlags {
    /// Your application: HOST:PORT, unix:/path or ADDRESS.onion:PORT. Needed unless a configuration file exists.
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Where other nodes reach this one's mesh (UDP). Without it, this node must be the one to connect.
    #[arg(long, value_name = "HOST:PORT")]
    pub endpoint: Option<String>,
    /// Port of the onion service, the same on every node [default: 80, or as the invite or the backup says].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Local UDP address of the mesh [default: 0.0.0.0 with the port of --endpoint, or 7900].
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// This node's name in `status` and logs [default: the machine's host name].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Who should publish: lower first, 0 to 255 [default: 100].
    #[arg(long, value_name = "N")]
    pub priority: Option<u8>,
    /// Encrypt this node's keys from the beginning, as `rustbalance key encrypt` does.
    #[arg(long)]
    pub encrypt_keys: bool,
    /// With --encrypt-keys: the passphrase, in a file that only you can read [default: ask on the terminal].
    #[arg(long, value_name = "FILE|-", requires = "encrypt_keys")]
    pub keys_passphrase_file: Option<PathBuf>,
}

/// Of an invite.
fn invite_duration(text: &str) -> Result<Duration, String> {
    super::duration(text, "1m", "30d")
}
