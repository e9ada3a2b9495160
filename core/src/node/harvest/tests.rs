//! Who may, and when.

use super::*;
use crate::cluster::{AccessChange, NodeState, Order, Record};
use crate::hsdesc::{Harvest, PowOffer, PowParams};
use crate::input::Command;
use crate::merge::testing::{node, point};
use crate::node::testing::Sites;
use crate::onion::client::HsClientDescEncKeypair;
use crate::publish::testing::{member, record_of};

const PERIOD: u64 = 20_780;

/// Five nodes with proof of work that serve and have found nothing yet.
fn members() -> Vec<Member> {
    let mut members: Vec<_> = (1..=5).map(|n| member(n, &[n])).collect();
    for member in &mut members {
        let params = PowParams { seed: [1; 32], effort: 0, expires: 2_000_000_000 };
        record_of(member).pow = Some(PowOffer { period: PERIOD - 1, params });
    }
    members
}

/// Of node 3, where nothing stands against it.
fn situation(members: &[Member]) -> Situation<'_> {
    Situation {
        me: node(3),
        members,
        is_serving: true,
        is_guarded: true,
        has_publisher: true,
        may_publish: true,
        is_paused: false,
    }
}

fn found(member: &mut Member, period: u64) {
    let points = vec![point(9, 9, 0)];
    record_of(member).harvest = Some(Harvest { period, number: 1, points });
}

#[test]
fn node_that_could_not_publish_for_all_or_would_let_in_everybody_may_not() {
    let members = members();
    let good = || situation(&members);
    assert!(good().is_allowed());
    assert!(!Situation { is_serving: false, ..good() }.is_allowed(), "attached, drained or stopping");
    assert!(!Situation { is_guarded: false, ..good() }.is_allowed(), "files not written");
    assert!(!Situation { has_publisher: false, ..good() }.is_allowed());
    assert!(!Situation { may_publish: false, ..good() }.is_allowed(), "clock");
}

#[test]
fn minority_may_not_and_half_of_all_may() {
    let mut members = members();
    members[0].liveness = Liveness::Unknown;
    members[4].liveness = Liveness::Down;
    assert!(situation(&members).is_allowed());
    members[1].liveness = Liveness::Unknown;
    assert!(!situation(&members).is_allowed());
    members.remove(0);
    assert!(situation(&members).is_allowed(), "as a publisher");
}

#[test]
fn it_is_of_no_use_during_a_pause_alone_or_while_a_node_that_serves_has_no_proof_of_work() {
    let mut members = members();
    assert!(situation(&members).is_useful());
    assert!(!Situation { is_paused: true, ..situation(&members) }.is_useful());
    assert!(!situation(&members[2..3]).is_useful());
    record_of(&mut members[4]).pow = None;
    assert!(!situation(&members).is_useful());
    record_of(&mut members[4]).state = NodeState::Draining;
    assert!(situation(&members).is_useful());
    members[4].record = None;
    assert!(!situation(&members).is_useful(), "what it offers is not known");
    members[4].liveness = Liveness::Down;
    assert!(situation(&members).is_useful());
}

#[test]
fn turn_comes_some_seconds_after_those_before_it_have_found_their_points_and_without_them_a_while_later() {
    let secs = Duration::from_secs;
    let mut members = members();
    let turn = |members: &[Member], secs| situation(members).is_turn(secs, PERIOD);
    assert!(Situation { me: node(1), ..situation(&members) }.is_turn(secs(0), PERIOD));
    assert!(!turn(&members, secs(79)) && turn(&members, secs(80)), "two come before it");
    found(&mut members[0], PERIOD);
    found(&mut members[1], PERIOD - 2);
    assert!(!turn(&members, secs(79)), "that was another period");
    record_of(&mut members[1]).harvest = Some(Harvest { period: PERIOD, number: 2, points: vec![] });
    assert!(!turn(&members, secs(79)), "in vain, or not yet");
    found(&mut members[1], PERIOD);
    assert!(!turn(&members, secs(11)) && turn(&members, secs(12)));
    record_of(&mut members[1]).harvest = None;
    record_of(&mut members[1]).target_up = false;
    assert!(turn(&members, secs(12)), "it does not serve");
    members[1].liveness = Liveness::Down;
    assert!(!turn(&members, secs(5)) && turn(&members, secs(6)));
}

/// When each of two nodes had its tor publish by itself, by node id.
fn begun(sites: &Sites) -> Vec<Vec<u64>> {
    let mut begun: Vec<(NodeId, Vec<u64>)> = Vec::new();
    for site in &sites.sites {
        let ons = site.set.iter().filter(|(_, value)| *value == '1');
        begun.push((site.node.id, ons.map(|(at, _)| at.as_ms()).collect()));
    }
    begun.sort();
    begun.into_iter().map(|(_, at)| at).collect()
}

/// Where the node whose turn comes first stands.
fn first(sites: &Sites) -> usize {
    usize::from(sites.sites[0].node.id > sites.sites[1].node.id)
}

fn harvest(record: &Record) -> Option<(u32, usize)> {
    record.harvest.as_ref().map(|harvest| (harvest.number, harvest.points.len()))
}

/// Until the first has begun.
fn begin(is_found: bool) -> Sites {
    let mut sites = Sites::hiding();
    sites.sites.iter_mut().for_each(|site| site.is_found = is_found);
    for _ in 0..300 {
        if !begun(&sites)[0].is_empty() {
            break;
        }
        sites.run(Duration::from_millis(100));
    }
    assert!(begun(&sites)[0].len() == 1 && begun(&sites)[1].is_empty(), "{:?}", begun(&sites));
    sites
}

#[test]
fn one_node_after_the_other_has_its_tor_show_its_points_once() {
    let mut sites = begin(true);
    sites.run(Duration::from_secs(60));
    let begun = begun(&sites);
    assert_eq!((begun[0].len(), begun[1].len()), (1, 1), "{begun:?}");
    let apart = begun[1][0] - begun[0][0];
    assert!((6_000..12_000).contains(&apart), "{apart}");
    for site in &sites.sites {
        assert_eq!((harvest(site.node.record()), site.settings().ends_with('0')), (Some((1, 3)), true));
    }
}

#[test]
fn node_that_finds_nothing_is_waited_for() {
    let mut sites = begin(false);
    sites.run(Duration::from_secs(60));
    let begun = begun(&sites);
    let apart = begun[1][0] - begun[0][0];
    assert!((40_000..45_000).contains(&apart), "{apart}");
}

#[test]
fn it_ends_at_once_when_the_files_of_authorised_clients_are_not_written_as_they_should_be_any_more() {
    let mut sites = begin(false);
    let (first, other) = (first(&sites), 1 - first(&sites));
    sites.set_disk(first, None);
    let key = HsClientDescEncKeypair::from_bytes(&[3; 32]).public();
    let add = AccessChange::Add("alice".parse().unwrap(), key);
    sites.command(other, Command::ChangeAccess(vec![add]));
    sites.run(Duration::from_secs(2));
    assert!(sites.sites[first].node.access().is_restricted());
    assert!(sites.sites[first].settings().ends_with('0'), "{}", sites.sites[first].settings());
    sites.run(Duration::from_secs(700));
    assert!(sites.sites[first].settings().ends_with('0'), "nor does another begin");
    assert_eq!(begun(&sites)[0].len(), 1);
}

#[test]
fn node_that_is_drained_meanwhile_ends_it_and_says_that_it_was() {
    let mut sites = begin(false);
    let first = first(&sites);
    sites.command(first, Command::Order(None, Order::Drain));
    assert!(sites.sites[first].settings().ends_with('0'));
    sites.run(Duration::from_secs(30));
    let (one, other) = (&sites.sites[first].node, &sites.sites[1 - first].node);
    assert_eq!((one.status(sites.now).presence.as_str(), harvest(one.record())), ("out", Some((1, 0))));
    let known = other.cluster.members().iter().find(|member| member.node == one.id).and_then(|m| m.record.clone());
    assert_eq!(harvest(&known.unwrap()), Some((1, 0)));
}
