//! `rustbalance join`.

use std::path::Path;

use rustbalance_core::WgPublicKey;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_io::join::JoinParams;
use rustbalance_io::keys::{KeyError, MasterKey, Token, read_secret, wireguard_public_from_text};

use super::report::{self, NewNode};
use super::setup::Setup;
use crate::args::{Common, Join};
use crate::config_file::is_endpoint;
use crate::failure::{Exit, Failure};

/// Joins a cluster.
///
/// # Errors
/// A usage mistake, a bad key or token, no answer, a refusal: nothing is written.
pub fn join(common: &Common, args: &Join) -> Result<(), Failure> {
    let setup = Setup::prepare(common, &args.node, Some(&args.peer_endpoint))?;
    let params = params(common, args)?;
    let config = setup.create()?;
    let joined = rustbalance_io::join::join(params)?;
    config.keep();
    let new = NewNode { address: joined.address, node: joined.node, wireguard: joined.wireguard };
    report::print(common, &setup.settings, &new, args.json)
}

fn params(common: &Common, args: &Join) -> Result<JoinParams, Failure> {
    let (token, master) = (&args.cluster_token_file, &args.master_key_file);
    if is_stdin(token) && is_stdin(master) {
        return Err(usage("--cluster-token-file and --master-key-file: both are -; give one of them as a file"));
    }
    report::refuse_placeholder("--peer-endpoint", &args.peer_endpoint)?;
    if !is_endpoint(&args.peer_endpoint) {
        return Err(usage(format!("--peer-endpoint {:?}: not HOST:PORT; copy it from the member", args.peer_endpoint)));
    }
    Ok(JoinParams {
        dir: common.dir.clone(),
        address: address(&args.master_onion)?,
        endpoint: args.peer_endpoint.clone(),
        peer: pubkey(&args.peer_pubkey)?,
        token: read(token, Token::read, |bytes, path| Token::from_text(&bytes, path))?,
        master: read(master, MasterKey::read, MasterKey::from_tor_file)?,
    })
}

fn address(text: &str) -> Result<OnionAddress, Failure> {
    text.parse().map_err(|error| usage(format!("--master-onion {text:?}: {error}; copy the address from the member")))
}

fn pubkey(text: &str) -> Result<WgPublicKey, Failure> {
    wireguard_public_from_text(text).ok_or_else(|| {
        usage(format!("--peer-pubkey {text:?}: not a WireGuard key; copy its 44 characters from the member"))
    })
}

/// A secret from its file, or from standard input.
fn read<T>(
    path: &Path,
    from_file: impl FnOnce(&Path) -> Result<T, KeyError>,
    from_bytes: impl FnOnce(zeroize::Zeroizing<Vec<u8>>, &Path) -> Result<T, KeyError>,
) -> Result<T, KeyError> {
    if !is_stdin(path) {
        return from_file(path);
    }
    let name = Path::new("standard input");
    from_bytes(read_secret(&mut std::io::stdin().lock(), name)?, name)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn usage(line: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, line)
}
