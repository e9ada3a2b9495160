//! Token rotation and removal of members: in calm, across partitions, restarts and absences.

mod mesh;

use mesh::{World, seeds};
use rustbalance_core::cluster::{CommandError, PeerError, Role};
use rustbalance_core::join::{AdmitError, JoinError};
use rustbalance_core::{Event, NodeId};

fn rotate(world: &mut World, node: usize) {
    assert_eq!(world.command(node, |cluster, now, out| cluster.rotate_token(now, out)), Ok(()));
}

fn remove(world: &mut World, node: usize, whom: usize) {
    let whom = id(world, whom);
    assert_eq!(world.command(node, |cluster, now, out| cluster.remove(now, whom, out)), Ok(()));
}

fn id(world: &World, node: usize) -> NodeId {
    world.hosts.get(node).expect("a host").id
}

/// All of `nodes` are members of one another and of nobody else, and have one token of at least that generation.
fn agree(world: &World, nodes: &[usize], generation: u32) -> bool {
    let mut expected: Vec<NodeId> = nodes.iter().map(|node| id(world, *node)).collect();
    expected.sort_unstable();
    let cluster = |node: &usize| world.hosts.get(*node).and_then(|host| host.cluster.as_ref()).expect("running");
    let first = nodes.first().map(cluster).expect("a node");
    nodes.iter().map(|node| (node, cluster(node))).all(|(node, cluster)| {
        let members: Vec<NodeId> = world.view(*node).members.iter().map(|member| member.node).collect();
        members == expected
            && cluster.generation() == first.generation()
            && cluster.generation() >= generation
            && cluster.token().is_some()
            && cluster.token() == first.token()
    })
}

/// `n` asks `node` with `token`; how it was refused, if it was.
fn ask(world: &mut World, node: usize, n: u8, token: [u8; 32]) -> Result<(), JoinError> {
    world.ask(node, n, token).map(|_| ())
}

#[test]
fn a_new_token_reaches_everyone_at_once_and_the_old_one_admits_nobody() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 5);
        let old = world.hosts[3].token;
        rotate(&mut world, 3);
        let took = world.until(2_000, "everyone has it", |world| agree(world, &[0, 1, 2, 3, 4], 1));
        println!("{took} ms");
        world.until(4_000, "settled", World::is_settled);
        let new = world.hosts[0].token;
        assert_ne!(new, old, "the shell was told");
        for node in 0..5 {
            let refused = Err(JoinError::Refused(AdmitError::BadToken));
            assert_eq!(ask(&mut world, node, 9, old), refused);
            assert_eq!(world.hosts[node].token, new);
        }
        let joined = world.join_with(4, 9, new);
        world.set_eligible(joined, true);
        world.until(8_000, "it is one of them", |world| agree(world, &[0, 1, 2, 3, 4, 5], 1) && world.is_settled());
    }
}

#[test]
fn nothing_of_a_rotation_is_seen_before_it_is_on_disk_and_it_survives_a_restart() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 3);
        world.disk_ms = 1_000;
        rotate(&mut world, 1);
        let again = world.command(1, |cluster, now, out| cluster.rotate_token(now, out));
        assert_eq!(again, Err(CommandError::Busy));
        world.run(900);
        assert!((0..3).all(|node| world.cluster(node).generation() == 0));
        world.kill(1);
        world.disk_ms = 5;
        world.start(1);
        assert_eq!(world.cluster(1).generation(), 1, "it had reached the disk after all");
        assert!(world.cluster(1).token().is_some());
        world.until(5_000, "everyone has it", |world| agree(world, &[0, 1, 2], 1));
        for node in 0..3 {
            world.kill(node);
        }
        for node in 0..3 {
            world.start(node);
        }
        assert!(agree(&world, &[0, 1, 2], 1), "from the disk alone");
    }
}

#[test]
fn a_rotation_on_one_side_of_a_partition_reaches_the_other_when_it_heals() {
    for seed in seeds(20) {
        for rotator in [0, 4] {
            let mut world = World::of(seed, 5);
            world.partition(&[0, 1], &[2, 3, 4]);
            world.run(8_000);
            rotate(&mut world, rotator);
            world.run(8_000);
            world.heal();
            world.until(5_000, "one token, one holder", |world| {
                agree(world, &[0, 1, 2, 3, 4], 1) && world.holders().len() == 1
            });
            world.until(8_000, "settled", World::is_settled);
        }
    }
}

#[test]
fn rival_rotations_and_removals_of_both_sides_unite() {
    for seed in seeds(30) {
        let mut world = World::of(seed, 7);
        world.partition(&[0, 1, 2], &[3, 4, 5, 6]);
        world.run(8_000);
        remove(&mut world, 0, 5);
        remove(&mut world, 3, 2);
        world.run(8_000);
        if seed % 2 == 0 {
            rotate(&mut world, 4);
            world.run(2_000);
        }
        world.heal();
        let rest = [0, 1, 3, 4, 6];
        world.until(15_000, "both are out, nobody else", |world| agree(world, &rest, 1));
        world.run(10_000);
        assert!(agree(&world, &rest, 2), "a token that neither of them was given: {}", world.describe());
        let (here, there) = (world.hosts[2].token, world.hosts[5].token);
        assert!(world.hosts[0].token != here && world.hosts[0].token != there);
        for gone in [2, 5] {
            assert_eq!(world.view(gone).role, Role::Follower, "told, and quiet");
            world.kill(gone);
        }
        world.until(8_000, "settled", World::is_settled);
    }
}

#[test]
fn a_member_that_was_down_learns_of_many_rotations_at_once() {
    for seed in seeds(10) {
        for rotations in [2, 8, 20] {
            let mut world = World::of(seed, 3);
            world.kill(2);
            for n in 0..rotations {
                rotate(&mut world, n % 2);
                world.run(1_500);
            }
            world.start(2);
            let generation = u32::try_from(rotations).unwrap();
            world.until(3_000, "it has the newest", |world| agree(world, &[0, 1, 2], generation));
        }
    }
}

#[test]
fn a_removed_holder_stops_at_once_and_another_follows() {
    for seed in seeds(30) {
        let mut world = World::of(seed, 5);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let rest: Vec<usize> = (0..5).filter(|node| *node != holder).collect();
        remove(&mut world, rest[0], holder);
        let gone = id(&world, holder);
        world.until(1_000, "it stopped", |world| world.view(holder).role == Role::Follower);
        world.until(4_000, "another holds", |world| world.holders().len() == 1);
        world.until(4_000, "a new token", |world| agree(world, &rest, 1));
        world.run(500);
        for node in rest {
            assert!(world.cluster(node).peers().iter().all(|peer| peer.node != gone), "the tunnel is closed");
            let removed = world.hosts[node].events.iter().any(|(_, event)| *event == Event::Removed(gone));
            assert!(removed);
        }
        assert!(world.hosts[holder].warnings().iter().any(|text| text.contains("was removed")));
    }
}

#[test]
fn a_member_removed_while_it_was_cut_off_changes_nothing_when_it_is_back() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 4);
        world.partition(&[3], &[0, 1, 2]);
        world.run(8_000);
        remove(&mut world, 1, 3);
        world.run(2_000);
        world.heal();
        let (gone, token) = (id(&world, 3), world.hosts[3].token);
        world.run(15_000);
        assert!(agree(&world, &[0, 1, 2], 1), "{}", world.describe());
        assert!(world.delivered.iter().all(|(from, _, _)| *from != 3), "to the others it is a stranger");
        let (_, _, bytes) = world.delivered.back().cloned().unwrap();
        for node in 0..3 {
            let now = world.now(node);
            let heard = world.command(node, |cluster, _, out| cluster.handle_peer(now, gone, &bytes, out));
            assert_eq!(heard, Err(PeerError::NotAMember));
            assert_eq!(ask(&mut world, node, 9, token), Err(JoinError::Refused(AdmitError::BadToken)));
            let new = world.hosts[node].token;
            let known = ask(&mut world, node, 4, new);
            assert_eq!(known, Err(JoinError::Refused(AdmitError::Tombstoned)), "under its old name never");
        }
    }
}

#[test]
fn what_a_removed_member_published_where_nobody_heard_it_is_published_over() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 3);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let [other, cut_off] = [1, 2].map(|step| (holder + step) % 3);
        world.partition(&[cut_off], &[holder, other]);
        world.run(8_000);
        assert!(world.holders().contains(&cut_off));
        assert_eq!(world.view(holder).rival_until, None);
        remove(&mut world, holder, cut_off);
        world.heal();
        world.until(1_000, "it may have been a rival", |world| world.view(holder).rival_until.is_some());
        world.run(31_000);
        assert_eq!(world.view(holder).rival_until, None, "it was told to stop long ago");
    }
    for seed in seeds(5) {
        let mut world = World::of(seed, 3);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        remove(&mut world, holder, (holder + 1) % 3);
        world.until(1_000, "a new token", |world| world.view(holder).members.len() == 2);
        assert_eq!(world.view(holder).rival_until, None, "it was heard not to publish");
    }
}

#[test]
fn a_joiner_that_asked_with_the_old_token_is_turned_away_when_the_new_one_comes() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        world.hosts[1].native_off = false;
        let old = world.hosts[1].token;
        world.request(1, 9, old);
        rotate(&mut world, 0);
        world.until(2_000, "everyone has it", |world| agree(world, &[0, 1, 2], 1));
        assert_eq!(world.reply(1, 9, old).unwrap().err(), Some(JoinError::Refused(AdmitError::BadToken)));
        world.hosts[1].native_off = true;
        world.run(1_000);
        assert!(agree(&world, &[0, 1, 2], 1));
    }
}

#[test]
fn a_joiner_admitted_on_the_other_side_of_a_partition_stays() {
    for seed in seeds(20) {
        let mut world = World::of(seed, 4);
        world.partition(&[0, 1], &[2, 3]);
        world.run(5_000);
        rotate(&mut world, 0);
        let old = world.hosts[3].token;
        let joined = world.join_with(3, 9, old);
        world.partition(&[0, 1], &[joined]);
        world.set_eligible(joined, true);
        world.run(5_000);
        world.heal();
        world.until(8_000, "all are members, with the new token", |world| agree(world, &[0, 1, 2, 3, joined], 1));
        world.until(8_000, "settled", World::is_settled);
    }
}

#[test]
fn the_publisher_makes_a_new_token_if_whoever_made_the_last_took_it_along() {
    for seed in seeds(10) {
        let mut world = World::of(seed, 3);
        let [holder] = world.holders()[..] else { panic!("one holder") };
        let lost = (holder + 1) % 3;
        let rest: Vec<usize> = (0..3).filter(|node| *node != lost).collect();
        rotate(&mut world, lost);
        world.until(1_000, "the rotation is out, the token is not", |world| {
            rest.iter().any(|node| world.hosts[*node].cluster.as_ref().is_some_and(|c| c.token().is_none()))
        });
        world.kill(lost);
        world.until(12_000, "another token", |world| {
            rest.iter().all(|node| world.hosts[*node].cluster.as_ref().is_some_and(|c| c.token().is_some()))
        });
        world.start(lost);
        world.until(8_000, "everyone has it", |world| agree(world, &[0, 1, 2], 1));
    }
}

#[test]
fn commands_that_make_no_sense_are_refused_with_the_reason() {
    let mut world = World::of(1, 3);
    let (me, other) = (id(&world, 0), id(&world, 2));
    let remove =
        |world: &mut World, node: usize, whom| world.command(node, |cluster, now, out| cluster.remove(now, whom, out));
    assert_eq!(remove(&mut world, 0, me), Err(CommandError::Oneself));
    assert_eq!(remove(&mut world, 0, NodeId([9; 32])), Err(CommandError::Unknown));
    assert_eq!(remove(&mut world, 0, other), Ok(()));
    assert_eq!(remove(&mut world, 0, other), Err(CommandError::Busy));
    world.until(2_000, "it is out", |world| agree(world, &[0, 1], 1));
    assert_eq!(remove(&mut world, 0, other), Err(CommandError::Gone));
    assert_eq!(remove(&mut world, 2, me), Err(CommandError::NotAMember));
    let last = id(&world, 1);
    assert_eq!(remove(&mut world, 0, last), Ok(()), "its machine may be in other hands");
    world.run(2_000);
    assert_eq!(world.view(0).role, Role::Alone);
    assert!(agree(&world, &[0], 2));
    let now = world.now(0);
    world.hosts[0].shut_down(now, true);
    let stopping = world.command(0, |cluster, now, out| cluster.rotate_token(now, out));
    assert_eq!(stopping, Err(CommandError::Stopping));
}
