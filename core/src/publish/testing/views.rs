//! What a publisher is told of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::{ClockOffset, Liveness, Member, NodeState, Record, Role, View};
use crate::hsdesc::{InnerHeader, IntroPoint};
use crate::id::NodeId;
use crate::merge::testing::{node, point};
use crate::time::Mono;

/// A member that serves, with points on `relays`.
pub(crate) fn member(n: u8, relays: &[u8]) -> Member {
    let record = Record {
        node: node(n),
        incarnation: 1,
        version: 1,
        generation: 0,
        priority: 100,
        weight: 100,
        state: NodeState::Active,
        tor_ready: true,
        target_up: true,
        eligible: true,
        name: String::new(),
        contact: None,
        software: String::new(),
        protocol: 1,
        header: InnerHeader(vec!["create2-formats 2".to_owned(), "flow-control 1-2 31".to_owned()]),
        points: relays.iter().map(|relay| point(n, *relay, 0)).collect(),
        pow: None,
        harvest: None,
    };
    Member {
        node: node(n),
        liveness: Liveness::Live,
        since: Mono::default(),
        record: Some(Arc::new(record)),
        record_behind: false,
        record_current: false,
    }
}

/// Node 1 holds epoch 1; three nodes with three points each.
pub(in crate::publish) fn view() -> View {
    View {
        me: node(1),
        role: Role::Holder { epoch: 1 },
        role_since: Mono::default(),
        holder: Some((node(1), 1)),
        members: Arc::new(vec![member(1, &[1, 2, 3]), member(2, &[4, 5, 6]), member(3, &[7, 8, 9])]),
        alone_since: None,
        proven: None,
        floors: BTreeMap::new(),
        hold_uploads: false,
        build_era: 0,
        sees_majority: true,
        has_met_most: true,
        rival_until: None,
        clock_offset: ClockOffset::default(),
        access: Arc::default(),
        removals: 0,
        paused: false,
    }
}

/// The members, to change.
pub(in crate::publish) fn members(view: &mut View) -> &mut Vec<Member> {
    Arc::make_mut(&mut view.members)
}

/// The record, to change.
pub(crate) fn record_of(member: &mut Member) -> &mut Record {
    Arc::make_mut(member.record.as_mut().unwrap())
}

/// The auth keys of `points`.
pub(in crate::publish) fn keys(points: &[IntroPoint]) -> BTreeSet<[u8; 32]> {
    points.iter().map(|point| point.auth_key).collect()
}

/// The auth keys of the points that `members` have in their records.
pub(in crate::publish) fn keys_of(view: &View, nodes: &[u8]) -> BTreeSet<[u8; 32]> {
    let nodes: Vec<NodeId> = nodes.iter().map(|n| node(*n)).collect();
    let records = view.members.iter().filter(|member| nodes.contains(&member.node)).filter_map(|m| m.record.as_ref());
    records.flat_map(|record| keys(&record.points)).collect()
}
