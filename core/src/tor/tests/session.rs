//! The connection itself: order, timeouts, broken peers.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::Dialogue;
use super::fake::{World, relay};
use crate::control::reply::ReplyError;
use crate::tor::{TorError, TorEvent, TorState, UploadFailure};

#[test]
fn a_new_connection_subscribes_before_it_asks() {
    let mut dialogue = Dialogue::new(World::serving());
    dialogue.want_native(false);
    assert_eq!(dialogue.tor.next_timeout(), None);
    dialogue.connect();
    let expected = [
        "SETEVENTS CIRC CIRC_MINOR CONF_CHANGED HS_DESC HS_DESC_CONTENT STATUS_CLIENT STREAM",
        "GETCONF TestingTorNetwork",
        "SETCONF PublishHidServDescriptors=\"0\"",
        "GETINFO status/bootstrap-phase consensus/valid-after process/pid",
        "GETINFO circuit-status",
        "GETINFO hs/service/desc/id/dbj6lvx6ilzhqxguu4pn2qrb4kewhsz3mlvqzrbyoai3hj4ygn42wayd",
    ];
    assert_eq!(dialogue.open, expected);
}

#[test]
fn a_frozen_tor_is_given_up_after_twenty_seconds() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.upload(relay(1));
    dialogue.run_silent(Duration::from_millis(19_999));
    assert_eq!((dialogue.reconnects, dialogue.tor.state()), (0, TorState::Ready));
    assert_eq!(dialogue.events(), [TorEvent::UploadFailed(relay(1), UploadFailure::Timeout)]);
    dialogue.run_silent(Duration::from_millis(1));
    assert_eq!((dialogue.reconnects, dialogue.tor.state()), (1, TorState::Disconnected));
    assert!(dialogue.tor.facts().points.is_empty());
    assert_eq!(dialogue.tor.next_timeout(), None);
    dialogue.say(b"250 OK\r\n").unwrap();
    dialogue.connect();
    dialogue.answer_all();
    assert_eq!(dialogue.tor.state(), TorState::Ready);
    assert_eq!(dialogue.reconnects, 1);
}

/// We slept, not tor: what it answered meanwhile is read before anything counts as late.
#[test]
fn our_own_stall_times_nothing_out() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.upload(relay(1));
    dialogue.pass(Duration::from_secs(120));
    assert_eq!((dialogue.reconnects, dialogue.events()), (0, vec![]));
    dialogue.answer_all();
    dialogue.hs_desc("UPLOADED", relay(1), "");
    assert_eq!(dialogue.events(), [TorEvent::Uploaded(relay(1))]);
    dialogue.run(Duration::from_secs(5));
    assert_eq!(dialogue.reconnects, 0);
}

#[test]
fn a_machine_that_is_always_late_still_sees_a_frozen_tor() {
    let mut dialogue = Dialogue::connected(World::serving());
    for _ in 0..30 {
        dialogue.pass(Duration::from_secs(2));
    }
    assert_eq!(dialogue.reconnects, 1);
}

#[test]
fn a_broken_peer_is_left_and_its_rest_ignored() {
    for (bytes, error) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], TorError::Protocol(ReplyError::BadLine)),
        (b"250 OK\r\n250 OK\r\n", TorError::UnexpectedReply),
    ] {
        let mut dialogue = Dialogue::connected(World::serving());
        dialogue.upload(relay(1));
        assert_eq!(dialogue.say(bytes), Err(error));
        assert_eq!((dialogue.reconnects, dialogue.tor.state()), (1, TorState::Disconnected));
        assert_eq!(dialogue.events(), [TorEvent::UploadFailed(relay(1), UploadFailure::Disconnected)]);
        assert_eq!(dialogue.say(bytes), Ok(()));
        dialogue.close();
        assert_eq!(dialogue.reconnects, 1);
    }
}

#[test]
fn refused_events_are_told() {
    let mut dialogue = Dialogue::new(World::serving());
    dialogue.connect();
    dialogue.say(b"552 Unrecognized event \"HS_DESC\"\r\n").unwrap();
    assert_eq!(dialogue.warnings.len(), 1);
}

/// Ten quiet minutes cost a wake-up a second and few more, and none leaves something due.
#[test]
fn wake_ups_are_bounded() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.want_native(false);
    dialogue.upload(relay(1));
    dialogue.answer_all();
    let mut wake_ups = 0;
    let end = dialogue.now.mono.plus(Duration::from_secs(600));
    while let Some((next, _)) = dialogue.tor.next_timeout().filter(|(next, _)| *next < end) {
        wake_ups += 1;
        dialogue.pass(next.since(dialogue.now.mono));
        dialogue.answer_all();
        assert!(dialogue.tor.next_timeout().unwrap().0 > dialogue.now.mono, "nothing stays due");
    }
    assert!((590..700).contains(&wake_ups), "{wake_ups}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever tor says, every upload and fetch ends exactly once.
    #[test]
    fn every_wish_ends_once(steps in prop::collection::vec((0_usize..9, 0_u8..4, 0_u64..30_000), 0..60)) {
        let mut dialogue = Dialogue::connected(World::starting());
        let (mut uploads, mut fetching) = (0, BTreeSet::new());
        let closing = [(8, 0, 30_000), (6, 0, 0)];
        for (what, byte, time_ms) in steps.into_iter().chain(closing) {
            let hsdir = relay(byte);
            match what {
                0 => { dialogue.upload(hsdir); uploads += 1; }
                1 => { dialogue.fetch(hsdir); fetching.insert(hsdir); }
                2 => dialogue.hs_desc("UPLOADED", hsdir, ""),
                3 => dialogue.hs_desc("UPLOAD", hsdir, "id"),
                4 => dialogue.hs_desc("FAILED", hsdir, "id REASON=UPLOAD_REJECTED"),
                5 => dialogue.hs_desc("FAILED", hsdir, "id"),
                6 => { dialogue.close(); dialogue.connect(); }
                7 => dialogue.answer_all(),
                _ => dialogue.run(Duration::from_millis(time_ms)),
            }
            for event in dialogue.events() {
                match event {
                    TorEvent::Uploaded(_) | TorEvent::UploadFailed(..) => uploads -= 1,
                    TorEvent::Fetched(hsdir, _) => prop_assert!(fetching.remove(&hsdir)),
                    TorEvent::NativeUploaded(_) | TorEvent::NativeRefused(_) => {}
                }
                prop_assert!(uploads >= 0);
            }
        }
        prop_assert_eq!((uploads, fetching.len()), (0, 0));
    }

    /// No bytes make it panic or grow without end.
    #[test]
    fn any_bytes_are_survived(
        pieces in prop::collection::vec(prop::sample::select(&[
            "650 ", "250 ", "551 ", "250+", "250-", "\r\n", ".\r\n", "CIRC ", "CIRC_MINOR ", "HS_DESC ", "UPLOADED ", "FAILED ",
            "STATUS_CLIENT ", "NOTICE ", "BOOTSTRAP ", "PROGRESS=200 ", "OK", "1 ", "=", "\"", "\\", "\u{e9}", "GARBAGE ",
            "circuit-status=", "md/all=", "consensus/valid-after=x", "$0101010101010101010101010101010101010101~x ",
        ][..]), 0..80),
    ) {
        let mut dialogue = Dialogue::new(World::serving());
        dialogue.connect();
        let _ = dialogue.say(pieces.concat().as_bytes());
        prop_assert!(dialogue.open.len() < 32);
        dialogue.run_silent(Duration::from_secs(60));
    }
}
