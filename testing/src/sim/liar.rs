//! Members that lie, members that were, and strangers: what they say reaches whom it can reach.

use std::collections::VecDeque;
use std::sync::Arc;

use rustbalance_core::cluster::{ClusterToken, Forger, NodeKeypair, unknown_kind};
use rustbalance_core::hsdesc::IntroPoint;
use rustbalance_core::join::Joiner;
use rustbalance_core::output::RequestId;
use rustbalance_core::{Input, WgPublicKey};

use super::fault::Lie;
use super::machine::TOKEN;
use super::tor::TorModel;
use super::world::World;

/// Datagrams of everybody that are remembered.
const REMEMBERED_MAX: usize = 64;
/// Datagrams of one flood, to each member.
const FLOOD: usize = 300;
/// The highest jump of epochs that is believed.
const EPOCH_JUMP: u64 = 1 << 20;
/// The highest seconds that counters can stand for.
const FLOOR: u32 = (1 << 18) - 1;
/// Lies are told and believed for so long at most: a false beacon for a TTL, a takeover after it, milliseconds.
const LIE_MS: u64 = 10_000;

/// What was said in the mesh: liars repeat it, or change it.
#[derive(Default)]
pub(super) struct Said(VecDeque<Arc<[u8]>>);

impl Said {
    /// A datagram was sent.
    pub(super) fn note(&mut self, bytes: &Arc<[u8]>) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(bytes.clone());
    }
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
            Lie::AbsurdEpoch => self.changed_datagrams(|said| forger.beacon(said, u64::MAX, None)),
            Lie::HighEpoch => self.changed_datagrams(|said| forger.beacon(said, EPOCH_JUMP, None)),
            Lie::AbsurdFloors => self.changed_datagrams(|said| forger.beacon(said, 1, Some(FLOOR))),
            Lie::Flood => (0..FLOOD).map(|_| self.some_datagram()).collect(),
            Lie::Replay => self.said.0.iter().map(|said| said.to_vec()).collect(),
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
        self.said.0.iter().rev().find_map(|said| change(said)).into_iter().collect()
    }

    fn some_datagram(&mut self) -> Vec<u8> {
        let which = self.draw(self.said.0.len() as u64) as usize;
        self.said.0.get(which).map(|said| said.to_vec()).unwrap_or_default()
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

    /// A machine that has left says what it said as a member. Nobody has a tunnel to it; should a datagram come
    /// through all the same, nobody may heed it.
    pub(super) fn speak_as_former(&mut self, index: usize) {
        if self.nodes[index].is_member || self.nodes[index].founded.is_none() {
            return;
        }
        self.note(|| format!("--- {index}, who has left, speaks"));
        let (from, said) = (self.nodes[index].id, self.said.0.clone());
        for listener in (0..self.nodes.len()).filter(|listener| *listener != index) {
            let clock = self.nodes[listener].clock.read(self.now, self.wall());
            let live = self.nodes[listener].is_live() && self.nodes[listener].still_until <= self.now;
            let core = self.nodes[listener].core.as_mut().filter(|_| live);
            let Some(core) = core.filter(|core| knows_that_it_left(&core.status(clock), from)) else { continue };
            let heeded = said.iter().filter(|bytes| core.handle(clock, Input::Peer { from, bytes }).is_ok()).count();
            if heeded > 0 {
                self.fail(format!("{listener} heeds {index}, who has left"));
            }
            self.drain(listener);
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

fn knows_that_it_left(status: &rustbalance_core::status::Status, node: rustbalance_core::NodeId) -> bool {
    let name: String = node.0.iter().map(|byte| format!("{byte:02x}")).collect();
    status.members.iter().all(|member| member.node != name)
}
