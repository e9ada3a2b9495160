//! Facts that reach the core.

use core::time::Duration;

use crate::cluster::{AccessChange, CommandError, NewInvite, Order, PeerError};
use crate::health::HostFacts;
use crate::id::{EffectId, NodeId, TorId, WgPublicKey};
use crate::invite::{InviteName, InvitePath};
use crate::join::AdmitError;
use crate::output::RequestId;
use crate::tor::{Attachment, TorError};

/// One fact. See [`Node::handle`](crate::Node::handle).
#[derive(Debug)]
pub enum Input<'a> {
    /// Only time has passed.
    Tick,
    /// A datagram from inside the mesh; WireGuard proved the sender.
    Peer {
        /// The proven sender.
        from: NodeId,
        /// At most one tunnel MTU; any content.
        bytes: &'a [u8],
    },
    /// A datagram for the cluster from a provisional tunnel of an unknown WireGuard key.
    Stranger {
        /// Any content.
        bytes: &'a [u8],
    },
    /// The admission request from a provisional tunnel of an unknown WireGuard key.
    Admit {
        /// Echoed in [`Output::AdmitReply`](crate::Output).
        request: RequestId,
        /// The key WireGuard proved.
        wg: WgPublicKey,
        /// Any content.
        bytes: &'a [u8],
    },
    /// An invited node's request, that came through tor at one of [`Output::InvitePaths`](crate::Output).
    Invited {
        /// Echoed in [`Output::InviteReply`](crate::Output).
        request: RequestId,
        /// Where it came.
        path: InvitePath,
        /// Its body; any content.
        bytes: &'a [u8],
    },
    /// From one of our tors' control connections.
    Control(TorId, ControlInput<'a>),
    /// How an earlier wish ended.
    Done {
        /// The wish.
        id: EffectId,
        /// Its outcome.
        result: Result<(), EffectError>,
    },
    /// The target's health changed (the shell probes it).
    Target(TargetHealth),
    /// What the shell has measured of the machine, every few seconds.
    Host(HostFacts),
    /// From the operator.
    Command(Command),
}

/// What happens on a control connection.
#[derive(Debug)]
pub enum ControlInput<'a> {
    /// Connected and authenticated to a tor of our own.
    Connected,
    /// The same to a tor that somebody else runs, whose configuration is as it should be.
    Attached(&'a Attachment),
    /// A tor that somebody else runs cannot be reached, or not used as it is, for these reasons.
    Unfit(&'a [String]),
    /// Bytes from tor.
    Bytes(&'a [u8]),
    /// Closed, for whatever reason; the shell reconnects by itself.
    Closed,
    /// Tor itself has ended, for whatever reason; the shell starts it again by itself.
    Ended {
        /// After so long.
        again_in: Duration,
    },
}

/// Whether the operator's application answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TargetHealth {
    /// It answers (or is not probed).
    Up,
    /// It does not.
    Down,
}

/// From the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Release the lease, say goodbye, then [`Output::Stopped`](crate::Output).
    Shutdown,
    /// The last thing before the end of a node that was told to stop: close the introduction circuits, whether or not
    /// another node serves. Nothing, if it was not.
    Withdraw,
    /// Leave the roster for good, then stop. Refused to the only member, which would leave nobody to join again.
    Leave,
    /// Have a node, this one if none is named, follow an order.
    Order(Option<NodeId>, Order),
    /// Take nobody out for being down, silent or unwell, in the whole cluster, for so many seconds; none ends that.
    Pause(u32),
    /// The configuration has another weight and priority now.
    Reconfigure {
        /// See [`ClusterConfig`](crate::cluster::ClusterConfig).
        weight: u16,
        /// See [`ClusterConfig`](crate::cluster::ClusterConfig).
        priority: u8,
    },
    /// Make a new cluster token; the old one admits nobody any more.
    RotateToken,
    /// Take a member off the roster for good, and make a new cluster token that it does not get.
    Remove(NodeId),
    /// Change who may connect to the address, all of it or nothing.
    ChangeAccess(Vec<AccessChange>),
    /// Let in whoever shows this invite.
    Invite(NewInvite),
    /// Let nobody in with that invite any more.
    RevokeInvite(InviteName),
}

/// Why a wish failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectError {
    /// The disk refused.
    Disk(String),
}

/// An input that had no effect, save that time passed. Counted by [`Rejected::name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// A peer's datagram.
    Peer(PeerError),
    /// An admission request.
    Admit(AdmitError),
    /// A control connection's bytes.
    Control(TorError),
    /// An operator's command.
    Command(CommandError),
    /// A `Done` or tor nobody waits for.
    Unexpected(&'static str),
}

impl Rejected {
    /// The rule that refused it, as metrics count it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Peer(PeerError::NotAMember) => "peer_not_a_member",
            Self::Peer(PeerError::Length) => "peer_length",
            Self::Peer(PeerError::Version) => "peer_version",
            Self::Peer(PeerError::UnknownKind) => "peer_unknown_kind",
            Self::Peer(PeerError::Malformed) => "peer_malformed",
            Self::Peer(PeerError::BadSignature) => "peer_bad_signature",
            Self::Peer(PeerError::Stale) => "peer_stale",
            Self::Peer(PeerError::Duplicate) => "peer_duplicate",
            Self::Peer(PeerError::EpochJump) => "peer_epoch_jump",
            Self::Peer(PeerError::Full) => "peer_roster_full",
            Self::Peer(PeerError::NewGeneration) => "peer_new_generation",
            Self::Admit(AdmitError::Malformed) => "admit_malformed",
            Self::Admit(AdmitError::BadToken) => "admit_bad_token",
            Self::Admit(AdmitError::BadProof) => "admit_bad_proof",
            Self::Admit(AdmitError::Taken) => "admit_taken",
            Self::Admit(AdmitError::Full) => "admit_roster_full",
            Self::Admit(AdmitError::Tombstoned) => "admit_tombstoned",
            Self::Admit(AdmitError::Busy) => "admit_busy",
            Self::Admit(AdmitError::Rotating) => "admit_rotating",
            Self::Admit(AdmitError::InviteUsed) => "admit_invite_used",
            Self::Admit(AdmitError::InviteExpired) => "admit_invite_expired",
            Self::Admit(AdmitError::InviteRevoked) => "admit_invite_revoked",
            Self::Control(TorError::Protocol(_)) => "control_protocol",
            Self::Control(TorError::UnexpectedReply) => "control_unexpected_reply",
            Self::Command(CommandError::Stopping) => "command_stopping",
            Self::Command(CommandError::LastServing) => "command_last_serving",
            Self::Command(CommandError::NotHolder) => "command_not_holder",
            Self::Command(CommandError::NobodyElse) => "command_nobody_else",
            Self::Command(CommandError::Silent) => "command_silent",
            Self::Command(CommandError::Overtaken) => "command_overtaken",
            Self::Command(CommandError::OutOfRange) => "command_out_of_range",
            Self::Command(CommandError::OnlyMember) => "command_only_member",
            Self::Command(CommandError::NotAMember) => "command_not_a_member",
            Self::Command(CommandError::Oneself) => "command_oneself",
            Self::Command(CommandError::Unknown) => "command_unknown",
            Self::Command(CommandError::Gone) => "command_gone",
            Self::Command(CommandError::Busy) => "command_busy",
            Self::Command(CommandError::ClientExists) => "command_client_exists",
            Self::Command(CommandError::KeyInUse) => "command_key_in_use",
            Self::Command(CommandError::NoSuchClient) => "command_no_such_client",
            Self::Command(CommandError::TooManyClients) => "command_too_many_clients",
            Self::Command(CommandError::InviteExists) => "command_invite_exists",
            Self::Command(CommandError::NoSuchInvite) => "command_no_such_invite",
            Self::Command(CommandError::TooManyInvites) => "command_too_many_invites",
            Self::Command(CommandError::InviteBounds) => "command_invite_bounds",
            Self::Command(CommandError::Attached) => "command_attached",
            Self::Unexpected(what) => what,
        }
    }
}
