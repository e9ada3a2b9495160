//! The package and `deploy.sh` where systemd runs.

use anyhow::{Result, ensure};
use rustbalance_testing::machine::ROOT;

use crate::{UNIT, ask, machine, main_pid, processes, started, status, wait_active};

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_package_in_place_of_another_restarts_the_node_and_one_that_goes_stops_it() -> Result<()> {
    let machine = started()?;
    let (before, address) = (main_pid(&machine)?, status(&machine)?.address);
    machine.run("dpkg --install /srv/*.deb")?;
    wait_active(&machine)?;
    ensure!(main_pid(&machine)? != before && status(&machine)?.address == address, "the old program runs on");
    machine.run("dpkg --purge rustbalance")?;
    ensure!(processes(&machine)?.is_empty(), "{}", processes(&machine)?);
    machine.run("[ -e /var/lib/rustbalance/keys/hs_ed25519_secret_key ]")?;
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn deploying_a_package_again_restarts_the_node_once() -> Result<()> {
    let machine = started()?;
    let starts = || Ok::<_, anyhow::Error>(machine.journal(UNIT)?.matches("Started rustbalance.service").count());
    let before = starts()?;
    machine.run("sh /srv/deploy.sh --init --target 127.0.0.1:8080 --package /srv/*.deb")?;
    ensure!(starts()? == before + 1, "{}", machine.journal(UNIT)?);
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn what_deploy_has_taken_away_it_brings_back_even_as_a_program_instead_of_a_package() -> Result<()> {
    let machine = started()?;
    let address = ask(&machine, "key show")?;
    machine.run(
        "mkdir -p checkout/testing checkout/node/package
         cp /srv/deploy.sh checkout/testing
         cp /usr/lib/systemd/system/rustbalance.service checkout/node/package
         cp /usr/bin/rustbalance . && sha256sum rustbalance >rustbalance.sha256
         sh /srv/deploy.sh --uninstall",
    )?;
    ensure!(processes(&machine)?.is_empty() && machine.show(UNIT, "LoadState")? != "loaded");
    machine.run("sh checkout/testing/deploy.sh --init --target 127.0.0.1:8080 --binary rustbalance")?;
    let state = [machine.show(UNIT, "ActiveState")?, machine.show(UNIT, "UnitFileState")?];
    ensure!(state == ["active", "enabled"] && ask(&machine, "key show")? == address, "{state:?}");
    let program = main_pid(&machine)?;
    machine.run("sh /srv/deploy.sh --init --target 127.0.0.1:8080 --package /srv/*.deb")?;
    ensure!(main_pid(&machine)? != program, "the program runs on that is no more");
    machine.run("sh /srv/deploy.sh --uninstall --purge && [ ! -e /var/lib/rustbalance ]")?;
    Ok(())
}

/// What the README has an operator do by hand, to a machine where nothing is installed.
const BY_HAND: [&str; 5] = [
    "sudo useradd --system --home-dir /var/lib/rustbalance --shell /usr/sbin/nologin rustbalance",
    "sudo install -d -m 700 -o rustbalance -g rustbalance /var/lib/rustbalance",
    "sudo -u rustbalance rustbalance init --target 127.0.0.1:8080 --endpoint a.example.net:7900",
    "sudo install -m 644 node/package/rustbalance.service /etc/systemd/system/",
    "sudo systemctl enable --now rustbalance",
];

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn the_readmes_steps_by_hand_make_a_node() -> Result<()> {
    let readme = std::fs::read_to_string(format!("{ROOT}/README.md"))?;
    let unknown: Vec<_> = BY_HAND.iter().filter(|step| !readme.contains(&format!("$ {step}\n"))).collect();
    ensure!(unknown.is_empty(), "the README does not say {unknown:?}");
    let machine = machine()?;
    let unpacked = "mkdir -p node/package && dpkg-deb --extract /srv/*.deb package
        cp package/usr/lib/systemd/system/rustbalance.service node/package
        install package/usr/bin/rustbalance /usr/bin/
        sudo() { if [ \"$1\" = -u ]; then user=$2 && shift 2 && runuser -u \"$user\" -- \"$@\"; else \"$@\"; fi; }\n";
    machine.run(&format!("{unpacked}{}", BY_HAND.join("\n")))?;
    ensure!(machine.show(UNIT, "ActiveState")? == "active", "{}", machine.journal(UNIT)?);
    Ok(())
}
