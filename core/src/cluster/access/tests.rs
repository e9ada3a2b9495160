use proptest::prelude::*;

use super::*;
use crate::cluster::ledger::{assert_unite, write_down};
use crate::cluster::tests::{CLUSTER, identity};
use crate::cluster::timing::VERSION_JUMP_MAX;
use crate::id::WgPublicKey;
use crate::onion::client::HsClientDescEncKeypair;

fn name(n: usize) -> ClientName {
    format!("{n:0>CLIENT_NAME_MAX$}").parse().unwrap()
}

fn key(n: usize) -> HsClientDescEncKey {
    let mut bytes = [7; 32];
    bytes[8..16].copy_from_slice(&n.to_le_bytes());
    HsClientDescEncKeypair::from_bytes(&bytes).public()
}

fn add(n: usize) -> AccessChange {
    AccessChange::Add(name(n), key(n))
}

fn with(clients: usize) -> Ledger {
    let changes: Vec<_> = (0..clients).map(add).collect();
    Ledger::default().changed(&changes).unwrap()
}

fn names(ledger: &Ledger) -> Vec<String> {
    ledger.access().clients().map(|(name, _)| name.as_str().trim_start_matches('0').to_owned()).collect()
}

#[test]
fn the_first_client_restricts_and_only_an_order_opens() {
    let one = with(2);
    assert!(one.access().is_restricted() && !Ledger::default().access().is_restricted());
    let nobody = one.changed(&[AccessChange::Remove(name(0)), AccessChange::Remove(name(1))]).unwrap();
    assert_eq!(nobody.access(), Access::Restricted(BTreeMap::new()));
    let open = one.changed(&[AccessChange::Open]).unwrap();
    assert_eq!(open.access(), Access::Open);
    let again = open.changed(&[add(5)]).unwrap();
    assert_eq!(names(&again), ["5"], "who was known before it was opened stays forgotten");
    let removals = |ledger: &Ledger| (ledger.version, ledger.removed);
    assert_eq!((removals(&one), removals(&nobody), removals(&again)), ((1, 1), (2, 2), (3, 3)));
    assert_eq!(removals(&one.changed(&[add(7)]).unwrap()), (2, 1));
}

#[test]
fn what_cannot_be_changed_is_refused_by_kind_and_as_a_whole() {
    let ledger = with(CLIENTS_MAX);
    let refused = |changes: &[AccessChange]| ledger.changed(changes).err();
    assert_eq!(refused(&[AccessChange::Add(name(0), key(500))]), Some(CommandError::ClientExists));
    assert_eq!(refused(&[AccessChange::Add(name(500), key(0))]), Some(CommandError::KeyInUse));
    assert_eq!(refused(&[AccessChange::Remove(name(500))]), Some(CommandError::NoSuchClient));
    assert_eq!(refused(&[add(500)]), Some(CommandError::TooManyClients));
    assert_eq!(refused(&[AccessChange::Remove(name(1)), add(500), add(501)]), Some(CommandError::TooManyClients));
    let same = ledger.changed(&[add(3)]).unwrap();
    assert!(same.says_the_same(&ledger), "a client that is there already is no change");
    assert!(ledger.changed(&[AccessChange::Remove(name(1)), add(500)]).unwrap().is_within_bounds());
}

#[test]
fn the_largest_ledger_is_an_item() {
    let mut ledger = with(CLIENTS_MAX);
    for n in 1000..1000 + REMOVED_MAX + 10 {
        let version = u64::MAX - 5000 + n as u64;
        ledger.clients.insert(name(n), Entry { version, state: State::Removed });
    }
    ledger.clients.values_mut().filter(|entry| !entry.is_removed()).for_each(|entry| entry.version = u64::MAX);
    ledger = Ledger { version: u64::MAX, restricted: (u64::MAX, true), ..ledger };
    ledger.shorten();
    assert!(ledger.is_within_bounds());
    assert_eq!(ledger.clients.len(), CLIENTS_MAX + REMOVED_MAX);
    assert!(!ledger.clients.contains_key(&name(1009)) && ledger.clients.contains_key(&name(1010)), "the oldest went");
    let (_, blob) = write_down(&identity(1), ledger);
    assert!(blob.len() <= ITEM_MAX, "{}", blob.len());
}

#[test]
fn of_too_many_clients_of_two_sides_the_newest_stay_out() {
    let both = with(CLIENTS_MAX - 1);
    let one = both.changed(&[add(500)]).unwrap();
    let other = both.changed(&[add(600)]).unwrap().changed(&[AccessChange::Remove(name(0))]).unwrap();
    let other = other.changed(&[add(700)]).unwrap();
    let united = one.united(&other);
    assert!(united.is_within_bounds());
    assert_eq!(united, other.united(&one));
    assert!(!names(&united).contains(&"700".to_owned()), "{:?}", names(&united));
}

/// Ledgers that a few operators could have written, from a common beginning.
fn ledger() -> impl Strategy<Value = Ledger> {
    let change = (0..4_usize, 0..4_usize).prop_map(|(kind, n)| match kind {
        0 | 1 => add(n),
        2 => AccessChange::Remove(name(n)),
        _ => AccessChange::Open,
    });
    let changes = proptest::collection::vec(change, 0..12);
    changes.prop_map(|changes| {
        let one = |ledger: Ledger, change| ledger.changed(&[change]).unwrap_or(ledger);
        changes.into_iter().fold(with(2), one)
    })
}

proptest! {
    #[test]
    fn ledgers_unite_to_one_in_whatever_order_they_meet(a in ledger(), b in ledger(), c in ledger()) {
        assert_unite(&a, &b, &c);
    }
}

struct Node {
    me: Identity,
    roster: Roster,
    items: Items,
    admittance: Admittance,
}

impl Node {
    fn new(n: u8) -> Self {
        let first = identity(1);
        let mut roster = Roster::new(CLUSTER, first.id);
        let entry = |n| crate::cluster::roster::admit(&first.keypair, CLUSTER, 0, identity(n).id, WgPublicKey([n; 32]));
        roster.load(&[entry(1), entry(2)], &mut Items::default());
        Self { me: identity(n), roster, items: Items::default(), admittance: Admittance::default() }
    }

    fn change(&mut self, changes: &[AccessChange]) {
        let ledger = self.admittance.kept.ledger().changed(changes).unwrap();
        let (_, blob) = write_down(&self.me, ledger);
        self.accept(&blob).unwrap();
    }

    fn accept(&mut self, blob: &[u8]) -> Result<(), PeerError> {
        self.admittance.accept(&self.me, &self.roster, &mut self.items, blob)
    }

    fn blob(&self) -> Vec<u8> {
        self.items.blob(Key::Access).unwrap().1.to_vec()
    }
}

#[test]
fn two_that_changed_apart_hold_the_same_item_in_the_end() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    one.change(&[add(1), add(2)]);
    two.accept(&one.blob()).unwrap();
    assert_eq!(two.accept(&one.blob()), Err(PeerError::Stale));
    one.change(&[AccessChange::Remove(name(1))]);
    two.change(&[add(3)]);
    for _ in 0..3 {
        let (ours, theirs) = (one.blob(), two.blob());
        _ = (two.accept(&ours), one.accept(&theirs));
    }
    assert_eq!(one.blob(), two.blob());
    assert_eq!(names(one.admittance.kept.ledger()), ["2", "3"]);
}

#[test]
fn what_no_member_signed_or_nobody_could_have_counted_is_refused() {
    let mut node = Node::new(1);
    node.change(&[add(1)]);
    let before = (node.blob(), node.admittance.access.clone());
    let ledger = Ledger { version: 1 + VERSION_JUMP_MAX, ..with(2) };
    let blob = |by: u8, ledger: &Ledger| write_down(&identity(by), ledger.clone()).1;
    assert_eq!(node.accept(&blob(3, &ledger)), Err(PeerError::NotAMember));
    let ahead = Ledger { version: 2 + VERSION_JUMP_MAX, ..ledger.clone() };
    assert_eq!(node.accept(&blob(2, &ahead)), Err(PeerError::EpochJump));
    let newer_entry = Ledger { restricted: (5, true), version: 4, ..ledger.clone() };
    assert_eq!(node.accept(&blob(2, &newer_entry)), Err(PeerError::Malformed));
    let mut forged = blob(2, &ledger);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(node.accept(&forged), Err(PeerError::BadSignature));
    assert_eq!((node.blob(), node.admittance.access.clone()), before);
    assert_eq!(node.accept(&blob(2, &ledger)), Ok(()));
}

#[test]
fn a_damaged_ledger_closes_the_address_until_another_says_who_may() {
    let (me, mut file) = (identity(1), RosterFile::default());
    let load = |file: &RosterFile| {
        let (mut admittance, mut items) = (Admittance::default(), Items::default());
        let verifies = admittance.load(&me, &mut items, file);
        (verifies, Access::clone(admittance.access()))
    };
    assert_eq!(load(&file), (true, Access::Open));
    let (ledger, blob) = write_down(&me, with(2));
    file.access = Some(blob.clone());
    assert_eq!(load(&file), (true, ledger.access()));
    for at in 0..blob.len() {
        let mut damaged = blob.clone();
        damaged[at] ^= 1;
        file.access = Some(damaged);
        assert_eq!(load(&file), (false, Access::Restricted(BTreeMap::new())), "byte {at}");
    }
    let mut node = Node::new(1);
    node.admittance.load(&me, &mut node.items, &file);
    node.accept(&blob).unwrap();
    assert_eq!(names(node.admittance.kept.ledger()).len(), 2);
}
