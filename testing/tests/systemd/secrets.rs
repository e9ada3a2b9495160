//! Secrets that systemd hands to the node: what OPERATIONS says of credentials and of encrypted keys.

use anyhow::{Result, ensure};
use rustbalance_testing::booted::Booted;

use crate::{SOON, UNIT, ask, edit, node, status, tor_pid, wait_active, written};

/// A passphrase and another one, in files that only the node's user can read, and the directory where the manual has
/// credentials.
const FILES: &str = "
for words in right wrong; do
    echo \"$words horse battery staple\" >/root/$words
    install -m 600 -o rustbalance /root/$words /var/lib/rustbalance/$words
done
mkdir -p /etc/rustbalance
";

/// What the unit has as a comment, for the operator to put into a drop-in.
fn commented(machine: &Booted, secret: &str) -> Result<String> {
    let unit = "/usr/lib/systemd/system/rustbalance.service";
    let line = machine.run(&format!("sed -n 's/^#\\(LoadCredentialEncrypted={secret}:\\)/\\1/p' {unit}"))?;
    ensure!(line.contains(&format!("/etc/rustbalance/{secret}.cred")), "{line:?}");
    Ok(line)
}

/// That a start ends with this exit code, and is the only one.
fn fails_for_good(machine: &Booted, code: &str) -> Result<()> {
    ensure!(machine.run("systemctl start rustbalance").is_err(), "it starts");
    let state = |property| machine.show(UNIT, property);
    let found = [state("ActiveState")?, state("ExecMainStatus")?, state("NRestarts")?];
    ensure!(found == ["failed", code, "0"], "{found:?}: {}", machine.journal(UNIT)?);
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn the_passphrase_of_encrypted_keys_may_be_a_credential() -> Result<()> {
    let machine = node()?;
    machine.run(FILES)?;
    ask(&machine, "key encrypt --passphrase-file /var/lib/rustbalance/right")?;
    fails_for_good(&machine, "2")?;
    let credential =
        |words| format!("systemd-creds encrypt --name=passphrase /root/{words} /etc/rustbalance/passphrase.cred");
    machine.run(&credential("right"))?;
    edit(&machine, &format!("[Service]\n{}", commented(&machine, "passphrase")?))?;
    machine.run("systemctl start rustbalance")?;
    tor_pid(&machine)?;
    let copies =
        machine.run("grep --recursive --files-with-matches ed25519v1-secret /run/rustbalance /var/lib/rustbalance")?;
    ensure!(copies.lines().count() == 1 && copies.starts_with("/run/rustbalance/"), "in the clear: {copies}");
    machine.run("systemctl stop rustbalance && [ ! -e /run/rustbalance ]")?;

    machine.run(&credential("wrong"))?;
    fails_for_good(&machine, "3")?;
    edit(&machine, "[Service]\nLoadCredential=passphrase:/root/right\n")?;
    machine.run("systemctl start rustbalance")?;
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_machine_without_hands_has_its_address_from_a_backup() -> Result<()> {
    let machine = node()?;
    machine.run(FILES)?;
    ask(&machine, "key backup --out /var/lib/rustbalance/address --passphrase-file /var/lib/rustbalance/right")?;
    let address = ask(&machine, "key show")?;
    machine.run(
        "systemd-creds encrypt --name=backup /var/lib/rustbalance/address /etc/rustbalance/backup.cred
         find /var/lib/rustbalance -mindepth 1 -delete",
    )?;
    let passphrase = |words| {
        let file = "/etc/rustbalance/backup-passphrase.cred";
        machine.run(&format!("systemd-creds encrypt --name=backup-passphrase /root/{words} {file}"))
    };
    passphrase("wrong")?;
    edit(&machine, &written("**Credentials.**", "ini")?)?;
    ensure!(machine.run("systemctl start rustbalance").is_err(), "it starts");
    machine.wait_other(UNIT, "NRestarts", "0", SOON)?;
    ensure!(machine.journal(UNIT)?.contains("the passphrase is another one"), "{}", machine.journal(UNIT)?);
    passphrase("right")?;
    wait_active(&machine)?;
    machine.run("systemctl restart rustbalance")?;
    ensure!(ask(&machine, "key show")? == address, "{}", machine.journal(UNIT)?);
    ensure!(machine.journal(UNIT)?.matches("This node is set up").count() == 1, "{}", machine.journal(UNIT)?);
    Ok(())
}

#[test]
#[ignore = "needs root, and the package that node/package/deb.sh builds"]
fn a_machine_without_hands_has_its_address_from_a_key() -> Result<()> {
    let machine = node()?;
    let address = ask(&machine, "key show")?;
    machine.run(
        "mkdir -p /etc/rustbalance
         systemd-creds encrypt --name=master-key /var/lib/rustbalance/keys/hs_ed25519_secret_key \
             /etc/rustbalance/master-key.cred
         find /var/lib/rustbalance -mindepth 1 -delete",
    )?;
    let credential = commented(&machine, "master-key")?;
    edit(
        &machine,
        &format!(
            "[Unit]\nConditionPathExists=\n[Service]\n{credential}ExecStartPre=/usr/bin/rustbalance init \
             --import-key %d/master-key --target 127.0.0.1:8080 --endpoint 127.0.0.1:7900\n"
        ),
    )?;
    machine.run("systemctl start rustbalance")?;
    ensure!(address.contains(&status(&machine)?.address), "{address}");
    Ok(())
}
