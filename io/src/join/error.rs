//! Why a node did not join, by either way.

use std::io;

use rustbalance_core::invite::InviteError;
use rustbalance_core::join::{AdmitError, JoinError as Refusal};
use rustbalance_core::onion::address::OnionAddress;

use super::LIMIT;
use crate::entropy::EntropyError;
use crate::fault::Fault;
use crate::keys::KeyError;
use crate::store::StoreError;
use crate::tor::TorError;

/// Why the node did not join; there is none.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// Key and address do not belong together.
    #[error("the master key is not the key of {given} but of {of_key}; give the key file and address of one service")]
    AddressOfKey {
        /// As given.
        given: OnionAddress,
        /// As computed.
        of_key: OnionAddress,
    },
    /// The endpoint's name.
    #[error("{endpoint}: cannot be resolved: {source}; give the member's address as HOST:PORT")]
    Resolve {
        /// As given.
        endpoint: String,
        /// Why not.
        source: io::Error,
    },
    /// Our socket.
    #[error("cannot open a UDP socket to reach {endpoint}: {source}; check this machine's network")]
    Socket {
        /// As given.
        endpoint: String,
        /// Why not.
        source: io::Error,
    },
    /// Signals.
    #[error("cannot listen for SIGTERM, SIGINT and SIGHUP: {0}; check the limits of this process")]
    Signals(io::Error),
    /// SIGTERM, SIGINT or SIGHUP.
    #[error("stopped before the node had joined; run the command again to join")]
    Stopped,
    /// The invite.
    #[error("the invite: {0}")]
    Invite(InviteError),
    /// Our tor.
    #[error(transparent)]
    Tor(#[from] TorError),
    /// It does not get into the network.
    #[error(
        "tor was not bootstrapped in time; check that this machine can reach the tor network, whether it needs a bridge \
         (tor.options), or give it longer with --timeout"
    )]
    Bootstrap,
    /// No answer of the service.
    #[error(
        "{address}: not reached in time ({last}); check that a node of the cluster runs and that `rustbalance status` there \
         says that its plan is confirmed, give --client-key-file if the address is for authorised clients alone, or give \
         it longer with --timeout"
    )]
    NotReached {
        /// Of the cluster.
        address: OnionAddress,
        /// Why the last attempt failed.
        last: String,
    },
    /// The service is there, and nobody knows the invite.
    #[error(
        "{0}: no node there knows the invite: it expired or was forgotten long ago, or its nodes have not heard of it; \
         see `rustbalance invite list` on a member, and make another one"
    )]
    InviteUnknown(OnionAddress),
    /// No handshake.
    #[error(
        "{endpoint}: no answer within {} s; check that a node runs there, that UDP reaches that port, \
         and that --peer-pubkey is that node's",
        LIMIT.as_secs()
    )]
    Unreachable {
        /// As given.
        endpoint: String,
    },
    /// A handshake, but no answer to the request.
    #[error(
        "{endpoint}: answers, but not to the request to join, within {} s; look at that node's log, and check that the \
         cluster token is of the same cluster",
        LIMIT.as_secs()
    )]
    NoAnswer {
        /// As given.
        endpoint: String,
    },
    /// The member said no, or something we do not understand.
    #[error("{endpoint}: {}", explain(.why))]
    Refused {
        /// As given.
        endpoint: String,
        /// Why.
        why: Refusal,
    },
}

impl JoinError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Key(error) => error.fault(),
            Self::Entropy(_) | Self::Signals(_) | Self::Stopped => Fault::Runtime,
            Self::Tor(error) => error.fault(),
            Self::Invite(InviteError::Expired(_)) => Fault::Network,
            Self::AddressOfKey { .. } | Self::Invite(_) => Fault::State,
            Self::Resolve { .. }
            | Self::Socket { .. }
            | Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::Bootstrap
            | Self::NotReached { .. }
            | Self::InviteUnknown(_)
            | Self::Refused { .. } => Fault::Network,
        }
    }
}

fn explain(why: &Refusal) -> String {
    let text = match why {
        Refusal::OtherAddress => "serves another address; check --peer-endpoint and --master-onion",
        Refusal::BadReply => "sent an answer that does not verify; is it another version of rustbalance?",
        Refusal::Refused(AdmitError::BadToken) => {
            "refused the cluster token; copy the member's keys/cluster_token again"
        }
        Refusal::Refused(AdmitError::Full) => "the cluster has no room for another node; let one leave first",
        Refusal::Refused(AdmitError::Taken) => "another node has this node's keys; join with an empty --dir",
        Refusal::Refused(AdmitError::Busy) => "too many nodes are joining through it; try again in a few seconds",
        Refusal::Refused(AdmitError::Rotating) => {
            "the cluster token is being changed; take the new one and try again in a few seconds"
        }
        Refusal::Refused(AdmitError::Tombstoned) => {
            "this node left the cluster for good, or was removed; join with an empty --dir"
        }
        Refusal::Refused(error @ (AdmitError::InviteUsed | AdmitError::InviteExpired | AdmitError::InviteRevoked)) => {
            return error.to_string();
        }
        Refusal::Refused(other) => return format!("refused the request ({other:?}); compare the versions of both"),
        other => return format!("refused the request ({other:?}); compare the versions of both"),
    };
    text.to_owned()
}
