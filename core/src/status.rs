//! A snapshot for operators: what `rustbalance status --json` prints. Times are ages in milliseconds.

use serde::{Deserialize, Serialize};

use crate::cluster::{Liveness, Member, NodeState};
use crate::id::hex;
use crate::time::Now;

/// The whole node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Software version.
    pub version: String,
    /// The master address, with `.onion`.
    pub address: String,
    /// This node, 64 hex digits.
    pub node: String,
    /// Its name.
    pub name: String,
    /// `alone`, `follower` or `holder`.
    pub role: String,
    /// Newest epoch known.
    pub epoch: u64,
    /// The holder's node id, if known.
    pub holder: Option<String>,
    /// `native` or `merged`.
    pub mode: String,
    /// Our tors, one line each: `ready`, `bootstrapping 45`, ...
    pub tors: Vec<String>,
    /// `up` or `down`.
    pub target: String,
    /// Who may connect.
    pub access: AccessStatus,
    /// The roster.
    pub members: Vec<MemberStatus>,
    /// What is published.
    pub publication: PublicationStatus,
    /// Refused inputs by name.
    pub rejected: std::collections::BTreeMap<String, u64>,
}

/// Who may connect to the address, as far as this node knows. Who they are is not for everybody who watches the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
pub struct AccessStatus {
    /// Authorised clients alone.
    pub restricted: bool,
    /// How many there are.
    pub clients: usize,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// 64 hex digits.
    pub node: String,
    /// Its name, empty if no record yet.
    pub name: String,
    /// `live`, `unknown`, `down`.
    pub liveness: String,
    /// In that state for this long.
    pub since_ms: u64,
    /// `active`, `draining`, `leaving`; empty if no record yet.
    pub state: String,
    /// Priority.
    pub priority: u8,
    /// Points in its record.
    pub introduction_points: usize,
    /// Points of it in the current plan.
    pub planned_points: usize,
    /// Its tor is ready.
    pub tor_ready: bool,
    /// Its target answers.
    pub target_up: bool,
}

/// Publication: on the holder its own work, on others empty but for the plan they know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
pub struct PublicationStatus {
    /// The time period that clients use, by tor's newest consensus.
    pub period: Option<PeriodStatus>,
    /// Introduction points in the plan, hex of the auth keys, with their node.
    pub points: Vec<PlannedPoint>,
    /// Points left out and why.
    pub left_out: Vec<String>,
    /// Per slot and HSDir.
    pub slots: Vec<SlotStatus>,
    /// Every HSDir of both slots has confirmed the current plan.
    pub confirmed: bool,
    /// So it has, and those of the current slot have given it back; the other slot's cannot be asked.
    pub proven: bool,
    /// Why nothing is being uploaded, if so.
    pub waiting: Option<String>,
}

/// A time period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodStatus {
    /// Its number.
    pub number: u64,
    /// Its length.
    pub length_minutes: u32,
}

/// A point in the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedPoint {
    /// 64 hex digits.
    pub node: String,
    /// 64 hex digits.
    pub auth_key: String,
    /// Relay fingerprint.
    pub relay: String,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// `first` or `second`.
    pub slot: String,
    /// Time period number.
    pub period: u64,
    /// Whether clients fetch this one now.
    pub current: bool,
    /// Revision counter last confirmed.
    pub revision: Option<u64>,
    /// The HSDirs.
    pub hsdirs: Vec<HsDirStatus>,
}

/// One HSDir of a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HsDirStatus {
    /// Relay fingerprint.
    pub relay: String,
    /// `wanted`, `sent`, `confirmed` (it says that it has the plan), `verified` (it has also given it back), `refused`;
    /// or what it gave back instead, and is served again for: `gone`, `stale`, `foreign` (another publisher's).
    pub state: String,
    /// Last failure, if any.
    pub failure: Option<String>,
    /// Since the last confirmation.
    pub confirmed_ms: Option<u64>,
    /// Since it last gave back what it confirmed.
    pub verified_ms: Option<u64>,
}

impl MemberStatus {
    pub(crate) fn new(now: Now, member: &Member, publication: &PublicationStatus) -> Self {
        let node = hex(&member.node.0);
        let record = member.record.as_ref();
        Self {
            name: record.map(|record| record.name.clone()).unwrap_or_default(),
            liveness: match member.liveness {
                Liveness::Live => "live",
                Liveness::Unknown => "unknown",
                Liveness::Down => "down",
            }
            .to_owned(),
            since_ms: u64::try_from(now.mono.since(member.since).as_millis()).unwrap_or(u64::MAX),
            state: match record.map(|record| record.state) {
                Some(NodeState::Active) => "active",
                Some(NodeState::Draining) => "draining",
                Some(NodeState::Leaving) => "leaving",
                None => "",
            }
            .to_owned(),
            priority: record.map_or(0, |record| record.priority),
            introduction_points: record.map_or(0, |record| record.points.len()),
            planned_points: publication.points.iter().filter(|point| point.node == node).count(),
            tor_ready: record.is_some_and(|record| record.tor_ready),
            target_up: record.is_some_and(|record| record.target_up),
            node,
        }
    }
}
