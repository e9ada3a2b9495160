//! How faults come about.

mod hsdirs;
mod machines;
mod mesh;
mod tors;

use rustbalance_core::Command;
use rustbalance_core::cluster::Order;

use super::admission::is_listed;
use super::fault::Fault;
use super::machine::SimNode;
use super::witness::Sight;
use super::world::World;

impl World {
    /// Lets a fault happen. One that makes no sense at this moment does nothing.
    pub fn strike(&mut self, fault: &Fault) {
        if !self.makes_sense(fault) {
            return;
        }
        self.see(0, &Sight::Strikes(fault));
        match *fault {
            Fault::Kill { node } => self.kill(node),
            Fault::Start { node } => self.start(node),
            Fault::StartAll => {
                let dead: Vec<_> = (0..self.nodes.len()).filter(|node| self.may_start(*node)).collect();
                dead.into_iter().for_each(|node| self.start(node));
            }
            Fault::LoseDisk { node } => {
                self.kill(node);
                self.lose_disk(node);
            }
            Fault::Stop { node } => self.command(node, Command::Shutdown),
            Fault::Leave { node } => self.command(node, Command::Leave),
            Fault::Drain { node } => self.command(node, Command::Order(None, Order::Drain)),
            Fault::Undrain { node } => self.command(node, Command::Order(None, Order::Undrain)),
            Fault::Order { node, whom, order } => {
                let whom = Some(self.nodes[whom].id);
                self.command(node, Command::Order(whom, order));
            }
            Fault::Pause { node, secs } => self.command(node, Command::Pause(secs)),
            Fault::RotateToken { node } => self.command(node, Command::RotateToken),
            Fault::Remove { node, whom } => self.remove(node, whom),
            Fault::Upgrade { node } => self.upgrade(node),
            Fault::Join { node, via } => self.join(node, via),
            Fault::Snapshot { node } => self.snapshot(node),
            Fault::Rollback { node } => self.roll_back(node),
            Fault::Clone { node, copy } => self.clone_machine(node, copy),
            Fault::Freeze { node, ms } => self.freeze(node, ms),
            Fault::FreezeTor { node, ms } => self.freeze_tor(node, ms),
            Fault::FreezeDaemon { node, ms } => self.freeze_daemon(node, ms),
            Fault::Suspend { node, ms } => self.suspend(node, ms),
            Fault::Jump { node, ms } => self.jump_clock(node, ms),
            Fault::JumpAll { ms } => (0..self.nodes.len()).for_each(|node| self.jump_clock(node, ms)),
            Fault::Drift { node, wall_ppm, mono_ppm } => self.drift(node, wall_ppm, mono_ppm),
            Fault::Correct { node } => self.correct(node),
            Fault::Disk { node, fails } => self.fail_disk(node, fails),
            Fault::SlowDisk { node, ms } => self.slow_disk(node, ms),
            Fault::Target { node, up } => self.set_target(node, up),
            Fault::Partition { ref left, ref right } => self.partition(left, right, true),
            Fault::Mute { from, to } => self.mute(from, to),
            Fault::Deaf { node } => self.deafen(node),
            Fault::Dumb { node } => self.silence(node),
            Fault::Heal => self.heal(),
            Fault::Move { node } => self.move_machine(node),
            Fault::Loss { permille } => self.disturb(0, fault, |trouble| trouble.loss_permille = permille),
            Fault::Handshakes { permille } => {
                self.disturb(0, fault, |trouble| trouble.handshake_loss_permille = permille);
            }
            Fault::Duplicate { permille } => self.disturb(0, fault, |trouble| trouble.duplicate_permille = permille),
            Fault::Corrupt { permille } => self.disturb(0, fault, |trouble| trouble.corrupt_permille = permille),
            Fault::Reorder { permille, ms } => {
                self.disturb(0, fault, |trouble| trouble.reorder = (permille, ms));
            }
            Fault::Mtu { bytes } => self.disturb(0, fault, |trouble| trouble.bytes_max = Some(bytes)),
            Fault::Burst { ms } => {
                let until = self.now + ms;
                self.disturb(ms, fault, |trouble| trouble.burst_until = trouble.burst_until.max(until));
            }
            Fault::BurstAt { node, ms } => self.burst_at(node, ms),
            Fault::Tor { node } => self.kill_tor(node),
            Fault::TorDead { node, ms } => self.keep_tor_dead(node, self.tor_in_turn(node), ms),
            Fault::Control { node, ms } => self.lose_control(node, ms),
            Fault::Points { node } => self.replace_points(node),
            Fault::Point { node, point } => self.replace_point(node, point),
            Fault::Hollow { node, ms } => self.hollow(node, ms),
            Fault::Settings { node } => self.lose_settings(node),
            Fault::Uploads { node, how, ms } => self.spoil_uploads(node, how, ms),
            Fault::Forget { relay } => self.forget(relay),
            Fault::Refuse { relay, ms } => self.make_ill(relay, ms),
            Fault::Late { relay, ms } => self.make_late(relay, ms),
            Fault::RelayLeaves { relay } => self.relay_leaves(relay),
            Fault::RelayEnters => self.relay_enters(),
            Fault::Poison { relay, ahead_secs } => self.poison(relay, ahead_secs),
            Fault::Foreign { relay } => self.put_foreign(relay),
            Fault::Lie { node, lie } => self.lie(node, lie),
            Fault::Former { node } => self.speak_as_former(node),
            Fault::Stranger { via } => self.ask_as_stranger(via),
        }
    }

    /// Whether clients are sent to any other node: the command line refuses to take the last one away.
    fn another_is_offered(&self, node: usize) -> bool {
        self.nodes.iter().enumerate().any(|(other, machine)| other != node && machine.is_offered())
    }

    /// Whether a member was let in by `whom`, and `node` has not heard of it.
    fn alone_vouches(&self, whom: usize, node: usize) -> bool {
        let Some(status) = self.status(node) else { return false };
        let mut joined = self.nodes.iter().filter(|machine| machine.is_member && machine.via as usize == whom);
        joined.any(|machine| !is_listed(&status, machine.id))
    }

    /// Whether a node is the only member that has heard of a removal: it would be forgotten.
    fn alone_knows_of_a_removal(&self, node: usize) -> bool {
        let heard = |by: &usize| *by != node && self.nodes[*by].is_member;
        let alone =
            |machine: &SimNode| machine.removal_heard.contains(&node) && !machine.removal_heard.iter().any(heard);
        self.nodes.iter().any(|machine| machine.is_removed && alone(machine))
    }

    /// Whether whom the fault hits is in a state to be hit.
    fn makes_sense(&self, fault: &Fault) -> bool {
        let exists = |node: usize| node < self.nodes.len();
        let live = |node: usize| self.nodes.get(node).is_some_and(SimNode::is_live);
        let runs = |node: usize| self.nodes.get(node).is_some_and(|node| node.core.is_some());
        match *fault {
            Fault::Kill { node } | Fault::LoseDisk { node } | Fault::Snapshot { node } => runs(node),
            // An image from before it left makes it a member that nobody else knows.
            Fault::Rollback { node } => runs(node) && !self.nodes[node].is_leaving,
            Fault::Start { node } => self.may_start(node),
            Fault::Join { node, via } => {
                self.may_join(node) && self.nodes[node].joiner.is_none() && live(via) && self.nodes[via].lets_in()
            }
            // The operator looks at the list first: whom nobody else let in would be nobody's member.
            Fault::Remove { node, whom } => {
                node != whom
                    && live(node)
                    && !self.alone_vouches(whom, node)
                    && self.nodes.get(whom).is_some_and(|machine| {
                        machine.is_member && (!machine.is_offered() || self.another_is_offered(whom))
                    })
            }
            Fault::Order { node, whom, .. } => live(node) && exists(whom),
            Fault::Clone { node, copy } => runs(node) && self.may_join(copy),
            // Who leaves and is heard by nobody is a member still, for the others: no state to check anything in.
            Fault::Leave { node } => {
                let hears = |(other, machine): (usize, &SimNode)| other != node && live(other) && machine.is_member;
                live(node)
                    && self.another_is_offered(node)
                    && self.cut.is_empty()
                    && self.trouble.is_over(self.now)
                    && self.nodes.iter().enumerate().any(hears)
                    && !self.alone_knows_of_a_removal(node)
            }
            Fault::Stop { node }
            | Fault::Drain { node }
            | Fault::Undrain { node }
            | Fault::Pause { node, .. }
            | Fault::RotateToken { node }
            | Fault::Freeze { node, .. }
            | Fault::FreezeTor { node, .. }
            | Fault::FreezeDaemon { node, .. }
            | Fault::Suspend { node, .. }
            | Fault::Tor { node }
            | Fault::TorDead { node, .. }
            | Fault::Control { node, .. }
            | Fault::Points { node }
            | Fault::Point { node, .. }
            | Fault::Hollow { node, .. }
            | Fault::Settings { node }
            | Fault::Uploads { node, .. }
            | Fault::Lie { node, .. }
            | Fault::Stranger { via: node } => live(node),
            Fault::Jump { node, .. }
            | Fault::Drift { node, .. }
            | Fault::Correct { node }
            | Fault::Disk { node, .. }
            | Fault::SlowDisk { node, .. }
            | Fault::Deaf { node }
            | Fault::Dumb { node }
            | Fault::BurstAt { node, .. }
            | Fault::Move { node }
            | Fault::Upgrade { node }
            | Fault::Target { node, .. }
            | Fault::Former { node } => exists(node),
            Fault::Mute { from, to } => exists(from) && exists(to) && from != to,
            Fault::Partition { ref left, ref right } => left.iter().chain(right).all(|node| exists(*node)),
            Fault::StartAll
            | Fault::JumpAll { .. }
            | Fault::Heal
            | Fault::Loss { .. }
            | Fault::Burst { .. }
            | Fault::Handshakes { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Corrupt { .. }
            | Fault::Mtu { .. }
            | Fault::Forget { .. }
            | Fault::Refuse { .. }
            | Fault::Late { .. }
            | Fault::RelayLeaves { .. }
            | Fault::RelayEnters
            | Fault::Poison { .. }
            | Fault::Foreign { .. } => true,
        }
    }

    /// Dead, and it was admitted once and has not left.
    fn may_start(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.core.is_none() && node.is_member && !node.is_gone)
    }

    /// Dead, and not a member: it never was one, or it has left.
    fn may_join(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.core.is_none() && !node.is_member)
    }
}
