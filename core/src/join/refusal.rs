//! Why a node is not let in, or is a member no more.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AdmitError {
    /// Does not decode.
    Malformed,
    /// MAC under another token.
    BadToken,
    /// NodeId not proven, or not the WireGuard key of the tunnel.
    BadProof,
    /// Another node has this NodeId or WireGuard key.
    Taken,
    /// The roster is full.
    Full,
    /// This NodeId left or was removed.
    Tombstoned,
    /// Too many requests at once; ask again.
    Busy,
    /// The token is being changed, and the member does not have the new one yet; ask again.
    Rotating,
    /// As many nodes as may have joined with the invite.
    InviteUsed,
    /// The invite has expired.
    InviteExpired,
    /// The invite was revoked, or the node that made it is no member any more.
    InviteRevoked,
}

impl fmt::Display for AdmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the request does not decode; run the same release on both nodes",
            Self::BadToken => "the cluster token is another one; copy the cluster's token file",
            Self::BadProof => "the request does not prove the node's keys",
            Self::Taken => "another node has this node key or WireGuard key; start from an empty state directory",
            Self::Full => "the roster is full",
            Self::Tombstoned => "this node has left the cluster for good; start from an empty state directory",
            Self::Busy => "too many nodes are joining at once; try again",
            Self::Rotating => "the cluster token is being changed; try again in a few seconds",
            Self::InviteUsed => {
                "as many nodes as it is for have joined with this invite; have a member make another one"
            }
            Self::InviteExpired => "the invite has expired; have a member make another one",
            Self::InviteRevoked => {
                "the invite was revoked, or the node that made it is no member any more; have a member make another one"
            }
        })
    }
}

impl core::error::Error for AdmitError {}

/// Why joining failed, for the joiner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// Refused, with the member's reason.
    Refused(AdmitError),
    /// The answer does not decode or verify.
    BadReply,
    /// The cluster serves another address than the master key's.
    OtherAddress,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the member refused: {error}"),
            Self::BadReply => f.write_str("the member's answer does not verify; check the peer's key and release"),
            Self::OtherAddress => {
                f.write_str("the cluster serves another onion address; check the master key and the peer's endpoint")
            }
        }
    }
}

impl core::error::Error for JoinError {}

/// Why a node's files do not make it a member any more. `Display` names the file below the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAMember {
    /// The master key is another address' than the one the cluster was founded for.
    OtherAddress,
    /// There is no roster, or none that the first node's signature begins.
    NoRoster,
    /// The roster says that the node has left.
    Left,
    /// The roster says that another node removed this one.
    Removed,
    /// The roster does not know the node, or knows it with another WireGuard key.
    OtherKeys,
}

impl fmt::Display for NotAMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherAddress => {
                "keys/hs_ed25519_secret_key is not the key of the address this cluster serves; put the right one back"
            }
            Self::NoRoster => {
                "state/roster is missing or damaged; restore it from a backup, or join anew from another --dir"
            }
            Self::Removed => "this node was removed from its cluster; join again from another --dir, if it shall",
            Self::Left => "this node has left its cluster for good; join again from another --dir",
            Self::OtherKeys => {
                "keys/node_key and keys/wireguard_key are not those the node was admitted with; \
                 put the right ones back, or join anew from another --dir"
            }
        })
    }
}

impl core::error::Error for NotAMember {}
