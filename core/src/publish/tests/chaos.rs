//! After any faults have passed, every HSDir holds the plan.

use crate::cluster::{Liveness, Role};
use crate::onion::period::Slot;
use crate::publish::testing::{Behaviour, World, keys_of, secs};
use core::time::Duration;
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Fault {
    HsDir(u8, Option<Behaviour>),
    Member(u8, Liveness),
    Points(u8, u8),
    Serves(u8, bool),
    Epoch,
    Stall(bool),
    Rival,
    Connection(bool),
    Clock(i16),
    Relays(u8),
}

fn fault() -> impl Strategy<Value = Fault> {
    let behaviour =
        prop::option::of(prop_oneof![Just(Behaviour::Rejects), Just(Behaviour::Fails), Just(Behaviour::Silent)]);
    let liveness = prop_oneof![Just(Liveness::Live), Just(Liveness::Unknown), Just(Liveness::Down)];
    prop_oneof![
        (0_u8..16, behaviour).prop_map(|(at, behaviour)| Fault::HsDir(at, behaviour)),
        (2_u8..4, liveness).prop_map(|(n, liveness)| Fault::Member(n, liveness)),
        (1_u8..4, 0_u8..4).prop_map(|(n, points)| Fault::Points(n, points)),
        (1_u8..4, any::<bool>()).prop_map(|(n, serves)| Fault::Serves(n, serves)),
        Just(Fault::Epoch),
        any::<bool>().prop_map(Fault::Stall),
        Just(Fault::Rival),
        any::<bool>().prop_map(Fault::Connection),
        (-4000_i16..4000).prop_map(Fault::Clock),
        (28_u8..34).prop_map(Fault::Relays),
    ]
}

fn happen(world: &mut World, fault: Fault) {
    let mono = world.now.mono;
    match fault {
        Fault::HsDir(at, behaviour) => {
            let all = [world.responsible(Slot::First), world.responsible(Slot::Second)].concat();
            let hsdir = all[usize::from(at) % all.len()];
            match behaviour {
                Some(behaviour) => world.hsdirs.behaviour.insert(hsdir, behaviour),
                None => world.hsdirs.behaviour.remove(&hsdir),
            };
        }
        Fault::Member(n, liveness) => {
            world.member(n).liveness = liveness;
            world.member(n).since = mono;
        }
        Fault::Points(n, points) => {
            let relays: Vec<u8> = (0..points).map(|i| n * 10 + i).collect();
            let record = crate::publish::testing::member(n, &relays).record.unwrap();
            world.record(n).points = record.points.clone();
            world.record(n).version += 1;
        }
        Fault::Serves(n, serves) => world.record(n).tor_ready = serves,
        Fault::Epoch => {
            let view = world.view();
            view.build_era += 1;
            view.role = Role::Holder { epoch: view.build_era + 1 };
        }
        Fault::Stall(stalled) => {
            let view = world.view();
            view.hold_uploads = stalled;
            view.build_era += u64::from(stalled);
        }
        Fault::Rival => world.view().rival_until = Some(mono.plus(secs(30))),
        Fault::Connection(connected) => world.sites[0].connected = connected,
        Fault::Clock(ms) => world.sites[0].clock_ms = i64::from(ms),
        Fault::Relays(relays) => world.relays = relays,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 10))]
    #[test]
    fn every_hsdir_holds_the_plan_once_all_is_calm(
        faults in prop::collection::vec((fault(), 0_u64..8_000), 1..40),
    ) {
        let mut world = World::new(30);
        for (fault, ms) in faults {
            happen(&mut world, fault);
            world.run(Duration::from_millis(ms));
        }
        world.hsdirs.behaviour.clear();
        world.sites[0].connected = true;
        world.view().hold_uploads = false;
        world.record(1).tor_ready = true;
        if world.record(1).points.is_empty() {
            happen(&mut world, Fault::Points(1, 3));
        }
        world.run(secs(150));
        let view = &world.sites[0].view;
        let serving = [1, 2, 3].into_iter().filter(|n| {
            let member = &view.members[usize::from(*n) - 1];
            member.liveness == Liveness::Live && member.record.as_ref().unwrap().tor_ready
        });
        let expected = keys_of(view, &serving.collect::<Vec<u8>>());
        prop_assert_eq!(world.listed(), expected);
        prop_assert!(world.publisher().status(world.now).confirmed);
    }
}
