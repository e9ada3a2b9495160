//! A service that not everybody may connect to.

use std::time::Duration;

use super::Dialogue;
use super::fake::{World, file};
use crate::tor::Native;

const RESTRICTED: &str = "client-auth-2";

#[test]
fn a_restricted_service_is_read_with_the_key_of_its_own_client() {
    let address = String::from_utf8(file(&format!("cases/{RESTRICTED}/hostname"))).unwrap();
    let descriptor = Some(file(&format!("cases/{RESTRICTED}/descriptor.txt")));
    let mut dialogue = Dialogue::of(address.trim(), World { descriptor, ..World::serving() });
    dialogue.connect();
    dialogue.answer_all();
    assert!(dialogue.warnings.is_empty(), "{:?}", dialogue.warnings);
    assert_eq!(dialogue.tor.facts().header.0, ["create2-formats 2", "flow-control 1-2 31"]);
}

#[test]
fn changed_files_are_read_by_setting_again_what_is_set() {
    let mut dialogue = Dialogue::connected(World::serving());
    for (on, setting) in
        [(false, "SETCONF PublishHidServDescriptors=\"0\""), (true, "SETCONF PublishHidServDescriptors=\"1\"")]
    {
        dialogue.want_native(on);
        dialogue.answer_all();
        dialogue.files_written(if on { 2 } else { 1 });
        assert_eq!((dialogue.open_with(setting), dialogue.tor.native()), (1, Native::Unknown));
        dialogue.answer_all();
        assert_eq!(dialogue.tor.native(), if on { Native::On } else { Native::Off });
        dialogue.want_native(on);
        dialogue.files_written(if on { 2 } else { 1 });
        assert_eq!(dialogue.open_with("SETCONF"), 0, "once");
    }
}

#[test]
fn files_that_change_while_tor_reads_them_are_read_again() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.want_native(true);
    dialogue.files_written(1);
    dialogue.files_written(2);
    assert_eq!(dialogue.open_with("SETCONF"), 1, "the second waits for the first one's answer");
    dialogue.answer_all();
    assert_eq!(dialogue.tor.native(), Native::On);
    dialogue.files_written(2);
    assert_eq!(dialogue.open_with("SETCONF"), 0);
}

#[test]
fn a_tor_that_refuses_is_asked_again_and_a_new_one_reads_the_files_with_its_first_setting() {
    let mut dialogue = Dialogue::connected(World::serving());
    dialogue.want_native(true);
    dialogue.answer_all();
    dialogue.world.setconf = "513 Unacceptable option value".to_owned();
    dialogue.files_written(1);
    dialogue.answer_all();
    assert_eq!(dialogue.tor.native(), Native::Unknown);
    dialogue.world.setconf = "250 OK".to_owned();
    dialogue.run(Duration::from_secs(2));
    assert_eq!(dialogue.tor.native(), Native::On);
    dialogue.connect();
    assert_eq!(
        dialogue.open_with("SETCONF"),
        0,
        "whether it is the same process, and what it would read, nobody knows"
    );
    dialogue.want_native(true);
    assert_eq!(dialogue.open_with("SETCONF"), 1);
    dialogue.answer_all();
    assert_eq!(dialogue.open_with("SETCONF"), 0);
}

#[test]
fn whether_tor_keeps_to_the_files_is_known_once_it_has_read_them_and_told_what_it_would_publish() {
    let mut dialogue = Dialogue::connected(World::serving());
    assert_eq!(dialogue.tor.is_restricted(), Some(false));
    dialogue.want_native(true);
    dialogue.files_written(1);
    assert_eq!(dialogue.tor.is_restricted(), None, "it has not read them");
    while dialogue.open_with("SETCONF") > 0 {
        dialogue.answer();
    }
    assert_eq!(dialogue.tor.is_restricted(), None, "what it said was from before");
    dialogue.answer_all();
    dialogue.run(Duration::from_secs(1));
    assert_eq!(dialogue.tor.is_restricted(), Some(false));
    dialogue.close();
    assert_eq!(dialogue.tor.is_restricted(), None);
}
