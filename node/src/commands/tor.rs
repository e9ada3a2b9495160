//! `rustbalance tor`.

use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::tor::{Attachment, Wanted};
use rustbalance_io::settings::Settings;
use rustbalance_io::store::Store;
use rustbalance_io::tor::attach;
use serde::Serialize;

use super::encrypted;
use crate::args::{Common, Tor, Unlock};
use crate::failure::{Exit, Failure};
use crate::output;

/// `tor check --json`.
#[derive(Serialize)]
struct Report {
    /// Whether the node can use it.
    fit: bool,
    /// What is wrong, a sentence each.
    wrong: Vec<String>,
    /// Its other services.
    others: Vec<String>,
}

/// Says what the tor that somebody else runs needs, and whether it has it.
///
/// # Errors
/// `tor.attach` is not set; the node's key cannot be used; tor cannot.
pub fn tor(common: &Common, args: &Tor) -> Result<(), Failure> {
    let settings = super::settings(common)?;
    if settings.tor.attach.control.is_none() {
        let text = "this node runs a tor of its own: to use another one set tor.attach, as in \
                    attach = \"unix:/run/tor/control\" below [tor]";
        return Err(Failure::usage(format!("{}: {text}", common.config_file().display())));
    }
    if let Some(words) = encrypted::uncovered(&settings, &Store::new(&common.dir)) {
        output::note(&words);
    }
    match args {
        Tor::Lines { unlock } => lines(common, &settings, address(common, unlock)?),
        Tor::Check { json, unlock } => check(&settings, address(common, unlock)?, *json),
    }
}

fn address(common: &Common, unlock: &Unlock) -> Result<OnionAddress, Failure> {
    Ok(encrypted::open(common, unlock)?.master_key()?.address())
}

fn lines(common: &Common, settings: &Settings, address: OnionAddress) -> Result<(), Failure> {
    let Wanted { host, dir, service } = attach::wanted(settings, address);
    let program = program(common);
    let socket = settings.tor.attach.proxy_socket.display();
    let run = settings.tor.attach.proxy_socket.parent().unwrap_or(&settings.dir).display();
    let mut text = format!(
        "# For the torrc of the tor that serves {host}.onion.
# First, as root (users and groups as Debian calls them):
#   adduser rustbalance debian-tor
#   echo 'd {run} 2750 rustbalance debian-tor' > /etc/tmpfiles.d/rustbalance-tor.conf
#   systemd-tmpfiles --create rustbalance-tor.conf
#   {program} key export --out {dir} --format service
#   echo 'MasterOnionAddress {host}.onion' > {dir}/ob_config
#   chown -R debian-tor: {dir}
# Where AppArmor confines tor, add this to /etc/apparmor.d/local/system_tor, and reload apparmor:
#   {socket} rw,
# {dir} must be new. A service that tor serves already must not be turned into this one while tor runs: no
# client would reach it for up to a day. Stop tor, remove the old service's lines, and start tor with these.
# Then add the lines, and, as root:
#   systemctl reload tor
#   runuser -u rustbalance -- {program} tor check
DormantTimeoutEnabled 0
# The node publishes by itself, so tor must not, also when it starts or is reloaded. Leave this line out if this tor has
# other services, which it would silence: tor then publishes them all by itself, and the node can only serve alone.
PublishHidServDescriptors 0
HiddenServiceDir {dir}
"
    );
    text.extend(service.iter().map(|(option, value)| format!("{option} {value}\n")));
    output::line(text.trim_end())
}

/// How to call this program for the same node from elsewhere.
fn program(common: &Common) -> String {
    let config = common.config.as_deref().and_then(|file| std::path::absolute(file).ok());
    let config = config.map(|file| format!(" --config {}", file.display())).unwrap_or_default();
    format!("rustbalance --dir {}{config}", common.dir.display())
}

fn check(settings: &Settings, address: OnionAddress, json: bool) -> Result<(), Failure> {
    let found = attach::check(settings, address)?;
    if json {
        let (wrong, others) = match &found {
            Ok(Attachment { others, .. }) => (Vec::new(), others.clone()),
            Err(wrong) => (wrong.clone(), Vec::new()),
        };
        output::json(&Report { fit: found.is_ok(), wrong, others })?;
    }
    match found {
        Err(wrong) => Err(Failure::with_lines(Exit::Tor, wrong)),
        Ok(_) if json => Ok(()),
        Ok(Attachment { others, .. }) if others.is_empty() => output::line("ok"),
        Ok(Attachment { others, .. }) => output::line(&format!(
            "ok for a node alone; tor also serves {}, so this node cannot publish with others",
            others.join(", ")
        )),
    }
}
