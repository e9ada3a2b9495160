//! An operator's life with three machines, each in namespaces of its own with its own address, deployed by
//! `testing/deploy.sh`: founding, two joins by invite through tor, a drain, a removal, a new token, a leave, and a restore
//! from the backup, while clients visit all the time. Needs root. Takes about 5 minutes.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use rustbalance_testing::cluster::{self, plan};
use rustbalance_testing::machine::{self, Machine, SUBNET};
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::report::Report;
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors::{self, PATIENCE, Regulars};
use rustbalance_testing::web::Web;

/// Set in the namespaces where the test itself runs.
const INSIDE: &str = "RUSTBALANCE_MACHINES";
const NAMES: [&str; 3] = ["a", "b", "c"];
/// For things without a promised time.
const LONG: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_none() {
        return again_inside();
    }
    let mut report = Report::default();
    if let Err(error) = run(&mut report) {
        report.check::<()>("the steps so far could go on", Err(error));
    }
    report.finish()
}

/// This program once more, where addresses and mounts are its own and nothing outlives it.
fn again_inside() -> ExitCode {
    let own = std::env::current_exe().expect("this test has a path");
    let mut command = process::dying_with_us(machine::unshare().arg(own));
    command.env(INSIDE, "yes");
    let status = command.status().expect("unshare, of util-linux");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(report: &mut Report) -> Result<()> {
    // The first process of its namespace gets no signal that it does not ask for.
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    let shape = Shape { subnet: Some(SUBNET), ..Shape::default() };
    machine::make_bridge(&shape)?;
    report.step("a private tor network, and three machines");
    let net = TorNet::start(dir.path(), shape)?;
    let webs = NAMES.map(|name| Web::start_at(machine::outside(), name));
    let mut machines = Vec::new();
    for (number, (name, web)) in (0..).zip(NAMES.iter().zip(webs)) {
        let web = web?;
        machines.push((Machine::start(&net, number, name, &cluster::binary()?, &web.target())?, web));
    }
    let mut story = Story { net: &net, machines, address: String::new(), regulars: None, report };
    story.tell()?;
    if story.report.all_good() {
        dir.good();
    }
    Ok(())
}

struct Story<'a> {
    net: &'a TorNet,
    machines: Vec<(Machine, Web)>,
    address: String,
    regulars: Option<Regulars>,
    report: &'a mut Report,
}

impl Story<'_> {
    fn tell(&mut self) -> Result<()> {
        self.founded()?;
        self.joins(1)?;
        self.joins(2)?;
        self.drained()?;
        self.removed()?;
        self.token()?;
        self.left()?;
        self.restored()
    }

    fn machine(&self, number: usize) -> &Machine {
        &self.machines[number].0
    }

    /// Deploys with these flags besides the target and the endpoint, and starts the node. Returns what the script printed.
    fn deploy(&mut self, number: usize, flags: &str) -> Result<String> {
        let (machine, web) = &mut self.machines[number];
        let (target, endpoint) = (web.target(), machine.endpoint.clone());
        let said = machine
            .run(&format!("deploy {flags} --target {target} --endpoint {endpoint} --binary \"$world/rustbalance\""))?;
        machine.start_node(self.net)?;
        Ok(said)
    }

    fn founded(&mut self) -> Result<()> {
        self.report.step("a is deployed with --init");
        let said = self.deploy(0, "--init")?;
        let address = said.split_whitespace().find(|word| word.len() == 62 && word.ends_with(".onion"));
        self.address = address.with_context(|| format!("no address in {said}"))?.to_owned();
        self.machine(0).wait_for("alone", LONG, plan::alone_and_native)?;
        self.regulars = Some(Regulars::start(self.net, &self.address, 2)?);
        self.visited("alone", 2, &["a"])
    }

    /// As the script tells operators to: an invite of a member, `deploy.sh --join --invite-file` on the new machine.
    fn joins(&mut self, number: usize) -> Result<()> {
        let name = NAMES[number];
        self.report.step(&format!("{name} is deployed with an invite of a"));
        let invite = self.machine(0).run("rustbalance invite")?;
        self.machine(number).put("invite", &invite)?;
        self.deploy(number, "--join --invite-file \"$world/invite\"")?;
        self.serve(&NAMES[..=number])?;
        self.visited(&format!("{name} joined"), 8, &NAMES[..=number])
    }

    fn drained(&mut self) -> Result<()> {
        self.report.step("b is drained, and back");
        let said = self.machine(0).run("rustbalance drain b --wait")?;
        self.report.note(said.trim());
        self.machine(1).wait_for("out", LONG, |status| {
            if status.presence == "out" { Ok(()) } else { Err(status.presence.clone()) }
        })?;
        self.visited("while b is drained", 6, &["a", "c"])?;
        let said = self.machine(1).run("rustbalance undrain --wait")?;
        self.report.note(said.trim());
        self.serve(&NAMES)
    }

    fn removed(&mut self) -> Result<()> {
        self.report.step("b dies and is removed");
        self.machines[1].0.kill();
        let said = self.machine(2).run("rustbalance remove b")?;
        self.report.note(said.trim());
        self.serve(&["a", "c"])?;
        self.visited("after the removal", 6, &["a", "c"])
    }

    fn token(&mut self) -> Result<()> {
        self.report.step("a new token");
        let read = "cat /var/lib/rustbalance/keys/cluster_token";
        let before = self.machine(2).run(read)?;
        self.machine(0).run("rustbalance token rotate")?;
        self.machine(2).wait_for("the new token", LONG, |_| {
            let now = self.machine(2).run(read).map_err(|error| error.to_string())?;
            if now == before { Err("the old one".to_owned()) } else { Ok(()) }
        })?;
        self.report.expect("both have it", self.machine(0).run(read)? == self.machine(2).run(read)?, "compared");
        Ok(())
    }

    fn left(&mut self) -> Result<()> {
        self.report.step("a, the first of all, leaves and forgets");
        let said = self.machine(0).run("rustbalance leave --forget --yes")?;
        self.report.note(said.trim());
        self.machines[0].0.wait_stopped(LONG)?;
        let keys = self.machine(0).run("ls -A /var/lib/rustbalance")?;
        self.report.expect("nothing secret is left on it", !keys.contains("keys"), &format!("{keys:?}"));
        self.visited("after a left", 6, &["c"])
    }

    /// The address' key was on one machine, and nowhere else but in the backup.
    fn restored(&mut self) -> Result<()> {
        self.report.step("c, the last one, is lost, and a brings the address back from its backup");
        let secret = "install -m 600 -o rustbalance \"$world/passphrase\" /var/lib/rustbalance/passphrase\n";
        for number in [0, 2] {
            self.machine(number).put("passphrase", "correct horse battery staple\n")?;
            self.machine(number).run(secret)?;
        }
        let files = "--passphrase-file /var/lib/rustbalance/passphrase";
        self.machine(2).run(&format!("rustbalance key backup --out /var/lib/rustbalance/address {files}"))?;
        let backup = self.machine(2).run("base64 /var/lib/rustbalance/address")?;
        let dead = self.points_published(2)?;
        self.machines[2].0.kill();
        self.machine(0).put("address", &backup)?;
        let address = &self.address;
        self.machine(0).run(&format!(
            "base64 -d \"$world/address\" >\"$world/backup\"\n\
             install -m 600 -o rustbalance \"$world/backup\" /var/lib/rustbalance/address\n\
             rustbalance key restore --file /var/lib/rustbalance/address {files} --address {address}"
        ))?;
        self.machines[0].0.start_node(self.net)?;
        self.machine(0).wait_for("alone, with points of its own published", LONG, |status| {
            plan::alone_and_native(status)?;
            let published = self.points_published(0).map_err(|error| format!("{error:#}"))?;
            if published.is_disjoint(&dead) { Ok(()) } else { Err("those of c".to_owned()) }
        })?;
        self.visited("restored", 4, &["a"])
    }

    /// The keys of the introduction points in what an HSDir holds now.
    fn points_published(&self, number: usize) -> Result<BTreeSet<String>> {
        let shown = self.machine(number).run("rustbalance descriptor show --live --json")?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let points = shown.pointer("/inner/points").and_then(serde_json::Value::as_array).context("points")?;
        points.iter().map(|point| Ok(point["enc_key"].as_str().context("a key")?.to_owned())).collect()
    }

    /// Waits until a member says that the points of `names`, and no others, are on every HSDir.
    fn serve(&mut self, names: &[&str]) -> Result<()> {
        let settled =
            |status: &_| plan::has_points_of(status, names).and_then(|()| plan::is_confirmed(status, u64::MAX));
        let last = names.last().and_then(|name| NAMES.iter().position(|known| known == name)).context("a name")?;
        let holder = self.machine(last).wait_for("a publisher", LONG, |status| {
            status.holder.as_ref().map(|_| ()).ok_or_else(|| "none".to_owned())
        })?;
        let holder = holder.members.iter().find(|member| Some(&member.node) == holder.holder.as_ref());
        let holder =
            NAMES.iter().position(|name| holder.is_some_and(|member| member.name == *name)).context("a holder")?;
        self.machine(holder).wait_for("a confirmed plan", LONG, settled)?;
        self.report.note(&format!("{} serve, on every HSDir", names.join(", ")));
        Ok(())
    }

    /// Fresh visitors all get the page of one of `names`, each of which serves; regular ones get theirs, too.
    fn visited(&mut self, when: &str, count: usize, names: &[&str]) -> Result<()> {
        let tally = visitors::fresh(self.net, &self.address, count, 4)?;
        let good = tally.is_good(PATIENCE) && tally.served_by.keys().all(|name| names.contains(&name.as_str()));
        self.report.expect(&format!("{when}: fresh visitors are served"), good, &tally.to_string());
        let tally = self.regulars.as_ref().context("regular visitors")?.take_tally()?;
        let good = tally.failed.is_empty() && tally.served() > 0;
        self.report.expect(&format!("{when}: no visit failed that a reload does not cure"), good, &tally.to_string());
        Ok(())
    }
}
