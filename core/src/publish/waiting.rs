//! Why nothing is uploaded, for the operator.

use crate::hsdesc::BuildError;
use core::fmt;

/// The reason; `Display` puts it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Roster of one.
    Native,
    /// Somebody else holds the lease.
    Follower,
    /// Nobody does.
    Nobody,
    /// No ring yet.
    NoConsensus,
    /// The record gate is closed.
    Records,
    /// The plan would be empty.
    NoPoints,
    /// After a stall.
    Stall,
    /// A minority waits for what is published.
    AskingMajority,
    /// A minority is served by what is published.
    MajorityServes,
    /// A minority, or a half that has not met the other, knows of no authorised clients and finds the address restricted.
    Restricted,
    /// No counter exists for the clock.
    Clock,
    /// The encoder refused the plan.
    Build(BuildError),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("this node is alone: its tor publishes by itself"),
            Self::Follower => f.write_str("another node publishes"),
            Self::Nobody => f.write_str("no node publishes now: none that serves is in sight"),
            Self::NoConsensus => f.write_str("tor has no live consensus yet"),
            Self::Records => f.write_str("waiting up to a second for the newest records of all live nodes"),
            Self::NoPoints => f.write_str("no node offers an introduction point now; what is published stays"),
            Self::Stall => f.write_str("this node was stalled: waiting until the others know its epoch"),
            Self::AskingMajority => f.write_str("too many nodes are out of sight: asking HSDirs what is published"),
            Self::MajorityServes => {
                f.write_str("most nodes are out of sight, and what they published lists our points")
            }
            Self::Restricted => f.write_str(
                "too many nodes are out of sight, and the address is restricted to clients that this node has not heard of: \
                 start the others, or say here who may connect",
            ),
            Self::Clock => f.write_str("the clock lies outside the time period: check the machine's clock"),
            Self::Build(error) => write!(f, "no descriptor can be built: {error}"),
        }
    }
}
