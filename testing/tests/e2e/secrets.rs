//! Secrets stay in their files: not in logs at the most talkative level, not in command lines or environments, and not in
//! files that others can read. Of the node whose keys are encrypted nothing is in its directory at all.

use std::fs;

use anyhow::Result;
use rustbalance_testing::secrets::{self, Secrets, is_open};

use crate::Scenario;

impl Scenario<'_> {
    /// Looks for the test's own keys wherever they must not be.
    pub fn secrets_stay_secret(&mut self) -> Result<()> {
        self.report.step("secrets");
        let nodes = &self.cluster.nodes;
        let sought = Secrets::of(nodes)?;
        let places = secrets::forbidden_places(nodes)?;
        let logs: u64 = nodes.iter().filter_map(|node| Some(fs::metadata(node.log()).ok()?.len())).sum();
        let leaks: Vec<_> = places.iter().filter(|place| sought.are_in(place)).collect();
        let detail = format!(
            "{} forms of keys sought in {} files and processes, {} kB of trace logs: {leaks:?}",
            sought.forms(),
            places.len(),
            logs / 1000
        );
        self.report.expect("no secret outside of its file", leaks.is_empty() && logs > 0, &detail);

        // The state directory itself is closed, so nothing in it can be reached; secrets are closed by themselves as well.
        let open_dirs: Vec<_> = nodes.iter().map(|node| &node.dir).filter(|dir| is_open(dir)).collect();
        self.report.expect("state directories are closed to others", open_dirs.is_empty(), &format!("{open_dirs:?}"));
        let keys = secrets::key_files(nodes)?;
        let missed: Vec<_> = keys.iter().filter(|file| !sought.are_in(file)).collect();
        self.report.expect(
            "the search finds keys where they belong",
            missed.is_empty(),
            &format!("missed: {missed:?}"),
        );
        let open_keys: Vec<_> = keys.iter().filter(|file| is_open(file)).collect();
        let detail = format!("{} files, open: {open_keys:?}", keys.len());
        self.report.expect("key files are closed to others", open_keys.is_empty(), &detail);
        Ok(())
    }
}
