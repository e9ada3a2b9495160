//! Chains, tombstones, and that what is left does not depend on the order in which it came.

use proptest::prelude::*;

use super::*;
use crate::cluster::timing::{ITEM_MAX, TOMBSTONES_MAX};

const CLUSTER: ClusterId = ClusterId([1; 32]);
const NOW: Wall = Wall::from_secs(1_700_000_000);

fn keypair(n: u8) -> NodeKeypair {
    NodeKeypair::from_seed(&[n; 32])
}

fn entry(by: u8, node: u8) -> Vec<u8> {
    admit(&keypair(by), CLUSTER, 0, keypair(node).id(), WgPublicKey([node; 32]))
}

fn roster() -> (Roster, Items) {
    (Roster::new(CLUSTER, keypair(1).id()), Items::default())
}

#[test]
fn a_chain_verifies_in_any_order() {
    let (mut one, mut items) = roster();
    assert_eq!(one.load(&[entry(3, 4), entry(2, 3), entry(1, 2), entry(1, 1)], &mut items), 0);
    assert_eq!(one.len(), 4);
    let (mut two, mut other) = roster();
    assert_eq!(two.load(&[entry(1, 1), entry(1, 2), entry(2, 3), entry(3, 4)], &mut other), 0);
    assert_eq!((one.hash(), items.digest()), (two.hash(), other.digest()));
}

#[test]
fn who_is_not_connected_to_the_first_node_is_refused() {
    let (mut roster, mut items) = roster();
    assert_eq!(roster.load(&[entry(1, 1), entry(5, 4), entry(4, 5), entry(6, 6)], &mut items), 3);
    assert_eq!(roster.len(), 1);
}

#[test]
fn an_admission_by_another_hand_is_refused() {
    let (mut roster, mut items) = roster();
    roster.load(&[entry(1, 1)], &mut items);
    let forged = entry::forged(&keypair(9), CLUSTER, keypair(1).id(), keypair(9).id());
    assert_eq!(roster.accept(&forged, &mut items), Err(PeerError::BadSignature));
}

/// The entry with which `by` puts `node` out, after `entries`.
fn gone(entries: &[Vec<u8>], by: u8, node: u8) -> Vec<u8> {
    let (mut roster, mut items) = roster();
    assert_eq!(roster.load(entries, &mut items), 0);
    roster.bury(&items, &keypair(by), keypair(node).id(), NOW).unwrap()
}

fn members(roster: &Roster) -> Vec<u8> {
    (1..=9).filter(|n| roster.contains(keypair(*n).id())).collect()
}

#[test]
fn leaving_is_final_and_keeps_the_chain() {
    let entries = [entry(1, 1), entry(1, 2), entry(2, 3)];
    let (mut roster, mut items) = roster();
    roster.load(&entries, &mut items);
    let accepted = roster.accept(&gone(&entries, 2, 2), &mut items).unwrap();
    assert_eq!((accepted.node, accepted.joined, accepted.gone.len()), (keypair(2).id(), false, 1));
    assert_eq!(roster.accept(&entry(1, 2), &mut items), Err(PeerError::Stale));
    assert_eq!((members(&roster), roster.removed().count()), (vec![1, 3], 0));
}

#[test]
fn a_member_removes_another_even_the_first_and_whom_it_had_admitted_stays() {
    let entries = [entry(1, 1), entry(1, 2), entry(2, 3)];
    let (mut roster, mut items) = roster();
    roster.load(&entries, &mut items);
    roster.accept(&gone(&entries, 3, 1), &mut items).unwrap();
    assert_eq!(members(&roster), [2, 3]);
    assert_eq!(roster.removed().collect::<Vec<_>>(), [keypair(1).id()]);
    let file: Vec<Vec<u8>> = items.entries().cloned().collect();
    let (mut again, mut others) = self::roster();
    assert_eq!(again.load(&file, &mut others), 0, "and the chain still verifies");
    assert_eq!((members(&again), others.digest()), (vec![2, 3], items.digest()));
}

#[test]
fn who_was_removed_admits_nobody_it_had_not_admitted_before() {
    let entries = [entry(1, 1), entry(1, 2), entry(2, 3)];
    let gone = gone(&entries, 1, 2);
    let (mut roster, mut items) = roster();
    roster.load(&entries, &mut items);
    roster.accept(&gone, &mut items).unwrap();
    assert_eq!(roster.accept(&entry(2, 4), &mut items), Err(PeerError::NotAMember));
    let (mut late, mut items) = self::roster();
    late.load(&[entry(1, 1), entry(1, 2), entry(2, 3), entry(2, 4), entry(4, 5)], &mut items);
    assert_eq!(members(&late), [1, 2, 3, 4, 5], "who has not heard of it believes it");
    let accepted = late.accept(&gone, &mut items).unwrap();
    assert_eq!((members(&late), accepted.gone.len()), (vec![1, 3], 3), "until it hears");
    assert_eq!(items.entries().count(), 3);
}

#[test]
fn removals_by_two_members_unite_in_any_order_and_keep_whom_both_keep() {
    let known = [entry(1, 1), entry(1, 2), entry(1, 3), entry(1, 4)];
    let here = gone(&[&known[..], &[entry(2, 5)]].concat(), 3, 2);
    let there = gone(&[&known[..], &[entry(2, 6)]].concat(), 4, 2);
    let digests = [[&here, &there], [&there, &here]].map(|order| {
        let (mut roster, mut items) = roster();
        roster.load(&known, &mut items);
        for blob in order {
            roster.accept(blob, &mut items).unwrap();
        }
        // The word of one that only a tombstone of its own keeps would count or not by the order in which things came.
        for known_to_one in [5, 6] {
            assert!(roster.accept(&entry(2, known_to_one), &mut items).is_err());
        }
        assert_eq!(members(&roster), [1, 3, 4]);
        items.digest()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn nobody_is_removed_by_a_stranger() {
    let entries = [entry(1, 1), entry(1, 2)];
    let strange = gone(&[&entries[..], &[entry(1, 9)]].concat(), 9, 2);
    let (mut roster, mut items) = roster();
    roster.load(&entries, &mut items);
    assert_eq!(roster.accept(&strange, &mut items), Err(PeerError::NotAMember));
}

#[test]
fn an_entry_has_room_for_so_many_tombstones() {
    let most = u8::try_from(TOMBSTONES_MAX).unwrap();
    let entries: Vec<_> = (1..=most + 2).map(|n| entry(1, n)).collect();
    let (mut roster, mut items) = roster();
    roster.load(&entries, &mut items);
    let last = keypair(most + 2).id();
    for by in 1..=most {
        roster.accept(&gone(&entries, by, most + 2), &mut items).unwrap();
    }
    assert_eq!(roster.accept(&gone(&entries, most + 1, most + 2), &mut items), Err(PeerError::Full));
    assert!(roster.bury(&items, &keypair(most + 1), last, NOW).is_none());
}

#[test]
fn the_tombstone_of_one_who_admitted_everybody_is_an_item() {
    let (mut roster, mut items) = roster();
    roster.load(&[entry(1, 1)], &mut items);
    fill(&mut roster, ROSTER_MAX);
    let gone = roster.bury(&items, &keypair(1), keypair(1).id(), NOW).unwrap();
    assert!(gone.len() <= ITEM_MAX, "{}", gone.len());
}

/// So many in all, admitted by the first.
fn fill(roster: &mut Roster, places: usize) {
    for n in 1_u64.. {
        if roster.places.len() >= places {
            break;
        }
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        roster.places.insert(NodeId(id), Place { wg: WgPublicKey(id), by: keypair(1).id(), gone: None });
    }
}

#[test]
fn the_oldest_tombstones_are_forgotten_after_thirty_days_and_only_to_make_room() {
    let (mut roster, mut items) = roster();
    let entries = [entry(1, 1), entry(1, 2), entry(1, 3), entry(1, 4)];
    roster.load(&entries, &mut items);
    let later = |secs| Wall::from_secs(NOW.as_secs() + secs);
    let gone =
        [(2, 1), (3, 0), (4, 2)].map(|(n, secs)| leave(&keypair(n), CLUSTER, &entry(1, n), later(secs)).unwrap());
    for gone in &gone {
        roster.accept(gone, &mut items).unwrap();
    }
    fill(&mut roster, ROSTER_KEEP);
    assert!(!roster.prune(later(10 * TOMBSTONE_KEEP_SECS), &mut items), "there is room");
    fill(&mut roster, ROSTER_KEEP + 2);
    assert!(!roster.prune(later(TOMBSTONE_KEEP_SECS), &mut items));
    assert!(roster.prune(later(TOMBSTONE_KEEP_SECS + 10), &mut items));
    assert_eq!([2, 3, 4].map(|n| roster.knows(keypair(n).id())), [false, false, true]);
    // From who has room for it, it is taken, and then again who has been gone for longest is forgotten.
    roster.accept(&gone[0], &mut items).unwrap();
    assert!(roster.prune(later(TOMBSTONE_KEEP_SECS + 10), &mut items));
    assert_eq!([2, 3, 4].map(|n| roster.knows(keypair(n).id())), [false, false, true]);
}

#[test]
fn whoever_was_admitted_by_a_node_that_left_stays_when_its_tombstone_is_over_age() {
    let entries = [entry(1, 1), entry(1, 2), entry(2, 3)];
    let (mut left, mut items) = roster();
    left.load(&entries, &mut items);
    let gone = gone(&entries, 2, 2);
    left.accept(&gone, &mut items).unwrap();
    let later = Wall::from_secs(NOW.as_secs() + TOMBSTONE_KEEP_SECS + 86_400);
    fill(&mut left, ROSTER_KEEP + 1);
    assert!(!left.prune(later, &mut items), "others rest on its word");
    let saved: Vec<Vec<u8>> = items.entries().cloned().collect();
    let (mut restarted, mut items) = roster();
    assert_eq!(restarted.load(&saved, &mut items), 0);
    assert_eq!(members(&restarted), [1, 3]);
    // Who did not hear of the leave in time is still told.
    let (mut away, mut items) = roster();
    away.load(&entries, &mut items);
    away.accept(&gone, &mut items).unwrap();
    assert_eq!(members(&away), [1, 3]);
}

#[test]
fn the_roster_is_bounded() {
    let (mut roster, mut items) = roster();
    roster.load(&[entry(1, 1)], &mut items);
    fill(&mut roster, ROSTER_MAX);
    assert_eq!(roster.accept(&entry(1, 2), &mut items), Err(PeerError::Full));
}

#[test]
fn what_was_said_by_one_who_never_counted_is_unsaid() {
    // On one side the second, removed by the first on the other, admits the fourth, which removes the third.
    let known = [entry(1, 1), entry(1, 2), entry(1, 3)];
    let there = [gone(&known, 1, 2)];
    let here = [entry(2, 4), gone(&[&known[..], &[entry(2, 4)]].concat(), 4, 3)];
    let digests = [[&here[..], &there].concat(), [&there[..], &here].concat()].map(|order| {
        let (mut roster, mut items) = roster();
        roster.load(&known, &mut items);
        for blob in order {
            _ = roster.accept(&blob, &mut items);
        }
        assert_eq!(members(&roster), [1, 3]);
        items.digest()
    });
    assert_eq!(digests[0], digests[1]);
}

/// One thing that happens on one side of a partition: who acts, on whom, and what.
#[derive(Clone, Debug)]
enum Act {
    Admit(u8, u8),
    Remove(u8, u8),
    Leave(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1..10u8, 1..10u8).prop_map(|(by, node)| Act::Admit(by, node)),
        (1..10u8, 1..10u8).prop_map(|(by, node)| Act::Remove(by, node)),
        (1..10u8).prop_map(Act::Leave),
    ]
}

/// Plays `acts`, as far as they are possible, from the same beginning; every entry there was on the way.
fn side(acts: &[Act]) -> (Roster, Items, Vec<Vec<u8>>) {
    let (mut roster, mut items) = roster();
    let mut said = vec![entry(1, 1), entry(1, 2), entry(1, 3), entry(2, 4), entry(3, 5)];
    roster.load(&said, &mut items);
    for act in acts {
        let is_member = |n: u8| roster.contains(keypair(n).id());
        let blob = match act {
            Act::Admit(by, node) if is_member(*by) && !roster.knows(keypair(*node).id()) => Some(entry(*by, *node)),
            Act::Remove(by, node) | Act::Admit(by, node) if is_member(*by) && is_member(*node) && by != node => {
                roster.bury(&items, &keypair(*by), keypair(*node).id(), NOW)
            }
            Act::Leave(node) if is_member(*node) => roster.bury(&items, &keypair(*node), keypair(*node).id(), NOW),
            Act::Admit(..) | Act::Remove(..) | Act::Leave(_) => None,
        };
        if let Some(blob) = blob {
            roster.accept(&blob, &mut items).unwrap();
            said.push(blob);
        }
    }
    (roster, items, said)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Three sides of a partition, healed: each hears all there is in an order of its own, some of it more than once,
    /// and goes on telling until nobody has news.
    #[test]
    fn rosters_of_a_healed_partition_converge(
        acts in proptest::array::uniform3(proptest::collection::vec(act(), 0..6)),
        order in Just((0..200usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut sides: Vec<(Roster, Items)> = Vec::new();
        let mut said = Vec::new();
        for acts in &acts {
            let (roster, items, blobs) = side(acts);
            sides.push((roster, items));
            said.extend(blobs);
        }
        for (turn, (roster, items)) in sides.iter_mut().enumerate() {
            for at in order.iter().map(|at| (at * (turn + 1) + turn) % said.len()) {
                _ = roster.accept(&said[at], items);
            }
        }
        for _ in 0..20 {
            let held: Vec<Vec<u8>> = sides.iter().flat_map(|(_, items)| items.entries().cloned()).collect();
            for (roster, items) in &mut sides {
                held.iter().for_each(|blob| _ = roster.accept(blob, items));
            }
        }
        let (first, items) = &sides[0];
        for (other, others) in &sides[1..] {
            prop_assert_eq!(first.members(), other.members());
            prop_assert_eq!(items.digest(), others.digest());
        }
        let file: Vec<Vec<u8>> = items.entries().cloned().collect();
        let (mut again, mut others) = roster();
        prop_assert_eq!(again.load(&file, &mut others), 0, "a joiner can verify it");
        prop_assert_eq!(again.members(), first.members());
    }
}
