//! What is published, as an operator checks it: `verify`, and `descriptor show` of what an HSDir holds.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{LONG, Scenario};

/// A bad answer of `verify`, by its exit code.
const NO: i32 = 6;

impl Scenario<'_> {
    /// The publisher proves its plan, another node says who publishes, and the copies on HSDirs decode to the plan.
    pub fn what_is_published_is_checked(&mut self) -> Result<()> {
        self.report.step("what is published, checked");
        let holder = self.settle("before the check", LONG)?;
        let node = self.cluster.node(holder)?;
        let (code, text, said) = node.run(&["verify", "--wait", "--timeout", "30", "--json"])?;
        let proof: Value = serde_json::from_str(&text).with_context(|| format!("{text}{said}"))?;
        let states: BTreeSet<_> = hsdirs(&proof).filter_map(|hsdir| hsdir["state"].as_str()).collect();
        let good = code == Some(0) && proof["proven"] == true;
        self.report.expect("verify --wait: the publisher's plan is proven", good, &format!("{states:?} {said}"));

        let follower = self.cluster.running().into_iter().find(|number| *number != holder).context("no other node")?;
        let (code, _, said) = self.cluster.node(follower)?.run(&["verify"])?;
        let good = code == Some(NO) && said.contains(&node.name);
        self.report.expect("verify on another node names the publisher", good, said.trim());

        let planned: BTreeSet<_> = node.status()?.publication.points.into_iter().map(|point| point.auth_key).collect();
        let current = proof["slots"].as_array().into_iter().flatten().find(|slot| slot["current"] == true);
        let last = current.and_then(|slot| slot["hsdirs"].as_array()?.last()?["relay"].as_str()).context("no HSDir")?;
        for (whose, more) in [("the publisher's", &["--hsdir", last][..]), ("another node's", &[])] {
            let number = if more.is_empty() { follower } else { holder };
            let arguments = [&["descriptor", "show", "--live", "--json"], more].concat();
            let (code, text, said) = self.cluster.node(number)?.run(&arguments)?;
            let shown: Value = serde_json::from_str(&text).with_context(|| format!("{text}{said}"))?;
            let points = shown["inner"]["points"].as_array();
            let keys = points.into_iter().flatten().filter_map(|point| point["auth_cert"]["key"].as_str());
            let keys: BTreeSet<_> = keys.map(str::to_owned).collect();
            let seconds = &shown["outer"]["revision_seconds"];
            let good = code == Some(0) && shown["good"] == true && keys == planned && seconds.is_number();
            let detail = format!("{}, {} points, second {seconds} {said}", shown["source"], keys.len());
            self.report.expect(&format!("descriptor show --live through {whose} tor shows the plan"), good, &detail);
        }
        Ok(())
    }
}

fn hsdirs(proof: &Value) -> impl Iterator<Item = &Value> {
    proof["slots"].as_array().into_iter().flatten().filter_map(|slot| slot["hsdirs"].as_array()).flatten()
}
