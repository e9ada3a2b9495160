//! RustBalance nodes as child processes, driven and observed as an operator would: by the command line.

mod node;
pub mod plan;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustbalance_core::status::Status;
use serde::Deserialize;

use crate::process::Process;
use crate::tor_net::TorNet;
use crate::wait::{self, Answer};
use node::Kind;
pub use node::{Node, PASSPHRASE};

/// Where nodes' meshes listen, each on an address of its own.
const MESH_PORT: u16 = 7900;

/// How many nodes a cluster may have at most: the next one's names and addresses begin after them.
const NEXT_CLUSTER: usize = 8;

/// What `init` and `join` print with `--json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// With `.onion`.
    pub address: String,
    /// The new node's id.
    pub node: String,
    /// Base64.
    pub peer_pubkey: String,
    /// Secret.
    pub cluster_token_file: PathBuf,
    /// Secret.
    pub master_key_file: PathBuf,
}

impl Report {
    /// What another node passes to `rustbalance` to join through this one, whose mesh listens there.
    pub(crate) fn join_arguments(&self, endpoint: &str) -> Vec<String> {
        let (token, key) = (self.cluster_token_file.display().to_string(), self.master_key_file.display().to_string());
        let flags = [
            ("--master-onion", self.address.as_str()),
            ("--peer-endpoint", endpoint),
            ("--peer-pubkey", &self.peer_pubkey),
            ("--cluster-token-file", &token),
            ("--master-key-file", &key),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
        std::iter::once("join".to_owned()).chain(flags).collect()
    }
}

/// A cluster on the test network. Nodes are counted from 0 and called `node1`, `node2`, ...
pub struct Cluster<'a> {
    net: &'a TorNet,
    binary: PathBuf,
    log_level: String,
    /// Its nodes are called `node1`, ... from here on.
    first: usize,
    /// What its nodes serve; each a web application of its own if `None`.
    target: Option<String>,
    /// More lines for the `[service]` section of the nodes that are added from now on.
    pub service_lines: String,
    /// How many tors each node has that is added from now on.
    pub tors: u8,
    /// How the application of each node is probed that is added from now on; by connecting if `None`.
    pub probe: Option<String>,
    /// Whether the keys of each node are encrypted that is added from now on.
    pub encrypted: bool,
    /// In the order of joining.
    pub nodes: Vec<Node>,
}

impl<'a> Cluster<'a> {
    /// An empty one, whose nodes will log at `log_level`.
    ///
    /// # Errors
    /// If the `rustbalance` binary was not built.
    pub fn new(net: &'a TorNet, log_level: &str) -> Result<Self> {
        Ok(Self {
            net,
            binary: binary()?,
            log_level: log_level.into(),
            first: 0,
            target: None,
            service_lines: String::new(),
            tors: 1,
            probe: None,
            encrypted: false,
            nodes: Vec::new(),
        })
    }

    /// A further cluster on the same network, the second is number 1, all of whose nodes serve `target`.
    ///
    /// # Errors
    /// As [`Cluster::new`].
    pub fn in_front_of(target: &str, net: &'a TorNet, number: usize, log_level: &str) -> Result<Self> {
        Ok(Self { first: number * NEXT_CLUSTER, target: Some(target.to_owned()), ..Self::new(net, log_level)? })
    }

    /// The `rustbalance` binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The onion address, with `.onion`.
    ///
    /// # Errors
    /// If there is no node yet.
    pub fn address(&self) -> Result<&str> {
        Ok(&self.nodes.first().context("no node yet")?.report.address)
    }

    /// Founds the cluster (`init`) or joins it through node `through` (`join`), and starts the new node. Returns its number.
    ///
    /// # Errors
    /// If a command fails, with what it said.
    pub fn add(&mut self, through: Option<usize>) -> Result<usize> {
        let arguments = match through {
            None => vec!["init".to_owned()],
            Some(peer) => self.node(peer)?.join_arguments(),
        };
        self.add_with(&arguments)
    }

    /// Sets a node up with this command, which is given its directory, and starts it. Returns its number.
    ///
    /// # Errors
    /// If a command fails, with what it said.
    pub fn add_with(&mut self, arguments: &[String]) -> Result<usize> {
        let mut node = self.prepare()?;
        node.set_up(arguments)?;
        self.take_in(node)
    }

    /// The next node to be, with nothing but a configuration.
    fn prepare(&self) -> Result<Node> {
        let kind = Kind {
            target: self.target.as_deref(),
            service_lines: &self.service_lines,
            probe: self.probe.as_deref(),
            tors: self.tors,
            encrypted: self.encrypted,
        };
        Node::prepare(self.net, &self.binary, self.first + self.nodes.len(), MESH_PORT, &kind)
    }

    fn take_in(&mut self, mut node: Node) -> Result<usize> {
        node.start(&self.log_level, &[])?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// A file with a new invite called `name`, made at node `through`.
    ///
    /// # Errors
    /// If the command fails, with what it said.
    pub fn invite(&self, through: usize, name: &str) -> Result<PathBuf> {
        let file = self.net.dir_of(&format!("invite-{name}"));
        write_secret(&file, &self.node(through)?.ask(&["invite", "--name", name])?)?;
        Ok(file)
    }

    /// Has a node join through tor with the invite in `file`, and starts it. Returns its number.
    ///
    /// # Errors
    /// If the command fails, with what it said.
    pub fn add_invited(&mut self, file: &Path) -> Result<usize> {
        self.add_with(&with_invite(file))
    }

    /// The same, but the first `join` is killed as soon as the log of node `member` says `used`, which it says before it
    /// answers through tor; `between` is done, and then the same command joins. Returns the node's number, and whether there
    /// were two attempts: there are not if the answer was faster than the kill.
    ///
    /// # Errors
    /// If the log does not say that within `limit`, or a command fails, with what it said.
    pub fn add_invited_again(
        &mut self,
        file: &Path,
        (member, used): (usize, &str),
        limit: Duration,
        between: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<(usize, bool)> {
        let (mut node, arguments) = (self.prepare()?, with_invite(file));
        let log = self.node(member)?.log();
        let begin = fs::metadata(log)?.len();
        let first = self.net.dir_of(&format!("{}.join.log", node.name));
        let mut command = node.setting_up(&arguments);
        let mut join = Process::spawn("join", command.args(["--log-level", "error"]), &first)?;
        wait::closely(&format!("{used:?} in the log"), limit, || {
            let mut text = Vec::new();
            let mut file = File::open(log)?;
            file.seek(SeekFrom::Start(begin))?;
            file.read_to_end(&mut text)?;
            let says = text.windows(used.len()).any(|window| window == used.as_bytes());
            Ok(Answer::from_option(says.then_some(()), || join.log_tail(5)))
        })?;
        join.kill();
        between(self)?;
        let was_killed = !node.dir.join("keys").exists();
        if was_killed {
            node.set_up(&arguments)?;
        } else {
            node.take_report(&fs::read_to_string(&first)?)?;
        }
        Ok((self.take_in(node)?, was_killed))
    }

    /// Node number `number`.
    ///
    /// # Errors
    /// If there is none.
    pub fn node(&self, number: usize) -> Result<&Node> {
        self.nodes.get(number).with_context(|| format!("no node {number}"))
    }

    /// Node number `number`, to start or stop it.
    ///
    /// # Errors
    /// If there is none.
    pub fn node_mut(&mut self, number: usize) -> Result<&mut Node> {
        self.nodes.get_mut(number).with_context(|| format!("no node {number}"))
    }

    /// Starts node `number` again from its state directory.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        self.restart_with(number, &[])
    }

    /// The same, with these environment variables, which its tor gets, too.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart_with(&mut self, number: usize, variables: &[(&str, &str)]) -> Result<()> {
        let log_level = self.log_level.clone();
        self.node_mut(number)?.start(&log_level, variables)
    }

    /// Numbers of the running nodes.
    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.nodes.get(*number).is_some_and(Node::is_running)).collect()
    }

    /// Asks node `number` until `fact` holds.
    ///
    /// # Errors
    /// After `limit`, or when a node has ended: with the reason `fact` gave, the last status and the ends of the logs.
    pub fn wait_for(
        &self,
        number: usize,
        what: &str,
        limit: Duration,
        mut fact: impl FnMut(&Status) -> Result<(), String>,
    ) -> Result<Status> {
        let node = self.node(number)?;
        let mut last = None;
        let outcome = wait::until(&format!("{what} ({})", node.name), limit, || {
            if let Some(ended) = self.nodes.iter().find(|node| node.has_ended()) {
                bail!("{} has ended by itself", ended.name);
            }
            let status = match node.status() {
                Ok(status) => status,
                Err(error) => return Ok(Answer::NotYet(format!("{error:#}"))),
            };
            let verdict = fact(&status);
            last = Some(status.clone());
            Ok(verdict.map_or_else(Answer::NotYet, |()| Answer::Ready(status)))
        });
        outcome.with_context(|| {
            let logs = self.nodes.iter().map(|node| format!("--- {}\n{}", node.name, node.log_tail(12)));
            let status = last.and_then(|status| serde_json::to_string_pretty(&status).ok()).unwrap_or_default();
            format!("last status of {}:\n{status}\n{}", node.name, logs.collect::<Vec<_>>().join("\n"))
        })
    }

    /// The running node that says it is the publisher.
    ///
    /// # Errors
    /// If none does within `limit`, or two do.
    pub fn holder(&self, limit: Duration) -> Result<usize> {
        wait::until("one publisher", limit, || {
            let says_so = |number: &usize| {
                let status = self.node(*number).and_then(Node::status);
                status.is_ok_and(|status| plan::is_publisher(&status))
            };
            let holders: Vec<_> = self.running().into_iter().filter(says_so).collect();
            Ok(match holders.as_slice() {
                [one] => Answer::Ready(*one),
                other => Answer::NotYet(format!("{} say they publish", other.len())),
            })
        })
    }

    /// Waits until the publisher's plan has all points of the running nodes, no others, and every HSDir of both slots has
    /// confirmed it. Returns the publisher's number and status.
    ///
    /// # Errors
    /// If that is not so within `limit`.
    pub fn settled(&self, what: &str, limit: Duration) -> Result<(usize, Status)> {
        let running: Vec<&str> = self.running().into_iter().map(|number| self.nodes[number].name.as_str()).collect();
        let holder = self.holder(limit)?;
        let status = self.wait_for(holder, what, limit, |status| {
            plan::has_points_of(status, &running).and_then(|()| plan::is_confirmed(status, u64::MAX))
        })?;
        Ok((holder, status))
    }
}

/// `join` with the invite in `file`.
fn with_invite(file: &Path) -> [String; 3] {
    ["join".to_owned(), "--invite-file".to_owned(), file.display().to_string()]
}

/// Writes a new file that nobody else can read.
///
/// # Errors
/// If it exists or cannot be written.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    Ok(OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())?)
}

/// The `rustbalance` binary: `$RUSTBALANCE`, or next to the running program as cargo builds it.
///
/// # Errors
/// If it is in neither place.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("RUSTBALANCE") {
        return Ok(named.into());
    }
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join("rustbalance")).find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "no rustbalance near {}: run `cargo build -p rustbalance` first, with this program's profile",
            own.display()
        )
    })
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// With its standard error if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", output.status, said.trim());
    Ok(String::from_utf8(output.stdout)?)
}
