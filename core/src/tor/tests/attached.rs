//! A tor that somebody else runs.

use super::Dialogue;
use super::fake::World;
use crate::tor::{Attachment, TorState};

fn with_company() -> Attachment {
    Attachment { others: vec!["/var/lib/tor/other".to_owned()], published: true }
}

#[test]
fn its_own_publishing_is_switched_where_it_has_no_other_service() {
    let mut dialogue = Dialogue::new(World::serving());
    dialogue.want_native(false);
    dialogue.attach(&Attachment::default());
    assert_eq!(dialogue.open_with("SETCONF"), 1);
    dialogue.answer_all();
    assert_eq!(dialogue.tor.state(), TorState::Ready);
    dialogue.want_native(true);
    assert_eq!(dialogue.open, ["SETCONF PublishHidServDescriptors=\"1\""]);
}

#[test]
fn nothing_is_set_where_it_has_one() {
    let mut dialogue = Dialogue::new(World::serving());
    dialogue.want_native(false);
    dialogue.attach(&with_company());
    dialogue.want_native(true);
    dialogue.files_written(7);
    assert_eq!(dialogue.open_with("SETCONF"), 0);
    dialogue.answer_all();
    assert_eq!((dialogue.tor.state(), dialogue.open.len()), (TorState::Ready, 0));
    // Its owner has moved the other service away.
    dialogue.close();
    dialogue.attach(&Attachment::default());
    dialogue.want_native(false);
    assert_eq!(dialogue.open_with("SETCONF"), 1);
}

#[test]
fn why_it_cannot_be_used_is_said_once_and_shown_until_it_can() {
    let mut dialogue = Dialogue::new(World::serving());
    let reasons = ["no line".to_owned(), "no other".to_owned()];
    dialogue.unfit(&reasons);
    dialogue.unfit(&reasons);
    assert_eq!(dialogue.warnings, ["tor 0: no line", "tor 0: no other"]);
    assert_eq!((dialogue.tor.unfit(), dialogue.tor.state()), (&reasons[..], TorState::Disconnected));
    dialogue.attach(&Attachment::default());
    assert!(dialogue.tor.unfit().is_empty());
}

#[test]
fn its_owner_is_asked_to_restart_it_once_per_process_and_reason() {
    let mut dialogue = Dialogue::new(World::serving());
    dialogue.attach(&with_company());
    dialogue.answer_all();
    dialogue.renew("tor 0 is stuck");
    dialogue.renew("tor 0 is stuck");
    assert!(dialogue.warnings.len() == 1 && dialogue.warnings[0].contains("systemctl restart tor"));
    dialogue.world.process = 2;
    dialogue.close();
    dialogue.attach(&with_company());
    dialogue.answer_all();
    dialogue.renew("tor 0 is stuck");
    assert_eq!(dialogue.warnings.len(), 2);
}
