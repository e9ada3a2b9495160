//! A node that is out of service: its circuits go, and tor opens others.

use std::time::Duration;

use super::Dialogue;
use super::fake::{World, circuit_line, relay, relays_of_points};
use crate::tor::{Presence, TorState};

#[test]
fn circuits_that_clients_know_are_closed_as_long_as_the_node_is_out_and_it_can_publish_all_the_same() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.set_presence(Presence::GoingOut);
    assert_eq!((dialogue.open_with("CLOSECIRCUIT"), dialogue.tor.state()), (0, TorState::Ready));
    dialogue.set_presence(Presence::Out);
    assert!(dialogue.tor.facts().points.is_empty() && !dialogue.tor.is_serving() && dialogue.tor.can_publish());
    for circuit in 6..=8 {
        assert_eq!(dialogue.open, [format!("CLOSECIRCUIT {circuit}")], "the next once tor has answered");
        dialogue.answer();
    }
    let at = relays_of_points();
    for (id, at) in (6..).zip(&at) {
        dialogue.say(format!("650 CIRC {}\r\n", circuit_line(id, *at, "CLOSED")).as_bytes()).unwrap();
    }
    assert_eq!(dialogue.open_with("CLOSECIRCUIT"), 0);
    dialogue.say(format!("650 CIRC_MINOR {}\r\n", circuit_line(20, at[1], "PURPOSE_CHANGED")).as_bytes()).unwrap();
    assert_eq!(dialogue.open, ["CLOSECIRCUIT 20"], "tor opens one of them again");
    dialogue.answer();
    dialogue.say(format!("650 CIRC_MINOR {}\r\n", circuit_line(21, relay(9), "PURPOSE_CHANGED")).as_bytes()).unwrap();
    assert!(dialogue.open.is_empty(), "clients know of nothing there");
}

#[test]
fn a_node_that_is_back_in_has_the_points_that_it_has() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.set_presence(Presence::Out);
    dialogue.answer_all();
    dialogue.set_presence(Presence::In);
    assert_eq!(dialogue.tor.facts().points.len(), 3, "tor had no time to close any");
    dialogue.run(Duration::from_secs(40));
    assert_eq!((dialogue.tor.state(), dialogue.open.len()), (TorState::Ready, 0));
}
