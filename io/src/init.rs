//! Founding a cluster: the first node's state directory.

use std::path::PathBuf;

use rustbalance_core::cluster::Access;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::passphrase::Passphrase;
use rustbalance_core::{NodeId, WgPublicKey};

use crate::fault::Fault;
use crate::keys::{KeyError, MasterKey, NodeKey, Token, WireguardKey};
use crate::store::{ClusterFile, Initial, Secrets, Store, StoreError};

/// What is needed to found a cluster.
pub struct InitParams {
    /// The state directory: missing, or without a node.
    pub dir: PathBuf,
    /// An existing address; `None`: a new one.
    pub master: Option<MasterKey>,
    /// Who may connect to it, from the first start on.
    pub access: Access,
    /// To encrypt the keys with.
    pub passphrase: Option<Passphrase>,
}

/// A founded cluster.
#[derive(Clone)]
pub struct Founded {
    /// The address it serves.
    pub address: OnionAddress,
    /// The first node.
    pub node: NodeId,
    /// Its WireGuard key, for the join command.
    pub wireguard: WgPublicKey,
    /// Who may connect.
    pub access: Access,
}

/// Why no cluster was founded; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl InitError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Key(error) => error.fault(),
        }
    }
}

/// Makes the keys of a first node and writes its state directory.
///
/// # Errors
/// See [`InitError`].
pub fn init(params: InitParams) -> Result<Founded, InitError> {
    let store = Store::new(params.dir).encrypting(params.passphrase.as_ref())?;
    let lock = store.claim()?;
    let secrets = Secrets {
        master: params.master.map_or_else(MasterKey::generate, Ok)?,
        node: NodeKey::generate()?,
        wireguard: WireguardKey::generate()?,
        token: Token::generate()?,
    };
    let (node, wireguard, address) = (secrets.node.keypair(), secrets.wireguard.public(), secrets.master.address());
    let first = rustbalance_core::join::found(&node, wireguard, address.id(), &params.access);
    let cluster = ClusterFile { cluster: first.cluster, genesis: first.genesis, joined_through: None };
    store.found(&lock, &Initial { secrets: &secrets, cluster, roster: &first.roster })?;
    Ok(Founded { address, node: node.id(), wireguard, access: params.access })
}
