//! One HSDir's answers, and what follows from them.

use super::*;
use crate::rng::Seed;

fn at(secs: u64) -> Mono {
    Mono::from_ms(secs * 1000)
}

fn rng() -> Rng {
    Seed::new([5; 32]).fork("target")
}

fn refused(at_secs: &[u64], readable: bool, ahead: bool) -> Target {
    let mut target = Target::default();
    for secs in at_secs {
        target.fail(at(*secs), UploadFailure::Rejected, readable, ahead, &mut rng());
    }
    target
}

#[test]
fn waits_double_with_jitter_up_to_a_minute() {
    let (mut target, mut rng) = (Target::default(), rng());
    for wait_ms in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        target.fail(at(10), UploadFailure::Timeout, true, false, &mut rng);
        let waited = target.next_try().since(at(10)).as_millis();
        assert!((wait_ms * 3 / 4..wait_ms * 5 / 4).contains(&waited), "{wait_ms} {waited}");
    }
}

#[test]
fn lost_connection_does_not_count_as_an_attempt() {
    let mut target = Target::default();
    for _ in 0..10 {
        target.fail(at(10), UploadFailure::Disconnected, true, false, &mut rng());
    }
    assert!(!target.is_failing());
    assert_eq!(target.next_try().since(at(10)), RETRY_DISCONNECTED);
}

#[test]
fn a_refusal_under_an_earlier_lease_does_not_make_the_next_look_poisoned() {
    let mut target = refused(&[0], false, false);
    target.stand_down();
    target.fail(at(40), UploadFailure::Rejected, false, false, &mut rng());
    assert_eq!(target.need(at(99), false), Need::Clock { above: None });
    target.fail(at(50), UploadFailure::Rejected, false, false, &mut rng());
    target.fail(at(70), UploadFailure::Rejected, false, false, &mut rng());
    assert_eq!(target.need(at(99), false), Need::Ahead { secs: STEP_SECS });
}

#[test]
fn steps_ahead_double_up_to_two_hours() {
    let steps = |steps: usize| {
        let mut target = refused(&[0, 1], false, false);
        (0..steps).for_each(|_| target.fail(at(30), UploadFailure::Rejected, false, true, &mut rng()));
        target.need(at(99), false)
    };
    let secs = [120, 240, 480, 960, 1920, 3840, 7200, 7200, 7200];
    assert_eq!((1..10).map(steps).collect::<Vec<_>>(), secs.map(|secs| Need::Ahead { secs }));
}

#[test]
fn only_refusals_half_a_minute_apart_are_poison_however_old_the_first() {
    assert_eq!(refused(&[0, 1, 30], false, false).need(at(99), false), Need::Ahead { secs: STEP_SECS });
    assert_eq!(refused(&[0, 1, 29], false, false).need(at(99), false), Need::Clock { above: None });
    assert_eq!(refused(&[0], false, false).need(at(99), false), Need::Clock { above: None });
}

#[test]
fn who_loses_two_races_half_a_minute_apart_meets_a_rival_and_no_poison() {
    assert_eq!(refused(&[0, 32], false, false).need(at(32), false), Need::Clock { above: None });
    assert_eq!(refused(&[0, 32, 33], false, false).need(at(33), false), Need::Ahead { secs: STEP_SECS });
}

#[test]
fn refusal_before_other_failures_is_no_poison() {
    let mut target = refused(&[0], false, false);
    target.fail(at(40), UploadFailure::Timeout, false, false, &mut rng());
    assert_eq!(target.need(at(99), false), Need::Clock { above: None });
}

#[test]
fn what_may_have_been_taken_between_refusals_parts_them_and_what_never_arrived_does_not() {
    let failed = UploadFailure::Failed("UNEXPECTED".to_owned());
    let (one_more, poison) = (Need::Clock { above: None }, Need::Ahead { secs: STEP_SECS });
    for (between, need) in [
        (UploadFailure::Timeout, one_more),
        (UploadFailure::Dropped, one_more),
        (UploadFailure::Disconnected, one_more),
        (failed, poison),
    ] {
        let mut target = refused(&[0, 1], false, false);
        target.fail(at(20), between.clone(), false, false, &mut rng());
        target.fail(at(31), UploadFailure::Rejected, false, false, &mut rng());
        assert_eq!(target.need(at(31), false), need, "{between}");
    }
}

#[test]
fn readable_slot_takes_no_steps_until_its_counter_was_read() {
    let mut target = refused(&[0, 1, 31], true, false);
    assert!(target.probe);
    assert_eq!(target.need(at(31), true), Need::Clock { above: None });
    target.poison_read(RevisionCounter(77));
    assert_eq!(target.need(at(31), true), Need::Above(RevisionCounter(77)));
}

fn confirmed_at(secs: u64) -> Confirmed {
    let digest = Digest::of(b"text");
    Confirmed { round: 1, serial: 1, content: 0, revision: RevisionCounter(9), n: 1, digest, at: at(secs) }
}

/// What was confirmed, under this counter.
fn copy(revision: u64) -> Option<(RevisionCounter, Digest)> {
    Some((RevisionCounter(revision), Digest::of(b"text\n")))
}

#[test]
fn copy_is_missed_twice_before_it_is_uploaded_again() {
    let mut target = Target::default();
    target.confirm(confirmed_at(1));
    target.read(at(1), None, &mut rng());
    assert_eq!((target.confirmed, target.read_back_at()), (Some(confirmed_at(1)), Some(at(3))));
    assert_eq!(target.read(at(3), None, &mut rng()), Some(Lapse::Gone));
    assert_eq!((target.confirmed, target.read_back_at()), (None, None));
}

#[test]
fn older_and_newer_copies_than_confirmed_are_told_apart_and_wanted_again() {
    for (stored, lapse) in [(8, Lapse::Stale), (10, Lapse::Foreign)] {
        let mut target = Target::default();
        target.confirm(confirmed_at(1));
        assert_eq!(target.read(at(5), copy(stored), &mut rng()), Some(lapse));
        assert!(target.is_wanted(1));
        assert_eq!(target.need(at(5), true), Need::Clock { above: Some(RevisionCounter(stored.max(9))) });
    }
}

#[test]
fn another_text_under_the_confirmed_counter_is_no_proof_and_is_replaced_under_a_higher_one() {
    let mut target = Target::default();
    target.confirm(confirmed_at(1));
    let other = Some((RevisionCounter(9), Digest::of(b"texts")));
    assert_eq!(target.read(at(5), other, &mut rng()), Some(Lapse::Altered));
    assert_eq!((target.verified_at(), target.is_wanted(1)), (None, true));
    assert_eq!(target.need(at(5), true), Need::Clock { above: Some(RevisionCounter(9)) });
}

#[test]
fn verified_copy_is_read_again_after_five_to_ten_minutes_and_stays_verified_meanwhile() {
    let (mut target, mut rng) = (Target::default(), rng());
    target.confirm(confirmed_at(1));
    for turn in 1..100 {
        let now = at(turn * 1000);
        assert_eq!(target.read(now, copy(9), &mut rng), None);
        let wait = target.read_back_at().unwrap().since(now).as_secs();
        assert!((300..600).contains(&wait), "{wait}");
        assert_eq!(target.read(now, None, &mut rng), None, "one miss is none");
        assert_eq!((target.verified_at(), target.is_wanted(1)), (Some(now), false));
    }
}

#[test]
fn hsdir_that_keeps_nothing_is_served_less_and_less_often() {
    let (mut target, mut rng) = (Target::default(), rng());
    for wait_ms in [1000, 2000, 4000, 8000] {
        target.confirm(confirmed_at(10));
        target.read(at(10), None, &mut rng);
        target.read(at(10), None, &mut rng);
        let waited = target.next_try().since(at(10)).as_millis();
        assert!((wait_ms * 3 / 4..wait_ms * 5 / 4).contains(&waited), "{wait_ms} {waited}");
    }
}
