//! Anything may fail, in any order; each seed leaves some faults out. Then all heals, and everything must converge.

use super::{Scenario, Story};

pub(super) const CHAOS: Scenario = Scenario {
    name: "chaos",
    about: "random faults of a random selection of kinds, then healing, then everything converges",
    nodes: 5,
    tell: |story| {
        let count = story.draw(2, 5) as usize;
        story.form(count);
        story.calm(1_000);
        let kinds = Kind::drawn(story);
        story.world.turmoil = true;
        for _ in 0..story.draw(10, 40) {
            let kind = kinds[story.draw(0, kinds.len() as u64 - 1) as usize];
            strike(story, kind, count);
            let pause = story.draw(100, 10_000);
            story.world.run_for(pause);
        }
        heal(story, count);
        story.calm(20_000);
    },
};

/// Kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Kill,
    Start,
    LoseDisk,
    Freeze,
    Part,
    Mute,
    Mend,
    Loss,
    Tor,
    Control,
    Disk,
    SlowDisk,
    Points,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::Kill,
        Self::Start,
        Self::LoseDisk,
        Self::Freeze,
        Self::Part,
        Self::Mute,
        Self::Mend,
        Self::Loss,
        Self::Tor,
        Self::Control,
        Self::Disk,
        Self::SlowDisk,
        Self::Points,
    ];

    /// What this seed's world suffers from; what undoes a fault is always among it.
    fn drawn(story: &mut Story) -> Vec<Self> {
        let undoing = |kind: Self| matches!(kind, Self::Start | Self::Mend);
        let kinds: Vec<_> = Self::ALL.into_iter().filter(|kind| undoing(*kind) || story.draw(0, 1) == 0).collect();
        story.world.fault(&format!("faults: {kinds:?}"));
        kinds
    }
}

fn strike(story: &mut Story, kind: Kind, count: usize) {
    let node = story.draw(0, count as u64 - 1) as usize;
    let is_live = story.world.nodes[node].is_live();
    match kind {
        Kind::Kill if is_live => story.world.kill(node),
        Kind::Start => {
            let dead: Vec<_> = (0..count).filter(|node| story.world.nodes[*node].core.is_none()).collect();
            dead.into_iter().for_each(|node| story.world.start(node));
        }
        Kind::LoseDisk if is_live => {
            story.world.kill(node);
            story.world.lose_disk(node);
        }
        Kind::Freeze if is_live => {
            let ms = story.draw(300, 20_000);
            story.world.freeze(node, ms);
        }
        Kind::Part => {
            let (left, right): (Vec<_>, Vec<_>) = (0..count).partition(|_| story.draw(0, 1) == 0);
            story.world.partition(&left, &right, true);
        }
        Kind::Mute => {
            let other = (node + 1 + story.draw(0, count as u64 - 2) as usize) % count;
            story.world.mute(node, other);
        }
        Kind::Mend => {
            let options = story.world.options.clone();
            story.world.heal();
            story.world.options = super::Options { loss_permille: 10, disk_ms_max: 20, ..options };
        }
        Kind::Loss => story.world.options.loss_permille = 100,
        Kind::Tor if is_live => story.world.kill_tor(node),
        Kind::Control if is_live => {
            let ms = story.draw(10, 5_000);
            story.world.lose_control(node, ms);
        }
        Kind::Disk => story.world.fail_disk(node, true),
        Kind::SlowDisk => story.world.options.disk_ms_max = 2_000,
        Kind::Points if is_live => story.world.replace_points(node),
        Kind::Kill | Kind::LoseDisk | Kind::Freeze | Kind::Tor | Kind::Control | Kind::Points => {}
    }
}

/// Mends everything and gives the slowest rule its time: a rival is remembered for 30 s.
fn heal(story: &mut Story, count: usize) {
    strike(story, Kind::Mend, count);
    strike(story, Kind::Start, count);
    story.world.run_for(60_000);
    story.world.turmoil = false;
}
