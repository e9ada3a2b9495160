//! What a node has its tor publish by itself, and when its files of authorised clients are written.

use std::collections::BTreeMap;

use super::*;
use crate::cluster::Access;
use crate::cluster::exercise::Pair;
use crate::input::EffectError;
use crate::join::found;
use crate::node::testing::Sites;
use crate::onion::key::HsId;
use crate::onion::period::Slot;
use crate::tor::tests::fake::{self, relay};

const SECOND: Duration = Duration::from_secs(1);

fn full() -> Option<Result<(), EffectError>> {
    Some(Err(EffectError::Disk("full".to_owned())))
}

/// A node alone; its tor is not connected yet.
fn alone(access: &Access) -> Sites {
    let pair = Pair::default();
    Sites::alone(found(pair.first(), pair.config(1).wg, HsId([5; 32]), access).roster)
}

/// Tor's descriptor now lets in authorised clients alone, or everybody.
fn shows(sites: &mut Sites, is_restricted: bool) {
    let key = fake::master();
    let site = &mut sites.sites[0];
    let own = [key.own_client().public()];
    let revision = site.files as u64 + 2;
    let descriptor = |period| fake::descriptor(period, revision, None, &[1, 2, 3], &own[..usize::from(is_restricted)]);
    let ring = site.node.tors[0].facts().ring.clone();
    site.world.descriptor = ring.map(|ring| descriptor(ring.slot_period(Slot::First)).into_bytes());
    site.world.circuits = (1..=3).map(|n| (n.into(), relay(n))).collect();
}

/// Of a restricted address, connected and published by tor.
fn published() -> Sites {
    let mut sites = alone(&Access::Restricted(BTreeMap::new()));
    sites.sites[0].world.descriptor = None;
    sites.connect(0);
    sites.run(SECOND);
    shows(&mut sites, true);
    sites.run(2 * SECOND);
    assert_eq!((sites.sites[0].settings().as_str(), sites.sites[0].warnings.len()), ("1", 0));
    sites
}

#[test]
fn restricted_address_is_published_by_tor_only_while_its_files_are_written_as_they_should_be() {
    for disk in [None, full()] {
        let mut sites = alone(&Access::Restricted(BTreeMap::new()));
        sites.sites[0].world.descriptor = None;
        sites.set_disk(0, None);
        sites.connect(0);
        sites.run(SECOND);
        assert_eq!(sites.sites[0].settings(), "", "until they are");
        sites.set_disk(0, disk);
        sites.run(3 * SECOND);
        let site = &sites.sites[0];
        assert_eq!((site.settings().as_str(), site.node.status(sites.now).mode.as_str()), ("0", "merged"));
        shows(&mut sites, true);
        sites.run(30 * SECOND);
        assert!(sites.is_uploaded(), "by the node itself");
        sites.set_disk(0, Some(Ok(())));
        sites.run(700 * SECOND);
        assert!(sites.sites[0].settings().ends_with('1'));
    }
}

#[test]
fn they_are_written_again_for_another_tor_before_it_publishes() {
    let mut sites = published();
    let written = sites.sites[0].files;
    sites.set_disk(0, None);
    sites.reconnect(0);
    sites.run(SECOND);
    assert_eq!((sites.sites[0].files, sites.sites[0].settings().as_str()), (written + 1, "1"));
    sites.set_disk(0, Some(Ok(())));
    assert_eq!(sites.sites[0].settings(), "11");
    sites.run(10 * SECOND);
    assert_eq!((sites.sites[0].files, sites.sites[0].settings().as_str()), (written + 1, "11"), "once");
}

#[test]
fn open_address_is_published_by_tor_at_once_whatever_becomes_of_its_files() {
    for disk in [None, full()] {
        let mut sites = alone(&Access::Open);
        sites.set_disk(0, disk);
        sites.connect(0);
        sites.reconnect(0);
        assert_eq!(sites.sites[0].settings(), "11");
        sites.run(10 * SECOND);
        assert_eq!(sites.sites[0].settings(), "11");
    }
}

#[test]
fn tor_that_lets_in_everybody_all_the_same_does_not_publish_and_the_node_does_until_it_keeps_to_its_files() {
    let mut sites = published();
    let written = sites.sites[0].files;
    shows(&mut sites, false);
    sites.run(30 * SECOND);
    let site = &sites.sites[0];
    assert!(site.settings().ends_with('0') && site.files == written + 1, "{} {}", site.settings(), site.files);
    assert_eq!(
        (site.warnings.as_slice(), site.node.status(sites.now).mode.as_str()),
        (&[EXPOSED.to_owned()][..], "merged")
    );
    assert_eq!(site.node.status(sites.now).warnings, [EXPOSED]);
    sites.run(61 * SECOND);
    assert_eq!(sites.sites[0].files, written + 2, "again and again, with a pause");
    shows(&mut sites, true);
    sites.run(60 * SECOND);
    let site = &sites.sites[0];
    assert!(site.settings().ends_with('0') && site.node.status(sites.now).warnings.is_empty());
    assert_eq!((site.warnings.len(), site.files), (1, written + 2));
    sites.run(600 * SECOND);
    assert!(sites.sites[0].settings().ends_with('1'), "its counters are above all again");
}

#[test]
fn what_an_address_was_before_it_was_restricted_is_not_held_against_tor() {
    let mut sites = alone(&Access::Open);
    sites.connect(0);
    sites.run(2 * SECOND);
    assert_eq!(sites.sites[0].node.tors[0].is_restricted(), Some(false));
    let key = crate::onion::client::HsClientDescEncKeypair::from_bytes(&[3; 32]).public();
    let add = crate::cluster::AccessChange::Add("alice".parse().unwrap(), key);
    sites.sites[0].world.descriptor = None;
    sites.command(0, crate::input::Command::ChangeAccess(vec![add]));
    shows(&mut sites, true);
    sites.run(5 * SECOND);
    assert!(sites.sites[0].node.access().is_restricted() && sites.sites[0].node.are_restricted());
    let site = &sites.sites[0];
    assert!(!site.warnings.contains(&EXPOSED.to_owned()) && !site.settings().contains('0'));
}
