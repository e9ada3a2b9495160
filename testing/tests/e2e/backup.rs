//! Every machine of a service is lost, and a fresh one brings its address back from a backup.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_testing::cluster::{Cluster, plan};

use crate::{LONG, Scenario};

/// From the restoration on the fresh machine to a page for a client that comes anew. One from before knows dead points
/// alone, and waits longer: [`crate::AFTER_A_KILL`].
const BACK: Duration = Duration::from_secs(60);

impl Scenario<'_> {
    /// Another service, for one client alone: with its only node dies whoever knew that.
    pub fn lost_service_is_restored(&mut self) -> Result<()> {
        self.report.step("another service, whose only node is lost with its disk");
        let target = self.cluster.node(0)?.web().target();
        let mut lost = Cluster::in_front_of(&target, self.net, 3, "info")?;
        lost.add(None)?;
        lost.wait_for(0, "it to answer", LONG, |_| Ok(()))?;
        let (node, address) = (lost.node(0)?, lost.address()?.to_owned());
        let alice = node.ask(&["clients", "add", "alice"])?;
        lost.wait_for(0, "status says alone and native", LONG, plan::alone_and_native)?;
        self.is_served(&address, "before: a client with a key", Some(&alice))?;

        let [passphrase, backup] = ["passphrase", "address.backup"].map(|name| self.net.dir_of(name));
        fs::write(&passphrase, "correct horse battery staple\n")?;
        fs::set_permissions(&passphrase, Permissions::from_mode(0o600))?;
        let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
        let (passphrase, backup) = (text(&passphrase)?, text(&backup)?);
        let said = node.ask(&["key", "backup", "--out", &backup, "--passphrase-file", &passphrase])?;
        self.report.note(said.trim());
        node.kill();
        fs::remove_dir_all(&node.dir)?;

        let begun = Instant::now();
        let restore = ["key", "restore", "--file", &backup, "--passphrase-file", &passphrase, "--address", &address];
        let number = lost.add_with(&restore.map(str::to_owned))?;
        lost.wait_for(number, "status says alone and native", LONG, plan::alone_and_native)?;
        let access = lost.node(number)?.status()?.access;
        let restricted = access.restricted && access.clients == 1;
        self.report.expect("the restored address is for the same client alone", restricted, &format!("{access:?}"));
        self.is_served(&address, "restored: a fresh client with the key", Some(&alice))?;
        self.report.in_time("a fresh client is served again", begun.elapsed(), BACK);
        self.is_not_served(&address, "restored: one without a key", None)?;
        lost.node(number)?.terminate(LONG)?;
        Ok(())
    }
}
