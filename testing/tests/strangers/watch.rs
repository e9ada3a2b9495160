//! What `verify` shows of every HSDir while something is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::period::Slot;
use rustbalance_core::status::SlotStatus;
use rustbalance_testing::cluster::Node;
use rustbalance_testing::wait::{self, Answer};
use serde::Deserialize;

/// Ages in a status are taken a moment before we have them.
const SAME: Duration = Duration::from_secs(5);

/// An HSDir of a slot.
pub type Key = (Slot, RelayFingerprint);

/// What `verify --json` prints.
#[derive(Deserialize)]
struct Proof {
    proven: bool,
    slots: Vec<SlotStatus>,
}

/// What `verify` has shown of every HSDir since we look.
#[derive(Default)]
pub struct Watch {
    pub seen: BTreeMap<Key, Seen>,
    pub proven: bool,
}

/// Of one.
#[derive(Default)]
pub struct Seen {
    state: String,
    pub states: BTreeSet<String>,
    confirmed: Option<Instant>,
    /// Those that it has confirmed since the first look.
    pub uploads: usize,
}

impl Seen {
    pub fn is_well(&self) -> bool {
        ["confirmed", "verified"].contains(&&*self.state)
    }
}

impl Watch {
    /// Looks for the first time.
    pub fn begin(node: &Node) -> Result<Self> {
        let mut watch = Self::default();
        watch.look(node)?;
        watch.seen.values_mut().for_each(|seen| seen.uploads = 0);
        Ok(watch)
    }

    fn look(&mut self, node: &Node) -> Result<()> {
        let at = Instant::now();
        let (code, text, said) = node.run(&["verify", "--json"])?;
        let Proof { proven, slots } = serde_json::from_str(&text).with_context(|| format!("{code:?} {text}{said}"))?;
        ensure!((code == Some(0)) == proven, "{code:?}, and proven is {proven}: {said}");
        self.proven = proven;
        for slot in slots {
            let name = if slot.slot == "first" { Slot::First } else { Slot::Second };
            for hsdir in slot.hsdirs {
                let relay = RelayFingerprint::from_hex(&hsdir.relay).context("a fingerprint")?;
                let seen = self.seen.entry((name, relay)).or_default();
                let age = hsdir.confirmed_ms.map(Duration::from_millis);
                let confirmed = age.and_then(|age| at.checked_sub(age));
                if confirmed.is_some_and(|new| seen.confirmed.is_none_or(|old| new > old + SAME)) {
                    seen.uploads += 1;
                    seen.confirmed = confirmed;
                }
                seen.states.insert(hsdir.state.clone());
                seen.state = hsdir.state;
            }
        }
        Ok(())
    }

    /// Looks until `fact` holds.
    pub fn until(&mut self, what: &str, limit: Duration, node: &Node, fact: impl Fn(&Self) -> bool) -> Result<()> {
        wait::until(what, limit, || {
            self.look(node)?;
            Ok(Answer::from_option(fact(self).then_some(()), || self.to_string()))
        })
    }

    pub fn uploads(&self, slot: Slot, hsdir: RelayFingerprint) -> usize {
        self.seen.get(&(slot, hsdir)).map_or(0, |seen| seen.uploads)
    }

    pub fn counts(&self) -> BTreeMap<Key, usize> {
        self.seen.iter().map(|(key, seen)| (*key, seen.uploads)).collect()
    }

    /// Checks that these were uploaded to once each, and no others.
    pub fn only(&self, expected: &[Key]) -> Result<()> {
        let wrong = self.seen.iter().find(|(key, seen)| seen.uploads != usize::from(expected.contains(key)));
        ensure!(
            wrong.is_none(),
            "{:?} was uploaded to {:?} times",
            wrong.map(|one| one.0),
            wrong.map(|one| one.1.uploads)
        );
        Ok(())
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seen.iter().try_for_each(|((slot, hsdir), Seen { state, states, uploads, .. })| {
            writeln!(f, "    {slot:?} {hsdir}: {state} of {states:?}, uploads: {uploads}")
        })
    }
}
