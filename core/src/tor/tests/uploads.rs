//! Uploads and tor's own publishing.

use std::time::Duration;

use super::Dialogue;
use super::fake::{World, relay};
use crate::control::transcript::Transcript;
use crate::id::RelayFingerprint;
use crate::tor::{Native, TorEvent, UploadFailure};

fn connected() -> Dialogue {
    Dialogue::connected(World::serving())
}

fn failed(hsdir: RelayFingerprint, failure: UploadFailure) -> TorEvent {
    TorEvent::UploadFailed(hsdir, failure)
}

/// Three HSDirs, an upload refused by the HSDir, one refused by tor: the recorded replies, in their order.
#[test]
fn recorded_uploads_end_as_they_did() {
    let transcript = Transcript::load("hspost");
    let mut dialogue = Dialogue::of(&transcript.text("onion"), World::starting());
    dialogue.connect();
    dialogue.answer_all();
    let text = String::from_utf8(transcript.server.clone()).unwrap();
    let lines: Vec<String> = text.lines().skip(2).map(|line| format!("{line}\r\n")).collect();
    let hsdirs: Vec<_> = lines[1..4]
        .iter()
        .map(|line| RelayFingerprint::from_hex(line.split_once('$').unwrap().1.split('~').next().unwrap()).unwrap())
        .collect();
    for hsdir in &hsdirs {
        dialogue.upload(*hsdir);
        assert!(dialogue.open.pop_front().unwrap().starts_with(&format!("+HSPOST SERVER={hsdir} HSADDRESS=yce")));
        dialogue.say(lines[0].as_bytes()).unwrap();
    }
    assert_eq!(dialogue.events(), [], "250 means nothing");
    dialogue.say(lines[1..4].concat().as_bytes()).unwrap();
    assert_eq!(dialogue.events(), hsdirs.iter().copied().map(TorEvent::Uploaded).collect::<Vec<_>>());

    dialogue.upload(hsdirs[0]);
    dialogue.say(lines[4..6].concat().as_bytes()).unwrap();
    assert_eq!(dialogue.events(), [failed(hsdirs[0], UploadFailure::Rejected)]);
    dialogue.upload(hsdirs[0]);
    dialogue.say(lines[6].as_bytes()).unwrap();
    assert_eq!(dialogue.events(), [failed(hsdirs[0], UploadFailure::Refused("554 Invalid descriptor".to_owned()))]);
    dialogue.say(lines[7..].concat().as_bytes()).unwrap_err();
    assert_eq!(dialogue.events(), [], "the rest was another controller's");
}

#[test]
fn one_upload_per_hsdir_and_sixteen_in_all() {
    let mut dialogue = connected();
    for byte in 0..16 {
        assert!(dialogue.tor.can_upload(relay(byte)));
        dialogue.upload(relay(byte));
        assert!(!dialogue.tor.can_upload(relay(byte)));
    }
    assert!(!dialogue.tor.can_upload(relay(16)));
    dialogue.upload(relay(16));
    assert!(
        matches!(dialogue.events().as_slice(), [TorEvent::UploadFailed(hsdir, UploadFailure::Failed(_))] if *hsdir == relay(16))
    );
    dialogue.answer_all();
    dialogue.hs_desc("UPLOADED", relay(3), "");
    assert_eq!(dialogue.events(), [TorEvent::Uploaded(relay(3))]);
    assert!(dialogue.tor.can_upload(relay(16)) && dialogue.tor.can_upload(relay(3)));
}

#[test]
fn events_of_others_change_nothing() {
    let mut dialogue = connected();
    dialogue.upload(relay(1));
    dialogue.hs_desc("UPLOADED", relay(1), "");
    assert_eq!(dialogue.events(), [], "tor has not taken ours yet");
    dialogue.answer_all();
    let other = "keqsj423unpjexv7ybp36gldbaeh7m7slda2udtlxh2vkpvj3hp3zuid";
    dialogue.say(format!("650 HS_DESC UPLOADED {other} UNKNOWN ${}~x\r\n", relay(1)).as_bytes()).unwrap();
    dialogue.hs_desc("UPLOADED", relay(2), "");
    dialogue.hs_desc("CREATED", relay(1), "");
    assert_eq!(dialogue.events(), []);
    dialogue.hs_desc("FAILED", relay(1), "id REASON=UNEXPECTED");
    assert_eq!(dialogue.events(), [failed(relay(1), UploadFailure::Failed("UNEXPECTED".to_owned()))]);
}

#[test]
fn a_late_answer_is_not_credited_to_the_next_upload() {
    let mut dialogue = connected();
    dialogue.upload(relay(1));
    dialogue.run(Duration::from_millis(14_999));
    assert_eq!(dialogue.events(), []);
    dialogue.run(Duration::from_millis(1));
    assert_eq!(dialogue.events(), [failed(relay(1), UploadFailure::Timeout)]);
    assert!(!dialogue.tor.can_upload(relay(1)), "its answer may still come");
    assert!(dialogue.tor.can_upload(relay(2)));
    dialogue.hs_desc("UPLOADED", relay(1), "");
    assert_eq!(dialogue.events(), []);
    assert!(dialogue.tor.can_upload(relay(1)), "it came");
}

#[test]
fn an_hsdir_that_never_answers_is_free_again_after_a_minute() {
    let mut dialogue = connected();
    dialogue.upload(relay(1));
    dialogue.run(Duration::from_millis(59_999));
    assert!(!dialogue.tor.can_upload(relay(1)));
    dialogue.run(Duration::from_millis(1));
    assert!(dialogue.tor.can_upload(relay(1)));
}

/// C tor closes uploads in flight when its own descriptor changes, and no `HS_DESC` tells of it.
#[test]
fn an_upload_that_tor_breaks_off_ends_with_its_stream_and_its_hsdir_is_free_at_once() {
    let mut dialogue = connected();
    dialogue.upload(relay(1));
    dialogue.answer_all();
    dialogue.stream("NEW", 7, relay(1), " PURPOSE=DIR_UPLOAD");
    dialogue.stream("SUCCEEDED", 7, relay(1), "");
    dialogue.stream("CLOSED", 7, relay(1), " REASON=DONE");
    dialogue.run(Duration::from_millis(1_999));
    assert_eq!(dialogue.events(), [], "an answer comes after the end of its stream");
    dialogue.run(Duration::from_millis(1));
    assert_eq!(dialogue.events(), [failed(relay(1), UploadFailure::Dropped)]);
    assert!(dialogue.tor.can_upload(relay(1)));
}

#[test]
fn an_answer_after_the_end_of_its_stream_counts() {
    let mut dialogue = connected();
    dialogue.upload(relay(1));
    dialogue.answer_all();
    dialogue.stream("NEW", 7, relay(1), " PURPOSE=DIR_UPLOAD");
    dialogue.stream("CLOSED", 7, relay(1), " REASON=END REMOTE_REASON=DONE");
    dialogue.hs_desc("UPLOADED", relay(1), "");
    assert_eq!(dialogue.events(), [TorEvent::Uploaded(relay(1))]);
}

#[test]
fn streams_that_are_no_uploads_and_those_of_an_earlier_upload_end_none() {
    let mut dialogue = connected();
    dialogue.stream("NEW", 6, relay(1), " PURPOSE=DIR_UPLOAD");
    dialogue.upload(relay(1));
    dialogue.stream("CLOSED", 6, relay(1), " REASON=DONE");
    dialogue.answer_all();
    dialogue.stream("NEW", 7, relay(1), " PURPOSE=DIR_UPLOAD");
    dialogue.stream("NEW", 8, relay(1), " PURPOSE=DIR_FETCH");
    dialogue.stream("CLOSED", 8, relay(1), " REASON=DONE");
    dialogue.stream("CLOSED", 9, relay(1), " REASON=DONE");
    dialogue.run(Duration::from_secs(10));
    assert_eq!(dialogue.events(), []);
    dialogue.hs_desc("UPLOADED", relay(1), "");
    assert_eq!(dialogue.events(), [TorEvent::Uploaded(relay(1))]);
}

#[test]
fn an_answer_beside_an_upload_that_was_broken_off_is_credited_to_neither() {
    let mut dialogue = connected();
    dialogue.upload(relay(1));
    dialogue.answer_all();
    dialogue.stream("NEW", 7, relay(1), " PURPOSE=DIR_UPLOAD");
    dialogue.stream("NEW", 8, relay(1), " PURPOSE=DIR_UPLOAD");
    dialogue.hs_desc("UPLOAD", relay(1), "id");
    dialogue.stream("CLOSED", 7, relay(1), " REASON=DONE");
    dialogue.run(Duration::from_secs(3));
    assert_eq!(dialogue.events(), [], "the other is under way");
    dialogue.stream("CLOSED", 8, relay(1), " REASON=END REMOTE_REASON=DONE");
    dialogue.hs_desc("UPLOADED", relay(1), "");
    dialogue.run(Duration::from_secs(2));
    assert_eq!(dialogue.events(), [failed(relay(1), UploadFailure::Dropped)]);
    assert!(dialogue.tor.can_upload(relay(1)));
}

#[test]
fn of_tors_own_uploads_the_last_counts_whose_forerunner_it_broke_off() {
    let mut dialogue = connected();
    for id in [7, 8] {
        dialogue.stream("NEW", id, relay(1), " PURPOSE=DIR_UPLOAD");
        dialogue.hs_desc("UPLOAD", relay(1), "id HSDIR_INDEX=00");
    }
    dialogue.stream("CLOSED", 7, relay(1), " REASON=DONE");
    dialogue.stream("CLOSED", 8, relay(1), " REASON=END REMOTE_REASON=DONE");
    dialogue.hs_desc("UPLOADED", relay(1), "");
    assert_eq!(dialogue.events(), []);
    dialogue.run(Duration::from_secs(2));
    assert_eq!(dialogue.events(), [TorEvent::NativeUploaded(relay(1))]);
    assert!(dialogue.tor.can_upload(relay(1)));
}

#[test]
fn a_lost_connection_fails_everything_and_blocks_until_the_process_is_known_to_be_new() {
    for (process, free) in [(1, false), (2, true)] {
        let mut dialogue = connected();
        dialogue.upload(relay(1));
        dialogue.answer_all();
        dialogue.upload(relay(2));
        dialogue.close();
        let disconnected = || UploadFailure::Disconnected;
        assert_eq!(dialogue.events(), [failed(relay(1), disconnected()), failed(relay(2), disconnected())]);
        dialogue.upload(relay(3));
        assert_eq!(dialogue.events(), [failed(relay(3), disconnected())]);
        assert!(!dialogue.tor.can_upload(relay(3)));

        dialogue.world.process = process;
        dialogue.connect();
        assert!(!dialogue.tor.can_upload(relay(1)) && dialogue.tor.can_upload(relay(3)));
        dialogue.answer_all();
        assert_eq!((dialogue.tor.can_upload(relay(1)), dialogue.tor.can_upload(relay(2))), (free, free));
        dialogue.hs_desc("UPLOADED", relay(1), "");
        assert_eq!(dialogue.events(), []);
        assert!(dialogue.tor.can_upload(relay(1)));
    }
}

#[test]
fn what_a_lost_connection_owes_is_waited_for_no_longer_than_an_upload_takes() {
    let mut dialogue = connected();
    dialogue.upload(relay(1));
    dialogue.answer_all();
    dialogue.close();
    dialogue.events();
    dialogue.connect();
    dialogue.answer_all();
    dialogue.run(Duration::from_millis(14_999));
    assert!(!dialogue.tor.can_upload(relay(1)));
    dialogue.run(Duration::from_millis(1));
    assert!(dialogue.tor.can_upload(relay(1)), "its answer was lost with the connection");
}

#[test]
fn tors_own_uploads_are_told_apart() {
    let mut dialogue = connected();
    dialogue.hs_desc("UPLOAD", relay(1), "id HSDIR_INDEX=00");
    dialogue.hs_desc("UPLOAD", relay(2), "id HSDIR_INDEX=00");
    assert!(!dialogue.tor.can_upload(relay(1)), "the answers would be mixed up");
    dialogue.hs_desc("UPLOADED", relay(1), "");
    dialogue.hs_desc("FAILED", relay(2), "id REASON=UPLOAD_REJECTED");
    assert_eq!(dialogue.events(), [TorEvent::NativeUploaded(relay(1)), TorEvent::NativeRefused(relay(2))]);
    assert!(dialogue.tor.can_upload(relay(1)) && dialogue.tor.can_upload(relay(2)));
}

#[test]
fn mixed_answers_count_only_if_all_are_good() {
    for (first, second, expected) in [
        ("UPLOADED", "UPLOADED", vec![TorEvent::NativeUploaded(relay(1)), TorEvent::Uploaded(relay(1))]),
        ("UPLOADED", "FAILED", vec![failed(relay(1), UploadFailure::Rejected)]),
        ("FAILED", "UPLOADED", vec![failed(relay(1), UploadFailure::Rejected)]),
    ] {
        let mut dialogue = connected();
        dialogue.upload(relay(1));
        dialogue.answer_all();
        dialogue.hs_desc("UPLOAD", relay(1), "id");
        dialogue.hs_desc(first, relay(1), "id REASON=UPLOAD_REJECTED");
        assert_eq!(dialogue.events(), []);
        dialogue.hs_desc(second, relay(1), "id REASON=UPLOAD_REJECTED");
        assert_eq!(dialogue.events(), expected);
    }
}

#[test]
fn recorded_native_publication_is_seen_whole() {
    let transcript = Transcript::load("service-start");
    let mut dialogue = Dialogue::of(&transcript.text("onion"), World::starting());
    dialogue.connect();
    dialogue.answer_all();
    let text = String::from_utf8(transcript.server).unwrap();
    let events: String = text.split_inclusive('\n').filter(|line| line.starts_with("650 ")).collect();
    dialogue.say(events.as_bytes()).unwrap();
    let uploads = text.matches(" UPLOADED ").count();
    let native = dialogue.events();
    assert!(native.iter().all(|event| matches!(event, TorEvent::NativeUploaded(_))), "{native:?}");
    // One HSDir holds both slots' descriptors: its two answers are told as one.
    assert_eq!((uploads, native.len()), (16, 15));
}

#[test]
fn publishing_is_left_alone_until_wanted_and_asserted_after_every_connect() {
    let mut dialogue = connected();
    dialogue.run(Duration::from_secs(5));
    assert_eq!(dialogue.tor.native(), Native::Unknown);
    dialogue.want_native(false);
    dialogue.want_native(false);
    assert_eq!(dialogue.open, ["SETCONF PublishHidServDescriptors=\"0\""]);
    assert_eq!(dialogue.tor.native(), Native::Unknown);
    dialogue.answer_all();
    assert_eq!(dialogue.tor.native(), Native::Off);

    dialogue.close();
    assert_eq!(dialogue.tor.native(), Native::Unknown);
    dialogue.connect();
    assert_eq!(dialogue.open_with("SETCONF PublishHidServDescriptors=\"0\""), 1);
    dialogue.answer_all();
    assert_eq!(dialogue.tor.native(), Native::Off);
}

/// As SIGHUP has tor do, and as another controller may; two that disagree set it once a second each.
#[test]
fn what_tor_forgets_or_another_sets_is_set_back_after_a_second() {
    let set_to =
        |value| format!("650-CONF_CHANGED\r\n650-PublishHidServDescriptors={value}\r\n650 OK\r\n").into_bytes();
    let mut dialogue = connected();
    dialogue.say(&set_to(0)).unwrap();
    dialogue.want_native(true);
    dialogue.say(&set_to(0)).unwrap();
    dialogue.answer_all();
    dialogue.say(&set_to(1)).unwrap();
    assert_eq!((dialogue.tor.native(), dialogue.warnings.len()), (Native::On, 0), "our own doing");
    dialogue.say(&set_to(0)).unwrap();
    dialogue.say(&set_to(0)).unwrap();
    assert_eq!((dialogue.tor.native(), dialogue.warnings.len()), (Native::Off, 1), "{:?}", dialogue.warnings);
    dialogue.run(Duration::from_millis(999));
    assert_eq!(dialogue.tor.native(), Native::Off);
    dialogue.run(Duration::from_millis(1));
    assert_eq!((dialogue.tor.native(), dialogue.warnings.len()), (Native::On, 1));
}

#[test]
fn a_wish_that_changes_under_way_wins() {
    let mut dialogue = connected();
    dialogue.want_native(true);
    dialogue.want_native(false);
    assert_eq!(dialogue.open, ["SETCONF PublishHidServDescriptors=\"1\""]);
    dialogue.answer();
    assert_eq!(dialogue.open, ["SETCONF PublishHidServDescriptors=\"0\""]);
    assert_eq!(dialogue.tor.native(), Native::Unknown);
    dialogue.answer();
    assert_eq!(dialogue.tor.native(), Native::Off);
}

#[test]
fn a_refused_wish_is_retried_with_growing_pauses() {
    let mut dialogue = connected();
    dialogue.world.setconf = "513 Unacceptable option value".to_owned();
    dialogue.want_native(false);
    dialogue.answer_all();
    for (run_ms, warnings) in [(999, 1), (1, 2), (1999, 2), (1, 3), (4000, 4)] {
        dialogue.run(Duration::from_millis(run_ms));
        assert_eq!(dialogue.warnings.len(), warnings);
    }
    assert!(dialogue.warnings[0].contains("513 Unacceptable option value"));
    assert_eq!(dialogue.tor.native(), Native::Unknown);
    dialogue.world.setconf = "250 OK".to_owned();
    dialogue.want_native(true);
    dialogue.answer_all();
    assert_eq!(dialogue.tor.native(), Native::On, "a new wish does not wait");
}
