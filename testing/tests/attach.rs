//! Two nodes, one of them attached to a tor that the test runs with the lines that `rustbalance tor lines` prints: visitors are
//! served by both, a second service in that tor is named, and the tor outlives its node. Takes 2 minutes.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustbalance_testing::cluster::{Cluster, plan};
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::tor::Tor;
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors;

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
    cluster.wait_for(attached, "the other service named", SETTLE_LIMIT, |status| {
        let is_named = status.tors.iter().any(|words| words.contains(&other));
        if is_named { Ok(()) } else { Err(format!("{:?}", status.tors)) }
    })?;
    control.command(format!("DEL_ONION {other}\r\n").as_bytes())?;
    cluster.settled("both nodes, the other service gone", SETTLE_LIMIT)?;

    let pid = control.get_info_text("process/pid")?;
    ensure!(cluster.node(attached)?.terminate(SETTLE_LIMIT)?.success(), "it stops in good order");
    ensure!(tor.control()?.get_info_text("process/pid")? == pid, "the tor lives on");
    let publishing = control.command(b"GETCONF PublishHidServDescriptors\r\n")?.to_string();
    ensure!(publishing == "250 PublishHidServDescriptors=0", "and publishes nothing by itself: {publishing}");
    dir.good();
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
