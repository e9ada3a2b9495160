//! A new shared random value and a new time period, lived through with clients visiting. Repairs and mistakes are tried
//! while waiting for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rustbalance_core::status::Status;
use rustbalance_testing::cluster::plan;
use rustbalance_testing::tor_net::Rotation;
use rustbalance_testing::visitors::{self, PATIENCE};

use crate::{FRESH, LONG, RELOAD, Scenario};

/// What is tried in between takes no longer.
const ROOM: Duration = Duration::from_secs(90);
/// Visitors come from this long before a rotation.
const BEFORE: Duration = Duration::from_secs(15);
/// Tors learn of a rotation with their next consensus, some 20 s later at worst; then both slots are uploaded. What tor breaks
/// off, when its own descriptor changes (DECISIONS, "Uploads that tor drops"), is sent again some seconds later.
const ROTATED: Duration = Duration::from_secs(90);

impl Scenario<'_> {
    /// Crosses one of each, and does the rest meanwhile.
    pub fn live_through_rotations(&mut self) -> Result<()> {
        let mut wanted = vec![Rotation::SharedRandom, Rotation::TimePeriod];
        // From the last to the first.
        let mut meanwhile: Vec<fn(&mut Self) -> Result<()>> = vec![
            Self::onion_target_of_two_tors,
            Self::two_die_at_once,
            Self::publisher_stops,
            Self::target_answers_errors,
            Self::target_dies,
            Self::mistakes,
            Self::lost_control_connection,
            Self::publishers_tor_is_killed,
            Self::tor_is_killed,
        ];
        while !wanted.is_empty() || !meanwhile.is_empty() {
            let (next, left) = self.net.next_rotation();
            if (left > ROOM || wanted.is_empty())
                && let Some(task) = meanwhile.pop()
            {
                task(self)?;
            } else if wanted.contains(&next) {
                self.live_through(next, left)?;
                wanted.retain(|rotation| *rotation != next);
            } else {
                self.report.note(&format!("waiting {} s for a rotation that is not wanted again", left.as_secs()));
                thread::sleep(left + Duration::from_secs(1));
            }
        }
        // Takes nearly as long as lies between two rotations: one of those that are wanted might be missed.
        self.tor_hangs()
    }

    fn live_through(&mut self, rotation: Rotation, left: Duration) -> Result<()> {
        self.report.step(&format!("{rotation:?} rotates in {} s, with visitors all the while", left.as_secs()));
        thread::sleep(left.saturating_sub(BEFORE));
        let (net, address) = (self.net, self.cluster.address()?.to_owned());
        let before = slots(&self.cluster.node(self.cluster.holder(LONG)?)?.status()?);
        let due = Instant::now() + net.next_rotation().1;
        let over = AtomicBool::new(false);
        let (crossed, tally) = thread::scope(|scope| {
            let visits = scope.spawn(|| visitors::fresh_while(net, &address, 2, || !over.load(Ordering::SeqCst)));
            let crossed = self.cross(rotation, &before, due);
            over.store(true, Ordering::SeqCst);
            (crossed, visits.join())
        });
        crossed?;
        let tally = tally.map_err(|_| anyhow!("the visitors panicked"))??;
        // At a new shared random value each tor closes the points of its first descriptor. Who fetched a moment before the
        // others were published knows dead ones alone, and where the relays do not tell, its tor waits for each.
        let patience = if rotation == Rotation::SharedRandom { PATIENCE } else { FRESH };
        let good = tally.is_good(patience);
        self.report.expect(&format!("{rotation:?}: fresh visitors meanwhile"), good, &tally.to_string());
        self.regular_visitors(&format!("{rotation:?}"), RELOAD)?;
        Ok(())
    }

    fn cross(&mut self, rotation: Rotation, before: &[Slot], due: Instant) -> Result<()> {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let names = self.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let holder = self.cluster.holder(LONG)?;
        let mut last_missing = "nothing".to_owned();
        let status = self.cluster.wait_for(holder, "both slots of the new half", ROTATED + LONG, |status| {
            let turned = slots(status) != before;
            let fact = if turned { Ok(()) } else { Err(format!("slots are still {before:?}")) };
            let fact = fact.and_then(|()| plan::has_points_of(status, &names));
            fact.and_then(|()| plan::is_confirmed(status, u64::MAX)).inspect_err(|why| last_missing.clone_from(why))
        })?;
        self.report.in_time(&format!("{rotation:?}: both slots confirmed"), due.elapsed(), ROTATED);
        self.report.note(&format!("was missing last: {last_missing}"));
        self.report.note(&format!("slots {before:?} became {:?}", slots(&status)));
        self.hsdirs_hold_the_plan(holder, &format!("{rotation:?}"))
    }
}

/// A slot's period, and whether clients fetch it now.
type Slot = (u64, bool);

fn slots(status: &Status) -> Vec<Slot> {
    status.publication.slots.iter().map(|slot| (slot.period, slot.current)).collect()
}
