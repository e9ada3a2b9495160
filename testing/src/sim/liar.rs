//! Members that lie, members that were, and strangers: what they say reaches whom it can reach.

use std::collections::VecDeque;
use std::sync::Arc;

use rustbalance_core::cluster::{ClusterToken, Forger, NodeKeypair, unknown_kind};
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::join::Joiner;
use rustbalance_core::output::RequestId;
use rustbalance_core::status::Status;
use rustbalance_core::{Input, WgPublicKey};

use super::admission::is_listed;
use super::fault::Lie;
use super::machine::TOKEN;
use super::tor::TorModel;
use super::world::World;

/// Datagrams of everybody that are remembered.
const REMEMBERED_MAX: usize = 64;
/// Entries of the roster that are remembered: they are sent seldom.
const ENTRIES_MAX: usize = 16;
/// How a datagram with one begins: version, kind and key (PROTOCOL.md, Mesh).
const ENTRY: [u8; 3] = [1, 8, 0];
/// Datagrams of one flood, to each member.
const FLOOD: usize = 300;
/// The highest jump of epochs that is believed.
const EPOCH_JUMP: u64 = 1 << 20;
/// The highest seconds that counters can stand for.
const FLOOR: u32 = (1 << 18) - 1;
/// Of whom nobody has ever heard.
const STRANGER: [u8; 32] = [0x5e; 32];
/// Beyond every token and every ledger of a run.
const GENERATION: u32 = 1_000;
const ACCESS_VERSION: u64 = 1_000;
/// A forged pause, seconds.
const PAUSE_SECS: u32 = 600;
/// Lies are told and believed for so long at most: a false beacon for a TTL, a takeover after it, milliseconds.
const LIE_MS: u64 = 10_000;

/// What was said in the mesh: liars repeat it, or change it.
#[derive(Default)]
pub(super) struct Said {
    all: VecDeque<Arc<[u8]>>,
    entries: VecDeque<Arc<[u8]>>,
}

impl Said {
    /// A datagram was sent.
    pub(super) fn note(&mut self, bytes: &Arc<[u8]>) {
        keep(&mut self.all, REMEMBERED_MAX, bytes);
        if bytes.starts_with(&ENTRY) {
            keep(&mut self.entries, ENTRIES_MAX, bytes);
        }
    }
}

fn keep(list: &mut VecDeque<Arc<[u8]>>, most: usize, bytes: &Arc<[u8]>) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(bytes.clone());
}

impl World {
    /// A member says to all others what is not so.
    pub(super) fn lie(&mut self, index: usize, lie: Lie) {
        let Some((cluster, _)) = self.nodes[index].founded else { return };
        self.lasting_fault(LIE_MS, &format!("{index} lies: {lie:?}"));
        let forger = Forger { keypair: self.nodes[index].keypair(), cluster };
        let datagrams: Vec<Vec<u8>> = match lie {
            Lie::ForgedRecord => self.changed_datagrams(|said| forger.record(said, false, Vec::new())),
            Lie::ForeignPoints => {
                let points = self.foreign_points();
                self.changed_datagrams(|said| forger.record(said, true, points.clone()))
            }
            // What is believed may grow by the first; the second, within the same beat, is refused.
            Lie::AbsurdEpoch => {
                let once = self.changed_datagrams(|said| forger.beacon(said, u64::MAX, None));
                [once.clone(), once].concat()
            }
            Lie::HighEpoch => self.changed_datagrams(|said| forger.beacon(said, EPOCH_JUMP, None)),
            Lie::AbsurdFloors => self.changed_datagrams(|said| forger.beacon(said, 1, Some(FLOOR))),
            Lie::ForgedPlan | Lie::ForgedTombstone | Lie::ForgedRotation | Lie::ForgedAccess | Lie::ForgedPause => {
                self.forged_items(index, lie, &forger)
            }
            Lie::Flood => {
                self.nodes[index].flooded_at = Some(self.now);
                (0..FLOOD).map(|_| self.some_datagram()).collect()
            }
            Lie::Replay => self.said.all.iter().map(|said| said.to_vec()).collect(),
            Lie::Garble => (0..REMEMBERED_MAX).map(|_| self.garbled()).collect(),
            Lie::UnknownKinds => (0..8).map(|length| unknown_kind(&vec![7; length * 8 + 1])).collect(),
        };
        let others: Vec<_> = self.nodes.iter().map(|node| node.id).filter(|id| *id != self.nodes[index].id).collect();
        for to in others {
            datagrams.iter().for_each(|bytes| self.send_through(index, to, bytes.as_slice().into()));
        }
    }

    /// The newest true datagram that `change` can do something with, changed.
    fn changed_datagrams(&self, change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
        self.said.all.iter().rev().find_map(|said| change(said)).into_iter().collect()
    }

    /// What a member may say of the cluster, in the name of each other one.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only forged items come here")]
    fn forged_items(&mut self, index: usize, lie: Lie, forger: &Forger) -> Vec<Vec<u8>> {
        let (wall, points) = (self.wall(), self.foreign_points());
        let epoch = self.status(index).map_or(0, |status| status.epoch);
        let others: Vec<_> = self.nodes.iter().map(|node| node.id).filter(|id| *id != self.nodes[index].id).collect();
        let forge = |by| match lie {
            Lie::ForgedTombstone => self.said.entries.iter().find_map(|said| forger.tombstone(by, said, wall)),
            Lie::ForgedRotation => Some(forger.rotation(by, GENERATION)),
            Lie::ForgedAccess => Some(forger.access(by, ACCESS_VERSION)),
            Lie::ForgedPause => Some(forger.pause(by, wall, PAUSE_SECS)),
            _ => Some(forger.plan(by, epoch + 1, points.clone())),
        };
        others.into_iter().filter_map(forge).collect()
    }

    fn some_datagram(&mut self) -> Vec<u8> {
        let which = self.draw(self.said.all.len() as u64) as usize;
        self.said.all.get(which).map(|said| said.to_vec()).unwrap_or_default()
    }

    fn garbled(&mut self) -> Vec<u8> {
        let mut bytes = self.some_datagram();
        for _ in 0..=self.draw(4) {
            let at = self.draw(bytes.len() as u64) as usize;
            let bit = 1 << self.draw(8);
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bit);
        }
        bytes
    }

    /// Points of no node here.
    pub(super) fn foreign_points(&mut self) -> Vec<IntroPoint> {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        let mut tor = TorModel::new(&self.master_file, 0, rand_core::SeedableRng::from_seed(seed));
        tor.add_point(&self.network, self.wall().as_secs());
        tor.points
    }

    /// A machine that has left says what it said as a member, and with its old keys what is new. Nobody has a tunnel to
    /// it as to a member; should a datagram come through all the same, nobody may heed it, nor what is new if a member
    /// passes it on. As a stranger it is heard, and removes nobody.
    pub(super) fn speak_as_former(&mut self, index: usize) {
        if self.nodes[index].is_member {
            return;
        }
        let Some((cluster, _)) = self.nodes[index].founded else { return };
        self.note(|| format!("--- {index}, who has left, speaks"));
        let forger = Forger { keypair: self.nodes[index].keypair(), cluster };
        let news = self.news_of_a_former(&forger);
        let wall = self.wall();
        let bury = |said| forger.tombstone(forger.keypair.id(), said, wall);
        let removals: Vec<_> = self.said.entries.iter().filter_map(|said| bury(said)).collect();
        let (from, said) = (self.nodes[index].id, self.said.all.clone());
        for listener in (0..self.nodes.len()).filter(|listener| *listener != index) {
            let clock = self.nodes[listener].clock.read(self.now, self.wall());
            let live = self.nodes[listener].is_live() && self.nodes[listener].still_until <= self.now;
            let core = self.nodes[listener].core.as_mut().filter(|_| live);
            let Some(core) = core.filter(|core| !is_listed(&core.status(clock), from)) else { continue };
            let said = said.iter().map(|bytes| &**bytes).chain(news.iter().map(Vec::as_slice));
            let heeded = said.filter(|bytes| core.handle(clock, Input::Peer { from, bytes }).is_ok()).count();
            let is_heard = |bytes: &&Vec<u8>| core.handle(clock, Input::Stranger { bytes: bytes.as_slice() }).is_ok();
            let removed = removals.iter().filter(is_heard).count();
            if heeded + removed > 0 {
                self.fail(format!("{listener} heeds {index}, who has left"));
            }
            self.drain(listener);
            self.pass_on(index, listener, &news);
        }
    }

    /// What it has not said as a member: that a stranger, and it itself, are members; that it publishes; its record.
    fn news_of_a_former(&mut self, forger: &Forger) -> Vec<Vec<u8>> {
        let (stranger, points) = (NodeKeypair::from_seed(&STRANGER).id(), self.foreign_points());
        let me = forger.keypair.id();
        let mut news =
            vec![forger.admission(stranger, WgPublicKey(stranger.0)), forger.admission(me, WgPublicKey(me.0))];
        news.extend(self.changed_datagrams(|said| forger.beacon(said, 1, None)));
        news.extend(self.changed_datagrams(|said| forger.record(said, true, points.clone())));
        news
    }

    /// A member passes on to `listener` what a former one says.
    fn pass_on(&mut self, former: usize, listener: usize, news: &[Vec<u8>]) {
        let Some(before) = self.status(listener) else { return };
        let member =
            self.nodes.iter().enumerate().find(|(other, node)| *other != listener && is_listed(&before, node.id));
        let Some(from) = member.map(|(_, node)| node.id) else { return };
        for bytes in news {
            self.step_input(listener, Input::Peer { from, bytes });
        }
        let Some(after) = self.status(listener) else { return };
        let members = |status: &Status| status.members.iter().map(|member| member.node.clone()).collect::<Vec<_>>();
        if members(&before) != members(&after) || (before.epoch, before.holder) != (after.epoch, after.holder) {
            self.fail(format!("{listener} heeds {former}, who has left, since a member passes it on"));
        }
    }

    /// A stranger asks with the cluster's first token, if that is not in force any more, or with none of its tokens.
    pub(super) fn ask_as_stranger(&mut self, via: usize) {
        let is_first = self.nodes[via].token == TOKEN;
        self.stranger_asks_with(via, if is_first { TOKEN.map(|byte| byte ^ 1) } else { TOKEN });
    }

    /// A stranger asks with this token.
    pub fn stranger_asks_with(&mut self, via: usize, token: [u8; 32]) {
        if self.nodes[via].still_until > self.now {
            return;
        }
        self.note(|| format!("--- a stranger asks {via}"));
        let mut seed = [0; 32];
        self.fill(&mut seed);
        let (keypair, token) = (NodeKeypair::from_seed(&seed), ClusterToken::new(token));
        let (wg, service) = (WgPublicKey(keypair.id().0), self.service);
        let joiner = Joiner::new(&keypair, wg, self.nodes[via].wg(), &token, service, &mut self.rng);
        let input = Input::Admit { request: RequestId(u64::MAX), wg, bytes: &joiner.request() };
        self.step_input(via, input);
    }
}
