//! Facts, and what is said of them.

use super::*;
use crate::output::Output;
use crate::time::{Mono, Wall};

#[derive(Default)]
struct World {
    health: Health,
    clock: ClockOffset,
    validity: Validity,
    host: HostFacts,
}

impl World {
    /// One look at `secs`; what was said.
    fn tick(&mut self, secs: u64) -> Vec<Event> {
        let now = Now { mono: Mono::from_ms(secs * 1000), wall: Wall::from_secs(1_700_000_000 + secs) };
        let mut out = Outbox::default();
        self.health.measured(self.host);
        self.health.tick(now, self.clock, self.validity, &mut out);
        let events = core::iter::from_fn(|| out.pop());
        events.filter_map(|output| if let Output::Event(event) = output { Some(event) } else { None }).collect()
    }

    /// What is said in these seconds, one look each.
    fn ticks(&mut self, secs: core::ops::Range<u64>) -> Vec<(u64, Event)> {
        secs.flat_map(|sec| self.tick(sec).into_iter().map(move |event| (sec, event))).collect()
    }

    /// How full the disk is, over time: whether there is a warning, and whether the node may publish.
    fn with_free(&mut self, mib: u64) -> (bool, bool) {
        self.host.disk_free = Some(mib * MIB);
        self.tick(0);
        (!self.health.warnings().is_empty(), self.health.may_publish())
    }
}

fn others(lower_ms: i64, upper_ms: i64, others: usize) -> ClockOffset {
    ClockOffset { lower_ms, upper_ms, others }
}

#[test]
fn nothing_is_said_of_a_machine_that_is_well_or_of_which_nothing_is_known() {
    let mut world = World::default();
    assert_eq!(world.ticks(0..20), []);
    world.host = HostFacts {
        files: Some(Use { used: 79, limit: Some(100) }),
        memory: Some(Use { used: u64::MAX, limit: None }),
        disk_free: Some(50 * MIB),
    };
    (world.clock, world.validity) = (others(-1_999, 1_999, 1), Validity::Valid);
    assert_eq!(world.ticks(20..40), []);
    assert!(world.health.may_publish() && world.health.warnings().is_empty());
}

#[test]
fn a_clock_that_stays_two_seconds_away_is_said_once_and_again_when_it_is_well() {
    let mut world = World { clock: others(2_000, 2_000, 2), ..World::default() };
    let warning =
        "this machine's clock is 2.0 s behind those of the other nodes; set it, or theirs, and see that NTP runs";
    assert_eq!(world.ticks(0..30), [(10, Event::Warning(warning.to_owned()))]);
    assert_eq!(world.health.warnings(), [warning]);
    world.clock = others(1_500, 1_500, 2);
    assert_eq!(world.ticks(30..60), [], "between the limits");
    world.clock = others(999, 999, 2);
    let well = Event::Well("this machine's clock agrees with the others again".to_owned());
    assert_eq!(world.ticks(60..90), [(70, well)]);
    assert!(world.health.warnings().is_empty());
}

#[test]
fn a_clock_that_seems_wrong_for_a_moment_now_and_then_is_not_spoken_of() {
    let mut world = World::default();
    for sec in 0..100 {
        world.clock = others(if sec % 10 == 9 { 0 } else { 3_000 }, 3_000, 2);
        world.clock.upper_ms = world.clock.lower_ms;
        assert_eq!(world.tick(sec), []);
    }
}

#[test]
fn of_two_nodes_whose_clocks_differ_both_warn_and_both_may_publish() {
    for (clock, side) in [(others(-9_000, 0, 1), "9.0 s ahead of"), (others(0, 9_000, 1), "9.0 s behind")] {
        let mut world = World { clock, ..World::default() };
        world.ticks(0..20);
        let warnings = world.health.warnings();
        assert!(matches!(&warnings[..], [only] if only.contains(&format!("{side} the other node's"))), "{warnings:?}");
        assert!(world.health.may_publish());
    }
}

#[test]
fn a_clock_five_seconds_off_does_not_publish_until_it_is_well_within() {
    let mut world = World::default();
    for (ms, may_publish) in
        [(5_000, true), (5_001, false), (4_999, false), (4_001, false), (4_000, true), (5_000, true)]
    {
        world.clock = others(-ms, -ms, 2);
        world.tick(0);
        assert_eq!(world.health.may_publish(), may_publish, "{ms}");
    }
}

#[test]
fn a_clock_outside_the_consensus_is_said() {
    for (validity, words) in
        [(Validity::NotYet(61), "at least 61 s behind"), (Validity::Expired, "ended more than a day")]
    {
        let mut world = World { validity, ..World::default() };
        let said = world.ticks(0..20);
        assert!(matches!(&said[..], [(10, Event::Warning(text))] if text.contains(words)), "{said:?}");
        world.validity = Validity::Unknown;
        assert_eq!(world.ticks(20..40), [], "while nothing is known it stays");
        world.validity = Validity::Valid;
        assert_eq!(world.ticks(40..60).len(), 1);
    }
}

#[test]
fn file_handles_and_memory_are_said_at_their_limits_and_are_well_again_below() {
    let mut world = World::default();
    let mut said = |files, memory| {
        let of_a_hundred = |used: u64| Some(Use { used: used * MIB, limit: Some(100 * MIB) });
        (world.host.files, world.host.memory) = (of_a_hundred(files), of_a_hundred(memory));
        world.tick(0).len()
    };
    assert_eq!([said(79, 89), said(80, 90), said(100, 100), said(70, 80), said(69, 79)], [0, 2, 0, 0, 2]);
}

#[test]
fn a_disk_that_fills_up_is_said_and_a_full_one_keeps_from_publishing() {
    let mut world = World::default();
    let steps = [(50, (false, true)), (49, (true, true)), (1, (true, true)), (0, (true, false)), (7, (true, false))];
    for (mib, expected) in steps.into_iter().chain([(8, (true, true)), (59, (true, true)), (60, (false, true))]) {
        assert_eq!(world.with_free(mib), expected, "{mib} MiB");
    }
}
