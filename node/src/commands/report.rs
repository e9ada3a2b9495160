//! What the operator is told about a node that was just set up: how it starts, and how the next one joins through it.

use std::path::Path;

use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::status::AccessStatus;
use rustbalance_core::{NodeId, WgPublicKey};
use rustbalance_io::init::Founded;
use rustbalance_io::keys::wireguard_public_to_text;
use rustbalance_io::settings::Settings;
use serde::Serialize;

use super::status::render;
use crate::args::{Common, DEFAULT_DIR};
use crate::config_file::show_target;
use crate::failure::Failure;
use crate::output;

/// Stands where the operator must put a machine's own address.
const HOST_PLACEHOLDER: &str = "HOST";

/// Refuses an endpoint that was copied with the placeholder still in it.
///
/// # Errors
/// So it was.
pub fn refuse_placeholder(flag: &str, endpoint: &str) -> Result<(), Failure> {
    if endpoint.split(':').next() != Some(HOST_PLACEHOLDER) {
        return Ok(());
    }
    let machine = if flag == "--endpoint" { "this machine's own" } else { "the member's" };
    let line =
        format!("{flag} {endpoint:?}: {HOST_PLACEHOLDER} stands for {machine} name or address; put that in its place");
    Err(Failure::usage(line))
}

/// A node's own part of the report, as `init` and `join` learn it.
pub struct NewNode {
    /// The address it serves.
    pub address: OnionAddress,
    /// Its name in the mesh.
    pub node: NodeId,
    /// Its WireGuard key.
    pub wireguard: WgPublicKey,
    /// Who may connect to the address; a node that joins is told of that by the others.
    pub access: Option<AccessStatus>,
}

impl From<Founded> for NewNode {
    fn from(Founded { address, node, wireguard, access }: Founded) -> Self {
        Self { address, node, wireguard, access: Some((&access).into()) }
    }
}

/// The report; `--json` prints it as it is.
#[derive(Serialize)]
struct Report {
    /// With `.onion`.
    address: String,
    /// Who may connect to it, if the cluster was founded here.
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<AccessStatus>,
    /// 64 hex digits.
    node: String,
    dir: String,
    config: String,
    /// `HOST:PORT`; `null` if this node was given none.
    peer_endpoint: Option<String>,
    /// Base64.
    peer_pubkey: String,
    cluster_token_file: String,
    master_key_file: String,
    /// Starts this node.
    run: Vec<String>,
    /// Joins through this node, on a machine that can read the two files where they are.
    join: Vec<String>,
}

/// Prints the report.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(common: &Common, settings: &Settings, new: &NewNode, json: bool) -> Result<(), Failure> {
    let key_file = |name: &str| show(&common.dir.join("keys").join(name));
    let (token, master) = (key_file("cluster_token"), key_file("hs_ed25519_secret_key"));
    let report = Report {
        address: new.address.to_string(),
        access: new.access.clone(),
        node: new.node.0.iter().map(|byte| format!("{byte:02x}")).collect(),
        dir: show(&common.dir),
        config: show(&common.config_file()),
        peer_endpoint: settings.mesh.endpoint.clone(),
        peer_pubkey: wireguard_public_to_text(new.wireguard),
        run: run_command(common),
        join: join_command(settings, new, &token, &master),
        cluster_token_file: token,
        master_key_file: master,
    };
    if json {
        return output::json(&report);
    }
    let access = report.access.as_ref().map_or_else(String::new, |access| {
        let way_on = "`rustbalance clients` shows and changes that once the node runs";
        format!("The address is {}; {way_on}.\n\n", render::access(access))
    });
    let mut text = format!(
        "{}\n\n\
         {access}\
         This node is set up in {}. Start it with\n\n  {}\n\n\
         To add a node, start this one, and once it serves make an invite with `rustbalance invite`: one line, a secret,\n\
         with which that machine joins through tor: `rustbalance join --invite-file FILE`.\n\n\
         To add one without tor, copy these two files into {} there, over a secure channel. They are secrets: they must be\n\
         readable by the user that runs the node and by nobody else; delete the copies once it has joined.\n\n  {}\n  {}\n\n\
         Start this node, then run there, with that machine's own address in place of {HOST_PLACEHOLDER} in \
         --endpoint:\n\n  {}",
        report.address,
        report.dir,
        shell(&report.run),
        report.dir,
        report.cluster_token_file,
        report.master_key_file,
        shell(&join_there(common, settings, new)),
    );
    if report.peer_endpoint.is_none() {
        text.push_str(
            "\n\nThis node has no --endpoint: put its reachable address in place of HOST in --peer-endpoint.",
        );
    }
    output::line(&text)
}

fn run_command(common: &Common) -> Vec<String> {
    let mut words = vec!["rustbalance".to_owned(), "run".to_owned()];
    words.extend(dir_flag(common));
    if let Some(config) = &common.config {
        words.extend(["--config".to_owned(), show(config)]);
    }
    words
}

/// Joins through this node on a machine that is to look like this one, with copies of the two files.
fn join_there(common: &Common, settings: &Settings, new: &NewNode) -> Vec<String> {
    let copy = |name: &str| show(&common.dir.join(name));
    let mut words = join_command(settings, new, &copy("cluster_token"), &copy("hs_ed25519_secret_key"));
    words.extend(dir_flag(common));
    words
}

/// Names the state directory where that is needed.
fn dir_flag(common: &Common) -> Vec<String> {
    if common.dir == Path::new(DEFAULT_DIR) { Vec::new() } else { vec!["--dir".to_owned(), show(&common.dir)] }
}

fn join_command(settings: &Settings, new: &NewNode, token: &str, master: &str) -> Vec<String> {
    let any_host = format!("{HOST_PLACEHOLDER}:{}", settings.mesh.listen.port());
    let port = settings.service.port.to_string();
    let mut flags = vec![
        ("--master-onion", new.address.to_string()),
        ("--peer-endpoint", settings.mesh.endpoint.clone().unwrap_or_else(|| any_host.clone())),
        ("--peer-pubkey", wireguard_public_to_text(new.wireguard)),
        ("--cluster-token-file", token.to_owned()),
        ("--master-key-file", master.to_owned()),
        ("--target", show_target(&settings.service.target)),
        ("--endpoint", any_host),
    ];
    if settings.service.port != 80 {
        flags.push(("--port", port));
    }
    let words = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    ["rustbalance", "join"].map(str::to_owned).into_iter().chain(words).collect()
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// The words as a shell reads them back.
fn shell(words: &[String]) -> String {
    let quoted = |word: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=+[]@%".contains(&byte);
        if word.bytes().all(plain) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::shell;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let words = ["join", "unix:/a b", "it's", "[::1]:80"].map(str::to_owned);
        assert_eq!(shell(&words), r"join 'unix:/a b' 'it'\''s' [::1]:80");
    }
}
