//! Fetches.

use std::time::Duration;

use super::Dialogue;
use super::fake::{ADDRESS, World, relay};
use crate::control::transcript::Transcript;
use crate::id::RelayFingerprint;
use crate::tor::{TorEvent, UploadFailure};

fn connected() -> Dialogue {
    Dialogue::connected(World::serving())
}

fn content(dialogue: &mut Dialogue, hsdir: RelayFingerprint, text: &str) {
    let event = format!("650+HS_DESC_CONTENT {ADDRESS} id ${hsdir}~x\r\n{text}\r\n.\r\n650 OK\r\n");
    dialogue.say(event.as_bytes()).unwrap();
}

#[test]
fn a_recorded_fetch_gives_the_descriptor() {
    let transcript = Transcript::load("hsfetch-getinfo");
    let mut dialogue = Dialogue::of(&transcript.text("onion"), World::starting());
    dialogue.connect();
    dialogue.answer_all();
    let hsdir = RelayFingerprint::from_hex("024AC68B1E151E2B3315D9734D2004A3B5EF0E82").unwrap();
    dialogue.fetch(hsdir);
    assert_eq!(dialogue.open, [format!("HSFETCH {} SERVER={hsdir}", transcript.text("onion"))]);
    dialogue.answer();
    let text = String::from_utf8(transcript.server.clone()).unwrap();
    let start = text.find("650 HS_DESC REQUESTED").unwrap();
    let end = text.find("650 OK\r\n").unwrap() + "650 OK\r\n".len();
    dialogue.say(&text.as_bytes()[start..end]).unwrap();
    assert_eq!(dialogue.events(), [TorEvent::Fetched(hsdir, Some(transcript.text("descriptor").into_bytes()))]);
}

#[test]
fn not_found_ends_a_fetch_and_tors_own_search_is_ignored() {
    let mut dialogue = connected();
    dialogue.fetch(relay(1));
    dialogue.answer_all();
    dialogue.hs_desc("REQUESTED", relay(1), "id HSDIR_INDEX=00");
    dialogue.hs_desc("FAILED", relay(1), "id REASON=NOT_FOUND");
    content(&mut dialogue, relay(1), "");
    assert_eq!(dialogue.events(), [TorEvent::Fetched(relay(1), None)]);
    dialogue.hs_desc("REQUESTED", relay(2), "id HSDIR_INDEX=00");
    dialogue.hs_desc("RECEIVED", relay(2), "id");
    content(&mut dialogue, relay(2), "hs-descriptor 3");
    assert_eq!(dialogue.events(), []);
}

#[test]
fn a_failed_fetch_is_no_failed_upload() {
    let mut dialogue = connected();
    dialogue.upload(relay(1));
    dialogue.fetch(relay(1));
    dialogue.answer_all();
    dialogue.hs_desc("REQUESTED", relay(1), "id");
    dialogue.hs_desc("FAILED", relay(1), "id REASON=UNEXPECTED");
    assert_eq!(dialogue.events(), []);
    dialogue.hs_desc("FAILED", relay(1), "id REASON=UNEXPECTED");
    let failure = UploadFailure::Failed("UNEXPECTED".to_owned());
    assert_eq!(dialogue.events(), [TorEvent::UploadFailed(relay(1), failure)]);
}

#[test]
fn a_refused_a_silent_and_a_disconnected_fetch_end_empty() {
    let mut dialogue = connected();
    dialogue.fetch(relay(1));
    dialogue.open.clear();
    dialogue.say(b"552 Server \"0101\" not found\r\n").unwrap();
    assert_eq!(dialogue.events(), [TorEvent::Fetched(relay(1), None)]);

    dialogue.fetch(relay(2));
    dialogue.run(Duration::from_millis(9_999));
    assert_eq!(dialogue.events(), []);
    dialogue.run(Duration::from_millis(1));
    assert_eq!(dialogue.events(), [TorEvent::Fetched(relay(2), None)]);

    dialogue.fetch(relay(3));
    dialogue.close();
    dialogue.fetch(relay(4));
    assert_eq!(dialogue.events(), [TorEvent::Fetched(relay(3), None), TorEvent::Fetched(relay(4), None)]);
}

#[test]
fn fetches_are_joined_per_hsdir_and_bounded() {
    let mut dialogue = connected();
    for byte in (0..16).chain(0..16) {
        dialogue.fetch(relay(byte));
    }
    assert_eq!(dialogue.open_with("HSFETCH"), 16);
    assert_eq!(dialogue.events(), []);
    dialogue.fetch(relay(16));
    assert_eq!(dialogue.events(), [TorEvent::Fetched(relay(16), None)]);
    content(&mut dialogue, relay(3), "x");
    assert_eq!(dialogue.events(), [TorEvent::Fetched(relay(3), Some(b"x\n".to_vec()))]);
}
