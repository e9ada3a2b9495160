//! `rustbalance join`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbalance_core::WgPublicKey;
use rustbalance_core::invite::Invite;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_io::join::guest::{InvitedParams, join_invited};
use rustbalance_io::join::{JoinError, JoinParams, Joined};
use rustbalance_io::keys::{Token, read_secret_file, wireguard_public_from_text};

use super::encrypted;
use super::report::{self, NewNode};
use super::secret::{self, read};
use super::setup::Setup;
use crate::args::{Common, Join};
use crate::config_file::is_endpoint;
use crate::failure::Failure;

/// Joins a cluster.
///
/// # Errors
/// A usage mistake, a bad key or token, no answer, a refusal: nothing is written.
pub fn join(common: &Common, args: &Join) -> Result<(), Failure> {
    secret::refuse_two_from_stdin(&[
        ("--invite-file", args.invite_file.as_deref()),
        ("--client-key-file", args.client_key_file.as_deref()),
        ("--cluster-token-file", args.cluster_token_file.as_deref()),
        ("--master-key-file", args.master_key_file.as_deref()),
        ("--keys-passphrase-file", args.node.keys_passphrase_file.as_deref()),
    ])?;
    match &args.invite_file {
        Some(file) => join_with_invite(common, args, file),
        None => join_directly(common, args),
    }
}

fn join_with_invite(common: &Common, args: &Join, file: &Path) -> Result<(), Failure> {
    let text = |file: &Path| read(file, read_secret_file, |bytes, _| Ok(bytes));
    let invite: Result<Invite, _> = String::from_utf8_lossy(&text(file)?).parse();
    let invite = invite.map_err(JoinError::Invite)?;
    let client_key = args.client_key_file.as_deref().map(text).transpose()?;
    let mut flags = args.node.clone();
    flags.port.get_or_insert(invite.port());
    let setup = Setup::prepare(common, &flags, None)?;
    let timeout = Duration::from_secs(args.timeout);
    let passphrase = encrypted::new(&args.node)?;
    let params = InvitedParams { settings: setup.settings.clone(), invite, client_key, passphrase, timeout };
    set_up(common, args, &setup, || join_invited(&params))
}

fn join_directly(common: &Common, args: &Join) -> Result<(), Failure> {
    let setup = Setup::prepare(common, &args.node, args.peer_endpoint.as_deref())?;
    let params = params(common, args)?;
    set_up(common, args, &setup, || rustbalance_io::join::join(params))
}

/// The configuration file is there before the node is, and goes if the node does not come.
fn set_up(
    common: &Common,
    args: &Join,
    setup: &Setup,
    join: impl FnOnce() -> Result<Joined, JoinError>,
) -> Result<(), Failure> {
    let config = setup.create()?;
    let joined = join()?;
    config.keep();
    let new = NewNode { address: joined.address, node: joined.node, wireguard: joined.wireguard, access: None };
    report::print(common, &setup.settings, &new, args.json)
}

/// What clap has seen to.
fn given<'a, T>(value: &'a Option<T>, flag: &str) -> Result<&'a T, Failure> {
    value.as_ref().ok_or_else(|| Failure::usage(format!("{flag}: missing; see `rustbalance join --help`")))
}

fn params(common: &Common, args: &Join) -> Result<JoinParams, Failure> {
    let token: &PathBuf = given(&args.cluster_token_file, "--cluster-token-file")?;
    let master: &PathBuf = given(&args.master_key_file, "--master-key-file")?;
    let endpoint = given(&args.peer_endpoint, "--peer-endpoint")?;
    report::refuse_placeholder("--peer-endpoint", endpoint)?;
    if !is_endpoint(endpoint) {
        return Err(Failure::usage(format!("--peer-endpoint {endpoint:?}: not HOST:PORT; copy it from the member")));
    }
    Ok(JoinParams {
        dir: common.dir.clone(),
        address: address(given(&args.master_onion, "--master-onion")?)?,
        endpoint: endpoint.clone(),
        peer: pubkey(given(&args.peer_pubkey, "--peer-pubkey")?)?,
        token: read(token, Token::read, |bytes, path| Token::from_text(&bytes, path))?,
        master: secret::master_key(master)?,
        passphrase: encrypted::new(&args.node)?,
    })
}

fn address(text: &str) -> Result<OnionAddress, Failure> {
    text.parse()
        .map_err(|error| Failure::usage(format!("--master-onion {text:?}: {error}; copy the address from the member")))
}

fn pubkey(text: &str) -> Result<WgPublicKey, Failure> {
    wireguard_public_from_text(text).ok_or_else(|| {
        Failure::usage(format!("--peer-pubkey {text:?}: not a WireGuard key; copy its 44 characters from the member"))
    })
}
