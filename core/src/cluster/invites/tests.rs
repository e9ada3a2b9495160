use proptest::prelude::*;

use super::*;
use crate::cluster::item::Items;
use crate::cluster::ledger::{assert_unite, write_down};
use crate::cluster::tests::{CLUSTER, identity};
use crate::cluster::timing::{INVITE_BURST, INVITE_REQUEST_EVERY};
use crate::id::WgPublicKey;

const NOW: Wall = Wall::from_secs(1_000_000);

fn id(n: usize) -> InviteId {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    InviteId(bytes)
}

fn new(n: usize) -> NewInvite {
    let name = format!("{n:0>CLIENT_NAME_MAX$}").parse().unwrap();
    NewInvite { id: id(n), name, uses: 1, expires: NOW.as_secs() + 3600 + n as u64 }
}

fn node(n: u8) -> NodeId {
    identity(n).id
}

fn roster() -> Roster {
    let (first, mut roster) = (identity(1), Roster::new(CLUSTER, node(1)));
    let entry = |n| crate::cluster::roster::admit(&first.keypair, CLUSTER, 0, node(n), WgPublicKey([n; 32]));
    roster.load(&[entry(1), entry(2)], &mut Items::default());
    roster
}

fn with(count: usize) -> Ledger {
    let one = |ledger: Ledger, n| ledger.with(node(1), &new(n), NOW, &roster()).unwrap();
    (0..count).fold(Ledger::default(), one)
}

fn used(mut ledger: Ledger, n: usize, by: u8) -> Ledger {
    ledger.invites.get_mut(&id(n)).unwrap().used.insert(node(by).into());
    ledger.next()
}

#[test]
fn an_invite_admits_as_many_nodes_as_it_is_for_and_each_of_them_again() {
    let ledger = with(1);
    let admits = |ledger: &Ledger, by, secs| ledger.admits(id(0), node(by), Wall::from_secs(secs), &roster());
    let now = NOW.as_secs();
    assert_eq!(admits(&ledger, 5, now), Ok(()));
    assert_eq!(admits(&ledger, 5, now + 3600), Err(AdmitError::InviteExpired));
    let once = used(ledger.clone(), 0, 5);
    assert_eq!(admits(&once, 5, now), Ok(()), "a joiner that died half way");
    assert_eq!(admits(&once, 6, now), Err(AdmitError::InviteUsed));
    let name = new(0).name;
    assert_eq!(admits(&once.revoked(&name, NOW).unwrap(), 5, now), Err(AdmitError::InviteRevoked));
    let by_nobody = ledger.with(node(9), &new(1), NOW, &roster()).unwrap();
    assert_eq!(by_nobody.admits(id(1), node(5), NOW, &roster()), Err(AdmitError::InviteRevoked));
    assert_eq!(ledger.admits(id(7), node(5), NOW, &roster()), Err(AdmitError::InviteRevoked), "unknown");
}

#[test]
fn a_name_that_two_sides_of_a_partition_gave_is_revoked_with_all_that_have_it() {
    let (one, other) = (new(0), NewInvite { id: id(1), ..new(0) });
    let make = |new| Ledger::default().with(node(1), new, NOW, &roster()).unwrap();
    let united = make(&one).united(&make(&other));
    let revoked = united.revoked(&one.name, NOW).unwrap();
    for id in [one.id, other.id] {
        assert_eq!(united.admits(id, node(5), NOW, &roster()), Ok(()));
        assert_eq!(revoked.admits(id, node(5), NOW, &roster()), Err(AdmitError::InviteRevoked));
    }
    assert_eq!(united.revoked(&new(2).name, NOW), Err(CommandError::NoSuchInvite));
}

#[test]
fn what_cannot_be_made_or_revoked_is_refused_by_kind() {
    let ledger = with(2);
    let refused = |new: NewInvite| ledger.with(node(1), &new, NOW, &roster()).err();
    assert_eq!(refused(NewInvite { name: new(0).name, ..new(5) }), Some(CommandError::InviteExists));
    assert_eq!(refused(NewInvite { uses: 0, ..new(5) }), Some(CommandError::InviteBounds));
    assert_eq!(refused(NewInvite { uses: INVITE_USES_MAX + 1, ..new(5) }), Some(CommandError::InviteBounds));
    for expires in [0, NOW.as_secs(), NOW.as_secs() + LIFETIME_MAX_SECS + 1] {
        assert_eq!(refused(NewInvite { expires, ..new(5) }), Some(CommandError::InviteBounds));
    }
    assert!(ledger.with(node(1), &new(1), NOW, &roster()).unwrap().says_the_same(&ledger), "again");
    assert_eq!(ledger.revoked(&new(5).name, NOW).err(), Some(CommandError::NoSuchInvite));
    let late = Wall::from_secs(NOW.as_secs() + 7200);
    assert_eq!(ledger.revoked(&new(1).name, late).err(), Some(CommandError::NoSuchInvite));
    let again = NewInvite { name: new(0).name, expires: late.as_secs() + 1, ..new(5) };
    assert!(ledger.with(node(1), &again, late, &roster()).is_ok(), "the name of one that has expired");
}

#[test]
fn an_open_invite_is_never_pushed_out_but_others_are() {
    let full = with(INVITES_KEPT);
    let more = |ledger: &Ledger| ledger.with(node(1), &new(500), NOW, &roster());
    assert_eq!(more(&full).err(), Some(CommandError::TooManyInvites));
    let next = more(&used(full.clone(), 0, 5)).unwrap();
    assert!(next.is_within_bounds() && !next.invites.contains_key(&id(0)));
    let sooner = NewInvite { expires: NOW.as_secs() + 1, ..new(500) };
    let refused = used(full, 0, 5).with(node(1), &sooner, NOW, &roster()).err();
    assert_eq!(refused, Some(CommandError::TooManyInvites), "it would be forgotten at once");
}

#[test]
fn the_largest_ledger_is_an_item() {
    let mut ledger = with(INVITES_KEPT);
    for entry in ledger.invites.values_mut() {
        entry.terms.expires = u64::MAX;
        entry.used = (0..USED_KEPT).map(|n| NodeId([u8::try_from(n).unwrap(); 32]).into()).collect();
    }
    let ledger = ledger.at_version(u64::MAX);
    assert!(ledger.is_within_bounds());
    let (_, blob) = write_down(&identity(1), ledger);
    assert!(blob.len() <= ITEM_MAX, "{}", blob.len());
}

/// Ledgers that a few operators and joiners could have written, from a common beginning.
fn ledger() -> impl Strategy<Value = Ledger> {
    let changes = proptest::collection::vec((0..3_usize, 0..4_usize, 3..30_u8), 0..30);
    changes.prop_map(|changes| {
        let one = |ledger: Ledger, (kind, n, by)| match kind {
            0 => ledger.with(node(1), &new(n), NOW, &roster()).unwrap(),
            1 if ledger.invites.contains_key(&id(n)) => used(ledger, n, by),
            _ => ledger.revoked(&new(n).name, NOW).unwrap_or(ledger),
        };
        changes.into_iter().fold(with(2), one)
    })
}

proptest! {
    #[test]
    fn ledgers_unite_to_one_in_whatever_order_they_meet(a in ledger(), b in ledger(), c in ledger()) {
        assert_unite(&a, &b, &c);
    }
}

#[test]
fn of_too_many_of_two_sides_those_that_expire_first_are_forgotten() {
    let (one, mut other) = (with(INVITES_KEPT), Ledger::default());
    for n in 40..40 + INVITES_KEPT {
        other = other.with(node(2), &NewInvite { name: new(n + 500).name, ..new(n) }, NOW, &roster()).unwrap();
    }
    let united = one.united(&other);
    assert_eq!(united, other.united(&one));
    assert!(united.is_within_bounds());
    assert!(!united.invites.contains_key(&id(39)) && united.invites.contains_key(&id(40)));
}

#[test]
fn requests_are_looked_at_at_a_bounded_rate() {
    let (mut bucket, mut taken) = (Bucket::default(), 0);
    for ms in 0..10_000 {
        taken += u32::from(bucket.take(Mono::from_ms(1_000_000 + ms), INVITE_BURST, INVITE_REQUEST_EVERY));
    }
    assert_eq!(taken, INVITE_BURST + 49);
}
