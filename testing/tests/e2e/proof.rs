//! What is published, as an operator checks it: `verify`, and `descriptor show` and `diff` of what an HSDir holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::clients::BAD;
use crate::{LONG, NODES, POINTS, Scenario};

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
        self.period_is_named(holder)?;
        self.saved_one_is_compared(holder, last)
    }

    /// An operator says which time period a descriptor is of: rightly, and not.
    fn period_is_named(&mut self, number: usize) -> Result<()> {
        let node = self.cluster.node(number)?;
        let slots = node.status()?.publication.slots;
        let now = slots.iter().find(|slot| slot.current).context("no slot that clients fetch")?.period;
        let show = |period: u64, more: &[&str]| {
            let period = period.to_string();
            node.run(&[&["descriptor", "show", "--live", "--period", &period], more].concat())
        };
        let (code, text, said) = show(now, &[])?;
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let (points, period) = (POINTS as usize * NODES, format!("time period {now}, of "));
        let has = |beginning: &str| lines.iter().filter(|line| line.starts_with(beginning)).count();
        let shown = has("Introduction point ");
        let good = has("verdict good") == 1 && has(&period) == 1 && shown > 0 && shown <= points;
        let detail = format!("{code:?}, {shown} points {said}");
        self.report.expect("descriptor show --live --period: the page", code == Some(0) && good, &detail);

        let (code, text, said) = show(now, &["--json"])?;
        let shown: Value = serde_json::from_str(&text).with_context(|| format!("{text}{said}"))?;
        let good = code == Some(0) && shown["good"] == true && shown["outer"]["period"]["number"] == now;
        self.report.expect("and as JSON", good, &format!("{code:?}, {} {said}", shown["outer"]["period"]));

        let (code, text, said) = show(now + 1000, &["--json"])?;
        let shown: Value = serde_json::from_str(&text).with_context(|| format!("{text}{said}"))?;
        let named = said.contains("another service or time period");
        let good = code == Some(BAD) && shown["good"] == false && shown["inner"].is_null() && named;
        self.report.expect("another period than it is of is refused", good, &format!("{code:?} {}", said.trim()));
        Ok(())
    }

    /// What an HSDir holds is saved, and compared with what it holds.
    fn saved_one_is_compared(&mut self, number: usize, hsdir: &str) -> Result<()> {
        fs::write(self.saved(), self.reader.text(self.cluster.address()?, hsdir)?)?;
        let (code, text, said) = self.compare(number, &["--hsdir", hsdir])?;
        let good = code == Some(0) && text.trim_end().ends_with(" say the same");
        self.report.expect("descriptor diff --live: a saved one is the same", good, &format!("{code:?} {text}{said}"));
        let (code, text, said) = self.compare(number, &["--hsdir", hsdir, "--json"])?;
        let good = code == Some(0) && text.trim() == "[]";
        self.report.expect("and as JSON", good, &format!("{code:?} {text}{said}"));
        Ok(())
    }

    /// The one that was saved, once the points of a tor have been replaced.
    pub fn saved_one_differs(&mut self, number: usize) -> Result<()> {
        let (code, text, said) = self.compare(number, &[])?;
        let has = |beginning: &str| text.lines().filter(|line| line.starts_with(beginning)).count();
        let good = code == Some(NO) && has("outer layer: revision counter") == 1 && has("introduction point ") > 1;
        let detail = format!("{code:?}, {} points {}", has("introduction point "), said.trim());
        self.report.expect("descriptor diff --live: one from before differs", good, &detail);

        let (code, text, said) = self.compare(number, &["--json"])?;
        let differences: Value = serde_json::from_str(&text).with_context(|| format!("{text}{said}"))?;
        let is_point = |one: &&Value| one["what"].as_str().is_some_and(|what| what.starts_with("introduction point "));
        let points = differences.as_array().into_iter().flatten().filter(is_point);
        let (gone, new): (Vec<_>, Vec<_>) = points.partition(|one| one["second"].is_null());
        let good = code == Some(NO) && !gone.is_empty() && new.iter().any(|one| one["first"].is_null());
        self.report.expect("and as JSON", good, &format!("{code:?}, {} points gone, {} new", gone.len(), new.len()));
        Ok(())
    }

    fn compare(&self, number: usize, more: &[&str]) -> Result<(Option<i32>, String, String)> {
        let saved = self.saved();
        let saved = saved.to_str().context("a path in UTF-8")?;
        self.cluster.node(number)?.run(&[&["descriptor", "diff", saved, "--live"], more].concat())
    }

    fn saved(&self) -> PathBuf {
        self.net.dir_of("descriptor")
    }
}

fn hsdirs(proof: &Value) -> impl Iterator<Item = &Value> {
    proof["slots"].as_array().into_iter().flatten().filter_map(|slot| slot["hsdirs"].as_array()).flatten()
}
