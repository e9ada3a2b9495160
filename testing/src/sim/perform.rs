//! One input to a daemon, and everything it wishes for.

use std::hash::Hasher as _;

use rustbalance_core::cluster::{NodeState, PeerError};
use rustbalance_core::{
    ControlInput, Durable, DurableKind, EffectError, EffectId, Event, Input, Node, NodeId, Output, Rejected, TorId,
};

use super::queue::{Happening, Told};
use super::tors::id;
use super::witness::Sight;
use super::world::World;

/// A removed machine is switched off so long after its removal, milliseconds; at once, if it cannot be told. One that is
/// not told takes the others for dead, and publishes: it has the master key.
const SWITCHED_OFF_MS: u64 = 1_000;

impl World {
    /// One input to the daemon, then everything it wishes for.
    pub(super) fn step_input(&mut self, index: usize, input: Input<'_>) {
        let clock = self.nodes[index].clock.read(self.now, self.wall());
        let Some(core) = self.nodes[index].core.as_mut() else { return };
        let is_tick = matches!(input, Input::Tick);
        let rejected = core.handle(clock, input).err();
        let past = core.next_timeout().filter(|(at, _)| is_tick && *at < clock.mono);
        if let Some(rejected) = rejected.filter(|rejected| *rejected != Rejected::Peer(PeerError::Duplicate)) {
            self.rejected += 1;
            self.see(index, &Sight::Rejects(&rejected));
            self.note(|| format!("{index} rejects {rejected:?}"));
        }
        self.drain(index);
        if let Some((_, timer)) = past {
            // The shell would call it again and again.
            self.fail(format!("{index} was called, and wants to be called at a time that is past, for {timer:?}"));
        }
    }

    /// Tells the daemon something, now or when it no longer stands still.
    pub(super) fn tell(&mut self, index: usize, told: Told) {
        let still_until = self.nodes[index].still_until;
        if still_until > self.now {
            self.push(index, still_until - self.now, Happening::Told(told));
        } else {
            self.told(index, told);
        }
    }

    pub(super) fn told(&mut self, index: usize, told: Told) {
        let input = match told {
            Told::Target => Input::Target(self.nodes[index].target),
            Told::Host => Input::Host(self.nodes[index].host_facts()),
            Told::Closed { tor } => Input::Control(id(tor), ControlInput::Closed),
            Told::Command(command) => Input::Command(*command),
        };
        self.step_input(index, input);
    }

    /// What of its operator's orders is in force, as the daemon has it.
    fn note_orders(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some(record) = node.core.as_ref().map(Node::record) else { return };
        let (is_draining, priority) = (record.state == NodeState::Draining, record.priority);
        // Who stops or leaves was drained, or was not.
        let is_draining = if record.state == NodeState::Leaving { node.is_draining } else { is_draining };
        if (node.is_draining, node.priority_now) != (is_draining, priority) {
            (self.nodes[index].is_draining, self.nodes[index].priority_now) = (is_draining, priority);
            self.changed.machines = true;
            self.fault(&format!("{index} follows an order"));
        }
    }

    pub(super) fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].core.as_mut().and_then(Node::poll_output) {
            self.record(index, &output);
            self.perform(index, output);
        }
        self.note_orders(index);
        self.set_timer(index);
    }

    fn record(&mut self, index: usize, output: &Output) {
        self.trace.write_u64(self.now);
        self.trace.write_usize(index);
        match output {
            Output::SendPeer { to, bytes } => {
                self.trace.write(&to.0);
                self.trace.write(bytes);
            }
            Output::Control(_, bytes) => self.trace.write(bytes),
            Output::Persist { id, record } => {
                self.trace.write_u64(id.0);
                self.trace.write(record.kind.file_name().as_bytes());
                self.trace.write(&record.bytes);
            }
            Output::AdmitReply { .. }
            | Output::Reconnect(_)
            | Output::RestartTor(_)
            | Output::InviteReply { .. }
            | Output::InvitePaths(_)
            | Output::Peers(_)
            | Output::Token(_)
            | Output::Event(_)
            | Output::Stopped(_) => self.trace.write(format!("{output:?}").as_bytes()),
        }
        if let Output::Event(event) = output {
            self.note(|| format!("{index} {event:?}"));
        }
    }

    fn perform(&mut self, index: usize, output: Output) {
        match output {
            Output::SendPeer { to, bytes } => self.send_peer(index, to, bytes.into()),
            Output::AdmitReply { request, datagrams } => self.send_answer(index, request, datagrams),
            Output::Control(TorId(tor), bytes) => self.control(index, tor.into(), bytes),
            Output::Reconnect(TorId(tor)) => self.reconnect(index, tor.into(), 100),
            Output::RestartTor(TorId(tor)) => self.keep_tor_dead(index, tor.into(), 0),
            Output::Persist { id, record } => {
                self.nodes[index].lease_unwritten |= record.kind == DurableKind::Lease;
                // Tor waits for them only where it publishes a restricted address: how long they take makes no difference.
                let is_tors = record.kind == DurableKind::AuthorizedClients;
                let slowest = self.options.disk_ms_max.max(self.nodes[index].disk_ms);
                let delay = if is_tors { 1 } else { 1 + self.draw(slowest) };
                self.push(index, delay, Happening::Persisted { id, record });
            }
            Output::Event(event) => {
                self.hear(index, &event);
                self.see(index, &Sight::Says(&event));
            }
            Output::Token(token) => self.nodes[index].token = *token.expose_secret(),
            Output::Stopped(why) => {
                self.see(index, &Sight::Stops(why));
                self.nodes[index].is_gone = self.nodes[index].is_leaving;
                self.kill(index);
            }
            Output::Peers(peers) => self.set_peers(index, &peers),
            // Nobody is invited here: `core/tests/cluster_invites.rs` does that.
            Output::InviteReply { .. } | Output::InvitePaths(_) => {}
        }
    }

    fn hear(&mut self, index: usize, event: &Event) {
        if let Event::Role(role) = event {
            self.nodes[index].role = *role;
            self.changed.roles = true;
            self.note_rivals(0);
        } else if let Event::Left(node) = event {
            // Who leaves says so of itself, too; if nobody hears it, it is a member still, for the others.
            if self.nodes[index].id != *node {
                self.has_left(*node);
            }
        } else if let Event::Removed(node) = event {
            self.was_removed(index, *node);
        }
    }

    /// One member knows that another has left: the others will, even if that one dies before it has told them all.
    fn has_left(&mut self, node: NodeId) {
        if let Some(who) = self.names.get(&node) {
            self.nodes[*who as usize].is_member = false;
            self.changed.machines = true;
        }
    }

    /// A removal is in force at one member. The operator switches the machine off by and by. An image of a disk from
    /// before would undo the removal, if there is nobody else who knows.
    fn was_removed(&mut self, by: usize, node: NodeId) {
        let Some(who) = self.names.get(&node).map(|who| *who as usize) else { return };
        self.nodes[who].removal_heard.push(by);
        if self.nodes[who].is_removed {
            return;
        }
        self.nodes[who].is_removed = true;
        self.has_left(node);
        self.fault(&format!("{who} was removed"));
        self.nodes.iter_mut().for_each(|node| node.image = None);
        let is_told = self.cut.is_empty() && self.now >= self.trouble.burst_until;
        self.push(who, if is_told { SWITCHED_OFF_MS } else { 1 }, Happening::SwitchOff);
    }

    pub(super) fn persisted(&mut self, index: usize, id: EffectId, record: Durable) {
        let result = if self.nodes[index].disk_fails {
            Err(EffectError::Disk("no space left on device".to_owned()))
        } else {
            self.nodes[index].lease_unwritten &= record.kind != DurableKind::Lease;
            self.nodes[index].disk.insert(record.kind, record.bytes);
            Ok(())
        };
        self.step_input(index, Input::Done { id, result });
    }
}
