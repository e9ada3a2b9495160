//! How machines become members: one founds the cluster, the others ask.

use rustbalance_core::cluster::{Access, ClusterToken};
use rustbalance_core::join::{AdmitError, Admitted, JoinError, Joiner, found};
use rustbalance_core::output::RequestId;
use rustbalance_core::status::Status;
use rustbalance_core::{DurableKind, Input, NodeId};

use super::machine::SimNode;
use super::queue::Happening;
use super::world::World;

/// A joiner repeats its request this often, milliseconds.
const ASK_AGAIN_MS: u64 = 1000;

/// Whether `node` is a member, for the daemon whose status that is.
pub(super) fn is_listed(status: &Status, node: NodeId) -> bool {
    let name: String = node.0.iter().map(|byte| format!("{byte:02x}")).collect();
    status.members.iter().any(|member| member.node == name)
}

impl World {
    /// Machine 0 founds the cluster and starts.
    pub fn found(&mut self) {
        let (keypair, wg, master) = (self.nodes[0].keypair(), self.nodes[0].wg(), self.master().public());
        let admitted = found(&keypair, wg, master, &Access::Open);
        self.install(0, admitted);
    }

    /// Machine 0 founds the cluster, and the others of the first `count` join it, a second apart.
    pub fn form(&mut self, count: usize) {
        self.found();
        for joiner in 1..count {
            self.run_for(1_000);
            self.join(joiner, 0);
        }
    }

    /// Machine `joiner` asks `via` to be admitted, and starts once it is.
    pub fn join(&mut self, joiner: usize, via: usize) {
        self.fault(&format!("{joiner} joins via {via}"));
        if self.nodes[joiner].founded.is_some() {
            self.renew(joiner);
        }
        let token = self.nodes[via].token;
        self.ask_with(joiner, via, token);
    }

    /// As [`World::join`], with whatever token. A wrong one is refused, and the joiner gives up.
    pub(super) fn ask_with(&mut self, joiner: usize, via: usize, token: [u8; 32]) {
        let (keypair, wg, peer) = (self.nodes[joiner].keypair(), self.nodes[joiner].wg(), self.nodes[via].wg());
        let master = self.master().public();
        self.nodes[joiner].token = token;
        let request = Joiner::new(&keypair, wg, peer, &ClusterToken::new(token), master, &mut self.rng);
        self.nodes[joiner].joiner = Some(request);
        let via = u32::try_from(via).expect("a machine's number");
        self.nodes[joiner].via = via;
        self.push(joiner, 0, Happening::Ask { via });
    }

    /// Nobody asks this machine to be let in any more.
    pub(super) fn ask_no_more(&mut self, via: usize) {
        let asking = |node: &&mut SimNode| node.joiner.is_some() && node.via as usize == via;
        self.nodes.iter_mut().filter(asking).for_each(|node| node.joiner = None);
    }

    pub(super) fn ask(&mut self, index: usize, via: u32) {
        if via != self.nodes[index].via {
            return; // It asks another by now.
        }
        let Some(bytes) = self.nodes[index].joiner.as_ref().map(Joiner::request) else { return };
        if self.trouble.carries(bytes.len()) && !self.is_lost(index, via as usize) {
            let delay = self.delay();
            let joiner = u32::try_from(index).expect("a machine's number");
            self.push(via as usize, delay, Happening::Admit { joiner, bytes });
        }
        self.push(index, ASK_AGAIN_MS, Happening::Ask { via });
    }

    pub(super) fn admit(&mut self, index: usize, joiner: u32, bytes: &[u8]) {
        let (wg, place) = (self.nodes[joiner as usize].wg(), self.nodes[joiner as usize].mesh.place);
        self.nodes[index].mesh.knock(joiner as usize, place);
        self.step_input(index, Input::Admit { request: RequestId(u64::from(joiner)), wg, bytes });
    }

    pub(super) fn send_answer(&mut self, index: usize, request: RequestId, datagrams: Vec<Vec<u8>>) {
        let joiner = usize::try_from(request.0).unwrap_or(usize::MAX);
        // A stranger's request has no machine's number.
        let is_carried = datagrams.iter().all(|datagram| self.trouble.carries(datagram.len()));
        if joiner < self.nodes.len() && is_carried && !self.is_lost(index, joiner) {
            let (place, who, delay) = (self.nodes[index].mesh.place, self.nodes[index].who, self.delay());
            self.nodes[joiner].mesh.knock(who as usize, place);
            self.push(joiner, delay, Happening::Answer { datagrams });
        }
    }

    pub(super) fn answer(&mut self, index: usize, datagrams: &[Vec<u8>]) {
        let Some(mut joiner) = self.nodes[index].joiner.take() else { return };
        for bytes in datagrams {
            match joiner.handle(bytes) {
                Ok(Some(admitted)) => return self.install(index, admitted),
                Ok(None) => {}
                // It asks again by and by.
                Err(JoinError::Refused(AdmitError::Busy | AdmitError::Rotating)) => break,
                // There is a newer one: it gives up.
                Err(JoinError::Refused(AdmitError::BadToken)) => {
                    return self.note(|| format!("{index} is turned away"));
                }
                Err(error) => return self.fail(format!("{index} could not join: {error:?}")),
            }
        }
        self.nodes[index].joiner = Some(joiner);
    }

    fn install(&mut self, index: usize, admitted: Admitted) {
        self.nodes[index].is_member = true;
        self.nodes[index].founded = Some((admitted.cluster, admitted.genesis));
        self.nodes[index].disk.insert(DurableKind::Roster, admitted.roster);
        self.start(index);
    }

    /// A machine that has left is made anew: its keys and its disk go, for its old name is never admitted again.
    fn renew(&mut self, index: usize) {
        let mut key_seed = [0; 32];
        self.fill(&mut key_seed);
        // What its old name heard of removals is forgotten with it.
        self.nodes.iter_mut().for_each(|node| node.removal_heard.retain(|by| *by != index));
        // Who asks it asks one with its old keys, and nobody has these any more.
        self.ask_no_more(index);
        let node = &mut self.nodes[index];
        self.names.remove(&node.id);
        self.old_names.insert(node.id);
        node.key_seed = key_seed;
        node.id = node.keypair().id();
        node.disk.clear();
        node.epoch_seen = 0;
        (node.is_leaving, node.is_gone, node.is_draining) = (false, false, false);
        (node.is_removed, node.is_to_go) = (false, false);
        node.removal_heard.clear();
        node.founded = None;
        self.names.insert(node.id, node.who);
    }
}
