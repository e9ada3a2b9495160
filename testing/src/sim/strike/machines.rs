//! What goes wrong with a machine: its power, its clocks, its disk, its application.

use rustbalance_core::{Command, DurableKind, TargetHealth};

use super::super::queue::{Happening, Told};
use super::super::world::World;

/// NTP sets the clock of a machine that was suspended within this long, milliseconds.
const CORRECT_MS: u64 = 10_000;
/// A daemon measures its machine so often, milliseconds.
const HOST_EVERY_MS: u64 = 10_000;
/// A tor that answers nothing is noticed, and its points leave the descriptor, within this long, milliseconds.
const TOR_FROZEN_NOTICED_MS: u64 = 28_000;

impl World {
    /// What the daemon learnt is gone from its disk; who it is and the roster stay.
    pub fn lose_disk(&mut self, index: usize) {
        self.fault(&format!("{index} loses its lease and plan files"));
        self.nodes[index].disk.retain(|kind, _| *kind == DurableKind::Roster);
        self.nodes[index].epoch_seen = 0;
    }

    /// An image of the disk is kept.
    pub(super) fn snapshot(&mut self, index: usize) {
        self.note(|| format!("--- snapshot of {index}"));
        self.nodes[index].image = Some((self.nodes[index].disk.clone(), self.nodes[index].token));
    }

    /// The machine dies and starts with the disk of the last image.
    pub(super) fn roll_back(&mut self, index: usize) {
        let Some(image) = self.nodes[index].image.clone() else { return };
        self.kill(index);
        self.note(|| format!("--- {index} is rolled back"));
        (self.nodes[index].disk, self.nodes[index].token) = image;
        self.nodes[index].epoch_seen = 0;
        self.nodes[index].is_back_alone = true;
        self.start(index);
    }

    /// A second machine with the same keys and disk.
    pub(super) fn clone_machine(&mut self, index: usize, copy: usize) {
        self.fault(&format!("{copy} is a clone of {index}"));
        let original = &self.nodes[index];
        let (id, who, key_seed, founded) = (original.id, original.who, original.key_seed, original.founded);
        let (disk, token) = (original.disk.clone(), original.token);
        let node = &mut self.nodes[copy];
        self.names.remove(&node.id);
        self.old_names.insert(node.id);
        (node.id, node.who, node.key_seed, node.founded) = (id, who, key_seed, founded);
        (node.disk, node.token) = (disk, token);
        node.joiner = None;
        self.start(copy);
    }

    /// The whole machine freezes for `ms`: no input is processed, then all at once.
    pub fn freeze(&mut self, index: usize, ms: u64) {
        self.fault(&format!("{index} frozen for {ms} ms"));
        self.stand_still(index, ms);
        self.thaw_after(index, ms);
    }

    /// Only the daemon freezes: its tor lives.
    pub(super) fn freeze_daemon(&mut self, index: usize, ms: u64) {
        self.fault(&format!("daemon of {index} frozen for {ms} ms"));
        let node = &mut self.nodes[index];
        node.still_until = node.still_until.max(self.now + ms);
        self.thaw_after(index, ms);
    }

    /// Only the tor freezes: its circuits live, it answers nothing.
    pub(super) fn freeze_tor(&mut self, index: usize, ms: u64) {
        self.lasting_fault(ms.min(TOR_FROZEN_NOTICED_MS), &format!("tor of {index} frozen for {ms} ms"));
        let node = &mut self.nodes[index];
        node.tor_still_until = node.tor_still_until.max(self.now + ms);
        node.is_tor_frozen = true;
        self.changed.machines = true;
        self.push(index, ms, Happening::Thaw);
    }

    /// As a freeze, but its clocks stand still, too, and the wall clock is set right some time later.
    pub(super) fn suspend(&mut self, index: usize, ms: u64) {
        let correct = ms + self.draw(CORRECT_MS);
        self.lasting_fault(correct, &format!("{index} suspended for {ms} ms"));
        let now = self.now;
        self.nodes[index].clock.stand_still(now, ms);
        self.stand_still(index, ms);
        self.thaw_after(index, ms);
        self.push(index, correct, Happening::Correct);
    }

    /// The wall clock jumps.
    pub fn jump_clock(&mut self, index: usize, by_ms: i64) {
        self.fault(&format!("clock of {index} jumps by {by_ms} ms"));
        let now = self.now;
        self.nodes[index].remember_clock(now);
        self.nodes[index].clock.jump(by_ms);
    }

    /// The clocks run fast or slow from now on.
    pub(super) fn drift(&mut self, index: usize, wall_ppm: i64, mono_ppm: i64) {
        self.fault(&format!("clocks of {index} drift by {wall_ppm} and {mono_ppm} ppm"));
        let now = self.now;
        self.nodes[index].clock.set_drift(now, wall_ppm, mono_ppm);
        // The timer was set for another pace.
        self.nodes[index].timer = None;
        self.set_timer(index);
    }

    /// NTP sets the wall clock right.
    pub(in super::super) fn correct(&mut self, index: usize) {
        self.fault(&format!("clock of {index} is set right"));
        let now = self.now;
        self.nodes[index].remember_clock(now);
        self.nodes[index].clock.correct(now);
    }

    /// The disk refuses writes from now on, or takes them again.
    pub fn fail_disk(&mut self, index: usize, fails: bool) {
        self.fault(&format!("disk of {index} {}", if fails { "fails" } else { "works" }));
        self.nodes[index].disk_fails = fails;
        if self.nodes[index].core.is_some() {
            let noticed = self.draw(HOST_EVERY_MS);
            self.push(index, noticed, Happening::Told(Told::Host));
        }
    }

    /// Writes take long from now on.
    pub(super) fn slow_disk(&mut self, index: usize, ms: u64) {
        self.fault(&format!("disk of {index} takes up to {ms} ms"));
        self.nodes[index].disk_ms = ms;
    }

    /// An orderly stop or leave.
    pub fn command(&mut self, index: usize, command: Command) {
        self.fault(&format!("{index} {command:?}"));
        self.nodes[index].is_leaving |= command == Command::Leave;
        self.tell(index, Told::Command(Box::new(command)));
    }

    /// The operator removes a member, and lets nobody in by it: an order may wait, for a disk that takes nothing, and who
    /// was let in meanwhile would be nobody's member.
    pub(super) fn remove(&mut self, index: usize, whom: usize) {
        self.nodes[whom].is_to_go = true;
        self.ask_no_more(whom);
        self.command(index, Command::Remove(self.nodes[whom].id));
    }

    /// A restart with a daemon that says what others do not know.
    pub(super) fn upgrade(&mut self, index: usize) {
        self.note(|| format!("--- {index} is of a newer version"));
        self.nodes[index].is_newer = true;
    }

    /// The operator's application dies or comes back.
    pub fn set_target(&mut self, index: usize, up: bool) {
        let health = if up { TargetHealth::Up } else { TargetHealth::Down };
        self.fault(&format!("the target of {index} is {health:?}"));
        self.nodes[index].target = health;
        self.nodes[index].since = self.now;
        self.changed.machines = true;
        self.tell(index, Told::Target);
    }
}
