//! A node attached to Debian's tor, by the steps of OPERATIONS and of `rustbalance tor lines`.

use anyhow::{Context, Result, ensure};
use rustbalance_testing::booted::Booted;
use rustbalance_testing::wait;

use crate::{SOON, UNIT, ask, configure, edit, node, status, written};

const TOR: &str = "tor@default";
const SOCKET: &str = "/run/rustbalance-tor/proxy.sock";

/// The commands in a comment of `tor lines`, below these words.
fn commands(lines: &str, below: &str) -> Result<String> {
    let (_, after) = lines.split_once(below).with_context(|| format!("no {below:?} in {lines}"))?;
    let commands = after.lines().skip(1).map_while(|line| line.strip_prefix("#   "));
    Ok(commands.map(|line| format!("{line}\n")).collect())
}

/// Waits until the node has a session with tor that is none of the first `sessions` in its log. Returns how many those
/// are then.
fn wait_attached(machine: &Booted, sessions: usize) -> Result<usize> {
    wait::until_ok("the node attached", SOON, || {
        let journal = machine.journal(UNIT)?;
        let now = journal.matches("tor 0: bootstrapping").count();
        let tors = status(machine)?.tors;
        ensure!(now > sessions && tors.iter().all(|tor| tor.starts_with("bootstrapping")), "{tors:?}: {journal}");
        Ok(now)
    })
}

/// Whether tor, held back as its own unit holds it, can hand over a connection.
fn tor_reaches_the_proxy(machine: &Booted) -> Result<()> {
    let tor = machine.show(TOR, "MainPID")?;
    machine.run(&format!(
        "nsenter --target {tor} --mount \
         setpriv --reuid debian-tor --regid debian-tor --init-groups --bounding-set -all \
         perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(\"{SOCKET}\") or die \"no connection: $!\"'"
    ))?;
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn the_manuals_steps_attach_a_node_to_debians_tor() -> Result<()> {
    let mut machine = node()?;
    machine.run("sed -i '/^\\[tor\\]/,$d' /var/lib/rustbalance/rustbalance.toml")?;
    machine.run("systemctl enable --quiet --now tor")?;
    configure(&machine, &written("## Attaching to a system tor", "toml")?)?;
    let lines = ask(&machine, "tor lines")?;
    machine.run(&commands(&lines, "# First, as root")?)?;
    edit(&machine, &written("In a drop-in of the unit", "ini")?)?;
    machine.run(&format!("cat >>/etc/tor/torrc <<'END'\n{lines}END\n"))?;
    let then = commands(&lines, "# Then add the lines")?;
    let (reload, check) = then.split_once('\n').context("two commands")?;
    machine.run(reload)?;
    // Tor reads its torrc when it comes to that, and makes its sockets later still after its first start.
    wait::until_ok("tor as it should be", SOON, || {
        let said = machine.run(check)?;
        ensure!(said == "ok\n", "{said}");
        Ok(())
    })?;

    machine.run("systemctl start rustbalance")?;
    let sessions = wait_attached(&machine, 0)?;
    let socket = machine.run(&format!("stat --format '%U:%G %a' {SOCKET}"))?;
    ensure!(socket == "rustbalance:debian-tor 660\n", "{socket}");
    tor_reaches_the_proxy(&machine)?;

    machine.run("systemctl restart tor")?;
    wait_attached(&machine, sessions)?;
    let tor = machine.show(TOR, "MainPID")?;
    machine.run("systemctl stop rustbalance")?;
    let state = [machine.show(UNIT, "Result")?, machine.show(TOR, "ActiveState")?];
    ensure!(state == ["success", "active"] && machine.show(TOR, "MainPID")? == tor, "{state:?}");

    machine.cut_power()?;
    wait_attached(&machine, 0)?;
    tor_reaches_the_proxy(&machine)?;
    ensure!(machine.show(UNIT, "NRestarts")? == "0", "{}", machine.journal(UNIT)?);
    Ok(())
}
