//! The coordination part begins from its files. One that does not decode or verify is as good as lost: we start without
//! it and say so.

use std::collections::BTreeMap;

use super::access::Admittance;
use super::admission::Admissions;
use super::contacts::Contacts;
use super::disk::{Disk, LeaseFile, load};
use super::goodbye::Farewells;
use super::gossip::Gossip;
use super::invites::Invites;
use super::item::Items;
use super::lease::Lease;
use super::member::Members;
use super::order::{Ordered, Orders};
use super::partners::Partners;
use super::pause::Pause;
use super::plan::{Plans, Publication};
use super::rank::Ranking;
use super::record::Records;
use super::roster::{self, Roster, RosterFile};
use super::rotation::Rotations;
use super::stall::Stall;
use super::token_age::TokenAge;
use super::{Cluster, ClusterConfig, Identity, Role};
use crate::memo::Memo;
use crate::output::{DurableKind, Event, Outbox, Output};
use crate::rng::Rng;
use crate::time::Now;

type Saved = BTreeMap<DurableKind, Vec<u8>>;

impl Cluster {
    /// Starts from what was saved; nothing for a first start.
    pub fn new(config: ClusterConfig, saved: &Saved, mut rng: Rng, now: Now, out: &mut Outbox) -> Self {
        let ClusterConfig { keypair, wg, cluster, genesis, token, priority, weight, name, contact, token_age_max } =
            config;
        let id = keypair.id();
        let me = Identity { keypair, id, wg, cluster, priority, weight, name, contact };
        let (mut items, mut disk) = (Items::default(), Disk::default());
        for (kind, bytes) in saved {
            disk.found(*kind, bytes);
        }
        let lease: LeaseFile = load(saved, DurableKind::Lease, out);
        let file: RosterFile = load(saved, DurableKind::Roster, out);
        let roster = load_roster(&me, Roster::new(cluster, genesis), &file, &mut items, out);
        let mut rotations = Rotations::new(token.clone(), now.mono);
        if !rotations.load(&me, &roster, &mut items, &file) {
            warn(out, "the token rotation in state/roster does not verify and is ignored");
        }
        if let Some(newer) = rotations.token().filter(|newer| **newer != token) {
            out.push(Output::Token(newer.clone()));
        }
        let admittance = load_access(&me, &file, &mut items, out);
        let invites = load_invites(&me, saved, &mut items, out);
        let mut plans = Plans::default();
        if let Some(blob) = saved.get(&DurableKind::Plan) {
            plans.load(&me, &mut items, blob);
        }
        let incarnation = lease.incarnation.saturating_add(1).max(now.wall.as_secs());
        let mut records = Records::new(&me, incarnation);
        let ordered: Ordered = load(saved, DurableKind::Orders, out);
        records.amend(&me, &mut items, |record| {
            ordered.apply(&me, false, record);
            record.generation = rotations.generation();
        });
        let mut contacts = Contacts::new(file.contacts);
        contacts.learn(id, records.own().contact.as_ref());
        let role = if roster.len() == 1 && roster.contains(id) { Role::Alone } else { Role::Follower };
        Self {
            lease: Lease::new(now.mono, lease.epoch, &mut rng),
            rng,
            roster,
            rotations,
            token_age: TokenAge::new(token_age_max, saved, now.mono, out),
            records,
            plans,
            items,
            gossip: Gossip::default(),
            partners: Partners::default(),
            members: Members::default(),
            admittance,
            admissions: Admissions::default(),
            invites,
            disk,
            stall: Stall::default(),
            publication: Publication::default(),
            wanted_lease: None,
            saved_changes: None,
            contacts,
            beat: 0,
            beat_at: now.mono,
            role,
            role_since: now.mono,
            build_era: 0,
            alone_since: None,
            goodbye: None,
            out_since: None,
            farewells: Farewells::default(),
            ranking: Ranking::default(),
            orders: Orders::new(ordered),
            pause: Pause::default(),
            seen: Memo::default(),
            mates: Memo::default(),
            me,
        }
    }
}

/// The members; the first node admits itself.
fn load_roster(me: &Identity, mut roster: Roster, file: &RosterFile, items: &mut Items, out: &mut Outbox) -> Roster {
    let refused = roster.load(&file.entries, items);
    if refused > 0 {
        warn(out, &format!("{refused} entries of state/roster do not verify and are ignored"));
    }
    if !roster.contains(me.id) && me.id == roster.genesis() && !roster.knows(me.id) {
        let own = roster::admit(&me.keypair, me.cluster, 0, me.id, me.wg);
        roster.load(&[own], items);
    }
    if !roster.contains(me.id) {
        warn(out, &format!("node {} is not in the roster: it left, or never joined; join it anew", me.id));
    }
    roster
}

fn load_access(me: &Identity, file: &RosterFile, items: &mut Items, out: &mut Outbox) -> Admittance {
    let mut admittance = Admittance::default();
    if !admittance.load(me, items, file) {
        warn(out, "who may connect, in state/roster, does not verify: until another node says it, nobody may");
    }
    admittance
}

fn load_invites(me: &Identity, saved: &Saved, items: &mut Items, out: &mut Outbox) -> Invites {
    let mut invites = Invites::default();
    if saved.get(&DurableKind::Invites).is_some_and(|blob| !invites.load(me, items, blob)) {
        warn(out, "state/invites does not verify: until another node says which there are, no invite is good");
    }
    invites
}

fn warn(out: &mut Outbox, text: &str) {
    out.event(Event::Warning(text.to_owned()));
}
