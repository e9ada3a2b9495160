//! Who publishes.

use rustbalance_core::cluster::Role;
use rustbalance_testing::sim::check::CONVERGE_MS;
use rustbalance_testing::sim::fault::Fault;
use rustbalance_testing::sim::world::World;

use crate::worlds::{calm, publisher, verdict};

#[test]
fn two_publishers_are_seen() {
    let said = verdict(|world| {
        let follower = (publisher(world) + 1) % 3;
        world.nodes[follower].role = world.nodes[publisher(world)].role;
        world.nodes[follower].asked_at = Some(world.now);
    });
    assert_eq!(said, "2 publishers among 3 live nodes in calm");
}

#[test]
fn no_publisher_is_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.nodes[holder].role = Role::Follower;
    });
    assert_eq!(said, "0 publishers among 3 live nodes in calm");
}

#[test]
fn a_lease_that_changes_hands_in_calm_is_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.nodes[holder].role = Role::Holder { epoch: 77 };
    });
    assert!(said.ends_with("took the lease in calm, epoch 77"), "{said}");
}

#[test]
fn leases_that_no_fault_accounts_for_are_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.calm_since = world.now;
        for epoch in 77..77 + 9 + 2 * world.faults {
            _ = world.check(); // some are accounted for
            world.nodes[holder].role = Role::Holder { epoch };
        }
    });
    assert!(said.contains(" leases after ") && said.ends_with(" faults"), "{said}");
}

#[test]
fn epochs_that_are_used_up_are_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.calm_since = world.now;
        world.nodes[holder].role = Role::Holder { epoch: u64::MAX };
    });
    assert!(said.contains(" uses up epochs: 18446744073709551615 after "), "{said}");
}

#[test]
fn a_lease_that_is_handed_over_again_and_again_in_calm_is_seen() {
    let said = verdict(|world| {
        let follower = (publisher(world) + 1) % 3;
        world.now += 100_000;
        world.nodes[follower].priority_now = 10;
        for epoch in 77..=79 {
            world.nodes[follower].role = Role::Holder { epoch };
            assert_eq!(world.check(), Ok(()));
        }
        world.nodes[follower].role = Role::Holder { epoch: 80 };
    });
    assert_eq!(said, "4 hand-overs in calm among 3 members");
}

#[test]
fn a_better_priority_that_waits_for_the_lease_in_vain_is_seen() {
    let prefer = |world: &mut World| {
        let follower = (publisher(world) + 1) % 3;
        world.nodes[follower].priority_now = 10;
        world.now = world.calm_since + CONVERGE_MS + 60_000;
        follower
    };
    let said = verdict(|world| {
        let follower = prefer(world);
        assert_eq!(world.check(), Ok(()), "that of {follower} must wait for a minute");
        world.now += 5_000;
    });
    assert!(said.ends_with("has better priority than who publishes, and does not get the lease"), "{said}");
    let mut world = calm();
    let follower = prefer(&mut world);
    world.nodes[follower].is_draining = true;
    world.now += 5_000;
    assert_eq!(world.check().err().filter(|said| said.contains("priority")), None, "who is drained does not publish");
}

#[test]
fn a_lease_taken_from_a_living_holder_without_a_question_is_seen() {
    let said = verdict(|world| {
        let (holder, follower) = (publisher(world), (publisher(world) + 1) % 3);
        world.calm_since = world.now;
        let Role::Holder { epoch } = world.nodes[holder].role else { panic!("nobody publishes") };
        let next = Role::Holder { epoch: epoch + 1 };
        // Two who claim one epoch take it from nobody.
        for (role, asked_at) in [(Role::Holder { epoch }, None), (next, Some(world.now)), (Role::Follower, None)] {
            (world.nodes[follower].role, world.nodes[follower].asked_at) = (role, asked_at);
            assert_eq!(world.check(), Ok(()));
            world.nodes[follower].role = Role::Follower;
            assert_eq!(world.check(), Ok(()));
        }
        world.nodes[follower].role = next;
    });
    assert!(said.ends_with("has neither asked nor waited"), "{said}");
}

#[test]
fn a_lease_that_is_handed_over_and_kept_is_seen() {
    let said = verdict(|world| {
        let follower = (publisher(world) + 1) % 3;
        world.now += 100_000;
        world.nodes[follower].priority_now = 10;
        world.nodes[follower].role = Role::Holder { epoch: 77 };
        assert_eq!(world.check(), Ok(()), "a hand-over takes a moment");
        world.now += 2_000;
    });
    assert_eq!(said, "2 publishers among 3 live nodes in calm");
}

#[test]
fn an_epoch_that_the_disk_does_not_know_is_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.calm_since = world.now;
        world.nodes[holder].role = Role::Holder { epoch: 77 };
        world.nodes[holder].lease_unwritten = true;
    });
    assert!(said.ends_with("serves epoch 77, which its disk has not"), "{said}");
}

#[test]
fn a_deaf_holder_that_nobody_replaces_is_seen() {
    let said = verdict(|world| {
        let node = publisher(world);
        world.strike(&Fault::Deaf { node });
        world.calm_since = 0;
    });
    assert_eq!(said, "0 publishers among 2 live nodes in calm");
}

#[test]
fn a_lost_copy_that_nobody_can_read_is_none_of_the_publishers_faults() {
    let mut world = calm();
    let layout = world.layout();
    let other = layout.slots.iter().find(|slot| slot.blind != layout.current().blind).expect("two slots");
    world.hsdirs.spoiled.insert((other.store[0], other.blind), world.now);
    world.calm_since = 0;
    world.now += 900_000;
    assert_eq!(world.check(), Ok(()));
}

#[test]
fn an_older_epoch_is_seen() {
    let said = verdict(|world| {
        let holder = publisher(world);
        world.nodes[holder].epoch_seen = 99;
    });
    assert!(said.ends_with("after 99"), "{said}");
}
