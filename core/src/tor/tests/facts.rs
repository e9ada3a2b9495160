//! What the dialogue tells about the tor.

use std::time::Duration;

use super::Dialogue;
use super::fake::{CAPTURED_AT, VALID_AFTER_SECS, World, circuit_line, file, relay, relays_of_points};
use crate::id::RelayFingerprint;
use crate::time::Wall;
use crate::tor::TorState;

fn relays(dialogue: &Dialogue) -> Vec<RelayFingerprint> {
    dialogue.tor.facts().points.iter().map(|point| point.relay().unwrap()).collect()
}

#[test]
fn a_serving_tor_is_ready_as_soon_as_it_has_answered() {
    let dialogue = Dialogue::connected(World::serving());
    let facts = dialogue.tor.facts();
    assert_eq!(relays(&dialogue), relays_of_points());
    assert_eq!(facts.header.0, ["create2-formats 2", "flow-control 1-2 31"]);
    assert_eq!(facts.valid_after, Some(VALID_AFTER_SECS));
    let ring = facts.ring.as_ref().unwrap();
    assert_eq!((ring.relays(), ring.params().length_minutes), (27, 8), "the test network's period");
    assert_eq!(dialogue.states, [TorState::Bootstrapping(0), TorState::WaitingForPoints, TorState::Ready]);
    assert!(dialogue.warnings.is_empty(), "{:?}", dialogue.warnings);
}

#[test]
fn a_starting_tor_is_followed_to_readiness() {
    let mut dialogue = Dialogue::connected(World::starting());
    dialogue.say(b"650 STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=45 TAG=x SUMMARY=\"x\"\r\n").unwrap();
    assert_eq!(dialogue.tor.state(), TorState::Bootstrapping(45));
    assert!(dialogue.tor.facts().ring.is_none() && dialogue.tor.facts().valid_after.is_none());

    let descriptor = file("cases/plain-3ip/descriptor.txt");
    let text = String::from_utf8(descriptor.clone()).unwrap();
    let incomplete = text.replace("revision-counter 752425\n", "revision-counter 0\n");
    assert_ne!(text, incomplete);
    dialogue.world = World { descriptor: Some(incomplete.into_bytes()), ..World::serving() };
    dialogue.run(Duration::from_secs(2));
    assert_eq!(dialogue.tor.state(), TorState::WaitingForPoints);
    assert!(dialogue.tor.facts().ring.is_some());

    for (relay, id) in relays_of_points().into_iter().zip(6..) {
        dialogue.say(format!("650 CIRC_MINOR {}\r\n", circuit_line(id, relay, "PURPOSE_CHANGED")).as_bytes()).unwrap();
    }
    assert_eq!(dialogue.tor.state(), TorState::WaitingForPoints, "circuits alone are not enough");
    dialogue.world.descriptor = Some(descriptor);
    dialogue.run(Duration::from_secs(1));
    assert_eq!(dialogue.tor.state(), TorState::Ready);
    assert!(dialogue.warnings.is_empty(), "{:?}", dialogue.warnings);
}

#[test]
fn only_points_with_a_circuit_behind_them_count() {
    let mut world = World::serving();
    let all = relays_of_points();
    world.circuits.truncate(1);
    let mut dialogue = Dialogue::connected(world);
    assert_eq!(relays(&dialogue), all[..1]);

    let event = |line: String, minor: &str| format!("650 CIRC{minor} {line}\r\n").into_bytes();
    dialogue.say(&event(circuit_line(9, all[1], "PURPOSE_CHANGED"), "_MINOR")).unwrap();
    assert_eq!(relays(&dialogue), all[..2], "an event is enough");

    dialogue.say(&event(circuit_line(6, all[0], "CLOSED"), "")).unwrap();
    dialogue
        .say(&event(circuit_line(9, all[1], "PURPOSE_CHANGED").replace("HS_SERVICE_INTRO", "HS_VANGUARDS"), "_MINOR"))
        .unwrap();
    assert_eq!(relays(&dialogue), [], "closed, and turned to another purpose");
    assert_eq!(dialogue.tor.state(), TorState::WaitingForPoints);

    dialogue.say(&event(circuit_line(10, relay(7), "PURPOSE_CHANGED"), "_MINOR")).unwrap();
    assert_eq!(relays(&dialogue), [], "a circuit to somewhere else");
}

#[test]
fn a_changed_circuit_hurries_the_next_look() {
    let mut dialogue = Dialogue::connected(World::serving());
    let closed = format!("650 CIRC {}\r\n", circuit_line(6, relays_of_points()[0], "CLOSED"));
    dialogue.say(closed.as_bytes()).unwrap();
    dialogue.pass(Duration::from_millis(199));
    assert_eq!(dialogue.open_with("GETINFO hs/"), 0);
    dialogue.pass(Duration::from_millis(1));
    assert_eq!(dialogue.open_with("GETINFO hs/"), 1);
    dialogue.pass(Duration::from_secs(5));
    assert_eq!(dialogue.open_with("GETINFO hs/"), 1, "one question at a time");
}

#[test]
fn circuits_are_counted_afresh_now_and_then() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.world.circuits.clear();
    dialogue.run(Duration::from_secs(29));
    assert_eq!(relays(&dialogue).len(), 3);
    dialogue.run(Duration::from_secs(2));
    assert_eq!(relays(&dialogue).len(), 0);
}

#[test]
fn an_undecodable_descriptor_means_no_points_and_is_told_once() {
    let mut dialogue = Dialogue::connected(World::serving());
    let text = String::from_utf8(file("cases/plain-3ip/descriptor.txt")).unwrap();
    dialogue.world.descriptor =
        Some(text.replace("revision-counter 752425\n", "revision-counter 752426\n").into_bytes());
    dialogue.run(Duration::from_secs(10));
    assert_eq!(relays(&dialogue), []);
    assert_eq!(dialogue.warnings.len(), 1, "{:?}", dialogue.warnings);
    dialogue.world.descriptor = Some(text.into_bytes());
    dialogue.run(Duration::from_secs(2));
    assert_eq!(dialogue.tor.state(), TorState::Ready);
}

#[test]
fn an_unchanged_consensus_is_read_once_even_over_a_reconnect() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.world.consensus = None;
    dialogue.world.microdescs.clear();
    dialogue.run(Duration::from_secs(20));
    dialogue.close();
    dialogue.connect();
    dialogue.answer_all();
    assert_eq!(dialogue.tor.facts().ring.as_ref().unwrap().relays(), 27);
    assert_eq!(dialogue.tor.state(), TorState::Ready);
}

#[test]
fn an_answer_that_a_lost_connection_cuts_off_is_read_from_its_beginning_on_the_next() {
    for key in ["dir/status-vote/current/consensus-microdesc", "md/all"] {
        let mut dialogue = Dialogue::new(World::serving());
        dialogue.connect();
        while dialogue.open.front().is_some_and(|command| !command.ends_with(key)) {
            dialogue.answer();
        }
        let text =
            if key == "md/all" { dialogue.world.microdescs.clone() } else { World::serving().consensus.unwrap() };
        let half = String::from_utf8(text[..text.len() / 2].to_vec()).unwrap().replace('\n', "\r\n");
        dialogue.say(format!("250+{key}=\r\n{half}").as_bytes()).unwrap();
        assert!(dialogue.tor.facts().ring.is_none(), "{key}");
        dialogue.close();
        dialogue.connect();
        dialogue.answer_all();
        assert_eq!(dialogue.tor.facts().ring.as_ref().map(|ring| ring.relays()), Some(27), "{key}");
        assert_eq!(dialogue.warnings, [""; 0]);
    }
}

#[test]
fn a_new_consensus_moves_the_ring_at_the_event_or_within_five_seconds() {
    for hint in [&b"650 STATUS_CLIENT NOTICE CONSENSUS_ARRIVED\r\n"[..], b""] {
        let mut dialogue = Dialogue::connected(World::serving());
        dialogue.world.valid_after = "2026-11-23 15:17:20".to_owned();
        dialogue.world.consensus = Some(file("ring/tp-to-srv/consensus-microdesc.txt"));
        dialogue.world.microdescs = file("ring/tp-to-srv/microdescs.txt");
        dialogue.now.wall = Wall::from_secs(CAPTURED_AT + 240);
        dialogue.say(hint).unwrap();
        dialogue.run(if hint.is_empty() { Duration::from_secs(5) } else { Duration::ZERO });
        let facts = dialogue.tor.facts();
        assert_eq!(facts.valid_after, Some(VALID_AFTER_SECS + 240));
        assert_eq!(facts.ring.as_ref().unwrap().valid_after().as_secs(), VALID_AFTER_SECS + 240);
    }
}

#[test]
fn a_consensus_that_tor_has_not_stored_yet_is_asked_for_again() {
    let mut dialogue = Dialogue::connected(World { consensus: None, ..World::serving() });
    assert!(dialogue.tor.facts().ring.is_none());
    dialogue.world.consensus = World::serving().consensus;
    dialogue.run(Duration::from_secs(2));
    assert!(dialogue.tor.facts().ring.is_some());
}

#[test]
fn an_unreadable_consensus_is_told_and_not_asked_for_again_and_again() {
    let mut dialogue = Dialogue::connected(World { consensus: Some(b"rubbish\n".to_vec()), ..World::serving() });
    dialogue.run(Duration::from_secs(30));
    assert_eq!(dialogue.warnings.len(), 1, "{:?}", dialogue.warnings);
    assert!(dialogue.tor.facts().ring.is_none());
}

#[test]
fn missing_microdescriptors_are_asked_for_again_with_patience() {
    let whole = file("ring/srv-to-tp/microdescs.txt");
    let text = String::from_utf8(whole.clone()).unwrap();
    let third = text.match_indices("onion-key\n").nth(20).unwrap().0;
    let mut dialogue = Dialogue::connected(World { microdescs: text[..third].into(), ..World::serving() });
    assert!(dialogue.tor.facts().ring.is_none(), "20 of 27 would upload to the wrong places");
    dialogue.world.microdescs = whole;
    dialogue.run(Duration::from_secs(2));
    assert_eq!(dialogue.tor.facts().ring.as_ref().unwrap().relays(), 27);
}

#[test]
fn microdescriptors_are_asked_for_as_soon_as_tor_has_enough() {
    let mut dialogue = Dialogue::connected(World { microdescs: Vec::new(), ..World::serving() });
    assert!(dialogue.tor.facts().ring.is_none());
    dialogue.world = World::serving();
    dialogue.say(b"650 STATUS_CLIENT NOTICE ENOUGH_DIR_INFO\r\n").unwrap();
    dialogue.answer_all();
    assert!(dialogue.tor.facts().ring.is_some());
}

#[test]
fn a_ring_counts_while_its_consensus_is_reasonably_live() {
    let mut dialogue = Dialogue::connected(World::serving());
    for (secs, live) in [
        (VALID_AFTER_SECS - 61, false),
        (VALID_AFTER_SECS - 60, true),
        (CAPTURED_AT + 3600, true),
        (VALID_AFTER_SECS + 40 + 86_400, true),
        (VALID_AFTER_SECS + 41 + 86_400, false),
    ] {
        dialogue.now.wall = Wall::from_secs(secs);
        dialogue.pass(Duration::ZERO);
        assert_eq!(dialogue.tor.facts().ring.is_some(), live, "{secs}");
        assert_eq!(dialogue.tor.facts().early_ring.is_some(), secs < VALID_AFTER_SECS && !live, "{secs}");
    }
}

#[test]
fn tor_miscounts_while_the_clock_lies_before_the_run_that_its_counters_count_from() {
    let run_start = VALID_AFTER_SECS - VALID_AFTER_SECS % 480;
    assert!(!Dialogue::connected(World::starting()).tor.facts().miscounts, "there is no consensus");
    let mut dialogue = Dialogue::connected(World::serving());
    for (secs, miscounts) in [(CAPTURED_AT, false), (run_start, false), (run_start - 1, true), (0, true)] {
        dialogue.now.wall = Wall::from_secs(secs);
        dialogue.pass(Duration::ZERO);
        assert_eq!(dialogue.tor.facts().miscounts, miscounts, "{secs}");
    }
}

#[test]
fn points_survive_a_short_loss_of_the_connection_to_the_same_process() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.close();
    assert_eq!(dialogue.tor.state(), TorState::Disconnected);
    assert_eq!(relays(&dialogue), relays_of_points());
    dialogue.pass(Duration::from_millis(2999));
    assert!(dialogue.tor.is_serving());
    dialogue.connect();
    assert_eq!(relays(&dialogue), relays_of_points(), "nothing is known yet of the new connection");
    dialogue.answer_all();
    assert_eq!((dialogue.tor.state(), relays(&dialogue)), (TorState::Ready, relays_of_points()));
    dialogue.pass(Duration::from_millis(1));
    assert!(dialogue.tor.is_serving());
}

#[test]
fn points_are_forgotten_three_seconds_after_the_connection_was_lost() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.close();
    let due = dialogue.tor.next_timeout().unwrap().0;
    assert_eq!(due, dialogue.now.mono.plus(Duration::from_secs(3)));
    dialogue.pass(Duration::from_secs(2));
    dialogue.connect();
    dialogue.close();
    dialogue.pass(Duration::from_secs(1));
    assert_eq!(relays(&dialogue), [], "a second loss gives no more time");
    assert!(!dialogue.tor.is_serving());
}

#[test]
fn points_of_a_process_that_has_ended_are_forgotten_at_once() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.close();
    dialogue.end();
    assert_eq!(relays(&dialogue), []);
    assert!(!dialogue.tor.is_serving());
}

#[test]
fn points_of_another_process_are_forgotten_at_once() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.close();
    dialogue.world = World { process: 2, ..World::starting() };
    dialogue.connect();
    dialogue.answer_all();
    assert_eq!(relays(&dialogue), []);
    assert!(!dialogue.tor.is_serving());
}
