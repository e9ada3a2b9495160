//! An operator's life with three machines, each in namespaces of its own with its own address, deployed by
//! `testing/deploy.sh`: founding, two joins by invite through tor, a drain, a removal, a new token, a leave, and a restore
//! from the backup, while clients visit all the time, each of whom gets each page in time. Needs root. Takes about 5 minutes.

#![allow(clippy::indexing_slicing, reason = "tests: a wrong index is a failed test")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_testing::cluster::{self, plan};
use rustbalance_testing::machine::{self, Machine, SUBNET};
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::report::Report;
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors::{self, PATIENCE, RELOAD, Regulars, reload_with_dead};
use rustbalance_testing::web::Web;

/// Set in the namespaces where the test itself runs.
const INSIDE: &str = "RUSTBALANCE_MACHINES";
const NAMES: [&str; 3] = ["a", "b", "c"];
/// For things without a promised time.
const LONG: Duration = Duration::from_secs(120);
/// From the first deployment to three nodes whose points are on every HSDir: what the README promises.
const THREE_NODES: Duration = Duration::from_secs(300);
/// The introduction points that a descriptor has of one node.
const POINTS: u32 = 3;
/// Points of a node that has left which a regular visitor may find dead: it closes its introduction circuits, but what told
/// one relay so may be lost with its tor.
const LOST_CELLS: u32 = 1;
/// What `deploy.sh` prints for the operator to fill in.
const PLACEHOLDERS: [&str; 3] = ["TARGET", "HOST:PORT", "FILE"];

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
    let (address, printed) = (String::new(), String::new());
    let mut story = Story { net: &net, machines, address, printed, begun: Instant::now(), regulars: None, report };
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
    /// What `deploy.sh --init` printed.
    printed: String,
    /// When the first machine was deployed.
    begun: Instant,
    regulars: Option<Regulars>,
    report: &'a mut Report,
}

impl Story<'_> {
    fn tell(&mut self) -> Result<()> {
        self.founded()?;
        self.joins(1)?;
        self.joins(2)?;
        self.report.in_time("three nodes, from the first deployment on", self.begun.elapsed(), THREE_NODES);
        self.drained()?;
        self.removed()?;
        self.token()?;
        self.left()?;
        self.restored()
    }

    fn machine(&self, number: usize) -> &Machine {
        &self.machines[number].0
    }

    /// Deploys with this command, whose placeholders are filled in, and starts the node. Returns what the script printed.
    fn deploy(&mut self, number: usize, command: &str) -> Result<String> {
        let (machine, web) = &mut self.machines[number];
        let values = [web.target(), machine.endpoint.clone(), "\"$world/rustbalance\"".to_owned()];
        let filled =
            PLACEHOLDERS.iter().zip(&values).fold(command.to_owned(), |text, (name, value)| text.replace(name, value));
        // Its root is the operator already.
        let said = machine.run(&format!("sudo() {{ \"$@\"; }}\ncd \"$world\"\n{filled}"))?;
        machine.start_node(self.net)?;
        Ok(said)
    }

    /// The line with these words of what `deploy.sh --init` printed.
    fn printed(&self, words: &str) -> Result<String> {
        let mut lines = self.printed.lines().filter(|line| line.contains(words));
        let line = lines.next().with_context(|| format!("no line with {words:?} in {}", self.printed))?;
        Ok(line.trim().to_owned())
    }

    fn founded(&mut self) -> Result<()> {
        self.report.step("a is deployed with --init");
        self.begun = Instant::now();
        let said = self.deploy(0, "deploy --init --target TARGET --endpoint HOST:PORT --binary FILE")?;
        let address = said.split_whitespace().find(|word| word.len() == 62 && word.ends_with(".onion"));
        self.address = address.with_context(|| format!("no address in {said}"))?.to_owned();
        self.printed = said;
        self.machine(0).wait_for("alone", LONG, plan::alone_and_native)?;
        self.regulars = Some(Regulars::start(self.net, &self.address, 2)?);
        // Who comes before the descriptor does is in for a while, as the HSDirs are not asked again at once.
        self.visited("alone", 2, &["a"], PATIENCE)
    }

    /// With the two lines that the script printed on the first machine.
    fn joins(&mut self, number: usize) -> Result<()> {
        let name = NAMES[number];
        self.report.step(&format!("{name} is deployed with an invite of a"));
        let invite = self.printed(" invite > invite")?;
        let invite = self.machine(0).run(&format!("umask 077\ncd \"$world\"\n{invite}\ncat invite"))?;
        self.machine(number).put("invite", &invite)?;
        self.deploy(number, &self.printed("deploy.sh --join")?)?;
        self.serve(&NAMES[..=number])?;
        self.visited(&format!("{name} joined"), 8, &NAMES[..=number], RELOAD)
    }

    fn drained(&mut self) -> Result<()> {
        self.report.step("b is drained, and back");
        let said = self.machine(0).run("rustbalance drain b --wait")?;
        self.report.note(said.trim());
        self.machine(1).wait_for("out", LONG, |status| {
            if status.presence == "out" { Ok(()) } else { Err(status.presence.clone()) }
        })?;
        self.visited("while b is drained", 6, &["a", "c"], RELOAD)?;
        let said = self.machine(1).run("rustbalance undrain --wait")?;
        self.report.note(said.trim());
        self.serve(&NAMES)?;
        self.regulars("b is back", RELOAD)
    }

    fn removed(&mut self) -> Result<()> {
        self.report.step("b dies and is removed");
        self.machines[1].0.kill();
        let said = self.machine(2).run("rustbalance remove b")?;
        self.report.note(said.trim());
        self.serve(&["a", "c"])?;
        self.visited("after the removal", 6, &["a", "c"], reload_with_dead(POINTS))
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
        self.regulars("with a new token", RELOAD)
    }

    fn left(&mut self) -> Result<()> {
        self.report.step("a, the first of all, leaves and forgets");
        let said = self.machine(0).run("rustbalance leave --forget --yes")?;
        self.report.note(said.trim());
        self.machines[0].0.wait_stopped(LONG)?;
        let keys = self.machine(0).run("ls -A /var/lib/rustbalance")?;
        self.report.expect("nothing secret is left on it", !keys.contains("keys"), &format!("{keys:?}"));
        self.visited("after a left", 6, &["c"], reload_with_dead(LOST_CELLS))
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
        // Nobody serves until it is back, and who has an old descriptor knows b's points, too.
        self.visited("restored", 4, &["a"], reload_with_dead(2 * POINTS))
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

    /// Fresh visitors all get the page of one of `names`, each of which serves; regular ones get theirs, too, and none
    /// waited longer than `limit` for it.
    fn visited(&mut self, when: &str, count: usize, names: &[&str], limit: Duration) -> Result<()> {
        let tally = visitors::fresh(self.net, &self.address, count, 4)?;
        let good = tally.is_good(PATIENCE) && tally.served_by.keys().all(|name| names.contains(&name.as_str()));
        self.report.expect(&format!("{when}: fresh visitors are served"), good, &tally.to_string());
        self.regulars(when, limit)
    }

    /// How the regular visitors fared since the last time.
    fn regulars(&mut self, when: &str, limit: Duration) -> Result<()> {
        let tally = self.regulars.as_ref().context("regular visitors")?.take_tally()?;
        let what = format!("{when}: regular visitors get each page within {} s", limit.as_secs());
        self.report.expect(&what, tally.is_good(limit), &format!("{} reloads, {tally}", tally.reloads));
        Ok(())
    }
}
