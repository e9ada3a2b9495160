//! Invariant 7: everything is bounded; here datagrams per node and second, leases, epochs, hand-overs and changes of mode.

use rustbalance_core::cluster::Role;

use super::{CONVERGE_MS, World, is_calm};

/// Beats (2 a second to three nodes), beacons and their forwarding (2 a second to at most 4 and to all), records,
/// acknowledgements and probes of five nodes stay far below.
const DATAGRAMS_PER_SECOND_MAX: u64 = 150;
/// The same while faults come one after the other: who was frozen answers everything at once.
const DATAGRAMS_IN_TURMOIL_MAX: u64 = 600;
/// More for each member beyond five: a holder sends its beacons to 32, and is sent everybody's beats and records.
const DATAGRAMS_PER_MEMBER: u64 = 20;
/// So long those whom a node flooded answer it, and it answers them, milliseconds.
const FLOOD_MS: u64 = 2_000;
/// A lease that changes hands has a fault as its cause; a claim may have a rival, and a start brings a few.
const LEASES_AT_START: u64 = 8;
const LEASES_PER_FAULT: u64 = 2;
/// A liar may use up a million epochs at a time, and its lie may be told again.
const EPOCHS_PER_FAULT: u64 = 1 << 21;
/// What comes with the beginning of calm is of the time before, milliseconds.
const FIRST_MS: u64 = 1_000;

#[derive(Default)]
pub(super) struct Bounds {
    gained: u64,
    last_epoch: u64,
    /// Hand-overs since calm began, which was then.
    handed_over: (u64, u64),
    /// Machines whose tors publish by themselves, and how often one began to.
    native: Vec<bool>,
    gone_native: u64,
}

impl Bounds {
    pub(super) fn check(&mut self, world: &World) -> Result<(), String> {
        match world.changed.sender {
            _ if world.changed.everything => {
                (0..world.nodes.len()).try_for_each(|index| datagrams(world, index))?;
            }
            Some(index) => datagrams(world, index)?,
            None => {}
        }
        if world.changed.native || world.changed.machines {
            self.modes(world)?;
        }
        if world.changed.roles { self.leases(world) } else { Ok(()) }
    }

    /// A tor begins to publish by itself for a cause: a start, or a cluster that shrank.
    fn modes(&mut self, world: &World) -> Result<(), String> {
        self.native.resize(world.nodes.len(), false);
        for (before, node) in self.native.iter_mut().zip(&world.nodes) {
            self.gone_native += u64::from(node.is_native() && !*before);
            *before = node.is_native();
        }
        if self.gone_native > 1 + world.faults {
            return Err(format!("tors began to publish {} times after {} faults", self.gone_native, world.faults));
        }
        Ok(())
    }

    /// A lease is handed over to better priority only, so while nothing happens, and all hear each other, at most once to
    /// each.
    fn hand_over(&mut self, world: &World) -> Result<(), String> {
        if !world.cut.is_empty() || !world.trouble.is_over(world.now) {
            return Ok(());
        }
        let (since, count) = self.handed_over;
        self.handed_over = (world.calm_since, if since == world.calm_since { count + 1 } else { 1 });
        let members = world.nodes.iter().filter(|node| node.is_member).count() as u64;
        if self.handed_over.1 > members {
            return Err(format!("{} hand-overs in calm among {members} members", self.handed_over.1));
        }
        Ok(())
    }

    fn leases(&mut self, world: &World) -> Result<(), String> {
        for (index, node) in world.nodes.iter().enumerate() {
            if let Role::Holder { epoch } = node.role
                && epoch > self.last_epoch
            {
                if epoch / EPOCHS_PER_FAULT > world.faults {
                    return Err(format!("{index} uses up epochs: {epoch} after {} faults", world.faults));
                }
                self.last_epoch = epoch;
                self.gained += 1;
                let is_handed_over = world.nodes.iter().any(|other| {
                    matches!(other.role, Role::Holder { .. })
                        && other.is_live()
                        && other.priority_now > node.priority_now
                });
                if is_handed_over {
                    self.hand_over(world)?;
                } else if is_calm(world) && world.now > world.calm_since + CONVERGE_MS + FIRST_MS {
                    return Err(format!("{index} took the lease in calm, epoch {epoch}"));
                }
            }
        }
        let most = LEASES_AT_START + LEASES_PER_FAULT * world.faults;
        if self.gained > most {
            return Err(format!("{} leases after {} faults", self.gained, world.faults));
        }
        Ok(())
    }
}

fn datagrams(world: &World, index: usize) -> Result<(), String> {
    let (second, sent) = world.nodes[index].sent;
    if second != world.now / 1000 {
        return Ok(()); // of a time when more may have been allowed
    }
    if world.nodes[index].flooded_at.is_some_and(|at| world.now < at + FLOOD_MS) {
        return Ok(()); // as much as it brought upon itself
    }
    let most = if world.turmoil { DATAGRAMS_IN_TURMOIL_MAX } else { DATAGRAMS_PER_SECOND_MAX };
    if sent <= most {
        return Ok(()); // without counting the members
    }
    let members = world.nodes.iter().filter(|node| node.is_member).count() as u64;
    match most + members.saturating_sub(5) * DATAGRAMS_PER_MEMBER {
        most if sent > most => Err(format!("{index} sent {sent} datagrams in one second")),
        _ => Ok(()),
    }
}
