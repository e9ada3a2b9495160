//! What tors say of proof of work, and what the descriptors that clients read say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use rustbalance_core::hsdesc::{self, Descriptor, PowParams};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::period::Slot;
use rustbalance_testing::cluster::{Cluster, Node, plan};
use rustbalance_testing::control::Control;
use rustbalance_testing::hsdir::{self, HsDirReader};
use rustbalance_testing::wait::{self, Answer};

use crate::SETTLE_LIMIT;

/// A tor looks at its queue every 300 s. It may do so just as the crowd comes, or while the crowd waits for this machine
/// instead of the tor, and then once more.
const EFFORT_LIMIT: Duration = Duration::from_secs(660);
/// From the tor that suggests another effort to every HSDir with that node's points.
const SHOWN_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at all of them.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until the node's tor suggests an effort.
pub fn wait_for_effort(node: &Node, address: &str) -> Result<u32> {
    wait::until(&format!("an effort suggested by {}", node.name), EFFORT_LIMIT, || {
        let pow = own_pow(&mut node.tor_control()?, address)?;
        Ok(Answer::from_option(pow.map(|pow| pow.effort).filter(|effort| *effort > 0), || format!("{pow:?}")))
    })
}

/// Waits until each node's tor suggests an effort, and every HSDir with that node's points says so, soon after.
pub fn wait_for_efforts(
    reader: &mut HsDirReader,
    cluster: &Cluster<'_>,
    address: &str,
    say: &dyn Fn(&str),
) -> Result<()> {
    let (mut seeds, mut shown) = (BTreeMap::new(), BTreeSet::new());
    wait::until("an effort of each node in the descriptors", EFFORT_LIMIT, || {
        for node in &cluster.nodes {
            if seeds.contains_key(&node.name) {
                continue;
            }
            if let Some(pow) = own_pow(&mut node.tor_control()?, address)?.filter(|pow| pow.effort > 0) {
                say(&format!("the tor of {} suggests an effort of {}", node.name, pow.effort));
                seeds.insert(node.name.clone(), (pow.seed, Instant::now()));
            }
        }
        let copies = if shown.len() < seeds.len() { reader.read(address)? } else { BTreeMap::new() };
        let waiting: Vec<_> = seeds.iter().filter(|(name, _)| !shown.contains(*name)).collect();
        for (name, (seed, since)) in waiting {
            let offers = copies.values().flatten().filter_map(|copy| copy.pow).filter(|pow| pow.seed == *seed);
            let efforts: Vec<_> = offers.map(|pow| pow.effort).collect();
            let took = since.elapsed().as_secs_f32();
            if !efforts.is_empty() && !efforts.contains(&0) {
                say(&format!("after {took:.1} s clients of {name} read of efforts of {efforts:?}"));
                shown.insert(name.clone());
            }
            ensure!(took < SHOWN_LIMIT.as_secs_f32(), "after {took:.1} s clients of {name} read of {efforts:?}");
        }
        thread::sleep(LOOK);
        let done = (shown.len() == cluster.nodes.len()).then_some(());
        Ok(Answer::from_option(done, || format!("only of {:?}", seeds.keys())))
    })
}

/// Waits until the publisher takes this time period, or a later one, for the current one, and returns its number. It comes
/// with a consensus, some seconds after it has begun.
pub fn wait_for_period(cluster: &Cluster<'_>, least: u64) -> Result<u64> {
    wait::until(&format!("time period {least}"), SETTLE_LIMIT, || {
        let status = cluster.node(cluster.holder(SETTLE_LIMIT)?)?.status()?;
        let current = status.publication.period.map(|period| period.number);
        Ok(Answer::from_option(current.filter(|current| *current >= least), || format!("{current:?}")))
    })
}

/// Whose points each HSDir that clients read has.
pub type Owners = BTreeMap<RelayFingerprint, String>;

/// Waits until each has the points of one running node alone, with that node's own parameters, and each node is on some.
pub fn wait_apart(reader: &mut HsDirReader, cluster: &Cluster<'_>, address: &str) -> Result<Owners> {
    wait::until("one node's points and parameters on each HSDir", SETTLE_LIMIT, || {
        let copies = reader.read(address)?;
        let mut own = BTreeMap::new();
        for number in cluster.running() {
            let node = cluster.node(number)?;
            own.insert(node.name.clone(), own_pow(&mut node.tor_control()?, address)?);
        }
        let points = cluster.node(cluster.holder(SETTLE_LIMIT)?)?.status()?;
        let period = points.publication.period.as_ref().map(|period| period.number);
        let owner = |copy: &Descriptor| {
            let member = |name: &&String| points.members.iter().find(|member| member.name == **name);
            let is_owner = |name: &&String| {
                let theirs = member(name).map(|member| plan::points_of(&points.publication.points, &member.node));
                // Those that its tor shows, or those that it was made to show.
                let are_theirs =
                    |theirs: BTreeSet<_>| !copy.points.is_empty() && hsdir::auth_keys(copy).is_subset(&theirs);
                period == Some(copy.period.number) && theirs.is_some_and(are_theirs) && copy.pow == own[*name]
            };
            own.keys().find(is_owner).filter(|_| copy.pow.is_some()).cloned()
        };
        let owners: Owners = copies.iter().filter_map(|(hsdir, copy)| Some((*hsdir, owner(copy.as_ref()?)?))).collect();
        let on_some = own.keys().all(|name| owners.values().any(|owner| owner == name));
        let done = owners.len() == copies.len() && on_some;
        let why = || format!("{} of {} so far: {}", owners.len(), copies.len(), in_words(&owners));
        Ok(if done { Answer::Ready(owners) } else { Answer::NotYet(why()) })
    })
}

pub fn in_words(owners: &Owners) -> String {
    owners.values().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// What tor's own descriptor says of proof of work; nothing while it has none yet, or is between two periods.
fn own_pow(control: &mut Control, address: &str) -> Result<Option<PowParams>> {
    let address: OnionAddress = address.parse().map_err(|error| anyhow!("{address}: {error}"))?;
    let ring = hsdir::ring(control)?;
    let periods = [Slot::First, Slot::Second].map(|slot| ring.slot_period(slot));
    let Ok(text) = control.get_info(&format!("hs/service/desc/id/{}", address.host())) else { return Ok(None) };
    Ok(hsdesc::open(&text, address.id(), &periods, None, hsdir::wall_now()).ok().and_then(|descriptor| descriptor.pow))
}
