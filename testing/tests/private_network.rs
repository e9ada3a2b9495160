//! The private network is a tor network: a plain C tor onion service on it is published and reachable, and what tor uses
//! of ring, counter and layout is what we compute.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustbalance_testing::hsdir::HsDirReader;
use rustbalance_testing::native;
use rustbalance_testing::process::{self, RunDir};
use rustbalance_testing::tor::Tor;
use rustbalance_testing::tor_net::{Shape, TorNet};
use rustbalance_testing::visitors;
use rustbalance_testing::web::Web;

#[test]
fn a_plain_onion_service_is_published_and_reachable() -> Result<()> {
    process::stop_children_on_signals()?;
    let mut run = RunDir::new()?;
    let start = Instant::now();
    let net = TorNet::start(run.path(), Shape::default())?;
    println!("network up after {:.1} s", start.elapsed().as_secs_f32());

    let web = Web::start("plain")?;
    let service_dir = net.dir_of("service");
    let _service = start_service(&net, &service_dir, &web)?;
    let address = fs::read_to_string(service_dir.join("hs/hostname"))?.trim().to_owned();

    let mut reader = HsDirReader::start(&net)?;
    let copies = reader.wait_published(&address, Duration::from_secs(60))?;
    println!("descriptor on {} HSDirs after {:.1} s", copies.len(), start.elapsed().as_secs_f32());
    assert!((4..=6).contains(&copies.len()), "two replicas, three of each are read: {copies:?}");

    let tally = visitors::fresh(&net, &address, 8, 4)?;
    println!("{tally}, all after {:.1} s", start.elapsed().as_secs_f32());
    assert_eq!(tally.served_by.get("plain"), Some(&8), "{tally}");
    for (what, good, detail) in native::compare(&mut reader.tor().control()?)? {
        println!("{what}: {detail}");
        assert!(good, "{what}: {detail}");
    }
    run.good();
    Ok(())
}

fn start_service(net: &TorNet, dir: &Path, web: &Web) -> Result<Tor> {
    let mut torrc = net.client_torrc_lines();
    torrc.push("SocksPort 0".into());
    torrc.push(format!("HiddenServiceDir {}", dir.join("hs").display()));
    torrc.push(format!("HiddenServicePort 80 {}", web.target()));
    let tor = Tor::start(net.binary(), "service", dir, &torrc)?;
    tor.wait_bootstrapped(Duration::from_secs(60))?;
    Ok(tor)
}
