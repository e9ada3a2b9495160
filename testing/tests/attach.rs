//! Two nodes, one of them attached to a tor that the test runs with the lines that `rustbalance tor lines` prints: visitors are
//! served by both, a second service in that tor is named and left alone and takes the node out of the plan, and the tor
//! outlives its node. Takes 4 minutes.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustbalance_testing::cluster::{Cluster, plan};
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::tor::Tor;
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors;
use rustbalance_testing::wait::{self, Answer};

/// Fresh clients: that one of two nodes serves none of them by chance happens once in 30,000 times.
const CLIENTS: usize = 16;
/// Clients at once: more would measure this machine.
const AT_ONCE: usize = 4;
const SETTLE_LIMIT: Duration = Duration::from_secs(180);

#[test]
fn a_node_attached_to_somebody_elses_tor_serves_beside_one_with_a_tor_of_its_own() -> Result<()> {
    process::stop_children_on_signals()?;
    let mut dir = RunDir::new()?;
    let net = TorNet::start(dir.path(), Shape::default())?;
    let mut cluster = Cluster::new(&net, "info")?;
    let own = cluster.add(None)?;
    cluster.wait_for(own, "the first node alone", SETTLE_LIMIT, plan::alone_and_native)?;
    let attached = cluster.add(Some(own))?;
    cluster.settled("both nodes, each with a tor of its own", SETTLE_LIMIT)?;

    let tor = attach(&net, &mut cluster, attached)?;
    cluster.settled("both nodes, one of them attached", SETTLE_LIMIT)?;
    let tally = visitors::fresh(&net, cluster.address()?, CLIENTS, AT_ONCE)?;
    ensure!(tally.failed.is_empty() && tally.served_by.len() == 2, "{tally}");

    let mut control = tor.control()?;
    let added = control.command(b"ADD_ONION NEW:ED25519-V3 Flags=Detach Port=80,127.0.0.1:9\r\n")?;
    let other = String::from_utf8(added.value("ServiceID").context("an address")?.to_vec())?;
    is_named_and_node_out(&cluster, [own, attached], &other)?;
    let services = control.get_info_text("onions/detached")?;
    ensure!(services.lines().any(|service| service == other), "it is left alone: {services}");
    control.command(format!("DEL_ONION {other}\r\n").as_bytes())?;
    cluster.settled("both nodes, the other service gone", SETTLE_LIMIT)?;
    another_in_the_torrc(&cluster, [own, attached], &tor)?;

    let pid = control.get_info_text("process/pid")?;
    ensure!(cluster.node(attached)?.terminate(SETTLE_LIMIT)?.success(), "it stops in good order");
    ensure!(tor.control()?.get_info_text("process/pid")? == pid, "the tor lives on");
    let publishing = control.command(b"GETCONF PublishHidServDescriptors\r\n")?.to_string();
    ensure!(publishing == "250 PublishHidServDescriptors=0", "and publishes nothing by itself: {publishing}");
    dir.good();
    Ok(())
}

/// Waits until the attached node names the other service, and the other node publishes no point of it.
fn is_named_and_node_out(cluster: &Cluster<'_>, [own, attached]: [usize; 2], other: &str) -> Result<()> {
    cluster.wait_for(attached, "the other service named", SETTLE_LIMIT, |status| {
        let is_named = status.tors.iter().any(|words| words.contains(other));
        if is_named { Ok(()) } else { Err(format!("{:?}", status.tors)) }
    })?;
    let node = &cluster.node(attached)?.report.node;
    cluster.wait_for(own, "a plan without the node whose tor has another service", SETTLE_LIMIT, |status| {
        let points = plan::points_of(&status.publication.points, node).len();
        if points == 0 { plan::is_confirmed(status, u64::MAX) } else { Err(format!("{points} points")) }
    })?;
    Ok(())
}

/// The same with a service in that tor's torrc, until its owner takes it out.
fn another_in_the_torrc(cluster: &Cluster<'_>, nodes: [usize; 2], tor: &Tor) -> Result<()> {
    let (torrc, dir) = (tor.dir().join("torrc"), tor.dir().join("other"));
    let before = fs::read_to_string(&torrc)?;
    let lines = [format!("HiddenServiceDir {}", dir.display()), "HiddenServicePort 80 127.0.0.1:9".to_owned()];
    fs::write(&torrc, format!("{before}\n{}\n", lines.join("\n")))?;
    let mut control = tor.control()?;
    control.command(b"SIGNAL RELOAD\r\n")?;
    let files = || ["hostname", "hs_ed25519_secret_key"].map(|file| fs::read(dir.join(file)).ok());
    wait::until("the other service's files", SETTLE_LIMIT, || {
        let all = files().iter().all(Option::is_some);
        Ok(Answer::from_option(all.then_some(()), || "none".to_owned()))
    })?;
    let made = files();
    let name = fs::read_to_string(dir.join("hostname"))?;
    let other = name.trim().strip_suffix(".onion").context("an address")?;
    is_named_and_node_out(cluster, nodes, other)?;
    let config = control.get_info_text("config-text")?;
    let kept = lines.iter().all(|wanted| config.lines().any(|line| line == wanted));
    ensure!(kept && files() == made, "it is left alone: {config}");
    fs::write(&torrc, before)?;
    control.command(b"SIGNAL RELOAD\r\n")?;
    cluster.settled("both nodes, the service in the torrc gone", SETTLE_LIMIT)?;
    Ok(())
}

/// Moves node `number` from its own tor to one that it does not start, as an operator does.
fn attach(net: &TorNet, cluster: &mut Cluster<'_>, number: usize) -> Result<Tor> {
    let node = cluster.node(number)?;
    ensure!(node.terminate(SETTLE_LIMIT)?.success(), "it stops in good order");
    let home = net.dir_of("system-tor");
    let (at, service) = (home.display(), home.join("service").display().to_string());
    let file = node.dir.join("rustbalance.toml");
    let config = fs::read_to_string(&file)?;
    let (before, _own) = config.split_once("[tor]").context("a section for tor")?;
    let section =
        format!("[tor]\nattach = 'unix:{at}/control'\nservice_dir = '{service}'\nproxy_socket = '{at}/proxy/socket'\n");
    fs::write(&file, format!("{before}{section}"))?;
    fs::create_dir_all(home.join("proxy"))?;
    node.ask(&["key", "export", "--out", &service, "--format", "service"])?;
    fs::write(home.join("service/ob_config"), format!("MasterOnionAddress {}\n", cluster.address()?))?;
    let lines = node.ask(&["tor", "lines"])?;
    let torrc: Vec<_> = net.client_torrc_lines().into_iter().chain(lines.lines().map(str::to_owned)).collect();
    let tor = Tor::start(net.binary(), "system-tor", &home, &[torrc, vec!["SocksPort 0".to_owned()]].concat())?;
    cluster.restart(number)?;
    Ok(tor)
}
